"""Records what `make demo` prints: `demo/output.txt`, and `demo/demo.svg`, the picture of it in the README.

    python demo/record.py

The README shows a picture rather than the text, since the demo ingests the README: with the answers in
it, the questions would find it first. A test compares both files with what the demo prints.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).resolve().parent
OUTPUT = FOLDER / "output.txt"
PICTURE = FOLDER / "demo.svg"
COLUMNS = 120


def render(output: str) -> str:
    """Return a picture of a terminal that shows `output`."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    for line in ["$ make demo", *output.splitlines()]:
        style = "bold green" if line.startswith("$ ") else "dim" if line.startswith("server time") else ""
        console.print(Text(line, style=style))
    picture = console.export_svg(title="make demo", unique_id="demo")
    # without fonts that a reader's browser would fetch from elsewhere
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


def main() -> int:
    """Run the demo and write both files."""
    result = subprocess.run(
        [sys.executable, str(FOLDER / "run.py")],
        cwd=FOLDER.parent,
        env={**os.environ, "COLUMNS": str(COLUMNS)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    output = "\n".join(line.rstrip() for line in result.stdout.splitlines()) + "\n"
    OUTPUT.write_text(output, "utf-8")
    PICTURE.write_text(render(output), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
