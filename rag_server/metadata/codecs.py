"""How the parts of the domain that are kept as JSON are written and read.

Values carry their type, because JSON alone forgets it: a timestamp would come back as a string, and
PostgreSQL gives the double `1e20` back as an integer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rag_server.domain.collection import CharacterChunking, Chunking, TokenChunking
from rag_server.domain.job import JobError, JobProgress
from rag_server.domain.lexical import Bm25
from rag_server.domain.metadata import Metadata, MetadataType, MetadataValue, type_of

JsonObject = dict[str, Any]

_CHUNKING_KINDS: dict[str, type[TokenChunking] | type[CharacterChunking]] = {
    "tokens": TokenChunking,
    "characters": CharacterChunking,
}


def chunking_to_json(chunking: Chunking) -> JsonObject:
    """Return `chunking` with its kind."""
    kind = "tokens" if isinstance(chunking, TokenChunking) else "characters"
    return {"kind": kind, **asdict(chunking)}


def chunking_from_json(value: JsonObject) -> Chunking:
    """Undo `chunking_to_json`."""
    parameters = {name: parameter for name, parameter in value.items() if name != "kind"}
    return _CHUNKING_KINDS[value["kind"]](**parameters)


def bm25_to_json(bm25: Bm25) -> JsonObject:
    """Return the parameters by name."""
    return asdict(bm25)


def bm25_from_json(value: JsonObject) -> Bm25:
    """Undo `bm25_to_json`."""
    return Bm25(**{name: float(parameter) for name, parameter in value.items()})


def metadata_to_json(metadata: Metadata) -> JsonObject:
    """Return `{name: {"type", "value"}}`."""
    return {name: {"type": type_of(value).value, "value": _plain(value)} for name, value in metadata.items()}


def metadata_from_json(value: JsonObject) -> Metadata:
    """Undo `metadata_to_json`."""
    return {name: _DECODERS[field["type"]](field["value"]) for name, field in value.items()}


def _plain(value: MetadataValue) -> Any:
    if isinstance(value, datetime):
        return time_to_json(value)
    return list(value) if isinstance(value, tuple) else value


def _as_it_is(value: Any) -> MetadataValue:
    plain: str | int | bool = value
    return plain


_DECODERS: dict[str, Callable[[Any], MetadataValue]] = {
    MetadataType.STRING: _as_it_is,
    MetadataType.INTEGER: _as_it_is,
    MetadataType.DOUBLE: float,
    MetadataType.BOOLEAN: _as_it_is,
    MetadataType.TIMESTAMP: datetime.fromisoformat,
    MetadataType.STRING_LIST: tuple,
}
"""By type as stored. Looked up by the bare string, since reading a whole collection is a million look-ups."""


def progress_to_json(progress: JobProgress) -> JsonObject:
    """Return the counts by name."""
    return asdict(progress)


def progress_from_json(value: JsonObject) -> JobProgress:
    """Undo `progress_to_json`."""
    return JobProgress(**value)


def error_to_json(error: JobError | None) -> JsonObject | None:
    """Return reason, message and metadata, or None."""
    return None if error is None else asdict(error)


def error_from_json(value: JsonObject | None) -> JobError | None:
    """Undo `error_to_json`."""
    return None if value is None else JobError(**value)


def time_to_json(time: datetime | None) -> str | None:
    """Return `time` in UTC as ISO 8601, or None."""
    return None if time is None else time.astimezone(UTC).isoformat()


def time_from_json(value: str | None) -> datetime | None:
    """Undo `time_to_json`."""
    return None if value is None else datetime.fromisoformat(value)
