"""Make `corpus/electronic-invoicing.pdf` from the text in this file; the same bytes every time.

python demo/make_pdf.py
"""

from __future__ import annotations

from pathlib import Path

from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer

TARGET = Path(__file__).parent / "corpus" / "electronic-invoicing.pdf"
TITLE = "Electronic invoicing handbook"

Page = tuple[tuple[str, str], ...]
"""Style and text of each block."""

PAGES: tuple[Page, ...] = (
    (
        ("Title", TITLE),
        (
            "BodyText",
            "Ferretería Los Aromos issues every tax document electronically. This handbook is for the "
            "back office of both branches: it says which document to issue, what can be corrected "
            "afterwards, and what to do when the connection to the tax authority is down.",
        ),
        ("Heading2", "Which document to issue"),
        (
            "BodyText",
            "A customer who buys for a company receives an electronic invoice, document type 33. A "
            "customer who buys for the household receives a receipt, document type 39. Goods that leave"
            " the warehouse before they are invoiced travel with a dispatch guide, document type 52.",
        ),
        (
            "BodyText",
            "The invoice needs the tax number, the legal name, the line of business and the address of "
            "the buyer. The ERP fills them in from the customer's record; ask for the tax number first "
            "and check that the name matches. An invoice without a line of business is rejected.",
        ),
        ("Heading2", "When documents are sent"),
        (
            "BodyText",
            "The ERP signs each document with the shop's digital certificate and sends it within one "
            "minute. The answer of the tax authority usually arrives within ten minutes and is shown as"
            " accepted, accepted with objections, or rejected. The certificate of the shop expires "
            "every March: the accountant renews it two weeks before.",
        ),
    ),
    (
        ("Heading2", "Folio numbers"),
        (
            "BodyText",
            "Every document takes the next folio from a range that the tax authority has authorised. "
            "The ERP warns the back office when fewer than 200 folios of a type are left. Request a new"
            " range on the same day: when the folios run out, the till cannot sell.",
        ),
        (
            "BodyText",
            "Authorised folios expire after six months. Expired folios are cancelled in the ERP and "
            "never used, even if the range still looks open.",
        ),
        ("Heading2", "Correcting a document"),
        (
            "BodyText",
            "A document that has been sent is never edited. A wrong price or a returned product is "
            "corrected with a credit note, document type 61, which refers to the folio of the invoice. "
            "A charge that was forgotten is added with a debit note, document type 56.",
        ),
        (
            "BodyText",
            "The buyer has eight calendar days to reject an electronic invoice. After the eighth day "
            "the invoice counts as accepted, and a credit note no longer reduces the tax of the month "
            "in which it was issued without the buyer's consent.",
        ),
    ),
    (
        ("Heading2", "When the connection is down"),
        (
            "BodyText",
            "If the tax authority cannot be reached, the till goes on selling in contingency mode. "
            "Documents are signed, stored and printed with the legend CONTINGENCY, and the ERP sends "
            "them by itself as soon as the connection is back. Documents issued in contingency mode "
            "have to be sent within twelve hours.",
        ),
        (
            "BodyText",
            "If the till itself has no power, use the yellow pad in the safe. Each sheet is entered "
            "into the ERP before the shop opens on the next day, by the same person who wrote it.",
        ),
        ("Heading2", "What is kept, and for how long"),
        (
            "BodyText",
            "The signed XML of every document is kept for six years, in the ERP and in a second copy "
            "outside the building. The printed copy is not a substitute: only the signed XML proves the"
            " sale.",
        ),
    ),
)


def main() -> None:
    """Write the file."""
    styles = getSampleStyleSheet()
    story: list[object] = []
    for index, page in enumerate(PAGES):
        story += [PageBreak()] if index else []
        for style, text in page:
            story += [Paragraph(text, styles[style]), Spacer(0, 2 * mm)]
    document = SimpleDocTemplate(  # invariant: without dates and random ids
        str(TARGET), pagesize=A4, title=TITLE, author="Ferretería Los Aromos", lang="en", invariant=1
    )
    document.build(story)


if __name__ == "__main__":
    main()
