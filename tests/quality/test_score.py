"""Scores of a run's rows: what counts, what scores 0, and what is never a score."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from factory import request_row
from factory import run_folder as run_folder_of

from benchsuite.errors import InputError
from benchsuite.quality import score
from benchsuite.quality.score import RowScorer, Scorer
from benchsuite.records import ScoreRecord
from benchsuite.results import AnswerScore
from benchsuite.store.files import SCHEMA, at_schema
from benchsuite.store.run_folder import copy_run, read_run, write_scores
from benchsuite.workload.dataset import Prompt


@pytest.fixture(autouse=True)
def same(monkeypatch):
    """A scorer `same` of equal texts, which keeps what it is given in its parts."""

    def equal(answer, reference, options, prompt_text):
        if reference == "broken":
            raise RecursionError
        parts = {"options": dict(options), "prompt": prompt_text}
        return AnswerScore(float(answer == reference), answer, "whole", parts)

    monkeypatch.setitem(score.SCORERS, "same", Scorer(3, equal, lambda reference, options: None, graded=False))


SYSTEM = {"role": "system", "content": "be short"}
PROMPTS = (
    Prompt("a", "exam", ({"role": "user", "content": "1?"},), reference="C", scorer="same"),
    Prompt(
        "b", "exam", (SYSTEM, {"role": "user", "content": "2?"}), reference="D", scorer={"name": "same", "labels": 4}
    ),
    Prompt("free", None, prompt="tell me"),
    Prompt("c", None, prompt="3?", reference="broken", scorer="same"),
)


def rows(*changes):
    """A table of requests; each with its own id."""
    made = [
        request_row(float(i), 0.003, **{"request_id": f"r{i}", "prompt_id": "a", "scenario": "exam"} | one)
        for i, one in enumerate(changes)
    ]
    return pa.Table.from_pylist([row._asdict() for row in made], SCHEMA)


def scored(*changes):
    return list(RowScorer(PROMPTS)([rows(*changes)]))


@pytest.mark.parametrize(
    ("change", "expected", "reading", "how", "cut", "failed"),
    [
        ({"text": "C"}, 1.0, "C", "whole", False, False),
        ({"text": "<think>D?</think>\u200bC"}, 1.0, "C", "whole", False, False),
        ({"text": "D", "finish_reason": "length"}, 0.0, "D", "whole", True, False),
        ({"text": "<think>C and then", "finish_reason": "max_tokens"}, 0.0, None, "cut_thinking", True, False),
        ({"text": " \n"}, 0.0, None, "empty", False, False),
        ({"text": "C", "status": "timeout", "finish_reason": None}, 0.0, None, "timeout", False, True),
        ({"text": None, "status": "dropped", "finish_reason": None}, 0.0, None, "dropped", False, True),
        ({"text": "C" * 300}, 0.0, "C" * 200, "whole", False, False),
        ({"text": "x", "prompt_id": "c"}, None, None, "scorer_failed: RecursionError", False, False),
    ],
)
def test_every_issued_request_has_a_score(change, expected, reading, how, cut, failed):
    """Failed, cut, empty and wrong ones have 0 and say why; only what we cannot judge has none."""
    (found,) = scored(change)
    assert (found.score, found.reading, found.how, found.cut, found.failed) == (expected, reading, how, cut, failed)
    assert (found.scorer, found.scorer_version, found.request_id) == ("same", 3, "r0")


def test_other_rules_of_normalising_are_another_version(monkeypatch):
    monkeypatch.setattr(score, "VERSION", 4)
    assert scored({"text": "C"})[0].scorer_version == 3 + 4 - 1


def test_only_prompts_with_a_scorer_count():
    """A prompt without a scorer, and one of another set, have no score; options and the question go to the scorer."""
    found = scored({"text": "C", "prompt_id": "free"}, {"text": "C", "prompt_id": "z"}, {"text": "D", "prompt_id": "b"})
    assert [(one.request_id, one.score) for one in found] == [("r2", 1.0)]
    assert json.loads(found[0].parts) == {"options": {"labels": 4}, "prompt": "2?"}
    assert RowScorer(PROMPTS).facts["by_scenario"] == {"exam": {"same": 3}, "": {"same": 3}}


def test_a_rates_warm_up_and_tail_have_no_score():
    """Of an open loop what is due in the window counts, as for every other figure."""
    window = {"text": "C", "concurrency": None, "rate_per_s": 2.0, "window_start_s": 1.0, "window_end_s": 3.0}
    assert [one.request_id for one in scored(*[window] * 5)] == ["r1", "r2"]


def test_without_texts_there_is_no_score():
    """A run that kept no texts is refused: no answer of it is a wrong one."""
    with pytest.raises(InputError, match="kept no texts"):
        scored({"text": None})


def some(run, points=("c0002-r0", "c0004-r0")):
    """A score of each of two answers of some points."""
    return [
        ScoreRecord(point, 0, 0, f"{point}-{i}", f"p{i}", None, "same", 3, float(i), "C", "whole", False, False)
        for point in points
        for i in range(2)
    ]


def test_scores_of_a_run_are_read_with_it(tmp_path):
    """Table and facts come back as they were written, of judged points alone, and go with a copy."""
    run = run_folder_of(tmp_path / "run")
    assert read_run(run).scores is None
    facts = {"run_id": read_run(run).manifest.run_id, "by_scenario": {"": {"same": 3}}, "references_hash": "0f"}
    assert write_scores(run, some(run, ("c0002-r0", "c0099-r0")), facts) == 4
    copy_run(run, tmp_path / "copy")
    for path in (run, tmp_path / "copy"):
        found = read_run(path)
        assert found.scores.facts == facts
        assert [ScoreRecord(**row) for row in found.scores.table.to_pylist()] == some(run, ("c0002-r0",))
        assert found.damage == ()


def _torn(path, data):
    path.write_bytes(data[:-40] + bytes(40))


def _of_another(path, data):
    write_scores(path.parent, [], {"run_id": "another"})


def _impossible(path, data):
    run_id = read_run(path.parent).manifest.run_id
    write_scores(path.parent, [one._replace(score=1.5) for one in some(None)], {"run_id": run_id})


@pytest.mark.parametrize("spoil", [_torn, _of_another, _impossible])
def test_scores_that_cannot_be_used_are_said(tmp_path, spoil):
    """Damaged, of another run, or impossible: the run is read without them, and says so."""
    run = run_folder_of(tmp_path / "run")
    write_scores(run, some(run), {"run_id": read_run(run).manifest.run_id})
    spoil(run / "scores.parquet", (run / "scores.parquet").read_bytes())
    found = read_run(run)
    assert found.scores is None
    assert len(found.damage) == 1
    assert "`benchsuite score` makes them again" in found.damage[0]
    assert at_schema(SCHEMA, [found.table]).num_rows == 48
