"""Office Open XML packages (ECMA-376 part 2): their parts, how these relate, and what is wrong with them."""

from __future__ import annotations

import io
import posixpath
import zipfile
from urllib.parse import unquote

from lxml import etree

from ingest_worker.parse import faults
from ingest_worker.parse.xml_tree import parse_part
from ingest_worker.parse.zip_guard import open_guarded, read_member

MAX_XML_BYTES = 100 << 20
"""Of one part; its tree takes some ten times as much memory."""
_OLE_SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_XML_SUFFIXES = (".xml", ".rels", ".vml")
_TRANSITIONAL = "http://schemas.openxmlformats.org/"
_STRICT_NAMESPACES = tuple(
    (f"http://purl.oclc.org/ooxml/{family}/".encode(), f"{_TRANSITIONAL}{family}/2006/".encode())
    for family in (
        *("officeDocument", "wordprocessingml", "spreadsheetml", "presentationml", "drawingml"),
        *("schemaLibrary", "customXml"),
    )
)
"""ISO/IEC 29500 Strict differs from Transitional, which all libraries read, in its namespaces above all."""
_PLACEHOLDER_TITLES = {
    *("word document", "powerpoint presentation", "excel spreadsheet", "untitled", "title", "presentation"),
    *("document", "slide 1", "presentación de powerpoint", "powerpoint-präsentation"),
}


def is_encrypted_office(data: bytes) -> bool:
    """Whether `data` is an OOXML document with a password: an OLE container around the cipher text.

    See [MS-OFFCRYPTO] 2.3; the names in the directory of an OLE container are UTF-16.
    """
    return data.startswith(_OLE_SIGNATURE) and _ENCRYPTED_STREAM in data


class OoxmlPackage:
    """The parts of one package, read on demand."""

    def __init__(self, data: bytes) -> None:
        """Open the package in `data`.

        Raises `InvalidArgument` with reason `DOCUMENT_ENCRYPTED` or `DOCUMENT_CORRUPT`, and
        `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) for what unpacks to too much.
        """
        if is_encrypted_office(data):
            raise faults.encrypted()
        self._archive = open_guarded(data)
        self._names = {name.replace("\\", "/").lstrip("/"): name for name in self._archive.namelist()}

    def main_part(self) -> str:
        """Return the name of the part that the document itself is. Raises `DOCUMENT_CORRUPT`."""
        found = self.related("", "officeDocument")
        if not found:
            raise faults.corrupt("is a package without a main part: truncated or damaged")
        return found[0]

    def related(self, part: str, kind: str) -> list[str]:
        """Return the names of the parts that `part` refers to by relationships whose type ends in `kind`."""
        return [
            target
            for relation, target in self._relations(part)
            if (relation.get("Type") or "").rpartition("/")[2] == kind
        ]

    def targets(self, part: str) -> dict[str, str]:
        """Return the names of the parts that `part` refers to, by the ids of the relationships."""
        return {relation.get("Id") or "": target for relation, target in self._relations(part)}

    def part(self, name: str) -> etree._Element | None:
        """Return the root of the XML part `name`, or None where there is none. Raises `DOCUMENT_CORRUPT`."""
        if name not in self._names:
            return None
        return parse_part(self.content(name))

    def title(self) -> str:
        """Return the title that the properties of the document declare, or an empty string."""
        for name in self.related("", "core-properties"):
            properties = self.part(name)
            title = "" if properties is None else str(properties.findtext("{*}title") or "")
            return "" if title.strip().lower() in _PLACEHOLDER_TITLES else title
        return ""

    def without_media(self) -> io.BytesIO:
        """Return the package with its binary parts emptied and without dangling relationships.

        For libraries that read every part into memory and stumble over one that is missing.
        """
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as slim:
            for name in self._names:
                content = self.content(name) if name.lower().endswith(_XML_SUFFIXES) else b""
                if name.lower().endswith(".rels") and content:
                    content = self._intact_relations(name, content)
                slim.writestr(name, content)
        target.seek(0)
        return target

    def content(self, name: str) -> bytes:
        """Return the XML part `name`, in the namespaces of the Transitional conformance class."""
        content = read_member(self._archive, self._names[name], MAX_XML_BYTES)
        if b"http://purl.oclc.org/ooxml/" in content:
            for strict, transitional in _STRICT_NAMESPACES:
                content = content.replace(strict, transitional)
        return content

    def _relations(self, part: str) -> list[tuple[etree._Element, str]]:
        """Return the relationships of `part` to parts that there are."""
        folder, name = posixpath.split(part)
        relations = self.part(posixpath.join(folder, "_rels", f"{name}.rels"))
        targets = [] if relations is None else _internal(relations, folder)
        return [(relation, target) for relation, target in targets if target in self._names]

    def _intact_relations(self, name: str, content: bytes) -> bytes:
        root = parse_part(content)
        folder = posixpath.dirname(posixpath.dirname(name))
        for relation, target in _internal(root, folder):
            if target not in self._names:
                root.remove(relation)
        return bytes(etree.tostring(root, encoding="utf-8", xml_declaration=True))


def _internal(relations: etree._Element, folder: str) -> list[tuple[etree._Element, str]]:
    """Return the relationships within the package, each with the name of the part that it points to."""
    return [
        (
            relation,
            posixpath.normpath(posixpath.join("/" + folder, unquote(relation.get("Target") or ""))).lstrip(
                "/"
            ),
        )
        for relation in relations.iterfind("{*}Relationship")
        if relation.get("TargetMode") != "External"
    ]
