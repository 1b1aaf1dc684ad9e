from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragctl.discovery import discover
from ragctl.document_ids import VALID, document_id_for


def _write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_discovery_of_a_folder_is_recursive_sorted_and_relative(tmp_path: Path) -> None:
    _write(tmp_path, "b.md", "a/c.PDF", "a/a.txt", "z.html")
    found = discover([tmp_path])
    assert [each.document_id for each in found.files] == ["b.md", "z.html", "a/a.txt", "a/c.PDF"]
    assert [each.size_bytes for each in found.files] == [4, 6, 7, 7]
    assert found.skipped.total() == 0


def test_discovery_passes_over_hidden_and_counts_unsupported(tmp_path: Path) -> None:
    _write(tmp_path, ".git/x.md", ".hidden.md", "a.docx", "b.docx", "Makefile", "ok.md")
    found = discover([tmp_path])
    assert [each.label for each in found.files] == ["ok.md"]
    assert found.skipped == {"unsupported ending .docx": 2, "no ending": 1}


def test_discovery_with_any_ending_takes_all_but_hidden(tmp_path: Path) -> None:
    _write(tmp_path, ".hidden.md", "a.docx", "Makefile")
    assert [each.label for each in discover([tmp_path], any_ending=True).files] == ["Makefile", "a.docx"]


def test_discovery_takes_a_file_that_is_named_whatever_its_ending(tmp_path: Path) -> None:
    _write(tmp_path, "notes.log")
    assert [each.document_id for each in discover([tmp_path / "notes.log"]).files] == ["notes.log"]


def test_discovery_enters_a_loop_of_links_once(tmp_path: Path) -> None:
    _write(tmp_path, "a/x.md")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "broken.md").symlink_to(tmp_path / "gone")
    found = discover([tmp_path])
    assert [each.label for each in found.files] == ["a/x.md"]
    assert found.skipped == {"folder reached twice through links": 1, "broken link": 1}


def test_discovery_does_not_open_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    found = discover([tmp_path])
    assert found.files == []
    assert found.skipped == {"neither file nor folder": 1}
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        discover([tmp_path / "pipe.md"])


def test_discovery_takes_the_same_file_once(tmp_path: Path) -> None:
    _write(tmp_path, "a.md")
    assert len(discover([tmp_path, tmp_path / "a.md", tmp_path]).files) == 1


def test_discovery_of_equal_paths_in_two_folders_puts_the_folder_before(tmp_path: Path) -> None:
    _write(tmp_path, "one/a.md", "two/a.md", "two/b.md", "a.md")
    found = discover([tmp_path / "one", tmp_path / "two", tmp_path / "a.md"])
    assert [each.document_id for each in found.files] == ["one/a.md", "two/a.md", "b.md", "a.md"]


def test_discovery_of_two_files_that_become_one_document_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "one/a.md", "two/a.md")
    with pytest.raises(ValueError, match=r"both become the document 'a\.md'"):
        discover([tmp_path / "one" / "a.md", tmp_path / "two" / "a.md"])


def test_discovery_of_a_path_that_is_missing_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        discover([tmp_path / "gone"])


def test_discovery_of_a_name_that_is_no_unicode_gives_valid_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.md")
    (tmp_path / name).write_text("x")
    (found,) = discover([tmp_path]).files
    assert found.label.encode("utf-8").decode("utf-8") == found.label
    assert VALID.fullmatch(found.document_id)
    assert found.path.read_text() == "x"


def test_document_id_of_a_valid_path_is_the_path() -> None:
    assert document_id_for("docs/a-b.c/README.md") == "docs/a-b.c/README.md"


def test_document_id_of_a_foreign_path_is_readable_and_keeps_the_ending() -> None:
    assert document_id_for("informe año.pdf").startswith("informe-ano-")
    assert document_id_for("informe año.pdf").endswith(".pdf")
    assert document_id_for("a_b.md") != document_id_for("a b.md")


@settings(deadline=None)
@given(st.text(min_size=1, max_size=400), st.text(min_size=1, max_size=400))
def test_document_ids_are_valid_and_differ_where_paths_do(one: str, other: str) -> None:
    assert VALID.fullmatch(document_id_for(one))
    assert (document_id_for(one) == document_id_for(other)) == (one == other)
