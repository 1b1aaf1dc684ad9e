"""Metadata fields: each has one type per collection, by declaration or by its first value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlmodel import col

from rag_server.domain.metadata import Metadata, MetadataType, accepts, accepts_type, type_of
from rag_server.errors import FieldViolation, InvalidArgument
from rag_server.metadata.session import Scope
from rag_server.metadata.tables import MetadataFieldRow


class MetadataFieldRepository:
    """The types of a collection's metadata fields."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def of_collections(
        self, tenant_id: str, collection_uids: Sequence[str]
    ) -> dict[str, dict[str, MetadataType]]:
        """Return each collection's fields by name; a collection without any has an empty dict."""
        statement = (
            select(MetadataFieldRow)
            .where(
                col(MetadataFieldRow.tenant_id) == tenant_id,
                col(MetadataFieldRow.collection_uid).in_(collection_uids),
            )
            .order_by(col(MetadataFieldRow.name))
        )
        found: dict[str, dict[str, MetadataType]] = defaultdict(dict)
        for row in await self._scope.session.scalars(statement):
            found[row.collection_uid][row.name] = MetadataType(row.type)
        return {uid: found[uid] for uid in collection_uids}

    async def declare(self, tenant_id: str, collection_uid: str, fields: Mapping[str, MetadataType]) -> None:
        """Fix the types of fields that have none yet."""
        if not fields:
            return
        self._scope.touched.touch(collection_uid)
        for name, kind in fields.items():
            row = MetadataFieldRow(
                tenant_id=tenant_id, collection_uid=collection_uid, name=name, type=kind.value
            )
            self._scope.session.add(row)
        await self._scope.session.flush()

    async def add(self, tenant_id: str, collection_uid: str, fields: Mapping[str, MetadataType]) -> None:
        """Fix the types of fields that are new; the others have to be of the type they have.

        Raises `InvalidArgument` (`METADATA_TYPE_MISMATCH`). The caller holds the collection's lock.
        """
        known = (await self.of_collections(tenant_id, [collection_uid]))[collection_uid]
        violations = [
            FieldViolation(
                "collection.metadata_fields", f"{name!r} is a {known[name].value}: its type cannot change"
            )
            for name, kind in fields.items()
            if known.get(name, kind) is not kind
        ]
        if violations:
            raise _mismatch(violations)
        await self.declare(
            tenant_id, collection_uid, {name: fields[name] for name in fields.keys() - known.keys()}
        )

    async def learn(
        self,
        tenant_id: str,
        collection_uid: str,
        metadata: Metadata,
        *,
        path: str = "document.metadata",
    ) -> None:
        """Check `metadata` against the collection's fields and fix the types of new ones.

        Raises what `check` raises, and `NotFound` for the collection.
        """
        await self._scope.lock_collection(tenant_id, collection_uid)
        known = await self.check(tenant_id, collection_uid, metadata, path=path)
        new = {name: type_of(value) for name, value in metadata.items() if name not in known}
        await self.declare(tenant_id, collection_uid, new)

    async def learn_types(
        self, tenant_id: str, collection_uid: str, types: Mapping[str, MetadataType], *, path: str
    ) -> None:
        """As `learn`, for the types of values that are many. Raises what `check_types` raises."""
        await self._scope.lock_collection(tenant_id, collection_uid)
        known = await self.check_types(tenant_id, collection_uid, types, path=path)
        new = {name: kind for name, kind in types.items() if name not in known}
        await self.declare(tenant_id, collection_uid, new)

    async def check_types(
        self, tenant_id: str, collection_uid: str, types: Mapping[str, MetadataType], *, path: str
    ) -> dict[str, MetadataType]:
        """Return the collection's fields, to which values of these types do not run counter.

        Raises `InvalidArgument` (`METADATA_TYPE_MISMATCH`, one violation per field, at `path`).
        """
        known = (await self.of_collections(tenant_id, [collection_uid]))[collection_uid]
        violations = [
            FieldViolation(
                path,
                f"makes {name!r} of type {kind.value}; in this collection it is of type {known[name].value}",
            )
            for name, kind in types.items()
            if name in known and not accepts_type(known[name], kind)
        ]
        if violations:
            raise _mismatch(violations)
        return known

    async def check(
        self,
        tenant_id: str,
        collection_uid: str,
        metadata: Metadata,
        *,
        path: str = "document.metadata",
    ) -> dict[str, MetadataType]:
        """Return the collection's fields, to which `metadata` does not run counter.

        Raises `InvalidArgument` (`METADATA_TYPE_MISMATCH`, one violation per field, below `path`).
        """
        known = (await self.of_collections(tenant_id, [collection_uid]))[collection_uid]
        violations = [
            FieldViolation(
                f"{path}.{name}",
                f"is of type {type_of(value).value}; in this collection it is of type {known[name].value}",
            )
            for name, value in metadata.items()
            if name in known and not accepts(known[name], value)
        ]
        if violations:
            raise _mismatch(violations)
        return known


def _mismatch(violations: Sequence[FieldViolation]) -> InvalidArgument:
    return InvalidArgument(
        "METADATA_TYPE_MISMATCH",
        "; ".join(f"{violation.field} {violation.description}" for violation in violations),
        violations=violations,
    )
