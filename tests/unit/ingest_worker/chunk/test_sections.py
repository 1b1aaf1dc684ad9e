from __future__ import annotations

from ingest_worker.chunk.sections import MAX_HEADING_CHARACTERS, merge_tiny_sections, sections_of
from ingest_worker.parse import parse_document
from rag_server.domain.document import MediaType, Span


def paths(source: str) -> list[tuple[str, ...]]:
    return [section.path for section in sections_of(parse_document(source.encode(), MediaType.MARKDOWN))]


def merged(source: str, most: int) -> list[tuple[str, ...]]:
    sections = sections_of(parse_document(source.encode(), MediaType.MARKDOWN))
    return [section.path for section in merge_tiny_sections(sections, length, most)]


def length(span: Span) -> int:
    return span.end - span.start


def test_sections_follow_heading_levels() -> None:
    source = "intro\n\n# A\n\n## B\n\n#### C\n\ntext\n\n### D\n\n# E\n\n#\n\nlast"
    assert paths(source) == [(), ("A",), ("A", "B"), ("A", "B", "C"), ("A", "B", "D"), ("E",), ()]


def test_sections_long_heading_is_cut_in_the_path() -> None:
    assert paths("# " + "a" * 500) == [("a" * MAX_HEADING_CHARACTERS,)]


def test_merging_joins_tiny_siblings_with_their_parent() -> None:
    assert merged("# A\n\n## B\n\nx\n\n## C\n\ny", 200) == [("A",)]


def test_merging_leaves_large_sections_alone() -> None:
    assert merged("# A\n\n" + "x " * 40 + "\n\n# B\n\n" + "y " * 40, 200) == [("A",), ("B",)]


def test_merging_stops_at_the_limit() -> None:
    assert merged("# A\n\n" + "x " * 90 + "\n\n# B\n\ny\n\n# C\n\nz", 190) == [("A",), ()]


def test_merging_does_not_join_cousins() -> None:
    assert merged("# A\n\n" + "x " * 50 + "\n\n## B\n\n" + "y " * 50 + "\n\n# C\n\n## D\n\nz", 120) == [
        ("A",),
        ("A", "B"),
        ("C",),
    ]
