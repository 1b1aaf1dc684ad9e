"""Assistants: what there are, what they say, and what they said before."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Sequence

from sqlalchemy import ColumnElement, Row, and_, delete, func, select
from sqlalchemy.sql import Select
from sqlmodel import col

from rag_server.domain.assistant import Assistant, AssistantHead, AssistantProfile
from rag_server.domain.ids import new_id
from rag_server.errors import AlreadyExists, NotFound, ResourceExhausted
from rag_server.metadata.assistant_tables import AssistantRevisionRow, AssistantRow, DefaultAssistantRow
from rag_server.metadata.failures import unavailable
from rag_server.metadata.session import IDS_PER_STATEMENT, Scope

_ROUNDS = 3
"""Times that the default is marked anew because another call has marked, and unmarked, it meanwhile."""


class AssistantRepository:
    """Assistants of a tenant. Whoever changes one locks it first."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def create(
        self, tenant_id: str, assistant_id: str, profile: AssistantProfile, *, max_count: int
    ) -> Assistant:
        """Create an assistant with its first revision; it is not the default.

        Raises `AlreadyExists` (`ASSISTANT_ALREADY_EXISTS`), and `ResourceExhausted` (`TOO_MANY_ASSISTANTS`)
        when the tenant has `max_count` already; calls at the same moment may each take the last place.
        """
        row = AssistantRow(
            tenant_id=tenant_id, id=assistant_id, uid=new_id(), revision=1, create_time=self._scope.clock()
        )
        count = await self.count(tenant_id)
        if not await self._scope.insert_if_absent(row):
            raise AlreadyExists(
                "ASSISTANT_ALREADY_EXISTS",
                f"there is an assistant {assistant_id!r} already",
                metadata={"resource": "assistant", "id": assistant_id},
            )
        if count >= max_count:
            raise ResourceExhausted(
                "TOO_MANY_ASSISTANTS",
                f"there are {max_count} assistants already, as many as there may be: delete some",
                metadata={"limit": str(max_count)},
            )
        await self._add_revision(row, profile)
        return await self.get(tenant_id, assistant_id)

    async def count(self, tenant_id: str) -> int:
        """Return how many assistants the tenant has."""
        statement = (
            select(func.count()).select_from(AssistantRow).where(col(AssistantRow.tenant_id) == tenant_id)
        )
        return (await self._scope.session.scalars(statement)).one()

    async def get(self, tenant_id: str, assistant_id: str) -> Assistant:
        """Return the assistant as it is. Raises `NotFound`."""
        statement = _present(tenant_id).where(col(AssistantRow.id) == assistant_id)
        found = (await self._scope.session.execute(statement)).one_or_none()
        if found is None:
            raise NotFound.for_resource("assistant", assistant_id)
        return _to_domain(found)

    async def list(self, tenant_id: str, *, after_id: str = "", limit: int) -> builtins.list[Assistant]:
        """Return assistants by id, from after `after_id` on."""
        statement = (
            _present(tenant_id)
            .where(col(AssistantRow.id) > after_id)
            .order_by(col(AssistantRow.id))
            .limit(limit)
        )
        return [_to_domain(found) for found in await self._scope.session.execute(statement)]

    async def heads(self, tenant_id: str) -> Sequence[AssistantHead]:
        """Return which revision of each assistant holds, by id."""
        statement = (
            select(AssistantRow, col(DefaultAssistantRow.assistant_uid))
            .outerjoin(DefaultAssistantRow, _IS_DEFAULT)
            .where(col(AssistantRow.tenant_id) == tenant_id)
            .order_by(col(AssistantRow.id))
        )
        return [
            AssistantHead(row.id, row.uid, row.revision, default is not None)
            for row, default in await self._scope.session.execute(statement)
        ]

    async def by_uids(self, tenant_id: str, uids: Collection[str]) -> builtins.list[Assistant]:
        """Return those assistants as they are, by id; one that is gone is left out."""
        ids, found = sorted(uids), []
        for start in range(0, len(ids), IDS_PER_STATEMENT):
            statement = _present(tenant_id).where(
                col(AssistantRow.uid).in_(ids[start : start + IDS_PER_STATEMENT])
            )
            found += [_to_domain(each) for each in await self._scope.session.execute(statement)]
        return sorted(found, key=lambda each: each.id)

    async def update(
        self,
        tenant_id: str,
        assistant_id: str,
        change: Callable[[AssistantProfile], AssistantProfile],
        *,
        kept: int,
    ) -> Assistant:
        """Make a revision that says what `change` makes of the present one, unless that is the same.

        All but the `kept` newest are forgotten. Raises `NotFound`.
        """
        row = await self._lock(tenant_id, assistant_id)
        present = await self.get(tenant_id, assistant_id)
        profile = change(present.profile)
        if profile == present.profile:
            return present
        await self._revise(row, profile, kept)
        return await self.get(tenant_id, assistant_id)

    async def restore(
        self, tenant_id: str, assistant_id: str, revision: int | None, *, kept: int
    ) -> Assistant:
        """Make a revision that says what an earlier one said; None: the one before the present one.

        Raises `NotFound` for the assistant, or for the revision (`ASSISTANT_REVISION_NOT_FOUND`).
        """
        row = await self._lock(tenant_id, assistant_id)
        if revision is None:
            before = await self.revisions(tenant_id, assistant_id, before=row.revision, limit=1)
        else:
            before = await self.revisions(tenant_id, assistant_id, before=revision + 1, limit=1)
        if not before or (revision is not None and before[0].revision != revision):
            wanted = revision if revision is not None else row.revision - 1
            raise NotFound.for_resource("assistant_revision", f"{assistant_id}@{wanted}")
        await self._revise(row, before[0].profile, kept)
        return await self.get(tenant_id, assistant_id)

    async def revisions(
        self, tenant_id: str, assistant_id: str, *, before: int | None = None, limit: int
    ) -> builtins.list[Assistant]:
        """Return the kept revisions, newest first, from before `before` on. Raises `NotFound`."""
        await self.get(tenant_id, assistant_id)
        statement = _joined(tenant_id, _IS_OF_ASSISTANT).where(col(AssistantRow.id) == assistant_id)
        if before is not None:
            statement = statement.where(col(AssistantRevisionRow.revision) < before)
        statement = statement.order_by(col(AssistantRevisionRow.revision).desc()).limit(limit)
        return [_to_domain(found) for found in await self._scope.session.execute(statement)]

    async def mark_default(self, tenant_id: str, assistant_id: str, *, is_default: bool) -> Assistant:
        """Make the assistant the default one, instead of any other, or not any longer. Raises `NotFound`."""
        row = await self._lock(tenant_id, assistant_id)
        if is_default:
            await self._mark(row)
        else:
            await self._scope.session.execute(
                delete(DefaultAssistantRow).where(
                    col(DefaultAssistantRow.tenant_id) == tenant_id,
                    col(DefaultAssistantRow.assistant_uid) == row.uid,
                )
            )
        await self._scope.session.flush()
        return await self.get(tenant_id, assistant_id)

    async def delete(self, tenant_id: str, assistant_id: str) -> None:
        """Delete an assistant with its revisions. Raises `NotFound`."""
        row = await self._lock(tenant_id, assistant_id)
        # its revisions, and its mark as default, go by their foreign keys
        await self._scope.session.execute(
            delete(AssistantRow).where(
                col(AssistantRow.tenant_id) == tenant_id, col(AssistantRow.uid) == row.uid
            )
        )

    async def _mark(self, row: AssistantRow) -> None:
        """Have the tenant's one row name this assistant; another call may add or remove it meanwhile."""
        for _ in range(_ROUNDS):
            marked = (await self._scope.session.scalars(_default_of(row.tenant_id))).one_or_none()
            if marked is not None:
                marked.assistant_uid = row.uid
                return
            new = DefaultAssistantRow(tenant_id=row.tenant_id, assistant_uid=row.uid)
            if await self._scope.insert_if_absent(new):
                return
        raise unavailable()

    async def _revise(self, row: AssistantRow, profile: AssistantProfile, kept: int) -> None:
        row.revision += 1
        await self._add_revision(row, profile)
        await self._scope.session.execute(
            delete(AssistantRevisionRow).where(
                col(AssistantRevisionRow.tenant_id) == row.tenant_id,
                col(AssistantRevisionRow.assistant_uid) == row.uid,
                col(AssistantRevisionRow.revision) <= row.revision - kept,
            )
        )

    async def _add_revision(self, row: AssistantRow, profile: AssistantProfile) -> None:
        self._scope.session.add(
            AssistantRevisionRow(
                tenant_id=row.tenant_id,
                assistant_uid=row.uid,
                revision=row.revision,
                display_name=profile.display_name,
                description=profile.description,
                instructions=profile.instructions,
                language=profile.language,
                collection_ids=[*profile.collection_ids],
                retrieval=profile.retrieval,
                generation=profile.generation,
                keywords=[*profile.keywords],
                examples=[*profile.examples],
                create_time=self._scope.clock(),
            )
        )
        await self._scope.session.flush()

    async def _lock(self, tenant_id: str, assistant_id: str) -> AssistantRow:
        """Return the row, which nobody else changes until this transaction ends. Raises `NotFound`."""
        statement = (
            select(AssistantRow)
            .where(col(AssistantRow.tenant_id) == tenant_id, col(AssistantRow.id) == assistant_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        row = (await self._scope.session.scalars(statement)).one_or_none()
        if row is None:
            raise NotFound.for_resource("assistant", assistant_id)
        return row


_IS_OF_ASSISTANT = and_(
    col(AssistantRevisionRow.tenant_id) == col(AssistantRow.tenant_id),
    col(AssistantRevisionRow.assistant_uid) == col(AssistantRow.uid),
)
_IS_DEFAULT = and_(
    col(DefaultAssistantRow.tenant_id) == col(AssistantRow.tenant_id),
    col(DefaultAssistantRow.assistant_uid) == col(AssistantRow.uid),
)


def _joined(
    tenant_id: str, of_revision: ColumnElement[bool]
) -> Select[AssistantRow, AssistantRevisionRow, str]:
    return (
        select(AssistantRow, AssistantRevisionRow, col(DefaultAssistantRow.assistant_uid))
        .join(AssistantRevisionRow, of_revision)
        .outerjoin(DefaultAssistantRow, _IS_DEFAULT)
        .where(col(AssistantRow.tenant_id) == tenant_id)
    )


def _present(tenant_id: str) -> Select[AssistantRow, AssistantRevisionRow, str]:
    """Return the assistants with the revision that holds: one statement, so both are of one moment."""
    holds = col(AssistantRevisionRow.revision) == col(AssistantRow.revision)
    return _joined(tenant_id, and_(_IS_OF_ASSISTANT, holds))


def _default_of(tenant_id: str) -> Select[DefaultAssistantRow]:
    return (
        select(DefaultAssistantRow)
        .where(col(DefaultAssistantRow.tenant_id) == tenant_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _to_domain(found: Row[AssistantRow, AssistantRevisionRow, str]) -> Assistant:
    row, said, default_uid = found
    profile = AssistantProfile(
        display_name=said.display_name,
        description=said.description,
        instructions=said.instructions,
        language=said.language,
        collection_ids=tuple(said.collection_ids),
        retrieval=said.retrieval,
        generation=said.generation,
        keywords=tuple(said.keywords),
        examples=tuple(said.examples),
    )
    return Assistant(
        tenant_id=row.tenant_id,
        id=row.id,
        uid=row.uid,
        revision=said.revision,
        profile=profile,
        is_default=default_uid is not None,
        create_time=row.create_time,
        update_time=said.create_time,
    )
