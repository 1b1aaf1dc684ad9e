from __future__ import annotations

import pytest

from rag_server.generation.filters.filter import Action
from rag_server.generation.filters.pii import PiiFilter
from rag_server.generation.filters.pii_patterns import KINDS, REACH
from rag_server.testing.filter_suite import FilterSuite

EXAMPLES = [
    ("email", "ana.perez+x@correo.example.org"),
    ("email", "josé@ñandú.cl"),
    ("iban", "ES91 2100 0418 4502 0005 1332"),
    ("iban", "ES9121000418450200051332"),
    ("iban", "es9121000418450200051332"),
    ("iban", "GB29 NWBK 6016 1331 9268 19"),
    ("iban", "MT84MALT011000012345MTLCAST001S"),
    ("card", "4111 1111 1111 1111"),
    ("card", "5500-0000-0000-0004"),
    ("card", "378282246310005"),
    ("dni", "12345678Z"),
    ("dni", "12345678-z"),
    ("dni", "12.345.678-Z"),
    ("dni", "12345678 Z"),
    ("nie", "X1234567L"),
    ("nie", "X-1234567-L"),
    ("nie", "y1234567x"),
    ("curp", "HEGG560427MVZRRL04"),
    ("rfc", "VECJ880326XX3"),
    ("rfc", "ÑAC010101AB1"),
    ("ssn", "536-90-4399"),
    ("ssn", "536 90 4399"),
    ("ip", "192.168.10.254"),
    ("ip", "2001:db8::8a2e:370:7334"),
    ("ip", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
    ("phone", "+34 600 123 456"),
    ("phone", "+56 9 8765 4321"),
    ("phone", "(+34) 600123456"),
    ("phone", "+34\u00a0600\u202f12\u00a034\u00a056"),
    ("card", "4111\u00a01111\u20111111\u00a01111"),
    ("phone", "0034600123456"),
    ("phone", "+1 (212) 555-0123"),
    ("phone", "600123456"),
    ("phone", "91 234 56 78"),
    ("phone", "600 12 34 56"),
    ("phone", "91 2345678"),
    ("phone", "(91)2345678"),
    ("phone", "(91) 234 56 78"),
    ("phone", "(212) 555-0123"),
    ("phone", "55 1234 5678"),
]

HARMLESS = [
    "The year 2024 and 1 234 567 people.",
    "It costs 1,234,567.89 EUR, or 600.123 in all.",
    "On 2024-05-06 at 10:30:00, from 8:00 to 12:00.",
    "std::vector and 3::4, a:b:c",
    "Version 1.2.3 of 10.20.30",
    "4111 1111 1111 1112 is no card.",
    "ES92 2100 0418 4502 0005 1332 is no account.",
    "12345678A, X1234567A and 00000000",
    "HEGG560427MVZRRL05",
    "000-12-3456 and 900-12-3456",
    "999.1.1.1 and 1.2.3.4.5",
    "ana at correo, @ana, a@b",
    "Chapter 12345678901234567890123",
    "From 91 to 2345678, 91-23456789, 19 2345678",
    "ISBN 978-3-16-148410-0",
]


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
@pytest.mark.parametrize("around", ["{}", "Es {}.", "({}),", "«{}» y más", "tel:{}\nno", "{} 7 de mayo"])
def test_personal_data_is_found_as_a_whole_wherever_it_stands(kind: str, text: str, around: str) -> None:
    if around.startswith("tel:") and kind != "phone":
        around = "es: {}\nno"
    whole = around.format(text)
    (found,) = PiiFilter().find(whole)
    assert found.kind == kind
    shown = whole[found.start : found.end]
    assert text.strip("()") in shown or shown == text
    assert found.placeholder == f"[{kind}]"


@pytest.mark.parametrize("text", HARMLESS)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert [text[each.start : each.end] for each in PiiFilter().find(text)] == []


def test_only_the_kinds_that_are_asked_for_are_found() -> None:
    text = "a@b.org 192.168.10.254 536-90-4399"
    assert [each.kind for each in PiiFilter().find(text)] == ["email", "ip", "ssn"]
    assert [each.kind for each in PiiFilter(["ip"]).find(text)] == ["ip"]


def test_several_are_found_side_by_side() -> None:
    text = "a@b.org,c@d.org; 12345678Z/X1234567L 4111111111111111 123"
    assert [each.kind for each in PiiFilter().find(text)] == ["email", "email", "dni", "nie", "card"]


def test_every_kind_has_an_example_within_reach() -> None:
    assert {kind for kind, _ in EXAMPLES} == set(KINDS)
    longest = f"{'x' * 64}@{'.'.join(['y' * 63] * 5)}.{'z' * 24}"
    (found,) = PiiFilter().find(longest)
    assert found.end - found.start == len(longest) < REACH


@pytest.mark.parametrize("text", ["1" * 50_000, "1 " * 25_000, "a." * 25_000, "a@" * 25_000, "0:" * 25_000])
def test_long_texts_without_a_finding_are_read_quickly(text: str) -> None:
    filtered = PiiFilter()
    filtered.find(text)
    filtered.undecided(text)


class TestPiiFilter(FilterSuite):
    @pytest.fixture
    def checked(self) -> PiiFilter:
        return PiiFilter()

    @pytest.fixture
    def texts(self) -> list[str]:
        return [f"Write to {text}." for _, text in EXAMPLES[::3]]


class TestPiiFilterThatRefuses(FilterSuite):
    @pytest.fixture
    def checked(self) -> PiiFilter:
        return PiiFilter(action=Action.REFUSE)

    @pytest.fixture
    def texts(self) -> list[str]:
        return ["Call +34 600 123 456 now, or a@b.org", "12345678Z"]
