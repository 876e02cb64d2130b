"""A run folder that is being written: by one process at a time, and never over what is there.

While a point runs, each worker appends its rows to a journal. At the point's end its journals become
points/<part>.parquet; at the run's end those become requests.parquet. The samples of GPUs and servers are logs that
become gpu.parquet and server.parquet. Every file but a journal or a log appears whole or not at all.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchsuite import __version__
from benchsuite.errors import InputError, StoreError
from benchsuite.store.files import drop_temporaries, put_aside, sync, write_json, write_parquet
from benchsuite.store.journal import SampleLog, read_journal, wait_for_writers
from benchsuite.store.names import JOURNALS, MANIFEST, POINTS, REPORT, REQUESTS, SAMPLES, SUMMARY, part_name
from benchsuite.store.reading import Run, is_torn, read_rows, read_run, read_samples
from benchsuite.store.schema import SCHEMA


class RunFolder:
    """A run being measured, new or taken up again. Nobody else can write to it until `release`.

    before: the run as it was left, None for a new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        ours = (MANIFEST, REQUESTS, SUMMARY, REPORT, *SAMPLES.values(), JOURNALS, POINTS)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError("the output folder cannot be made", where=str(path), given=str(error)) from None
        with suppress(OSError):  # a folder that may not be read is no concern of ours
            sync(path.absolute().parent)
        self._take_lock()
        try:
            self._refuse_living_writers()
            holds_run = (path / MANIFEST).exists()
            samples = [] if holds_run else self._samples_alone()
            taken = [name for name in ours if _holds_something(path / name) and not (samples and name == JOURNALS)]
            if taken and not holds_run:
                raise InputError(
                    "the output folder holds files of a run but no manifest; nothing measured is ever overwritten",
                    where=str(path),
                    given=f"a folder with {taken[0]}",
                    expected="a new folder, or a run folder to go on with",
                    hint="name another folder",
                )
            for log in samples:
                log.unlink()
            self.before: Run | None = read_run(path) if holds_run else None
            for name in (JOURNALS, POINTS):
                (path / name).mkdir(exist_ok=True)
                drop_temporaries(path / name)
            drop_temporaries(path)
        except OSError as error:
            self.release()
            raise InputError("the output folder cannot be made", where=str(path), given=str(error)) from None
        except BaseException:
            self.release()
            raise
        self._sessions = len(self.before.manifest.get("sessions") or [None]) if self.before else 0

    def _take_lock(self) -> None:
        """Lock the folder itself: no file is left behind, and the system lets go when the process ends, however."""
        try:
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise InputError(
                "another benchsuite is measuring into this folder",
                where=str(self.path),
                expected="one run at a time in a folder",
                hint="wait for it, or name another --output",
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):  # file systems that know no locks
                self.release()
                raise InputError("the output folder cannot be used", where=str(self.path), given=str(error)) from None

    def _refuse_living_writers(self) -> None:
        journal = wait_for_writers(self.path / JOURNALS)
        if journal is not None:
            raise InputError(
                "a measuring process of a sweep that was killed still writes into this folder",
                where=str(journal),
                expected="that it ends by itself, within milliseconds",
                hint="look for processes of benchsuite that are stopped or hang, and end them",
            )

    def _samples_alone(self) -> list[Path]:
        """The logs of samples, if there are no rows with them: a sweep ended before it had written its manifest."""
        journals = list((self.path / JOURNALS).iterdir()) if (self.path / JOURNALS).is_dir() else []
        return journals if all(path.suffix == ".samples" for path in journals) else []

    def release(self) -> None:
        """Let others write to the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Put manifest.json in place."""
        write_json(self.path / MANIFEST, manifest)

    def journal_path(self, point_id: str, worker: int, attempt: int = 0) -> Path:
        """Where one worker journals one attempt at a point."""
        return self.path / JOURNALS / f"{part_name(point_id, attempt)}.w{worker}.arrows"

    def sample_log(self, name: str) -> SampleLog:
        """A new log of this session's samples: `GPU` or `SERVER`."""
        paths = (self.path / JOURNALS / f"{name}.s{session}.samples" for session in count(self._sessions))
        return SampleLog(next(path for path in paths if not path.exists()), name)  # a killed one may be in no manifest

    def finish_point(self, point_id: str, attempt: int = 0) -> pa.Table:
        """Compact the journals of an attempt into its Parquet file, and return its rows."""
        part = part_name(point_id, attempt)
        journals = sorted((self.path / JOURNALS).glob(f"{part}.w*.arrows"))
        table = pa.concat_tables([SCHEMA.empty_table(), *map(read_journal, journals)], promote_options="default")
        table = table.sort_by("scheduled_s")
        write_parquet(self.path / POINTS / f"{part}.parquet", table)
        for path in journals:
            path.unlink()
        return table

    def finish(self) -> None:
        """Make requests.parquet of all rows, and a file of each kind of samples; only then the parts go."""
        rows = read_rows(self.path)
        if is_torn(self.path / REQUESTS):
            put_aside(self.path / REQUESTS)
        write_parquet(self.path / REQUESTS, rows)
        for name, file in SAMPLES.items():
            samples = read_samples(self.path, name)
            if samples is not None:
                if is_torn(self.path / file):
                    put_aside(self.path / file)
                write_parquet(self.path / file, samples)
        shutil.rmtree(self.path / POINTS)
        shutil.rmtree(self.path / JOURNALS)


def _holds_something(path: Path) -> bool:
    """True if it is there; an empty folder, as a crash before the first row leaves it, is nothing."""
    return any(path.iterdir()) if path.is_dir() and path.name in (JOURNALS, POINTS) else path.exists()


def recover(path: Path) -> Run:
    """Compact what a crash left in a run folder, and say in its manifest that it was interrupted.

    Every flushed row is kept; a run that ended by itself is left as it is. Raises PointsError for what is no run, and
    InputError while somebody measures into it.
    """
    read_run(path)  # is it one?
    if not any(_holds_something(path / name) for name in (JOURNALS, POINTS)):
        run = read_run(path)
        if run.manifest.get("status") != "running":
            return run
    folder = RunFolder(path)
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        for point in manifest.get("points", []):
            if point.get("status") == "running":
                point["status"] = "interrupted"
        if manifest.get("status") == "running":
            manifest["status"] = "interrupted"
        folder.finish()
        folder.write_manifest(manifest)
    except OSError as error:
        raise StoreError("the run cannot be recovered", where=str(path), given=str(error)) from None
    finally:
        folder.release()
    return read_run(path)


def write_whole_run(path: Path, manifest: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
    """Leave a run that was measured elsewhere; its manifest last, since a folder without one is no run.

    rows: dicts with the columns of requests.parquet. Refuses a folder that holds anything.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        taken = next(path.iterdir(), None)
    except OSError as error:
        raise InputError("the output folder cannot be made", where=str(path), given=str(error)) from None
    if taken is not None:
        raise InputError("the output folder is not empty", where=str(path), expected="a new folder")
    filled = ({"attempt": 0} | row for row in rows)
    write_parquet(path / REQUESTS, pa.Table.from_pylist(list(filled), schema=SCHEMA).sort_by("sent_s"))
    stamp = {"created": datetime.now(UTC).isoformat(), "benchsuite": __version__}
    write_json(path / MANIFEST, stamp | manifest)
