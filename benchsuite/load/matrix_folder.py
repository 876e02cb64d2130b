"""A matrix's folder: matrix.json with the plan, and below it one run folder for each attempt at a setting."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchsuite.errors import BenchsuiteError, InputError
from benchsuite.matrix_spec import Setting, differences
from benchsuite.parsing import read_json
from benchsuite.spec import SweepSpec, parse_spec
from benchsuite.store import MANIFEST, read_run, write_bytes, write_json

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
            before = parse_spec(manifest["spec"], where=str(path))
        except (BenchsuiteError, KeyError):
            return False  # not ours, or of a version that this one cannot read: measure anew
        same_set = (manifest.get("workload") or {}).get("content_hash") == self.plan["workload_hash"]
        ended_well = manifest.get("status") == "complete" and not (path / FAILED).exists()
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
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "another benchsuite is measuring this matrix", where=str(path), hint="wait for it, or another --output"
            ) from None
        except OSError:
            pass  # a file system that knows no locks
        yield
    finally:
        os.close(descriptor)
