"""Every model that is shipped, briefly trained and exported: does its bundle answer 1,000 requests as it does itself?

    python benchmarks/parity.py [--requests 1000] [--models sasrec lightgbm …]

The shop and what makes a model small are those of `tests/test_every_model.py`; demo_shop with 300 customers. The
requests are those that `export` invents: empty and long histories, of events without types, with ids that nobody knows,
with items to leave out, with what was seen left out or not; of customers those without a past, long gone, with events
at and after the instant. Beside them `export` compares histories at random and those of test, as ever. Lists must hold
the same ids in the same order (of items whose scores lie within 1e-5 of each other in either), scores, probabilities
and means must lie within 1e-4 of the model's, relative to those above 1. What is said of a model is the largest
difference that was seen. `--models` asks these anew, and leaves what the result says of others.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from _results import RESULTS, ROOT, at_least, at_most, row, write_result
from shopkeeper.bundles.answer import Answer, Bundle
from shopkeeper.bundles.answer.verify import replay
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.errors import UserError
from shopkeeper.models.about import COUNTS, DAYS, REQUESTS
from shopkeeper.models.make import make
from shopkeeper.pipeline.preparing.split import prepare_to_train
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import Train
from shopkeeper.pipeline.told import settings as read_settings
from shopkeeper.timeline import CustomerSpec, customer_windows

sys.path.insert(0, str(ROOT / "tests"))
every = import_module("test_every_model")

TASKS = {COUNTS: "orders", DAYS: "next_order"}
DATASET = "demo_shop, 300 customers"
NAMES = [
    *(path.stem for path in every.FILES if path.stem != "recbole"),
    *every.ALSO,
]  # RecBole has an environment of its own


def shop(place: Path) -> Any:
    """As the tests make it."""
    words = ("dataset=demo_shop", "dataset.simulate.customers=300", f"paths.prepared={place}", f"paths.raw={place}")
    prepared, split = prepare_to_train(read_settings(composed("train", [*words, "tracking=none"]), Train))
    spec = CustomerSpec.from_config({"horizon_days": every.HORIZON, "active_days": every.ACTIVE, "n_train": 2})
    return every.Shop.of(prepared, split, customer_windows(spec, *prepared.span).parts)


def numbers(answer: Answer) -> list[float]:
    """All that it says in numbers; of lists the scores, which are compared place by place."""
    found = [answer.probability, answer.expected, *(answer.further or {}).values(), *(answer.quantiles or ())]
    pairs = [*(answer.items or ()), *(answer.pairs or ())]
    return [float(x) for x in found if x is not None] + [float(score) for _, score in pairs]


def largest(bundle: Bundle, requests: list[dict[str, Any]]) -> float:
    """Difference from what the model said, relative to what is above 1."""
    found = [0.0]
    for request in requests:
        said, wanted = numbers(replay(bundle, request)), numbers(Answer.from_json(request["expected"]))
        found += [abs(a - b) / max(1.0, abs(b)) for a, b in zip(said, wanted, strict=True)]
    return max(found)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--requests", type=int, default=1000)
    words.add_argument("--models", nargs="+", choices=NAMES, default=NAMES, metavar="MODEL")
    words.add_argument("--note", help="what a reader of the result must know")
    told = words.parse_args()
    rows, failed, not_exported = [], {}, {}
    if told.models != NAMES and (RESULTS / "parity.json").exists():
        before = json.loads((RESULTS / "parity.json").read_text(encoding="utf-8"))
        rows = [one for one in before["rows"] if one["system"] not in told.models]
        failed, not_exported = ({name: why for name, why in before[key].items() if name not in told.models}
                                for key in ("different", "not_exported"))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        small = shop(place / "data")
        for name in told.models:
            start, model = time.process_time(), make(every.settings(name))
            if reason := model.about.not_exported:
                not_exported[name] = reason
                continue
            model = small.trained(model, place / "runs" / name)
            lists = model.about.asks == REQUESTS
            asked = small.split if lists else small.of_model(model)["test"]
            task = "next_item" if lists else TASKS.get(model.about.answers, "churn")
            try:
                out = export_bundle(model, small.prepared, asked, MadeFrom(model=name, task=task), place / "out" / name,
                                    golden=told.requests)  # fmt: skip
            except UserError as e:
                failed[name] = str(e).replace(str(place), "…")
                print(f"{name}: DIFFERENT: {failed[name]}", flush=True)
                continue
            requests = json.loads((out / "golden.json").read_text(encoding="utf-8"))["requests"]
            off = largest(Bundle.load(out), requests)
            rows.append(row(name, DATASET, f"largest difference in {len(requests):,} requests", "1", [off]))
            print(f"{name}: {len(requests):,} requests, largest difference {off:.2g}, "
                  f"{time.process_time() - start:.0f} s of a processor", flush=True)  # fmt: skip
    claims = [
        at_least("handover", "requests asked of each model", told.requests, 1000),
        at_most("handover", "models whose bundle answers a request otherwise than the trained model", len(failed), 0),
        at_least("handover", "models exported and compared, options among them", len(rows) + len(failed), 40),
    ]
    write_result("parity", rows, claims, note=told.note, more={"different": failed, "not_exported": not_exported})


if __name__ == "__main__":
    main()
