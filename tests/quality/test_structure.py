"""JSON answers: four verdicts, none of which is another; schemas and answers that would take forever."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.quality.normalise import answer_of
from benchsuite.quality.score import SCORERS
from benchsuite.quality.structure import MOST_CHARS, MOST_DEPTH

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"age": {"type": "integer"}, "sex": {"enum": ["男", "女"]}},
    "required": ["age"],
}
RIGHT = {"age": 64, "sex": "男"}
BOTH = {"schema": SCHEMA, "reference": RIGHT}


def scored(answer, reference, **options):
    SCORERS["json"].check(reference, options)
    return SCORERS["json"].score(answer_of(answer)[0], reference, options, "")


def verdicts(found):
    return tuple(found.parts[name] for name in ("parses", "valid", "fields", "exact"))


@pytest.mark.parametrize(("answer", "expected", "how"), [
    ('{"age": 64, "sex": "男"}', (True, True, 1, True), "whole"),
    ('{"age": 64, "sex": "女"}', (True, True, 0.5, False), "whole"),
    ('{"age": "64", "sex": "男"}', (True, False, 0.5, False), "whole"), ("{ }", (True, False, 0, False), "whole"),
    ('```json\n{"age": 64, "sex": "男"}\n```', (True, True, 1, True), "fenced"),
    ('Here it is:\n```\n{"sex": "男", "age": 64}\n```\nAnything else?', (True, True, 1, True), "fenced"),
    ('```json {"age": 64} ```', (True, True, 0.5, False), "fenced"),
    # what does not parse: two blocks, text around it, a key twice, NaN, a number no double holds, a comment, half of it
    ('```\n{"age": 64}\n```\n```\n{"age": 64}\n```', (False, False, 0, False), "unread"),
    ('{"age": 64} is the answer', (False, False, 0, False), "unread"),
    ('Answer: {"age": 64}', (False, False, 0, False), "unread"),
    ('{"age": 64, "age": 64}', (False, False, 0, False), "unread"),
    ('{"age": NaN}', (False, False, 0, False), "unread"),
    ('{"age": 1e999}', (False, False, 0, False), "unread"), ("{'age': 64}", (False, False, 0, False), "unread"),
    ('{"age": 64,}', (False, False, 0, False), "unread"), ('{"age": 64, "sex": "', (False, False, 0, False), "unread"),
    ("", (False, False, 0, False), "unread"), ("[" * 100_000, (False, False, 0, False), "unread"),
])  # fmt: skip
def test_four_verdicts(answer, expected, how):
    """It parses, is valid, has right fields, is exact: each on its own; the score is the share of fields."""
    found = scored(answer, BOTH)
    assert (verdicts(found), found.how) == (expected, how)
    assert found.score == expected[2]
    assert (found.parts["problem"] is None) == bool(expected[1])


def test_the_score_without_a_reference():
    """Then it is `valid`, and fields and exact are missing; without a schema `valid` is."""
    found = scored("{}", {"schema": SCHEMA})
    assert (found.score, verdicts(found)) == (0, (True, False, None, None))
    assert found.parts["problem"] == "$: 'age' is a required property"
    assert scored('{"age": 1}', {"schema": SCHEMA}).score == 1
    assert verdicts(scored('{"age": 64}', {"reference": RIGHT})) == (True, None, 0.5, False)


def test_strict():
    """With strict, as an option or in the reference, all leaves or nothing."""
    for reference, options in ((BOTH, {"strict": True}), (BOTH | {"strict": True}, {})):
        assert scored('{"age": 64, "sex": "女"}', reference, **options).score == 0
        assert scored('{"age": 64, "sex": "男"}', reference, **options).score == 1


@pytest.mark.parametrize(("answer", "reference", "fields", "exact"), [
    # arrays are multisets
    ([3, 1, 2], [1, 2, 3], 1, True), ([3, 1, 2, 4], [1, 2, 3], 1, False), ([1, 1], [1, 2], 0.5, False),
    ([], [1], 0, False),
    ([{"n": "b", "x": 2}, {"n": "a", "x": 1}], [{"n": "a", "x": 1}, {"n": "b", "x": 2}], 1, True),
    # an item's fields belong together: two doses exchanged are two wrong leaves of four
    ([{"n": "a", "x": 2}, {"n": "b", "x": 1}], [{"n": "a", "x": 1}, {"n": "b", "x": 2}], 0.5, False),
    # the best pairing, not the first: 3 of 4
    ([{"n": "a", "x": 2}, {"n": "a", "x": 1}], [{"n": "a", "x": 1}, {"n": "b", "x": 2}], 0.75, False),
    ([[1, 2], [3]], [[3], [2, 1]], 1, True), ([[1, 2], [3]], [[3, 4], [1, 2]], 0.75, False),
    # kinds
    ({"a": 1.0, "b": True, "c": None, "d": [], "e": {}}, {"a": 1, "b": True, "c": None, "d": [], "e": {}}, 1, True),
    ({"a": True, "b": 1}, {"a": 1, "b": True}, 0, False), ({"a": "5"}, {"a": 5}, 0, False),
    ({"a": [1]}, {"a": []}, 0, False),
    ({"a": "ＡＢ "}, {"a": "AB"}, 1, True), ({"a": "ab"}, {"a": "AB"}, 0, False),
    ({"阳性（+）": 1}, {"阳性(+)": 1}, 1, True),
    # keys beyond the reference's are the schema's business
    ({"a": 1, "b": 2}, {"a": 1}, 1, True), ({"b": 2}, {"a": 1}, 0, False), (5, 5, 1, True),
    ({"a": {"b": 1}}, {"a": 1}, 0, False),
])  # fmt: skip
def test_fields(answer, reference, fields, exact):
    """The share of the reference's leaves; exact where all are right and no array has more."""
    found = scored(json.dumps(answer), {"reference": reference})
    assert (found.parts["fields"], found.parts["exact"]) == (fields, exact)


@pytest.mark.parametrize(("schema", "answer", "valid"), [
    ({"uniqueItems": True}, [1, 1.0], False), ({"uniqueItems": True}, [1, True, "1"], True),
    ({"uniqueItems": True}, [[1, 2], [2, 1]], True),
    ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
    ({"format": "date"}, "no date", True), (True, 1, True), (False, 1, False),
    ({"pattern": "^（.）$"}, "（甲）", True), ({"pattern": "^（.）$"}, "甲", False),
    ({"pattern": r"^[\u4e00-\u9fa5]+$"}, "肺炎", True),
    ({"pattern": "^(a+)+$"}, "a" * 50 + "b", False), ({"pattern": "^a"}, 5, True), ({"pattern": "a"}, "\ud800", False),
    ({"properties": {"血（g）": {"enum": ["（+）"]}}, "additionalProperties": False}, {"血（g）": "（+）"}, True),
    ({"$defs": {"x": {"type": "string"}}, "items": {"$ref": "#/$defs/x"}}, [1], False),
    ({"type": ["object", "integer"], "properties": {"a": {"$ref": "#"}}}, {"a": {"a": {"a": "x"}}}, False),
    ({"properties": {"$ref": {"type": "string"}}}, {"$ref": "http://x"}, True),
])  # fmt: skip
def test_validity(schema, answer, valid):
    """What we run ourselves (patterns, equal items) and what we hand over: as JSON Schema 2020-12 has it."""
    assert scored(json.dumps(answer), {"schema": schema}).parts["valid"] is valid


def chain(n):
    """A schema of n definitions, each of which applies the next one twice: 2 ** n steps."""
    names = [f"d{i}" for i in range(n)]
    double = {name: {"allOf": [{"$ref": f"#/$defs/{after}"}] * 2} for name, after in itertools.pairwise(names)}
    return {"$defs": {**double, names[-1]: {}}, "$ref": "#/$defs/d0"}


def nested(n, key=None):
    value = 1
    for _ in range(n):
        value = [value] if key is None else {key: value}
    return value


@pytest.mark.parametrize(("reference", "options", "words"), [
    (5, {}, 'expected {"schema": ..., "reference": ...}'), ({}, {}, "or one of them"),
    ({"schema": None}, {}, "or one of them"),
    ({"schema": {}, "referense": 1}, {}, "did you mean 'reference'?"),
    ({"reference": 1}, {"stict": True}, "did you mean 'strict'?"),
    ({"schema": {}, "strict": True}, {}, "strict needs a reference"),
    ({"reference": 1, "strict": 1}, {}, "true or false"),
    ({"reference": list(range(20_000))}, {}, "20,000 values"),
    ({"reference": nested(100)}, {}, f"deeper than {MOST_DEPTH}"),
    ({"schema": {"type": "objekt"}}, {}, "$.type: 'objekt'"), ({"schema": 5}, {}, "none of JSON Schema"),
    ({"schema": {"$ref": "http://x/y"}}, {}, "'http://x/y'; expected a place in itself"),
    ({"schema": {"$ref": "other.json"}}, {}, "expected a place in itself"),
    ({"schema": {"$ref": "#/nowhere"}}, {}, "is not in it"),
    ({"schema": {"x": {"pattern": "("}, "$ref": "#/x"}}, {}, "no schema of its own"),
    ({"schema": {"$ref": "#"}}, {}, "refers to itself"),
    ({"schema": {"allOf": [{"$ref": "#"}]}}, {}, "refers to itself"),
    ({"schema": chain(40)}, {}, "too often"), ({"schema": {"items": {"pattern": "(?=a)"}}}, {}, "none of RE2"),
    ({"schema": {"pattern": r"(a)\1"}}, {}, "none of RE2"),
    ({"schema": {"patternProperties": {"^(a+)+$": {}}}}, {}, "patternProp"),
    ({"schema": {"items": {"$id": "http://x", "type": "string"}}}, {}, "$id, which is not supported"),
    ({"schema": {"not": {"unevaluatedItems": False}}}, {}, "unevaluatedItems, which is not supported"),
    ({"schema": {"enum": list(range(3000))}}, {}, "3,001 values"),
    ({"schema": nested(100, "not")}, {}, "nested deeper"),
    ({"schema": {"pattern": "a{1,1000}" * 30}}, {}, "patterns have 30,000 characters, with"),
    ({"schema": {"anyOf": [{"pattern": r"([a-z]\{\d{2}){0,900}"}, {"pattern": "x" * 501}]}}, {}, "5,001 characters"),
])  # fmt: skip
def test_what_is_refused(reference, options, words):
    """A reference or schema that cannot be used, or not in bounded time, is said in words."""
    with pytest.raises(ValueError, match=re.escape(words)):
        SCORERS["json"].check(reference, options)


def test_what_takes_too_many_steps_is_not_valid():
    """An answer on which a schema doubles its work at each level, or that is too long, or nested too deeply."""
    doubling = {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}
    found = scored(json.dumps(nested(60, "a")), {"schema": doubling})
    assert (found.score, found.parts["parses"], found.parts["problem"]) == (
        0,
        True,
        "more than 100,000 steps of validation",
    )
    costly = {"items": {"pattern": "^(a{1,99}){1,9}$"}}  # 902 characters: 90 steps each
    assert scored(json.dumps(["a"] * 900), {"schema": costly}).score == 1
    found = scored(json.dumps(["a"] * 1_200), {"schema": costly})
    assert found.parts["problem"] == "more than 100,000 steps of validation"
    around = {"properties": {"a": {"$ref": "#/properties/b"}, "b": {"$ref": "#/properties/a"}}}
    assert scored('{"a": 1}', {"schema": around}).parts["problem"] == "nested too deeply for the schema"
    assert scored(json.dumps(nested(MOST_DEPTH + 1)), {"schema": {}}).how == "unread"
    assert scored(json.dumps(nested(MOST_DEPTH)), {"schema": {}}).score == 1
    assert scored("[" + "1," * MOST_CHARS + "1]", {"schema": {}}).how == "unread"


def test_what_is_said_of_an_answer_can_be_written():
    """Half of a surrogate pair, as a key in escapes, is in no text that UTF-8 cannot hold."""
    found = scored('{"\\ud800": "x"}', {"schema": {"additionalProperties": {"type": "integer"}}})
    assert not found.parts["valid"]
    assert json.dumps(found.parts, ensure_ascii=False).encode()


def test_beyond_the_bound_items_are_right_as_a_whole():
    """Where pairing would take too long an item of an array has all its leaves right, or none."""
    right = [{"a": i, "b": -i} for i in range(1000)]
    given = [right[0], *({"a": i, "b": 0} for i in range(1, 1000))]
    assert scored(json.dumps(given[:100]), {"reference": right[:100]}).parts["fields"] == (2 + 99) / 200
    assert scored(json.dumps(given), {"reference": right}).parts["fields"] == 2 / 2000


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", "肺炎", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
).filter(lambda value: value is not None)


def shuffled(value, random):
    if isinstance(value, dict):
        return {name: shuffled(item, random) for name, item in sorted(value.items(), reverse=True)}
    if isinstance(value, list):
        return random.sample([shuffled(item, random) for item in value], len(value))
    return value


@given(value=VALUES, other=VALUES, random=st.randoms(use_true_random=False))
def test_order_never_matters(value, other, random):
    """The reference in any order is exact, and of another answer the order changes no verdict."""
    found = scored(json.dumps(shuffled(value, random)), {"reference": value})
    assert (found.score, found.parts["exact"]) == (1, True)
    one, two = (scored(json.dumps(answer), {"reference": value}) for answer in (other, shuffled(other, random)))
    assert verdicts(one) == verdicts(two)
    assert 0 <= one.score <= 1
    assert one.parts["exact"] <= (one.score == 1)


@given(st.text(st.sampled_from('{}[]",:0e-. `\n\\ua'), max_size=60))
def test_any_answer_has_a_score(answer):
    """Whatever a model says: a score, verdicts that agree, a short reading."""
    found = scored(answer, BOTH)
    assert 0 <= found.score <= 1
    assert found.parts["parses"] == (found.how != "unread")
    assert found.parts["parses"] or verdicts(found) == (False, False, 0, False)
