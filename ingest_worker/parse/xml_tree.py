"""XML from strangers (OWASP, XXE prevention): no entities, no DTD, no network, a bound on elements."""

from __future__ import annotations

import html.entities
from typing import Any

from lxml import etree

from ingest_worker.parse import faults
from ingest_worker.parse.limits import require_encoded, require_parts

_MAX_TAGS = 2_000_000
"""Opening and closing ones; some 300 MB in memory."""
_MAX_DIGITS = 9
_SAFE: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "remove_comments": True,
    "remove_pis": True,
    "huge_tree": False,  # which also bounds the depth, at 256
}


def parse_xml(data: bytes, parser_class: type[etree.XMLParser] = etree.XMLParser) -> etree._Element:
    """Return the root of the document in `data`; `parser_class` decides what its elements are.

    Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) where it is not well-formed, nests too deeply or declares
    entities, and `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) where it is too long or has too many elements.
    """
    require_encoded(len(data))
    require_parts(data.count(b"<"), _MAX_TAGS, "tags")
    try:
        root = etree.fromstring(data.lstrip(), parser_class(**_SAFE))
    except etree.XMLSyntaxError as error:
        raise faults.corrupt(f"is not well-formed XML at line {error.lineno or 1}") from error
    except ValueError as error:  # a name or an encoding that lxml refuses
        raise faults.corrupt("is not well-formed XML") from error
    if root is None:
        raise faults.corrupt("is not well-formed XML: it has no element")
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and next(declared.iterentities(), None) is not None:
        raise faults.corrupt(
            "is XML that declares entities, which are not read; write out what they stand for"
        )
    _write_out_entities(root)
    return root


def parse_part(data: bytes) -> etree._Element:
    """Return the root of a part of a package: Office Open XML and OpenDocument know no document types.

    The container bounds its size. Raises `InvalidArgument` (`DOCUMENT_CORRUPT`).
    """
    try:
        root = etree.fromstring(data, etree.XMLParser(**_SAFE))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise faults.corrupt("has a part that is not well-formed XML: truncated or damaged") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise faults.corrupt("has a part with a document type declaration, which its format does not allow")
    return root


def integer(text: str | None, default: int) -> int:
    """Return the number that the attribute `text` says, `default` where it says none of up to 9 digits."""
    said = (text or "").strip()
    return int(said) if said.isdecimal() and len(said) <= _MAX_DIGITS else default


def local_name(name: object) -> str:
    """Return the name of an element or attribute without its namespace; empty for what is no element."""
    return name.rpartition("}")[2] if isinstance(name, str) else ""


def strip_namespaces(root: etree._Element) -> None:
    """Give each element under `root` its local name."""
    for element in root.iter(etree.Element):
        element.tag = local_name(element.tag)


def _write_out_entities(root: etree._Element) -> None:
    """Replace references to HTML's named characters, which DTDs of publishers share; others say nothing."""
    for reference in list(root.iter(etree.Entity)):
        character = html.entities.html5.get(f"{reference.name};", "")
        text = character + (reference.tail or "")
        previous, parent = reference.getprevious(), reference.getparent()
        if previous is not None:
            previous.tail = (previous.tail or "") + text
        elif parent is not None:
            parent.text = (parent.text or "") + text
        if parent is not None:
            reference.tail = None
            parent.remove(reference)
