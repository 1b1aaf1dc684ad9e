from __future__ import annotations

from benchmarks.peers_report import OURS, Report, as_text


def _report(peer_ms: float, peer_ndcg: float) -> Report:
    report = Report(["peer"])
    for name, milliseconds, ndcg in ((OURS, 5.0, 0.8), ("peer", peer_ms, peer_ndcg), ("store", 5.0, 0.9)):
        report.add_latency(name, 2_000, milliseconds)
        report.add_quality(name, "set", ndcg)
    report.embedding_ms[2_000] = 3.0
    report.library_embedding_ms[2_000] = 10.5
    return report


def test_misses_twice_as_fast_and_better_has_none() -> None:
    assert _report(10.0, 0.79).misses() == []


def test_misses_names_what_is_too_slow_and_what_is_not_above() -> None:
    slow, equal = _report(9.9, 0.8).misses()
    assert "2,000 passages" in slow
    assert "1.98" in slow
    assert "set" in equal


def test_as_text_marks_misses_and_shows_ratios() -> None:
    text = as_text(_report(7.5, 0.7), is_markdown=True)
    assert "| peer | 7.5 ms (1.5x) | 0.700 |" in text.splitlines()
    assert "peer 3.0x" in text  # with the slower embedding
    assert "MISSED" in text
    assert "MISSED" not in as_text(_report(20.0, 0.7), is_markdown=False)
