"""A bundle whose graph is kept in fewer bits, or in two steps, and what that costs.

It is a bundle like any other: its golden answers are its own, so that a receiver's `verify` checks the file that is
there. How far these are from the exact bundle's, and what the difference is worth in the run's own metric, stands in
`variant` of its manifest and in its card.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer.answers import Answer, agreement
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.integrity import MANIFEST
from shopkeeper.bundles.answer.verify import replay, verify
from shopkeeper.bundles.targets.graphs import in_eight_bits, in_sixteen_bits
from shopkeeper.bundles.targets.two_steps import in_two_steps
from shopkeeper.bundles.write.explain import explain_further
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.seal import another, seal
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, write_text
from shopkeeper.programs.base import GRAPH

FEWER = {"int8": in_eight_bits, "fp16": in_sixteen_bits, "two_steps": in_two_steps}
TOLERANCE = {"int8": {"score": 1e-3, "rank": 1e-3}}  # processors round a vector's last bits in their own ways
WHAT = {
    "int8": "item vectors in 8 bits with a scale for each item, multiplied in whole numbers",
    "two_steps": "item vectors in 8 bits beside those in 32: all are looked through in 8 and the best compared anew in "
    "32, or all in 32 where that might leave out one of the exact list",
    "fp16": "every large table stored in 16 bits, computed with in 32",
}
Cost = Callable[[Bundle, Bundle], Mapping[str, Any]]  # of the exact bundle and the smaller one


def write_smaller(bundle: Path, out: Path, kind: str, cost: Cost, overwrite: bool = False) -> Path:
    """Write the smaller bundle to `out`, whole or not at all.

    Args:
        bundle: of a recommender that is a graph; every hash is checked.
        out: the folder; a bundle of the same dataset, task and model that is there is replaced.
        kind: `int8`, `fp16` or `two_steps`.
        cost: what the smaller one loses against the exact one, as `variant.cost` of the manifest keeps it.
        overwrite: replace another bundle, too.

    Raises:
        UserError: no bundle, one that is no graph or no exact one, a graph that int8 is not of.
    """
    exact = Bundle.load(bundle)
    manifest = exact.manifest
    if manifest["kind"] != "recommender" or manifest["scorer"] != GRAPH:
        raise UserError(
            f"{bundle} is no graph but the NumPy program {manifest['scorer']}; {kind} is of recommenders' "
            f"graphs, so export a sequence model, or leave it exact"
        )
    if "variant" in manifest:
        raise UserError(f"{bundle} is {manifest['variant']['kind']} already; give the exact bundle that it was made of")
    content = {name: (exact.path / name).read_bytes() for name in manifest["files"]}
    try:
        graph = FEWER[kind](content["model.onnx"])
    except UserError as e:
        raise UserError(f"{bundle}: {e}, or leave it exact") from None
    name = str((manifest.get("data") or {}).get("dataset"))
    unlike = None if overwrite else another(MadeFrom.of_bundle(manifest), name)
    with atomic_folder(Path(out), "bundle", unlike) as folder:
        for file, bytes_ in content.items():
            (folder / file).write_bytes(bytes_)
        (folder / "model.onnx").write_bytes(graph)
        told = dict(manifest["preprocessing"])
        told["tolerance"] = {**told["tolerance"], **TOLERANCE.get(kind, {})}
        variant: dict[str, Any] = {"kind": kind, "what": WHAT[kind], "of": exact.seal}
        variant |= {"bytes": len(graph), "exact_bytes": len(content["model.onnx"]), "cost": None}
        ours = {key: value for key, value in manifest.items() if key != "files"} | {"preprocessing": told}
        seal(folder, ours | {"variant": variant})
        smaller = Bundle.load(folder)
        variant["golden"] = _answer_anew(folder, exact, smaller)
        variant["cost"] = dict(cost(exact, smaller))
        explain_further(folder, ours, _section(variant))
        seal(folder, ours | {"variant": variant})
        if wrong := verify(folder, repeat=0).wrong:
            raise UserError(f"{out} was not written: it answers a golden request in two ways ({wrong[0]}); report it")
    return Path(out)


def _answer_anew(folder: Path, exact: Bundle, smaller: Bundle) -> dict[str, Any]:
    """Let golden.json hold the smaller bundle's answers; how near they are to the exact ones."""
    known = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    asked = [request for group in known.values() for request in group]
    pairs = []
    for request in asked:
        pairs.append((Answer.from_json(request["expected"]), found := replay(smaller, request)))
        request["expected"] = found.as_json()
    parts = [f'"{name}": [\n' + ",\n".join(map(json.dumps, group)) + "\n]" for name, group in known.items()]
    write_text(folder / "golden.json", "{" + ", ".join(parts) + "}\n")
    return {
        "requests": len(asked),
        **agreement([([i for i, _ in a.items or ()], [i for i, _ in b.items or ()]) for a, b in pairs]),
    }


def _section(variant: Mapping[str, Any]) -> Iterator[str]:
    """Of card and README; every figure of the rest of the card is the exact model's."""
    golden, cost = variant["golden"], variant["cost"]
    yield from ("", f"## {variant['kind']}", "")
    yield (
        f"Made of the exact bundle (manifest {variant['of'][:12]}…), which the figures in the rest of `card.md` are "
        f"of. Here: {variant['what']}."
    )
    yield (
        f"model.onnx has {variant['bytes']:,} bytes in place of {variant['exact_bytes']:,}. Of {golden['requests']} "
        f"golden requests the lists share {golden['overlap']:.1%} of their items with the exact ones and "
        f"{golden['same_lists']:.1%} are the same."
    )
    yield cost_line(cost)


def cost_line(cost: Mapping[str, Any]) -> str:
    """What `pipeline.handed.cost` found, in words."""
    between = "" if cost["low"] is None else f" ({cost['low']:+.4f} to {cost['high']:+.4f})"
    said = f"{cost['statement'][:1].upper()}{cost['statement'][1:]}"
    return (
        f"Cost in {cost['metric']}: {cost['value']:.4f} in place of {cost['exact']:.4f}, a difference of "
        f"{cost['difference']:+.4f}{between}; the same {cost['n']:,} test requests, paired by customer "
        f"({cost['n_users']:,}). {said}."
    )


def shown(bundle: Path) -> str:
    """What a smaller bundle costs, in a line."""
    variant = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))["variant"]
    return f"{variant['kind']}: {variant['cost']['statement']}; {variant['golden']['overlap']:.1%} of golden lists kept"
