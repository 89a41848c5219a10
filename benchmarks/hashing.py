"""How fast what is read is hashed, and what an unchanged large log costs the next command.

    python benchmarks/hashing.py     # 1 GiB on disk and in the page cache; the log of 10 GB is a sparse file

`BLAKE3` is `shopkeeper.hashing.hash_file` on a file in the page cache, beside SHA-256 of the standard library. The
remembered log is asked for by a process of its own, its interpreter's start left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _results import at_least, at_most, row, write_result
from shopkeeper import hashing
from shopkeeper.files import sha256_file

GIB, LOG = 1 << 30, 10 * 10**9
ASK = "import sys, time; from pathlib import Path; from shopkeeper.hashing import hash_file; p = Path(sys.argv[1])\n"
ASK += "t = time.perf_counter(); hash_file(p); print(time.perf_counter() - t)"


def speed(make: object, path: Path, repetitions: int) -> list[float]:
    """GB/s of each repetition."""
    found = []
    for _ in range(repetitions):
        began = time.perf_counter()
        make(path)  # type: ignore[operator]
        found.append(path.stat().st_size / (time.perf_counter() - began) / 1e9)
    return found


def main(repetitions: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        block = os.urandom(GIB // 8)
        with open(folder / "one", "wb") as file:
            for _ in range(8):
                file.write(block)
        rows = [
            row(
                "BLAKE3",
                "1 GiB in the page cache",
                "speed",
                "GB/s",
                speed(hashing._blake3, folder / "one", repetitions),
            ),
            row("SHA-256", "1 GiB in the page cache", "speed", "GB/s", speed(sha256_file, folder / "one", repetitions)),
        ]
        with open(folder / "log", "wb") as file:
            file.truncate(LOG)
        time.sleep(2 * hashing.RACY_NS / 1e9)  # what was just written is not remembered
        hashing.hash_file(folder / "log")
        asked = [
            float(subprocess.run([sys.executable, "-c", ASK, str(folder / "log")], capture_output=True, text=True,
                                 check=True).stdout)
            for _ in range(repetitions)
        ]  # fmt: skip
        rows.append(row("remembered", "10 GB, unchanged", "time", "s", asked))
    claims = [
        at_least("trust", "hashing what is read, GB/s on 2 cores", rows[0]["median"], 1.5),
        at_most("trust", "an unchanged log of 10 GB, seconds", rows[2]["median"], 0.1),
    ]
    write_result("hashing", rows, claims)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    main(parser.parse_args().repetitions)
