"""The share of wrong answers that a server was given is the share that a sweep measures, for every scorer."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest
from sweeps_for_tests import Watcher, spec_of

from benchsuite.input_files import read_workload
from benchsuite.load.sweep import sweep
from benchsuite.quality.score import SCORERS, RowScorer
from benchsuite.simulator.config import PlantedAnswers, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.store.run_folder import read_run
from benchsuite.workload.dataset import scorer_of

EXAM = Path(__file__).parents[2] / "workloads" / "exam-21.jsonl"


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize(("source", "requests"), [("wineval", 120), (str(EXAM), None)])
def test_share(tmp_path: Path, source: str, requests: int | None, rate: float) -> None:
    """At every level, in every repeat round(rate * n) of a scenario's n prompts have 0, the same ones, the rest 1."""
    planted = PlantedAnswers(workload=source, requests=requests, error_rate=rate, seed=7, chars_per_token=64)
    with simulator(SimulatorConfig(answers=planted)) as server:
        more = {"workload": {"source": source, "requests": requests, "save_text": True}}
        spec = spec_of(server.base_url, [1, 4], load={"repeats": 2}, **more)
        workload = read_workload(spec.workload, 0)
        sweep(spec, workload, tmp_path / "run", Watcher())
    found = list(RowScorer(workload.prompts)([read_run(tmp_path / "run").table]))
    scored = Counter(prompt.scenario for prompt in workload.prompts if prompt.scorer is not None)
    by_point: dict[str, dict[str | None, dict[str, float | None]]] = defaultdict(lambda: defaultdict(dict))
    for row in found:
        by_point[row.point_id][row.scenario][row.prompt_id] = row.score

    assert len(by_point) == 4
    first = next(iter(by_point.values()))
    for scenarios in by_point.values():
        assert {name: len(scores) for name, scores in scenarios.items()} == scored
        for name, scores in scenarios.items():
            wrong = round(rate * scored[name])
            assert sorted(scores.values()) == [0.0] * wrong + [1.0] * (scored[name] - wrong)
        assert scenarios == first


def test_other_references_resume(tmp_path: Path) -> None:
    """A run goes on with a corrected reference: the same was sent. Its manifest has the new references' hash."""
    path = tmp_path / "set.jsonl"
    rows = ['{"id": "a", "prompt": "2+2?", "reference": %d, "scorer": "numeric"}', '{"id": "b", "prompt": "3+3?"}']
    with simulator() as server:
        spec = spec_of(server.base_url, [1, 2], workload={"source": str(path)})
        hashes = []
        for reference in (5, 4):
            path.write_text("\n".join(rows) % reference)
            workload = read_workload(spec.workload, 0)
            result = sweep(spec, workload, tmp_path / "run", Watcher())
            facts = read_run(tmp_path / "run").manifest.workload
            assert facts.references_hash == workload.references_hash
            hashes.append((facts.content_hash, facts.references_hash, result.run_id))
    assert hashes[0][::2] == hashes[1][::2]
    assert hashes[0][1] != hashes[1][1]


def test_every_scorer_is_tried() -> None:
    """The two sets have prompts for each scorer but the judge, which needs a judge."""
    names = set()
    for source in ("wineval", str(EXAM)):
        spec = spec_of("http://127.0.0.1:1", [1], workload={"source": source})
        names |= {scorer_of(prompt)[0] for prompt in read_workload(spec.workload, 0).prompts}

    assert names - {None} == {*SCORERS} - {"judge"}
