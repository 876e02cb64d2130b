"""Text that others wrote, made harmless where it leaves us, and our secrets taken out of it.

One function a surface, through which all foreign text goes: `printable` and `single_line` (terminals, logs of CI,
JUnit), `markdown_text` and `markdown_code`, `csv_cell`, `html_text` (pages and charts), `json_text`, `workflow_data`
(GitHub's commands). Each masks first: the secrets that this process holds are remembered here, once, when
they are read, for a server may say them back in an error, a header or an id.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TextIO

KEY_SHOWN = "[API key]"
_SHORTEST_KEY = 8  # "EMPTY" and "none" are no secrets, and masking them would spoil what servers say
_SHORTEST_PIECE = 6  # of a key at an end where a text was cut
_SECRET_VARIABLE = re.compile(
    r"(?i)((.*(_|api|access))?key|.*token|.*secret|.*password|(.*_)?(passwd|passphrase|credentials?|pat))(_id)?"
)

# how keys of well-known makers begin; and one of them whole, which has a digit where a word of the language has none
KEY_BEGINS = r"(?:sk-|hf_|gh[pousr]_|github_pat_|glpat-|gsk_|nvapi-|xai-|r8_|AIza|AKIA|eyJ)"
_KEY = re.compile(rf"(?<![\w-]){KEY_BEGINS}(?=[A-Za-z_-]*\d)[\w-]{{16,}}")

_keys: list[str] = []


def remember_key(key: str | None) -> None:
    """From now on this key is taken out of all text that is stored or shown. Keys of under 8 characters are not."""
    for form in (key, _unfolded(key)[0]) if key else ():  # one that holds what looks like an escape
        if form and len(form) >= _SHORTEST_KEY and form not in _keys:
            _keys.append(form)
            _keys.sort(key=len, reverse=True)  # the longest first: one key may begin like another


def remember_secrets(environment: Mapping[str, str], *texts: str) -> None:
    """Remember the values of variables whose names say that they hold a secret: HF_TOKEN, X_API_KEY; paths are none.

    And what has the form of a key, in any variable and in texts that a person gave: it may stand in the wrong place.
    """
    for name, value in environment.items():
        if _SECRET_VARIABLE.fullmatch(name) and not os.path.exists(value):  # noqa: PTH110 - part of every start
            remember_key(value.strip())
    for text in (*environment.values(), *texts):
        for found in _KEY.finditer(text):
            remember_key(found[0])


def remembered_keys() -> tuple[str, ...]:
    """Those that are taken out of text in this process, for another to remember too."""
    return tuple(_keys)


# what may stand in a key's place, or between its characters: escapes of JSON, C and shells, of URLs and of HTML, one
# within another too; control characters, line ends, invisible characters, sequences of terminals
_INVISIBLE = r"\x00-\x08\n-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
_HIDING = re.compile(
    rf"[%\\&{_INVISIBLE}]"  # first what is searched for fast
    r"(?:(?<=%)(?:25)*+(?P<percent>[0-9A-Fa-f]{2})"
    r"|(?<=\\)\\*+(?:u(?P<u>[0-9A-Fa-f]{4})|u\{(?P<braces>[0-9A-Fa-f]{1,6})\}|x(?P<x>[0-9A-Fa-f]{2})"
    r"|(?P<octal>[0-3][0-7]{2})|(?P<plain>[^\w\s])|[nrtbfv0]|)"
    r"|(?<=&)(?:amp;)*+(?:#(?P<decimal>[0-9]{1,7});|#[xX](?P<hex>[0-9A-Fa-f]{1,6});|(?P<entity>[A-Za-z]{2,31};))"
    r"|(?<=\x1b)(?:\[[0-9;?]*+[ -/]*+[@-~]|\][^\x07\x1b]*+(?:\x07|\x1b\\)?)"
    rf"|(?<![%\\&])[{_INVISIBLE}]*+[ \t]*+)"
)
_LEVELS = 3  # of escapes within escapes


def _character(found: re.Match[str]) -> str:
    kind, text = found.lastgroup, found[found.lastgroup or 0]
    if kind is None:
        return ""
    if kind == "plain":
        return text
    if kind == "entity":
        from html import unescape  # a table of all entities: not for what only prints

        return unescape(f"&{text}")
    code = int(text, {"octal": 8, "decimal": 10}.get(kind, 16))
    return chr(code) if 0x1F < code < 0x7F or 0xA0 < code < 0x110000 else ""


@lru_cache(2)  # each surface masks what others masked
def _hides_key(text: str, keys: tuple[str, ...]) -> bool:
    """Whether `_spans` would find one: half of its work, for most text holds none."""
    for level in range(_LEVELS + 1):
        if any(key in text for key in keys):
            return True
        if level == _LEVELS or _HIDING.search(text) is None:
            break
        text = _HIDING.sub(_character, text)
    return False


def _unfolded(text: str) -> tuple[str, list[tuple[int, int]]]:
    """`text` with its escapes resolved and without what is invisible; and the offsets in both where they part."""
    pieces: list[str] = []
    marks, at, n = [(0, 0)], 0, 0
    for found in _HIDING.finditer(text):
        character = _character(found)
        pieces += text[at : found.start()], character
        n += found.start() - at
        at = found.end()
        marks += (n, found.start()), (n + len(character), at)
        n += len(character)
    return "".join([*pieces, text[at:]]), marks


def _spans(text: str) -> list[tuple[int, int]]:
    """Where keys stand in `text`, as they are, behind escapes, or with something invisible in them; ascending."""
    levels: list[tuple[list[int], list[int]]] = []
    spans: list[tuple[int, int]] = []
    while True:
        for key in _keys:
            start = text.find(key)
            while start >= 0:
                begin, end = start, start + len(key)
                for after, before in reversed(levels):
                    i, k = bisect_right(after, begin) - 1, bisect_left(after, end)
                    k -= k == len(after) or after[k] != end
                    begin, end = before[i] + begin - after[i], before[k] + end - after[k]
                spans.append((begin, end))
                start = text.find(key, start + len(key))
        if len(levels) == _LEVELS or _HIDING.search(text) is None:
            break
        text, marks = _unfolded(text)
        levels.append(([one for one, _ in marks], [one for _, one in marks]))
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin < found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found


def masked(text: str, *, cut_before: bool = False, cut_after: bool = False) -> str:
    """`text` without the keys that are remembered, however they are escaped.

    cut_before, cut_after: it is a piece of a longer text: pieces of keys at that end are taken out too.
    """
    if _keys and _hides_key(text, tuple(_keys)):
        spans = _spans(text)
        starts, ends = [0, *(end for _, end in spans)], [*(begin for begin, _ in spans), len(text)]
        text = KEY_SHOWN.join(text[start:end] for start, end in zip(starts, ends, strict=True))
    for key in _keys:
        sizes = range(min(len(key) - 1, len(text)), _SHORTEST_PIECE - 1, -1)
        if cut_after and (size := next((size for size in sizes if text.endswith(key[:size])), 0)):
            text = text[:-size] + KEY_SHOWN
        if cut_before and (size := next((size for size in sizes if text.startswith(key[-size:])), 0)):
            text = KEY_SHOWN + text[size:]
    return text


def longest_hidden() -> int:
    """How many characters a key may take up in a text, with every one of them escaped; 0 without keys."""
    return 16 * max(map(len, _keys), default=0)


def settled(text: str) -> int:
    """How many characters of a text that goes on can be masked by now: no key that has begun ends behind them."""
    safe = max(0, len(text) - longest_hidden())
    return next((begin for begin, end in _spans(text) if begin < safe < end), safe) if _keys else safe


def shortened(text: str, most: int) -> str:
    """The first `most` characters of `text`, masked before it is cut: half a key is one too."""
    window = most + 1000 + longest_hidden()
    return masked(text[:window], cut_after=len(text) > window)[:most]


def mask_stream(stream: TextIO | None) -> None:
    """From now on what is written to the stream, by whomever in this process, is masked."""
    if stream is not None:
        write = stream.write
        stream.write = lambda text: write(masked(text))  # type: ignore[method-assign]


def mask_chain(error: BaseException | None) -> None:
    """Take the keys out of an exception's words, and of those that led to it."""
    while error is not None:
        error.args = tuple(masked(one) if isinstance(one, str) else one for one in error.args)
        error = error.__cause__ or error.__context__


_PLAIN_SPACES = {0x09: " ", 0xA0: " ", 0x2009: " ", 0x202F: " "}  # tabs, no-break and thin spaces
_PAGE_SPACES = "\n\t\u00a0\u2009\u202f"
# what begins a command to the runner of a CI job. GitHub's: at a line's start, where a table may fold a word too, and
# then it knows their names (ActionCommand.cs, ActionCommandManager.cs); ##[...] anywhere
_COMMAND = re.compile(
    r"(?i)#(?=#\w*\[)|:(?=:)(?:(?<![^\s:]:)(?!:\d)"  # begins with what is searched for fast
    r"|(?=:(?:(?:add|echo|internal|remove|save|set|stop)[\w-]*|debug|(?:end)?group|error|notice|warning)(?: .*?)?::))"
)


def _visible(text: str, kept: str = "\n") -> str:
    """`text` masked, with ? for control, bidirectional, invisible and unassigned characters but those kept."""
    text = masked(text)
    hidden = {ord(char): "?" for char in set(text) if not (char.isprintable() or char in kept)}
    return text.translate(hidden) if hidden else text


def printable(text: str) -> str:
    """`text` masked, with ? for what no terminal should get, and no command to a runner of CI; lines stay."""
    return _COMMAND.sub(r"\g<0> ", _visible(masked(text).translate(_PLAIN_SPACES)))


def single_line(text: str) -> str:
    """`text` printable, on one line."""
    return printable(" ".join(masked(text).split()))


def workflow_data(text: str, *, title: bool = False) -> str:
    """`text` as the data of one of GitHub's commands, or as its title."""
    text = printable(text).replace("%", "%25").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if title else text


def json_text(tree: Any, *, indent: int | None = 2, default: Callable[[Any], Any] | None = None) -> str:
    """`tree` as JSON: letters as they are, what is not visible escaped. NaN is refused, but null without an indent."""
    text = ""
    if indent is None:
        with contextlib.suppress(ImportError, TypeError):  # the extra `fast`; it refuses what is odd
            from orjson import dumps

            text = dumps(tree).decode()
    text = masked(text or json.dumps(tree, indent=indent, ensure_ascii=False, allow_nan=False, default=default))
    hidden = {ord(char): json.dumps(char)[1:-1] for char in set(text) if not (char.isprintable() or char == "\n")}
    text = text.translate(hidden) if hidden else text
    return text.replace("##", r"\u0023#") if "##" in text else text


_ENTITIES = {38: "&amp;", 60: "&lt;", 62: "&gt;"}
_QUOTES = {34: "&#34;", 39: "&#39;"}


def html_text(text: str) -> str:
    """`text` as the text, or an attribute's value, of HTML, XML and SVG."""
    return _visible(text, _PAGE_SPACES).translate(_ENTITIES | _QUOTES)


def csv_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A header of all keys and a line for each row. None is an empty cell; no text is a formula to a spreadsheet."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([csv_cell(row.get(key)) for key in keys] for row in rows)
    return out.getvalue()


_FORMULA = re.compile("(?:^|;) *(?=[=+@\uff1d\uff0b\uff20\uff0d-])")


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: a ' goes before = + - @ at a start in what is no number.

    A ; may part cells too, where a comma is a decimal point.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return value
    text = single_line(value)
    try:
        float(text)
    except ValueError:
        return _FORMULA.sub(r"\g<0>'", text)
    return text


# what GitHub makes a link of by itself
_LINKED = re.compile(r"(?i):(?=//)|(?<=www)\.")


def markdown_text(text: str) -> str:
    """Text on one line that stays in its table cell and is no markup, HTML, mention or link."""
    text = single_line(text).replace("\\", "\\\\").translate(_ENTITIES)
    text = _LINKED.sub(r"\\\g<0>", re.sub(r"[`|*_\[\]#~]", r"\\\g<0>", text))
    return re.sub(r"@|#(?=\d)", "\\g<0>\u200b", text)


def markdown_code(text: str) -> str:
    """Text on one line as code, outside of tables."""
    return f"`{single_line(text).replace('`', '')}`"


def markdown_table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] | None = None
) -> list[str]:
    """The lines of a table of cells that are Markdown already. right: the heads of numbers; None: all but the last."""
    numbers = heads[:-1] if right is None else right
    rule = "|" + "|".join("---:" if head in numbers else "---" for head in heads) + "|"
    lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in (heads, *rows)]
    return [lines[0], rule, *lines[1:]]
