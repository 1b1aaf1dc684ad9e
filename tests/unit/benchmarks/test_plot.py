from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers_report import OURS
from benchmarks.plot import draw, read, spread

SVG = "{http://www.w3.org/2000/svg}"
SERIES = {"a <peer>": {2_000: 20.0, 20_000: 200.0}, OURS: {20_000: 5.0, 2_000: 4.0, 200_000: 8.0}}


def _points(svg: str, index: int) -> list[tuple[float, float]]:
    line = ElementTree.fromstring(svg).find(f".//{SVG}g[@class='line-{index}']/{SVG}polyline")
    assert line is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


def test_draw_makes_equal_factors_equal_distances() -> None:
    (x1, y1), (x2, y2), (x3, y3) = _points(draw(SERIES), 0)
    (_, peer1), (_, peer2) = _points(draw(SERIES), 1)
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)  # ten times as many passages each
    assert peer1 > peer2  # slower is higher up, where y is smaller
    assert (peer1 - peer2) / (y1 - y3) == pytest.approx(3.32, abs=0.01)  # ten times to two times: log2(10)
    assert y1 > y2 > y3 > peer1


def test_draw_labels_lines_axes_and_sizes() -> None:
    texts = [text.text for text in ElementTree.fromstring(draw(SERIES)).iter(f"{SVG}text")]
    assert {f"{OURS}, 8.0 ms", "a <peer>, 200 ms", "2,000", "20,000", "200,000"} <= set(texts)
    assert any("ms" in text and "p50" in text for text in texts if text)


def test_draw_keeps_everything_inside_the_picture() -> None:
    root = ElementTree.fromstring(
        draw({name: {100: 5.0, 10_000: 5.0 + row} for row, name in enumerate("abcdef")})
    )
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for circle in root.iter(f"{SVG}circle"):
        assert 0 < float(circle.attrib["cx"]) < width
        assert 0 < float(circle.attrib["cy"]) < height


@pytest.mark.parametrize(
    "series", [{}, {OURS: {}}, {OURS: {2_000: 0.0}}, {str(n): {10: 1.0} for n in range(7)}]
)
def test_draw_of_what_cannot_be_drawn_raises(series: dict[str, dict[int, float]]) -> None:
    with pytest.raises(ValueError, match=r"axes|lines"):
        draw(series)


@given(st.lists(st.floats(0, 500), min_size=1, max_size=8))
def test_spread_places_keep_their_order_and_a_gap(places: list[float]) -> None:
    moved = spread(places, 20)
    order = sorted(range(len(places)), key=places.__getitem__)
    assert all(moved[after] - moved[before] >= 20 - 1e-6 for before, after in pairwise(order))


def test_spread_places_that_are_apart_stay() -> None:
    assert spread([100.0, 10.0, 50.0], 20) == [100.0, 10.0, 50.0]


def test_read_later_files_replace_figures_of_earlier_ones(tmp_path: Path) -> None:
    for name, latency_ms in (
        ("1", {OURS: {"10": 1.0, "20": 2.0}}),
        ("2", {OURS: {"20": 3.0}, "peer": {"10": 4.0}}),
    ):
        (tmp_path / name).write_text(json.dumps({"latency_ms": latency_ms}))
    assert read([tmp_path / "1", tmp_path / "2"]) == {OURS: {10: 1.0, 20: 3.0}, "peer": {10: 4.0}}
