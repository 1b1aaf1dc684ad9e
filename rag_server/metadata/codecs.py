"""How the parts of the domain that are kept as JSON are written and read.

Values carry their type, because JSON alone forgets it: a timestamp would come back as a string, and
PostgreSQL gives the double `1e20` back as an integer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rag_server.domain.archive import ArchiveBudget
from rag_server.domain.collection import CharacterChunking, Chunking, TokenChunking
from rag_server.domain.crawl import CrawlRequest
from rag_server.domain.job import JobError, JobProgress
from rag_server.domain.job_items import ItemError
from rag_server.domain.lexical import Bm25
from rag_server.domain.metadata import Metadata, MetadataType, MetadataValue, type_of
from rag_server.domain.records import Cutting, RecordMapping
from rag_server.domain.webhook import Webhook

JsonObject = dict[str, Any]

_CHUNKING_KINDS: dict[str, type[TokenChunking] | type[CharacterChunking]] = {
    "tokens": TokenChunking,
    "characters": CharacterChunking,
}


def chunking_to_json(chunking: Chunking) -> JsonObject:
    """Return `chunking` with its kind.

    Boxes that nobody asked for are left out: digests of a chunking, such as recipes, stay what they were
    before there was such an option.
    """
    kind = "tokens" if isinstance(chunking, TokenChunking) else "characters"
    parameters = asdict(chunking)
    if not parameters["page_boxes"]:
        del parameters["page_boxes"]
    return {"kind": kind, **parameters}


def chunking_from_json(value: JsonObject) -> Chunking:
    """Undo `chunking_to_json`."""
    parameters = {name: parameter for name, parameter in value.items() if name != "kind"}
    return _CHUNKING_KINDS[value["kind"]](**parameters)


def cutting_to_json(cutting: Cutting) -> JsonObject:
    """Return a chunking, or a mapping of records, with its kind."""
    if isinstance(cutting, RecordMapping):
        return {"kind": "records", **cutting.to_json()}
    return chunking_to_json(cutting)


def cutting_from_json(value: JsonObject) -> Cutting:
    """Undo `cutting_to_json`."""
    if value["kind"] != "records":
        return chunking_from_json(value)
    return RecordMapping.from_json(value)


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


def items_to_json(errors: Sequence[ItemError]) -> list[JsonObject] | None:
    """Return the errors in their order, or None where there are none."""
    return [asdict(error) for error in errors] or None


def items_from_json(value: list[JsonObject] | None) -> tuple[ItemError, ...]:
    """Undo `items_to_json`."""
    return tuple(ItemError(**error) for error in value or ())


def spec_to_json(
    *, item: str = "", crawl: CrawlRequest | None = None, archive: ArchiveBudget | None = None
) -> JsonObject | None:
    """Return what only jobs of many documents, and the jobs that they make, have to know; None: nothing."""
    spec: JsonObject = {}
    if item:
        spec["item"] = item
    if crawl is not None:
        spec["crawl"] = {**asdict(crawl), "metadata": metadata_to_json(crawl.metadata)}
    if archive is not None:
        spec["archive"] = asdict(archive)
    return spec or None


def crawl_from_spec(spec: JsonObject | None) -> CrawlRequest | None:
    """Return the request of a crawl."""
    if not spec or "crawl" not in spec:
        return None
    fields: JsonObject = {
        name: tuple(each) if isinstance(each, list) else each for name, each in spec["crawl"].items()
    }
    fields["metadata"] = metadata_from_json(spec["crawl"]["metadata"])
    return CrawlRequest(**fields)


def archive_from_spec(spec: JsonObject | None) -> ArchiveBudget | None:
    """Return what an archive within an archive may unpack to."""
    return ArchiveBudget(**spec["archive"]) if spec and "archive" in spec else None


def webhook_to_json(webhook: Webhook | None) -> JsonObject | None:
    """Return where to tell the end of a job, or None."""
    return None if webhook is None else asdict(webhook)


def webhook_from_json(value: JsonObject | None) -> Webhook | None:
    """Undo `webhook_to_json`."""
    return None if value is None else Webhook(**value)


def time_to_json(time: datetime | None) -> str | None:
    """Return `time` in UTC as ISO 8601, or None."""
    return None if time is None else time.astimezone(UTC).isoformat()


def time_from_json(value: str | None) -> datetime | None:
    """Undo `time_to_json`."""
    return None if value is None else datetime.fromisoformat(value)
