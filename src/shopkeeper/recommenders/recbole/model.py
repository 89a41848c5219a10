"""A model of RecBole as a recommender: trained by RecBole, on training rows and in an order of this project.

    shopkeeper train model=recbole model.name=LightGCN model.parameters.embedding_size=32

RecBole (W. X. Zhao et al., CIKM 2021, arXiv:2011.01731; version 1.2.1) runs in an environment and a process of its own
(`process`, `runner`). It is given the training rows alone; the validation requests are asked of it after each epoch,
ranked here, and its early stopping follows that figure. Answers come back as blocks of scores in memory-mapped files.

Sequential models answer from the request's history, so strangers, too. General and context models know the customers
whom they were trained on: whoever else asks gets what sells, as an empty history does.

Shapes: B requests, L items of a history, V = n_items + 1 columns.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, check, number, or_null, whole
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import counted_types, item_popularity, type_weights
from shopkeeper.recommenders.recbole.installed import CONTEXT, SEQUENTIAL, Installed
from shopkeeper.recommenders.recbole.process import Process
from shopkeeper.recommenders.recbole.validation import Validation
from shopkeeper.recommenders.recbole.written import interactions_file, item_fields, items_file, learnt
from shopkeeper.schema import INTEREST_TYPES
from shopkeeper.shapes import Yaml

log = logging.getLogger(__name__)
CELLS_AT_ONCE = 1 << 23  # scores of a block
USUAL_EPOCHS = 300  # RecBole's own
LOG, ITEMS, ORDER, STATE = "log/log.inter", "log/log.item", "order.npz", "state.npz"


class RecBole:
    """One of RecBole's general, sequential and context-aware models.

    Args:
        name: the model, as RecBole calls it.
        parameters: its settings, as its YAML in RecBole names them, and RecBole's shared ones for training.
        epochs: the limit; null: RecBole's own, 300.
        patience: validations without a better figure before it stops.
        validate_every: epochs.
        event_types: what counts as an interaction; null: each type that shows interest.
        content: columns of the item table that context models, and sequential ones with item features, read.
        limit_minutes: of a training, after which it is ended.
        memory_gib: what its process may use; null: what is free when it starts.
    """

    def __init__(
        self,
        name: str,
        parameters: Yaml | None = None,
        epochs: int | None = None,
        patience: int = 10,
        validate_every: int = 1,
        event_types: list[str] | None = None,
        content: str | list[str] = "all",
        limit_minutes: float = 1440.0,
        memory_gib: float | None = None,
    ) -> None:
        self.name, self.parameters = name, dict(parameters or {})
        self.epochs, self.patience, self.validate_every = epochs, patience, validate_every
        self.content, self.limit_minutes, self.memory_gib = content, limit_minutes, memory_gib
        rules = {"epochs": or_null(whole(1)), "patience": whole(1), "validate_every": whole(1)}
        rules |= {"limit_minutes": number(above=True), "memory_gib": or_null(number(above=True))}
        check(vars(self), rules, "model.")
        if name != "recbole" and (found := Installed.find()) is not None:
            found.check(name, self.parameters)
        self.counts_type = type_weights(dict.fromkeys(event_types or INTEREST_TYPES, 1), "event_types") > 0
        self.about = About(
            reads=("event_type",),
            types=counted_types(self.counts_type),
            not_exported="it is answered by RecBole in an environment of its own, which a bundle does not have",
        )
        self.process: Process | None = None
        self.job: dict[str, Any] = {}
        self.length = 0
        self.known_V, self.fallback_V = np.zeros(0, bool), np.zeros(1, np.float32)
        self.known_U = np.zeros(0, bool)  # customers with training rows
        self.files: dict[str, np.ndarray] = {}  # what was written for RecBole, and what it learned

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Let RecBole learn from the training rows; validation requests choose the epoch."""
        found, trainer = Installed.needed(), fit.trainer
        found.check(self.name, self.parameters)
        kind, usual = found.kind_of(self.name), found.settings_of(self.name)
        rows = learnt(split, np.flatnonzero(self.counts_type).tolist(), once=kind != SEQUENTIAL)
        if len(rows.item_R) == 0:
            raise UserError(f"model.name={self.name}: no training row has one of model.event_types; nothing to learn")
        trained_V = np.zeros(prepared.n_items + 1, bool)
        trained_V[rows.item_R] = True
        fields = {}
        reads_items = any(key in usual for key in ("selected_features", "item_attribute"))
        if kind == CONTEXT or reads_items or self.name in ("DIN", "DIEN"):
            fields = item_fields(prepared, split, self.content, trained_V)
            if not fields and reads_items:
                raise UserError(
                    f"model.name={self.name} reads attributes of items and {prepared.name} has none"
                    f"{'' if self.content == 'all' else f' with model.content={self.content}'}; take SASRec or GRU4Rec"
                )
        validation = None if fit.steps else Validation.of(split, fit, trainer.validation_requests)
        most = trainer.max_epochs
        self.close()
        self.known_V = np.zeros(prepared.n_items + 1, bool)
        self.known_V[split.known] = True
        self.known_U = np.bincount(rows.user_R, minlength=prepared.n_users + 1) > 0
        self.fallback_V = item_popularity(prepared, split, dict.fromkeys(fit.target_events, 1.0))
        self.job = {
            "model": self.name, "kind": kind, "parameters": self.parameters, "seed": fit.seed,
            "threads": trainer.threads, "gpu": trainer.accelerator != "cpu", "fields": list(fields),
            "loss_type": self.parameters.get("loss_type", usual.get("loss_type", "")),
            "epochs": fit.steps or most or self.epochs or USUAL_EPOCHS, "most_epochs": most, "patience": self.patience,
            "validate_every": self.validate_every, "n_columns": prepared.n_items + 1,
            "validates": validation is not None, "opens": False, "memory_gib": self._memory(),
        }  # fmt: skip
        text = {LOG: interactions_file(rows), ITEMS: items_file(split.known, fields)}
        order = {"user": rows.user_R, "item": rows.item_R.astype(np.int64)}
        self.files = {f"text/{name}": np.frombuffer(said.encode(), np.uint8) for name, said in text.items()}
        self.files |= {f"order/{name}": values for name, values in order.items()}
        self.process = Process(found, self.job, {**text, ORDER: order})
        learned = self._train(fit, validation)
        self.files |= {f"learned/{name}": values for name, values in self.process.state().items()}
        if kind != SEQUENTIAL and validation is not None:
            strange = int((~self._asked(validation.requests)[2]).sum())
            of = strange, len(validation.requests)
            log.info("%s knows whom it was trained on: %d of %d validation requests get what sells", self.name, *of)
        return learned

    def _train(self, fit: Fit, validation: Validation | None) -> Learned:
        """Until RecBole has done: log its epochs, and answer what it asks."""
        assert self.process is not None
        until, limit = time.monotonic() + 60 * self.limit_minutes, f"model.limit_minutes={self.limit_minutes:g}"
        history: list[dict[str, float]] = []
        self.length = int(self.process.hear(until, limit)["length"])
        epoch: dict[str, float] = {}
        while True:
            heard = self.process.hear(until, limit)
            if "epoch" in heard:
                epoch = {"epoch": heard["epoch"], "loss": heard["loss"], "seconds": heard["seconds"]}
                validates = validation is not None and heard["epoch"] % self.validate_every == 0
                if not validates:
                    self._tell(fit, history, epoch)
            elif "validate" in heard:
                assert validation is not None
                figures = validation(self.score)
                self.process.say(do="valued", value=figures[validation.headline])
                self._tell(fit, history, {**epoch, **figures})
            elif "trained" in heard:
                steps = int(heard["steps"]) if heard["kept"] else None
                return Learned(steps=steps, history=history)

    @staticmethod
    def _tell(fit: Fit, history: list[dict[str, float]], row: dict[str, float]) -> None:
        history.append(row)
        fit.log({name: value for name, value in row.items() if name != "epoch"}, int(row["epoch"]))

    def score(self, requests: Requests) -> np.ndarray:
        """Scores float32 (B, V); who is not known, or has no usable history, gets the popularity of items."""
        score_BV = np.repeat(self.fallback_V[None, :], len(requests), axis=0)
        user_B, item_BL, asks_B = self._asked(requests)
        asked, step = np.flatnonzero(asks_B), max(1, CELLS_AT_ONCE // len(self.fallback_V))
        for first in range(0, len(asked), step):
            some = asked[first : first + step]
            score_BV[some] = self._running().answer(user_B[some], item_BL[some])
        return score_BV

    def _asked(self, requests: Requests) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Customers (0: none that is known), newest items (B, L), and whom RecBole can say anything of: bool (B,)."""
        n = len(requests)
        user_B = np.zeros(n, np.int64) if requests.user is None else requests.user.astype(np.int64)
        user_B = np.where(user_B < len(self.known_U), user_B, 0)
        user_B = np.where(self.known_U[user_B], user_B, 0) if len(self.known_U) else user_B
        codes = np.flatnonzero(self.counts_type).tolist()
        if self.job.get("kind") != SEQUENTIAL:
            offsets, _ = requests.flat(codes)
            return user_B, np.zeros((n, 0), np.int64), np.asarray((user_B > 0) & (np.diff(offsets) > 0))
        item_BL = usable_items(requests, codes, self.known_V, max(self._length(), 1))
        return user_B, item_BL, np.asarray((item_BL > 0).any(axis=1))

    def _length(self) -> int:
        self._running()
        return self.length

    def _running(self) -> Process:
        """RecBole's process, started anew from what was written and learned where there is none."""
        if self.process is None:
            found = Installed.needed()
            found.check(self.name, self.parameters)
            files: dict[str, str | Mapping[str, np.ndarray]] = {
                name: self.files[f"text/{name}"].tobytes().decode() for name in (LOG, ITEMS)
            }
            files[ORDER], files[STATE] = self._files_of("order/"), self._files_of("learned/")
            self.process = Process(found, {**self.job, "opens": True, "memory_gib": self._memory()}, files)
            self.length = int(self.process.hear()["length"])
            self.process.hear()
        return self.process

    def _files_of(self, prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): v for name, v in self.files.items() if name.startswith(prefix)}

    def _memory(self) -> float | None:
        """GiB that RecBole may use: told, or what is free; None where the system does not say."""
        if self.memory_gib is not None:
            return self.memory_gib
        import torch

        from shopkeeper.training.devices.memory import UNLIMITED, available

        free = available(torch.device("cpu"))
        return None if free >= UNLIMITED else free / 2**30

    def close(self) -> None:
        """End RecBole's process."""
        if self.process is not None:
            self.process.end()
        self.process = None

    def save(self, folder: Path) -> None:
        """Write what was written for RecBole and what it learned as `weights.npz`: arrays alone, nothing pickled."""
        about = {"job": self.job, "length": self.length}
        arrays = {"known": self.known_V, "known_users": self.known_U, "fallback": self.fallback_V, **self.files}
        save_arrays(folder, self.name, {"about": np.array(json.dumps(about)), **arrays})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; RecBole starts with the first question."""
        self.close()
        names = ("known", "known_users", "fallback", "about", "text/", "order/", "learned/")
        found = load_arrays(folder, self.name, names)
        self.known_V, self.known_U, self.fallback_V = (found.pop(name) for name in names[:3])
        about = json.loads(str(found.pop("about")))
        self.files = found
        self.job, self.length = about["job"], int(about["length"])
        if self.job["model"] != self.name or self.job["parameters"] != self.parameters:
            raise UserError(
                f"{folder} holds RecBole's {self.job['model']} with other settings than config.yaml says; train again"
            )


def usable_items(requests: Requests, codes: Sequence[int], known_V: np.ndarray, length: int) -> np.ndarray:
    """The newest items of each history that are of these types and known to the model, 0 on the left: int32 (B, L)."""
    offsets, rows = requests.flat(codes)
    item = requests.events.item[rows]
    kept = known_V[np.minimum(item, len(known_V) - 1)] & (item < len(known_V))
    position = np.concatenate([[0], np.cumsum(kept)])
    start, end = position[offsets[:-1]], position[offsets[1:]]
    item = item[kept]
    at_BL = end[:, None] - length + np.arange(length)
    inside = at_BL >= start[:, None]
    return (
        np.where(inside, item[np.where(inside, at_BL, 0)], 0)
        if len(item)
        else np.zeros((len(requests), length), np.int32)
    )
