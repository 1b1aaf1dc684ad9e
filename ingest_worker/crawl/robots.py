"""robots.txt (RFC 9309): what may be fetched of each origin, and how fast."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from protego import Protego

from ingest_worker.crawl.client import CrawlClient
from ingest_worker.crawl.pace import HostPacer
from ingest_worker.crawl.results import SkipReason
from ingest_worker.crawl.urls import origin_of
from rag_server.errors import InvalidArgument, RagError

MAX_ROBOTS_BYTES = 500 << 10  # RFC 9309, 2.5: the least that has to be read
MAX_ROBOTS_REDIRECTS = 5  # RFC 9309, 2.3.1.2
_INLINE_CHARACTERS = 32 << 10
"""Larger files have so many rules that they are matched off the event loop."""
_SERVER_ERROR = 500
_AGENT_FIELDS = frozenset({"user-agent", "useragent", "user agent"})


@dataclass(frozen=True, slots=True)
class RobotsRules:
    """What one origin allows to one robot."""

    parsed: Protego | None = None
    """None: everything is allowed, unless `error` is set."""
    error: RagError | None = None
    """Why robots.txt could not be had; then nothing is allowed."""
    robot: str = ""
    is_large: bool = False

    async def refusal(self, url: str) -> SkipReason | None:
        """Return why a URL of the origin must not be fetched, or None.

        Raises `InvalidArgument` (`URI_FORBIDDEN_ADDRESS`) where the origin's address is such.
        """
        if self.error is not None:
            if self.error.reason == "URI_FORBIDDEN_ADDRESS":
                raise InvalidArgument(
                    "URI_FORBIDDEN_ADDRESS", self.error.message, metadata=self.error.metadata
                )
            return SkipReason.ROBOTS_UNREACHABLE
        if self.parsed is None:
            return None
        if self.is_large:
            allowed = await asyncio.to_thread(self.parsed.can_fetch, url, self.robot)
        else:
            allowed = self.parsed.can_fetch(url, self.robot)
        return None if allowed else SkipReason.ROBOTS_DISALLOWED

    @property
    def delay_s(self) -> float:
        """Seconds that the origin wants between two requests: its crawl-delay or request-rate."""
        if self.parsed is None:
            return 0.0
        rate = self.parsed.request_rate(self.robot)
        by_rate = rate.seconds / rate.requests if rate is not None else 0.0
        return max(self.parsed.crawl_delay(self.robot) or 0.0, by_rate)

    @property
    def sitemaps(self) -> tuple[str, ...]:
        """The sitemaps that the file names, as they are written there."""
        return tuple(self.parsed.sitemaps) if self.parsed is not None else ()


class RobotsCache:
    """Fetches the robots.txt of each origin once."""

    def __init__(self, client: CrawlClient, pacer: HostPacer, *, robot: str) -> None:
        self._client = client
        self._pacer = pacer
        self._robot = robot
        self._locks: dict[str, asyncio.Lock] = {}
        self._rules: dict[str, RobotsRules] = {}

    async def rules(self, url: str) -> RobotsRules:
        """Return the rules for the origin of `url`."""
        origin = origin_of(url)
        async with self._locks.setdefault(origin, asyncio.Lock()):
            if origin not in self._rules:
                self._rules[origin] = await self._load(origin)
            return self._rules[origin]

    async def _load(self, origin: str) -> RobotsRules:
        hops: list[str] = []

        async def permit(url: str) -> bool:
            hops.append(url)  # RFC 9309 follows redirects to other hosts too; addresses are checked anyway
            return True

        try:
            async with self._pacer.turn(origin):
                found = await self._client.small_file(
                    f"{origin}/robots.txt",
                    limit_bytes=MAX_ROBOTS_BYTES,
                    max_redirects=MAX_ROBOTS_REDIRECTS,
                    permit=permit,
                )
        except RagError as error:
            if error.reason == "URI_TOO_MANY_REDIRECTS":
                return RobotsRules()  # RFC 9309, 2.3.1.2: as if there were none
            if error.reason == "URI_FORBIDDEN_ADDRESS" and len(hops) > 1:
                error = InvalidArgument("URI_FETCH_FAILED", "robots.txt redirects to a forbidden address")
            return RobotsRules(error=error)
        if found.status >= _SERVER_ERROR:
            return RobotsRules(error=InvalidArgument("URI_FETCH_FAILED", "robots.txt answered with an error"))
        if not found.data:
            return RobotsRules()
        data = found.data[: found.data.rfind(b"\n") + 1] if found.is_cut else found.data
        text = data.decode("utf-8-sig", errors="replace")
        parsed = await asyncio.to_thread(parse_robots, text, self._robot)
        return RobotsRules(parsed, robot=self._robot, is_large=len(text) > _INLINE_CHARACTERS)


def parse_robots(text: str, robot: str) -> Protego:
    """Return the rules of `text` that concern `robot`, in time and memory linear in its length.

    The parser keeps each rule once for every user agent of its group, which a hostile file makes quadratic.
    Agents other than `robot` and `*` are therefore given one name, once per group.
    """
    wanted = robot.lower()
    lines: list[str] = []
    named: set[str] = set()
    for line in text.splitlines():
        content = line.partition("#")[0].strip()
        name, _, value = content.partition(":")
        if name.strip().lower() not in _AGENT_FIELDS:
            words = content.split(None, 1)
            if not words or words[0].lower() not in _AGENT_FIELDS or ":" in words[0]:
                if content:
                    named.clear()
                    lines.append(content)
                continue
            value = words[1] if len(words) > 1 else ""
        agent = value.strip().lower()
        kept = agent if agent == "*" or (agent.replace("*", "") and agent.replace("*", "") in wanted) else "-"
        if kept not in named:
            named.add(kept)
            lines.append(f"User-agent: {kept}")
    return Protego.parse("\n".join(lines))
