r"""Settings that the training rows choose: what `auto` stands for in a model's YAML.

How long a week's bestsellers stay right, or what one's own items are worth, is another thing in every shop, and one
constant is wrong in most. A model that has such settings names their options and asks here. The questions lie inside of
the training rows: earlier windows of the same timeline (`windows.py`), or everybody's last step where there is order
alone. The model is fitted on what lies before each window with every option in turn, one setting after the other in
the order of the options; the option with the highest mean NDCG@k is taken where it gains more over the first one than
one standard error of the difference, so that few questions decide nothing; nor do few windows, whose questions are
right or wrong together: the error is the larger of that question by question and that window by window. (The rule is
that of L. Breiman, J. Friedman, R. Olshen and C. Stone, "Classification and Regression Trees", 1984, section 3.4.3, for
pairs.)

Neither validation nor test is looked at, and a model that is trained anew on later rows chooses anew. What it costs, in
fits of the model: one for each window and option that moves what is counted (of item-kNN four), on logs of up to
`ROWS` / `WINDOWS` rows six windows, on longer ones fewer; beyond `LONGEST` nothing is asked.

Shapes: B requests of all windows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.errors import Rule
from shopkeeper.metrics.plain_ranker import PlainRanker
from shopkeeper.metrics.ranking import compute
from shopkeeper.metrics.ranks import Flat, Hits
from shopkeeper.models.about import Learned, in_words
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.windows import Window, windows_as_asked
from shopkeeper.schema import event_codes

log = logging.getLogger(__name__)
AUTO = "auto"
WINDOWS = 6  # a list that is the same for all is right or wrong for a whole window: few would decide by chance
LEAST, MOST = 500, 3000  # questions of all windows
ROWS = 2_000_000  # training rows of all windows together: of a longer log there are fewer windows, at least one
CELLS = 200_000_000  # scores of an option: of a large catalogue there are fewer questions
LONGEST = 20_000_000  # training rows; with more, asking takes too long, and the first options are taken
CELLS_AT_ONCE = 16_000_000
ROOM = "auto/"  # of saved arrays, load_arrays(…, (…, ROOM))

Settings = dict[str, Any]
Fitted = Callable[[Settings, Split], Any]  # a model with these settings, fitted on a window's training rows


def or_auto(rule: Rule) -> Rule:
    """`auto`, or what the rule wants."""
    return f"{rule[0]}, or auto", lambda x: x == AUTO or rule[1](x)


@dataclass(frozen=True)
class Open:
    """A model's settings, some of which may say `auto`.

    Args:
        told: what the model was given, by name.
        options: of each setting that may be left open its options, numbers or None; the first one is taken where
            nothing can be asked, and where no other one is better.
        again: settings that are asked a second time after all others, because what is right for them moves with these.
    """

    told: Mapping[str, Any]
    options: Mapping[str, Sequence[float | None]]
    again: Sequence[str] = ()

    @property
    def left(self) -> list[str]:
        """The settings that say `auto`, in the order of the options."""
        return [name for name in self.options if self.told[name] == AUTO]

    @property
    def first(self) -> Settings:
        """The settings before anything was asked."""
        return {**self.told, **{name: self.options[name][0] for name in self.left}}

    def chosen(
        self,
        fitted: Fitted,
        split: Split,
        fit: Fit,
        nothing: Mapping[str, bool] = MappingProxyType({}),
        most: int = MOST,
    ) -> Settings:
        """The settings that were best inside of the split's training rows.

        Args:
            fitted: makes a model with some settings.
            split, fit: of the fit that is going on.
            nothing: settings that mean nothing on these data, if true; they keep the first option.
            most: questions of all windows, of a model that answers slowly.
        """
        settings, asked = self.first, [name for name in self.left if not nothing.get(name)]
        if not asked:
            return settings
        windows = _windows(split, event_codes(list(fit.target_events)), most)
        if not windows:
            log.info("auto: nothing is asked inside of the training rows; %s", _said(settings, asked))
            return settings

        window_B = np.repeat(np.arange(len(windows)), [len(w.requests) for w in windows])

        def value(some: Settings) -> np.ndarray:
            each = [ndcg_of_each(fitted(some, w.split), w.requests, w.targets, w.split, fit) for w in windows]
            return np.concatenate(each)

        now = value(settings)
        began = now.mean()
        for name in (*asked, *(n for n in self.again if n in asked and len(asked) > 1)):
            left = [option for option in self.options[name] if option != settings[name]]
            others = {option: value({**settings, name: option}) for option in left}
            best = max(others, key=lambda option: others[option].mean())
            gain = others[best] - now
            if len(gain) > 1 and gain.mean() > standard_error(gain, window_B):
                settings, now = {**settings, name: best}, others[best]
        what = f"{len(now)} questions inside of the training rows"
        log.info("auto: %s (NDCG@%d %.4f, first %.4f, of %s)", _said(settings, asked), fit.k, now.mean(), began, what)
        return settings

    def learned(self, settings: Settings) -> Learned:
        """What was chosen, for a run to say."""
        return Learned(settings={name: settings[name] for name in self.left})

    def arrays(self, settings: Settings) -> dict[str, np.ndarray]:
        """What was chosen, for `save_arrays`; null is NaN."""
        return {ROOM + name: np.array(np.nan if settings[name] is None else settings[name]) for name in self.left}

    def opened(self, arrays: Mapping[str, np.ndarray]) -> Settings:
        """The settings of a saved model, of what `load_arrays` read with `ROOM`."""
        kept = {name: arrays[ROOM + name].item() for name in self.left if ROOM + name in arrays}
        return {**self.first, **{name: None if np.isnan(value) else value for name, value in kept.items()}}


def standard_error(gain_B: np.ndarray, window_B: np.ndarray) -> float:
    """Of the mean of two or more gains: question by question, or window by window (0 … W - 1) where that is more."""
    mean, n = gain_B.mean(), len(gain_B)
    by_question = float(gain_B.std(ddof=1) / np.sqrt(n))
    beside_W = np.bincount(window_B, gain_B - mean)
    if len(beside_W) < 2:
        return by_question
    by_window = float(np.sqrt((beside_W**2).sum() * len(beside_W) / (len(beside_W) - 1)) / n)
    return max(by_question, by_window)


def _windows(split: Split, types: list[int], most: int) -> list[Window]:
    """Those that are asked, as many as can be within a small multiple of one fit."""
    rows = len(split.training_rows()[1])
    if rows > LONGEST:
        return []
    count = min(max(ROWS // max(rows, 1), 1), WINDOWS)
    most = min(max(CELLS // (split.prepared.n_items + 1), LEAST), most)
    return windows_as_asked(split, types, count, most)


def fitted_as(model: Callable[..., Any], fit: Fit) -> Fitted:
    """Makes models of a class, each fitted from the beginning."""

    def fitted(some: Settings, split: Split) -> Any:
        one = model(**some)
        one.fit(split.prepared, split, fit)
        return one

    return fitted


def _said(settings: Settings, names: Sequence[str]) -> str:
    return in_words({name: settings[name] for name in names})


def ndcg_of_each(model: Any, requests: Requests, targets: Targets, split: Split, fit: Fit) -> np.ndarray:
    """NDCG@k of each request, as evaluation counts it: float64 (B,)."""
    ranker = PlainRanker(split.prepared.n_items + 1, split.catalogue)
    step = max(1, CELLS_AT_ONCE // (split.prepared.n_items + 1))
    values = [np.zeros(0)]
    for first in range(0, len(requests), step):
        part, wanted = requests[first : first + step], targets[first : first + step]
        seen, only = (None if x is None else Flat(*x) for x in (part.hidden(fit.filter_seen), part.candidates))
        ranked = ranker.rank_scores(model.score(part), Flat(wanted.offsets, wanted.item), seen, only)
        values.append(compute(Hits.of(ranked, wanted.offsets, wanted.item), f"ndcg@{fit.k}"))
    return np.concatenate(values)
