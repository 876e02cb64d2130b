"""Formats of request sets: how a row is recognised by its keys and becomes a prompt, one entry of FORMATS each.

A row is plain data, of whatever container (`benchsuite.workload.readers`). Its format gives the text or the messages;
id, output cap, reference and other fields of a request body are read in the same way in all formats. A row that cannot
be a request is named with its number and the reason.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from benchsuite.errors import WorkloadError, did_you_mean
from benchsuite.limits import most
from benchsuite.strict_model import mistake_text
from benchsuite.workload import exams, traces
from benchsuite.workload.dataset import (
    Prompt,
    Reading,
    Workload,
    copy_numbers,
    make_workload,
    message_text,
    token_weight,
)
from benchsuite.workload.readers import Container, column_key, json_cell, open_rows

Row = dict[str, Any]

# What a key is called by those who write request sets; the first is ours. A row's own key of that name goes first.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "id": (
        "id", "custom_id", "request_id", "prompt_id", "question_id", "conversation_id", "session_id", "task_id", "uid",
        "uuid", "key",
    ),
    "scenario": ("scenario", "category"),
    "max_output_tokens": (
        "max_output_tokens", "max_tokens", "max_completion_tokens", "output_tokens", "max_new_tokens",
        "output_tokens_count", "output_token_count", "completion_tokens_count", "output_length", "output_len",
        "num_predict", "n_predict", "max_gen_len", "max_tokens_to_sample", "maxtokens", "maxoutputtokens",
        "num_output_tokens", "osl",
    ),
    "reference": (
        "reference", "answer", "answers", "output", "outputs", "response", "completion", "target", "solution",
        "expected_output", "ground_truth", "gold", "ideal", "答案", "参考答案",
    ),
    "system": ("system", "system_prompt", "system_message", "developer"),
    "context": ("context", "input", "passage"),
    "question": ("question", "query", "problem", "user", "user_prompt", "user_input", "goal", "题目", "问题", "题干"),
    "conversations": ("conversations", "conversation", "dialog", "dialogue", "items"),
    "messages": ("messages", "chat", "contents"),
    "text": ("text", "texts", "input_text", "text_input"),
}  # fmt: skip
_OURS = ("model", "stream", "stream_options", "n", "best_of", "cache_salt")  # benchsuite decides these for the sweep
_TEXTUAL = {"stop", "tool_choice", "reasoning_effort", "suffix", "verbosity", "chat_template", "function_call"}
BODY_KEYS = _TEXTUAL | {
    "temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty",
    "logit_bias", "logprobs", "top_logprobs", "response_format", "tools", "parallel_tool_calls", "functions",
    "reasoning", "thinking", "chat_template_kwargs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
    "structured_outputs", "ignore_eos", "min_tokens", "stop_token_ids", "add_generation_prompt",
    "continue_final_message", "echo", "typical_p", "mirostat", "grammar", "json_schema", "prediction", "modalities",
}  # fmt: skip
# tables of them
_SETTINGS = ("extra_body", "extra", "parameters", "options", "sampling_params", "generation_config", "generationconfig")
_FIRST_KEYS = ("prompt", "messages", "conversations", "instruction", "turns", "question", "text", "inputs", "input")
NATIVE = ("id", "scenario", "messages", "prompt", "max_output_tokens", "reference", "scorer", "at_s", "tags",
          "extra_body", "input_tokens", "options")  # fmt: skip
COLUMNS = (*NATIVE, "system", "turns", "conversations", *sorted(BODY_KEYS))  # what --column may fill
_ROLES = {
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "ai": "assistant",
    "model": "assistant", "bing": "assistant", "bard": "assistant", "prompter": "user", "observation": "tool",
    "function_response": "tool", "ipython": "tool",
} | {role: role for role in ("system", "developer", "user", "assistant", "tool", "function")}  # fmt: skip


class Format(NamedTuple):
    """A kind of rows. recognised: by a row's keys. read: removes its keys from the row and returns native keys."""

    name: str
    says: str
    recognised: Callable[[Row], bool]
    read: Callable[[Row, Counter[str]], Row]


def parse_workload(
    data: str | bytes | Container,
    *,
    where: str,
    name: str | None = None,
    format_name: str = "auto",
    columns: Mapping[str, str] | None = None,
    skip_bad: int = 0,
    requests: int | None = None,
    texts: traces.TraceTexts | None = None,
) -> Workload:
    """The workload in a file's text, bytes or rows. where: the file, for errors; name: None takes `where`.

    format_name: of FORMATS, or auto: each row by its keys. columns: by a key of ours the column that fills it, of a
    nested one a.b.c. skip_bad: how many bad rows may be left out. requests: the most that are read. texts: makes
    the prompts of a trace; None: of seed 0, by characters. Raises WorkloadError naming every bad row with its number,
    or if there is no prompt at all.
    """
    if not isinstance(data, Container):
        file = io.BytesIO(data.encode() if isinstance(data, str) else data)
        data = open_rows(file, where, known_columns(columns))
    if odd := next((key for key in columns or {} if key not in COLUMNS), None):
        raise WorkloadError(
            "--column needs a key of the request format", where="--column", given=odd, expected=", ".join(COLUMNS[:13])
        )
    reader = _Reader(format_name, columns or {}, texts or traces.TraceTexts())
    mistakes: list[tuple[int, str]] = []
    unit, rows, n_read = data.unit, data.rows if columns else _unwrapped(data.rows, data.unit), 0
    ahead = _Reader(format_name, columns or {}, reader.texts, reader.answers)  # of rows that are but looked at

    def prompts() -> Iterator[Prompt]:
        nonlocal n_read
        for number, row in rows:
            if n_read == requests:
                if not reader.answers.undecided:
                    break
                with contextlib.suppress(ValueError, traces.LeftOut):
                    ahead.prompt(row, number, unit)
                continue
            try:
                if isinstance(row, ValueError):
                    raise row
                prompt = reader.prompt(row, number, unit)
            except traces.LeftOut as why:
                reader.notes[str(why)] += 1
            except ValueError as error:
                mistakes.append((number, str(error)))
                if reader.unread is not None and not n_read and len(mistakes) > skip_bad:
                    raise _no_request(reader.unread, where, data.what, number, unit) from None
                if len(mistakes) > skip_bad + 1000:
                    break
            else:
                n_read += 1
                if (tokens := reader.texts.tokens) > most("set_tokens"):
                    raise WorkloadError(
                        "the trace is too long", where=where, given=f"{tokens:,} tokens in {n_read:,} requests",
                        expected=f"at most {most('set_tokens'):,} tokens", hint=f"--requests {n_read - 1}",
                    )  # fmt: skip
                yield prompt

    workload = make_workload(name if name is not None else where, prompts())
    mistakes += reader.no_options if reader.formats["exam"] else []
    if len(mistakes) <= skip_bad and (why := reader.answers.doubt(unit)):
        raise WorkloadError(why, where=where, given=data.what, expected="letters, or numbers of which some can be told",
                            hint="answers that are letters (A, B, ...) can be read without doubt")  # fmt: skip
    if reader.answers.open:
        workload = make_workload(workload.name, reader.decided(workload.prompts, mistakes))
    if reader.formats["exam"]:
        reader.look_for_copies(workload.prompts, mistakes)
    mistakes.sort()
    lines = [f"{unit} {number}: {mistake}" for number, mistake in mistakes]
    if len(mistakes) > skip_bad:
        raise WorkloadError(
            mistake_text("the request set", lines),
            where=f"{where}:{mistakes[0][0]}" if unit == "line" else f"{where}, {unit} {mistakes[0][0]}",
            given=data.what,
            expected="a request in every row, or as many invalid ones as --skip-bad allows",
            hint=f"--skip-bad {len(mistakes)} leaves them out" if n_read else None,
        )
    if not n_read:
        raise WorkloadError("the workload is empty", where=where, given=data.what, expected="at least one request")
    reading = Reading(data.what, dict(reader.formats), tuple(lines), dict(reader.notes), dict(reader.ignored))
    return replace(workload, reading=reading, lengths=reader.texts.ruler.facts() if reader.texts.made else None)


def known_columns(columns: Mapping[str, str] | None) -> set[str]:
    """Names in a header that make a text a table."""
    spelled = {*_FIRST_KEYS, *(name for names in SPELLINGS.values() for name in names)} - {"key", "items"}
    return spelled | traces.COLUMNS | exams.COLUMNS | {column_key(path) for path in (columns or {}).values()}


def _unwrapped(rows: Iterator[tuple[int, Any]], unit: str) -> Iterator[tuple[int, Any]]:
    """The rows; those of a table such as {"data": [...]} where that is the file, and one of an array of messages."""
    number, first = next(rows, (0, None))
    if isinstance(first, dict) and {"role", "content"} <= first.keys() and unit == "row":
        yield 1, [first, *(row for _, row in rows)]
        return
    lists = [value for value in first.values() if isinstance(value, list)] if isinstance(first, dict) else []
    tables = [items for items in lists if items and isinstance(items[0], dict) and not {"role", "from"} & {*items[0]}]
    if tables and _format_of(_keyed(tables[0][0])) and (_format_of(_keyed(first)) is None or "id" in tables[0][0]):
        yield from enumerate(tables[0], 1)
    elif number:
        yield number, first
    yield from rows


def _no_request(row: Row, where: str, what: str, number: int, unit: str) -> WorkloadError:
    """Where the first row has no text that we know: what it has, and the way on."""
    keys = ", ".join(map(str, row))
    texts = {key: value for key, value in row.items() if isinstance(value, str)}
    column = shlex.quote(max(texts, key=lambda key: len(texts[key]), default="COLUMN"))
    return WorkloadError(
        f"no text of a request in {unit} {number}, by the names of its columns",
        where=f"{where}:{number}",
        given=f"{what} with {keys[:300]}",
        expected="one of " + ", ".join(one.name for one in FORMATS),
        hint=f"name the column: benchsuite workload describe {shlex.quote(where)} --column prompt={column}",
    )


def _keyed(row: Any) -> Row:
    """A row with its keys as we spell them, without those that are missing."""
    if isinstance(row, str):
        return {"prompt": row}
    if isinstance(row, list) and row and all(isinstance(one, dict) for one in row):
        return {"messages": row}
    if not isinstance(row, dict):
        given = "a list" if isinstance(row, list) else json.dumps(row, default=str)[:40]
        raise ValueError(f"{given} is not a request: expected an object, or a text")
    if isinstance(row.get("row"), dict):  # as the viewer of Hugging Face gives them
        row = row["row"]
    exact = {
        str(key): value.decode("utf-8", "replace") if type(value) is bytes else value
        for key, value in row.items()
        if value is not None and value == value
    }
    return {name: value for key, value in exact.items() if (name := column_key(key)) == key or name not in exact}


def _format_of(row: Row) -> Format | None:
    return next((one for one in FORMATS if one.recognised(row)), None)


class _Reader:
    """Rows as prompts, and what there is to say of them all."""

    def __init__(
        self,
        format_name: str,
        columns: Mapping[str, str],
        texts: traces.TraceTexts,
        answers: exams.Answers | None = None,
    ) -> None:
        self.wanted = None if format_name == "auto" else next(one for one in FORMATS if one.name == format_name)
        self.columns, self.texts = columns, texts
        self.formats, self.notes, self.ignored = Counter[str](), Counter[str](), Counter[str]()
        self.ids: dict[str, int] = {}
        self.unread: Row | None = None  # a row of no format
        self.answers = answers or exams.Answers()
        self.no_options: list[tuple[int, str]] = []  # rows with a letter as their answer

    def prompt(self, data: Any, number: int, unit: str) -> Prompt:
        """One row's prompt. Raises ValueError with the reason."""
        self.unread = None
        row = _keyed(data)
        if self.columns:
            row = self._with_columns(row, data)
        one = self.wanted or _format_of(row)
        if one is None or not one.recognised(row):
            self.unread = data if one is None and isinstance(data, dict) else None
            raise ValueError(f"no {one.name if one else 'text of a request'} in it; it has {', '.join(row)[:200]}")
        notes = Counter[str]()
        values = one.read(row, notes)
        if one.name in ("lm-eval", "evalscope") and "messages" in values:
            values["messages"] = _message_list(values["messages"])
        values = _settings(row, notes) | values
        if "hash_ids" in values:
            self.texts.fill(values, number)
        readings = values.pop("readings", None)
        if readings is not None:  # any of them, to be checked; None where there is no answer
            values |= {"reference": next(iter(readings.values()))} if readings else {"scorer": None, "reference": None}
        prompt = _checked(values, number, unit)
        prompt_id = prompt.prompt_id
        if one.name == "lm-eval" and prompt_id in self.ids:
            raise traces.LeftOut("lines of a document that is there before: of another filter")
        if (before := self.ids.setdefault(prompt_id, number)) != number:
            raise ValueError(f"id: {prompt_id!r} is used before, on {unit} {before}")
        caps = SPELLINGS["max_output_tokens"]
        for key in row.keys() - self.ignored:
            if nearest := did_you_mean(key, caps, 0.9):
                raise ValueError(f"{key}: unknown key; {nearest}")
        if readings:
            prompt = self.answers.first_look(prompt, readings, number)
        if one.name == "question-answer" and re.fullmatch("[A-J]{1,10}", str(prompt.reference)):
            self.no_options.append((number, f"options: missing, where the answer is {prompt.reference}"))
        self.formats["text" if isinstance(data, str) else one.name] += 1
        self.notes += notes
        self.ignored.update(key for key in row if key not in ("method", "url"))
        return prompt

    def decided(self, prompts: Iterable[Prompt], mistakes: list[tuple[int, str]]) -> Iterator[Prompt]:
        """The prompts with the answers that the whole file tells."""
        for prompt in prompts:
            try:
                yield self.answers.decided(prompt)
            except ValueError as error:
                mistakes.append((self.ids[prompt.prompt_id], str(error)))

    def look_for_copies(self, prompts: Sequence[Prompt], mistakes: list[tuple[int, str]]) -> None:
        """Questions that a set has more than once are counted; with another answer they are a mistake."""
        numbers = copy_numbers(prompts)
        if n := len(numbers) - numbers.count(0):
            self.notes["questions that are there before"] += n
            twice = {prompt.prompt for prompt, k in zip(prompts, numbers, strict=True) if k}
            first: dict[str | None, Prompt] = {}
            for prompt in (prompt for prompt in prompts if prompt.prompt in twice):
                before = first.setdefault(prompt.prompt, prompt)
                if prompt.reference != before.reference:
                    words = f"the same question has the answers {before.reference} and {prompt.reference}"
                    mistakes.append((self.ids[prompt.prompt_id], words))

    def _with_columns(self, row: Row, data: Any) -> Row:
        mapped: Row = {}
        for key, path in self.columns.items():
            value: Any = data
            for step in [path] if isinstance(data, dict) and path in data else path.split("."):
                if isinstance(value, dict) and step in value:
                    value = value[step]
                elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                    value = value[int(step)]
                else:
                    has = f"; it has {', '.join(map(str, data))[:200]}" if isinstance(data, dict) else ""
                    raise ValueError(f"no column {path!r} for {key}{has}")
            if value is not None:
                mapped[key] = value
            row.pop(column_key(path), None)
        if {"prompt", "messages", "turns", "conversations"} & self.columns.keys():
            texts = {name for key in _FIRST_KEYS for name in SPELLINGS.get(key, (key,))} - {"input"}
            row = {k: v for k, v in row.items() if k not in texts}
        return row | mapped


def _take(row: Row, key: str) -> Any:
    """The first value that the row has under a spelling of the key, taken out; None if none."""
    name = next((name for name in SPELLINGS.get(key, (key,)) if name in row), None)
    return None if name is None else row.pop(name)


def _settings(row: Row, notes: Counter[str]) -> Row:
    """Id, cap, reference and the rest of the request body, taken out of the row."""
    extra: Row = {}
    tables = [row.pop(name) for name in _SETTINGS if isinstance(row.get(name), dict) and not exams.labels_of(row[name])]
    for table in tables:
        extra |= {key: value for key, value in table.items() if value is not None}
    for key in [key for key in row if key in BODY_KEYS]:
        extra[key] = value = row.pop(key)
        if isinstance(value, str) and key not in _TEXTUAL and re.match(r"[-\d\[{tf]", value):
            extra[key] = json_cell(key, value)
    caps = [source.pop(name) for name in SPELLINGS["max_output_tokens"] for source in (row, extra) if name in source]
    for source in (row, extra):
        for name in _OURS:
            if source.pop(name, None) is not None:
                notes[f"{name} of a row left out: the sweep decides it"] += 1
    if isinstance(extra.get("tools"), list):
        extra["tools"] = [
            {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
            if isinstance(tool, dict) and "name" in tool and "function" not in tool
            else tool
            for tool in extra["tools"]
        ]
    values: Row = {"max_output_tokens": min(map(_count, caps)) if caps else None, "extra_body": extra}
    for key in ("id", "scenario", "reference", "scorer", "at_s", "tags"):
        values[key] = _take(row, key)
    if values["scorer"] is not None and "options" in row:
        values["options"] = row.pop("options")
    if "input_tokens" in row:
        values["input_tokens"] = _count(row.pop("input_tokens"), "input_tokens")
    return values


def _count(value: Any, key: str = "max_output_tokens") -> int:
    number = value
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,10}(\.0+)?\s*", value):
        number = float(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 <= number < 2**31 or number % 1:
        shown = repr(value)[:40] if not isinstance(value, int) or abs(value) < 2**63 else "a huge number"
        raise ValueError(f"{key}: expected a whole number of at least 1, and below 2^31 (given {shown})")
    return int(number)


def _checked(values: Row, number: int, unit: str) -> Prompt:
    """The prompt of keys of ours. Raises ValueError naming the key."""
    texts: Row = {}
    reference, scorer = exams.scored(values)
    for key in ("scenario", "reference", "id"):
        value = values.get(key)
        if key == "reference":
            value = None if scorer is not None else _reference(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is not None and (not isinstance(value, str) or not value or (key == "id" and len(value) > 256)):
            raise ValueError(
                f"{key}: expected a text{' of at most 256 characters' * (key == 'id')}, given {value!r:.40}"
            )
        texts[key] = value
    at_s, tags, prompt = values.get("at_s"), values.get("tags") or (), values.get("prompt")
    if at_s is not None:
        at_s = traces.number(at_s, "at_s")
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) and tag for tag in tags):
        raise ValueError("tags: expected a list of texts")
    if prompt is not None and (not isinstance(prompt, str) or not prompt.strip()):
        raise ValueError(f"prompt: {_what(prompt)}; expected a text that is not empty")
    system, messages = values.get("system"), values.get("messages")
    if isinstance(system, list):  # Anthropic's parts
        system = [_part(part, f"system.{i}") for i, part in enumerate(system)]
    if system and (not isinstance(system, str) or system.strip()):
        messages = [{"role": "system", "content": system}, *(messages or [{"role": "user", "content": prompt}])]
        prompt = None
    if messages is not None and not any(message_text(m).strip() or len(m) > 2 or m.get("content") for m in messages):
        raise ValueError("messages: all are empty")
    try:
        json.dumps(values["extra_body"], allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("extra_body: expected plain JSON values") from None
    return Prompt(
        prompt_id=texts["id"] or f"{unit}-{number}",
        scenario=texts["scenario"],
        messages=None if messages is None else tuple(messages),
        prompt=prompt,
        max_output_tokens=values["max_output_tokens"],
        reference=texts["reference"] if scorer is None else reference,
        scorer=scorer,
        at_s=at_s,
        tags=tuple(tags),
        extra_body=values["extra_body"],
        input_tokens=values.get("input_tokens"),
    )


def _reference(value: Any) -> Any:
    """One answer of what a row has: of several the first, of a message its text; None where there is no text."""
    if isinstance(value, dict):
        value = value.get("text", value.get("content", value.get("value")))
    if isinstance(value, list):
        return _reference(value[0]) if value else None
    return value if isinstance(value, str | int | float) and value != "" else None


def _what(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(one, int) for one in value):
        return f"{len(value)} token ids, whose text only the model's tokenizer knows"
    if isinstance(value, list):
        return f"a list of {len(value)}: several requests in one (give one a row), or turns (--column turns=...)"
    if isinstance(value, str):
        return "an empty text" if not value else "only white space"
    return f"given {value!r:.40}"


def _message(data: Any, place: str) -> Row:
    """A message as the API takes it: role, content, and what else it has."""
    if not isinstance(data, dict):
        raise ValueError(f"{place}: expected a message with role and content")
    message = {key: value for key, value in data.items() if value is not None}
    role = message.pop("role", None) or message.pop("from", None)
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise ValueError(f"{place}.role: {role!r:.40} is none of system, developer, user, assistant, tool")
    content = next((message.pop(key) for key in ("content", "value", "parts", "text") if key in message), None)
    if isinstance(content, list):
        content = [_part(part, f"{place}.content.{i}") for i, part in enumerate(content)]
    elif content is not None and not isinstance(content, str):
        raise ValueError(f"{place}.content: expected a text or a list of parts, given {content!r:.40}")
    elif content is None and not message.keys() & {"tool_calls", "function_call", "refusal", "audio"}:
        raise ValueError(f"{place}.content: required but missing")
    if isinstance(calls := message.get("tool_calls"), list):
        message["tool_calls"] = [_tool_call(call) for call in calls]
    return {"role": _ROLES[role.lower()], "content": content} | message


def _tool_call(call: Any) -> Any:
    """As it comes, with arguments as the API takes them: a text."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), dict):
        return call
    return call | {"function": function | {"arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


def _part(data: Any, place: str) -> Row:
    """A part of a content as the chat API takes it: the Responses API's are renamed, all others stay as they come."""
    if isinstance(data, str):
        return {"type": "text", "text": data}
    if not isinstance(data, dict):
        raise ValueError(f"{place}: expected a part with a type, given {data!r:.40}")
    part: Row = {key: value for key, value in data.items() if value is not None}
    kind = part.get("type", "text" if "text" in part else None)
    if kind in ("text", "input_text", "output_text"):
        if not isinstance(part.get("text"), str):
            raise ValueError(f"{place}.text: expected a text")
        return part | {"type": "text"}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    if not isinstance(kind, str):
        raise ValueError(f"{place}: a part without a type")
    return part | {"type": kind}


def _message_list(value: Any, key: str = "messages") -> list[Row]:
    if isinstance(value, str):
        value = json_cell(key, value)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{key}: expected a list of at least one message, given {value!r:.40}")
    return [_message(data, f"{key}.{i}") for i, data in enumerate(value)]


def _plain(row: Row, notes: Counter[str]) -> Row:
    """Messages or a prompt. An assistant's turn at the end is the answer, unless the row is a request that was sent."""
    sent = bool(row.keys() & (BODY_KEYS | {"stream", "max_tokens", "max_completion_tokens", "extra_body"}))
    messages, prompt = _take(row, "messages"), _take(row, "prompt")
    if messages is not None and prompt is not None and prompt not in map(message_text, _message_list(messages)):
        raise ValueError("messages and prompt differ: exactly one of them is expected")
    if messages is None and not (isinstance(prompt, list) and prompt and isinstance(prompt[0], dict)):
        prompt = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str) else prompt
        return {"prompt": prompt, "system": _take(row, "system")}
    values: Row = {"messages": _message_list(prompt if messages is None else messages)}
    if values["messages"][0]["role"] not in ("system", "developer"):
        values["system"] = _take(row, "system")
    if values["messages"][-1]["role"] == "assistant":
        if sent:
            notes["an assistant's turn at the end, sent as it is"] += 1
        else:
            answer = values["messages"].pop()
            if not values["messages"]:
                raise ValueError("messages: no turn of a user")
            notes["an assistant's turn at the end is taken as the reference answer"] += 1
            row.setdefault("reference", message_text(answer) or None)
    return values


def _batch(row: Row, notes: Counter[str]) -> Row:
    """A line of the OpenAI (or Anthropic) batch API, or a logged request: the body is in a table of its own."""
    body = next(row.pop(key) for key in ("body", "params", "request") if isinstance(row.get(key), dict))
    url = str(row.get("url", ""))
    if url and not re.search(r"(completions|responses|messages|generate)/?(\?.*)?$", url):
        raise ValueError(f"url: {url[:60]!r} is not a text generation route; expected /v1/chat/completions or the like")
    inner = _keyed(body)
    one = _format_of(inner)
    if one is None or one.read is _batch:
        raise ValueError(f"body: no messages, prompt or input in it; it has {', '.join(inner)[:200]}")
    values = one.read(inner, notes)
    row |= {"id": _take(row, "id")} if row.keys() & {*SPELLINGS["id"]} else {}
    settings = _settings(inner, notes)
    vendor = {key: value for key, value in body.items() if column_key(str(key)) in inner}  # as it is spelled
    row["extra_body"] = settings["extra_body"] | vendor
    if settings["max_output_tokens"] is not None:
        row["max_output_tokens"] = settings["max_output_tokens"]
    return values


def _conversation(row: Row, notes: Counter[str]) -> Row:
    """ShareGPT and LMSYS: the first turn of the person, as long as the answer that it got."""
    turns = _message_list(_take(row, "conversations"), "conversations")
    at = next((i for i, turn in enumerate(turns) if turn["role"] == "user"), None)
    if at is None:
        raise ValueError("conversations: no turn of a person")
    system = [turn["content"] for turn in turns[:at] if turn["role"] == "system"]
    values: Row = (
        {"messages": [turns[at]]} if isinstance(turns[at]["content"], list) else {"prompt": turns[at]["content"]}
    )
    values["system"] = system[0] if system else _take(row, "system")
    if turns[at + 1 :] and turns[at + 1]["role"] == "assistant" and (answer := message_text(turns[at + 1])):
        row.setdefault("reference", answer)
        if not row.keys() & {*SPELLINGS["max_output_tokens"]}:
            row["max_output_tokens"] = max(1, round(token_weight(answer)))
            notes["output cap estimated from the answer's text"] += 1
    if len(turns) > at + 2:
        notes["later turns of a conversation not sent"] += 1
    return values


def _turns(row: Row, notes: Counter[str]) -> Row:
    """MT-bench, and AIPerf's sessions: the first turn."""
    turns = _take(row, "turns")
    if not isinstance(turns, list) or not turns:
        raise ValueError(f"turns: expected a list of texts, given {turns!r:.40}")
    if len(turns) > 1:
        notes["later turns of a conversation not sent"] += 1
    if isinstance(turns[0], dict):
        if "role" in turns[0]:
            return {"messages": [_message(turns[0], "turns.0")]}
        row |= {key: value for key, value in _keyed(turns[0]).items() if key not in row}
        return _texts("text")(row, notes)
    return {"prompt": turns[0], "system": _take(row, "system")}


def _instruction(row: Row, _: Counter[str]) -> Row:
    """Alpaca and Dolly: what to do, and with what; question and answer, with its passage."""
    text = _take(row, "instruction") if "instruction" in row else _take(row, "question")
    if isinstance(text, list) and text and isinstance(text[0], dict):
        return {"messages": _message_list(text), "system": _take(row, "system")}
    context = _take(row, "context")
    if isinstance(text, str) and isinstance(context, str) and context.strip():
        text = f"{text}\n\n{context}"
    return {"prompt": text, "system": _take(row, "system")}


def _texts(key: str) -> Callable[[Row, Counter[str]], Row]:
    """AIPerf (text, or texts of one request, with images) and TGI (inputs)."""

    def read(row: Row, _: Counter[str]) -> Row:
        text = _take(row, key)
        texts = text if isinstance(text, list) else [text]
        images: list[Any] = []
        for name in ("image", "images", "audio", "audios", "video", "videos"):
            value = row.pop(name, None)
            for one in value if isinstance(value, list) else [value] * (value is not None):
                if not isinstance(one, str) or not re.match(r"https?://|data:", one) or "image" not in name:
                    raise ValueError(f"{name}: expected an image as a URL (https://... or data:...), given {one!r:.40}")
                images.append({"type": "image_url", "image_url": {"url": one}})
        texts = [_part(one, f"{key}.{i}") if isinstance(one, str) else one for i, one in enumerate(texts)]
        if not texts or not all(
            isinstance(one, dict) and isinstance(one.get("text"), str) and one["text"].strip() for one in texts
        ):
            raise ValueError(f"{key}: {_what(text)}; expected a text that is not empty")
        values: Row = {"system": _take(row, "system")}
        if len(texts) == 1 and not images:
            return values | {"prompt": texts[0]["text"]}
        return values | {"messages": [{"role": "user", "content": texts + images}]}

    return read


def _responses(row: Row, _: Counter[str]) -> Row:
    """A body of the Responses API, or a row with but an input."""
    asked = _take(row, "input")
    values: Row = {"system": row.pop("instructions", None) or _take(row, "system")}
    if not isinstance(asked, list):
        return values | {"prompt": asked}
    kinds = [one.get("type", "message") if isinstance(one, dict) else None for one in asked]
    if odd := next((kind for kind in kinds if kind not in ("message", None)), None):
        raise ValueError(f"input: an item of type {odd!r:.40} is not supported in a chat; expected messages")
    messages = [{k: v for k, v in one.items() if k != "type"} if isinstance(one, dict) else one for one in asked]
    return values | {"messages": _message_list(messages, "input")}


def _has(key: str) -> Callable[[Row], bool]:
    return lambda row: any(name in row for name in SPELLINGS.get(key, (key,)))


_SENT = BODY_KEYS | {"stream", "n", "max_tokens", "max_completion_tokens"}
FORMATS: tuple[Format, ...] = (
    Format("native", "id, messages or prompt, ... of benchsuite", lambda row: bool(row.keys() & {"messages", "prompt"})
           and row.keys() <= {*NATIVE}, _plain),
    Format("openai-batch", "custom_id, method, url, body", lambda row: any(isinstance(row.get(key), dict)
           for key in ("body", "params", "request")), _batch),
    Format("lm-eval", "doc, target, arguments, ... of samples_*.jsonl (--log_samples)", exams.is_lm_eval,
           exams.read_lm_eval),
    Format("evalscope", "messages, target, sample_score, ... of reviews/*.jsonl", exams.is_evalscope,
           exams.read_evalscope),
    Format("exam", "question, options (a list, a table, A to J, opa to opd), answer; 题目, 选项, 答案", exams.is_exam,
           exams.read_exam),
    Format("openai", "a request body: messages or prompt, max_tokens, temperature, ...",
           lambda row: bool(row.keys() & {"messages", "prompt"}) and bool(row.keys() & _SENT), _plain),
    Format("chat", "messages (Hugging Face), contents", _has("messages"), _plain),
    Format("sharegpt", "conversations of from and value; LMSYS: conversation of role and content",
           _has("conversations"), _conversation),
    Format("alpaca", "instruction, input, output; Dolly", _has("instruction"), _instruction),
    Format("mt-bench", "turns, reference; AIPerf's sessions", _has("turns"), _turns),
    Format("prompts", "prompt, output_tokens (vLLM bench); prompt, output_tokens_count (GuideLLM)", _has("prompt"),
           _plain),
    Format("question-answer", "question, answer (GSM8K), with context", _has("question"), _instruction),
    Format("aiperf", "text or texts, output_length, image", _has("text"), _texts("text")),
    Format("tgi", "inputs, parameters", _has("inputs"), _texts("inputs")),
    Format("responses", "input, instructions, max_output_tokens (Responses API)", _has("input"), _responses),
    Format("mooncake", "a trace: timestamp in ms, input_length, output_length, hash_ids of 512 tokens; where it has a "
           "chat_id (Alibaba) timestamp in s, and 16 tokens", traces.MOONCAKE.has, traces.read_mooncake),
    Format("azure", "a trace: TIMESTAMP, ContextTokens, GeneratedTokens", traces.AZURE.has, traces.AZURE.read),
    Format("burstgpt", "a trace: Timestamp in s, Request tokens, Response tokens", traces.BURSTGPT.has,
           traces.BURSTGPT.read),
    Format("vidur", "a trace: arrived_at in s, num_prefill_tokens, num_decode_tokens", traces.VIDUR.has,
           traces.VIDUR.read),
)  # fmt: skip
