r"""Two stages: several models propose, gradient-boosted trees (LambdaRank) put what they propose in order.

Candidates of a request are the best `per_model` items of each candidate model and everything of the customer's own
history. The ranker learns from earlier windows of the same timeline (`windows.py`): candidate models of a window are
fitted on the rows before its cutoff alone, its labels are what was then taken. Validation requests choose the number of
trees, and whether one of the candidate models ranks better without them, as it may where there is little to learn from:
it then answers alone. For answering, the candidate models are those of the training end. It reads the request's instant
(how long ago). What nobody proposes stands below, by popularity; so does everything after an empty history. Where the
split offers new items, windows offer those that were new then, so that the ranker learns what becomes of them.

LambdaRank: C. J. C. Burges, "From RankNet to LambdaRank to LambdaMART", MSR-TR-2010-82. Two stages for baskets: the
Instacart and H&M competitions' winning solutions, and A. Kasalicky et al., "Multi-stage recommender systems", 2023.

Shapes: B requests, P pairs, V = n_items + 1 columns, M candidate models.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.data.threads import blocks
from shopkeeper.errors import TooManyItemsError, UserError, check, check_kinds, nearest, number, or_null, whole
from shopkeeper.features.candidates import Reached
from shopkeeper.features.pairs import CUSTOMER, ITEM, OWN, ItemFacts, pairs
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.models.trees import FILE as TREES
from shopkeeper.models.trees import grown, open_trees, save_trees
from shopkeeper.programs.base import Exportable, Program
from shopkeeper.programs.ranking import ranked
from shopkeeper.programs.trees import tree_arrays
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.combined.examples import REQUESTS_AT_ONCE, Examples, drawn, examples, shares
from shopkeeper.recommenders.combined.validated import mean_ndcg
from shopkeeper.recommenders.counting.popularity import popularity_of_the_rest
from shopkeeper.recommenders.reached import reached_or_rest
from shopkeeper.recommenders.windows import earlier_windows, offers_new_items, with_basket
from shopkeeper.schema import event_codes
from shopkeeper.shapes import Yaml

log = logging.getLogger(__name__)
STATISTICS = ("frozen", "nightly")
FEWEST = 20  # requests with a hit among their candidates; a ranker is not learnt from fewer


class _LeftOutError(Exception):
    """A candidate model that the data are too large for."""

    def __init__(self, candidate: str, why: str) -> None:
        super().__init__(why)
        self.candidate = candidate


class TwoStage:
    """Candidate models, then a ranker.

    Args:
        candidates: settings of each candidate model (as its own YAML has them), by name.
        per_model: items that each proposes.
        windows: earlier windows to learn from.
        window_days: their length; of a short log a third of its training time.
        max_requests: that are learnt from, drawn from all windows alike, and as many of validation: bounds the memory.
        trees: limit; with `patience` the number that is best on validation requests.
        patience: trees without gain in NDCG@10 on validation; null: always `trees`.
        learning_rate, num_leaves, min_data_in_leaf, feature_fraction, lambda_l2: LightGBM's.
        num_threads: fixed, because sums depend on it.
        for_new_items: candidates that take part only where the split offers new items (`split.new_items`): they know
            what items are, which the others learn from purchases alone.
        item_statistics: `frozen` at the training end, or `nightly`: demand until the midnight before each request, as
            a job of the shop would bring it (`data.nightly`).
    """

    def __init__(
        self,
        candidates: Mapping[str, Yaml],
        per_model: int = 100,
        windows: int = 4,
        window_days: float = 28.0,
        max_requests: int = 12_000,
        trees: int = 600,
        patience: int | None = 50,
        learning_rate: float = 0.05,
        num_leaves: int = 31,
        min_data_in_leaf: int = 50,
        feature_fraction: float = 0.6,
        lambda_l2: float = 1.0,
        num_threads: int = 1,
        item_statistics: str = "frozen",
        for_new_items: Sequence[str] = (),
    ) -> None:
        if not candidates:
            raise UserError("two_stage: there is no candidate model; name one in model.candidates")
        counts = {"per_model": per_model, "windows": windows, "max_requests": max_requests, "trees": trees}
        for name, value in counts.items():
            if value < 1:
                raise UserError(f"two_stage: {name} is {value}; give at least 1")
        if item_statistics not in STATISTICS:
            said = f"two_stage: item_statistics is '{item_statistics}'.{nearest(item_statistics, STATISTICS)}"
            raise UserError(f"{said} Valid: {', '.join(STATISTICS)}.")
        self.nightly = item_statistics == "nightly"
        told, rules = (
            {"window_days": window_days, "patience": patience},
            {"window_days": number(above=True, below=36525)},
        )
        check(told, rules | {"patience": or_null(whole(1))}, "two_stage: model.")
        for name, settings in candidates.items():
            try:
                check_kinds({"it": settings}, {"it": (dict, type(None))})
                if settings:
                    make(settings)
            except UserError as e:
                raise UserError(f"mend model.candidates.{name}: {e}") from None
        self.settings = {name: dict(settings) for name, settings in candidates.items() if settings}
        names = list(for_new_items) if isinstance(for_new_items, tuple) else for_new_items
        check_kinds({"for_new_items": names}, {"for_new_items": (list,)})
        for name in map(str, names):
            if name not in candidates:
                said = f"two_stage: for_new_items names '{name}', which is no candidate.{nearest(name, candidates)}"
                raise UserError(f"{said} Valid: {', '.join(candidates)}.")
        self.for_new_items = tuple(names)
        self.per_model, self.n_windows, self.window_days = per_model, windows, window_days
        self.max_requests = max_requests
        self.trees, self.patience = trees, patience
        self.parameters = grown(
            objective="lambdarank",
            metric="ndcg",
            eval_at=[10],
            lambdarank_truncation_level=20,
            learning_rate=learning_rate,
            num_leaves=num_leaves,
            min_data_in_leaf=min_data_in_leaf,
            feature_fraction=feature_fraction,
            lambda_l2=lambda_l2,
            num_threads=num_threads,
        )
        self.models: dict[str, Any] = {}
        self.booster: Any = None  # None: one candidate model answers, `alone`
        self.alone = next(iter(self.settings), "")
        self.facts = ItemFacts(np.zeros((1, len(ITEM)), np.float32))
        self.types: list[int] = []
        self.catalogue = np.zeros(0, np.int32)
        self.rest_V = np.zeros(1, np.float32)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns of the ranker's input."""
        return (*OWN, *CUSTOMER, *ITEM, *(f"{m}_{what}" for m in self.settings for what in ("score", "place")))

    @property
    def steps(self) -> int | None:
        """Trees of the ranker."""
        return None if self.booster is None else int(self.booster.num_trees())

    @property
    def about(self) -> About:
        """Its features know prices and orders, and how long ago events were when it is asked."""
        return About(
            reads=("event_type", "timestamp", "price", "order", "session"),
            reads_instant=True,
            needs=("nightly",) if self.nightly else (),
            reaches=self.booster is not None,
            not_exported="it reads last night's demand, which a bundle is not told" if self.nightly else "",
        )

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Learn the ranker from earlier windows, then fit the candidate models on all training rows.

        A candidate model that does not carry as many items (EASE) is left out, with a warning.
        """
        if not offers_new_items(split):
            self.settings = {name: one for name, one in self.settings.items() if name not in self.for_new_items}
        while True:
            try:
                return self._fit(prepared, split, fit)
            except _LeftOutError as e:
                log.warning("two_stage: goes on without its candidate '%s' (%s)", e.candidate, e)
                del self.settings[e.candidate]

    def _fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        self.types = event_codes(list(fit.target_events))
        windows = [] if fit.chosen else earlier_windows(split, self.types, self.window_days, self.n_windows)
        parts = []
        for window, most in zip(windows, shares([len(w.requests) for w in windows], self.max_requests), strict=True):
            self._fit_candidates(window.split, fit)
            requests, targets = drawn(window.requests, window.targets, most, fit.seed)
            asked = with_basket(replace(window, requests=requests, targets=targets))
            parts.append(self._examples(asked.requests, asked.targets, fit))
        self.rest_V = popularity_of_the_rest(split, fit.target_events)
        self._fit_candidates(split, fit)
        self.booster = None if fit.chosen else self._rank(parts, split, fit)
        self.alone = fit.chosen or ("" if fit.steps else self._better_alone(split, fit))
        if self.alone:
            self.booster = None
        elif self.booster is None:
            self.alone = next(iter(self.models))
        return Learned(self.steps, chosen=self.alone)

    def _better_alone(self, split: Split, fit: Fit) -> str:
        """The candidate model that ranks validation better than the trees do, the best of them; "" where none does.

        Where validation chooses nothing (`patience=null`, no validation requests), none is looked for.
        """
        if self.patience is None or not fit.trainer.validation_requests or not len(split.part("validation")[0]):
            return ""
        best = ours = -1.0 if self.booster is None else mean_ndcg(self, split, fit)
        name = ""
        for other, model in self.models.items():
            if (value := mean_ndcg(model, split, fit)) > best:
                best, name = value, other
        if name and self.booster is not None:
            said = "two_stage: %s alone ranks validation better than the trees (NDCG@%s %.4f, %.4f), and answers"
            log.warning(said, name, fit.k, best, ours)
        return name

    def _fit_candidates(self, split: Split, fit: Fit) -> None:
        """Fit every candidate model and the items' statistics on the split's training rows."""
        self.models = {}
        for name, settings in self.settings.items():
            model = make(settings)
            if model.about.resumes:
                raise UserError(
                    f"two_stage: candidate '{name}' stops by validation requests, which earlier windows have not; "
                    f"choose a model without epochs"
                )
            given = Fit(fit.seed, target_events=fit.target_events, filter_seen=fit.filter_seen)
            try:
                model.fit(split.prepared, split, given)
            except TooManyItemsError as e:
                if len(self.settings) == 1 or name == fit.chosen:  # validation has chosen it: nobody else may answer
                    raise
                raise _LeftOutError(name, str(e)) from e
            self.models[name] = model
        self.facts = ItemFacts.of(split, self.types)
        self.catalogue = np.asarray(split.catalogue)

    def _rank(self, parts: Sequence[tuple[np.ndarray, ...]], split: Split, fit: Fit) -> Any:
        """LightGBM's ranker on the windows' examples; None where there are too few."""
        import lightgbm as lgb

        if not parts or sum(len(part[2]) for part in parts) < FEWEST:
            log.warning("two_stage: fewer than %s requests to learn from; one candidate model answers alone", FEWEST)
            return None
        parameters = {**self.parameters, "seed": fit.seed}
        names = list(self.feature_names)

        def data(x: np.ndarray, y: np.ndarray, group: np.ndarray, **options: Any) -> Any:
            return lgb.Dataset(x, y, group=group, feature_name=names, params=parameters, **options)

        x, y, group = (np.concatenate(column) for column in zip(*parts, strict=True))
        train = data(x, y, group)
        if self.patience is None or fit.steps:
            return lgb.train(parameters, train, fit.steps or self.trees)
        held = self._examples(*drawn(*split.part("validation"), self.max_requests, fit.seed), fit)
        if not len(held[2]):
            return lgb.train(parameters, train, self.trees)
        stop = lgb.early_stopping(self.patience, verbose=False)
        booster = lgb.train(parameters, train, self.trees, valid_sets=[data(*held, reference=train)], callbacks=[stop])
        log.info("two_stage: %s trees, NDCG@10 among candidates of validation %.4f", booster.best_iteration,
                 booster.best_score["valid_0"]["ndcg@10"])  # fmt: skip
        return lgb.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))

    def _examples(self, requests: Requests, targets: Targets, fit: Fit) -> Examples:
        """Features, labels and pairs per request."""
        return examples(
            self._pairs, requests, targets, fit.filter_seen, len(self.facts.table_VF), len(self.feature_names)
        )

    def _pairs(self, requests: Requests) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Candidates of each request, by request and item, and their features: (P,), (P,), float32 (P, F)."""
        scored = [
            Reached(model.reached(requests), model.rest_V) if model.about.reaches else model.score(requests)
            for model in self.models.values()
        ]
        nightly = requests.nightly if self.nightly else None
        return pairs(requests, scored, self.facts, self.types, self.catalogue, self.per_model, nightly)

    def score(self, requests: Requests) -> np.ndarray:
        """Scores float32 (B, V): in (0, 1) for candidates, below 0 by popularity for the rest."""
        if self.booster is None:
            alone: np.ndarray = self.models[self.alone].score(requests)
            return alone
        return reached_or_rest(self, requests)

    def reached(self, requests: Requests) -> sparse.csr_array:
        """Scores of the candidates: float32 sparse (B, V)."""
        booster, width = self.booster, len(self.rest_V)
        assert booster is not None, "a candidate model answers alone"

        def block(first: int) -> sparse.csr_array:
            part = requests[first : first + REQUESTS_AT_ONCE]
            owner, item, features = self._pairs(part)
            asked = part.lengths[owner] > 0
            values = np.zeros(0, np.float32)
            if asked.any():
                values = ranked(booster.predict(features[asked], num_threads=1)).astype(np.float32)
            return sparse.csr_array((values, (owner[asked], item[asked])), shape=(len(part), width))

        none = sparse.csr_array((0, width), dtype=np.float32)
        return sparse.vstack([none, *blocks(block, range(0, len(requests), REQUESTS_AT_ONCE))]).tocsr()

    def program(self, timed: bool) -> Program:
        """The programs of the candidate models, what is known of items, and the trees."""
        parts = {}
        for name, model in sorted(self.models.items(), key=lambda pair: pair[0] != self.alone):  # that one first
            if not isinstance(model, Exportable):
                raise UserError(
                    f"two_stage: candidate '{name}' has no `program`, so this model cannot be exported; choose others"
                )
            parts[name] = model.program(timed)
        arrays = {"candidates": np.array([part.scorer for part in parts.values()])}
        for n, part in enumerate(parts.values()):
            arrays |= {f"{n}/{key}": values for key, values in part.arrays.items()}
        arrays |= {"facts": self.facts.table_VF, "catalogue": self.catalogue, "fallback": self.rest_V}
        arrays |= {"types": np.array(self.types, np.int8), "per_model": np.array([self.per_model])}
        if self.booster is not None:
            arrays |= {f"trees/{key}": values for key, values in tree_arrays(self.booster.dump_model()).items()}
        people = max(part.people for part in parts.values())
        return Program(
            "two_stage", arrays, needs_time=timed, needs_instant=timed, columns=("order", "session"), people=people
        )

    def save(self, folder: Path) -> None:
        """Write `weights.npz` (item statistics, catalogue, fallback), `trees.txt` and the candidates' own folders."""
        arrays = {"facts": self.facts.table_VF, "catalogue": self.catalogue, "fallback": self.rest_V}
        arrays |= {"types": np.array(self.types, np.int8), "candidates": np.array(list(self.models))}
        arrays["alone"] = np.array(self.alone)
        save_arrays(folder, "two_stage", arrays)
        for name, model in self.models.items():
            model.save(folder / "candidates" / name)
        save_trees(folder, self.booster)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "two_stage", ("facts", "catalogue", "fallback", "types", "candidates", "alone"))
        self.facts, self.catalogue, self.rest_V = ItemFacts(a["facts"]), a["catalogue"], a["fallback"]
        self.types, self.alone = a["types"].tolist(), str(a["alone"])
        there = Path(folder) / "candidates"
        names = a["candidates"].tolist()  # those that took part, in the order in which the trees read them
        if strange := [name for name in names if name not in self.settings or not (there / name).is_dir()]:
            raise UserError(f"{folder} lacks the candidate model '{strange[0]}' that its trees read; train it again")
        self.settings = {name: self.settings[name] for name in names}
        self.models = {name: make(settings) for name, settings in self.settings.items()}
        for name, model in self.models.items():
            model.load(there / name)
        self.booster = open_trees(folder) if (Path(folder) / TREES).is_file() else None
        if self.booster is not None and self.booster.num_feature() != len(self.feature_names):
            raise UserError(f"{folder}: its trees read other columns than this version makes; train two_stage again")
