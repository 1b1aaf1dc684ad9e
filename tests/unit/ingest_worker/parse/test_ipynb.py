from __future__ import annotations

import json

import pytest

from ingest_worker.parse.ipynb import NotebookParser
from rag_server.errors import InvalidArgument
from tests.documents_textual import NOTEBOOK, notebook
from tests.unit.ingest_worker.parse.block_texts import parts


def test_ipynb_cells_become_markdown_code_and_output() -> None:
    assert parts(NotebookParser(), NOTEBOOK) == [
        ("heading", 1, "# Bees"),
        ("paragraph", 0, "Count **them**."),
        ("code", 0, "count()"),
        ("code", 0, "12"),
    ]
    assert NotebookParser().parse(NOTEBOOK).title == "Bees"
    assert NotebookParser().parse(notebook({"cell_type": "raw", "source": "x"}, title="T")).title == "T"


def test_ipynb_long_outputs_are_cut_and_errors_have_no_traceback() -> None:
    outputs = [
        {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": ["secret"]},
        {"output_type": "execute_result", "data": {"text/plain": "x" * 5000}},
        {"output_type": "stream", "text": "never"},
    ]
    code, output = parts(
        NotebookParser(), notebook({"cell_type": "code", "source": "f()", "outputs": outputs})
    )
    assert code == ("code", 0, "f()")
    assert output[2].startswith("ValueError: bad\nxxx")
    assert output[2].endswith("x …")
    assert len(output[2]) < 2100


def test_ipynb_of_format_3_is_read() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Old"]},
        {"cell_type": "code", "input": ["print(1)"], "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
    ]
    data = json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}).encode()
    assert parts(NotebookParser(), data) == [("heading", 2, "Old"), ("code", 0, "print(1)"), ("code", 0, "1")]


def test_ipynb_images_are_left_out_and_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_worker.parse.limits.MAX_CHARACTERS", 1000)
    image = {"output_type": "display_data", "data": {"image/png": "iVBOR" * 1000}}
    cells = [
        {"cell_type": "code", "source": "plot()", "outputs": [image]},
        {"cell_type": "markdown", "source": "![x](data:image/png;base64,AAAA) seen"},
    ]
    assert parts(NotebookParser(), notebook(*cells)) == [
        ("code", 0, "plot()"),
        ("paragraph", 0, "![x]() seen"),
    ]


@pytest.mark.parametrize("data", [b'{"a": 1}', b"[]", b"{", b'"text"'])
def test_ipynb_that_is_no_notebook_raises_document_corrupt(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        NotebookParser().parse(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize("cells", [[], [{"cell_type": "code", "source": ""}]])
def test_ipynb_without_text_raises_has_no_text(cells: list[dict[str, str]]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        NotebookParser().parse(notebook(*cells))
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_ipynb_of_odd_members_is_read_as_far_as_it_goes() -> None:
    odd = {"cell_type": "code", "source": ["a", True, None], "outputs": [1, None, {"data": []}, {"text": {}}]}
    assert parts(NotebookParser(), notebook(odd, {"source": "b"})) == [
        ("code", 0, "a"),
        ("paragraph", 0, "b"),
    ]
