from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ingest_worker.parse import parse_document
from ingest_worker.parse.language import declared_language, with_language
from rag_server.domain.document import MediaType

ENGLISH = (
    "A hive holds one queen and up to sixty thousand workers in summer, which collect nectar and pollen. "
    "The queen lays two thousand eggs a day and lives for up to five years."
)
SPANISH = (
    "Una colmena tiene una reina y hasta sesenta mil obreras en verano, que recogen néctar y polen. "
    "La reina pone dos mil huevos al día y vive hasta cinco años."
)
OTHERS = {
    "de": "Ein Bienenvolk hat eine Königin und im Sommer viele tausend Arbeiterinnen, die Nektar sammeln.",
    "fr": "Une ruche compte une reine et soixante mille ouvrières en été, qui récoltent le nectar.",
    "pt": "Uma colmeia tem uma rainha e sessenta mil operárias no verão, que recolhem o néctar das flores.",
    "ca": "Un rusc té una reina i seixanta mil obreres a l'estiu, que recullen el nèctar de les flors.",
    "ja": "巣箱には一匹の女王蜂がいて、夏には最大六万匹の働き蜂がいます。働き蜂は花の蜜と花粉を集めます。"
    * 2,
    "ru": "В улье живёт одна матка и летом тысячи рабочих пчёл, которые собирают нектар и пыльцу.",
}


def language_of(text: str, media_type: MediaType = MediaType.TEXT) -> str:
    return with_language(parse_document(text.encode(), media_type)).language


@pytest.mark.parametrize(("code", "text"), [("en", ENGLISH), ("es", SPANISH), *OTHERS.items()])
def test_language_of_prose_is_told(code: str, text: str) -> None:
    assert language_of(text) == code
    assert language_of("\n\n".join([text] * 50)) == code
    assert language_of(text.upper()) == code


def test_language_that_is_declared_is_not_guessed() -> None:
    assert language_of(f"---\nlang: en\n---\n{SPANISH}", MediaType.MARKDOWN) == "en"
    assert language_of(f"<html lang='pt-BR'><body><p>{SPANISH}</p></body></html>", MediaType.HTML) == "pt-BR"


@pytest.mark.parametrize(
    "text",
    ["Bees.", "OK 12", "La reina pone huevos.", "1 2 3 4 5 6 7 8 9 " * 100, "https://example.org/a_b " * 50],
)
def test_language_of_too_little_prose_is_left_open(text: str) -> None:
    assert language_of(text) == ""


def test_language_of_spanish_prose_around_english_code_is_spanish() -> None:
    code = "```\nfor queen in the_hive_of_all_bees:\n    print('this is the queen of the hive')\n```\n\n" * 20
    assert language_of(f"{SPANISH}\n\n{code}{SPANISH}", MediaType.MARKDOWN) == "es"


def test_language_of_even_parts_in_many_languages_is_left_open() -> None:
    parts = [ENGLISH, OTHERS["ru"], OTHERS["ja"]]
    assert language_of("\n\n".join("\n\n".join([part] * 20) for part in parts)) == ""


def test_language_is_the_same_for_many_threads_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(language_of, [ENGLISH, SPANISH] * 20))
    assert found == ["en", "es"] * 20


@pytest.mark.parametrize(
    ("code", "expected"),
    [("en", "en"), (" es_MX ", "es-MX"), ("zh-Hant-TW", "zh-Hant-TW"), ("English!", ""), ("", ""), ("x", "")],
)
def test_declared_language_is_taken_where_it_has_the_form_of_one(code: str, expected: str) -> None:
    assert declared_language(code) == expected
