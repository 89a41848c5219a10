"""A whole customer base answered into Parquet: streamed, in parts, and gone on with where it was ended.

The folder holds `part-00000.parquet`, … with a row per customer, in the order of the input; last `_manifest.json`:
programs that read a folder as one table (pandas, Arrow, Spark) pass over names that begin with `_` or `.`.
A part is there whole or not at all, so that whoever was killed goes on behind the last one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.events import COLUMNS
from shopkeeper.bundles.answer.integrity import SEAL
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_file, read_json, remove_made, sha256_file, write_json
from shopkeeper.folders import KINDS, UNFINISHED, check_target, made_here
from shopkeeper.locks import alone
from shopkeeper.models.about import PROBABILITIES

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
MANIFEST = KINDS["answers"].mark
USER = "user_id"
AT_ONCE = 2048  # customers in one call
ROWS = 65_536  # of the input in memory


def answer_everybody(
    bundle: Bundle,
    events: Path,
    out: Path,
    *,
    as_of: str | None = None,
    k: int | None = None,
    filter_seen: bool | None = None,
    per_part: int = 50_000,
    overwrite: bool = False,
) -> int:
    """Answer for each customer of a file and say how many there are.

    Args:
        bundle: of any family.
        events: Parquet with `user_id` and the columns of an event (`item_id`, `event_type`, `timestamp`, …; what is
            missing is not known), the rows of a customer together, such as `events.parquet` of a prepared dataset. For
            a model of a table a row per customer: `user_id` and columns of the table.
        out: the folder; one that was begun with the same bundle, file and settings is gone on with.
        as_of, k, filter_seen: as `Bundle.answer`, the same for all.
        per_part: customers in a file.
        overwrite: begin anew where a folder of other answers is there.

    Raises:
        UserError: no such file, a column that is missing or of no use, a customer whose rows do not stand together,
            other answers in the folder; whatever `Bundle.answer` raises, with the customer.
    """
    if per_part < 1:
        raise UserError(f"per_part={per_part}: write a whole number above 0")
    if not events.is_file():
        raise UserError(f"there is no file {events}; give a Parquet file of events")
    told: dict[str, Any] = {"as_of": as_of, "k": k, "filter_seen": filter_seen}
    told = {name: value for name, value in told.items() if value is not None}
    nobody: Any = {} if bundle.manifest["kind"] == "table" else []
    bundle.answer([nobody], **told)  # a setting that is wrong is so for all
    out = check_target(out, "answers")
    with alone(out):
        job: dict[str, Any] = {
            "bundle": (bundle.path / SEAL).read_text().split()[0],
            "events": sha256_file(events),
            "as_of": as_of,
            "k": k,
            "filter_seen": filter_seen,
            "per_part": per_part,
        }
        if _begun(out, job, overwrite):
            log.info("%s is finished already", out)
            return int(read_json(out / MANIFEST)["customers"])
        count = 0
        for number, people in enumerate(_parts(_people(events, bundle), per_part)):
            count += len(people)
            part = out / f"part-{number:05}.parquet"
            if not part.is_file():
                _write(part, people, _answers(bundle, people, told), bundle.manifest)
                log.info("%s: %s customers", part.name, f"{count:,}")
        files = {path.name: sha256_file(path) for path in sorted(out.glob("part-*.parquet"))}
        write_json(out / MANIFEST, {"kind": "answers", "format_version": 1, "customers": count, **job, "files": files})
        (out / UNFINISHED).unlink(missing_ok=True)
        return count


def _begun(out: Path, job: Mapping[str, Any], overwrite: bool) -> bool:
    """Make the folder ready; whether these very answers are there, finished."""
    found = made_here(out, "answers")
    if found is not None and any(found.get(key) != value for key, value in job.items()):
        begun = (out / MANIFEST).is_file() or any(out.glob("part-*.parquet"))
        if begun and not overwrite:
            raise UserError(
                f"{out} holds answers of another bundle, file or settings; choose another folder, or say --overwrite"
            )
        (out / MANIFEST).unlink(missing_ok=True)
        remove_made(out, "part-*.parquet")
        found = None
    if found is not None and (out / MANIFEST).is_file():
        return True
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / UNFINISHED, {"kind": "answers", **job})
    return False


def _people(events: Path, bundle: Bundle) -> Iterator[tuple[str, Any]]:
    """Every customer's id and history, or row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(events)
    except (pa.ArrowInvalid, OSError) as e:
        raise UserError(
            f"{events} is no Parquet file that can be read ({str(e).splitlines()[0]:.100}); write it again"
        ) from None
    with file:
        there, table = file.schema_arrow.names, bundle.manifest["kind"] == "table"
        if missing := [name for name in (USER, *([] if table else ["item_id"])) if name not in there]:
            raise UserError(f"{events} has no column '{missing[0]}'; its columns: {', '.join(there)}")
        wanted = there if table else [name for name in (USER, *COLUMNS) if name in there]
        seen: set[str] = set()
        who: str | None = None
        history: Any = None
        for batch in file.iter_batches(ROWS, columns=wanted):
            columns = {name: batch.column(name).to_pylist() for name in wanted}
            users = columns.pop(USER)
            if wrong := [user for user in users if not isinstance(user, str)]:
                raise UserError(f"{events}, column {USER}: {wrong[0]!r:.60} is no text; ids are text")
            rows: list[Any]
            if table:
                rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            else:
                unknown = [None] * len(users)
                rows = [list(e) for e in zip(*(columns.get(name, unknown) for name in COLUMNS), strict=True)]
            for user, row in zip(users, rows, strict=True):
                if user == who and not table:
                    history.append(row)
                    continue
                if user in seen:
                    again = "has two rows" if table else "comes again after others; sort the file by customer"
                    raise UserError(f"{events}: customer {user!r:.60} {again}")
                if who is not None:
                    yield who, history
                seen.add(user)
                who, history = user, row if table else [row]
        if who is not None:
            yield who, history


def _parts(people: Iterator[tuple[str, Any]], per_part: int) -> Iterator[list[tuple[str, Any]]]:
    part: list[tuple[str, Any]] = []
    for one in people:
        part.append(one)
        if len(part) == per_part:
            yield part
            part = []
    if part:
        yield part


def _answers(bundle: Bundle, people: list[tuple[str, Any]], told: Mapping[str, Any]) -> list[Answer]:
    found: list[Answer] = []
    for first in range(0, len(people), AT_ONCE):
        some = people[first : first + AT_ONCE]
        try:
            found += bundle.answer([history for _, history in some], **told)
        except UserError:
            for user, history in some:  # whose is it?
                try:
                    bundle.answer([history], **told)
                except UserError as e:
                    said = str(e)
                    raise UserError(f"customer {user!r:.60}: {said}") from None
            raise
    return found


def _write(part: Path, people: list[tuple[str, Any]], answers: list[Answer], manifest: Mapping[str, Any]) -> None:
    import pyarrow.parquet as pq

    with atomic_file(part) as tmp:
        pq.write_table(as_table([user for user, _ in people], answers, manifest), tmp)


def as_table(users: list[str], answers: list[Answer], manifest: Mapping[str, Any]) -> pa.Table:
    """A row per customer: `user_id`, then `items` and `scores` or `probability` or `expected`, `reason`, `unknown`.

    Of a wait also `days_10` … `days_90`; of several heads a column for each further task, by its name.
    """
    import pyarrow as pa

    own: dict[str, pa.Array]
    if manifest["kind"] == "recommender":
        listed = [one.items or [] for one in answers]
        own = {
            "items": pa.array([[i for i, _ in one] for one in listed], pa.list_(pa.string())),
            "scores": pa.array([[s for _, s in one] for one in listed], pa.list_(pa.float32())),
        }
    elif "pairs" in manifest:
        found = [one.pairs or [] for one in answers]
        own = {
            "subjects": pa.array([[name for name, _ in one] for one in found], pa.list_(pa.string())),
            "probabilities": pa.array([[p for _, p in one] for one in found], pa.list_(pa.float64())),
        }
    elif manifest.get("answers", PROBABILITIES) == PROBABILITIES:
        own = {"probability": pa.array([one.probability for one in answers], pa.float64())}
    else:
        own = {"expected": pa.array([one.expected for one in answers], pa.float64())}
    for place, level in enumerate(manifest.get("levels", ())):
        days = [None if one.quantiles is None else one.quantiles[place] for one in answers]
        own[f"days_{100 * level:.0f}"] = pa.array(days, pa.float64())
    for name in manifest.get("further", ()):
        own[name] = pa.array([(one.further or {}).get(name) for one in answers], pa.float64())
    unknown = pa.array([one.unknown for one in answers], pa.int32())
    return pa.table({USER: users, **own, "reason": [one.reason for one in answers], "unknown": unknown})
