"""Draws latency against corpus size from the JSON of `benchmarks.peers`: an SVG for light and dark pages.

    python -m benchmarks.plot FILE [FILE ...] --output docs/images/latency.svg

Both axes are logarithmic. Each line ends at its label, so that the picture needs no legend, and has its own
dashes, so that it needs no colours. Figures of later files replace those of earlier ones.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks.peers_report import OURS

Series = Mapping[str, Mapping[int, float]]
"""Of each contender its p50 in milliseconds by number of passages."""

TITLE = "Hybrid retrieval: median latency against corpus size"
ACROSS = "passages in the collection"
DOWN = "p50 of one query, ms (one embedding by ours included)"
_WIDTH, _HEIGHT = 920, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 330, 58, 62
_LABEL_GAP = 20
_LABEL_INDENT = 34
_LINE_STYLES = (  # on light pages, on dark pages, dashes; the first is ours
    ("#0a58ca", "#6cb6ff", "none"),
    ("#b3400e", "#ff9a66", "8 4"),
    ("#19734a", "#5fd39a", "2 4"),
    ("#8a2f9e", "#d9a0ea", "10 3 2 3"),
    ("#8a6200", "#e3b341", "4 3"),
    ("#5a5f66", "#b6bec8", "14 5"),
)


def draw(series: Series) -> str:
    """Return the SVG. Raises `ValueError` for no points, for one not above zero, and for too many lines."""
    names = sorted((name for name in series if series[name]), key=lambda name: (name != OURS, name))
    points = [point for name in names for point in series[name].items()]
    if not points or min(min(point) for point in points) <= 0:
        raise ValueError("logarithmic axes need points above zero")
    if len(names) > len(_LINE_STYLES):
        raise ValueError(f"more than {len(_LINE_STYLES)} lines cannot be told apart")
    sizes = sorted({size for size, _ in points})
    heights = _ticks(min(ms for _, ms in points), max(ms for _, ms in points))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    x = _scale(sizes[0] / 1.15, sizes[-1] * 1.15, _LEFT, right)
    y = _scale(heights[0], heights[-1], bottom, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(TITLE)}</title>",
        f"<desc>{escape(_description(names, series))}</desc>",
        f"<style>{_style()}</style>",
        f'<text class="title" x="{_LEFT}" y="28">{escape(TITLE)}</text>',
        *(_line("grid", _LEFT, y(height), right, y(height)) for height in heights),
        *(_text("end", _LEFT - 10, y(height) + 5, f"{height:,g}") for height in heights),
        *(_line("grid", x(size), _TOP, x(size), bottom) for size in sizes),
        *(_text("middle", x(size), bottom + 22, f"{size:,}") for size in sizes),
        _text("middle", (_LEFT + right) / 2, _HEIGHT - 14, ACROSS),
        '<g transform="rotate(-90)">',
        _text("middle", -(_TOP + bottom) / 2, 20, DOWN),
        "</g>",
    ]
    ends = {name: max(series[name].items()) for name in names}
    places = spread([y(ends[name][1]) for name in names], _LABEL_GAP)
    for index, (name, place) in enumerate(zip(names, places, strict=True)):
        line = " ".join(f"{x(size):.1f},{y(ms):.1f}" for size, ms in sorted(series[name].items()))
        size, ms = ends[name]
        parts += [
            f'<g class="line-{index}"><polyline points="{line}"/>',
            *(f'<circle cx="{x(size):.1f}" cy="{y(ms):.1f}" r="4"/>' for size, ms in series[name].items()),
            _line("leader", x(size) + 6, y(ms), right + _LABEL_INDENT - 6, place),
            _text("start", right + _LABEL_INDENT, place + 5, f"{name}, {_milliseconds(ms)}"),
            "</g>",
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart to at least `gap`, in order, each group about where it was."""
    groups: list[list[int]] = []
    centers: list[float] = []
    for index in sorted(range(len(places)), key=places.__getitem__):
        group, center = [index], places[index]
        while groups and center - centers[-1] < gap * (len(group) + len(groups[-1])) / 2:
            group = groups.pop() + group
            centers.pop()
            center = sum(places[member] for member in group) / len(group)
        groups.append(group)
        centers.append(center)
    moved = [0.0] * len(places)
    for group, center in zip(groups, centers, strict=True):
        for rank, member in enumerate(group):
            moved[member] = center + gap * (rank - (len(group) - 1) / 2)
    return moved


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = math.log(high / low)
    return lambda value: start + (end - start) * math.log(value / low) / span


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, the fewest that have `low` and `high` between them."""
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    steps = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= low)
    last = min(index for index, step in enumerate(steps) if step >= high and index > first)
    return steps[first : last + 1]


def _milliseconds(ms: float) -> str:
    return f"{ms:,.0f} ms" if ms >= 9.95 else f"{ms:.1f} ms"


def _description(names: Sequence[str], series: Series) -> str:
    lines = []
    for name in names:
        figures = ", ".join(f"{_milliseconds(ms)} at {size:,}" for size, ms in sorted(series[name].items()))
        lines.append(f"{name}: {figures}")
    return "; ".join(lines)


def _style() -> str:
    rules = [
        "text{font:15px system-ui,sans-serif;fill:#24292f}",
        ".title{font-size:18px;font-weight:600}",
        ".grid{stroke:#d0d7de;stroke-width:1}",
        "polyline{fill:none;stroke-width:2}",
        ".leader{stroke-width:1;opacity:.45}",
        ".line-0 polyline{stroke-width:4}.line-0 text{font-weight:700}",
    ]
    dark = ["text{fill:#e6edf3}", ".grid{stroke:#3d444d}"]
    for index, (light_color, dark_color, dashes) in enumerate(_LINE_STYLES):
        rules += [
            f".line-{index}{{stroke:{light_color}}}.line-{index} polyline{{stroke-dasharray:{dashes}}}",
            f".line-{index} circle,.line-{index} text{{fill:{light_color};stroke:none}}",
        ]
        dark.append(f".line-{index}{{stroke:{dark_color}}}")
        dark.append(f".line-{index} circle,.line-{index} text{{fill:{dark_color}}}")
    return f"{''.join(rules)}@media (prefers-color-scheme:dark){{{''.join(dark)}}}"


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(anchor: str, x: float, y: float, text: str) -> str:
    return f'<text text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def read(files: Sequence[Path]) -> dict[str, dict[int, float]]:
    """Return the latencies in files of `benchmarks.peers`."""
    series: dict[str, dict[int, float]] = {}
    for file in files:
        for name, line in json.loads(file.read_text(encoding="utf-8"))["latency_ms"].items():
            series.setdefault(name, {}).update({int(size): float(ms) for size, ms in line.items()})
    return series


def main() -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="JSON of benchmarks.peers")
    parser.add_argument("--output", type=Path, required=True, help="SVG file to write")
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(draw(read(options.files)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
