"""The text of one WordprocessingML paragraph as it reads: what was deleted or hidden is left out."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from ingest_worker.parse.docx_styles import W

M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_SKIPPED = {
    *(f"{W}{name}" for name in ("del", "moveFrom", "delText", "instrText", "delInstrText", "pPr", "rPr")),
    *(f"{W}{name}" for name in ("sdtPr", "sdtEndPr", "rt", "fldData", "tblPr", "object")),
    *(f"{M}{name}" for name in ("rPr", "ctrlPr", "fPr", "sSupPr", "sSubPr", "radPr", "dPr", "naryPr")),
    f"{MC}Fallback",
}
_CHARACTERS = {f"{W}tab": "\t", f"{W}ptab": "\t", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}
_NOTES = {f"{W}footnoteReference": "footnote", f"{W}endnoteReference": "endnote"}
_PRIVATE_USE = range(0xF000, 0xF100)
"""Where symbol fonts put their characters."""
_SYMBOLS = {"F0B7": "•", "F0A7": "•", "F0E0": "→", "F0DF": "←", "F0FC": "✓", "F0FE": "☑", "F0A8": "☐"}
_OFF = {"0", "false", "off", "none"}


class ParagraphText:
    """Reads paragraphs and notes the footnotes and text boxes that it meets."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []
        """Kind (`footnote` or `endnote`) and id of each reference, since last emptied by the caller."""
        self.boxes: list[etree._Element] = []
        """The `w:txbxContent` elements, likewise."""
        self.note_count = 0

    def read(self, paragraph: etree._Element) -> str:
        """Return the text of `paragraph`, its line breaks as line feeds."""
        return "".join(self._pieces(paragraph))

    def _pieces(self, element: etree._Element) -> Iterator[str]:
        for child in element:
            tag = child.tag
            if tag in {f"{W}t", f"{M}t"}:
                yield child.text or ""
            elif tag in _CHARACTERS:
                yield _CHARACTERS[tag]
            elif tag == f"{W}br":
                yield "" if child.get(f"{W}type") in {"page", "column"} else "\n"
            elif tag == f"{W}sym":
                yield _symbol(child.get(f"{W}char") or "")
            elif tag in _NOTES:
                self.note_count += 1
                self.notes.append((_NOTES[tag], child.get(f"{W}id") or ""))
                yield f"[{self.note_count}]"
            elif tag == f"{W}txbxContent":
                self.boxes.append(child)
            elif tag == f"{W}r":
                if not _is_hidden(child):
                    yield from self._pieces(child)
            elif tag in _MATH:
                yield from self._math(child)
            elif tag not in _SKIPPED:
                yield from self._pieces(child)

    def _math(self, element: etree._Element) -> Iterator[str]:
        """Yield a formula on one line, such as `(a+b)/2` or `x^2`."""
        sign, names = _MATH[element.tag]
        parts = ["".join(self._pieces(part)) for name in names for part in element.iterfind(f"{M}{name}")]
        if element.tag == f"{M}rad":
            degree, base = (parts if len(parts) > 1 else ["", *parts, ""])[:2]
            yield f"{degree}√({base})"
        else:
            yield sign.join(part if _is_closed(part) else f"({part})" for part in parts if part)


_MATH = {
    f"{M}f": ("/", ("num", "den")),
    f"{M}sSup": ("^", ("e", "sup")),
    f"{M}sSub": ("_", ("e", "sub")),
    f"{M}rad": ("", ("deg", "e")),
}
"""Elements whose parts a sign must part, with the names of these parts."""


def _is_closed(part: str) -> bool:
    """Whether `part` of a formula needs no parentheses around it; within, they may be several pairs."""
    return len(part) == 1 or (part[0] == "(" and part[-1] == ")" and part.count("(") == 1)


def _is_hidden(run: etree._Element) -> bool:
    vanish = run.find(f"{W}rPr/{W}vanish")
    return vanish is not None and vanish.get(f"{W}val") not in _OFF


def _symbol(code: str) -> str:
    if code.upper() in _SYMBOLS:
        return _SYMBOLS[code.upper()]
    try:
        value = int(code, 16)
        return "" if value in _PRIVATE_USE else chr(value)
    except (ValueError, OverflowError):
        return ""
