"""Two arms measured in one session, in turn: rounds in balanced order, each a resumed sweep of both. Judges nothing.

A machine that slows down, or that others use, does so for both arms: sessions an hour apart do not compare, arms that
take turns do. docs/METHODS.md, "Two builds in one session".
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchsuite.clock import Anchor
from benchsuite.errors import InputError
from benchsuite.input_files import read_workload
from benchsuite.level import Level
from benchsuite.load.launched_sweep import plan_sweep, sweep_launched
from benchsuite.load.sweep import new_manifest, sweep
from benchsuite.manifest import ARM_GROUPS, RunManifest, differences, refuse_unlike
from benchsuite.progress import PlannedPoint, ProgressSnapshot, SweepResult, View
from benchsuite.serving.launch_plan import LaunchPlan
from benchsuite.spec import SweepSpec, overrides
from benchsuite.store.files import MANIFEST, make_folder
from benchsuite.store.run_folder import read_manifest
from benchsuite.workload.dataset import Workload

_LEAST_ROUNDS = 3  # whatever the budget: of fewer nothing is judged


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """One side: its spec, the server to start for each of its rounds (None: it is there), and its run folder."""

    name: str
    spec: SweepSpec
    plan: LaunchPlan | None
    path: Path

    def round_spec(self, number: int, level: Level | None = None) -> SweepSpec:
        """What the folder holds after round `number`, from 0: so many repeats of the spec. level: this one alone."""
        spec, load = self.spec, self.spec.load
        changed: dict[str, Any] = {"repeats": load.repeats * (number + 1), "workers": load.n_workers}
        if level is not None:
            changed |= {"concurrency": (level.users,)} if load.rate is None else {"rate": (level.number,)}
        return spec.model_copy(update={"load": load.model_copy(update=changed)})

    def measured_points(self) -> set[str]:
        if not (self.path / MANIFEST).exists():
            return set()
        return {point.point_id for point in read_manifest(self.path).complete_points}


def plan_arms(
    files: Sequence[Path],
    serve: Sequence[str],
    base_url: Sequence[str],
    flags: Mapping[str, Any],
    folder: Path,
    allowed: Collection[str] = (),
) -> tuple[tuple[Arm, Arm], Workload]:
    """The two arms in `folder`, and their requests; nothing is measured or written yet.

    files: two specs, one of both, or none; serve, base_url: two of either. Raises InputError for other numbers, and for
    arms that differ in more than `allowed` and what ARM_GROUPS names.
    """
    given = {"spec files": len(files), "--serve": len(serve), "--base-url": len(base_url)}
    if max(given.values()) != 2 or (serve and base_url) or not {len(serve), len(base_url)} <= {0, 2}:
        raise InputError(
            "two arms are needed",
            where="ab",
            given=", ".join(f"{n} {name}" for name, n in given.items() if n) or "none",
            expected="A.toml B.toml, or --base-url A --base-url B, or --serve A --serve B, or two run folders",
        )
    arms, planned, workloads = [], [], []
    for i, name in enumerate("AB"):
        file = files[min(i, len(files) - 1)] if files else None
        keys = overrides(dict(flags) | ({"base_url": base_url[i]} if base_url else {}))
        spec, plan = plan_sweep(file, keys, output=folder / name, resume=None, serve=serve[i] if serve else None)
        workload = read_workload(spec.workload, spec.load.random_seed)
        launched = None if plan is None else {"plan": plan.text}
        planned.append(new_manifest(spec, workload, launched, None, Anchor.now()))
        workloads.append(workload)
        arms.append(Arm(name, spec, plan, folder / name))
    refuse_unlike(differences(planned[1], planned[0], probed=False), allowed, ARM_GROUPS, ("in B", "in A"), "ab")
    return (arms[0], arms[1]), workloads[0]


def a_first(seed: int, number: int, place: int) -> bool:
    """Whether A goes first at this place of the round: a coin in even rounds, turned round in the odd one after it."""
    return random.Random(f"{seed}/{number // 2}/{place}").choice((True, False)) != bool(number % 2)


def measure_in_turn(
    arms: tuple[Arm, Arm],
    workload: Workload,
    view: View,
    *,
    budget_s: float,
    most_rounds: int | None,
    decided: Callable[[int, float], bool],
    ready_timeout_s: float | None = None,
) -> tuple[int, list[str]]:
    """Rounds until `decided`, the budget or most_rounds ends them: how many are whole, and why it ended early if so.

    A round of servers that are there visits the levels one by one, each with both arms in turn. One of servers that
    are started here starts, sweeps and stops each once. decided: asked after each round, with their number and the
    share of the budget that is spent. Raises InputError, RunError; what was measured stays, and the same call goes on.
    """
    make_folder(arms[0].path.parent)
    for arm in arms:
        if arm.path.is_symlink():
            raise InputError("a link instead of a folder of the session", where=str(arm.path))
    began_s, longest_s = time.monotonic(), 0.0
    views = {arm.name: _ArmView(view) for arm in arms}

    def measure(arm: Arm, spec: SweepSpec) -> SweepResult:
        seen = views[arm.name].visit(f"round {number + 1}, arm {arm.name}")
        if arm.plan is None:
            return sweep(spec, workload, arm.path, seen)
        return sweep_launched(arm.plan, lambda _: spec, workload, arm.path, seen, ready_timeout_s=ready_timeout_s)

    number = 0
    while most_rounds is None or number < most_rounds:
        round_began_s = time.monotonic()
        if number >= _LEAST_ROUNDS and round_began_s - began_s + longest_s > budget_s:
            break
        for arm, spec in _visits(arms, number):
            wanted = {level.point_id(r) for level in spec.load.levels for r in range(spec.load.repeats)}
            if wanted <= arm.measured_points():
                continue
            result = measure(arm, spec)
            if not result.complete:
                return number, list(result.failures) or ["stopped"]
        number += 1
        now_s = time.monotonic()
        longest_s = max(longest_s, now_s - round_began_s)
        share = max((now_s - began_s) / budget_s, number / most_rounds if most_rounds else 0.0)
        view.note(f"round {number} of both is measured; {(now_s - began_s) / 60:.1f} of {budget_s / 60:g} min")
        if decided(number, min(share, 1.0)):
            break
    for arm in arms:  # the folder of a whole sweep, not of its last visit
        if arm.plan is None and number:
            measure(arm, arm.round_spec(number - 1))
    return number, []


def _visits(arms: tuple[Arm, Arm], number: int) -> Iterator[tuple[Arm, SweepSpec]]:
    seed, levels = arms[0].spec.load.random_seed, arms[0].spec.load.levels
    places: list[Level | None] = [None]
    if all(arm.plan is None for arm in arms):
        places = [*random.Random(f"{seed}/{number}").sample(levels, len(levels))]
    for place, level in enumerate(places):
        for arm in arms if a_first(seed, number, place) else arms[::-1]:
            yield arm, arm.round_spec(number, level)


class _ArmView(View):
    """The view of many short sweeps of one run: it begins once, and says what it found of the server once."""

    def __init__(self, view: View) -> None:
        self._view, self._begun, self._quiet, self._title = view, False, False, ""

    def visit(self, title: str) -> _ArmView:
        """A sweep begins: its title is said once something is measured, and nothing before that but in the first."""
        self._quiet, self._title = self._begun, title
        return self

    def begun(self, path: Path, manifest: RunManifest) -> None:
        if not self._begun:
            self._begun = True
            self._view.begun(path, manifest)

    def progress(self, point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> None:
        self._quiet = False
        if self._title:
            self._view.note(self._title)
            self._title = ""
        self._view.progress(point, progress, elapsed_s)

    def point_done(self, point: PlannedPoint, rows: Callable[..., Any], duration_s: float) -> None:
        self._view.point_done(point, rows, duration_s)

    def note(self, text: str) -> None:
        if not self._quiet:
            self._view.note(text)
