"""Does the question ask for a number, and does a sentence have one?

The one expected answer type that shows on the surface in any domain. Expected answer types:
Prager, Brown, Coden and Radev, "Question-answering by predictive annotation", SIGIR 2000.
"""

from __future__ import annotations

import re

_ASKS = re.compile(
    r"""
    ^\W*(?:(?:and|since|until|from|by|y|desde|hasta|para)\s)?(?:when|cuando)\b
    |\b(?:what|which)\s(?:year|date|day|month|century|decade)\b
    |\bcuándo\b
    |\b(?:qu[eé]|cu[aá]l)\s(?:año|fecha|día|mes|siglo|década)\b
    |\bhow\s(?:many|much|long|old|far|tall|large|big|high|fast|often|deep|wide)\b
    |\bwhat\s(?:percent\w*|number|amount|population|temperature|share|price)\b
    |\bcu[aá]nt[oa]s?\b
    |\bqué\s(?:porcentaje|número|cantidad|edad|proporción|precio|plazo)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NUMBER = re.compile(
    r"""
    \d|\b(?:
      one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|thousand|million|billion
      |half|third|quarter|once|twice
      |dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|doce|cien|cientos?|mil|miles|mill[oó]n|millones
      |mitad|tercio|cuarto|doble
    )\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def asks_for_number(question: str) -> bool:
    """Whether `question` (Spanish or English) asks when, how many, how much."""
    return _ASKS.search(question) is not None


def has_number(sentence: str) -> bool:
    """Whether `sentence` has a digit or a number word."""
    return _NUMBER.search(sentence) is not None
