"""Exams as rows: questions with options and answers, and the sample files of lm-eval and evalscope.

A row becomes one request that asks for the letter in the row's language, scored by `choice` or `choices`. Nothing is
guessed: an answer is a letter, the text of one option, or its number; whether numbers count from 0 or from 1 is decided
by all rows of a file (`Answers`), and where they leave it open the file is refused.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

from benchsuite.errors import did_you_mean, read_json
from benchsuite.workload.dataset import Prompt
from benchsuite.workload.readers import column_key, json_cell

Row = dict[str, Any]

_QUESTIONS = ("question", "题目", "问题", "题干", "query", "problem", "question_stem", "stem", "sent1")
_ASKED = (*_QUESTIONS, "prompt", "input")  # these two only beside a column for each option
_OPTIONS = ("options", "choices", "option", "选项", "candidates")
# the first that a row has is its answer, the others must say the same
_ANSWERS = (
    "answer_idx", "answerkey", "answer_key", "correct_option", "cop", "answer", "答案", "正确答案", "标准答案",
    "参考答案", "correct_answer", "answers", "gold", "label", "target", "answer_index", "reference",
)  # fmt: skip
_COLUMN = re.compile(
    r"(?P<prefix>(?:option|choice|选项|op)?_?)(?P<letter>[a-j])|(?:option|choice|选项|ending)_?(?P<digit>\d)"
)
_SEVERAL = re.compile(r"多选|多项选择|不定项|multiple[- _]?(answers?|select|response)|multi[- _]?select", re.I)
_TYPES = ("question_type", "题型", "类型", "type")
_LABELLED = re.compile(r"[(（\[]?([A-Z])\s*(?:[)）\].、．:：]\s*|\s+)", re.I)
_CJK = re.compile("[\u3400-\u9fff]")
_ROLE = re.compile(r"\A\*\*User\*\*:[ ]*\n?|^\*\*(?:System|Assistant|User)\*\*:", re.M)
_NUMBER = re.compile(r"-?[\d,]*\.?\d+")
_NO_HEADER = {"cop", "option", "stem", "candidates"}  # words that a line of text may begin with
COLUMNS = {*_OPTIONS, *_QUESTIONS, *_ANSWERS[:12], "opa", "opb"} - _NO_HEADER
_ASK = {
    ("en", False): 'Exactly one option is correct. Reply with its letter only, in the form "Answer: X".',
    ("en", True): 'One or more options are correct. Reply with all of their letters only, in the form "Answer: XYZ".',
    ("zh", False): "只有一个选项正确。请只回答该选项的字母，格式为“答案：X”。",
    ("zh", True): "有一个或多个选项正确。请只回答所有正确选项的字母，格式为“答案：XYZ”。",
}
LETTER, TEXT, FROM_0, FROM_1 = "a letter", "an option's text", "a number from 0", "a number from 1"


def is_exam(row: Row) -> bool:
    """Whether a row has a question and options."""
    keys = [key for key in _OPTIONS if _may_be_options(row.get(key))]
    return any(key in row for key in (_QUESTIONS if keys else _ASKED)) and bool(keys or _columns(row))


def _may_be_options(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and ({"text", "label"} <= value.keys() or all(re.fullmatch("[A-Za-z]", k) for k in value))
    return isinstance(value, list | str) and bool(value)


def _columns(row: Row) -> dict[str, list[str]]:
    """The columns of options, by how they are spelled; a row has one spelling of them, from A, or from 0 or 1, on."""
    found: dict[str, list[str]] = {}
    for key in row:
        if match := _COLUMN.fullmatch(key):
            found.setdefault(match["prefix"] if match["letter"] else "#", []).append(key)
    return {prefix: keys for prefix, keys in found.items() if len(keys) > 1}


def read_exam(row: Row, notes: Counter[str]) -> Row:
    """The request of a row that has a question and options, with `readings`: what its answer may mean, a label each."""
    keys = [key for key in _OPTIONS if _may_be_options(row.get(key))]
    name = next(key for key in (_QUESTIONS if keys else _ASKED) if key in row)
    question, texts = row.pop(name), _options(row, keys)
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"{name}: expected the text of a question, given {question!r:.40}")
    labels = ascii_uppercase[: len(texts)]
    several = any(_SEVERAL.search(str(row.get(key, ""))) for key in _TYPES)
    answers = {key: value for key in _ANSWERS if (value := row.pop(key, None)) is not None and not _blank(value)}
    readings = _readings(answers, texts, notes)
    if not answers:
        notes["questions without an answer: sent, not scored"] += 1
    if len({_plain(text) for text in texts}) < len(texts):
        notes["questions with two equal options, none of them the answer"] += 1
    several = several or any(len(label) > 1 for label in readings.values())
    language = "zh" if _CJK.search(question) else "en"
    context = [row.pop(key) for key in ("context", "passage", "article") if isinstance(row.get(key), str)]
    lines = [f"{label}. {text}" for label, text in zip(labels, texts, strict=True)]
    prompt = "\n\n".join([*context, question.strip(), "\n".join(lines), _ASK[language, several]])
    values: Row = {"prompt": prompt, "system": row.pop("system", None), "readings": readings}
    values |= {} if "tags" in row else {"tags": [language]}
    scorer = "choices" if several else "choice"
    return values | {"scorer": {"name": scorer, "labels": labels}}


def _blank(value: Any) -> bool:
    return value in ("", -1, "-1", []) or (isinstance(value, str) and not value.strip())


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())  # the case stays: Gg is not gg


def _options(row: Row, keys: Sequence[str]) -> list[str]:
    """The texts of a row's options, from A on, taken out of it."""
    if keys:
        where, value = keys[0], row.pop(keys[0])
        if isinstance(value, str):
            value = _of_text(value, where)
        if isinstance(value, dict) and {"text", "label"} <= value.keys():
            value = value["text"]
        if isinstance(value, dict):
            value = [value.get(key) for key in _in_order([*value], where)]
    else:
        columns = max(_columns(row).values(), key=len)
        order = sorted(columns, key=lambda key: key[-1])
        where = ", ".join(order)
        marks = "".join(key[-1] for key in order)
        wanted = next(all_ for all_ in (ascii_uppercase.lower(), "0123456789"[marks[0] == "1" :]) if marks[-1] in all_)
        if missing := {*wanted[: wanted.index(marks[-1])]} - {*marks}:
            raise ValueError(f"options: {min(missing).upper()} is missing, where {marks[-1].upper()} is there")
        value = [row.pop(key) for key in order]
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list of options, given {value!r:.40}")
    texts = [next((one[key] for key in ("text", "value", "content") if key in one), None) if isinstance(one, dict)
             else one for one in value]  # fmt: skip
    while texts and (texts[-1] is None or not str(texts[-1]).strip()):  # E of a question with four
        texts.pop()
    if not 2 <= len(texts) <= len(ascii_uppercase):
        raise ValueError(f"{where}: {len(texts)} options that are not empty; expected 2 to {len(ascii_uppercase)}")
    for label, text in zip(ascii_uppercase, texts, strict=False):
        if text is None or isinstance(text, bool | list | dict) or not str(text).strip():
            raise ValueError(f"{where}: option {label} is no text, or empty, and a later one is not")
    found = [str(text).strip() for text in texts]
    own = [_LABELLED.match(text) for text in found]
    if all(m and m[1].upper() == ascii_uppercase[k] and m.end() < len(m.string) for k, m in enumerate(own)):
        found = [text[m.end() :] for text, m in zip(found, own, strict=True) if m]
    return found


def _in_order(keys: list[str], where: str) -> list[str]:
    order = sorted(keys, key=str.upper)
    if "".join(order).upper() != ascii_uppercase[: len(order)]:
        raise ValueError(f"{where}: the labels are {', '.join(keys)}; expected A, B, ... without a gap")
    return order


def _of_text(text: str, where: str) -> Any:
    """Options in one text: JSON, Python's notation of it, or a line (or a place) for each, begun by its letter."""
    if text.lstrip()[:1] in ("[", "{"):
        for read in (read_json, ast.literal_eval):
            try:
                return read(text.strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
    for form in (
        r"^\s*[(（\[]?([A-Z])\s*(?:[)）\].、．:：]|\s)\s*",
        r"(?:^|\s|[;；|])[(（\[]?([A-Z])[)）\].、．:：]\s*",
    ):
        parts = re.split(form, text, flags=re.M)
        labels = parts[1::2]
        if len(labels) > 1 and not parts[0].strip():
            if twice := [label for label, n in Counter(labels).items() if n > 1]:
                raise ValueError(f"{where}: option {twice[0]} is there twice")
            return dict(zip(_in_order(labels, where), (part.strip(" \n;；|") for part in parts[2::2]), strict=True))
    raise ValueError(f"{where}: expected options as A. ..., B. ..., given {text!r:.60}")


def _readings(answers: Mapping[str, Any], texts: Sequence[str], notes: Counter[str]) -> dict[str, str]:
    """What the first of the answers may mean, by the way it is read. Raises ValueError where it means none of the
    options, or another answer of the row says otherwise.
    """
    first: dict[str, str] = {}
    for key, value in answers.items():
        several = value if isinstance(value, list) else [value]
        each = [_read(one, texts) for one in several]
        ways = [way for way in (LETTER, TEXT, FROM_0, FROM_1) if all(way in one for one in each)]
        found = {way: "".join(sorted({*"".join(one[way] for one in each)})) for way in ways}
        if not found and not first:
            labels = ", ".join(ascii_uppercase[: len(texts)])
            raise ValueError(f"{key}: {value!r:.60} is none of the options {labels}, nor the text or number of one")
        if first and found and not {*found.values()} & {*first.values()}:
            raise ValueError(f"{key}: {value!r:.40} says {', '.join({*found.values()})}, where another column of the "
                             f"answer says {', '.join({*first.values()})}")  # fmt: skip
        if not found:
            notes[f"questions whose {key} is no option, where another column says which is right"] += 1
        first = first or found
    plain = [_plain(text) for text in texts]
    for label in "".join(first.values()):
        if plain.count(plain[ascii_uppercase.index(label)]) > 1:
            raise ValueError(f"options: {label} and another have the same text, and one of them is the answer")
    return first


def _read(value: Any, texts: Sequence[str]) -> dict[str, str]:
    """By the way it is read the label, or labels, that an answer names."""
    labels, found = ascii_uppercase[: len(texts)], dict[str, str]()
    text = unicodedata.normalize("NFKC", str(value)).strip()
    same = [label for label, option in zip(labels, texts, strict=True) if _plain(option) == _plain(text)]
    if isinstance(value, str):
        letters = re.sub(
            r"^(?:op|option|choice|选项)[_ ]?(?=[A-Za-z]$)|[\s,、;/和&()\[\]【】.。]|\band\b", "", text, flags=re.I
        )
        letters = letters.upper() if len(letters) == 1 else letters
        headed = _LABELLED.match(text)
        if letters and {*letters} <= {*labels} and len({*letters}) == len(letters):
            found[LETTER] = letters
        elif (
            headed and (at := labels.find(headed[1].upper())) >= 0 and _plain(texts[at]) == _plain(text[headed.end() :])
        ):
            found[LETTER] = labels[at]
        if len(same) > 1 and not found:
            raise ValueError(f"options: {' and '.join(same)} have the same text, and it is the answer")
        if same:
            found[TEXT] = same[0]
    if not isinstance(value, bool) and re.fullmatch(r"\d{1,2}(\.0)?", text):
        number = int(float(text))
        found |= {FROM_0: labels[number]} if number < len(labels) else {}
        found |= {FROM_1: labels[number - 1]} if 1 <= number <= len(labels) else {}
    return found


class Answers:
    """What a file's answers are: decided by the rows whose answer can be read in one way only."""

    def __init__(self) -> None:
        self.proved: dict[str, int] = {}  # by the way of reading the first row that has no other
        self.numbers = False  # a row has one that may count from 0 or from 1
        self.open = False  # the answer of a row may mean several

    def first_look(self, prompt: Prompt, readings: Mapping[str, str], number: int) -> Prompt:
        """The prompt with its reference, or, where only the whole file tells, with what it may be."""
        if len(readings) == 1:
            self.proved.setdefault(next(iter(readings)), number)
        if len({*readings.values()}) == 1:
            return prompt
        self.open = True
        self.numbers = self.numbers or {*readings} == {FROM_0, FROM_1}
        return replace(prompt, reference=dict(readings))

    @property
    def undecided(self) -> bool:
        """Whether it is not known yet if numbers count from 0 or from 1."""
        return self.numbers and not {FROM_0, FROM_1} & self.proved.keys()

    def doubt(self, unit: str) -> str | None:
        """Why the numbers of a file cannot be read; unit: line or row. None where they can, or there are none."""
        if {FROM_0, FROM_1} <= self.proved.keys():
            zero, most = (f"{unit} {self.proved[way]}" for way in (FROM_0, FROM_1))
            return f"the answers are numbers that count neither from 1 ({zero}) nor from 0 ({most})"
        no_row = f"no {unit} has the answer 0, and none the number of its options"
        alone = self.undecided and not self.proved  # else the rows are named, one by one
        return f"the answers are numbers that may count from 0 or from 1: {no_row}" if alone else None

    def decided(self, prompt: Prompt) -> Prompt:
        """The prompt with its reference. Raises ValueError where the file leaves it open."""
        readings = prompt.reference
        if not isinstance(readings, dict) or not readings.keys() <= {LETTER, TEXT, FROM_0, FROM_1}:
            return prompt
        labels = {label for way, label in readings.items() if way in self.proved}
        if len(labels) != 1:
            means = " or ".join(f"{label} as {way}" for way, label in readings.items())
            raise ValueError(f"the answer may be {means}, and the other rows do not tell which")
        return replace(prompt, reference=labels.pop())


def is_lm_eval(row: Row) -> bool:
    return "arguments" in row and (isinstance(row.get("doc"), dict) or "resps" in row)


def read_lm_eval(row: Row, notes: Counter[str]) -> Row:
    """A line of lm-eval's samples_*.jsonl: a generation as it was sent; a choice by log-likelihood as a question.

    Of a document's lines, one for each filter, the first counts (`_Reader.prompt`).
    """
    doc = row.pop("doc", None)
    doc = {column_key(key): one for key, one in doc.items() if one is not None} if isinstance(doc, dict) else {}
    given, target, metrics = row.pop("arguments"), row.pop("target", None), row.pop("metrics", None)
    given = [*given.values()] if isinstance(given, dict) else given
    calls = [[*one.values()] if isinstance(one, dict) else one for one in given] if isinstance(given, list) else []
    if not calls or not all(isinstance(call, list) and call for call in calls):
        raise ValueError(f"arguments: expected those of a call each, given {given!r:.60}")
    identity = {"id": f"doc-{row.pop('doc_id')}"} if "doc_id" in row else {}
    done = ("resps", "filtered_resps", "filter", "doc_hash", "prompt_hash", "target_hash")
    for key in (*done, *(metrics if isinstance(metrics, list) else ())):
        row.pop(str(key), None)
    settings = calls[0][1] if len(calls[0]) > 1 else {}
    exam = dict(doc) if is_exam(doc) else None
    if not isinstance(settings, dict):  # of log-likelihoods: the choices are what continues the text
        if exam is None:
            raise ValueError(f"doc: no question with options in it, of which a request could be made in place of "
                             f"log-likelihoods; it has {', '.join(doc)[:200]}")  # fmt: skip
        said = str(target).strip()
        places = [int(said)] if re.fullmatch(r"1?\d|2[0-5]", said) else []
        places = places or [k for k, call in enumerate(calls[:26]) if str(call[-1]).strip() == said]
        if len(places) == 1:  # the call, from 0 on, whatever the document's own answer counts from
            exam = {key: value for key, value in exam.items() if key not in _ANSWERS}
            exam["answer"] = ascii_uppercase[places[0]]
        asked = read_exam({**exam}, notes)
        if len(places) == 1:
            asked["readings"] = {LETTER: exam["answer"]}
        if len(calls) % (n_options := len(asked["scorer"]["labels"])):
            raise ValueError(f"doc: {n_options} options, where arguments has {len(calls)} calls")
        notes["a choice by log-likelihood, asked for its letter"] += 1
        return asked | identity
    text = calls[0][0]
    if isinstance(text, list) and len(text) == 1:
        text = text[0]
    if not isinstance(text, str):
        raise ValueError(f"arguments: expected the text of a request, given {text!r:.40}")
    values: Row = {"prompt": text}
    if text.startswith('[{"role"'):
        values = {"messages": read_json(text)}
    elif re.search(r"<\|(im_start|start_header_id|begin_of_text)\|>|\[INST\]", text):
        notes["prompts with a chat template's tokens: for --endpoint completions"] += 1
    stop, cap = settings.get("until"), settings.get("max_gen_toks")
    stops = [one for one in (stop if isinstance(stop, list) else [stop]) if isinstance(one, str) and one]
    values |= {"extra_body": {"stop": stops[:4]}} if stops else {}  # as many as OpenAI takes
    values |= {"max_output_tokens": cap} if type(cap) is int and 0 < cap < 2**31 else {}
    values |= identity
    if exam is not None:
        known = read_exam(exam, notes)
        return values | {key: value for key, value in known.items() if key in ("readings", "scorer", "tags")}
    return values | _number_or_text(target, notes)


def _number_or_text(target: Any, notes: Counter[str]) -> Row:
    """A reference that is a number (GSM8K's after ####), scored; any other text, not scored: its rule is not known."""
    if target is None or not str(target).strip():
        notes["without an answer: sent, not scored"] += 1
        return {}
    text = str(target).rpartition("####")[2].strip()
    if _NUMBER.fullmatch(text):
        number = float(text.replace(",", ""))
        return {"reference": int(number) if number.is_integer() else number, "scorer": "numeric"}
    notes["an answer in words, whose scorer is not known: sent, not scored"] += 1
    return {"reference": str(target)}


def is_evalscope(row: Row) -> bool:
    return ("sample_score" in row and ("messages" in row or "input" in row)) or (
        "model_output" in row and "messages" in row
    )


def read_evalscope(row: Row, notes: Counter[str]) -> Row:
    """A line of evalscope's reviews (or predictions, without an answer): what was sent, and its target."""
    messages, target = row.pop("messages", None) or [], row.pop("target", None)
    if not isinstance(messages, list):
        raise ValueError(f"messages: expected a list, given {messages!r:.40}")
    text, values = row.pop("input", None), dict[str, Any]()
    for key in ("sample_score", "model_output", "model", "agent_trace", "metadata"):
        row.pop(key, None)
    if "index" in row:
        values["id"] = f"sample-{row.pop('index')}"
    sent = [m for m in messages if isinstance(m, dict) and m.get("source") != "generate"]
    while sent and sent[-1].get("role") == "assistant":
        sent.pop()
    if sent:
        kept = ("role", "content", "tool_calls", "tool_call_id")
        values["messages"] = [{key: m[key] for key in kept if m.get(key) is not None} for m in sent]
        for message in values["messages"]:
            if isinstance(message.get("content"), list):
                message["content"] = [_part_of_evalscope(part) for part in message["content"]]
        last = sent[-1].get("content")
        text = last if isinstance(last, str) else json.dumps(last)
    elif isinstance(text, str):  # of older versions: **User**: and the text
        text = _ROLE.sub("", text, count=1) if len(_ROLE.findall(text)) == 1 else text
        values["prompt"] = text
    else:
        raise ValueError("messages: nothing that was sent in them")
    targets = [one for one in (target if isinstance(target, list) else [target]) if one is not None]
    headed = re.findall(r"^\s*[(（]?([A-Z])[)）.、．:：]\s*\S", text or "", re.M)
    labels = ascii_uppercase[: len({*headed})]
    letters = "".join(map(str, targets)).replace(",", "").replace(" ", "")
    several = _SEVERAL.search((text or "")[:600]) or re.search("multiple answers may be correct", text or "")
    if (
        len(labels) > 1
        and {*headed} == {*labels}
        and letters
        and {*letters} <= {*labels}
        and (several or len(letters) == 1)
    ):
        scorer = {"name": "choices" if several else "choice", "labels": labels}
        return values | {"reference": "".join(sorted(letters)), "scorer": scorer}
    return values | _number_or_text(targets[0] if len(targets) == 1 else targets or None, notes)


def _part_of_evalscope(part: Any) -> Any:
    if isinstance(part, dict) and part.get("type") == "image":
        return {"type": "image_url", "image_url": {"url": part.get("image")}}
    return {key: part[key] for key in ("type", "text") if key in part} if isinstance(part, dict) else part


def labels_of(options: Any) -> str:
    """The labels of options to choose from: of texts A, B, ..., of a table its keys if they are such; else ""."""
    if isinstance(options, list) and len(options) <= 26:
        return ascii_uppercase[: len(options)]
    keys = "".join(sorted(map(str, options))).upper() if isinstance(options, dict) else ""
    return keys if keys and keys == ascii_uppercase[: len(options)] else ""


def scored(values: Mapping[str, Any]) -> tuple[Any, str | dict[str, Any] | None]:
    """Reference and scorer, as the scorer can use them. Raises ValueError where it cannot."""
    reference, scorer, options = values.get("reference"), values.get("scorer"), values.get("options")
    if scorer is None:
        return reference, None
    from benchsuite.quality.score import SCORERS  # pyarrow and rapidfuzz, which sets without scorers do not need

    if isinstance(scorer, str) and scorer.lstrip()[:1] == "{":
        scorer = json_cell("scorer", scorer)
    table = dict(scorer) if isinstance(scorer, dict) else {"name": scorer}
    name = table.pop("name", None)
    if not isinstance(name, str) or not name:
        raise ValueError(f"scorer: expected a name, or a table with a name and options, given {scorer!r:.60}")
    if name not in SCORERS:
        nearest = did_you_mean(name, SCORERS)
        raise ValueError(f"scorer: {name!r:.60} is none of {', '.join(SCORERS)}{(nearest and '; ' + nearest) or ''}")
    if options is not None and name in ("choice", "choices"):
        if isinstance(options, str):
            options = json_cell("options", options)
        if not (labels := labels_of(options)):
            raise ValueError(
                f"options: expected a list of texts, or a table such as {{A: text}}, given {options!r:.40}"
            )
        table = {"labels": labels} | table
    try:
        json.dumps([reference, table], allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("reference, scorer: expected plain JSON values") from None
    check = SCORERS[name].check
    try:
        check(reference, table)
    except ValueError as error:
        try:  # a cell of a table of texts, with a number, a list or an object in it
            value = read_json(reference) if isinstance(reference, str) else reference
            check(value, table)
            reference = value
        except ValueError:
            raise ValueError(f"reference for the scorer {name}: {error}") from None
    return reference, {"name": name, **table} if table else name
