"""Who is behind a dataset's pseudonyms: told from the raw log and the key, written nowhere.

The target hash is over external ids before any pseudonym, so that a split of a shop's data with pseudonyms and one
without, or under a new key, are seen to ask the same questions.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.arrange.prepare import SIMULATED, simulate_log, simulated_config
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest import dataset
from shopkeeper.ingest.log import read_log
from shopkeeper.people.rules import customer_rules


def real_user_ids(prepared: Prepared, raw: Path) -> pa.Array:
    """External user ids by internal id, before pseudonyms: reads the raw log once more, with all its rules.

    Raises `UserError` when the raw files or the key are not here, or are not those that the folder was made from.
    """
    config = prepared.manifest["config"]
    checked, change = dataset.parse(config), customer_rules(config, raw)
    assert change is not None
    with TemporaryDirectory() as name:
        if checked.simulate is not None:
            simulate_log(checked, Path(name) / SIMULATED)
            checked, raw = simulated_config(checked, Path(name)), Path(name)
        log = read_log(checked, Path(raw), progress=False)
    change(log)
    assert log.real_users is not None
    pseudonyms = log.ids["user_id"].values.cast(pa.string())
    code = pc.index_in(prepared.users["user_id"].combine_chunks().cast(pa.string()), value_set=pseudonyms)
    if code.null_count:
        raise UserError(
            f"the key or the raw files here are not those that {prepared.path} was made with, and the target hash is "
            f"over its customers' ids; delete the folder and run `shopkeeper prepare` with the key that it shall have"
        )
    return log.real_users.take(code)
