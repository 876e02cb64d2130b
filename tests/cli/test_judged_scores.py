"""`score --judge-url`: a judge's rows beside the others, its control and bill in the open, and no ranking by one that
cannot tell."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from fakes.judge import FakeJudge

from benchsuite.quality.choice import choice
from benchsuite.quality.score import SCORERS
from benchsuite.simulator.config import PlantedAnswers, SimulatorConfig
from benchsuite.simulator.server import simulator

N = 24
LETTERS = "ABCD"


def is_right(told, answer="answer"):
    return choice(told[answer], told["reference"], {"labels": LETTERS}, "").score == 1.0


def honest(told):
    return int(is_right(told))


@pytest.fixture(scope="module")
def made(tmp_path_factory, cli):
    """A sweep of 24 questions at two levels, a quarter of whose answers is wrong; and a rubric."""
    root = tmp_path_factory.mktemp("judged")
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "reference": LETTERS[i % 4],
         "scorer": {"name": "choice", "labels": LETTERS}, "max_output_tokens": 64}
        for i in range(N)
    ]  # fmt: skip
    (root / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "rubric.md").write_text("Chooses the right letter.")
    planted = PlantedAnswers(workload=str(root / "set.jsonl"), error_rate=0.25, seed=7)
    with simulator(SimulatorConfig(answers=planted, model="qwen-sim")) as running:
        asked = f"--base-url {running.base_url} --workload {root / 'set.jsonl'} --concurrency 2,4 --quiet"
        for name in ("run", "other"):
            assert cli(f"sweep {asked} --output", root / name).code in (0, 3, 6)
    return root


def of(made):
    return f"--workload {made / 'set.jsonl'}"


def test_a_judge_beside_a_scorer(made, cli):
    """Its rows lie beside those of choice, whose scores stay the level's; they outlive a scoring without it."""
    with FakeJudge(honest) as fake:
        flags = f"{of(made)} --judge-url {fake.base_url} --judge-model qwen-max --judge-rubric {made / 'rubric.md'}"
        done = cli("score", made / "run", f"{flags} --judge-usd-per-1m-input 1 --judge-usd-per-1m-output 10")
        tree = cli.data("score", made / "run", "--workload", made / "set.jsonl", "--json")
        assert cli("score", made / "run", flags).code == 0
        n_asked = len(fake.asked)
        assert n_asked == tree["judge"]["asked"]
    assert done.code == 0
    assert f"{100 * n_asked:,} + {10 * n_asked:,} tokens" in done.out
    assert "no part of the serving cost" in done.out
    assert "corrected for the judge's errors 75.0 %" in done.out.replace("\n ", "")
    assert "same family" in done.out
    assert [level["scorers"] for level in tree["scores"]] == [{"choice": SCORERS["choice"].version}] * 2
    assert [level["score"]["value"] for level in tree["scores"]] == [0.75, 0.75]
    assert [level["corrected"]["value"] for level in tree["judge"]["levels"]] == [0.75, 0.75]
    table = pq.read_table(made / "run" / "scores.parquet")
    assert table["scorer"].value_counts().to_pylist() == [
        {"values": "choice", "counts": 2 * N}, {"values": "judge", "counts": 2 * N},
    ]  # fmt: skip
    assert "sensitivity 100 %" in cli("check", made / "run", "--quality").out
    assert cli("report", made / "run").code == 0
    assert "sensitivity 100 %" in (made / "run" / "report.html").read_text().replace("\u00a0", " ")


def test_a_judge_that_cannot_tell_ranks_nothing(made, cli):
    """Where all scores are of such a judge, they are partial: no change with load, and an error that says so."""
    rows = [json.loads(line) for line in (made / "set.jsonl").read_text().splitlines()]
    rows = [row | {"scorer": {"name": "judge", "rubric": "Right letter."}} for row in rows]
    judged = made / "judged.jsonl"
    judged.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with FakeJudge(lambda _: 1) as fake:
        flags = f"--workload {judged} --judge-url {fake.base_url} --judge-model yes"
        tree = cli.data("score", made / "other", flags, "--json")
    assert [level["partial"] for level in tree["scores"]] == [True, True]
    assert [level["change"] for level in tree["scores"]] == [None, None]
    assert tree["judge"]["control"]["can_tell"] is False
    found = cli.data("check", made / "other", "--json")
    assert {row["severity"] for row in found if row["code"] == "judge_cannot_tell"} == {"error"}
    assert "quality_partial" not in {row["code"] for row in found}
    assert "its judge cannot tell" in cli("frontier", made / "other", "--usd-per-hour", "1").error.given
    done = cli("decide", made / "other", "--slo", "score>=0.1")
    assert (done.code, "score>=0.1 unknown" in done.out.replace("\n  ", " ")) == (6, True)
    with FakeJudge(honest) as fake:
        tree = cli.data(
            "score", made / "other", f"--workload {judged} --judge-url {fake.base_url} --judge-model J --json"
        )
    assert [(level["partial"], level["score"]["value"], level["graded"]) for level in tree["scores"]] == [
        (False, 0.75, False)
    ] * 2


def test_two_runs(made, cli):
    """The same answers are ties, and nothing of the run changes."""

    def better(told):
        right = [is_right(told, place) for place in ("first", "second")]
        return "tie" if right[0] == right[1] else "first" if right[0] else "second"

    before = (made / "run" / "scores.parquet").read_bytes()
    with FakeJudge(better) as fake:
        flags = f"{of(made)} --judge-url {fake.base_url} --judge-model J --judge-rubric {made / 'rubric.md'} --against"
        done = cli("score", made / "run", flags, made / "other")
        tree = cli.data("score", made / "run", "--json", flags, made / "other")
    assert done.code == 0
    assert "50.0 %" in done.out
    assert (tree["wins"], tree["losses"], tree["ties"]) == (0, 0, N)
    assert (made / "run" / "scores.parquet").read_bytes() == before


def test_a_judge_beside_a_scorer_that_says_nothing(made, cli):
    """Its scores are partial, and say so; those of the scorer stay what they are."""
    with FakeJudge(lambda _: "hm") as fake:
        flags = f"{of(made)} --judge-url {fake.base_url} --judge-model J2 --judge-rubric {made / 'rubric.md'}"
        done, tree = cli("score", made / "run", flags), cli.data("score", made / "run", flags, "--json")
    assert f"{2 * N} of {2 * N} have no verdict" in done.out.replace("\n", " ")
    assert [(level["partial"], level["score"]["value"]) for level in tree["scores"]] == [(False, 0.75)] * 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--judge-url http://h", "a judge is a server and its model"),
        ("--judge-model m", "a judge is a server and its model"),
        ("--judge-rubric x.md", "no judge is named"),
        ("--judge-usd-per-1m-input 1", "no judge is named"),
        ("--against other", "a comparison is a judge's"),
        ("--judge-url h --judge-model m", "not the URL of a judge"),
    ],
)
def test_half_a_judge_is_refused(made, cli, flags, words):
    """With what is missing, before anything is asked."""
    ended = cli("score", made / "run", flags)
    assert (ended.code, ended.error.what) == (2, words)


def test_a_folder_of_others(made, cli):
    """Odd facts of a judge in a run folder are no facts: every verb goes on without them."""
    path = made / "run" / "scores.parquet"
    with FakeJudge(honest) as fake:
        flags = f"{of(made)} --judge-url {fake.base_url} --judge-model J --judge-rubric {made / 'rubric.md'}"
        assert cli("score", made / "run", flags).code == 0
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"benchsuite.scores"])
    for odd in (3, [], {}, {"model": "x"}, facts["judge"] | {"control": 3}, facts["judge"] | {"levels": [1]}):
        metadata = table.schema.metadata | {b"benchsuite.scores": json.dumps(facts | {"judge": odd}).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), path)
        assert cli("check", made / "run", "--quality").code == 0
