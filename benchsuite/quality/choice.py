"""The letter or letters that an answer to a multiple-choice question states, or that it states none. Never a guess.

An answer is stripped of markup. Then places are looked for where a label must follow ("the answer is", "故选") or is
judged ("C is correct", "C项正确"). A place counts if what stands around lets the letter be nothing but a label, and if
it is not denied, asked, supposed or left open ("A or B"). The last one that counts is the answer. Every pattern is of
bounded length, so that the time is linear in the answer's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from string import ascii_uppercase
from typing import Any, NamedTuple

from benchsuite.errors import read_json
from benchsuite.quality import choice_patterns as patterns
from benchsuite.quality.normalise import answer_of, refuses
from benchsuite.quality.text import check_options
from benchsuite.results import AnswerScore


class Statement(NamedTuple):
    """Where labels are named. labels: as stated, "" if they are left open ("A or B").

    sure: 5 to 1, as of the cue; 0 where the answer is to a narrower question ("in children, choose B").
    """

    start: int
    end: int
    labels: str
    sure: int


def choice(answer: str, reference: Any, options: Mapping[str, Any], prompt_text: str) -> AnswerScore:
    """1 if the one label that the answer states is the reference's, else 0. how: bare, stated, leading, last_line; or
    why there is no reading: unread, refused, empty, cut_thinking. Two labels, or one not among the options, are unread.
    """
    reading, how = read_labels(answer, _labels(options), False, prompt_text)
    return AnswerScore(float(reading == str(reference).strip().upper()), reading, how)


def choices(answer: str, reference: Any, options: Mapping[str, Any], prompt_text: str) -> AnswerScore:
    """1 if the labels that the answer states are just the reference's, else 0, or with `partial = "jaccard"` the shared
    labels over all that either has. how: as of `choice`; a single label is a set of one.
    """
    reading, how = read_labels(answer, _labels(options), True, prompt_text)
    right, read = set(_reference(reference)), set(reading)
    score = len(right & read) / len(right | read) if options.get("partial") == "jaccard" else float(right == read)
    return AnswerScore(score, reading, how)


def check_choice(reference: Any, options: Mapping[str, Any]) -> None:
    """ValueError, in words, if the reference is not one of the labels, or an option is unknown."""
    _check(options, {})
    if not isinstance(reference, str) or reference.strip().upper() not in tuple(_labels(options)):
        raise ValueError(f"reference is {reference!r}; expected one of the labels {_labels(options)}")


def check_choices(reference: Any, options: Mapping[str, Any]) -> None:
    """ValueError, in words, if the reference is no set of the labels ("ACD" or a list), or an option is unknown."""
    _check(options, {"partial": str})
    if options.get("partial") not in (None, "jaccard"):
        raise ValueError(f'partial is {options["partial"]!r}; expected "jaccard", or none')
    labels = _reference(reference)
    if not labels or len(set(labels)) < len(labels) or not set(labels) <= set(_labels(options)):
        raise ValueError(f'reference is {reference!r}; expected labels of {_labels(options)}, as "ACD" or a list')


def _reference(reference: Any) -> list[str]:
    parts = reference if isinstance(reference, (list, tuple)) else re.sub(r"[\s,;、]", "", str(reference))
    return [str(part).strip().upper() for part in parts]


def _labels(options: Mapping[str, Any]) -> str:
    """The labels that an answer may give: `labels` are they themselves, or how many from A on; A to E without it."""
    given = options.get("labels", "ABCDE")
    return ascii_uppercase[:given] if isinstance(given, int) else str(given).upper()


def _check(options: Mapping[str, Any], more: Mapping[str, type]) -> None:
    check_options(options, {"labels": (int, str), **more})
    given = options.get("labels", "ABCDE")
    if isinstance(given, int):
        fits = 2 <= given <= 26
    else:
        fits = re.fullmatch("[A-Za-z]{2,26}", given) is not None and len(set(given.upper())) == len(given)
    if not fits:
        raise ValueError(f'labels is {given!r}; expected the letters, such as "ABCDE", or how many from A on, 2 to 26')


def read_labels(answer: str, labels: str, several: bool, prompt_text: str = "") -> tuple[str, str]:
    """The labels that the answer states, in the order of the alphabet, and the tier that read them; or "" and why."""
    answer, reason = answer_of(answer)
    if reason:
        return "", reason
    text = answer
    found = _json(text, several) or _marked(text, several, prompt_text)
    parts = [(match[1], match[2]) for match in patterns.PARTS.finditer(text)]
    if len(dict(parts)) > 1 and len({label for _, label in parts}) > 1:  # "Q1: A, Q2: B"
        found = "", "unread"
    if found is None:
        text = text.translate(patterns.CUES_IN_TRADITIONAL)
        for pattern, put in patterns.CLEANING:
            text = pattern.sub(put, text)
        text = text.strip()
        found = _tiers(text, labels, several, prompt_text)
    read, how = found
    if read and set(read) <= set(labels) and (several or len(read) == 1):
        return "".join(sorted(read)), how
    return "", "refused" if refuses(answer) else "unread"


def _marked(text: str, several: bool, prompt_text: str) -> tuple[str, str] | None:
    """What a list of nothing but labels, each marked right or wrong, states, and the tier; None of others."""
    at, right, seen = 0, "", ""
    while at < len(text):
        match = patterns.MARKED.match(text, at)
        if match is None or bool(match[1] or match[4]) == bool(match[2] or match[5]) or match[3] in seen:
            return None
        at, seen, right = match.end(), seen + match[3], right + match[3] * bool(match[1] or match[4])
    if len(seen) < 2 and right:
        return None
    return (
        ("", "unread")
        if patterns.INVERTED.search(prompt_text) or not (several or len(right) == 1)
        else (right, "stated")
    )


def _tiers(text: str, labels: str, several: bool, prompt_text: str) -> tuple[str, str]:
    """What cleaned text states, by the first tier that has a reading, and the tier."""
    cut = patterns.NEXT_ITEM.search(text)  # a model that goes on with questions of its own
    if cut and (found := _tiers(text[: cut.start()], labels, several, prompt_text))[0]:
        return found
    if bare := _bare(text, several):
        return bare, "bare"
    leading = _leading(text, labels, several)
    stated = _stated(text, labels, several, prompt_text)
    last = _last_line(text, several)
    if stated is None:
        return (leading, "leading") if leading else (last, "last_line")
    if last and stated.labels and sorted(last) != sorted(stated.labels):  # "Answer: A ... so it cannot be. C"
        return (last, "last_line") if patterns.TURNS.search(text, stated.end) else ("", "unread")
    # "B. Metformin. ... In children C is correct.": a weak statement does not outweigh what the answer begins with
    if leading and stated.sure < 2 and sorted(leading) != sorted(stated.labels):
        return "", "unread"
    return stated.labels, "stated"


def _bare(text: str, several: bool) -> str:
    """The labels of a text of nothing else; "" of any other."""
    if len(text) > 60 or text[-1:] == "?":
        return ""
    core = re.sub(r"^[\W_]+|[\W_]+$", "", text)
    if match := re.fullmatch(r"(?:(?i:option|choice|answer) |选项|是|选)?\(?([A-Za-z])\)?(?: ?选?项)?吧?", core):
        return match[1].upper()
    names = re.sub(r"(?i)\b(?:and|both)\b|[\s,;、/&+().\[\]和与及]", "", core)
    listed = re.fullmatch(r"[A-Z]{2,26}", names) and (
        _ascending(names) if names == core else len(set(names)) == len(names)
    )
    return names if several and listed else ""


def _ascending(names: str) -> bool:
    return names == "".join(sorted(set(names)))


def _stands(text: str, item: re.Match[str]) -> bool:
    """True if what follows lets the letters of an item be nothing else than labels."""
    names, end = item[1], item.end()
    if not _ascending(names) or text[end : end + 1] == "?":
        return False
    if item[0][-1] in ")]}项":
        return True
    if names == "I" and not re.compile(r"[.。,;:!、\n]|$| (?:is|because|since|as)\b").match(text, end):
        return False
    return bool(
        patterns.CONTINUES.match(text, end)
        or (names not in ("A", "I") and len(names) == 1 and patterns.TEXT.match(text, end))
    )


def _group(text: str, start: int, subject: bool, labels: str, several: bool) -> tuple[str, int] | None:
    """The labels that stand at `start`, "" if they are left open, and where they end; None if no label does.

    subject: what follows is said of all of them. Else a last one of which something is said begins a new clause.
    """
    item = patterns.ITEM.match(text, start)
    if item is None or not _stands(text, item):
        return None
    names, end, listed = item[1], item.end(), None
    while True:
        if len(names) > 52:  # no answer, and the time stays linear
            return "", end
        other = patterns.OR.match(text, end)
        if (
            other
            and _ascending(other[1] or other[2])
            and (other[2] or _stands(text, other) or patterns.LEFT_OPEN.search(other[0]))
        ):
            return "", other.end()
        joined = patterns.AND.match(text, end)
        item = patterns.ITEM.match(text, joined.end()) if joined else None
        if item is None or joined is None:
            break
        if not _stands(text, item):  # "A, C" runs into what follows, so that nobody can tell where the labels end
            if (several or "," not in joined[0]) and item[1] not in ("A", "I") and set(item[1]) <= set(labels):
                return "", item.end()
            break
        if joined and "," in joined[0]:
            listed = (names, end)
        plural = patterns.PLURAL.match(text, item.end()) and patterns.AFFIRMED.match(
            text, item.end()
        )  # "I think B and D are correct"
        if not (subject or plural) and (
            patterns.DENIES.match(text, item.end())
            or patterns.AFFIRMED.match(text, item.end())
            or text[item.end() : item.end() + 1] == ":"
        ):
            if len(names) > 1:  # "A, B and C are wrong": is A all that was stated, or A and B?
                return listed if listed and joined and not joined[0].isascii() else ("", item.end())
            break
        names, end = names + item[1], item.end()
    if len(names) == 1:  # with their texts: "A. hypertension C. diabetes"
        last, at = names, end - (text[end - 1] in ")]")
        while more := patterns.MORE.match(text, at) or patterns.MORE_LINES.match(text, at):
            if (
                patterns.JUDGED.search(more[1])
                or patterns.TERM_BEFORE.search(text[more.start(2) - 16 : more.start(2)])
                or more[2] <= last[-1]
            ):
                break
            last, at = last + more[2], more.end()
        if len(last) > 1:
            if last == labels[: len(last)] and (not several or len(last) == len(labels)):
                return None  # the options again
            names, end = last, at
    return "".join(dict.fromkeys(names)), end


def _clause(text: str, at: int, edges: re.Pattern[str]) -> str:
    """What stands before a place, back to the last of the edges, 160 characters at most."""
    window = text[max(0, at - 160) : at]
    return window[max((match.end() for match in edges.finditer(window)), default=0) :]


def _holds(text: str, start: int, end: int) -> bool:
    """True if what is said from start to end is neither denied, supposed, conditional nor asked."""
    clause, sentence = _clause(text, start, patterns.CLAUSE), _clause(text, start, patterns.SENTENCE)
    if patterns.ATTRIBUTED.search(sentence):
        return False
    if clause == sentence and patterns.ALTHOUGH.match(clause):
        return False
    if patterns.DENIED.search(clause) or patterns.SUPPOSED.search(clause) or patterns.IF.search(sentence):
        return False
    if re.compile(
        r",? ?[(\[]?(?:only )?(?:if|unless|when)\b|,? ?(?:如果|若)|的话|的?(?:同学|人)|,? (?:said|says|according to)\b"
        r"| is (?:what|the answer) (?:most|many|some|people|they|he|she)\b",
        re.I,
    ).match(text, end):
        return False
    stop = patterns.SENTENCE.search(text, end, end + 160)
    return stop is None or stop[0] != "?"


def _cued(text: str, labels: str, several: bool) -> Iterator[Statement]:
    """Labels after a cue."""
    for kind, cue in patterns.CUES:
        for match in cue.finditer(text):
            sure, start, at = kind, match.start(), match.end()
            filler = patterns.FILLER.match(text, at)
            at = filler.end() if filler else at
            group = _group(text, at, sure < 3, labels, several)
            if group is None and sure > 2:
                group = _lower(text, at) or _doubtful(text, at)
            if group is None or patterns.DENIES.match(text, group[1]) or not _holds(text, start, group[1]):
                continue
            if patterns.OTHERS.search(text[max(0, start - 60) : start]) or patterns.TERM_BEFORE.search(
                text[max(0, at - 16) : at]
            ):
                continue
            if re.match(r"(?i)(?:options|choices)\W", match[0]) or patterns.TERM_IS.search(match[0]):
                continue
            if patterns.SPLIT.match(text, group[1]):
                group = "", group[1]
            if sure == 3 and patterns.NAMES_ANSWER.search(match[0]):
                sure = 5 if re.search("(?i)final|最终", match[0]) else 4
            narrow = patterns.NARROW.search(_clause(text, start, patterns.SENTENCE)) or patterns.NARROW_CUE.search(
                match[0]
            )
            if match[0][0] == "选" and patterns.PERSON.search(text[max(0, start - 4) : start]):
                continue
            if narrow or (match[0][0] == "选" and not patterns.CHOOSES.search(_clause(text, start, patterns.CLAUSE))):
                sure = 0
            yield Statement(at, group[1], group[0], 1 if sure == 2 and len(group[0]) != 1 and not several else sure)


def _doubtful(text: str, at: int) -> tuple[str, int] | None:
    """A letter after a cue that may be part of a name, and where it ends: nothing weaker is an answer then."""
    item = patterns.ITEM.match(text, at)
    return ("", item.end()) if item and len(item[1]) == 1 and item[1] not in "AI" else None


def _lower(text: str, at: int) -> tuple[str, int] | None:
    """A lower-case label after a cue, and where it ends. "a" and "i" are words unless marked."""
    item = patterns.LOWER.match(text, at)
    if item is None or not (item[0][-1] in ")]" or patterns.CONTINUES.match(text, item.end())):
        return None
    marked = not item[0][-1].isalpha() or (
        ":" in text[max(0, at - 2) : at] and re.compile(r"$|\n|[.)]").match(text, item.end())
    )
    return (item[1].upper(), item.end()) if marked or item[1] not in "ai" else None


def _judged(text: str, labels: str) -> tuple[list[Statement], set[str], set[str]]:
    """Statements about labels that stand before them, and all labels that are affirmed, and denied."""
    statements, affirmed, denied, done = [], set(), set(), 0
    for item in patterns.ITEM.finditer(text):
        start = item.start()
        if start < done:
            continue
        names, end = _group(text, start, True, labels, True) or ("", item.end())
        before, done = text[max(0, start - 16) : start], end
        named = re.match(r"(?i)opt|cho|ans|let|选|\(", item[0])
        if not names or patterns.TERM_BEFORE.search(before) or not (named or patterns.MAY_STAND.search(before)):
            continue
        if patterns.DENIES.match(text, end) or patterns.TEXT_DENIED.match(text, end):
            denied |= set(names)
            continue
        said = patterns.AFFIRMED.match(text, end) or patterns.TEXT_AFFIRMED.match(text, end)
        if (
            said
            and not patterns.DENIED.search(said["text"] or "" if said.re is patterns.TEXT_AFFIRMED else "")
            and _holds(text, start, said.end())
        ):
            affirmed |= set(names)
            if patterns.ALSO.search(said[0]) or patterns.ALSO.match(text, said.end()):  # beside another
                names = ""
            statements.append(Statement(start, said.end(), names, 3 if patterns.SETTLED.match(text, end) else 1))
    return statements, affirmed, denied


def _stated(text: str, labels: str, several: bool, prompt_text: str) -> Statement | None:
    """The last statement that counts; with labels "" if there are statements, but no last word. None without any."""
    judged, affirmed, denied = _judged(text, labels)
    if patterns.INVERTED.search(prompt_text):
        judged = []
    statements = sorted([*_cued(text, labels, several), *judged], key=lambda one: (one.start, one.sure))
    if not statements:
        return _in_brackets(text, labels)
    last = statements[-1]
    # two statements, and no word of correction between them: part 1 and part 2, a doctor's and a patient's
    if any(
        set(one.labels + other.labels) <= set(labels)
        and min(one.sure, other.sure) > 2
        and set(one.labels) != set(other.labels)
        and other.sure < 5
        and one.labels
        and other.labels
        and not patterns.TURNS.search(text, one.end, other.start)
        for one, other in pairwise(one for one in statements if one.sure > 2)
    ):
        return last._replace(labels="", sure=5)
    sure = [one for one in statements if one.sure > 1]
    if sure:
        if last.sure < 2 and not patterns.TURNS.search(text, sure[-1].end, last.start):
            later = {
                one.labels
                for one in statements
                if one.start > sure[-1].start and one.sure and (several or len(one.labels) < 2)
            }
            last = sure[-1] if len(later) != 1 or later == {sure[-1].labels} else last._replace(labels="")
        said = [one for one in sure if one.sure > 3 and one.labels]
        if (
            last.sure < 4
            and said
            and said[-1].labels != last.labels
            and not patterns.TURNS.search(text, said[-1].end, last.start)
        ):
            last = last._replace(labels="")  # "The answer is B. ... Choose D."
    elif len({one.labels for one in statements}) > 1 and not patterns.TURNS.search(
        text, statements[-2].end, last.start
    ):
        whole = several and affirmed | denied >= set(labels) and not affirmed & denied
        last = last._replace(labels="".join(affirmed) if whole else "", sure=2)
    return last._replace(labels="") if patterns.DOUBTS.search(text, last.end) else last


def _in_brackets(text: str, labels: str) -> Statement | None:
    """The only label of a text, in brackets at the end of it or of its first line: "Give metformin (B)."."""
    named = {match[1] for match in re.finditer(r"(?<![A-Za-z0-9])([A-Z])(?![A-Za-z0-9'-])", text)} & set(labels)
    match = re.search(r"(?:[a-z]\w? |[\u3400-\u9fff])\((?:[Oo]ption |选项)?([A-Z])(?:选?项)?\)[.。!]?(?:\n|$)", text)
    if match is None or named != {match[1]}:
        return None
    before = text[max(0, match.start(1) - 60) : match.start(1) - 1]
    if (
        patterns.TERM_BEFORE.search(before.rstrip())
        or patterns.DENIED.search(before)
        or not _holds(text, match.start(1), match.end())
    ):
        return None
    return Statement(match.start(1), match.end(), match[1], 1)


def _leading(text: str, labels: str, several: bool) -> str:
    """The label that the first line begins with, as no other line does; of `choices`, those of all lines."""
    line, _, rest = text.partition("\n")
    head = re.split("[。\n]| [—–-] | because ", text[:80], maxsplit=1)
    if len(head) > 1 and not patterns.HEAD.search(rest) and (bare := _bare(head[0], several)):
        return bare
    first = patterns.HEAD.match(text) or re.compile("([A-Z])(?= (?:because|since)\\b)").match(text)
    if first is None:
        return ""
    name, after = first[1], line[first.end() :]
    if (
        re.match(rf" ?(?:{patterns.SPECIES})\b", after)
        or (first[0][-1] in ":," and name in "AI" and not re.match(r" ?[\u3400-\u9fff]", after))
        or re.match(r" ?(?:(?i:or|and|&|/)|或者?|和|与)? ?\(?[A-Z](?![A-Za-z0-9'-])", after)
    ):
        return ""
    if patterns.INLINE.search(line, first.end() - 1) or patterns.DENIES.match(line, first.end()) or line.endswith("?"):
        return ""
    others = list(patterns.HEAD.finditer(rest))
    names = [name, *(match[1] for match in others)]
    if len(set(names)) == 1:
        return name
    if (
        several
        and len(names) == text.count("\n") + 1
        and _ascending("".join(names))
        and not patterns.JUDGED.search(text)
        and "".join(names) != labels[: len(names)]
    ):
        return "".join(names)
    # the answer, then all options, from the first on
    again = rest[: others[0].start()]
    return name if again and names[1] == labels[:1] and name != names[1] and _ascending("".join(names[1:])) else ""


def _last_line(text: str, several: bool) -> str:
    """The label that is all of the last line, or of its last sentence, where no other line or sentence is one."""
    lines = text.split("\n")
    if len(lines) > 1 and not lines[-1][:1].islower() and (bare := _bare(lines[-1], several)):
        before = lines[:-1]
        apart = lines[-2] == "" or not any(patterns.HEAD.match(line) for line in before)
        if apart and not any(_bare(line, several) for line in before) and not re.search(r"[\w,、]$", lines[-2]):
            return bare
    match = re.search(r"(?:[a-z)]{4}[.!]|[。!])\s?((?:[Oo]ption )?\(?[A-Z]\)?)[.。!]?$", text[-40:])
    return match[1].strip("()")[-1] if match and not re.search(r"\b[A-Z]\)?[.。?!]", text[-52 : -len(match[0])]) else ""


def _json(text: str, several: bool) -> tuple[str, str] | None:
    """What a JSON object, or for `choices` an array, states, and the tier; None if the answer is none."""
    fenced = re.fullmatch(r"```\w{0,12}\s+(.*?)\s*```", text, re.S)
    body = fenced[1] if fenced else text
    if body[:1] not in ("{", "["):
        return None
    try:
        value = read_json(body)
    except ValueError:
        return None
    if isinstance(value, dict):
        value = next(
            (item for key, item in value.items() if patterns.KEYS.fullmatch(key.strip().lower().replace(" ", "_"))),
            None,
        )
    elif not several:
        return None
    parts = value if isinstance(value, list) else [value]
    names = []
    for part in parts:
        if not isinstance(part, str):
            return "", "unread"
        names.append(_bare(part, True) or _leading(part, "", several))
    return ("", "unread") if not all(names) else ("".join(sorted(set("".join(names)))), "bare")
