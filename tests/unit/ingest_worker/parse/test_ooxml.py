from __future__ import annotations

import io
import zipfile

import pytest

from ingest_worker.parse import ooxml
from ingest_worker.parse.ooxml import OoxmlPackage, is_encrypted_office
from rag_server.errors import InvalidArgument, ResourceExhausted

RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
STRICT = "http://purl.oclc.org/ooxml/officeDocument/relationships/"


def package(members: dict[str, str | bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def relations(*targets: tuple[str, str], mode: str = "") -> str:
    entries = "".join(
        f'<Relationship Id="r{number}" Type="{kind}" Target="{target}"{mode}/>'
        for number, (kind, target) in enumerate(targets)
    )
    return f'<Relationships xmlns="urn:r">{entries}</Relationships>'


def test_related_resolves_targets_of_both_conformance_classes() -> None:
    opened = OoxmlPackage(
        package(
            {
                "_rels/.rels": relations((f"{STRICT}officeDocument", "a/doc%20x.xml")),
                "a/doc x.xml": "<d/>",
                "a/_rels/doc x.xml.rels": relations(
                    (f"{RELATION}styles", "/b/s.xml"),
                    (f"{RELATION}styles", "../b/s.xml"),
                    ("x/styles", "none.xml"),
                ),
                "b/s.xml": "<s/>",
            }
        )
    )
    assert opened.main_part() == "a/doc x.xml"
    assert opened.related("a/doc x.xml", "styles") == ["b/s.xml", "b/s.xml"]
    assert opened.targets("a/doc x.xml") == {"r0": "b/s.xml", "r1": "b/s.xml"}
    assert opened.part("none.xml") is None


def test_without_media_empties_pictures_and_drops_dangling_relationships() -> None:
    data = package(
        {
            "_rels/.rels": relations(("x/image", "p.png"), ("x/image", "gone.png")),
            "p.png": b"picture",
            "d.xml": "<d/>",
        }
    )
    with zipfile.ZipFile(OoxmlPackage(data).without_media()) as slim:
        assert slim.read("p.png") == b""
        assert slim.read("d.xml") == b"<d/>"
        assert b"gone.png" not in slim.read("_rels/.rels")
        assert b"p.png" in slim.read("_rels/.rels")


def test_relationships_to_the_outside_are_never_parts() -> None:
    external = relations(("x/image", "d.xml"), mode=' TargetMode="External"')
    opened = OoxmlPackage(package({"_rels/.rels": external, "d.xml": "<d/>"}))
    assert opened.related("", "image") == []


def test_title_that_a_program_put_there_is_none() -> None:
    for title, expected in (("Word Document", ""), ("Real title", "Real title"), ("", "")):
        data = package(
            {
                "_rels/.rels": relations(("x/core-properties", "c.xml")),
                "c.xml": f'<c xmlns:dc="urn:dc"><dc:title>{title}</dc:title></c>',
            }
        )
        assert OoxmlPackage(data).title() == expected


def test_is_encrypted_office_needs_both_container_and_stream() -> None:
    ole, stream = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "EncryptedPackage".encode("utf-16-le")
    assert is_encrypted_office(ole + bytes(100) + stream)
    assert not is_encrypted_office(ole + bytes(100))
    assert not is_encrypted_office(bytes(8) + stream)
    with pytest.raises(InvalidArgument) as caught:
        OoxmlPackage(ole + stream)
    assert caught.value.reason == "DOCUMENT_ENCRYPTED"


def test_part_that_unpacks_to_too_much_raises_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = OoxmlPackage(package({"d.xml": b"<d>" + bytes(3_000) + b"</d>"}))
    monkeypatch.setattr(ooxml, "MAX_XML_BYTES", 3_000)
    with pytest.raises(ResourceExhausted) as caught:
        opened.part("d.xml")
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"
