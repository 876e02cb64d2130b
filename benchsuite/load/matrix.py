"""A matrix of server settings, measured: for every setting, start its server, sweep it, stop it. It judges nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchsuite.errors import BenchsuiteError, EngineError, InputError, RunError, ServerDied, StoreError
from benchsuite.load.find import FindRunner
from benchsuite.load.launched_sweep import sweep_launched
from benchsuite.load.preflight import check_levels, with_server
from benchsuite.load.sweep import SweepRunner
from benchsuite.load.worker_pool import signals_handled
from benchsuite.manifest import flat
from benchsuite.matrix_spec import MatrixSpec, Setting
from benchsuite.progress import View
from benchsuite.records import UNJUDGED
from benchsuite.serving.launch_plan import parse_serve, refuse_secrets
from benchsuite.spec import SweepSpec, parse_spec
from benchsuite.store.files import MANIFEST, json_in, lock, make_folder, write_json, write_text
from benchsuite.store.run_folder import read_manifest, read_run
from benchsuite.workload.dataset import Workload

MATRIX = "matrix.json"
SERVER_LOG = "serve.log"
FAILED = "failed.txt"  # in an attempt whose server died: its manifest may still say complete
_SCHEMA = 1
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class MatrixFolder:
    """The folder of one plan. Each attempt at a setting has a folder in it: SLUG, SLUG--2, ..."""

    path: Path
    plan: dict[str, Any]

    def kept_run(self, setting: Setting, spec: SweepSpec) -> Path | None:
        """The latest attempt that was measured to its end with the same spec and set; None if there is none."""
        return next((path for path in reversed(self.attempts(setting)) if self._is_whole(path, spec)), None)

    def attempts(self, setting: Setting) -> list[Path]:
        """The folders of those so far, and last that of the next: nothing measured is overwritten."""
        attempts = [self.path / setting.slug]
        while attempts[-1].exists():
            attempts.append(self.path / f"{setting.slug}--{len(attempts) + 1}")
        return attempts

    def write(self, results: dict[str, Any]) -> None:
        """Put matrix.json in place: the plan and what is known so far."""
        write_json(self.path / MATRIX, {"schema": _SCHEMA, "plan": self.plan, **results})

    def _is_whole(self, path: Path, spec: SweepSpec) -> bool:
        if not (path / MANIFEST).exists() or (path / FAILED).exists():
            return False
        try:
            manifest = read_run(path, UNJUDGED).manifest
            before = parse_spec(manifest.spec, where=str(path))
        except (BenchsuiteError, KeyError):
            return False  # not ours, or of a version that this one cannot read: measure anew
        same_set = manifest.workload.content_hash == self.plan["workload_hash"]
        any_server = {"base_url": "", "model": None}  # differ from one start of a server to the next
        same_spec = with_server(before, **any_server) == with_server(spec, **any_server)
        return manifest.status == "complete" and same_set and same_spec


@contextlib.contextmanager
def open_matrix(path: Path, plan: dict[str, Any]) -> Iterator[MatrixFolder]:
    """The folder of `plan`, new or taken up again; nobody else can use it meanwhile.

    Raises InputError if it holds another plan, naming the difference, or if another process is at it.
    """
    make_folder(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if not lock(descriptor):
            raise InputError(
                "another benchsuite is measuring this matrix", where=str(path), hint="wait, or use another --output"
            )
        before = read_plan(path)
        if before is not None and before != plan:
            old, new = flat(before), flat(plan)
            changed = [key for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)]
            lines = [f"{key}: was {old.get(key, 'nothing')}, is {new.get(key, 'nothing')}" for key in changed[:_SHOWN]]
            raise InputError(
                "the output folder holds another matrix",
                where=str(path),
                given="\n    ".join(["", *lines]),
                expected="the same settings, sweep and request set",
                hint="another --output; a new SLO or price needs no new measurement: "
                "benchsuite decide DIR/SETTING --slo ...",
            )
        folder = MatrixFolder(path, plan)
        if before is None:
            folder.write({"status": "running"})
        yield folder
    finally:
        os.close(descriptor)


def read_plan(path: Path) -> dict[str, Any] | None:
    """The plan in a matrix's folder; None if there is none. Raises InputError."""
    file = path / MATRIX
    try:
        return dict(json_in(file)["plan"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            "the matrix's plan cannot be read", where=str(file), given=error, hint="another --output"
        ) from None


Status = Literal["measured", "kept", "did not start", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a setting."""

    setting: Setting
    status: Status  # kept: it was measured to its end before
    path: Path  # its run or its log
    reason: str | None = None


def check_matrix(matrix: MatrixSpec, workload: Workload) -> None:
    """Refuse what cannot be started or measured, before anything is. Raises InputError."""
    for setting in matrix.settings:
        refuse_secrets(parse_serve(setting.serve))
        check_levels(matrix.sweep_of(setting), workload)


def measuring_order(matrix: MatrixSpec) -> list[Setting]:
    """The settings in an order drawn from the sweep's seed: a machine that slows down does not favour the first."""
    order = list(matrix.settings)
    random.Random(matrix.sweep_of(order[0]).load.random_seed).shuffle(order)
    return order


def _sure_rate(path: Path, setting: Setting, confidence: float) -> tuple[float, str] | None:
    """What a setting's answer gives a second and GPU at least, and whose it is; None where it is not sure to meet the
    SLO."""
    search = read_manifest(path).search
    answer = None if search is None or search.end is None else search.end.answer
    if answer is None or answer.p_met < confidence:
        return None
    return answer.throughput[1] / setting.gpus, setting.name


def measure(
    matrix: MatrixSpec,
    workload: Workload,
    folder: MatrixFolder,
    view: View,
    note: Callable[[str], None],
    search: Callable[[SweepSpec], partial[FindRunner]] | None = None,
    sweep_runner: Callable[..., SweepRunner] = SweepRunner,
) -> Iterator[Outcome]:
    """Measure every setting that was not measured to its end before; its outcome as soon as it is there.

    A server that does not start, or that ends under load, is an outcome, and the matrix goes on. Ctrl-C or SIGTERM
    stops after what is in flight: the outcome is "stopped" and the last one. note: gets a line on what comes next.
    search: makes what conducts the search of a setting, where they are searched; one whose best case is dearer than the
    worst of another is given up. A GPU costs the same in all. sweep_runner: conducts the sweep of one that is not.
    Raises InputError, StoreError.
    """
    order = measuring_order(matrix)
    paths = {one: path for one in order if (path := folder.kept_run(one, matrix.sweep_of(one))) is not None}
    for number, setting in enumerate(order, 1):
        gpus = f"{setting.gpus} GPU{'s' * (setting.gpus > 1)}"
        place = f"[setting {number}/{len(order)}] {setting.name} ({gpus})"
        if (kept := paths.get(setting)) is not None:
            note(f"{place}: already measured, in {kept}")
            yield Outcome(setting, "kept", kept)
            continue
        path = folder.attempts(setting)[-1]
        make_folder(path)
        note(f"{place}: starting {setting.serve}")
        runner = sweep_runner
        if search is not None and (find := (asked := matrix.sweep_of(setting)).find) is not None:
            made = search(asked)
            sure = [one for k, where in paths.items() if (one := _sure_rate(where, k, find.confidence)) is not None]
            most, rival = max(sure, default=(None, None))
            least_x = None if most is None else most * setting.gpus
            runner = partial(made, search=dataclasses.replace(made.keywords["search"], least_x=least_x), rival=rival)
        status, reason = _measure_one(matrix, setting, workload, path, view, runner)
        if status == "measured":
            paths[setting] = path
        if status == "failed":
            write_text(path / FAILED, f"{reason}\n")
        if status != "measured":
            note(f"{place}: {status}" + (f": {reason}" if reason else ""))
        yield Outcome(setting, status, path, reason)
        if status == "stopped":
            return


def _measure_one(
    matrix: MatrixSpec, setting: Setting, workload: Workload, path: Path, view: View, runner: Callable[..., SweepRunner]
) -> tuple[Status, str | None]:
    log = path / SERVER_LOG

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt  # so that the server is stopped in order

    try:
        with signals_handled((signal.SIGTERM,), interrupt):  # a sweep handles it itself while it runs
            result = sweep_launched(
                parse_serve(setting.serve),
                lambda server: matrix.sweep_of(setting, server.base_url, server.model),
                workload,
                path,
                view,
                ready_timeout_s=matrix.ready_timeout_s,
                log_path=log,
                runner=runner,
            )
    except KeyboardInterrupt:
        return "stopped", "while its server started or stopped"
    except StoreError:
        raise  # a full disk is no property of the setting
    except ServerDied:
        return "failed", f"its server died during the measurement: {cause_in_log(log) or 'it wrote nothing'}"
    except EngineError as error:
        reason = cause_in_log(log)
        if reason is None:  # it never ran: the program is not there, say
            with contextlib.suppress(OSError):
                log.unlink(missing_ok=True)
                path.rmdir()
            reason = _on_a_line(error) + (f" ({error.hint})" if error.hint else "")
        return "did not start", reason
    except RunError as error:
        return "failed", _on_a_line(error)
    if result.failures:
        return "failed", "; ".join(result.failures)
    return "measured" if result.complete else "stopped", None


_NO_MEMORY = re.compile(r"out of memory|outofmemory|no available memory|larger than the maximum number of tokens", re.I)
_ERROR = re.compile(r"(error|exception|fatal)\b", re.I)
_LONGEST, _LOG_BYTES = 300, 16 * 1024**2  # of a log, its end


def cause_in_log(log: Path) -> str | None:
    """The line of a server's log that says best why it ended: on memory, else the last error, else the last line."""
    try:
        with log.open("rb") as file:
            file.seek(-min(_LOG_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            text = file.read(_LOG_BYTES).decode(errors="replace")
    except OSError:
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern in (_NO_MEMORY, _ERROR):
        if matching := [line for line in lines if pattern.search(line)]:
            return matching[-1][:_LONGEST]
    return lines[-1][:_LONGEST] if lines else None


def _on_a_line(error: RunError) -> str:
    return error.what + ("" if error.given is None else f": {str(error.given).strip().splitlines()[0][:_LONGEST]}")
