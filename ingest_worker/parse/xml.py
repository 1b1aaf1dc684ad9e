"""XML: documents (DocBook, JATS, TEI and the like) as prose with headings, data as records."""

from __future__ import annotations

from lxml import etree

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.html import HtmlParser
from ingest_worker.parse.html_blocks import html_blocks
from ingest_worker.parse.json_values import Value, label_of, value_blocks
from ingest_worker.parse.language import declared_language
from ingest_worker.parse.xml_document import is_document, to_html
from ingest_worker.parse.xml_tree import local_name, parse_xml, strip_namespaces
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

_XML_NAMESPACES = ("{http://www.w3.org/XML/1998/namespace}", "{http://www.w3.org/2001/XMLSchema-instance}")


class XmlParser:
    """Parser of `application/xml`. What has paragraphs or runs of mixed text and elements is a document."""

    media_types = frozenset({MediaType.XML})

    def parse(self, data: bytes) -> ParsedDocument:
        root = parse_xml(data)
        if local_name(root.tag) == "html":
            return HtmlParser().parse(data)
        language = declared_language(root.get(f"{_XML_NAMESPACES[0]}lang") or root.get("lang") or "")
        strip_namespaces(root)
        blocks: list[TextBlock]
        if is_document(root):
            to_html(root)
            blocks = html_blocks(root)
            title = next((block.text for block in blocks if block.kind is BlockKind.HEADING), "")
            parsed = assemble(blocks, title=title, language=language)
        else:
            value = _value(root)
            parsed = assemble(value_blocks(value), title=_title(value), language=language)
        if not parsed.text:
            raise faults.has_no_text("its elements hold none")
        return parsed


def _value(element: etree._Element) -> Value:
    """Return the data in `element`: attributes and children by name, those of one name as an array."""
    text = (element.text or "").strip()
    members: dict[str, Value | list[Value]] = {
        local_name(name): value for name, value in element.items() if not name.startswith(_XML_NAMESPACES)
    }
    repeated: dict[str, list[Value]] = {}
    for child in element:
        value = _value(child)
        if child.tag in repeated:
            repeated[child.tag].append(value)
        elif child.tag in members:
            repeated[child.tag] = [members[child.tag], value]
            members[child.tag] = repeated[child.tag]
        else:
            members[child.tag] = value
    if not members:
        return text
    return {**members, "text": text} if text else members


def _title(value: Value) -> str:
    """Return what the data calls itself: its root, or the only part that its root has, as in RSS."""
    if isinstance(value, dict):
        inner = [member for member in value.values() if isinstance(member, dict)]
        return label_of(value) or (label_of(inner[0]) if len(inner) == 1 else "")
    return ""
