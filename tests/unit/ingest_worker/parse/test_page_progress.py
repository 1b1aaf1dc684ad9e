from __future__ import annotations

import threading

from ingest_worker.parse.page_progress import listen, report_pages


def test_report_without_listener_does_nothing() -> None:
    report_pages(1, 2)


def test_report_reaches_the_listener_of_its_block_only() -> None:
    seen: list[tuple[int, int]] = []
    inner: list[tuple[int, int]] = []
    with listen(lambda done, total: seen.append((done, total))):
        report_pages(1, 3)
        with listen(lambda done, total: inner.append((done, total))):
            report_pages(2, 3)
        report_pages(3, 3)
    report_pages(4, 3)
    assert (seen, inner) == ([(1, 3), (3, 3)], [(2, 3)])


def test_report_of_another_thread_is_not_for_this_listener() -> None:
    seen: list[tuple[int, int]] = []
    with listen(lambda done, total: seen.append((done, total))):
        thread = threading.Thread(target=report_pages, args=(1, 2))
        thread.start()
        thread.join()
    assert seen == []
