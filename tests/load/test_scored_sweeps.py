"""A sweep of a set with scorers leaves a score for every request, and `score` makes them again."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from fault_plans import faults, while_stopped
from sweeps_for_tests import Watcher, spec_of

import benchsuite
from benchsuite.errors import InputError
from benchsuite.input_files import read_workload
from benchsuite.load.sweep import SweepRunner, sweep
from benchsuite.quality.score import SCORERS, RowScorer, Scorer
from benchsuite.results import AnswerScore
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.store.run_folder import copy_run, read_run

N = 24  # prompts: 12 of an exam, 6 of letters, 6 that are not scored


@pytest.fixture(scope="module", autouse=True)
def short():
    """A scorer `short`: 1 for an answer of fewer words than the reference says."""

    def score(answer, reference, options, prompt_text):
        return AnswerScore(float(len(answer.split()) < int(reference)), answer, "counted")

    def check(reference, options):
        if not str(reference).isdigit():
            raise ValueError("expected a number of words")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCORERS, "short", Scorer(2, score, check, graded=False))
        yield


@pytest.fixture(scope="module")
def server():
    """A fast simulator."""
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.005, itl_s=0.001))) as running:
        yield running


@pytest.fixture(scope="module")
def exam(tmp_path_factory) -> Path:
    """A file of the set: answers have 1 to 8 words, and a third of the exam's must have fewer than 5."""
    rows = []
    for i in range(N):
        row = {"id": f"p{i}", "prompt": f"question {i}", "max_output_tokens": 1 + i % 8}
        row |= {"scenario": ("exam", "exam", "letters", "free")[i % 4]}
        row |= {} if i % 4 == 3 else {"reference": 5 if i % 4 < 2 else 99, "scorer": "short"}
        rows.append(json.dumps(row))
    path = tmp_path_factory.mktemp("set") / "exam.jsonl"
    path.write_text("\n".join(rows))
    return path


def measure(server, exam, path, view=None, levels=(1, 2), **workload):
    """Sweep the set as the faces do."""
    spec = spec_of(server.base_url, list(levels), workload={"source": str(exam), **workload})
    runner = partial(SweepRunner, scoring=RowScorer.of_run)
    found = sweep(spec, read_workload(spec.workload, 0), path, view or Watcher(), runner=runner)
    return found, read_run(path)


@pytest.fixture(scope="module")
def measured(server, exam, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("measured") / "run"
    measure(server, exam, path)
    return path


@pytest.fixture
def run(measured, tmp_path) -> Path:
    """A copy of a scored run."""
    return Path(shutil.copytree(measured, tmp_path / "run"))


def requests(found):
    """How often each request of a prompt with a scorer has a score."""
    return Counter((row["point_id"], row["prompt_id"]) for row in found.scores.table.to_pylist())


EVERY = Counter((f"c000{level}-r0", f"p{i}") for level in (1, 2) for i in range(N) if i % 4 != 3)
# of 12 answers of the exam, those with 1 to 4 words: caps 1, 2, 5, 6, ...
RIGHT = sum(1 + i % 8 < 5 for i in range(N) if i % 4 < 2)


def right(found, scenario="exam"):
    """Points of a scenario, by level."""
    table = found.scores.table.to_pylist()
    return Counter({p: sum(r["score"] for r in table if (r["point_id"], r["scenario"]) == (p, scenario))
                    for p in {r["point_id"] for r in table}})  # fmt: skip


def test_a_sweep_scores_every_request(measured, exam):
    """At every level each request of a scored prompt has a score, once; texts are kept, and facts say by what."""
    found = read_run(measured)
    assert requests(found) == EVERY
    assert right(found) == {"c0001-r0": RIGHT, "c0002-r0": RIGHT}
    assert found.table["text"].null_count == 0
    references = read_workload(spec_of("http://h", [1], workload={"source": str(exam)}).workload, 0).references_hash
    assert found.scores.facts == {
        "run_id": found.manifest.run_id, "by_scenario": {"exam": {"short": 2}, "letters": {"short": 2}},
        "references_hash": references,
    }  # fmt: skip


def test_no_text_scores_all_the_same(server, exam, tmp_path):
    """Without texts the same scores are made after each point; nothing else of an answer stays, nor can be scored."""
    view = Watcher()
    _, found = measure(server, exam, tmp_path / "run", view, save_text=False)
    assert requests(found) == EVERY
    assert right(found) == {"c0001-r0": RIGHT, "c0002-r0": RIGHT}
    assert found.table["text"].null_count == 2 * N
    assert [note for note in view.notes if "not kept (--no-text)" in note]
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"scores.parquet", "requests.parquet"}
    assert not (tmp_path / "run" / "points").exists()
    before = (tmp_path / "run" / "scores.parquet").read_bytes()
    with pytest.raises(InputError, match="kept no texts"):
        benchsuite.score(tmp_path / "run")
    assert (tmp_path / "run" / "scores.parquet").read_bytes() == before


@pytest.mark.parametrize("save_text", ["auto", False])
def test_a_resumed_sweep_has_every_score(server, exam, tmp_path, save_text):
    """Stopped in its second point and resumed: each request of the complete points once, of the others none."""
    with faults("batch.2:2:stop"):
        press = while_stopped(lambda: signal.raise_signal(signal.SIGINT))
        result, found = measure(server, exam, tmp_path / "run", Watcher(press), save_text=save_text)
    assert not result.complete
    (done,) = [point.point_id for point in found.manifest.complete_points]
    assert requests(found) == {key: n for key, n in EVERY.items() if key[0] == done}
    result, found = measure(server, exam, tmp_path / "run", save_text=save_text)
    assert result.complete
    assert requests(found) == EVERY
    assert found.table["text"].null_count == (0 if save_text else found.table.num_rows)


def test_other_references_on_the_way(server, exam, tmp_path):
    """Without texts a run is not resumed with other references: its points could not be scored by them."""
    with faults("batch.2:2:stop"):
        press = while_stopped(lambda: signal.raise_signal(signal.SIGINT))
        measure(server, exam, tmp_path / "run", Watcher(press), save_text=False)
    other = corrected(exam, tmp_path / "other.jsonl", 99)
    with pytest.raises(InputError, match="the references have changed"):
        measure(server, other, tmp_path / "run", save_text=False)
    _, found = measure(server, exam, tmp_path / "run", save_text=False)
    assert requests(found) == EVERY


def test_other_references_of_a_whole_run(server, run, exam, tmp_path):
    """Nothing is measured again; what to do about its scores is said."""
    view = Watcher()
    measure(server, corrected(exam, tmp_path / "other.jsonl", 99), run, view)
    assert view.notes[0] == f"the references have changed: benchsuite score {run}"


def test_answers_of_a_fixed_length_are_not_scored(server, exam, tmp_path):
    """They run on past their end: the sweep says so, keeps no texts, and `score` refuses."""
    view = Watcher()
    _, found = measure(server, exam, tmp_path / "run", view, levels=[1], fixed_length=True)
    assert found.scores is None
    assert found.table["text"].null_count == N
    assert "answers are not scored: made to a fixed length, they run on past their end" in view.notes
    with pytest.raises(InputError, match="fixed length"):
        benchsuite.score(tmp_path / "run")


def test_a_set_without_scorers_keeps_no_texts(server, exam, tmp_path):
    """What nobody scores is not kept, unless it is asked for."""
    plain = tmp_path / "plain.jsonl"
    rows = [json.loads(line) for line in exam.read_text().splitlines()]
    plain.write_text("\n".join(json.dumps({k: v for k, v in row.items() if k != "scorer"}) for row in rows))
    _, found = measure(server, plain, tmp_path / "run", levels=[1])
    assert (found.scores, found.table["text"].null_count) == (None, N)
    with pytest.raises(InputError, match="no prompt has a scorer") as refused:
        benchsuite.score(tmp_path / "run", workload=plain)
    assert "--scorer '*=NAME'" in refused.value.hint
    with pytest.raises(InputError, match="kept no texts"):
        benchsuite.score(tmp_path / "run", workload=plain, scorers={"*": "short"})
    measure(server, plain, tmp_path / "kept", levels=[1], save_text=True)
    found = benchsuite.score(tmp_path / "kept", workload=plain, scorers={"*": "short"}).stored
    assert right(found) == {"c0001-r0": RIGHT}


def corrected(exam, path, reference):
    """The set with other references for the exam."""
    rows = [json.loads(line) for line in exam.read_text().splitlines()]
    rows = [row | ({"reference": reference} if row["scenario"] == "exam" else {}) for row in rows]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_scores_are_made_again(run, exam, tmp_path):
    """By other references; of one scenario alone the scores of the others stay as they are."""
    first = read_run(run).scores
    (run / "scores.parquet").unlink()
    (run / "summary.json").unlink(missing_ok=True)
    assert benchsuite.score(run, workload=exam).stored.scores.table.equals(first.table)
    assert json.loads((run / "summary.json").read_text())["points"]
    other = corrected(exam, tmp_path / "other.jsonl", 99)
    found = benchsuite.score(run, workload=other, only="exam").stored
    assert right(found) == {"c0001-r0": 12, "c0002-r0": 12}
    assert requests(found) == EVERY
    assert found.scores.facts["references_hash"] != first.facts["references_hash"]
    letters = [row for row in found.scores.table.to_pylist() if row["scenario"] == "letters"]
    assert letters == [row for row in first.table.to_pylist() if row["scenario"] == "letters"]


def test_a_copy_scores_too(run, exam, tmp_path):
    """All that is needed but the set is in the folder."""
    copy_run(run, tmp_path / "copy")
    assert benchsuite.score(tmp_path / "copy", workload=exam).scores.equals(benchsuite.read_run(run).scores)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"only": "nurses"}, "no such scenario in the set\n  given:    nurses\n  expected: exam, free, letters"),
        ({"scorers": {"nurses": "short"}}, "no such scenario in the set"),
        ({"scorers": {"*": "shrot"}}, "no such scorer\n  given:    shrot"),
        ({"scorers": {"*": "{"}}, "a scorer is a name, or JSON\n  where:    --scorer *"),
        ({"only": "free"}, "no prompt has a scorer"),
        ({"workload": "other.jsonl"}, "the request set is not the one that the run measured"),
        ({"workload": "wrong.jsonl"}, "expected a number of words"),
        ({"workload": "none.jsonl"}, "the workload file does not exist"),
    ],
)
def test_what_cannot_be_scored_is_said(run, exam, tmp_path, monkeypatch, asked, words):
    """Bad input is refused in words, and the scores stay."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.jsonl").write_text(exam.read_text().replace("question 3", "question three"))
    corrected(exam, tmp_path / "wrong.jsonl", "many")
    before = (run / "scores.parquet").read_bytes()
    with pytest.raises(InputError) as refused:
        benchsuite.score(run, **({"workload": exam} | asked))
    assert words in str(refused.value)
    assert (run / "scores.parquet").read_bytes() == before


def test_a_folder_names_no_file(run, exam):
    """What file a run's set was is not read because its folder says so: it is given again, as the error says."""
    before = (run / "scores.parquet").read_bytes()
    with pytest.raises(InputError, match="not trusted to name a file") as refused:
        benchsuite.score(run)
    assert refused.value.hint == f"benchsuite score {run} --workload {exam}"
    assert (run / "scores.parquet").read_bytes() == before


def test_a_generated_set_is_made_again(server, tmp_path, cli):
    """Of wineval the run's own size and seed tell which it was."""
    spec = spec_of(server.base_url, [2], workload={"source": "wineval", "requests": 20, "max_output_tokens": 4})
    runner = partial(SweepRunner, scoring=RowScorer.of_run)
    sweep(spec, read_workload(spec.workload, 0), tmp_path / "run", Watcher(), runner=runner)
    first = read_run(tmp_path / "run").scores
    assert first.table.num_rows == 12
    (tmp_path / "run" / "scores.parquet").unlink()
    assert cli("score", tmp_path / "run").code == 0
    assert read_run(tmp_path / "run").scores.table.equals(first.table)


def test_searches_and_imports_are_not_scored(stored, tmp_path):
    """A search's probes end within answers, and another tool's run has none: each is said."""
    with pytest.raises(InputError, match="probes end in the middle of answers"):
        benchsuite.score(stored / "found")
    run = shutil.copytree(stored / "demo", tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"imported": {"tool": "vllm"}}))
    with pytest.raises(InputError, match="a run of another tool"):
        benchsuite.score(run)


def test_not_while_it_is_measured(run):
    """A folder that somebody measures into is left alone."""
    from benchsuite.store.run_folder import RunFolder

    folder = RunFolder(run)
    with pytest.raises(InputError, match="another benchsuite is measuring"):
        benchsuite.score(run)
    folder.release()


def test_the_command(run, exam, cli):
    """It prints scores by level and scenario, or as JSON with the counts."""
    shown = cli("score", run, "--workload", exam)
    assert shown.code == 0
    assert "exam" in shown.out
    found = cli.data("score", run, "--workload", exam)
    assert [
        (level["concurrency"], one["scenario"], one["n"], one["score"]["value"])
        for level in found
        for one in level["scenarios"]
    ] == [
        (level, scenario, n, score)
        for level in (1, 2)
        for scenario, n, score in (("exam", 12, RIGHT / 12), ("letters", 6, 1.0))
    ]
    refused = cli("score", run, "--scorer", "short")
    assert (refused.code, refused.error.expected) == (2, "SCENARIO=NAME")
