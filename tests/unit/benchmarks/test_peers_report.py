from __future__ import annotations

from benchmarks.peers_report import OURS, Report, as_text


def _report(peer_ms: float, peer_ndcg: float) -> Report:
    report = Report(["peer"])
    for name, milliseconds, ndcg in ((OURS, 5.0, 0.8), ("peer", peer_ms, peer_ndcg), ("store", 5.0, 0.9)):
        # measured with our embedder, which is 7.5 ms faster than what the peer embeds with
        report.add_latency(name, 2_000, milliseconds if name == OURS else milliseconds - 7.5)
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
    text = as_text(_report(9.0, 0.7), is_markdown=True)
    assert "| rag-server | 5.0 ms | 0.800 |" in text.splitlines()
    assert "| peer | 9.0 ms (1.8x) | 0.700 |" in text.splitlines()
    assert "peer 0.3x" in text  # given our embedder
    assert "MISSED" in text
    assert "MISSED" not in as_text(_report(20.0, 0.7), is_markdown=False)
