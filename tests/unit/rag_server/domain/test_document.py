from __future__ import annotations

from rag_server.domain.document import chunk_id


def test_chunk_id_depends_on_every_part_and_on_nothing_else() -> None:
    base = ("acme", "uid", "doc", 1, 0)
    others = [
        ("acme2", "uid", "doc", 1, 0),
        ("acme", "uid2", "doc", 1, 0),
        ("acme", "uid", "doc2", 1, 0),
        ("acme", "uid", "doc", 2, 0),
        ("acme", "uid", "doc", 1, 1),
        ("acmeu", "id", "doc", 1, 0),
    ]
    ids = {chunk_id(*each) for each in (base, *others)}
    assert len(ids) == len(others) + 1
    assert chunk_id(*base) == chunk_id(*base)
    assert all(len(each) == 32 and set(each) <= set("0123456789abcdef") for each in ids)
