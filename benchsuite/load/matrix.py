"""The conductor of a matrix: for every setting, start its server, sweep it, stop it. It judges nothing."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from benchsuite.errors import BenchsuiteError, EngineError, InputError, RunError, ServerDied, StoreError, read_json
from benchsuite.grid_spec import GridSpec, Setting, differences
from benchsuite.load.launched_sweep import sweep_launched
from benchsuite.load.progress import View
from benchsuite.load.sweep import check_levels
from benchsuite.serving.launch_plan import parse_serve, refuse_secrets
from benchsuite.spec import SweepSpec
from benchsuite.spec_reading import parse_spec
from benchsuite.store.files import MANIFEST, lock, write_bytes, write_json
from benchsuite.store.run_folder import read_run
from benchsuite.workload.dataset import Workload

MATRIX = "matrix.json"
FAILED = "failed.txt"  # in an attempt whose server died: its manifest may still say complete
_SCHEMA = 1
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class MatrixFolder:
    """The folder of one plan."""

    path: Path
    plan: dict[str, Any]

    def kept_run(self, setting: Setting, spec: SweepSpec) -> Path | None:
        """The latest attempt that was measured to its end with the same spec and set; None if there is none."""
        whole = [path for path in self._attempts(setting.slug) if self._is_whole(path, spec)]
        return whole[-1] if whole else None

    def next_attempt(self, setting: Setting) -> Path:
        """A folder for the next attempt, made: SLUG, SLUG--2, ... Nothing measured is overwritten."""
        number = 1
        while (path := self._attempt(setting.slug, number)).exists():
            number += 1
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise InputError("the output folder cannot be made", where=str(path), given=error) from None
        return path

    def mark_failed(self, attempt: Path, reason: str) -> None:
        """Note that the attempt does not count, whatever its rows say."""
        write_bytes(attempt / FAILED, (reason + "\n").encode())

    def write(self, results: dict[str, Any]) -> None:
        """Put matrix.json in place: the plan and what is known so far."""
        write_json(self.path / MATRIX, {"schema": _SCHEMA, "plan": self.plan, **results})

    def _attempt(self, slug: str, number: int) -> Path:
        return self.path / (slug if number == 1 else f"{slug}--{number}")

    def _attempts(self, slug: str) -> Iterator[Path]:
        number = 1
        while (path := self._attempt(slug, number)).exists():
            yield path
            number += 1

    def _is_whole(self, path: Path, spec: SweepSpec) -> bool:
        if not (path / MANIFEST).exists():
            return False
        try:
            manifest = read_run(path).manifest
            before = parse_spec(manifest.spec, where=str(path))
        except (BenchsuiteError, KeyError):
            return False  # not ours, or of a version that this one cannot read: measure anew
        same_set = manifest.workload.content_hash == self.plan["workload_hash"]
        ended_well = manifest.status == "complete" and not (path / FAILED).exists()
        return ended_well and same_set and _asked(before) == _asked(spec)


def _asked(spec: SweepSpec) -> dict[str, Any]:
    """The spec as plain data without what differs from one start of a server to the next."""
    tree = spec.model_dump(mode="json")
    tree["server"] |= {"base_url": None, "model": None}
    return tree


@contextlib.contextmanager
def open_matrix(path: Path, plan: dict[str, Any]) -> Iterator[MatrixFolder]:
    """The folder of `plan`, new or taken up again; nobody else can use it meanwhile.

    Raises InputError if it holds another plan, naming the difference, or if another process is at it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("the output folder cannot be made", where=str(path), given=error) from None
    with _locked(path):
        before = read_plan(path)
        if before is not None and before.get("content_hash") != plan["content_hash"]:
            _refuse(path, differences(before, plan))
        folder = MatrixFolder(path, plan)
        if before is None:
            folder.write({"status": "running"})
        yield folder


def read_plan(path: Path) -> dict[str, Any] | None:
    """The plan in a matrix's folder; None if there is none. Raises InputError."""
    file = path / MATRIX
    if not file.exists():
        return None
    try:
        tree = read_json(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("the matrix's plan cannot be read", where=str(file), given=error) from None
    plan = tree.get("plan") if isinstance(tree, dict) else None
    if not isinstance(plan, dict):
        raise InputError("this matrix.json holds no plan", where=str(file), hint="another --output")
    return plan


def _refuse(path: Path, found: list[str]) -> None:
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    raise InputError(
        "the output folder holds another matrix",
        where=str(path),
        given="\n    ".join(["", *found[:_SHOWN], *more]) if found else "a plan that reads alike but has another hash",
        expected="the same settings, sweep and request set",
        hint="another --output; a new SLO or price needs no new measurement: benchsuite decide DIR/SETTING --slo ...",
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if not lock(descriptor):
            raise InputError(
                "another benchsuite is measuring this matrix", where=str(path), hint="wait for it, or another --output"
            )
        yield
    finally:
        os.close(descriptor)


SERVER_LOG = "serve.log"
_NO_MEMORY = re.compile(r"out of memory|outofmemory|no available memory|larger than the maximum number of tokens", re.I)
_ERROR = re.compile(r"\w*(error|exception|fatal)\b", re.I)
_LONGEST = 300

Status = Literal["measured", "kept", "did not start", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a setting. kept: it was measured to its end before. path: its run or its log; reason: in words."""

    setting: Setting
    status: Status
    path: Path
    reason: str | None = None


def check_matrix(matrix: GridSpec, workload: Workload) -> None:
    """Refuse what cannot be started or measured, before anything is. Raises InputError."""
    for setting in matrix.settings:
        refuse_secrets(parse_serve(setting.serve))
        check_levels(matrix.sweep_of(setting), workload)


def measuring_order(matrix: GridSpec) -> list[Setting]:
    """The settings in an order drawn from the sweep's seed: a machine that slows down does not favour the first."""
    order = list(matrix.settings)
    random.Random(matrix.sweep_of(order[0]).load.seed).shuffle(order)
    return order


def measure(
    matrix: GridSpec, workload: Workload, folder: MatrixFolder, view: View, tell: Callable[[str], None]
) -> Iterator[Outcome]:
    """Measure every setting that was not measured to its end before; its outcome as soon as it is there.

    A server that does not start, or that ends under load, is an outcome, and the matrix goes on. Ctrl-C or SIGTERM
    stops after what is in flight: the outcome is "stopped" and the last one. tell: is told in a line what comes next.
    Raises InputError, StoreError.
    """
    order = measuring_order(matrix)
    for number, setting in enumerate(order, 1):
        gpus = f"{setting.gpus} GPU{'s' * (setting.gpus > 1)}"
        place = f"[setting {number}/{len(order)}] {setting.name} ({gpus})"
        kept = folder.kept_run(setting, matrix.sweep_of(setting))
        if kept is not None:
            tell(f"{place}: measured before, kept in {kept}")
            yield Outcome(setting, "kept", kept)
            continue
        path = folder.next_attempt(setting)
        tell(f"{place}: starting {setting.serve}")
        outcome = _measure_one(matrix, setting, workload, path, view)
        if outcome.status == "failed":
            folder.mark_failed(path, outcome.reason or "failed")
        if outcome.status != "measured":
            tell(f"{place}: {outcome.status}" + (f": {outcome.reason}" if outcome.reason else ""))
        yield outcome
        if outcome.status == "stopped":
            return


def _measure_one(matrix: GridSpec, setting: Setting, workload: Workload, path: Path, view: View) -> Outcome:
    log = path / SERVER_LOG
    try:
        with _sigterm_interrupts():
            result = sweep_launched(
                parse_serve(setting.serve),
                lambda server: matrix.sweep_of(setting, server.base_url, server.model),
                workload,
                path,
                view,
                ready_timeout_s=matrix.ready_timeout_s,
                log_path=log,
            )
    except KeyboardInterrupt:
        return Outcome(setting, "stopped", path, "while its server started or stopped")
    except StoreError:
        raise  # a full disk is no property of the setting
    except ServerDied:
        said = f"its server died while it was measured: {blame(_lines(log)) or 'it wrote nothing'}"
        return Outcome(setting, "failed", path, said)
    except EngineError as error:
        return _not_started(setting, path, error)
    except RunError as error:
        return Outcome(setting, "failed", path, _said(error))
    return Outcome(setting, "measured" if result.complete else "stopped", path)


def _not_started(setting: Setting, path: Path, error: EngineError) -> Outcome:
    reason = blame(_lines(path / SERVER_LOG))
    if reason is None:  # it never ran: the program is not there, say
        with contextlib.suppress(OSError):
            (path / SERVER_LOG).unlink(missing_ok=True)
            path.rmdir()
        reason = _said(error) + (f" ({error.hint})" if error.hint else "")
    return Outcome(setting, "did not start", path, reason)


def blame(lines: Sequence[str]) -> str | None:
    """The line of a server's log that says best why it ended: on memory, else the last error, else the last line."""
    told = [line.strip() for line in lines if line.strip()]
    for pattern in (_NO_MEMORY, _ERROR):
        found = [line for line in told if pattern.search(line)]
        if found:
            return found[-1][:_LONGEST]
    return told[-1][:_LONGEST] if told else None


def _lines(log: Path) -> list[str]:
    try:
        return log.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _said(error: RunError) -> str:
    """The error on one line."""
    given = "" if error.given is None else f": {str(error.given).strip().splitlines()[0][:_LONGEST]}"
    return f"{error.what}{given}"


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM is as Ctrl-C, so that the server is stopped in order; a sweep handles both itself while it runs."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
