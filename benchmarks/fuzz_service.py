"""Made-up requests against `shopkeeper serve`: none may fail, none be answered otherwise than described.

    python benchmarks/fuzz_service.py [--described 2000] [--spoiled 10000]

*Described* ones are made by Schemathesis, in an environment of its own, from the service's OpenAPI description;
*spoiled* ones are golden requests of which some part is something else.
"""

from __future__ import annotations

import argparse
import copy
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from _results import ROOT, at_least, at_most, row, write_result
from _served import served

sys.path.insert(0, str(ROOT / "tests"))

from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from tiny import tiny_prepared

SCHEMATHESIS = "schemathesis==4.32.5"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def made(place: Path) -> Path:
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 41, 12).tolist() for _ in range(60)]
    prepared, split = tiny_prepared(place / "data", histories, n_items=40)
    model = ItemKNN(5)
    model.fit(prepared, split, Fit(progress=False))
    run = MadeFrom(model="item_knn", task="next_item")
    return export_bundle(model, prepared, split, run, place / "bundle", golden=40)


ODD: list[Any] = [None, True, "", "i1", "view", "\ud800", "x" * 5000, "2026-03-01", "0001-01-01", -1, 0, 1e308, 10**30,
                  0.5, [], {}, [[]], [["i1"]], {"item_id": "i1"}, {"query": " "}, [None], ["i1"] * 300]  # fmt: skip


def spoiled(rng: np.random.Generator, request: dict[str, Any]) -> Any:
    """The request with one to three of its parts, chosen at random, replaced or left out."""
    whole: dict[str, Any] = {"of": copy.deepcopy(request)}
    for _ in range(rng.integers(1, 4)):
        if not isinstance(whole["of"], dict | list) or not whole["of"]:
            break
        inside: Any = whole
        while True:
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            key = keys[rng.integers(len(keys))]
            deeper = isinstance(inside[key], dict | list) and len(inside[key])
            if not deeper or (inside is not whole and rng.random() < 0.3):
                break
            inside = inside[key]
        if inside is not whole and rng.random() < 0.2:
            del inside[key]
        else:
            inside[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
    return whole["of"]


def sent(port: int, bundle: Path, count: int) -> int:
    """Send spoiled golden requests; how many answers were not of the described kind."""
    rng = np.random.default_rng(0)
    golden = json.loads((bundle / "golden.json").read_text())["requests"]
    asked = [{key: value for key, value in g.items() if key != "expected"} | {"k": 3, "id": "a"} for g in golden]
    connection, other = http.client.HTTPConnection("127.0.0.1", port), 0
    for _ in range(count):
        body = json.dumps(spoiled(rng, asked[rng.integers(len(asked))]))
        connection.request("POST", "/v1/answer", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        other += not (("items" in said) if answer.status == 200 else {"code", "message"} <= set(said.get("error", ())))
    return other


def counted(address: str) -> dict[int, int]:
    """Responses to questions by status, as the service counts them."""
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        text = answer.read().decode()
    found: dict[int, int] = {}
    for status, n in re.findall(r'shopkeeper_responses_total\{path="/v1/answers?",status="(\d+)"\} (\d+)', text):
        found[int(status)] = found.get(int(status), 0) + int(n)
    return found


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--described", type=int, default=2_000)
    words.add_argument("--spoiled", type=int, default=10_000)
    told = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
        subprocess.run([place / "venv/bin/pip", "install", "-q", SCHEMATHESIS], check=True)
        bundle = made(place)
        with served(bundle) as port:
            address = f"http://127.0.0.1:{port}"
            other = sent(port, bundle, told.spoiled)
            run = [str(place / "venv/bin/schemathesis"), "run", f"{address}/openapi.json", "--checks", CHECKS,
                   "--phases", "fuzzing", "--include-path-regex", "^/v1/answers?$", "--max-examples",
                   str(told.described // 2), "--seed", "1", "--no-color"]  # fmt: skip
            done = subprocess.run(run, capture_output=True, text=True, cwd=place, check=False,
                                  env=os.environ | {"PYTHONPATH": ""})  # fmt: skip
            print(done.stdout[-3000:], done.stderr[-1000:])
            statuses = counted(address)
    print(json.dumps(statuses))
    failed = sum(n for status, n in statuses.items() if status >= 500)
    rows = [row("service", "made up", f"responses with {s}", "responses", [n]) for s, n in sorted(statuses.items())]
    claims = [
        at_least("handover", "made-up requests that the service was sent", sum(statuses.values()), 10_000),
        at_most("handover", "of them answered with 5xx", failed, 0),
        at_most("handover", "of them answered otherwise than described", other + (done.returncode != 0), 0),
    ]
    write_result("fuzz_service", rows, claims)


if __name__ == "__main__":
    main()
