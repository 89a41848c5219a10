"""The sanity checks of a board in words: (check, finding, state), the finding's lines one below the other."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from shopkeeper.evaluation.alarms.sanity import ALWAYS_BESIDE
from shopkeeper.evaluation.compare import digits_apart, metric_label
from shopkeeper.evaluation.report.charts import number
from shopkeeper.evaluation.report.figures import Model, label_of_model
from shopkeeper.evaluation.report.names import labelled

Row = tuple[str, str, str]  # check, finding, state: good | note | bad

# Per-model shares of `evaluation.alarms.sanity.checks`: what is counted, what it means, and how bad it is.
OF_LISTS = (
    ("unanswered", "Requests without an answer", "got an empty list", "note"),
    ("constant", "Lists whose scores are all equal", "their order says nothing", "note"),
    ("lists_with_duplicates", "Lists that hold an item twice", "the model is broken or its list is", "bad"),
)
OF_TARGETS = (
    ("cold_targets", "Targets that are in no training data", "only models that read item attributes can find them"),
    ("outside_catalogue", "Targets outside the catalogue", "they count as misses for every model"),
)


def sanity_rows(
    sanity: Mapping[str, Any],
    models: Sequence[Model],
    baseline: str,
    command: Sequence[str] = ("shopkeeper", "evaluate"),
) -> list[Row]:
    """What `pipeline.evaluate` found out about a board of recommenders; none where it says nothing.

    `command`: the words that make this very report anew.
    """
    alarms: list[Row] = [("Better than the oracle", alarm, "bad") for alarm in sanity.get("alarms") or []]
    if not sanity.get("checks"):
        return alarms
    rivals = [m.name for m in models if not m.is_oracle]
    rows = [*alarms, _baseline(sanity, models, baseline)]
    rows += _order(sanity, rivals, command)
    checks = {name: sanity["checks"][name] for name in rivals or list(sanity["checks"]) if name in sanity["checks"]}
    first = next(iter(checks.values()))
    for key, name, meaning in OF_TARGETS:
        text = f"{first[key]:.1%} of {first['targets']:,}; {meaning}" if first[key] else "none"
        rows.append((name, text, "note" if first[key] else "good"))
    if tied := first.get("emptied_by_ties"):
        text = f"{tied:.1%} of {first['requests']:,}; all that came before shares its instant with the target"
        rows.append(("Requests whose history is empty because of ties", text, "bad"))
    for key, name, meaning, state in OF_LISTS:
        found = [f"{label_of_model(n)}: {c[key]:.1%}" for n, c in checks.items() if c[key]]
        rows.append((name, "\n".join([*found, meaning]), state) if found else (name, "none, by any model", "good"))
    if gap := sanity.get("split_gap"):
        rows.append(_gap(gap))
    return rows


def _baseline(sanity: Mapping[str, Any], models: Sequence[Model], baseline: str) -> Row:
    name = "Simple baselines are in the table"
    if missing := sanity.get("missing_baselines"):
        return name, missing, "note"
    own = [m.label for m in models if m.name.partition("#")[0] in (baseline, *ALWAYS_BESIDE)]
    if not any(m.name.partition("#")[0] == baseline for m in models):
        return name, f"yes, but not “{baseline}”, which report.baseline names: nothing is set beside it", "note"
    return name, ", ".join(own), "good"


def _order(sanity: Mapping[str, Any], rivals: Sequence[str], command: Sequence[str]) -> list[Row]:
    """Does the order of the events matter at all? Of the best model it should; of the others it is worth knowing."""
    rows = []
    asked, again = sanity.get("shuffled") or {}, sanity.get("retrained") or {}
    text = "\n".join(_worth(n, asked[n]) for n in rivals if n in asked)
    used = any(asked[n].get("winner") == "as it was" for n in rivals[:1] if n in asked)
    name = "Does order matter? Each history shuffled when asked"
    rows.append(
        (name, text or f"not run; `{_with(command, 'report.shuffle=true')}` does it", "good" if used else "note")
    )
    text = "\n".join(_worth(n, again[n]) for n in rivals if n in again)
    lost = [n.partition("#")[0] for n in rivals if n in asked and asked[n].get("winner") == "as it was"]
    some = ",".join(dict.fromkeys(lost))
    if text or some:
        used = any(c.get("winner") == "as it was" for c in again.values())
        missing = f"not run; `{_with(command, f'report.retrain=[{some}]')}` does it, at the cost of that much training"
        rows.append(
            ("… and the model trained again on shuffled histories", text or missing, "good" if used else "note")
        )
    return rows


def _with(command: Sequence[str], word: str) -> str:
    """The command with one setting changed, as it is typed into a shell."""
    key = word.partition("=")[0]
    return shlex.join([*(w for w in command if w.lstrip("+").partition("=")[0] != key), word])


def _worth(name: str, c: Mapping[str, Any]) -> str:
    """What the order was worth to one model."""
    label = label_of_model(name)
    if "not_run" in c:
        return f"{label}: not run: {c['not_run']}"
    low, high = c["low"], c["high"]
    metric = metric_label(c["metric"])
    if low is None or high is None:
        return f"{label}: nothing can be said; {c['n_users']} customers have a value of both"
    if c["difference"] == low == high == 0:
        return f"{label}: no difference; it does not look at the order"
    if c["winner"] is None:
        return f"{label}: no clear difference ({number(low)} to {number(high)} {metric})"
    verb, ends = ("loses", (low, high)) if c["difference"] > 0 else ("gains", (-high, -low))
    digits = digits_apart(c["difference"], low, high)
    least, most = (number(end, digits) for end in ends)
    return f"{label}: {verb} {number(abs(c['difference']), digits)} {metric} ({least} to {most})"


def _gap(gap: Mapping[str, Any]) -> Row:
    name = "Leave-one-out against a split in time"
    if "not_run" in gap:
        return name, f"not run: {gap['not_run']}", "note"
    lines = [
        f"{label_of_model(n)}: {number(m['leave_one_out']['value'])} against {number(m['temporal']['value'])}"
        for n, m in gap["models"].items()
    ]
    return (
        name,
        "\n".join([*lines, _with_labels(gap["statement"], list(gap["models"]))]),
        ("note" if gap["reversed"] else "good"),
    )


def _with_labels(text: str, names: Sequence[str]) -> str:

    return labelled(text, list(names))
