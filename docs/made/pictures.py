"""The pictures of the page about the report: parts of a really written one, in Chromium.

python docs/made/pictures.py reports/orders/temporal     # the report that the Start page leaves
python docs/made/pictures.py reports/demo_shop/temporal --top docs/report.png     # of `make demo`: the README's
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]  # where pages are looked at in the same way

from browser import screenshot  # noqa: E402 (found by the line before)

PARTS = {"answer": 410, "slices-next_item": 640, "sanity-next_item": 560}
"""Section of the report -> how many pixels of it are shown."""
WIDTH, COLOURS = 1000, 96
TOP = 1280, 1500


def main() -> None:
    """Make each picture, in few colours, so that it is small."""
    from PIL import Image

    page = Path(sys.argv[1]) / "report.html"
    if sys.argv[2:3] == ["--top"]:
        path = Path(sys.argv[3])
        screenshot(page, path, *TOP)
        Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size:,} bytes")
        return
    report = page.read_text(encoding="utf-8")
    folder = ROOT / "docs" / "site" / "pictures"
    folder.mkdir(exist_ok=True)
    for part, height in PARTS.items():
        path = folder / f"report-{part.partition('-')[0]}.png"
        alone = f"<style>header, nav, footer, section:not(#{part}) {{ display: none !important }}</style></head>"
        with tempfile.TemporaryDirectory() as place:
            page = Path(place) / "part.html"
            page.write_text(report.replace("</head>", alone, 1), encoding="utf-8")
            screenshot(page, path, WIDTH, height)
        Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
