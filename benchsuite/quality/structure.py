"""The scorer of JSON answers: does it parse, is it valid, which fields are right, is it exact. Pure.

Bounded whatever the model and the writer of the schema do: lengths, depth, steps of a validation; patterns run in
RE2, which takes linear time (no lookaround, no backreferences; pyarrow has it); keywords that jsonschema would run
through Python's `re`, or again and again, are refused.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from json import loads
from typing import Any, NamedTuple

from benchsuite.errors import did_you_mean
from benchsuite.quality.normalise import answer_of
from benchsuite.quality.text import check_options, shortly
from benchsuite.results import AnswerScore

MOST_CHARS = 200_000  # of an answer, or it does not parse
MOST_DEPTH = 64  # of an answer, a reference, a schema
MOST_LEAVES = 10_000  # of a reference
MOST_SCHEMA_VALUES = 2_000
MOST_STEPS = 100_000  # keywords and members of one validation; beyond, the answer is not valid
MOST_PATTERNS = 5_000  # characters of a schema's patterns, repetitions such as {1,99} written out
MOST_PAIRS = (
    250_000  # leaves of the reference times those of the answer; beyond, arrays' items are right as a whole only
)
_REFUSED = ("patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$id", "$schema")
_MAPS, _LISTS = ("properties", "$defs", "definitions", "dependentSchemas"), ("allOf", "anyOf", "oneOf", "prefixItems")
_ONES = ("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else")
_WHOLE = 1 << 20  # of a leaf, in what `_common` counts: more than there are arrays


def json(answer: str, reference: Any, options: Mapping[str, Any], _prompt_text: str) -> AnswerScore:
    """The share of the reference's leaves that are right (`fields`); without a reference 1 if valid; with strict 1 if
    exact.

    reference: {"schema": ..., "reference": ..., "strict": ...}, one of the first two at least; strict is an option too.
    parts: parses (the whole answer or its only fenced block; not with duplicate keys, NaN, numbers beyond a double, or
    text after it), valid (JSON Schema 2020-12, formats not asserted), fields, exact (all leaves, and no array has more
    items; keys beyond the reference's are the schema's business), problem (the first one); None where schema or
    reference is missing. Leaves are scalars and empty containers; strings are normalised, 1 is 1.0; arrays are
    multisets, their items paired as is best for the answer.
    """
    parts: dict[str, Any] = dict.fromkeys(("valid", "fields", "exact", "problem"))
    schema, known = reference.get("schema"), reference.get("reference")
    how, text, problem = "whole", answer, ""
    forms: dict[Any, int] = {}
    given: _Tree | None = None
    value: Any = None
    try:
        try:
            value = _parse(text)
        except ValueError:
            pieces = answer.split("```")
            if len(pieces) != 3:
                raise
            how, text = "fenced", re.sub(r"\A(?:[\w+-]*[ \t]*\n|json\b)", "", pieces[1], flags=re.I)
            value = _parse(text)
        given = _tree(value, forms)
    except ValueError as error:
        how, problem = "unread", str(error)
    if schema is not None:
        fault = "" if given is None else _invalid(_plain_schema(schema), _plain(value))
        parts["valid"], problem = given is not None and not fault, problem or fault
    if known is not None:
        right = _tree(known, forms)
        equal = 0 if given is None else _common(right, given, right.leaves * given.leaves <= MOST_PAIRS)
        parts["fields"] = equal // _WHOLE / right.leaves
        parts["exact"] = equal == right.leaves * _WHOLE + right.arrays
    parts = {"parses": given is not None, **parts, "problem": problem[:100].encode("utf-8", "replace").decode() or None}
    strict = options.get("strict", reference.get("strict"))
    score = parts["exact"] if strict else parts["valid"] if known is None else parts["fields"]
    return AnswerScore(float(score), "" if given is None else text.strip(), how, parts)


def check_json(reference: Any, options: Mapping[str, Any]) -> None:
    """reference: {"schema": ..., "reference": ..., "strict": true or false}, one of the first two. Option: strict."""
    check_options(options, {"strict": bool})
    keys = ("schema", "reference", "strict")
    if not isinstance(reference, dict) or (reference.get("schema") is None and reference.get("reference") is None):
        raise ValueError(
            f'reference is {shortly(reference)}; expected {{"schema": ..., "reference": ...}}, or one of them'
        )
    for key in reference:
        if key not in keys:
            raise ValueError(
                f"reference: unknown key {key!r}; {did_you_mean(key, keys) or 'expected ' + ', '.join(keys)}"
            )
    check_options({k: v for k, v in reference.items() if k == "strict"}, {"strict": bool})
    schema, known = reference.get("schema"), reference.get("reference")
    if options.get("strict", reference.get("strict")) and known is None:
        raise ValueError("strict needs a reference: a schema alone says nothing of values")
    if known is not None and (leaves := _tree(known, {}).leaves) > MOST_LEAVES:
        raise ValueError(f"reference has {leaves:,} values; expected at most {MOST_LEAVES:,}")
    if schema is not None:
        _check_schema(schema)


def _parse(text: str) -> Any:
    """The JSON in the text. Raises ValueError, also for duplicate keys, NaN and numbers that no double holds."""
    if len(text) > MOST_CHARS:
        raise ValueError(f"longer than {MOST_CHARS:,} characters")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            raise ValueError(f"duplicate key {Counter(key for key, _ in pairs).most_common(1)[0][0]!r}")
        return table

    def number(digits: str) -> Any:
        if not math.isfinite(float(digits)):
            raise ValueError("a number that no double holds")
        return float(digits) if re.search(r"[.eE]", digits) else int(digits)

    try:
        return loads(text, object_pairs_hook=unique, parse_int=number, parse_float=number, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class _Tree(NamedTuple):
    """form: the same number for equal values. leaves: scalars and empty containers. arrays: those with items."""

    form: int
    leaves: int
    arrays: int
    parts: dict[str, _Tree] | list[_Tree] | None


def _tree(value: Any, forms: dict[Any, int], ordered: bool = False, depth: int = MOST_DEPTH) -> _Tree:
    """forms: the numbers of forms so far. ordered: an array is no multiset. Raises ValueError where it is too deep."""
    if depth < 0:
        raise ValueError(f"nested deeper than {MOST_DEPTH}")
    parts: dict[str, _Tree] | list[_Tree] | None = None
    below: list[_Tree] = []
    key: Any = (
        type(value).__name__ if not isinstance(value, (int, float)) or isinstance(value, bool) else "number",
        value,
    )
    if isinstance(value, dict):
        parts = {answer_of(name)[0]: _tree(item, forms, ordered, depth - 1) for name, item in value.items()} or None
        below = [*(parts or {}).values()]
        key = ("{", *sorted((name, part.form) for name, part in (parts or {}).items()))
    elif isinstance(value, list):
        parts = below = [_tree(item, forms, ordered, depth - 1) for item in value]
        key = ("[", *((part.form for part in below) if ordered else sorted(part.form for part in below)))
    elif isinstance(value, str):
        key = ("text", value if ordered else answer_of(value)[0])
    leaves = sum(part.leaves for part in below) or 1
    arrays = sum(part.arrays for part in below) + (isinstance(value, list) and bool(value))
    return _Tree(forms.setdefault(key, len(forms)), leaves, arrays, parts or None)


def _common(known: _Tree, given: _Tree, deep: bool) -> int:
    """_WHOLE for every leaf of the known one that the given one has, and 1 for every array with as many items.

    deep: items of arrays that are not equal as a whole are paired so that the most is equal.
    """
    if known.form == given.form:
        return known.leaves * _WHOLE + known.arrays
    if isinstance(known.parts, dict) and isinstance(given.parts, dict):
        return sum(_common(part, given.parts[k], deep) for k, part in known.parts.items() if k in given.parts)
    if not (isinstance(known.parts, list) and isinstance(given.parts, list)):
        return 0
    left = Counter(item.form for item in given.parts)
    total = int(len(known.parts) == len(given.parts))
    others = []
    for item in known.parts:
        if left[item.form]:
            left[item.form] -= 1
            total += item.leaves * _WHOLE + item.arrays
        elif item.parts:
            others.append(item)
    candidates = []
    for item in given.parts:
        if left[item.form] and item.parts:
            left[item.form] -= 1
            candidates.append(item)
    if not (deep and others and candidates):
        return total
    from scipy.optimize import linear_sum_assignment

    pairs: list[list[int]] = [[_common(item, other, deep) for other in candidates] for item in others]
    rows, columns = linear_sum_assignment(pairs, maximize=True)
    return total + sum(int(pairs[i][j]) for i, j in zip(rows, columns, strict=True))


def _plain(node: Any) -> Any:
    """JSON whose names and texts are normalised as answers are; also where those wrote them in escapes."""
    if isinstance(node, dict):
        return {unicodedata.normalize("NFKC", name): _plain(item) for name, item in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    return unicodedata.normalize("NFKC", node) if isinstance(node, str) else node


def _plain_schema(schema: Any) -> Any:
    """Without what says that it is one; and a character that becomes a sign of patterns, as （ does, is none there."""

    def escaped(node: Any) -> Any:
        if isinstance(node, list):
            return [escaped(item) for item in node]
        if not isinstance(node, dict):
            return node
        made = {name: escaped(item) for name, item in node.items()}
        if isinstance(made.get("pattern"), str):
            made["pattern"] = "".join(
                c if c.isascii() else re.escape(unicodedata.normalize("NFKC", c)) for c in made["pattern"]
            )
        return made

    made = _plain(escaped(schema))
    return {k: v for k, v in made.items() if k not in ("$schema", "$id")} if isinstance(made, dict) else made


def _check_schema(schema: Any) -> None:
    """Raises ValueError for what is no schema, reaches outside itself, or cannot be bounded."""
    import pyarrow as pa
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError
    from pyarrow.compute import match_substring_regex
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    tree = _tree(schema, {}, ordered=True)
    if (size := tree.leaves + tree.arrays) > MOST_SCHEMA_VALUES:
        raise ValueError(f"the schema has {size:,} values; expected at most {MOST_SCHEMA_VALUES:,}")
    schema = _plain_schema(schema)
    try:
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        raise ValueError(
            f"the schema is none of JSON Schema 2020-12: {error.json_path}: {error.message[:200]}"
        ) from None
    parts = list(_schemas(schema))
    if (size := sum(_pattern_size(part["pattern"]) for part in parts if "pattern" in part)) > MOST_PATTERNS:
        raise ValueError(f"the schema's patterns have {size:,} characters, with what they repeat; expected at most "
                         f"{MOST_PATTERNS:,}")  # fmt: skip
    resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    for part in parts:
        if refused := [key for key in _REFUSED if key in part]:
            raise ValueError(f"the schema has {refused[0]}, which is not supported")
        if "pattern" in part:
            try:
                match_substring_regex(pa.array([""]), _re2(part["pattern"]))
            except (pa.ArrowInvalid, UnicodeError) as error:
                fault = str(error).removeprefix("Invalid regular expression: ")
                raise ValueError(f"the schema's pattern {shortly(part['pattern'])} is none of RE2: {fault}") from None
        if "$ref" in part:
            ref = part["$ref"]
            if not ref.startswith("#"):
                raise ValueError(f"the schema refers to {shortly(ref)}; expected a place in itself, as #/$defs/NAME")
            try:
                target = resolver.lookup(ref).contents
            except Unresolvable:
                raise ValueError(f"the schema refers to {shortly(ref)}, which is not in it") from None
            if not any(target is other for other in parts) and not isinstance(target, bool):
                raise ValueError(f"the schema refers to {shortly(ref)}, which is no schema of its own")
    samples: tuple[Any, ...] = (None, True, 0, "", [], {})
    for value in samples:
        if (fault := _invalid(schema, value)) in (_TOO_DEEP, _TOO_MANY):
            raise ValueError(f"the schema refers to itself without an end, or too often ({fault})")


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    """The schema and those in it."""
    if isinstance(node, dict):
        yield node
        for key, value in node.items():
            inner = value.values() if key in _MAPS else value if key in _LISTS else [value] if key in _ONES else []
            for item in inner:
                yield from _schemas(item)


def _re2(pattern: str) -> str:
    r"""A pattern as RE2 writes it: \uXXXX is \x{XXXX} there."""
    return re.sub(r"\\u([0-9a-fA-F]{4})|\\.", lambda m: rf"\x{{{m[1]}}}" if m[1] else m[0], pattern, flags=re.DOTALL)


def _pattern_size(pattern: str) -> int:
    """How many characters a pattern has, with its counted repetitions written out: RE2 compiles all of them."""
    sizes, last = [0], 0  # of the open groups; of what a repetition repeats
    for part in re.finditer(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d+)(?:,(\d*))?\}|.", pattern, flags=re.DOTALL):
        if part[1]:
            more = last * max(min(int(part[2] or part[1]), 1001) - 1, 0)  # RE2 has no more than 1,000
            last += more
            sizes[-1] += more
        elif part[0] == "(":
            sizes.append(1)
        elif part[0] == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        else:
            last = 1
            sizes[-1] += 1
    return sum(sizes)


_TOO_DEEP, _TOO_MANY = "nested too deeply for the schema", f"more than {MOST_STEPS:,} steps of validation"


def _invalid(schema: Any, value: Any) -> str:
    """Why a value is not valid by a schema that _check_schema let pass; "" if it is."""
    from referencing import Registry

    # no registry means one that fetches; the field of the format checker, whose keyword is none here, carries the steps
    # that are left from validator to validator
    validator = _validator()(schema, registry=Registry(), format_checker=_Steps())
    try:
        error = next(validator.iter_errors(value), None)
    except RecursionError:
        return _TOO_DEEP
    except _TooMany:
        return _TOO_MANY
    return "" if error is None else f"{error.json_path}: {error.message}"


class _TooMany(Exception):
    pass


class _Steps:
    def __init__(self) -> None:
        self.left = MOST_STEPS

    def take(self, n: int) -> None:
        self.left -= n
        if self.left < 0:
            raise _TooMany


@functools.cache
def _validator() -> Any:
    """Draft202012Validator that counts its steps, and runs patterns and uniqueItems in linear time."""
    import pyarrow as pa
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend
    from pyarrow.compute import match_substring_regex

    def counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
        def count(validator: Any, wanted: Any, value: Any, schema: Any) -> Any:
            members = sum(len(of) for of in (wanted, value) if isinstance(of, (dict, list)))
            validator.format_checker.take(1 + members)
            return keyword(validator, wanted, value, schema)

        return count

    def pattern(validator: Any, wanted: str, value: Any, _: Any) -> Iterator[ValidationError]:
        if isinstance(value, str):
            # compiled anew for every value
            validator.format_checker.take(len(value) // 1000 + _pattern_size(wanted) // 10)
            text = value.encode("utf-8", "replace").decode()  # a lone half of a surrogate pair is no text of Arrow's
            if not match_substring_regex(pa.array([text]), _re2(wanted))[0].as_py():
                yield ValidationError(f"{shortly(value)} does not match {wanted!r}")

    def unique(validator: Any, wanted: bool, value: Any, _: Any) -> Iterator[ValidationError]:
        if wanted and isinstance(value, list):
            forms: dict[Any, int] = {}
            items = [_tree(item, forms, ordered=True) for item in value]
            validator.format_checker.take(sum(item.leaves for item in items))
            if len({item.form for item in items}) < len(items):
                yield ValidationError(f"{shortly(value)} has equal items")

    keywords = {**Draft202012Validator.VALIDATORS, "pattern": pattern, "uniqueItems": unique}
    keywords["format"] = lambda *_: None
    return extend(Draft202012Validator, {name: counted(keyword) for name, keyword in keywords.items()})
