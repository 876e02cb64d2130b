"""A run folder: written by one process at a time without overwriting anything, and read back, complete or not.

While a point runs, each worker appends its rows to a journal. At the point's end its journals become
points/<part>.parquet; at the run's end those become requests.parquet. The samples of GPUs and servers are logs that
become gpu.parquet and server.parquet. Every file but a journal or a log appears whole or not at all.

Answers whose texts are not kept are scored from a point's journals, before these are gone: points/<part>.scores, which
become scores.parquet.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, get_args, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc

from benchsuite import __version__
from benchsuite.errors import InputError, PointsError, StoreError, os_error_as, read_json
from benchsuite.fault_points import reach
from benchsuite.manifest import MOST_ATTEMPTS, RunManifest
from benchsuite.records import SCHEMA_VERSION, ScoreRecord
from benchsuite.redact import json_text, masked
from benchsuite.store.files import (
    GPU,
    MANIFEST,
    REPORT,
    REQUESTS,
    ROW_GROUP,
    SAMPLE_SCHEMAS,
    SCHEMA,
    SCORE_SCHEMA,
    SCORES,
    SERVER,
    SUMMARY,
    TEMPORARY,
    at_schema,
    check_values,
    files_in,
    json_in,
    lock,
    make_folder,
    open_regular,
    parquet_tables,
    sync,
    without,
    without_impossible,
    write_json,
    write_parquet,
)
from benchsuite.store.journal import SampleLog, journal_tables, read_journal, wait_for_writers

T = TypeVar("T")
JOURNALS, POINTS = "journal", "points"
SAMPLES = {name: f"{name}.parquet" for name in SAMPLE_SCHEMAS}


def part_name(point_id: str, attempt: int) -> str:
    """The name of the files of one attempt at a point, without their suffixes."""
    return f"{point_id}.a{attempt}" if attempt else point_id


def new_run_id(model: str) -> str:
    """A name that sorts by time and contains the model."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", masked(model).rsplit("/", 1)[-1]).strip("-")[:40].lower() or "model"
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{slug}-{secrets.token_hex(2)}"


class RunFolder:
    """A run being measured, new or resumed. No other process can write to it until `release`.

    before: the manifest of the run as it was left, None for a new one. last_attempts: the highest of each point that
    has rows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left_out: Collection[str] = ()  # columns of the journals that no other file gets
        self._lock: int | None = None
        with os_error_as(InputError, "the output folder cannot be created", path):
            path.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # a folder that may not be read is no concern of ours
                sync(path.absolute().parent)
            self._lock = os.open(path, os.O_RDONLY)  # the folder itself, so that no lock file is left behind
            try:
                self.before = self._take()
            except BaseException:
                self.release()
                raise
        self._sessions = len(self.before.sessions) if self.before else 0

    def _take(self) -> RunManifest | None:
        path, self.last_attempts = self.path, dict[str, int]()
        if self._lock is not None and not lock(self._lock):
            raise InputError(
                "another benchsuite is measuring into this folder",
                where=str(path),
                expected="one run at a time in a folder",
                hint="wait for it, or use another --output",
            )
        if (journal := wait_for_writers(path / JOURNALS)) is not None:
            raise InputError(
                "a measuring process of a sweep that was killed still writes into this folder",
                where=str(journal),
                expected="that it ends by itself, within milliseconds",
                hint="look for benchsuite processes that are stopped or hang, and terminate them",
            )
        holds_run = (path / MANIFEST).exists()
        if not holds_run:
            # a sweep that ended before it had written its manifest left logs of samples, and no rows with them
            logs = files_in(path / JOURNALS, "*")
            if all(_OURS[JOURNALS].fullmatch(log.name) and log.suffix == ".samples" for log in logs):
                clear(path / JOURNALS)
            ours = (REQUESTS, SUMMARY, REPORT, SCORES, *SAMPLES.values(), JOURNALS, POINTS)
            if taken := [name for name in ours if _holds_something(path / name)]:
                raise InputError(
                    "the output folder holds files of a run but no manifest; nothing measured is ever overwritten",
                    where=str(path),
                    given=f"a folder with {taken[0]}",
                    expected="a new folder, or a run folder to resume",
                    hint="use another folder",
                )
        before = None
        if holds_run:
            others = set(SCHEMA.names) - {"point_id", "attempt", "concurrency", "rate_per_s"}
            before, _, parts = _at_a_moment(path, lambda: _checked(path, others, lambda _: None))
            self.last_attempts = dict(sorted(parts.values()))
        for folder in (path / JOURNALS, path / POINTS, path):
            folder.mkdir(exist_ok=True)
            clear(folder, TEMPORARY)  # what a killed process left of files that never took their place
        return before

    def release(self) -> None:
        """Release the lock: other processes may write to the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_manifest(self, manifest: RunManifest | Mapping[str, Any]) -> None:
        write_json(self.path / MANIFEST, manifest.plain() if isinstance(manifest, RunManifest) else manifest)

    def journal_path(self, point_id: str, worker: int, attempt: int = 0) -> Path:
        """Where one worker journals one attempt at a point."""
        return self.path / JOURNALS / f"{part_name(point_id, attempt)}.w{worker}.arrows"

    def sample_log(self, name: str) -> SampleLog:
        """A new log of this session's samples: `GPU` or `SERVER`."""
        paths = (self.path / JOURNALS / f"{name}.s{session}.samples" for session in count(self._sessions))
        return SampleLog(next(path for path in paths if not path.exists()), name)  # a killed one may be in no manifest

    def finish_point(
        self,
        point_id: str,
        attempt: int = 0,
        amend: Callable[[pa.Table], pa.Table] | None = None,
        scoring: Scoring | None = None,
    ) -> int:
        """Compact the journals of an attempt into its Parquet file, a row group at a time; the number of its rows.

        A row group is sorted by schedule. amend: changes its rows. scoring: scores its answers first, for their texts
        are gone then: whatever happens, a point's rows without journals have their scores.
        """
        part, damage = part_name(point_id, attempt), dict[Path, str]()
        with os_error_as(StoreError, "the rows of a point cannot be merged", self.path):
            reach("compaction")
            journals = files_in(self.path / JOURNALS, f"{part}.w*.arrows")
            rows = (table for path in journals for table in journal_tables(path, SCHEMA, damage))
            if scoring is not None:
                write_scores(self.path / POINTS, scoring(rows), scoring.facts, f"{part}.scores")
                rows = (table for path in journals for table in journal_tables(path, SCHEMA, damage))
            tables = sorted_groups(table.drop_columns([*self.left_out]) for table in rows)
            n_rows = write_parquet(
                self.path / POINTS / f"{part}.parquet", tables if amend is None else map(amend, tables), SCHEMA
            )
            for path in damage:
                put_aside(path, self.path)
            clear(self.path / JOURNALS, re.compile(rf"{re.escape(part)}\.w\d+\.arrows"))
        return n_rows

    def point_rows(self, point_id: str, attempt: int, left_out: Collection[str] = ()) -> Iterator[pa.Table]:
        """The row groups of a point that was finished in this session, without the columns `left_out`."""
        path = self.path / POINTS / f"{part_name(point_id, attempt)}.parquet"
        with os_error_as(StoreError, "the rows of a point cannot be read", path):
            yield from parquet_tables(path, SCHEMA, left_out)

    def finish(self) -> None:
        """Write requests.parquet with all rows, and a file for each kind of samples; then remove the parts."""
        with os_error_as(StoreError, "the rows of the run cannot be merged", self.path):
            reach("compaction")
            damage: dict[Path, str] = {}
            found = {file: read_samples(self.path, name, damage) for name, file in SAMPLES.items()}
            if any(files_in(self.path / POINTS, "*.scores")):
                scores = all_scores(self.path, damage)
                if self.path / SCORES in damage:
                    put_aside(self.path / SCORES, self.path)
                if scores is not None:
                    write_scores(self.path, scores.table, scores.facts)
            # once for what there is, and whether all of it can be read; then again, a row group at a time
            rows = partial(row_tables, self.path, damage, self.left_out)
            schema = at_schema(SCHEMA, (table.schema.empty_table() for table in rows())).schema
            tables = {REQUESTS: rows()} | {k: v for k, v in found.items() if v is not None}
            for file, table in tables.items():
                if self.path / file in damage:  # its parts are there still
                    put_aside(self.path / file, self.path)
                write_parquet(self.path / file, table, schema)
            for path in damage.keys() - {self.path / file for file in (*tables, SCORES)}:
                put_aside(path, self.path)  # its good rows are in the whole now
            for folder in (self.path / POINTS, self.path / JOURNALS):
                clear(folder)
                with suppress(OSError):  # what somebody else put there stays
                    folder.rmdir()


def not_kept(manifest: RunManifest) -> tuple[str, ...]:
    """Columns that a run's journals may have and its other files not: the texts, where they are not to be kept."""
    workload = manifest.spec.get("workload")
    return ("text",) if isinstance(workload, dict) and workload.get("save_text") is False else ()


_JOURNAL = re.compile(r"[A-Za-z0-9._-]+\.w\d+\.arrows|(gpu|server)\.s\d+\.samples")
_OURS = {JOURNALS: _JOURNAL, POINTS: re.compile(r"[A-Za-z0-9._-]+\.(parquet|scores)")}


def sorted_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables of a row group each, or a little more, sorted by schedule."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= ROW_GROUP:
            yield at_schema(SCHEMA, waiting).sort_by("scheduled_s")
            waiting = []
    if waiting:
        yield at_schema(SCHEMA, waiting).sort_by("scheduled_s")


def clear(folder: Path, names: re.Pattern[str] | None = None) -> None:
    """Remove the files of these names (None: all of a run) from a folder, never the targets of links.

    Raises OSError, for a link in the folder's place too.
    """
    pattern = names or _OURS[folder.name]
    for path in files_in(folder, "*"):
        if pattern.fullmatch(path.name) or TEMPORARY.fullmatch(path.name):
            reach("unlink")
            path.unlink(missing_ok=True)


def put_aside(path: Path, folder: Path) -> None:
    """Give a damaged file another name in `folder`, so that it is not overwritten."""
    reach("rename")
    names = (f"{path.name}.torn" + f"-{n}" * (n > 1) for n in count(1))
    path.rename(next(folder / name for name in names if not os.path.lexists(folder / name)))


def _holds_something(path: Path) -> bool:
    """True if it is there; an empty folder, as a crash before the first row leaves it, is nothing."""
    return any(files_in(path, "*")) if path.is_dir() and path.name in _OURS else path.exists()


def recover(path: Path) -> Run:
    """Compact what a crash left in a run folder, and say in its manifest that it was interrupted.

    Every flushed row is kept; a run that ended by itself is left as it is. Raises PointsError for what is no run, and
    InputError while somebody measures into it.
    """
    run = read_run(path)
    parts = [(ours, file.name) for name, ours in _OURS.items() for file in files_in(path / name, "*")]
    if run.manifest.status != "running" and not any(ours.fullmatch(name) for ours, name in parts):
        return run
    folder = RunFolder(path)
    try:
        assert folder.before is not None
        manifest = folder.before
        folder.left_out = not_kept(manifest)
        for point in manifest.points:
            if point.status == "running":
                point.status = "interrupted"
        if manifest.status == "running":
            manifest.status = "interrupted"
        with os_error_as(StoreError, "the run cannot be recovered", path):
            folder.finish()
            folder.write_manifest(manifest)
    finally:
        folder.release()
    return read_run(path)


def write_whole_run(path: Path, manifest: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
    """Write a run that was measured elsewhere; its manifest last, since a folder without one is no run.

    rows: dicts with the columns of requests.parquet. Refuses a folder that holds anything.
    """
    make_folder(path)
    if any(path.iterdir()):
        raise InputError("the output folder is not empty", where=str(path), expected="a new folder")
    filled = ({"attempt": 0} | row for row in rows)
    write_parquet(path / REQUESTS, pa.Table.from_pylist(list(filled), schema=SCHEMA).sort_by("sent_s"))
    stamp = {"created": datetime.now(UTC).isoformat(), "benchsuite": __version__}
    write_json(path / MANIFEST, stamp | manifest)


class Scoring(Protocol):
    """Scores the rows of a run. facts: as `Scores` has them, without the run."""

    facts: dict[str, Any]

    def __call__(self, tables: Iterable[pa.Table]) -> Iterator[ScoreRecord]: ...


class Scores(NamedTuple):
    """The scores of a run's answers. table: rows of ScoreRecord, of the points that are judged.

    facts: run_id; by_scenario: of each ("" for none) its scorers and their versions; references_hash; and what the
    maker added (judge).
    """

    table: pa.Table
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A run read back.

    Every column of the schema that was not left out is there; columns that this version does not know are behind them.
    """

    path: Path
    manifest: RunManifest
    table: pa.Table  # the rows of requests.parquet
    gpu: pa.Table | None = None  # its samples; None if none were kept
    server: pa.Table | None = None
    damage: tuple[str, ...] = ()  # journals that are damaged, or were when they were put aside, in words
    scores: Scores | None = None  # None where there are none

    @property
    def whole(self) -> pa.Table:
        """The rows of the points that are judged: an incomplete attempt has no wall time."""
        return _judged(self.table, self.manifest)


def copy_run(path: Path, target: Path) -> None:
    """Copy the facts of a finished run to a place where nothing is, atomically.

    Raises InputError where something is, StoreError where the system fails.
    """
    if os.path.lexists(target):
        raise InputError("a run is copied to a new place", where=str(target), given="something that is there")
    make_folder(target.parent)
    waiting = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with os_error_as(StoreError, "the run cannot be copied", target):
        try:
            waiting.mkdir()
            for name in (REQUESTS, "gpu.parquet", "server.parquet", SCORES, MANIFEST):
                if (path / name).exists():
                    with open_regular(path / name) as file, (waiting / name).open("xb") as copy:
                        shutil.copyfileobj(file, copy)
            waiting.rename(target)
        except BaseException:
            shutil.rmtree(waiting, ignore_errors=True)
            raise


def read_manifest(path: Path) -> RunManifest:
    """The manifest of a run folder. Raises PointsError."""
    try:
        manifest = json_in(path / MANIFEST)
    except FileNotFoundError:
        raise PointsError(
            "not a run folder: it has no manifest.json", where=str(path), expected="results/<run_id>"
        ) from None
    except (OSError, ValueError) as error:
        raise PointsError("the manifest cannot be read", where=str(path / MANIFEST), given=str(error)) from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if type(schema) is not int or schema != SCHEMA_VERSION:  # True == 1
        raise PointsError(
            "the run was written by another version of benchsuite",
            where=str(path / MANIFEST),
            given=f"schema {schema!r}",
            expected=f"schema {SCHEMA_VERSION}",
        )
    return RunManifest.read(manifest, str(path / MANIFEST))


_TRIES = 20


def read_run(path: Path, left_out: Collection[str] = ()) -> Run:
    """A run from its folder, finished, cut short or still growing, without the columns `left_out`.

    Raises PointsError.
    """
    if (path / SCORES).exists():  # scores go with their requests
        left_out = set(left_out) - {"request_id"}

    def read() -> Run:
        tables: list[pa.Table] = []
        manifest, damage, _ = _checked(path, left_out, tables.append)
        with _unreadable(path):
            samples = {name: read_samples(path, name, damage) for name in SAMPLES}
            scores = read_scores(path, manifest, damage)
            torn = [file.name for file in sorted(path.glob("*.torn*")) if _JOURNAL.match(file.name)]
            words = [*damage.values(), *(f"{name} was moved aside, damaged" for name in torn)]
            for name, table in samples.items():
                if table is not None:
                    samples[name], wrong = without_impossible(table)
                    words += [f"{SAMPLES[name]}: {wrong}"] if wrong else []
        table = at_schema(without(SCHEMA, left_out), tables)
        return Run(path, manifest, table, samples[GPU], samples[SERVER], tuple(words), scores)

    return _at_a_moment(path, read)


def _at_a_moment(path: Path, read: Callable[[], T]) -> T:
    """What `read` makes of a run folder; anew if files changed places meanwhile, as when a point ends."""
    for attempt in range(1, _TRIES + 1):
        before = _places(path)
        try:
            found = read()
        except PointsError:
            if attempt == _TRIES or _places(path) == before:
                raise
        else:
            if attempt == _TRIES or _places(path) == before:
                return found
    raise AssertionError


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Which files there are; a journal that grows stays the same."""
    found = {}
    for folder in (path, path / POINTS, path / JOURNALS):
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                if entry.name.endswith((".json", ".parquet", ".scores", ".arrows", ".samples")):
                    found[entry.path] = (facts.st_ino, 0 if folder.name == JOURNALS else facts.st_mtime_ns)
    return found


@contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:  # all of Arrow: what is no Parquet, no UTF-8
        raise PointsError("the rows cannot be read", where=str(path), given=str(error)) from None


def _checked(
    path: Path, left_out: Collection[str], take: Callable[[pa.Table], None]
) -> tuple[RunManifest, dict[Path, str], dict[str, tuple[str, int]]]:
    """The manifest, what is damaged, and the parts that have rows, with point and attempt; those measured have them.

    take: is given the rows, a row group at a time.
    """
    manifest, damage, there = read_manifest(path), dict[Path, str](), dict[str, tuple[str, int]]()
    levels = {part_name(point.point_id, point.attempt): point.level for point in manifest.points}
    with _unreadable(path):
        for table in row_tables(path, damage, left_out):
            check_values(table)
            for row in table.group_by(["point_id", "attempt", "concurrency", "rate_per_s"]).aggregate([]).to_pylist():
                level = levels.get(part_name(row["point_id"], row["attempt"] or 0))
                for column in ("concurrency", "rate_per_s"):
                    expected, said = level and getattr(level, column), row[column]
                    if said is not None and level is not None and said != expected:
                        raise ValueError(f"rows of {row['point_id']} say {column} {said}, its point {expected}")
            named = _parts(table)
            for part in set(named.unique().to_pylist()) - there.keys() - {None}:
                first = pc.index(named, part).as_py()
                there[part] = table["point_id"][first].as_py(), table["attempt"][first].as_py()
            take(table)
        if max((attempt for _, attempt in there.values()), default=0) >= MOST_ATTEMPTS:
            raise ValueError(f"an attempt beyond {MOST_ATTEMPTS:,}")
    parts = _parts_of(manifest)
    if lost := [part for part in parts if part not in there]:
        raise PointsError(
            f"the rows of {len(lost)} measured points are missing",
            where=str(path / REQUESTS),
            given=", ".join(lost[:6]),
            expected="the rows of every point that manifest.json calls complete",
        )
    if lost := [words for file, words in damage.items() if file.name.rpartition(".w")[0] in parts]:
        raise PointsError("rows of a measured point are damaged", where=str(path), given="; ".join(lost)[:500])
    return manifest, damage, there


def row_tables(path: Path, damage: dict[Path, str], left_out: Collection[str] = ()) -> Iterator[pa.Table]:
    """The rows of a run folder by row groups: of requests.parquet, of points not in it yet, of journals in neither.

    So a crash at any moment, between writing a file and removing its parts too, neither loses a row nor doubles one.
    damage: gets what could not be read, by its file. left_out: columns that are not there.
    """
    journals: dict[str, list[Path]] = {}
    for journal in files_in(path / JOURNALS, "*.arrows"):
        journals.setdefault(journal.name.rpartition(".w")[0], []).append(journal)
    points = files_in(path / POINTS, "*.parquet")
    there: set[str] = set()
    for table in _parquet(path / REQUESTS, SCHEMA, damage, left_out, spare=bool(points or journals)):
        there.update(_parts(table).unique().to_pylist())
        yield table
    for point in points:
        if point.stem not in there:
            for table in _parquet(point, SCHEMA, damage, left_out, spare=point.stem in journals):
                there.add(point.stem)
                yield table
    for part, paths in journals.items():
        if part not in there:
            for table in (table for journal in paths for table in journal_tables(journal, SCHEMA, damage)):
                yield table.drop_columns([name for name in table.column_names if name in left_out])


def _parquet(
    file: Path, schema: pa.Schema, damage: dict[Path, str], left_out: Collection[str] = (), *, spare: bool
) -> Iterator[pa.Table]:
    """The row groups of a Parquet file at the current schema, if there is one.

    spare: its rows lie in its parts too, which stand in for it if it is torn (by a disk: we put files in place whole).
    """
    tables = parquet_tables(file, schema, left_out)
    try:
        first = next(tables)
    except FileNotFoundError:
        return
    except OSError as error:
        if not spare:
            raise
        damage[file] = f"{file.name} is damaged ({str(error)[:80]}): its parts are used instead"
        return
    yield first
    yield from tables


def read_samples(path: Path, name: str, damage: dict[Path, str] | None = None) -> pa.Table | None:
    """The run's samples, `GPU` or `SERVER`: of their file, and of the logs of sessions that are not in it yet."""
    schema, damage = SAMPLE_SCHEMAS[name], {} if damage is None else damage
    logs = [read_journal(log, schema, damage) for log in files_in(path / JOURNALS, f"{name}.s*.samples")]
    tables = list(_parquet(path / SAMPLES[name], schema, damage, spare=bool(logs)))
    for whole in tables:  # a crash may leave logs whose samples are in the file already; no moment is sampled twice
        logs = [log.filter(pc.invert(pc.is_in(log["at_s"], value_set=whole["at_s"].combine_chunks()))) for log in logs]
    for table in (*tables, *logs):
        check_values(table.select(["at_s", "wall_s"]))
    return at_schema(schema, [*tables, *logs]) if tables or logs else None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else measures into the run folder meanwhile, or scores it. Raises InputError, PointsError."""
    read_manifest(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if not lock(descriptor):
            what = "another benchsuite is measuring into this folder, or scoring it"
            raise InputError(what, where=str(path), hint="wait until it has ended")
        yield
    finally:
        os.close(descriptor)


def rows_to_score(path: Path, manifest: RunManifest) -> Iterator[pa.Table]:
    """The row groups of a run's complete points, without what no scorer reads."""
    left_out = set(SCHEMA.names) - SCORED
    with _unreadable(path):
        for table in row_tables(path, {}, left_out):
            yield _judged(table, manifest)


SCORED = {*ScoreRecord._fields, "status", "finish_reason", "text", "scheduled_s", "window_start_s", "window_end_s"}
_FACTS = b"benchsuite.scores"


def write_scores(
    path: Path, rows: Iterable[ScoreRecord] | pa.Table, facts: Mapping[str, Any], name: str = SCORES
) -> int:
    """Put scores into the folder `path`, in place of those that are there; how many there are.

    rows: or a table of them. facts: as `Scores` has them.
    """
    schema = SCORE_SCHEMA.with_metadata({**SCORE_SCHEMA.metadata, _FACTS: json_text(facts).encode()})
    if isinstance(rows, pa.Table):
        return write_parquet(path / name, [rows], schema)
    left = iter(rows)
    groups = iter(lambda: list(islice(left, ROW_GROUP)), [])
    tables = (pa.Table.from_pylist([row._asdict() for row in group], SCORE_SCHEMA) for group in groups)
    return write_parquet(path / name, tables, schema)


def read_scores(path: Path, manifest: RunManifest, damage: dict[Path, str]) -> Scores | None:
    """The scores in a run folder; None where there are none, or a file that is damaged or of another run."""
    found = all_scores(path, damage)
    if found is not None and found.facts.get("run_id") != manifest.run_id:
        damage[path / SCORES] = f"{SCORES} is not of this run: {_AGAIN}"
        return None
    return found and Scores(_judged(found.table, manifest), found.facts)


def all_scores(path: Path, damage: dict[Path, str]) -> Scores | None:
    """Those of scores.parquet, and of points that are not in it yet; the facts of the last of them."""
    tables, facts = list[pa.Table](), dict[str, Any]()
    there: set[str] = set()
    for file in (path / SCORES, *files_in(path / POINTS, "*.scores")):
        metadata: dict[bytes, bytes] = {}
        try:
            if file.stem in there:
                continue
            table = at_schema(SCORE_SCHEMA, parquet_tables(file, SCORE_SCHEMA, metadata=metadata))
            known = read_json(metadata.get(_FACTS, b"null"))
            if not isinstance(known, dict):
                raise ValueError("it does not say what it is")
            least, most = pc.min_max(table["score"]).as_py().values()
            lacking = [name for name in table.column_names if name not in _MAY_LACK and table[name].null_count]
            if lacking or not 0 <= (least or 0) <= (most or 0) <= 1 or pc.any(pc.is_nan(table["score"])).as_py():
                raise ValueError(f"it lacks {', '.join(lacking)}" if lacking else "a score is not between 0 and 1")
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            damage[file] = f"{file.name} cannot be used ({str(error)[:120]}): {_AGAIN}"
            continue
        there.update(_parts(table).unique().to_pylist())
        tables.append(table)
        facts = known
    return Scores(pa.concat_tables(tables), facts) if tables else None


_AGAIN = "its scores are left out, and `benchsuite score` makes them again where the texts were kept"
_MAY_LACK = {name for name, hint in get_type_hints(ScoreRecord).items() if type(None) in get_args(hint)}


def _judged(table: pa.Table, manifest: RunManifest) -> pa.Table:
    """Those rows that belong to a point that is judged."""
    judged = [part_name(point.point_id, point.attempt) for point in manifest.judged_points]
    whole = pc.is_in(_parts(table), value_set=pa.array(judged, pa.string()))
    return table if pc.all(whole).as_py() else table.filter(whole)


def _parts_of(manifest: RunManifest) -> list[str]:
    """The points that were measured to their end, each by the name of its files."""
    return [part_name(point.point_id, point.attempt) for point in manifest.complete_points]


def _parts(table: pa.Table) -> pa.ChunkedArray:
    """The part that each row belongs to, as `part_name` has it."""
    renewed = pc.binary_join_element_wise(table["point_id"], pc.cast(table["attempt"], pa.string()), ".a")
    return pc.if_else(pc.equal(table["attempt"], 0), table["point_id"], renewed)
