r"""Injective spelling of arbitrary text in ASCII letters and digits.

Milvus tokenises the `lexemes` field by itself, and its tokenizers disagree: the one of Milvus Lite
splits at everything that the regular expression `\w` does not match, those of Milvus servers
either at everything that is not alphanumeric or at the word boundaries of Unicode UAX #29. A run
of ASCII lower-case letters and digits is exactly one token to all of them (UAX #29, rules WB5 and
WB8 to WB10), and lower-casing does not change it. So every lexeme is written in that alphabet:

    a to y, 0 to 9    as they are
    z                 zz
    any other         z, its code point in hexadecimal, z

After a `z` comes either a second one or a hexadecimal digit, and no hexadecimal digit is a `z`:
the spelling can be read back, hence two lexemes never share one.

    dte-33   dtez2dz33        3.14   3z2ez14        plaza   plazza        año   azf1zo
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxy0123456789")
_ESCAPE = re.compile("z(?:z|([0-9a-f]+)z)")
_REMEMBERED = 65_536


def escape(text: str) -> str:
    """Return the spelling of `text`; only the empty text has an empty one."""
    if text.isascii() and text.isalnum() and "z" not in text and not any(map(str.isupper, text)):
        return text
    return "".join(
        letter if letter in _PLAIN else "zz" if letter == "z" else f"z{ord(letter):x}z" for letter in text
    )


def escape_all(lexemes: Iterable[str]) -> str:
    """Return the text whose tokens are exactly `lexemes`, in order; empty ones are left out."""
    return " ".join(escape(lexeme) for lexeme in lexemes if lexeme)


@lru_cache(_REMEMBERED)
def unescape(spelling: str) -> str:
    """Return the text that `escape` spelled so."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else "z", spelling)


def unescape_all(text: str) -> list[str]:
    """Return the lexemes that `escape_all` made `text` of, in order."""
    if "z" not in text:
        return text.split()
    return [unescape(spelling) if "z" in spelling else spelling for spelling in text.split()]
