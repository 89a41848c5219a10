"""One peer's SASRec on given sequences, in the peer's own environment: `train_peers.py NAME SEQUENCES.npz OPTIONS`.

SEQUENCES.npz holds `offsets` and `item` (from 1) of what each customer did, oldest first: the training rows for
RecTools and RePlay; the whole log for RecBole, which holds the last two of each customer out by itself.
Prints one line of JSON with seconds, processor seconds and mean loss of each epoch. With the option `quality` (a file
of `_quality.save`) training goes on until validation NDCG@10 stops rising, and its curve is in that line, too.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from _quality import Quality, padded, to_our_items

warnings.filterwarnings("ignore")


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def clock(callback_class, scorer=None, quality=None):
    """A Lightning callback that notes each epoch; RecTools and RePlay use two different packages of Lightning.

    With `quality`, `scorer(module)` gives the function that it measures by, and ends training when it says so.
    """

    class Clock(callback_class):
        epochs: ClassVar[list] = []  # of the class: RecTools copies the trainer and its callbacks
        asked: ClassVar = quality

        def on_train_epoch_start(self, trainer, module):
            self.note_loss(trainer)
            self.start = time.perf_counter(), processor()

        def on_train_epoch_end(self, trainer, module):
            seconds, used = time.perf_counter() - self.start[0], processor() - self.start[1]
            self.epochs.append({"seconds": seconds, "cpu_seconds": used})
            if Clock.asked is not None:
                module.eval()
                with torch.inference_mode():
                    done = Clock.asked.measured(scorer(module), sum(e["seconds"] for e in self.epochs))
                module.train()
                trainer.should_stop = trainer.should_stop or done

        def on_train_end(self, trainer, module):
            self.note_loss(trainer)

        def note_loss(self, trainer):  # an epoch's mean is there only after its end
            loss = {k: float(v) for k, v in trainer.callback_metrics.items() if "train_loss" in k}
            if self.epochs and "loss" not in self.epochs[-1]:
                self.epochs[-1]["loss"] = loss.get("train_loss_epoch", loss.get("train_loss"))

        def __deepcopy__(self, memo):
            return self

    return Clock()


def to_their_ids(n_items, ours, theirs):
    """Array over our item ids (0: padding) with the system's own, -1 where it has none."""
    id_of = np.full(n_items + 1, -1, np.int64)
    id_of[np.asarray(ours, np.int64)] = theirs
    return id_of


def rectools(item, offsets, o, quality):
    import pandas as pd
    from pytorch_lightning import Callback, Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = pd.to_datetime(np.arange(len(item)), unit="s")
    frame = pd.DataFrame({Columns.User: user, Columns.Item: item, Columns.Weight: 1, Columns.Datetime: order})

    def scorer(module):
        net, prep = module.torch_model, model.data_preparator
        known = prep.get_known_items_sorted_internal_ids()
        id_of = to_their_ids(quality.n_items, prep.get_known_item_ids(), known)
        item_TD = net.item_model.get_all_embeddings()

        def score(histories):
            x_BL = torch.from_numpy(padded(histories, id_of, o["max_length"]))
            h_BD = net.encode_sessions({"x": x_BL}, item_TD)[:, -1]
            return to_our_items((h_BD @ item_TD.T).numpy(), id_of)

        return score

    timer = clock(Callback, scorer, quality)
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }

    def trainer():
        return Trainer(max_epochs=o["epochs"], min_epochs=1, callbacks=[timer], accelerator="cpu", **quiet)

    model = SASRecModel(
        n_blocks=o["blocks"], n_heads=1, n_factors=o["width"], dropout_rate=o["dropout"], loss="softmax", lr=1e-3,
        session_max_len=o["max_length"], batch_size=o["batch_size"], epochs=o["epochs"], get_trainer_func=trainer,
    )  # fmt: skip
    model.fit(Dataset.construct(frame))
    return timer.epochs, int(np.minimum(np.diff(offsets) - 1, o["max_length"]).clip(0).sum()), ["rectools"]


def replay(item, offsets, o, quality):
    import lightning
    import pandas as pd
    from replay.data import Dataset, FeatureHint, FeatureInfo, FeatureSchema, FeatureSource, FeatureType
    from replay.data.nn import SequenceTokenizer, TensorFeatureInfo, TensorFeatureSource, TensorSchema
    from replay.models.nn.sequential import SasRec
    from replay.models.nn.sequential.sasrec import SasRecTrainingDataset
    from torch.utils.data import DataLoader

    user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    frame = pd.DataFrame({"user_id": user, "item_id": item, "timestamp": np.arange(len(item))})
    features = FeatureSchema(
        [
            FeatureInfo("user_id", FeatureType.CATEGORICAL, FeatureHint.QUERY_ID),
            FeatureInfo("item_id", FeatureType.CATEGORICAL, FeatureHint.ITEM_ID),
            FeatureInfo("timestamp", FeatureType.NUMERICAL, FeatureHint.TIMESTAMP),
        ]
    )
    source = [TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")]
    tensors = TensorSchema(
        [
            TensorFeatureInfo(
                "item_id", FeatureType.CATEGORICAL, is_seq=True, feature_hint=FeatureHint.ITEM_ID,
                embedding_dim=o["width"], feature_sources=source,
            )
        ]
    )  # fmt: skip
    tokenizer = SequenceTokenizer(tensors, allow_collect_to_master=True)
    sequences = tokenizer.fit_transform(Dataset(feature_schema=features, interactions=frame))
    model = SasRec(
        tokenizer.tensor_schema, block_count=o["blocks"], head_count=1, hidden_size=o["width"],
        max_seq_len=o["max_length"], dropout_rate=o["dropout"], loss_type="CE",
    )  # fmt: skip

    def scorer(module):
        given = tokenizer.item_id_encoder.mapping["item_id"]
        id_of = to_their_ids(quality.n_items, list(given), list(given.values()))
        pad = module._schema["item_id"].padding_value

        def score(histories):
            x_BL = padded(histories, id_of, o["max_length"], pad=-1)
            real_BL = torch.from_numpy(x_BL >= 0)
            batch = {"feature_tensor": {"item_id": torch.from_numpy(np.where(x_BL < 0, pad, x_BL))}}
            return to_our_items(module.predict(batch | {"padding_mask": real_BL}).numpy(), id_of)

        return score

    timer = clock(lightning.Callback, scorer, quality)
    loader = DataLoader(SasRecTrainingDataset(sequences, o["max_length"]), batch_size=o["batch_size"], shuffle=True)
    lightning.Trainer(
        max_epochs=o["epochs"], callbacks=[timer], accelerator="cpu", enable_progress_bar=False, logger=False,
        enable_model_summary=False, enable_checkpointing=False,
    ).fit(model, loader)  # fmt: skip
    return timer.epochs, int(np.minimum(np.diff(offsets) - 1, o["max_length"]).clip(0).sum()), ["replay-rec"]


def recbole(item, offsets, o, quality):
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        path = Path(folder) / "log" / "log.inter"
        path.parent.mkdir()
        user = np.repeat(np.arange(1, len(offsets)), np.diff(offsets))
        rows = np.stack([user, item, np.arange(len(item))], 1)
        np.savetxt(path, rows, "%d", "\t", header="user_id:token\titem_id:token\ttimestamp:float", comments="")
        sys.argv = sys.argv[:1]
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.model.sequential_recommender import SASRec
        from recbole.trainer import Trainer

        settings = {
            "data_path": folder, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "use_gpu": False,
            "train_neg_sample_args": None, "epochs": o["epochs"], "show_progress": False, "checkpoint_dir": folder,
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        }  # fmt: skip
        config = Config(model="SASRec", dataset="log", config_dict=settings)
        dataset = create_dataset(config)
        train, _, _ = data_preparation(config, dataset)
        trainer, epochs = Trainer(config, SASRec(config, train.dataset)), []
        tokens = dataset.field2id_token["item_id"][1:]
        id_of = to_their_ids(int(np.max(item)) if quality is None else quality.n_items, tokens.astype(np.int64),
                             np.arange(1, len(tokens) + 1))  # fmt: skip

        def score(histories):
            model = trainer.model
            x_BL = padded(histories, id_of, config["MAX_ITEM_LIST_LENGTH"], left=False)
            batch = {model.ITEM_SEQ: torch.from_numpy(x_BL), model.ITEM_SEQ_LEN: torch.from_numpy((x_BL > 0).sum(1))}
            return to_our_items(model.full_sort_predict(batch).numpy(), id_of)

        for epoch in range(o["epochs"]):
            wall, used = time.perf_counter(), processor()
            loss = trainer._train_epoch(train, epoch)
            used, wall = processor() - used, time.perf_counter() - wall
            epochs.append({"seconds": wall, "cpu_seconds": used, "loss": float(loss) / len(train)})
            if quality is not None:
                trainer.model.eval()
                with torch.inference_mode():
                    done = quality.measured(score, sum(e["seconds"] for e in epochs))
                if done:
                    break
        return epochs, len(train.dataset), ["recbole"]


if __name__ == "__main__":
    name, file, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    torch.set_num_threads(options["threads"])
    torch.manual_seed(0)
    asked = options.get("quality")
    quality = Quality.of(asked, options["patience"], options["train_limit_s"]) if asked else None
    with np.load(file, allow_pickle=False) as data:
        epochs, positions, packages = globals()[name](data["item"], data["offsets"], options, quality)
    for epoch, value in zip(epochs, quality.curve if quality else [], strict=False):
        epoch["ndcg@10"] = value
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    versions = {p: version(p) for p in [*packages, "torch", "numpy", "pandas"]}
    print("\n" + json.dumps({"epochs": epochs, "positions": positions, "peak_gib": peak, "versions": versions}))
