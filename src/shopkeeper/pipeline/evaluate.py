"""`evaluate`: finished runs of one dataset and split -> comparisons, leaderboard and the report.

requests.parquet      one row per request and model: the per-request tables, with slices
customers.parquet     the same for customer models, where there are any
leaderboard.json      task -> model -> metric -> value (DVC's metrics)
leaderboard.csv       the headline metric with its interval (DVC's plots)
comparisons.json      every paired difference on the headline metric, Holm-corrected per task
sanity.json           do the figures mean what they seem to: order, unseen targets, empty answers, other split, seeds
report.html           all of it, to be read
"""

from __future__ import annotations

import csv
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig

from shopkeeper import tracking
from shopkeeper.errors import UserError, nearest
from shopkeeper.files import atomic_folder, sha256_json, write_json
from shopkeeper.pipeline import context, show
from shopkeeper.pipeline.runs import RunFolder, distinct_names, find_runs, open_run
from shopkeeper.sequences.prepared import Split

log = logging.getLogger(__name__)
TABLE = {"next_item": "requests.parquet"}  # every other task: customers.parquet
SHOWN = ("recall@10", "hit@10", "mrr", "coverage@10", "auroc", "brier", "ece")  # in the terminal, beside the headline


def evaluate(config: DictConfig) -> None:
    """The verb: compare the runs of a split, print the leaderboard, write the report."""
    cfg = context.plain(config)
    place = Path(cfg["dataset"]["name"]) / cfg["split"]["name"]
    root = Path(cfg["paths"]["models"]) / place
    runs = [open_run(r) for r in cfg["runs"]] if cfg["runs"] else find_runs(root)
    if not runs:
        raise UserError(
            f"there is no finished run below {root}; `dvc repro` or `python train.py` makes them, or runs=[…]"
        )
    out = Path(cfg["out"]) if cfg["out"] else Path(cfg["paths"]["reports"]) / place
    evaluate_runs(cfg, runs, out)
    print((out / "leaderboard.txt").read_text(encoding="utf-8"))
    log.info("report: %s", context.relative(out / "report.html"))


def evaluate_runs(cfg: Mapping[str, Any], runs: Sequence[RunFolder], out: Path) -> Path:
    """Compare runs task by task and write the folder of the report."""
    from shopkeeper.evaluation.report import write_report

    by_task: dict[str, list[RunFolder]] = {}
    for run in runs:
        by_task.setdefault(run.task, []).append(run)
    sections = {task: _section(cfg, task, some) for task, some in sorted(by_task.items(), reverse=True)}
    with atomic_folder(out) as folder:
        for task, section in sections.items():
            pq.write_table(_together(section["tables"]), folder / TABLE.get(task, "customers.parquet"))
        write_json(folder / "leaderboard.json", {t: s["leaderboard"] for t, s in sections.items()})
        write_json(folder / "manifest.json", _manifest(runs))
        write_json(folder / "comparisons.json", {t: s["comparisons"] for t, s in sections.items()})
        write_json(folder / "sanity.json", {t: s["sanity"] for t, s in sections.items()})
        _write_csv(folder / "leaderboard.csv", sections)
        (folder / "leaderboard.txt").write_text(_as_text(sections), encoding="utf-8")
        write_report(folder, sections, cfg["report"])
    if cfg["tracking"]["name"] != "none":
        for section in sections.values():
            _track(cfg, section, out)
    return out


def _track(cfg: Mapping[str, Any], section: Mapping[str, Any], out: Path) -> None:
    """Add the report, and figures that set it beside the others, to every run's page in MLflow."""
    from shopkeeper.evaluation.report.gather import board
    from shopkeeper.pipeline.figures import board_figures

    compared = board(section, {**cfg["report"], "resamples": 200})
    for place, name in enumerate(section["names"], start=1):
        figures = {f"figures/{file}": figure for file, figure in board_figures(compared, name).items()}
        run_id = section["manifests"][name].get("mlflow_run")
        tags = {"report": context.relative(out), "place": f"{place} of {len(section['names'])}"}
        tracking.log_to(cfg["tracking"], run_id, {"report": out / "report.html"}, tags, figures)


def _section(cfg: Mapping[str, Any], task: str, runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Everything about one task: tables by model, metrics, comparisons on the headline metric, sanity checks."""
    from shopkeeper.evaluation.compare import compare_family

    headline = str(runs[0].config["task"]["headline"])
    lower = runs[0].config["task"].get("direction") == "minimize"
    by_name = dict(zip(distinct_names(runs), runs, strict=True))
    prepared = context.prepared_of(runs[0].manifest)
    for run in runs[1:]:
        if run.manifest["dataset_fingerprint"] != prepared.fingerprint:
            raise UserError(
                f"{run.path} was trained on other data than {runs[0].path} (fingerprints differ); train again"
            )
    tables = {name: run.table("test") for name, run in by_name.items()}
    metrics = {name: run.metrics for name, run in by_name.items()}
    e = cfg["evaluation"]
    options = {k: e[k] for k in ("confidence", "resamples", "smallest_effect")}
    split = None
    if task == "next_item":
        from shopkeeper.evaluation.leaderboard import leaderboard
        from shopkeeper.evaluation.slices import add_slices

        split = context.split_of(prepared, runs[0].manifest)
        tables = {name: add_slices(table, prepared, split, "test") for name, table in tables.items()}
        boards = leaderboard(tables, headline, split=split, **options)
        comparisons = boards["comparisons"]
        sanity = _sanity(cfg, by_name, tables, headline, split, boards)
    else:
        found = compare_family(tables, [headline], **options) if len(tables) > 1 else []
        comparisons = [c.as_dict() for c in found]
        sanity = {"seeds": _over_seeds(by_name, tables, headline)}
    order = sorted(by_name, key=lambda n: metrics[n]["test"][headline]["value"], reverse=not lower)
    return {
        "task": task,
        "headline": headline,
        "lower_is_better": lower,
        "names": order,
        "runs": {name: run.path for name, run in by_name.items()},
        "configs": {name: run.config for name, run in by_name.items()},
        "manifests": {name: run.manifest for name, run in by_name.items()},
        "metrics": {name: metrics[name] for name in order},
        "tables": tables,
        "comparisons": comparisons,
        "leaderboard": {n: {m: v["value"] for m, v in metrics[n]["test"].items()} for n in order},
        "sanity": sanity,
        "prepared": prepared,
        "split": split,
    }


def _sanity(
    cfg: Mapping[str, Any],
    runs: Mapping[str, RunFolder],
    tables: Mapping[str, pa.Table],
    headline: str,
    split: Split,
    boards: Mapping[str, Any],
) -> dict[str, Any]:
    """What belongs beside recommenders' figures, as JSON: `sanity.json`, and the report's section of that name."""
    from shopkeeper.evaluation.sanity import missing_baselines

    models = [(board["uses_instant"], model) for board in boards["boards"] for model in board["models"]]
    wanted = list(cfg["report"].get("retrain") or [])
    for name in wanted:
        if name not in runs:
            raise UserError(f"report.retrain: there is no run '{name}'.{nearest(name, list(runs))}")
    rivals = {name: run for name, run in runs.items() if not name.startswith("oracle")}
    asked = rivals if cfg["report"].get("shuffle", True) else {}
    again = {name: runs[name] for name in wanted}
    return {
        "missing_baselines": missing_baselines(list(runs)),
        "notes": boards["notes"],
        "checks": boards["sanity"],
        "uses_instant": [model["name"] for uses_instant, model in models if uses_instant],
        "like_the_best": [model["name"] for _, model in models if model["like_the_best"]],
        "coverage_curves": {model["name"]: model["coverage_curve"] for _, model in models if model["coverage_curve"]},
        "shuffled": _order_worth(asked, tables, headline, split, _as_trained),
        "retrained": _order_worth(again, tables, headline, split, _trained_without_order),
        "split_gap": _split_gap(cfg, rivals, tables, headline),
        "seeds": _over_seeds(runs, tables, headline),
    }


def _order_worth(
    runs: Mapping[str, RunFolder],
    tables: Mapping[str, pa.Table],
    metric: str,
    split: Split,
    model_of: Callable[[RunFolder, Split], Any],
) -> dict[str, Any]:
    """By model, what it loses when the items of each history are shuffled: a comparison, or `{"not_run": why}`.

    A positive `difference` is what the order was worth.
    """
    from shopkeeper.evaluation.compare import compare_family
    from shopkeeper.evaluation.sanity import shuffled_histories
    from shopkeeper.evaluation.table import evaluate_requests, metadata_of

    mixed = shuffled_histories(split.part("test")[0]) if runs else None
    found: dict[str, Any] = {}
    for name, run in runs.items():
        meta = metadata_of(tables[name])
        options = {"k": tuple(meta["k"]), "filter_seen": meta["filter_seen"], "ties": meta.get("ties", "expected")}
        try:
            table = evaluate_requests(model_of(run, split), split, "test", requests=mixed, beyond=False, **options)
            found[name] = compare_family({"shuffled": table, "as it was": tables[name]}, [metric])[0].as_dict()
        except UserError as e:
            found[name] = {"not_run": str(e)}
    return found


def _as_trained(run: RunFolder, split: Split) -> Any:
    return run.model()


def _trained_without_order(run: RunFolder, split: Split) -> Any:
    """The run's model, trained again with its own settings on training rows in random order; nothing of it is kept."""
    from shopkeeper.evaluation.sanity import shuffled_training
    from shopkeeper.recommenders.base import Fit, make

    log.info("training %s again on shuffled histories", run.metrics["model"])
    config, mixed = run.config, shuffled_training(split, int(run.config["seed"]))
    with tempfile.TemporaryDirectory() as folder:
        fit = Fit(
            seed=int(config["seed"]),
            folder=Path(folder),
            trainer=config["trainer"],
            target_events=tuple(split.timeline["spec"].get("target_events") or Fit.target_events),
            filter_seen=bool(config["dataset"]["filter_seen"]),
            progress=False,
        )
        model = make(config["model"])
        model.fit(mixed.prepared, mixed, fit)
    return model


def _split_gap(
    cfg: Mapping[str, Any], runs: Mapping[str, RunFolder], tables: Mapping[str, pa.Table], metric: str
) -> dict[str, Any] | None:
    """Leave-one-out against temporal where models have runs on both, else how to make them; None: no such pair.

    Sibling runs lie in `<paths.models>/<dataset>/<other split>/next_item`.
    """
    from shopkeeper.evaluation.sanity import split_gap

    if not runs:
        return None
    some = next(iter(runs.values()))
    pair = ("leave_one_out", "temporal")
    if some.metrics["split"] not in pair:
        return None
    other = pair[1 - pair.index(some.metrics["split"])]
    dataset = str(cfg["dataset"]["name"])
    folder = Path(cfg["paths"]["models"]) / dataset / other / "next_item"
    try:
        siblings = find_runs(folder) if folder.is_dir() else []
        there = {n: r.table("test") for n, r in zip(distinct_names(siblings), siblings, strict=True) if n in runs}
        if there:
            here = {name: tables[name] for name in there}
            return split_gap(*((here, there) if other == "temporal" else (there, here)), metric)
    except UserError as e:  # a damaged run of the other split is no reason to go without a report of this one
        return {"not_run": str(e)}
    model = some.metrics["model"]
    command = f"python train.py dataset={dataset} split={other} model={model} hydra.run.dir={folder / model}"
    return {"not_run": f"no model has a run on {other}; `{command}` makes one"}


def _over_seeds(runs: Mapping[str, RunFolder], tables: Mapping[str, pa.Table], metric: str) -> dict[str, Any]:
    """Mean and spread of each model that is there with several seeds and otherwise the same settings.

    `ahead_of`: by other such model, the difference to it, with an interval for new users and new seeds of both.
    """
    from shopkeeper.evaluation.seeds import difference_over_seeds, over_seeds

    alike: dict[str, dict[str, str]] = {}
    for name, run in runs.items():
        settings = sha256_json({k: run.config.get(k) for k in ("model", "trainer", "init_from")})
        alike.setdefault(f"{run.metrics['model']}\n{settings}", {})[str(run.metrics["seed"])] = name
    several: dict[str, dict[str, pa.Table]] = {}
    for key, of_seed in alike.items():
        by_seed = {seed: tables[name] for seed, name in of_seed.items()}
        if len(by_seed) > 1 and all(metric in t.column_names for t in by_seed.values()):  # AUROC is no mean over rows
            several[key.partition("\n")[0]] = by_seed
    found = {}
    for model, by_seed in several.items():
        ahead = {
            other: difference_over_seeds(list(theirs.values()), list(by_seed.values()), metric).as_dict()
            for other, theirs in several.items()
            if other != model
        }
        own = over_seeds(list(by_seed.values()), metric).as_dict()
        found[model] = own | {"seeds": list(by_seed), "ahead_of": ahead}
    return found


def _together(tables: Mapping[str, pa.Table]) -> pa.Table:
    """One table, one row per request and model."""
    parts = [t.add_column(0, "model", pa.array([name] * t.num_rows)) for name, t in tables.items()]
    return pa.concat_tables([p.replace_schema_metadata(None) for p in parts], promote_options="permissive")


def _write_csv(path: Path, sections: Mapping[str, Mapping[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(["task", "model", "metric", "value", "low", "high", "n"])
        for task, section in sections.items():
            for name in section["names"]:
                entry = section["metrics"][name]["test"][section["headline"]]
                rows.writerow([task, name, section["headline"], *(entry[k] for k in ("value", "low", "high", "n"))])


def _as_text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The leaderboard for the terminal."""
    parts = []
    for task, section in sections.items():
        metrics = section["metrics"]
        first = metrics[section["names"][0]]
        shown = [m for m in dict.fromkeys((section["headline"], *SHOWN)) if m in first["test"]][:4]
        rows = [[n, *(show.with_interval(metrics[n]["test"].get(m)) for m in shown)] for n in section["names"]]
        n = first["test"][section["headline"]]["n"]
        parts.append(
            f"{task}: {first['dataset']}, split {first['split']}, protocol {first['protocol']}, "
            f"filter_seen {str(first['filter_seen']).lower()}, {n:,} requests on test (95 % intervals)\n"
            + show.table(["model", *shown], rows)
        )
        apart = section["sanity"].get("uses_instant", [])
        best = next((n for n in section["names"] if not n.startswith("oracle") and n not in apart), section["names"][0])
        parts.append("\n".join(c["statement"] for c in section["comparisons"] if best in (c["a"], c["b"])))
    return "\n\n".join(parts) + "\n"


def _manifest(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Which runs the report is made of, on which data, and after which erasure list."""
    about = ("model", "task", "split", "target_hash", "commit")
    first = runs[0].manifest
    return {
        "format_version": 1,
        "kind": "report",
        "dataset": first.get("dataset"),
        "dataset_fingerprint": first["dataset_fingerprint"],
        "erasure_list": first.get("erasure_list"),
        "runs": [{"path": context.relative(run.path), **{k: run.manifest.get(k) for k in about}} for run in runs],
    }
