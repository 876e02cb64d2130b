"""References and scorers of request sets: what is read, what is refused, and what each hash holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from benchsuite.errors import WorkloadError
from benchsuite.workload.dataset import Prompt, contents, make_workload, take, to_jsonl
from benchsuite.workload.formats import parse_workload


def jl(*rows: Any) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def read(*rows: Any) -> list[tuple[Any, Any]]:
    """Reference and scorer of each row."""
    return [(p.reference, p.scorer) for p in parse_workload(jl(*rows), where="set.jsonl").prompts]


def test_any_json_that_the_scorer_takes() -> None:
    """A reference stays what it is: a text, a number, a list, an object; a scorer is a name or a table."""
    rows = [
        ("B", "choice"),
        (["A", "C"], {"name": "choices", "partial": "jaccard"}),
        (3.5, {"name": "numeric", "abs_tol": 0.1}),
        (["stroke", ["MI", "infarction"]], "contains"),
        ({"schema": {"type": "object"}, "reference": {"age": 3}}, "json"),
    ]

    assert read(*({"prompt": "Which?", "reference": one, "scorer": scorer} for one, scorer in rows)) == rows


def test_without_a_scorer_nothing_is_scored() -> None:
    """A reference without a scorer is a text, the first of several, and no part of what is scored."""
    workload = parse_workload(jl({"prompt": "a", "reference": ["x", "y"]}, {"prompt": "b", "reference": 3}), where="w")

    assert [(p.reference, p.scorer) for p in workload.prompts] == [("x", None), ("3", None)]
    assert workload.references_hash is None


@pytest.mark.parametrize(
    ("options", "labels"),
    [(["x", "y", "z"], "ABC"), ({"A": "x", "B": "y"}, "AB"), ([str(k) for k in range(10)], "ABCDEFGHIJ")],
)
def test_options_give_the_labels(options: Any, labels: str) -> None:
    """The options of a row, a list of texts or a table by label, are the labels that a choice may be."""
    row = {"prompt": "Which?", "options": options, "reference": "B", "scorer": "choice"}

    assert read(row) == [("B", {"name": "choice", "labels": labels})]
    assert read(row | {"options": None, "scorer": {"name": "choice", "labels": "AB"}})[0][1]["labels"] == "AB"


def test_options_of_a_server_are_settings() -> None:
    """A table of options that are no labels stays what Ollama takes it for: settings of the request."""
    (prompt,) = parse_workload(jl({"prompt": "Hi", "options": {"temperature": 0}}), where="set.jsonl").prompts

    assert prompt.extra_body == {"temperature": 0}


def test_what_is_refused() -> None:
    """Unknown scorers, and references that a scorer cannot use, are named with their lines, all at once."""
    rows = [
        {"prompt": "a", "reference": "B", "scorer": "choise"},
        {"prompt": "b", "reference": "F", "scorer": "choice", "options": ["x", "y"]},
        {"prompt": "c", "reference": "B", "scorer": "choice"},
        {"prompt": "d", "reference": "B", "scorer": {"labels": "AB"}},
        {"prompt": "e", "reference": "two", "scorer": "numeric"},
        {"prompt": "f", "scorer": "exact"},
    ]
    with pytest.raises(WorkloadError) as caught:
        parse_workload(jl(*rows), where="set.jsonl")
    text = str(caught.value)

    assert "has 5 mistakes" in text
    assert "line 1: scorer: 'choise' is none of" in text
    assert "did you mean 'choice'?" in text
    assert "line 2: reference for the scorer choice: " in text
    assert "line 4: scorer: expected a name, or a table with a name and options" in text
    assert "line 5: reference for the scorer numeric: " in text
    assert "line 6: reference for the scorer exact: " in text


def test_cells_of_a_table() -> None:
    """In a table of texts a cell may hold the JSON of a reference or a scorer."""
    text = """prompt;reference;scorer
2+2?;4;"{""name"": ""numeric"", ""abs_tol"": 0.1}"
Which?;"[""A"", ""C""]";choices
Say 4;4;exact
"""
    prompts = parse_workload(text, where="set.csv").prompts

    assert [p.scorer for p in prompts] == [{"name": "numeric", "abs_tol": 0.1}, "choices", "exact"]
    assert prompts[1].reference in (["A", "C"], "AC")
    assert prompts[2].reference == "4"


def test_hashes_are_apart() -> None:
    """The set's hash is of what is sent; references and scorers have their own, None where nothing is scored."""
    bare = Prompt("a", prompt="hi")
    scored = replace(bare, reference="B", scorer="choice")
    sets = [make_workload("w", prompts) for prompts in ([bare], [scored], [replace(scored, reference="C")])]
    line = json.dumps(["a", "B", "choice"]) + "\n"

    assert {one.content_hash for one in sets} == {sets[0].content_hash}
    assert [one.references_hash for one in sets[:2]] == [None, hashlib.sha256(line.encode()).hexdigest()]
    assert sets[1].references_hash != sets[2].references_hash
    assert make_workload("w", [replace(scored, scorer="exact")]).references_hash != sets[1].references_hash
    unscored = make_workload("w", [replace(bare, reference="B")])
    assert (unscored.content_hash, unscored.references_hash) == (sets[0].content_hash, None)
    assert take(sets[1], 1).references_hash == sets[1].references_hash


def test_contents_say_what_is_scored() -> None:
    """How many are scored, by scorer; and an empty object is a reference too."""
    prompts = [
        Prompt("a", prompt="hi", reference="B", scorer="choice"),
        Prompt("b", prompt="hi", reference="C", scorer={"name": "choice", "labels": "ABC"}),
        Prompt("c", prompt="hi", reference={}, scorer="json"),
        Prompt("d", prompt="hi", reference="x"),
    ]
    found = contents(prompts)

    assert {key: n for key, n in found.items() if key.startswith("scored")} == {
        "scored by choice": 2,
        "scored by json": 1,
    }
    assert found["reference"] == 4
    assert [json.loads(line).get("reference") for line in to_jsonl(prompts)] == ["B", "C", {}, "x"]
