"""Builders of small documents in every format, intact and broken, for tests."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import reportlab
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pagesizes import A4, A5
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00" + bytes(40)

PDF_PAGES: tuple[tuple[tuple[str, str], ...], ...] = (
    (
        ("Title", "Keeping bees"),
        ("BodyText", "A hive holds one queen and up to sixty thousand workers in summer. " * 5),
        ("Heading2", "The queen"),
        ("BodyText", "The queen lays two thousand eggs a day. She lives for up to five years."),
    ),
    (
        ("Heading2", "The winter"),
        ("BodyText", "La colmena necesita quince kilos de miel para pasar el invierno."),
    ),
)
"""Pages of (style, text), as `pdf` takes them."""


def pdf(
    pages: Sequence[Sequence[tuple[str, str]]] = PDF_PAGES, *, title: str | None = None, password: str = ""
) -> bytes:
    """Return a PDF with `pages`; styles are `Title`, `Heading1` to `Heading3` and `BodyText`."""
    styles = getSampleStyleSheet()
    story: list[object] = []
    for index, page in enumerate(pages):
        story += [PageBreak()] if index else []
        story += [Paragraph(text, styles[style]) for style, text in page]
    target = io.BytesIO()
    encryption = StandardEncryption(password, ownerPassword="owner", canPrint=0) if password else None
    SimpleDocTemplate(target, pagesize=A5, title=title, encrypt=encryption).build(story)
    return target.getvalue()


def pdf_of_lines(lines: Sequence[tuple[float, float, str]]) -> bytes:
    """Return a PDF of one page with 12-point text at (left, bottom), in points."""
    target = io.BytesIO()
    canvas = Canvas(target)
    for left, bottom, text in lines:
        canvas.drawString(left, bottom, text)
    canvas.save()
    return target.getvalue()


def pdf_encrypted() -> bytes:
    """Return a PDF that needs a password to open."""
    return pdf(password="secret")


def pdf_restricted() -> bytes:
    """Return a PDF that opens without a password but forbids printing."""
    target = io.BytesIO()
    canvas = Canvas(target, encrypt=StandardEncryption("", ownerPassword="owner", canPrint=0))
    canvas.drawString(100, 700, "Anyone may read this.")
    canvas.save()
    return target.getvalue()


def pdf_truncated(share: float = 0.5) -> bytes:
    """Return the first `share` of a PDF."""
    whole = pdf()
    return whole[: int(len(whole) * share)]


def pdf_scanned(page_count: int = 2) -> bytes:
    """Return a PDF with drawings on its pages but no text."""
    target = io.BytesIO()
    canvas = Canvas(target)
    for _ in range(page_count):
        canvas.rect(50, 50, 400, 600, fill=1)
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def pdf_of_pictures(pages: Sequence[Sequence[tuple[float, float, float, str]]]) -> bytes:
    """Return a PDF in A4 of pictures, 150 dots per inch, with text at (left, top, size), in points."""
    font = Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"
    dots = 150 / 72
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=A4)
    for page in pages:
        picture = Image.new("L", (round(A4[0] * dots), round(A4[1] * dots)), 255)
        for left, top, size, text in page:
            place = (left * dots, top * dots)
            ImageDraw.Draw(picture).text(place, text, font=ImageFont.truetype(font, size * dots), fill=0)
        canvas.drawImage(ImageReader(picture), 0, 0, *A4)
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def pdf_with_broken_page() -> bytes:
    """Return a PDF whose only page is no page object."""
    return re.sub(rb"/Type /Page\b(?!s)", b"/Type /Pagf", pdf_of_lines([(100, 700, "lost")]))


HTML = """<!DOCTYPE html>
<html lang="es"><head><title>Abejas - El sitio</title><style>p { color: red }</style>
<script>var tracking = "script text";</script></head>
<body><nav><a href="/">Home</a> <a href="/about">About us</a></nav>
<article><h1>Las abejas</h1>
<p>Una colmena tiene una <b>reina</b> y
hasta sesenta mil obreras en verano, que recogen n&eacute;ctar y polen.</p>
<h2>La miel</h2>
<p>La miel madura en el panal hasta que pierde casi toda su agua.</p>
<ul><li>de romero<ul><li>clara</li></ul></li><li>de <a href="/b">brezo</a></li></ul>
<table><tr><th>mes</th><th>kilos</th></tr><tr><td>mayo</td><td>12</td></tr></table>
<pre><code>def honey():
    return 12
</code></pre>
<p hidden>hidden attribute</p><p style="display: none">hidden style</p>
</article>
<footer>Copyright footer</footer></body></html>
"""

MARKDOWN = """---
title: "Keeping bees"
lang: en
tags: [bees]
---
# Bees

A hive holds one queen.

## The queen

- lays eggs
- lives long

```python
# not a heading

queen = 1
```

The winter
----------

| month | kilos |
|-------|-------|
| May   | 12    |

> Bees make honey.

[link]: https://example.org/
"""


_OOXML_TYPES = """<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/{part}" ContentType="{main}.main+xml"/></Types>"""


def archive(members: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP archive of `members`, in their order; one called `mimetype` is stored as it is."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            kind = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            # not as a name: that would be dated, and the bytes differ from second to second
            file.writestr(zipfile.ZipInfo(name), content, compress_type=kind)
    return target.getvalue()


def office_shell(part: str, main_type: str) -> bytes:
    """Return the outside of an Office Open XML document: what its format is told by, and no content."""
    types = _OOXML_TYPES.format(part=part, main=main_type)
    return archive({"[Content_Types].xml": types, "_rels/.rels": "<Relationships/>", part: "<x/>"})


def compound_file(stream: str) -> bytes:
    """Return a compound file (OLE2, version 3) with one empty stream called `stream`."""
    free, end, fat = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    signature = bytes.fromhex("d0cf11e0a1b11ae1")
    header = signature + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, end, 0, end, 0)
    header += struct.pack("<109I", 0, *[free] * 108)
    table = struct.pack("<128I", fat, end, *[free] * 126)
    entries = [("Root Entry", 5, 1), (stream, 2, free)]
    directory = b"".join(
        name.encode("utf-16-le").ljust(64, b"\0")
        + struct.pack("<HBBIII", 2 * len(name) + 2, kind, 1, free, free, child)
        + bytes(36)
        + struct.pack("<IQ", end, 0)
        for name, kind, child in entries
    )
    empty = bytes(66) + struct.pack("<BBIII", 0, 0, free, free, free) + bytes(36) + struct.pack("<IQ", 0, 0)
    return header + table + directory + empty * 2
