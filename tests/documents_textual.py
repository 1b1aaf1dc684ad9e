"""Builders of small documents in marked-up text, data, mail and books, for tests."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>'
    "</rootfiles></container>"
)
CHAPTER = (
    '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>'
    '<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
)


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP file of `members`."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def epub_members(
    chapters: Mapping[str, str],
    *,
    toc: Sequence[tuple[str, str]] = (),
    title: str = "Keeping bees",
    language: str = "en-GB",
) -> dict[str, str | bytes]:
    """Return the members of an EPUB 3 with `chapters` (file name to body) in this order."""
    items = "".join(
        f'<item id="c{number}" href="{name}" media-type="application/xhtml+xml"/>'
        for number, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{number}"/>' for number in range(len(chapters)))
    links = "".join(f'<li><a href="{href}">{label}</a></li>' for href, label in toc)
    navigation = CHAPTER.replace("<html ", '<html xmlns:epub="http://www.idpf.org/2007/ops" ').format(
        f'<nav epub:type="toc"><ol>{links}</ol></nav>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{title}</dc:title><dc:language>{language}</dc:language></metadata>"
        f"<manifest>{items}"
        '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
        f'</manifest><spine><itemref idref="nav"/>{spine}</spine></package>'
    )
    return {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": package,
        "OEBPS/nav.xhtml": navigation,
        **{f"OEBPS/{name}": CHAPTER.format(body) for name, body in chapters.items()},
    }


def epub() -> bytes:
    """Return an EPUB of two chapters."""
    chapters = {
        "one.xhtml": "<h1>The hive</h1><p>A hive holds one queen.</p>",
        "two.xhtml": "<h1>The winter</h1><p>Bees eat honey.</p><ul><li>of heather</li></ul>",
    }
    return zipped(epub_members(chapters))


EML = b"""From: =?utf-8?q?Mar=C3=ADa?= <maria@example.org>
To: Bob <bob@example.org>
Subject: The hive
Date: Tue, 05 May 2026 10:00:00 +0200
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

La colmena est=E1 llena.

> How is it?
--inner
Content-Type: text/html

<p>not this one</p>
--inner--
--outer
Content-Type: application/pdf; name="bees.pdf"
Content-Disposition: attachment; filename="bees.pdf"
Content-Transfer-Encoding: base64

JVBERi0=
--outer--
"""

DOCBOOK = b"""<?xml version="1.0"?>
<article xmlns="http://docbook.org/ns/docbook" xml:lang="en"><info><title>Bees</title>
<author><firstname>Jane</firstname><surname>Doe</surname></author></info>
<section><title>The <emphasis>queen</emphasis></title>
<para>She lays <emphasis>two thousand</emphasis> eggs.</para>
<itemizedlist><listitem><para>one</para></listitem><listitem><para>two</para></listitem></itemizedlist>
<programlisting>queen = 1
hive.add(queen)</programlisting>
<section><title>Food</title><para>Jelly.</para></section></section></article>
"""

RST = b"""=========
The hive
=========

A hive holds *one* queen, see :ref:`the queen <queen>`.

.. _queen:

The queen
---------

- lays eggs
- lives long

.. code-block:: python

   queen = 1

.. versionadded:: 3.2
   She lives for :pep:`8` years.

.. raw:: html

   <script>raw</script>

=====  =====
month  kilos
=====  =====
May    12
=====  =====
"""

ORG = b"""#+TITLE: Keeping bees
#+AUTHOR: Jane Doe
#+OPTIONS: toc:nil
* TODO [#A] The hive :bees:
:PROPERTIES:
:ID: 12
:END:
A hive holds [[https://example.org][one queen]].
# a comment
** Food
- jelly
  1. royal
#+BEGIN_SRC python
queen = 1
#+END_SRC
| month | kilos |
|-------+-------|
| May   | 12    |
"""


def notebook(*cells: Mapping[str, Any], **metadata: Any) -> bytes:
    """Return a notebook (nbformat 4) of `cells`."""
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}).encode()


NOTEBOOK = notebook(
    {"cell_type": "markdown", "source": ["# Bees\n", "\n", "Count **them**.\n"]},
    {
        "cell_type": "code",
        "source": "count()",
        "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["\x1b[31m12\x1b[0m\n"]},
            {
                "output_type": "display_data",
                "data": {"image/png": "iVBORw0=", "text/plain": "<Figure size 1x1>"},
            },
        ],
    },
)

JSON = b'{"title": "Bees", "queens": 1, "hive": {"workers": 60000, "full": true}, "months": ["May", "June"]}'
JSONL = b'{"name": "heather", "kilos": 1.50}\n\n{"kilos": NaN, "note": null}\n'
