"""Scorers of a text by known texts or a number: exact, contains, numeric, token_f1, rouge_l. Pure.

Answers come normalised (normalise.answer_of), references are normalised here alike. All are linear in the answer but
rouge_l, whose quadratic part is bounded. Each has a check, which raises ValueError, in words, for a reference or
options that it cannot use; scorers take what their check let pass.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from benchsuite.errors import did_you_mean
from benchsuite.quality.normalise import answer_of
from benchsuite.results import AnswerScore

CJK = (
    "\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_LETTER = rf"[^\W\d_{CJK}]"
TOKEN = rf"\d++(?:[.,]\d++)*+|{_LETTER}++(?:['’]{_LETTER}++)*+|[{CJK}]"
_TOKEN = re.compile(TOKEN)
# of an answer that is compared by its longest common subsequence, which takes the product of both lengths; what is
# beyond it is counted as not in common: a score can only fall by it
MOST_TOKENS = 20_000
MOST_CHARS = 100_000  # of an answer, its last, in which a number is read
MOST_TEXTS = 10_000  # of a reference


_KINDS: dict[type | tuple[type, ...], str] = {
    bool: "true or false",
    str: "a text",
    (int, float): "a number",
    (str, list): "a text or a list of texts",
    (int, str): "a whole number or a text",
}


def check_options(options: Mapping[str, Any], known: Mapping[str, type | tuple[type, ...]]) -> None:
    """Raises ValueError for an option that is not known, or of another kind than the table says."""
    for name, value in options.items():
        if name not in known:
            expected = f"expected {', '.join(known)}" if known else "this scorer takes none"
            raise ValueError(f"unknown option {name!r}; {did_you_mean(name, known) or expected}")
        kind = known[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name} is {shortly(value)}; expected {_KINDS[kind]}")


def reference_texts(reference: Any) -> list[str]:
    """A text, or a list of accepted ones, normalised. Raises ValueError where there is none, or one is empty."""
    given = [reference] if isinstance(reference, str) else reference
    if not isinstance(given, list) or not given or not all(isinstance(text, str) for text in given):
        raise ValueError(f"reference is {shortly(reference)}; expected a text, or a list of accepted texts")
    if len(given) > MOST_TEXTS:
        raise ValueError(f"reference has {len(given):,} texts; expected at most {MOST_TEXTS:,}")
    texts = [answer_of(text)[0] for text in given]
    if not all(texts):
        raise ValueError(f"reference {shortly(reference)} has an empty text")
    return texts


def shortly(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


# exact


def exact(answer: str, reference: Any, _options: Mapping[str, Any], _prompt_text: str) -> AnswerScore:
    """1 if the answer is one of the accepted texts, without regard to case and to punctuation and spaces around it."""
    reading = _without_frame(answer)
    right = reading != "" and reading in {_without_frame(text) for text in reference_texts(reference)}
    return AnswerScore(float(right), reading, "equal" if right else "different")


def check_exact(reference: Any, options: Mapping[str, Any]) -> None:
    """reference: a text, or a list of accepted texts. No options."""
    check_options(options, {})
    reference_texts(reference)


def _without_frame(text: str) -> str:
    """Case folded, without punctuation around it; but a sign or point before a digit stays, and signs that mean
    something (5%, C#); a text of nothing else stays whole.
    """
    text = unicodedata.normalize("NFKC", text.casefold()).strip()

    def is_frame(char: str) -> bool:
        return char in " \n\t`" or (unicodedata.category(char)[0] in "PZC" and char not in "%‰#&@/\\")

    start, end = 0, len(text)
    while start < end and is_frame(text[start]):
        start += 1
    while end > start and is_frame(text[end - 1]):
        end -= 1
    if start < end and text[start].isdigit():
        start -= len(re.search(r"[-–‐]?\.?$", text[max(0, start - 2) : start])[0])  # type: ignore[index]
    return text[start:end] or text


# contains

# what takes a negation back, or is none; else what negates, and how far: six characters or three words, in one clause
_NEGATION = re.compile(
    r"(?:(?:不能?|不可|无法|未能?|尚未|难以?)(?:完全)?排除|无[疑论非]|不仅"
    r"|\bno (?:doubt|other than)\b|\bnot (?:only|just)\b"
    r"|(?:\bcan ?not|n't|\bnot|\bunable to)(?: be)?(?: \w{1,15})? (?:rul(?:ed?|ing) out|exclud(?:ed?|ing))\b)"
    r"|(?P<cue>排除|不(?:考虑|支持|符合|是)|无|没有|未见|否认|并非"
    r"|\b(?:no|not|never|neither|nor|cannot|without|absence of|negative for"
    r"|rul(?:ed?|es|ing) out|exclud(?:ed?|es|ing)|den(?:y|ies|ied))\b|n't\b)"
    r"(?=(?P<chars>(?:(?!\bbut\b)[^,.;!?。\n但而]){0,6}))"
    rf"(?=(?P<words>(?:[^\w,.;!?。\n]*+(?!but\b)[^\W{CJK}]{{1,40}}+){{0,3}}[^\w,.;!?。\n]*+))"
)


def contains(answer: str, reference: Any, options: Mapping[str, Any], _prompt_text: str) -> AnswerScore:
    """The share of items of which the answer has a synonym that is not negated; with the option all: 1 only for all.

    Found without regard to case (but an abbreviation of up to five capitals is in capitals), at word boundaries where
    it begins or ends in a letter or digit other than CJK. Negated: within six characters or three words after a
    negation (排除, 无, 不考虑, no, not, rule out, without and their like), in the same part of a sentence; "cannot rule
    out", 不能排除, "not only" are no negations. parts: items, found, negated (items found only so).
    """
    text = re.sub(r"[^\S\n]+", " ", answer)
    folded = _folded(text)
    found, negated = [], 0
    begins: list[int] | None = None
    for item in reference:
        places = [
            (start, name)
            for name in ([item] if isinstance(item, str) else item)
            for start in _starts(text, folded, answer_of(name)[0])
        ]
        if places and begins is None:
            cues = [cue for cue in _NEGATION.finditer(folded) if cue["cue"]]
            begins = [cue.end("cue") for cue in cues]
            ends = [-1, *accumulate((max(cue.end("chars"), cue.end("words")) for cue in cues), max)]
        kept = [name for start, name in places if start > ends[bisect_right(begins or [], start)]]
        found += kept[:1]
        negated += bool(places) and not kept
    share = len(found) / len(reference)
    how = "all" if share == 1 else "some" if found else "negated" if negated else "none"
    parts = {"items": len(reference), "found": len(found), "negated": negated}
    return AnswerScore(float(share == 1) if options.get("all") else share, "; ".join(found), how, parts)


def check_contains(reference: Any, options: Mapping[str, Any]) -> None:
    """reference: a list of items, each a text or a list of synonyms. Options: all (true or false)."""
    check_options(options, {"all": bool})
    if not isinstance(reference, list) or not reference:
        raise ValueError(f"reference is {shortly(reference)}; expected a list of items, each a text or its synonyms")
    if (n := sum(len(item) if isinstance(item, list) else 1 for item in reference)) > MOST_TEXTS:
        raise ValueError(f"reference has {n:,} texts; expected at most {MOST_TEXTS:,}")
    for item in reference:
        reference_texts(item)


def _folded(text: str) -> str:
    """In lower case, of the same length: places in it are places in the text."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _starts(text: str, folded: str, item: str) -> Iterator[int]:
    """Where the item stands in the text."""
    item = re.sub(r"\s+", " ", item)
    short = item.isascii() and item.isupper() and 1 < len(item) <= 5
    whole, item = (text, item) if short else (folded, _folded(item))
    start = whole.find(item)
    while start >= 0:
        end = start + len(item)
        if not (_joined(whole[max(0, start - 1) : start + 1]) or _joined(whole[end - 1 : end + 1])):
            yield start
        start = whole.find(item, start + 1)


def _joined(two: str) -> bool:
    """True if two characters are of one word of a script that writes spaces."""
    return len(two) == 2 and _JOINED.fullmatch(two) is not None


_JOINED = re.compile(rf"[^\W_{CJK}]{{2}}")


# numeric


class _Number(NamedTuple):
    """start, end: in the text, with its sign, power and multiplier. value: None where it can be read in two ways."""

    start: int
    end: int
    value: float | None
    plain: bool  # without a power of ten and a multiplier such as 万


_MINUS = "-−–‐‒"
_RUN = re.compile(r"\d{4}-\d\d?-\d\d?(?!\d)|\d++(?:[.,'’:/]\d++)*+|(?<![\d.])\.\d++", re.ASCII)
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:[,'’]\d{3})++(?:\.\d++)?", re.ASCII)
_POWER = re.compile(
    rf"[eE](?P<e>[+{_MINUS}]?\d{{1,4}})(?![\w.])"
    rf"|\s?[×xX*·]?\s?10\s?(?:\^|\*\*)\s?[{{(]?(?P<caret>[+{_MINUS}]?\d{{1,4}})[}})]?"
    rf"|\s?[×xX*·]\s?10(?P<raised>[+{_MINUS}]?[1-9]\d?)(?![\d.,])", re.ASCII
)  # fmt: skip
_TEN = re.compile(rf"\s?(?:\^|\*\*)\s?[{{(]?([+{_MINUS}]?\d{{1,3}})[}})]?", re.ASCII)
_MULTIPLIER = re.compile(r"\s?(?:(万亿)|(亿)|(千万)|(百万)|(万)|(?i:(thousand)|(million)|(billion)|(trillion))\b)")
_POWERS = (12, 8, 7, 6, 4, 3, 6, 9, 12)  # of ten, in the order of the groups above
_STRONG = re.compile(
    r"\banswer\b(?:[^\n.;!?0-9]{0,40}?(?:\bis\b|\bwas\b|\bequals\b|[:=]))?|答案(?:应?[为是]|[:=])?|\\boxed|#{4}", re.I
)
_WEAK = re.compile(r"(?<![<>!=])=(?![=>])|≈|≒|(?<![预节制条合])约|(?<![因认作以成称分行])为|等于|\bequals?\b", re.I)
# what may stand between a cue and its number
_FILL = re.compile(
    r"(?:[\s*_`\"'“”()\[\]{}:$¥€£~≈=]|about|approximately|approx\.?|roughly|around|exactly|大?约|大概|等于|应?[是为]|即|共"
    r"|百分之|负|零下|minus\b|\+)*+",
    re.I,
)  # fmt: skip
# what makes two numbers one statement: a range, a choice, a list, a sum
_LINK = re.compile(
    r"[^\d\n.;!?。=]{0,12}?(?:[-−–—~〜∼+×*÷/^,、]|至|到|或者?|和|与|\b(?:to|or|and|minus|plus|times)\b)[\s$¥€£(]*"
    r"|\s?(?:小?时|分|天|米|元|个?月|年|岁|周|h|hrs?|hours?|ft|feet|min(?:ute)?s?|lbs?|(?:day|week|month|year)s?)[又零]?\s?",
    re.I,
)
_ALTERNATIVE = re.compile(r"[^\d\n.;。]{0,20}?(?:\bor\b|或)[^\d\n.;。]{0,20}", re.I)
# more or less than the number; "at least" and its like may state the least one
_BOUND = re.compile(
    r"(?:(?<![<>=-])[<>]|(?<!no )(?<!not )\b(?:more|less|greater|fewer|higher|lower) than"
    r"|\b(?:over|under|above|below|exceeds?)"
    r"|(?<!不)(?:[大小高低多少]于|超过|不足|不到))\s?$",
    re.I,
)
_SENTENCE_END = re.compile(r"[\n。;!?]|\.(?!\d)")
_NOT = re.compile(r"(?:\bnot\b|n't\b|不[是为])[^\d,]*$", re.I)
_MATH: tuple[tuple[re.Pattern[str], str], ...] = (  # LaTeX and tags as plain text
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\s?\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[dt]?frac\{(\d{1,15})\}\{(\d{1,15})\}"), r"\1/\2"),
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),
    (re.compile(r"\\[,;:!]"), ""),
    (re.compile(r"\\(?:times|cdot)\b ?"), "×"),
    (re.compile(r"\\approx\b"), "≈"),
    (re.compile(r"</?[A-Za-z][\w-]{0,30}>"), " "),
    (re.compile(r"\^\{?\\circ\}?"), "°"),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\$\$|\\[()\[\]]"), " "),
    (re.compile(r"\$([^$\n]{1,80})\$(?!\d)"), r" \1 "),
)
_CURRENCIES = {
    "$": ("usd", "dollar", "dollars", "美元"), "¥": ("cny", "rmb", "yuan", "元", "人民币"),
    "€": ("eur", "euro", "euros", "欧元"), "£": ("gbp", "pound", "pounds", "英镑"),
}  # fmt: skip
# after a space a word is another unit only if it is one of these; without a space any is
_UNITS = re.compile(
    r"[kmμunp]?g|mcg|t|lbs?|oz|[mdcμ]?l|[cmkμn]?m|ft|inch(?:es)?|miles?|m?s|sec|seconds?|mins?|minutes?|h|hrs?|hours?|d"
    r"|days?|weeks?|months?|years?|[mμn]?mol|meq|iu|u|units?|mmhg|k?pa|bar|[kmg]?hz|[kmgt]b|[km]?w|kwh|k?j|k?cal|v|k|bpm"
    r"|usd|eur|gbp|cny|rmb|dollars?|euros?|yuan|pounds?|tablets?|pills?|drops?|°[cf]?|[‰$¥€£]"
    r"|degrees?|(?:kilo|milli|centi|micro)?(?:gram(?:me)?|met(?:er|re)|lit(?:er|re)|watt|joule|volt|mole|hertz)s?", re.I
)  # fmt: skip
_CJK_UNITS = re.compile(
    r"毫米汞柱|国际单位|[毫微]?摩尔|摄氏度|[毫微千]?克|公[斤里]|[毫微分]?升|[毫厘千]?米|小时|分钟|千?瓦|千帕|千卡|单位|[美欧日]?元|英镑"
    r"|[斤吨秒天日周月年岁度次片粒支瓶人例倍]"
)
_WORD_AFTER = re.compile(rf"[^\W\d_{CJK}]{{1,20}}|°[CF]?|[%‰$¥€£]")


def numeric(answer: str, reference: Any, options: Mapping[str, Any], _prompt_text: str) -> AnswerScore:
    """1 if the number that the answer states is the reference, within max(abs_tol, rel_tol * |reference|).

    Read is (how: `stated`) the number after the last "answer is", 答案, \\boxed or ####; else the one after the last =,
    ≈, 约, 为, if it is the last of its sentence; else the last of the sentence with "answer"; else (`only`) the only
    number of the answer. `unread`: ranges, choices, sums, "more than 5" and 超过 (but "at least" and 至少 are read: the
    least one may be asked), 3 h 30 min, several numbers without a cue, and what can be read in two ways: "1,5" is a
    list or has a decimal comma ("1,500" is 1500); dates, times and ratios are no numbers, a/b is a fraction.
    Normalised answers have no raised digits: "5×103", by a factor below 10, is 5×10³.
    Only the last MOST_CHARS are read.
    unit: may be left out (but for unit_required: `no_unit`); another one scores 0 (`wrong_unit`). "50%" is 50 of the
    unit "%"; without a unit it is 50 or 0.5. 万, million and the 10^9 of a unit such as "10^9/L" multiply.
    """
    text = answer[-MOST_CHARS:]
    for pattern, plain in _MATH if re.search(r"[\\$<]", text) else ():
        text = pattern.sub(plain, text)
    number, how = _stated(text)
    if number is None or number.value is None:
        return AnswerScore(0.0, how="unread")
    target, units = _known_number(reference), _units(options.get("unit"))
    scale = units[0][1] if units else 1.0
    end, fault, percent = _unit_at(text, number, [unit for unit, _ in units])
    reading = text[number.start : end].strip()
    if fault == "wrong_unit" or (fault and options.get("unit_required")):
        return AnswerScore(0.0, reading, fault)
    value = number.value * (scale if fault and number.plain else 1)
    within = scale * max(options.get("abs_tol", 0), max(options.get("rel_tol", 0), 1e-12) * abs(target))
    right = any(
        abs(v - target * scale) <= within for v in ((value, value / 100) if percent and not units else (value,))
    )
    return AnswerScore(float(right), reading, how)


def check_numeric(reference: Any, options: Mapping[str, Any]) -> None:
    """reference: a number, or a text that is one. Options: abs_tol, rel_tol (a share), unit (one, or a list of its
    spellings), unit_required (true or false).
    """
    check_options(
        options, {"abs_tol": (int, float), "rel_tol": (int, float), "unit": (str, list), "unit_required": bool}
    )
    _known_number(reference)
    for name, most in (("abs_tol", math.inf), ("rel_tol", 1)):
        if not 0 <= options.get(name, 0) <= most or options.get(name, 0) == math.inf:
            raise ValueError(
                f"{name} is {options[name]}; expected a number of at least 0" + ", at most 1" * (most == 1)
            )
    if "unit" in options:
        reference_texts(options["unit"])
        if len({size for _, size in _units(options["unit"])}) > 1:
            raise ValueError(f"unit {options['unit']!r} names units of different size; expected spellings of one")
    elif options.get("unit_required"):
        raise ValueError("unit_required needs the option unit")


def _known_number(reference: Any) -> float:
    value = reference
    if isinstance(reference, str):
        text = answer_of(reference)[0]
        numbers = list(_numbers(text))
        value = numbers[0].value if len(numbers) == 1 and numbers[0][:2] == (0, len(text)) else None
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise ValueError(f"reference is {shortly(reference)}; expected a number")


def _numbers(text: str) -> Iterator[_Number]:
    end = 0
    for run in _RUN.finditer(text):
        if run.start() < end:
            continue  # of a power
        start, end = run.span()
        before = text[max(0, start - 16) : start]
        negative = re.search(
            rf"(?:^|[^\w)\]}}%°{_MINUS}—]|[{CJK}])[{_MINUS}]$|(?:^|[\s(:=是为约])—$|(?:负|零下|minus )$", before
        )
        if negative:
            start = start - 1 if before[-1] in _MINUS + "—" else start
        elif re.search(rf"(?:[^\W\d{CJK}][{_MINUS}]?|第|±\s?|\+/-\s?|\^[{{(]?)$", before):
            continue  # of a name (B12, COVID-19), an ordinal, a tolerance, an exponent
        if re.match(r"(?:st|nd|rd|th)\b", text[end : end + 3]):
            continue  # 1st
        digits, power, plain = run[0], 0, True
        if _GROUPED.fullmatch(digits):
            digits = re.sub(r"[,'’]", "", digits)
        if len(digits) > 400 or re.search(r"[,'’:-]|\..*\.|/.*/|/0*$", digits) or _BOUND.search(before):
            yield _Number(start, end, None, True)
            continue
        above, _, below = digits.partition("/")
        raised = _POWER.match(text, end)
        if digits == "10" and (raised_ten := _TEN.match(text, end)):
            above, raised, power = "1", None, int(re.sub(rf"[{_MINUS}]", "-", raised_ten[1]))
            end, plain = raised_ten.end(), False
        if raised and not (raised["raised"] and not 1 <= float(above) < 10):
            power = int(re.sub(rf"[{_MINUS}]", "-", raised[raised.lastgroup or "e"]))
            end, plain = raised.end(), False
        if multiplier := _MULTIPLIER.match(text, end):
            power, end, plain = power + _POWERS[(multiplier.lastindex or 1) - 1], multiplier.end(), False
        value = float(f"{above}e{power}") / float(below or 1)
        yield _Number(start, end, (-value if negative else value) if math.isfinite(value) else None, plain)


def _stated(text: str) -> tuple[_Number | None, str]:
    """The number that the text states, and how."""
    numbers = list(_numbers(text))
    starts = [number.start for number in numbers]

    def linked(place: int) -> bool:
        """True if the number is one statement with the next one."""
        if place + 1 >= len(numbers):
            return False
        between = text[numbers[place].end : numbers[place + 1].start]
        return len(between) < 40 and _LINK.fullmatch(between) is not None

    def follows(cue: re.Match[str]) -> int | None:
        """The place of the number that stands right after a cue."""
        place = bisect_left(starts, cue.end())
        if place == len(starts) or starts[place] - cue.end() > 60:
            return None
        return place if _FILL.fullmatch(text, cue.end(), starts[place]) else None

    def sentence_end(place: int) -> int:
        end = _SENTENCE_END.search(text, numbers[place].end)
        return bisect_left(starts, end.start() if end else len(text))

    answers = list(_STRONG.finditer(text))
    direct = [place for cue in answers if (place := follows(cue)) is not None]
    if direct and not linked(direct[-1]):
        return numbers[direct[-1]], "stated"
    cues = _WEAK.finditer(text, answers[-1].end() if answers else 0)
    placed = [(cue.start(), place) for cue in cues if (place := follows(cue)) is not None]
    # "5 (n = 10)": what is said in brackets only if nothing is outside
    outside = [p for s, p in placed if text.rfind("(", max(0, s - 60), s) <= text.rfind(")", max(0, s - 60), s)]
    weak = outside or [place for _, place in placed]
    if weak:
        last = weak[-1]
        apart = last and numbers[last - 1].value != numbers[last].value
        if sentence_end(last) > last + 1 or (
            apart and _ALTERNATIVE.fullmatch(text, numbers[last - 1].end, starts[last])
        ):
            return None, "unread"
        return numbers[last], "stated"
    if direct:
        return None, "unread"
    first = bisect_left(starts, answers[-1].end()) if answers else len(starts)
    if first < len(starts) and not _SENTENCE_END.search(text, answers[-1].end(), starts[first]):
        place, how = sentence_end(first) - 1, "stated"
    elif len({number.value for number in numbers}) == 1:
        place, how = 0, "only"
    else:
        return None, "unread"
    if (place and linked(place - 1)) or _NOT.search(text[max(0, starts[place] - 30) : starts[place]]):
        return None, "unread"
    return numbers[place], how


def _units(given: str | list[str] | None) -> list[tuple[str, float]]:
    """The spellings of a unit without the power of ten that they begin with, and that power."""
    units = []
    for text in [given] if isinstance(given, str) else given or []:
        unit = re.sub(r"\s*/\s*", "/", answer_of(text)[0])
        power = re.match(r"[×x*]?\s?10\s?\^?([1-9]\d?)\s?[×x*·]?\s?", unit) or _MULTIPLIER.match(unit)
        exponent = 0
        if power and power.end() < len(unit):
            exponent = int(power[1]) if power.re is not _MULTIPLIER else _POWERS[(power.lastindex or 1) - 1]
            unit = unit[power.end() :].strip()
        units.append((unit, 10.0**exponent))
    return units


def _unit_at(text: str, number: _Number, units: list[str]) -> tuple[int, str, bool]:
    """Where the number's unit ends; "", `no_unit` or `wrong_unit`; and whether it is a percentage."""
    percent = re.match(r"\s?(?:%|per ?cent\b)", text[number.end : number.end + 12], re.I)
    if percent or text[max(0, number.start - 3) : number.start] == "百分之":
        end = number.end + (percent.end() if percent else 0)
        return end, "" if not units or "%" in units else "wrong_unit", True
    if not units:
        return number.end, "", False
    if currency := re.search(r"([$¥€£])\s?$", text[max(0, number.start - 2) : number.start]):
        known = any(unit.lower() in (currency[1], *_CURRENCIES[currency[1]]) for unit in units)
        return number.end, "" if known else "wrong_unit", False
    after = re.sub(r"\s*/\s*", "/", text[number.end : number.end + 60])
    lead = re.match(r"[\s*_`]*个?", after)
    space = "" if lead is None else lead[0]
    after = after[len(space) :]
    for unit in sorted(units, key=len, reverse=True):
        there, more = after[: len(unit)], after[len(unit) :]
        # in other case it is the same unit, but for mW and MW
        case = there.lower() == unit.lower() and not ({there[0], unit[0]} == {"m", "M"} and there[1:] == unit[1:])
        if (there == unit or case) and not re.match(r"[/^·每]|\s?per\b", more) and not _joined(unit[-1] + more[:1]):
            return number.end + len(space) + len(unit), "", False
    other = _CJK_UNITS.match(after) or _WORD_AFTER.match(after)
    if other and (other.re is _CJK_UNITS or not space or _UNITS.fullmatch(other[0])):
        return number.end + len(space) + other.end(), "wrong_unit", False
    return number.end, "no_unit", False


# token_f1 and rouge_l


def token_f1(answer: str, reference: Any, _options: Mapping[str, Any], _prompt_text: str) -> AnswerScore:
    """F1 of the bags of tokens (each CJK character, each other word or number; case folded), the best over references.

    Source: SQuAD's F1 (Rajpurkar et al. 2016, arXiv:1606.05250), without its removal of articles.
    """
    return _best(answer, reference, lambda given, known: (Counter(given) & Counter(known)).total())


def rouge_l(answer: str, reference: Any, _options: Mapping[str, Any], _prompt_text: str) -> AnswerScore:
    """F1 (beta 1) of the longest common subsequence of the same tokens, the best over references.

    Of more than MOST_TOKENS tokens the answer's others count as not in common. Source: Lin 2004 (ROUGE), section 3.
    """
    from rapidfuzz.distance import LCSseq

    return _best(answer, reference, lambda given, known: LCSseq.similarity(given[:MOST_TOKENS], known))


def check_tokens(reference: Any, options: Mapping[str, Any]) -> None:
    """reference: a text, or a list of accepted texts, each with a word and of at most MOST_TOKENS. No options."""
    check_options(options, {})
    for text in reference_texts(reference):
        if not 0 < (n := len(_tokens(text))) <= MOST_TOKENS:
            raise ValueError(f"reference {shortly(text)} has {n:,} words and characters; expected 1 to {MOST_TOKENS:,}")


check_token_f1 = check_rouge_l = check_tokens


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.casefold())


def _best(answer: str, reference: Any, common: Callable[[list[str], list[str]], int]) -> AnswerScore:
    given, best = _tokens(answer), (0.0, 0.0, 0.0)
    for text in reference_texts(reference):
        known = _tokens(text)
        if shared := common(given, known):
            best = max(best, (2 * shared / (len(given) + len(known)), shared / len(given), shared / len(known)))
    parts = {"precision": best[1], "recall": best[2]}
    return AnswerScore(best[0], answer, "tokens" if given else "unread", parts)
