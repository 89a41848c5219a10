"""How large a report's page is, and how fast it opens, with fifteen models.

    python benchmarks/report.py --note "…"

The demo shop: twelve recommenders and three models of churn beside an oracle each, today's customers, segments, an
audience that is over and one of today, twelve customers in the shop window. Opened in headless Chromium from the file,
as it is read: from the start of the navigation until scripts have run and everything is laid out.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from _results import ROOT, at_most, not_had, row, write_result

RECOMMENDERS = (
    "popularity", "recent_popularity", "recency", "personal_frequency", "item_knn", "ease", "user_knn", "vsknn",
    "tifu_knn", "up_cf", "buy_it_again", "segment_popularity",
)  # fmt: skip
CHURN = ("base_rate", "logistic", "lightgbm")
SHOP = "dataset=demo_shop"
SMALL, FAST = 1.5, 1.0  # MB, seconds
OPENED = """<script>addEventListener("load", () => {
  const height = document.body.getBoundingClientRect().height;
  document.title = JSON.stringify({seconds: performance.now() / 1000, height});
});</script>"""


def verb(name: str, *words: str) -> None:
    """One verb on the demo shop."""
    told = [SHOP, "split=temporal", "tracking=none", "progress=false", *words]
    done = subprocess.run([sys.executable, str(ROOT / f"{name}.py"), *told], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1]}")


def page(folder: Path) -> Path:
    """The report, made below a folder; what is there already stays."""
    names = ("prepared", "runs", "reports", "segments", "audiences", "outputs")
    paths = [f"paths.{name}={folder / name}" for name in names]
    runs = [("next_item", name) for name in (*RECOMMENDERS, "oracle_observable")]
    runs += [("churn", name) for name in (*CHURN, "oracle_observable_churn")]
    for task, name in runs:
        if not list((folder / "runs/demo_shop" / task).glob(f"*/{name}-*/manifest.json")):
            verb("train", f"task={task}", f"model={name}", *paths)
    verb("segments", *paths)
    for when in ("at=2025-05-01", "at=null"):
        told = ["audience=at_risk", "audience.needs_consent=false", "scores=churn/lightgbm", "recommender=item_knn"]
        verb("audience", *told, when, *paths)
    verb("evaluate", "report.customers=12", *paths)
    return folder / "reports/demo_shop/temporal/report.html"


def opened(file: Path) -> dict[str, float] | str:
    """Seconds until the page is laid out, or why that is not known."""
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not browser:
        return "no Chromium on this machine"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        copy = Path(place) / "page.html"
        text = file.read_text(encoding="utf-8")
        copy.write_text(text.replace("</body>", f"{OPENED}</body>"), encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={place}/profile"]
        command = [browser, *flags, "--window-size=1280,900", "--dump-dom", copy.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    if found is None:
        return "the page did not say when it was laid out"
    said: dict[str, float] = json.loads(found.group(1))
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "bench" / "report", help="of runs and report")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    a = parser.parse_args()
    file = page(a.folder.resolve())
    models = len(RECOMMENDERS) + len(CHURN)
    size = file.stat().st_size / 1e6
    rows = [row("shopkeeper", f"{models} models", "size", "MB", [size])]
    claims = [at_most("Campaigns", f"the report of {models} models: MB", size, SMALL)]
    found = [opened(file) for _ in range(a.repetitions + 1)][1:]  # the first one finds nothing in the disk's cache
    times = [one["seconds"] for one in found if not isinstance(one, str)]
    what = f"the report of {models} models, opened in Chromium: seconds"
    if len(times) < len(found):
        reason = next(one for one in found if isinstance(one, str))
        claims.append(not_had("Campaigns", what, FAST, reason))
    else:
        rows.append(row("shopkeeper", f"{models} models", "opened", "s", times))
        claims.append(at_most("Campaigns", what, rows[-1]["median"], FAST))
    write_result("report", rows, claims, note=a.note)


if __name__ == "__main__":
    main()
