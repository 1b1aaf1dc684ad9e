"""`make bench`: every benchmark that needs no data but the repository's own, one after the other."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("floor", "embedder", "server")


def main() -> int:
    """Run them; return 1 where one missed a target."""
    failed = 0
    for name in BENCHMARKS:
        print(f"== benchmarks/{name}.py", flush=True)
        failed |= subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
