"""Whatever a file holds, an importer returns points or raises PointsError that names the file: nothing else."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.errors import PointsError
from benchsuite.importers import aiperf, guidellm, vllm_bench
from benchsuite.importers.imported_run import imported_run, with_levels
from benchsuite.level import Level
from tests.importers.files_for_tests import AIPERF, GUIDELLM, VLLM

TREES = {
    vllm_bench.parse: [json.loads(VLLM.read_text("utf-8"))],
    guidellm.parse: [json.loads(GUIDELLM.read_text("utf-8"))],
    aiperf.parse: [json.loads(line) for line in AIPERF.read_text("utf-8").splitlines()],
}
HOSTILE = [None, True, -1, 0, 1.5, 10**400, 2**63, "", "x", [], [None], [[]], {}, {"value": None}, {"type_": 3}]
PARSERS = [vllm_bench.parse, guidellm.parse, aiperf.parse]


def check(parse: Any, text: str) -> None:
    try:
        points = parse(text, where="theirs.json")
        imported_run(with_levels([p for p in points if p.level is None], [Level(8)]) or points, "tool", (), run_id="r")
    except PointsError as error:
        assert "theirs.json" in str(error)  # noqa: PT017


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.text())
def test_any_text(parse, text):
    """Random text."""
    check(parse, text)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("text", ["NaN", "[" * 100_000, "null", "1e999", '"x"', "{", '{"metadata": NaN}', "9" * 5000])
def test_nasty_json(parse, text):
    """Constants that are no JSON, depth, numbers without end."""
    check(parse, text)


@pytest.mark.parametrize(("parse", "tree", "key"), [
    (guidellm.parse, {"benchmarks": [{}] * 5000}, "benchmarks.0"),
    (guidellm.parse, {"benchmarks": [{"config": {"strategy": {"type_": "x"}}, "requests": {"errored": [1] * 5000}}]},
     "benchmarks.0.requests.errored.0"),
    (vllm_bench.parse, TREES[vllm_bench.parse][0] | {"itls": [["x"] * 5000]}, "itls.0.0"),
    (vllm_bench.parse, TREES[vllm_bench.parse][0] | {"latencies": ["x"] * 5000}, "latencies.0"),
])  # fmt: skip
def test_the_first_of_thousands_of_mistakes(parse, tree, key):
    """One of each of millions of items would take more memory than there is."""
    with pytest.raises(PointsError, match=f"has 1 mistake:\n    {key}"):
        parse(json.dumps(tree), where="theirs.json")


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("depth", [400, 700, 950])
def test_depth_that_json_takes(parse, depth):
    """Nested less deeply than the JSON reader refuses, in a value and as the whole."""
    for nest in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        check(parse, nest)
        for tree in TREES[parse]:
            for key in tree:
                check(parse, json.dumps(tree | {key: "@"}).replace('"@"', nest))


@pytest.mark.parametrize("parse", PARSERS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_value_anywhere(parse, data):
    """A real file with one value, anywhere in it, replaced or taken out."""
    trees = copy.deepcopy(TREES[parse])
    node: Any = data.draw(st.sampled_from(trees))
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(keys))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 3)) == 0:
            break
        node = inner
    if data.draw(st.booleans()):
        node[key] = data.draw(st.sampled_from(HOSTILE))
    else:
        del node[key]

    check(parse, "\n".join(json.dumps(tree) for tree in trees))
