from __future__ import annotations

import importlib.util

import pytest

from rag_server.domain.document import MediaType
from rag_server.domain.media_type_names import media_type_named, media_type_of_file, readable_media_types


def test_media_types_are_all_readable_with_the_optional_libraries() -> None:
    assert readable_media_types() == tuple(MediaType)


def test_media_types_without_the_extra_office_are_all_but_xls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert set(MediaType) - set(readable_media_types()) == {MediaType.XLS}


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("Application/MSWord; x=y", MediaType.DOC),
        ("application/x-msexcel", MediaType.XLS),
        ("application/vnd.ms-outlook", MediaType.MSG),
        ("application/vnd.ms-powerpoint", None),
    ],
)
def test_media_type_of_old_office_is_known_by_its_names(declared: str, expected: MediaType | None) -> None:
    assert media_type_named(declared) is expected


@pytest.mark.parametrize("name", ["a.doc", "a.xls", "a.msg"])
def test_media_type_of_old_office_suffixes_is_left_to_the_content(name: str) -> None:
    assert media_type_of_file(name) is None
