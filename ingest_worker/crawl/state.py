"""Where a crawl stands, as bytes, so that a later run goes on from there."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from ingest_worker.crawl.frontier import Entry
from ingest_worker.crawl.spec import CrawlSpec

VERSION = 1
MAX_STATE_BYTES = 64 << 20
_COUNTS = ("taken", "requests", "spent_bytes")


@dataclass(slots=True)
class CrawlState:
    """All that a crawl remembers. Pages that were handed out are done; those on their way are not."""

    spec_digest: str
    """Of the spec that it belongs to, see `digest_of`."""
    waiting: list[Entry] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    variants: dict[int, int] = field(default_factory=dict)
    claims: set[int] = field(default_factory=set)
    contents: dict[str, str] = field(default_factory=dict)
    """Digest of each content taken: the URL that had it first."""
    taken: int = 0
    requests: int = 0
    spent_bytes: int = 0
    elapsed_s: float = 0.0
    has_read_sitemaps: bool = False
    has_offered_known: bool = False

    def to_bytes(self) -> bytes:
        """Return the state as JSON, in ASCII. CPU work: up to some 0.2 s for the largest crawls."""
        flat = {name: getattr(self, name) for name in (*_COUNTS, "elapsed_s", "spec_digest")}
        flat |= {name: getattr(self, name) for name in ("contents", "has_read_sitemaps", "has_offered_known")}
        return json.dumps(
            {
                "version": VERSION,
                **flat,
                "waiting": [[entry.url, entry.depth, entry.attempts] for entry in self.waiting],
                "seen": _packed(self.seen),
                "claims": _packed(self.claims),
                "variants": [_packed(self.variants.keys()), _packed(self.variants.values())],
            }
        ).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> CrawlState:
        """Return the state that `to_bytes` wrote. Raises `ValueError` for anything else: start anew then."""
        if len(data) > MAX_STATE_BYTES:
            raise ValueError("the state of the crawl is too large")
        try:
            found = json.loads(data)
            if found["version"] != VERSION:
                raise ValueError("the state of the crawl is of another release")
            keys, counts = found["variants"]
            return cls(
                spec_digest=str(found["spec_digest"]),
                waiting=[Entry(str(url), int(depth), int(tries)) for url, depth, tries in found["waiting"]],
                seen=set(_unpacked(found["seen"])),
                variants=dict(zip(_unpacked(keys), _unpacked(counts), strict=True)),
                claims=set(_unpacked(found["claims"])),
                contents={str(key): str(url) for key, url in found["contents"].items()},
                elapsed_s=float(found["elapsed_s"]),
                has_read_sitemaps=bool(found["has_read_sitemaps"]),
                has_offered_known=bool(found["has_offered_known"]),
                **{name: int(found[name]) for name in _COUNTS},
            )
        except (KeyError, TypeError, AttributeError, RecursionError, struct.error, binascii.Error) as error:
            raise ValueError("the state of the crawl is damaged") from error


def digest_of(spec: CrawlSpec) -> str:
    """Return a digest of the spec, all fields; a state goes on with its own spec only."""
    return hashlib.sha256(json.dumps(asdict(spec), sort_keys=True).encode()).hexdigest()


def _packed(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    return base64.b64encode(struct.pack(f"<{len(listed)}Q", *listed)).decode("ascii")


def _unpacked(text: str) -> tuple[int, ...]:
    data = base64.b64decode(text, validate=True)
    return struct.unpack(f"<{len(data) // 8}Q", data)
