"""How a violation names the entry of a map.

Fields are written as in the proto (`options.filter.boolean.must[2].comparison.field`). An entry whose
key looks like a name continues the path (`document.metadata.price`); any other key is quoted as a JSON
string in ASCII (`labels["a b"]`), so that a hostile key can neither break the path nor a log line.
"""

from __future__ import annotations

import json
import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MAX_KEY_CHARACTERS: Final = 64


def entry_path(map_path: str, key: str) -> str:
    """Return the path of the entry `key` of the map at `map_path`; a long odd key is cut."""
    if _NAME.fullmatch(key):
        return f"{map_path}.{key}"
    if len(key) > _MAX_KEY_CHARACTERS:
        key = key[:_MAX_KEY_CHARACTERS] + "..."
    return f"{map_path}[{json.dumps(key)}]"
