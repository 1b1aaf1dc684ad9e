"""What `benchmarks.peers` found: tables, targets, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_server.cores import usable_cores

OURS = "rag-server"
SPEED_TARGET = 2.0


@dataclass
class Report:
    """Figures by contender; ours is `OURS`."""

    targeted: Sequence[str]
    """The peers that ours has to beat."""
    latency_ms: dict[str, dict[int, float]] = field(default_factory=dict)
    """p50 by number of passages; of a peer as if it had our embedder, one embedding by which is included."""
    embedding_ms: dict[int, float] = field(default_factory=dict)
    """p50 of one query embedding by ours, measured with the latencies of that size."""
    library_embedding_ms: dict[int, float] = field(default_factory=dict)
    """The same by sentence-transformers, which the peers' documentation sets them up with."""
    ndcg_at_10: dict[str, dict[str, float]] = field(default_factory=dict)
    """By name of the labelled set."""
    versions: dict[str, str] = field(default_factory=dict)

    def add_latency(self, name: str, size: int, milliseconds: float) -> None:
        """Add one latency."""
        self.latency_ms.setdefault(name, {})[size] = milliseconds

    def add_quality(self, name: str, labelled_set: str, ndcg: float) -> None:
        """Add one nDCG@10."""
        self.ndcg_at_10.setdefault(name, {})[labelled_set] = ndcg

    def as_set_up_ms(self, name: str, size: int) -> float:
        """Return the p50 of a peer that embeds with sentence-transformers; that of ours as it is."""
        slower_ms = self.library_embedding_ms[size] - self.embedding_ms[size] if name != OURS else 0.0
        return self.latency_ms[name][size] + slower_ms

    def speed_ratio(self, name: str, size: int) -> float:
        """Return how many times the latency of ours a peer takes as it is set up."""
        return self.as_set_up_ms(name, size) / self.latency_ms[OURS][size]

    def given_our_embedder(self, name: str, size: int) -> float:
        """Return the same ratio, had the peer our embedder: what its search alone costs it."""
        return self.latency_ms[name][size] / self.latency_ms[OURS][size]

    def misses(self) -> list[str]:
        """Return one line per target that is missed."""
        lines: list[str] = []
        for name in self.targeted:
            lines += [
                f"{name}, {size:,} passages: {ratio:.2f} times ours, target {SPEED_TARGET:g}"
                for size in self.latency_ms.get(name, {})
                if (ratio := self.speed_ratio(name, size)) < SPEED_TARGET
            ]
            lines += [
                f"{name}, {labelled_set}: nDCG@10 {peer:.4f}, ours {ours:.4f} is not above"
                for labelled_set, peer in self.ndcg_at_10.get(name, {}).items()
                if (ours := self.ndcg_at_10[OURS][labelled_set]) <= peer
            ]
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return all figures, for a file."""
        return {
            "cores": usable_cores(),
            "latency_ms": self.latency_ms,
            "embedding_ms": self.embedding_ms,
            "library_embedding_ms": self.library_embedding_ms,
            "ndcg_at_10": self.ndcg_at_10,
            "versions": self.versions,
        }


def as_text(report: Report, *, is_markdown: bool) -> str:
    """Return the tables and whether the targets are met, for a reader."""
    names = list(dict.fromkeys([OURS, *report.latency_ms, *report.ndcg_at_10]))
    sizes = sorted({size for of_size in report.latency_ms.values() for size in of_size})
    sets = list(dict.fromkeys(name for of_set in report.ndcg_at_10.values() for name in of_set))
    header = ["", *(f"p50, {size:,}" for size in sizes), *(f"nDCG@10 {name}" for name in sets)]
    rows = [header]
    for name in names:
        row = [name]
        for size in sizes:
            if size not in report.latency_ms.get(name, {}):
                row.append("-")
                continue
            times = f" ({report.speed_ratio(name, size):.1f}x)" if name != OURS else ""
            row.append(f"{report.as_set_up_ms(name, size):.1f} ms{times}")
        for labelled_set in sets:
            ndcg = report.ndcg_at_10.get(name, {}).get(labelled_set)
            row.append("-" if ndcg is None else f"{ndcg:.3f}")
        rows.append(row)
    lines = _markdown(rows) if is_markdown else _aligned(rows)
    for size in report.embedding_ms:
        ratios = [
            f"{name} {report.given_our_embedder(name, size):.1f}x"
            for name in names
            if name != OURS and size in report.latency_ms[name]
        ]
        lines += [
            "",
            f"{size:,} passages: of each peer's p50 {report.library_embedding_ms[size]:.1f} ms are one query"
            f" embedding by sentence-transformers; given our embedder ({report.embedding_ms[size]:.1f} ms):"
            f" {', '.join(ratios)}",
        ]
    if report.versions:
        lines += ["", ", ".join(f"{name} {version}" for name, version in report.versions.items())]
    misses = [f"MISSED  {line}" for line in report.misses()]
    met = f"at least {SPEED_TARGET:g} times as fast as each peer, and nDCG@10 above each: met"
    return "\n".join([*lines, "", *(misses or [met])])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]]
