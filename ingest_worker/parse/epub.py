"""EPUB 2 and 3 (W3C): the chapters of the spine in order, with the headings of the table of contents."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from zipfile import ZipFile

from lxml import etree
from lxml import html as lxml_html

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.epub_contents import Entry, contents_of, place_entries
from ingest_worker.parse.html import drop_invisible, page_of
from ingest_worker.parse.html_blocks import html_blocks
from ingest_worker.parse.language import declared_language
from ingest_worker.parse.limits import require_encoded
from ingest_worker.parse.xml_tree import local_name, parse_xml, strip_namespaces
from ingest_worker.parse.zip_guard import open_guarded, read_member
from rag_server.domain.document import MediaType, ParsedDocument
from rag_server.errors import InvalidArgument

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_FONT_OBFUSCATION = {"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"}
"""Fonts only: the text is as it is."""
_PAGE_TYPES = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml"}


@dataclass(frozen=True, slots=True)
class _Item:
    """An entry of the manifest."""

    path: str
    """Of the member of the container."""
    media_type: str
    properties: frozenset[str]


class EpubParser:
    """Parser of `application/epub+zip`. Chapters are in memory one at a time."""

    media_types = frozenset({MediaType.EPUB})

    def parse(self, data: bytes) -> ParsedDocument:
        with open_guarded(data) as archive:
            _require_readable(archive)
            package_path = _package_path(archive)
            package = parse_xml(read_member(archive, package_path))
            items = _manifest(package, posixpath.dirname(package_path))
            toc = _contents(archive, package, items)
            parsed = assemble(
                _blocks(archive, _spine(package, items), toc),
                title=_metadata(package, "title"),
                language=declared_language(_metadata(package, "language")),
            )
        if not parsed.text:
            raise faults.has_no_text("none of its chapters has any, as in books of pictures")
        return parsed


def _require_readable(archive: ZipFile) -> None:
    """Raise `InvalidArgument` (`DOCUMENT_ENCRYPTED`) where more than fonts is encrypted."""
    if _ENCRYPTION not in archive.namelist():
        return
    root = parse_xml(read_member(archive, _ENCRYPTION))
    for method in _named(root, "EncryptionMethod"):
        if (
            local_name(method.getparent().tag) == "EncryptedData"
            and method.get("Algorithm") not in _FONT_OBFUSCATION
        ):
            raise faults.encrypted()


def _package_path(archive: ZipFile) -> str:
    for rootfile in _named(parse_xml(read_member(archive, _CONTAINER)), "rootfile"):
        if rootfile.get("full-path"):
            return str(rootfile.get("full-path"))
    raise faults.corrupt("is an EPUB that names no package")


def _manifest(package: etree._Element, folder: str) -> dict[str, _Item]:
    items: dict[str, _Item] = {}
    for item in _named(package, "item"):
        path = member_path(folder, item.get("href", ""))
        properties = frozenset(item.get("properties", "").split())
        items[item.get("id", "")] = _Item(path, item.get("media-type", ""), properties)
    return items


def member_path(folder: str, href: str) -> str:
    """Return the member that `href`, which stands in a file of `folder`, points to, without its fragment."""
    try:
        path = unquote(urlsplit(href).path)
    except ValueError:  # not a reference at all
        return ""
    return posixpath.normpath(posixpath.join(folder, path)) if path else ""


def _spine(package: etree._Element, items: dict[str, _Item]) -> list[_Item]:
    """Return the pages in reading order, each once and without the table of contents."""
    named = [items.get(reference.get("idref", "")) for reference in _named(package, "itemref")]
    if not named:
        raise faults.corrupt("is an EPUB without a spine")
    pages = [
        item for item in named if item and item.media_type in _PAGE_TYPES and "nav" not in item.properties
    ]
    return list(dict.fromkeys(pages))


def _contents(archive: ZipFile, package: etree._Element, items: dict[str, _Item]) -> dict[str, list[Entry]]:
    """Return the entries of the table of contents by the member that they point to."""
    navigation = next((item for item in items.values() if "nav" in item.properties), None)
    spine = next(iter(_named(package, "spine")), None)
    legacy = items.get(spine.get("toc", "")) if spine is not None else None
    entries: dict[str, list[Entry]] = {}
    for item in (navigation, legacy):
        if item is None or item.path not in archive.namelist() or entries:
            continue
        try:
            root = parse_xml(read_member(archive, item.path))
        except InvalidArgument:
            continue  # a book is readable without its table of contents
        folder = posixpath.dirname(item.path)
        for entry in contents_of(root):
            entries.setdefault(member_path(folder, entry.href), []).append(entry)
    return entries


def _blocks(archive: ZipFile, pages: list[_Item], toc: dict[str, list[Entry]]) -> Iterator[TextBlock]:
    for item in pages:
        source = read_member(archive, item.path)
        if not source.strip():
            continue
        try:
            page = _page(source)
            body = page.find("body") if page is not None else None
            if body is not None:
                place_entries(body, toc.get(item.path, []))
                yield from html_blocks(body)
        except RecursionError as error:
            raise faults.corrupt("nests its elements too deeply") from error


def _page(source: bytes) -> lxml_html.HtmlElement | None:
    """Return the root of a chapter: by the rules of XML, or by those of HTML where it breaks them."""
    require_encoded(len(source))
    try:
        root = parse_xml(source, lxml_html.XHTMLParser)
    except InvalidArgument:
        try:
            return page_of(decode_text(source))
        except InvalidArgument as error:
            if error.reason == "DOCUMENT_HAS_NO_TEXT":
                return None
            raise
    strip_namespaces(root)
    drop_invisible(root)
    return root


def _metadata(package: etree._Element, name: str) -> str:
    """Return the first value of a Dublin Core element."""
    metadata = next(iter(_named(package, "metadata")), None)
    found = (element.text or "" for element in _named(metadata, name)) if metadata is not None else iter(())
    return next((value.strip() for value in found if value.strip()), "")


def _named(root: etree._Element, name: str) -> list[etree._Element]:
    """Return the elements under `root` named `name`, in any namespace: real books are careless with them."""
    return [element for element in root.iter(etree.Element) if local_name(element.tag) == name]
