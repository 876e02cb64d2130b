"""The native JSONL format, the content hash and `take`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.errors import WorkloadError
from benchsuite.strict_model import MISTAKES_SHOWN
from benchsuite.workload.dataset import Prompt, Workload, make_workload, take, to_jsonl
from benchsuite.workload.formats import parse_workload

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
FILLED = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
SPOKEN = FILLED.filter(str.strip)
MESSAGE = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["system", "developer", "user", "assistant"]),
    TEXT,
)


SCORED = [
    ("B", "choice"),
    ("F", {"name": "choice", "labels": "ABCDEF"}),
    (["stroke", ["MI", "infarction"]], "contains"),
    (3.5, {"name": "numeric", "abs_tol": 0.1}),
    ({"schema": {"type": "object"}, "reference": {"age": 3, "drugs": []}}, "json"),
]


@st.composite
def prompts(draw: st.DrawFn, prompt_id: str) -> Prompt:
    """Any valid prompt called prompt_id."""
    chat = draw(st.booleans())
    reference, scorer = draw(st.tuples(st.none() | FILLED, st.none()) | st.sampled_from(SCORED))
    return Prompt(
        prompt_id=prompt_id,
        scenario=draw(st.none() | FILLED),
        messages=(*draw(st.lists(MESSAGE, max_size=3)), {"role": "user", "content": draw(SPOKEN)}) if chat else None,
        prompt=None if chat else draw(SPOKEN),
        max_output_tokens=draw(st.none() | st.integers(1, 100_000)),
        reference=reference,
        scorer=scorer,
        at_s=draw(st.none() | st.floats(0, 1e9).map(lambda x: x + 0.0)),
        tags=tuple(draw(st.lists(FILLED, max_size=2))),
        extra_body=draw(st.dictionaries(st.sampled_from(["temperature", "stop", "vendor"]), TEXT, max_size=2)),
    )


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Any valid workload."""
    ids = draw(st.lists(FILLED, min_size=1, max_size=4, unique=True))
    return make_workload("any", [draw(prompts(name)) for name in ids])


def simple(*ids: str) -> Workload:
    """Prompts of one word each."""
    return make_workload("simple", [Prompt(name, None, None, "hi", None) for name in ids])


@given(workloads())
def test_round_trip(workload: Workload) -> None:
    """Writing a workload and reading it again gives the same workload, hash included."""
    assert workload == parse_workload("\n".join(to_jsonl(workload.prompts)), where="any")


def test_canonical_line() -> None:
    """A line has the keys in one order, readable Chinese, and nothing that is empty, and the hash is of these bytes."""
    prompt = Prompt(
        "a", "triage", ({"content": "头痛", "role": "user"},), None, 16, "B", "choice", at_s=0.5, tags=("zh",)
    )

    assert list(to_jsonl([prompt])) == [
        '{"id": "a", "scenario": "triage", "messages": [{"role": "user", "content": "头痛"}], '
        '"max_output_tokens": 16, "reference": "B", "scorer": "choice", "at_s": 0.5, "tags": ["zh"]}'
    ]
    assert list(to_jsonl(simple("a").prompts)) == ['{"id": "a", "prompt": "hi"}']
    # printf '{"id": "a", "prompt": "hi"}\n' | sha256sum
    assert simple("a").content_hash == "165d516f82438be7e9c7382af5c1da6b7052198e8779db0f00139f14a4c8cae3"


def test_defaults() -> None:
    """What is left out or null is None, blank lines are skipped, and an id is made from the line number."""
    workload = parse_workload('\n{"prompt": "hi", "reference": null}\n  \n', where="set.jsonl")

    assert (Prompt("line-2", None, None, "hi", None),) == workload.prompts
    assert workload.name == "set.jsonl"
    assert parse_workload('{"prompt": "hi"}', where="set.jsonl", name="mine").name == "mine"


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("{", "not valid JSON: Expecting property name"),
        ("[" * 100_000, "not valid JSON: nested too deeply"),
        (r'{"prompt": "\ud800"}', "not valid JSON: half of a surrogate pair"),
        ('{"prompt": "a", "max_output_tokens": ' + "9" * 6000 + "}", "not valid JSON: Exceeds the limit"),
        ("[]", "a list is not a request"),
        ('{"prompt": "a", "max_tokenz": 3}', "max_tokenz: unknown key; did you mean 'max_tokens'?"),
        ('{"prompt": "a", "messages": [{"role": "user", "content": "b"}]}', "messages and prompt differ"),
        ('{"id": "a"}', "no text of a request in it; it has id"),
        ('{"prompt": ""}', "prompt:"),
        ('{"messages": []}', "messages:"),
        ('{"messages": ["a"]}', "messages.0:"),
        ('{"messages": [{"role": "boss", "content": "a"}]}', "messages.0.role:"),
        ('{"messages": [{"role": ["user"], "content": "a"}]}', "messages.0.role:"),
        ('{"messages": [{"role": "user", "content": 3}]}', "messages.0.content:"),
        ('{"messages": [{"role": "user"}]}', "messages.0.content: required but missing"),
        ('{"messages": [{"role": "user", "content": ""}]}', "messages: all are empty"),
        ('{"prompt": "a", "id": ["3"]}', "id:"),
        ('{"prompt": "a", "id": "' + "x" * 257 + '"}', "id:"),
        ('{"prompt": "a", "max_output_tokens": -1}', "max_output_tokens:"),
        ('{"prompt": "a", "max_output_tokens": 1.5}', "max_output_tokens:"),
        ('{"prompt": "a", "max_output_tokens": true}', "max_output_tokens:"),
        ('{"prompt": "a", "at_s": -0.1}', "at_s:"),
        ('{"prompt": "a", "at_s": Infinity}', "at_s:"),
        ('{"prompt": "a", "at_s": "soon"}', "at_s:"),
        ('{"prompt": "a", "at_s": 1' + "0" * 400 + "}", "at_s:"),
        ('{"prompt": "a", "tags": "en"}', "tags:"),
        ('{"id": "first", "prompt": "a"}', "id: 'first' is used before, on line 1"),
    ],
)
def test_mistakes(line: str, mistake: str) -> None:
    """Every mistake is named with the file, the line and the key."""
    with pytest.raises(WorkloadError) as caught:
        parse_workload('{"id": "first", "prompt": "a"}\n' + line, where="set.jsonl")

    (header, found) = caught.value.what.split("\n")
    assert header.startswith("the request set has 1 mistake")
    assert found.strip().startswith(f"line 2: {mistake}")
    assert caught.value.where == "set.jsonl:2"
    assert caught.value.expected is not None


def test_all_mistakes_at_once() -> None:
    """A set with several mistakes names them all, of one line and of several, up to a screenful."""
    bad = '{"prompt": ""}'
    with pytest.raises(WorkloadError) as caught:
        parse_workload(f'{{"prompt": "a"}}\n{bad}\n[]', where="set.jsonl")
    with pytest.raises(WorkloadError) as many:
        parse_workload("{}\n" + "[]\n" * 100, where="set.jsonl", skip_bad=1)

    lines = [line.split(": ")[0].strip() for line in caught.value.what.split("\n")[1:]]
    assert lines == ["line 2", "line 3"]
    assert caught.value.where == "set.jsonl:2"
    assert len(many.value.what.split("\n")) == MISTAKES_SHOWN + 2


def test_empty_set() -> None:
    """A set without any prompt is refused."""
    with pytest.raises(WorkloadError, match="the workload is empty"):
        parse_workload("\n\n", where="set.jsonl")


def test_take() -> None:
    """take gives the first n, and starts the set again under distinct ids when n is larger."""
    workload = simple("a", "b", "c")

    assert workload is take(workload, 3)
    assert [p.prompt_id for p in take(workload, 2).prompts] == ["a", "b"]
    assert [p.prompt_id for p in take(workload, 7).prompts] == ["a", "b", "c", "a#2", "b#2", "c#2", "a#3"]
    assert take(workload, 2).content_hash == simple("a", "b").content_hash


def test_take_keeps_ids_distinct() -> None:
    """Copies do not collide with prompts that already look like copies."""
    assert [p.prompt_id for p in take(simple("a", "a#2"), 4).prompts] == ["a", "a#2", "a##2", "a#2##2"]


def test_take_forgets_arrivals_of_copies() -> None:
    """A copy of a traced prompt has no arrival time."""
    workload = parse_workload(json.dumps({"prompt": "hi", "at_s": 3}), where="trace")

    assert [p.at_s for p in take(workload, 2).prompts] == [3.0, None]
