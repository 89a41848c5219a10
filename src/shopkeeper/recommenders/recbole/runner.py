"""RecBole's side of the line: run as a script by the Python of RecBole's own environment, never imported for answers.

    python -I runner.py FOLDER LIFELINE

`FOLDER` holds `job.json` and the atomic files; lines of JSON are heard on stdin and said on stdout (what RecBole prints
goes to stderr). When the pipe LIFELINE is closed at its other end, by whatever end the parent comes to, this process
removes the folder and ends. Checkpoints are kept in memory: nothing is pickled, nothing unpickled.

Shapes: B requests, L items of a history, V = n_items + 1 columns of this project's ids, T RecBole's own.
"""

from __future__ import annotations

import copy
import json
import os
import select
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

DATASET = "log"  # the name of the atomic files
STAGES = {"S3Rec": ("pretrain", "finetune"), "RaCT": ("actor_pretrain", "critic_pretrain", "finetune")}
CELLS = 1 << 24  # scores that are made at once
PAIRS = 1 << 16  # requests and items that are asked at once, of a model that knows only pairs


class Line:
    """Lines of JSON to and from the parent; RecBole's own prints go to stderr."""

    def __init__(self) -> None:
        self.out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def say(self, **words: Any) -> None:
        """One line to the parent."""
        self.out.write(json.dumps(words) + "\n")
        self.out.flush()

    def hear(self) -> dict[str, Any]:
        """The next line of the parent; the end where there is none."""
        line = sys.stdin.readline()
        heard: dict[str, Any] = json.loads(line) if line else {"do": "end"}
        return heard


def end_with_parent(lifeline: int, place: Path) -> None:
    """Wait until the parent's end of a pipe is closed, then leave nothing."""
    while os.read(lifeline, 1):
        pass
    for _ in range(100):  # what trains may still write into it
        shutil.rmtree(place, ignore_errors=True)
        if not place.exists():
            break
        time.sleep(0.01)
    os._exit(1)


def limit_memory(gib: float | None) -> None:
    """Ask the system for no more than so much: what goes beyond is an error here, not the end of other processes."""
    if gib is not None:
        import resource

        n = int(gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (n, n))


def keep_in_memory() -> dict[str, Any]:
    """`torch.save` and `torch.load` keep states in the dictionary that is returned: RecBole's are pickled otherwise."""
    import torch

    kept: dict[str, Any] = {}

    def save(state: Mapping[str, Any], file: Any, *args: Any, **named: Any) -> None:
        kept[str(file)] = {k: copy.deepcopy(state[k]) for k in ("epoch", "state_dict", "other_parameter") if k in state}

    def load(file: Any, *args: Any, **named: Any) -> Any:
        return kept[str(file)]

    vars(torch).update(save=save, load=load)
    return kept


def settings(job: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """RecBole's configuration: the job's, and what a split of ours asks for."""
    sequential, fields = job["kind"] == "sequential", list(job["fields"])
    found: dict[str, Any] = {
        "data_path": str(place), "checkpoint_dir": str(place / "checkpoints"), "show_progress": False,
        "state": "WARNING", "seed": job["seed"], "reproducibility": True, "epochs": job["epochs"],
        "stopping_step": job["patience"], "eval_step": job["validate_every"], "use_gpu": job["gpu"],
        "gpu_id": "0" if job["gpu"] else "",
        "load_col": {"inter": ["user_id", "item_id", *(["timestamp"] if sequential else [])],
                     "item": ["item_id", *fields]},
        "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "TO" if sequential else "RO", "mode": "full"},
        "metrics": ["NDCG"], "valid_metric": "NDCG@10", "repeatable": sequential, "selected_features": fields,
    }  # fmt: skip
    if fields:
        found["item_attribute"] = fields[0]
    if job["kind"] == "context" or job["model"] in ("DIN", "DIEN"):
        found["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": 1}
    elif sequential and job["loss_type"] == "CE":
        found["train_neg_sample_args"] = None
    return found | job["parameters"]


def loaded(job: Mapping[str, Any], place: Path) -> tuple[Any, Any]:
    """RecBole's configuration and its data set, all of it training rows, in the order that was written."""
    from recbole.config import Config
    from recbole.data import create_dataset
    from recbole.utils import init_seed

    config = Config(model=job["model"], dataset=DATASET, config_dict=settings(job, place))
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    dataset._change_feat_format()
    with np.load(place / "order.npz", allow_pickle=False) as written:
        user_R, item_R = written["user"], written["item"]
    tokens = [np.array([0, *map(int, dataset.field2id_token[f][1:])]) for f in (dataset.uid_field, dataset.iid_field)]
    columns = {name: dataset.inter_feat[name].numpy() for name in dataset.inter_feat.columns}
    user, target = tokens[0][columns[dataset.uid_field]], tokens[1][columns[dataset.iid_field]]
    if job["kind"] == "sequential":
        list_N = tokens[1][columns[dataset.item_id_list_field]]
        check_sequences(user_R, item_R, user, list_N, columns[dataset.item_list_length_field], target)
    elif not (np.array_equal(user, user_R) and np.array_equal(target, item_R)):
        raise ValueError("RecBole has loaded other rows than were written")
    return config, dataset


def check_sequences(
    user_R: np.ndarray,
    item_R: np.ndarray,
    user_N: np.ndarray,
    list_NL: np.ndarray,
    n_N: np.ndarray,
    target_N: np.ndarray,
) -> None:
    """Hold RecBole's histories and targets against the rows that were written: a target for each row but the first.

    Raises:
        ValueError: they are in another order, or others.
    """
    first_R = np.diff(user_R, prepend=-1) != 0
    place_R = np.arange(len(user_R)) - np.maximum.accumulate(np.where(first_R, np.arange(len(user_R)), 0))
    row = np.flatnonzero(~first_R)
    length = list_NL.shape[1] if list_NL.ndim == 2 else 0
    expected_n = np.minimum(place_R[row], length)
    at_NL = row[:, None] - expected_n[:, None] + np.arange(length)
    inside = np.arange(length) < expected_n[:, None]
    expected_NL = np.where(inside, item_R[np.where(inside, at_NL, 0)], 0)
    said, wanted = (user_N, target_N, n_N, list_NL), (user_R[row], item_R[row], expected_n, expected_NL)
    if not all(np.array_equal(a, b) for a, b in zip(said, wanted, strict=True)):
        raise ValueError("RecBole has loaded the histories in another order than they were written in")


def loader_of(config: Any, dataset: Any) -> Any:
    """RecBole's own batches of all rows, with its sampler where the model asks for negatives."""
    from recbole.data.utils import get_dataloader
    from recbole.sampler import RepeatableSampler, Sampler

    asked, sampler = config["train_neg_sample_args"], None
    if asked["distribution"] != "none":
        made = RepeatableSampler if config["repeatable"] else Sampler
        of = dataset if config["repeatable"] else [dataset]
        sampler = made(["train"], of, asked["distribution"], asked["alpha"]).set_phase("train")
    return get_dataloader(config, "train")(config, dataset, sampler, shuffle=config["shuffle"])


class Answering:
    """A model's scores for requests in this project's ids."""

    def __init__(self, job: Mapping[str, Any], config: Any, dataset: Any, model: Any):
        self.config, self.dataset, self.model, self.by_history = config, dataset, model, job["kind"] == "sequential"
        self.n_columns, self.pairs = job["n_columns"], False
        # What only a training loss reads, and these ask for with any question: negatives, a target.
        self.draws, self.aims = job["model"] == "DIEN", job["model"] in ("GRU4RecCPR", "SASRecCPR")
        self.ours_T = np.array([0, *map(int, dataset.field2id_token[dataset.iid_field][1:])])
        self.theirs_V = np.zeros(self.n_columns, np.int64)
        self.theirs_V[self.ours_T[1:]] = np.arange(1, len(self.ours_T))
        users = np.array([0, *map(int, dataset.field2id_token[dataset.uid_field][1:])])
        self.user_of = np.zeros(users.max() + 1, np.int64)
        self.user_of[users[1:]] = np.arange(1, len(users))
        self.length = config["MAX_ITEM_LIST_LENGTH"] if self.by_history else 0
        self.items = dataset.get_item_feature()

    def __call__(self, user_B: np.ndarray, item_BL: np.ndarray, file: Path) -> None:
        """Write scores float32 (B, V); items that RecBole has no number for stand below all others."""
        import torch

        self.model.eval()
        out = np.lib.format.open_memmap(file, "w+", np.float32, (len(user_B), self.n_columns))
        step = max(1, min(1024, CELLS // len(self.ours_T)))
        for first in range(0, len(user_B), step):
            some = slice(first, first + step)
            with torch.no_grad():
                score_BT = self._scores(self._asked(user_B[some], item_BL[some])).float().cpu().numpy()
            least = np.where(np.isneginf(score_BT), np.inf, score_BT)[:, 1:].min(axis=1, keepdims=True)
            least = np.where(np.isfinite(least), least, 0) - 1
            out[some] = least
            out[some, self.ours_T[1:]] = np.where(np.isneginf(score_BT), least, score_BT)[:, 1:]
        out.flush()

    def _asked(self, user_B: np.ndarray, item_BL: np.ndarray) -> Any:
        """RecBole's interaction: customers, and histories with their padding behind."""
        import torch
        from recbole.data.interaction import Interaction

        known = np.where((user_B > 0) & (user_B < len(self.user_of)), user_B, 0)
        columns = {self.dataset.uid_field: torch.from_numpy(self.user_of[known])}
        if self.by_history:
            order = np.argsort(item_BL == 0, axis=1, kind="stable")
            items = self.theirs_V[np.take_along_axis(item_BL, order, axis=1)]
            columns[self.dataset.item_id_list_field] = torch.from_numpy(items)
            columns[self.dataset.item_list_length_field] = torch.from_numpy((items > 0).sum(1))
            if self.draws:
                columns[self.dataset.neg_item_list_field] = torch.zeros(items.shape, dtype=torch.int64)
            if self.aims:
                columns[self.dataset.iid_field] = torch.ones(len(items), dtype=torch.int64)
        return Interaction(columns).to(self.config["device"])

    def _scores(self, asked: Any) -> Any:
        n, wide = len(asked), len(self.ours_T)
        if not self.pairs:
            try:
                return self.model.full_sort_predict(asked).view(n, wide)
            except NotImplementedError:
                self.pairs = True
        import torch

        step, found = max(1, PAIRS // wide), []
        for first in range(0, n, step):
            some = asked[first : first + step]
            pairs = some.repeat_interleave(wide)
            pairs.update(self.items.to(self.config["device"]).repeat(len(some)))
            found.append(self.model.predict(pairs).view(len(some), wide))
        return torch.cat(found)


def serve(line: Line, place: Path, answering: Answering) -> dict[str, Any]:
    """Do what the parent asks, until it says something else than `answer` and `save`."""
    while True:
        heard = line.hear()
        if heard["do"] == "answer":
            with np.load(place / heard["asked"], allow_pickle=False) as file:
                answering(file["user"], file["item"], place / heard["to"])
            line.say(done=heard["to"])
        elif heard["do"] == "save":
            np.savez(place / heard["to"], **state_of(answering.model))  # type: ignore[arg-type]
            line.say(done=heard["to"])
        else:
            return heard


def trained(line: Line, place: Path, job: Mapping[str, Any], config: Any, dataset: Any) -> Any:
    """Train as RecBole does; the parent measures what its early stopping follows."""
    from recbole.utils import get_model, get_trainer, init_seed

    kept, loader, saved = keep_in_memory(), loader_of(config, dataset), ""
    init_seed(config["seed"], True)
    for stage in STAGES.get(job["model"], ("",)):
        if stage:
            config["train_stage"], config["pre_model_path"] = stage, saved
            config["pretrain_epochs"] = min(config["pretrain_epochs"], job["most_epochs"] or config["pretrain_epochs"])
            config["save_step"] = config["pretrain_epochs"]
        model = get_model(job["model"])(config, dataset).to(config["device"])
        answering = Answering(job, config, dataset, model)
        usual = get_trainer(config["MODEL_TYPE"], job["model"])

        class Told(usual):  # type: ignore[misc,valid-type]
            """RecBole's trainer, with the parent as its judge."""

            def _generate_train_loss_output(self, epoch: int, start: float, end: float, losses: Any) -> str:
                loss = sum(losses) if isinstance(losses, tuple) else losses
                line.say(epoch=epoch + 1, loss=float(loss), seconds=end - start)
                return ""

            def _valid_epoch(self, data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
                line.say(validate=True)
                heard = serve(line, place, answering)  # noqa: B023
                return heard["value"], {"ndcg@10": heard["value"]}

        trainer = Told(config, model)
        trainer.fit(loader, [True] if job["validates"] else None, verbose=False, saved=True)
        saved = trainer.saved_model_file
    state = kept.get(saved, {})
    if state:
        model.load_state_dict(state["state_dict"])
        model.load_other_parameter(state["other_parameter"])
    line.say(trained=True, steps=int(state.get("epoch", -1)) + 1, kept=bool(state))
    return model


def state_of(model: Any) -> dict[str, np.ndarray]:
    """What a model has learned, as arrays; what it makes of its data set when it is made is left out."""
    import torch

    found = {f"state/{k}": v.cpu().numpy() for k, v in model.state_dict().items() if v.layout == torch.strided}
    for name, value in model.other_parameter().items():
        if isinstance(value, torch.Tensor) and value.layout == torch.strided:
            found[f"tensor/{name}"] = value.detach().cpu().numpy()
        elif isinstance(value, np.ndarray | int | float):
            found[f"value/{name}"] = np.asarray(value)
    return found


def opened(place: Path, job: Mapping[str, Any], config: Any, dataset: Any) -> Any:
    """A model made from the same data, with what `state_of` gave."""
    import torch
    from recbole.utils import get_model, init_seed

    keep_in_memory()
    init_seed(config["seed"], True)
    if job["model"] in STAGES:
        config["train_stage"] = STAGES[job["model"]][0]
    model = get_model(job["model"])(config, dataset).to(config["device"])
    with np.load(place / "state.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    state = {name[6:]: torch.from_numpy(v) for name, v in arrays.items() if name.startswith("state/")}
    model.load_state_dict(state, strict=False)
    for name, value in arrays.items():
        how, _, own = name.partition("/")
        if how != "state":
            as_it_was = torch.from_numpy(value).to(config["device"]) if how == "tensor" else value
            setattr(model, own, as_it_was.item() if how == "value" and not value.ndim else as_it_was)
    return model


def main(place: Path) -> None:
    """Do the job."""
    line = Line()
    job = json.loads((place / "job.json").read_text(encoding="utf-8"))
    os.chdir(place)
    sys.argv = sys.argv[:1]  # RecBole reads settings there
    try:
        limit_memory(job["memory_gib"])
        import torch

        if job["threads"]:
            torch.set_num_threads(job["threads"])
        config, dataset = loaded(job, place)
        line.say(loaded=True, length=config["MAX_ITEM_LIST_LENGTH"] if job["kind"] == "sequential" else 0)
        if job["opens"]:
            model = opened(place, job, config, dataset)
            line.say(opened=True)
        else:
            model = trained(line, place, job, config, dataset)
        serve(line, place, Answering(job, config, dataset, model))
    except BaseException as e:
        traceback.print_exc()
        line.say(failed=f"{type(e).__name__}: {e}"[:600], memory=is_memory(e))
        sys.exit(1)


def is_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory."""
    said = ("allocate memory", "out of memory", "can't start new thread")  # a thread's stack finds no room
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


if __name__ == "__main__":
    folder, lifeline = Path(sys.argv[1]), int(sys.argv[2])
    watch = threading.Thread(target=end_with_parent, args=[lifeline, folder], daemon=True)
    watch.start()
    try:
        main(folder)
    finally:  # over because the parent is: the folder is not left half removed
        if select.select([lifeline], [], [], 0.5)[0]:
            watch.join()
