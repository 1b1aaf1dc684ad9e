from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from benchmarks.peers_report import OURS
from benchmarks.plot import draw, read, spread

SVG = "{http://www.w3.org/2000/svg}"
SERIES = {"a <peer>": {2_000: 20.0, 20_000: 200.0}, OURS: {20_000: 5.0, 2_000: 4.0, 200_000: 8.0}}
CLOSE = {name: {100: 5.0, 10_000: 5.0 + row} for row, name in enumerate("abcdef")}
TOO_MANY = {str(number): {10: 1.0} for number in range(7)}


def _points(svg: str, index: int) -> list[tuple[float, float]]:
    line = etree.fromstring(svg).find(f".//{SVG}g[@class='line-{index}']/{SVG}polyline")
    assert line is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


def test_draw_makes_equal_factors_equal_distances() -> None:
    (x1, y1), (x2, y2), (x3, y3) = _points(draw(SERIES), 0)
    (_, peer1), (_, peer2) = _points(draw(SERIES), 1)
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)  # ten times as many passages each
    assert (peer1 - peer2) / (y1 - y3) == pytest.approx(3.32, abs=0.01)  # ten times to two times: log2(10)
    assert y1 > y2 > y3 > peer1 > peer2  # slower is higher up, where y is smaller


def test_draw_labels_lines_axes_and_sizes() -> None:
    texts = [text.text for text in etree.fromstring(draw(SERIES)).iter(f"{SVG}text")]
    assert {f"{OURS}, 8.0 ms", "a <peer>, 200 ms", "2,000", "20,000", "200,000"} <= set(texts)
    assert any("ms" in text and "p50" in text for text in texts)


@pytest.mark.parametrize("series", [CLOSE, {OURS: {2_000: 5.0}}])
def test_draw_keeps_everything_inside_the_picture(series: dict[str, dict[int, float]]) -> None:
    root = etree.fromstring(draw(series))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    places = [(each.attrib["cx"], each.attrib["cy"]) for each in root.iter(f"{SVG}circle")]
    places += [(each.attrib["x2"], each.attrib["y2"]) for each in root.iter(f"{SVG}line")]
    assert all(0 < float(x) < width and 0 < float(y) < height for x, y in places)


@pytest.mark.parametrize("series", [{}, {OURS: {}}, {OURS: {2_000: 0.0}}, TOO_MANY])
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
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(json.dumps({"latency_ms": {OURS: {"10": 1.0, "20": 2.0}}}))
    second.write_text(json.dumps({"latency_ms": {OURS: {"20": 3.0}, "peer": {"10": 4.0}}}))
    assert read([first, second]) == {OURS: {10: 1.0, 20: 3.0}, "peer": {10: 4.0}}
