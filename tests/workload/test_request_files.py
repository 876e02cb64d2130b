"""Request files that people have: of each format and container what becomes of it, or why it is refused."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from benchsuite.errors import WorkloadError
from benchsuite.input_files import read_workload
from benchsuite.request_spec import WorkloadSpec
from benchsuite.workload.dataset import Prompt, Workload, to_jsonl
from benchsuite.workload.formats import FORMATS, parse_workload


def jl(*rows: Any) -> bytes:
    """JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(**columns: list[Any]) -> bytes:
    """A Parquet file."""
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    """Packed by zstd."""
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as packed:
        packed.write(data)
    return out.getvalue().to_pybytes()


def user(content: Any, **more: Any) -> dict[str, Any]:
    """A message."""
    return {"role": "user", "content": content, **more}


def said(content: Any) -> dict[str, Any]:
    """An answer."""
    return {"role": "assistant", "content": content}


def facts(prompt: Prompt) -> dict[str, Any]:
    """A prompt's values, without its id and what it has not."""
    names = [name for name in Prompt.__slots__ if name != "prompt_id"]
    values = {name: getattr(prompt, name) for name in names if getattr(prompt, name) not in (None, (), {})}
    return values | ({"messages": list(values["messages"])} if "messages" in values else {})


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TEXT = {"type": "text", "text": "What is this?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "w", "parameters": {}}}
CHAT = [user("Hi")]

# row -> (format, what the prompt has)
ROWS: list[tuple[Any, str, dict[str, Any]]] = [
    ({"prompt": "Hi"}, "native", {"prompt": "Hi"}),
    ({"id": 7, "messages": CHAT, "scenario": "s"}, "native", {"messages": CHAT, "scenario": "s"}),
    ({"prompt": "Hi", "extra_body": {"top_p": 0.5, "model": "m", "max_tokens": 3}}, "native",
     {"prompt": "Hi", "extra_body": {"top_p": 0.5}, "max_output_tokens": 3}),
    ({"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions",
      "body": {"model": "m", "messages": CHAT, "max_tokens": 20, "vendor": 1}}, "openai-batch",
     {"messages": CHAT, "max_output_tokens": 20, "extra_body": {"vendor": 1}}),
    ({"custom_id": "r-1", "params": {"model": "c", "system": "Brief.", "messages": CHAT, "max_tokens": 9}},
     "openai-batch", {"messages": [{"role": "system", "content": "Brief."}, *CHAT], "max_output_tokens": 9}),
    ({"custom_id": "r", "params": {"system": [{"type": "text", "text": "Brief."}], "messages": CHAT, "topK": 2}},
     "openai-batch", {"messages": [{"role": "system", "content": [{"type": "text", "text": "Brief."}]}, *CHAT],
                      "extra_body": {"topK": 2}}),
    ({"request": {"prompt": "Hi", "stop": ["x"]}, "response": {"id": "1"}}, "openai-batch",
     {"prompt": "Hi", "extra_body": {"stop": ["x"]}}),
    ({"model": "m", "messages": CHAT, "max_completion_tokens": 20, "temperature": 0, "stream": True, "n": 2},
     "openai", {"messages": CHAT, "max_output_tokens": 20, "extra_body": {"temperature": 0}}),
    ({"model": "m", "prompt": ["Hi"], "max_tokens": 4}, "openai", {"prompt": "Hi", "max_output_tokens": 4}),
    ({"messages": CHAT, "tools": [TOOL], "tool_choice": "auto"}, "openai",
     {"messages": CHAT, "extra_body": {"tools": [TOOL], "tool_choice": "auto"}}),
    ({"messages": [*CHAT, said("x")], "temperature": 1}, "openai",
     {"messages": [*CHAT, said("x")], "extra_body": {"temperature": 1}}),
    ({"messages": [user([TEXT, IMAGE])]}, "native", {"messages": [user([TEXT, IMAGE])]}),
    ({"messages": [user([TEXT])]}, "native", {"messages": [user([TEXT])]}),
    ({"messages": [user("Hi", name="ann")]}, "native", {"messages": [user("Hi", name="ann")]}),
    ({"messages": [user("W?"), {**said(None), "tool_calls": [CALL]},
                   {"role": "tool", "tool_call_id": "c1", "content": "sunny"}]}, "native",
     {"messages": [user("W?"), {**said(None), "tool_calls": [CALL]},
                   {"role": "tool", "content": "sunny", "tool_call_id": "c1"}]}),
    ({"messages": [*CHAT, said("Hello")], "source": "x"}, "chat", {"messages": CHAT, "reference": "Hello"}),
    ({"prompt": CHAT, "chosen": 1}, "prompts", {"messages": CHAT}),
    ({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}, "chat",
     {"messages": [user([{"type": "text", "text": "Hi"}])]}),
    (CHAT, "native", {"messages": CHAT}),
    ({"id": "a", "conversations": [{"from": "human", "value": "Name a lake."}, {"from": "gpt", "value": "Lake One."},
                                   {"from": "human", "value": "Deep?"}]}, "sharegpt",
     {"prompt": "Name a lake.", "max_output_tokens": 2, "reference": "Lake One."}),
    ({"conversations": [{"from": "gpt", "value": "As I said"}, {"from": "human", "value": "Go on"}]}, "sharegpt",
     {"prompt": "Go on"}),
    ({"conversations": [{"from": "system", "value": "Brief."}, {"from": "human", "value": "Hi"}]}, "sharegpt",
     {"messages": [{"role": "system", "content": "Brief."}, *CHAT]}),
    ({"conversation_id": "c", "model": "m", "conversation": [user("Hi"), said("Hello there, you")], "turn": 1},
     "sharegpt", {"prompt": "Hi", "max_output_tokens": 4, "reference": "Hello there, you"}),
    ({"instruction": "Shorten.", "input": "a long text", "output": "text"}, "alpaca",
     {"prompt": "Shorten.\n\na long text", "reference": "text"}),
    ({"instruction": "List.", "input": "", "output": "A", "text": "Below is ..."}, "alpaca",
     {"prompt": "List.", "reference": "A"}),
    ({"question_id": 81, "category": "writing", "turns": ["Write a haiku.", "Sad."], "reference": []}, "mt-bench",
     {"prompt": "Write a haiku.", "scenario": "writing"}),
    ({"session_id": "s", "turns": [{"text": "Hi", "output_length": 5}, {"text": "Ho"}]}, "mt-bench",
     {"prompt": "Hi", "max_output_tokens": 5}),
    ({"prompt": "Hi", "output_tokens": 40}, "prompts", {"prompt": "Hi", "max_output_tokens": 40}),
    ({"prompt": "Hi", "output_tokens_count": 20, "prompt_tokens_count": 5}, "prompts",
     {"prompt": "Hi", "max_output_tokens": 20}),
    ({"question": "3 boxes of 4?", "answer": "3*4=12\n#### 12"}, "question-answer",
     {"prompt": "3 boxes of 4?", "reference": "3*4=12\n#### 12"}),
    ({"doc": {"q": "Hi"}, "target": "3", "arguments": [["Hi", {"until": ["."]}]], "resps": []}, "lm-eval",
     {"prompt": "Hi", "reference": 3.0, "scorer": "numeric", "extra_body": {"stop": ["."]}}),
    ({"index": 0, "target": ["Ho"], "messages": [*CHAT, said("Ho")], "sample_score": {}}, "evalscope",
     {"messages": CHAT, "reference": "Ho"}),
    ({"question": "Which?", "choices": ["a", "b"], "answer": 0}, "exam",
     {"prompt": 'Which?\n\nA. a\nB. b\n\nExactly one option is correct. Reply with its letter only, in the form '
      '"Answer: X".', "reference": "A", "scorer": {"name": "choice", "labels": "AB"}, "tags": ("en",)}),
    ({"question": "Where?", "context": "In Rome.", "answers": {"text": ["Rome"], "answer_start": [3]}},
     "question-answer", {"prompt": "Where?\n\nIn Rome.", "reference": "Rome"}),
    ({"system_prompt": "Brief.", "question": "Hi", "response": "Ho"}, "question-answer",
     {"messages": [{"role": "system", "content": "Brief."}, *CHAT], "reference": "Ho"}),
    ({"text": "What is a fjord?", "output_length": 8}, "aiperf",
     {"prompt": "What is a fjord?", "max_output_tokens": 8}),
    ({"texts": ["What is", "a delta?"]}, "aiperf",
     {"messages": [user([{"type": "text", "text": "What is"}, {"type": "text", "text": "a delta?"}])]}),
    ({"text": "What is this?", "image": "data:image/png;base64,AAAA"}, "aiperf", {"messages": [user([TEXT, IMAGE])]}),
    ({"inputs": "Hi", "parameters": {"max_new_tokens": 6, "temperature": 0.1}}, "tgi",
     {"prompt": "Hi", "max_output_tokens": 6, "extra_body": {"temperature": 0.1}}),
    ({"model": "m", "input": "Hi", "instructions": "Brief.", "max_output_tokens": 6}, "responses",
     {"messages": [{"role": "system", "content": "Brief."}, *CHAT], "max_output_tokens": 6}),
    ({"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is this?"}]}]},
     "responses", {"messages": [user([TEXT])]}),
    ({"Prompt": "Hi", "Max Tokens": "5"}, "openai", {"prompt": "Hi", "max_output_tokens": 5}),
    ({"prompt": "Hi", "max_tokens": 20.0, "reference": float("nan")}, "openai",
     {"prompt": "Hi", "max_output_tokens": 20}),
    ({"row_idx": 0, "row": {"prompt": "Hi"}}, "native", {"prompt": "Hi"}),
    ({"timestamp": 7000, "input_length": 3, "output_length": 52, "hash_ids": [0]}, "mooncake",
     {"prompt": "beat soft", "max_output_tokens": 52, "at_s": 0.0, "input_tokens": 3}),
    ({"TIMESTAMP": "2023-11-16 18:17:03.9799600", "ContextTokens": 3, "GeneratedTokens": 10}, "azure",
     {"prompt": "full hard", "max_output_tokens": 10, "at_s": 0.0, "input_tokens": 3}),
    ({"Timestamp": 5, "Session ID": "a", "Request tokens": 3, "Response tokens": 18}, "burstgpt",
     {"prompt": "full hard", "max_output_tokens": 18, "at_s": 0.0, "input_tokens": 3}),
    ({"arrived_at": 0.5, "num_prefill_tokens": 3, "num_decode_tokens": 14}, "vidur",
     {"prompt": "full hard", "max_output_tokens": 14, "at_s": 0.0, "input_tokens": 3}),
    ({"query": "Hi", "tools": '[{"name": "w", "parameters": {}}]'}, "question-answer",
     {"prompt": "Hi", "extra_body": {"tools": [TOOL]}}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "format_name", "expected"), ROWS, ids=range(len(ROWS)))
def test_formats(row: Any, format_name: str, expected: dict[str, Any]) -> None:
    """A row of each format becomes this prompt; written as native JSONL it is read as the same."""
    workload = parse_workload(jl(row), where="set")

    assert facts(workload.prompts[0]) == expected
    assert workload.reading is not None
    assert workload.reading.formats == {format_name: 1}
    again = parse_workload("\n".join(to_jsonl(workload.prompts)), where="set")
    assert (again.prompts, again.content_hash) == (workload.prompts, workload.content_hash)


def test_every_format_has_a_row() -> None:
    """No format of the table is without a case here."""
    assert {name for _, name, _ in ROWS} == {one.name for one in FORMATS}


TWO = [{"prompt": "Hi"}, {"prompt": "Ho, ho"}]
LINES = jl(*TWO)
ARRAY = json.dumps(TWO, indent=2).encode()
CSV = b'id,prompt\n1,Hi\n2,"Ho, ho"\n'
CONTAINERS: list[tuple[str, bytes, str]] = [
    ("a.jsonl", LINES, "JSON lines"),
    ("a.json", LINES, "JSON lines"),
    ("a.txt", LINES, "JSON lines"),
    ("crlf.jsonl", b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n"), "JSON lines"),
    ("cr.jsonl", LINES.replace(b"\n", b"\r"), "JSON lines"),
    ("blank.jsonl", b"\n \n" + LINES.replace(b"\n", b"\n\n"), "JSON lines"),
    ("comma.jsonl", LINES.replace(b"}\n", b"},\n"), "JSON lines"),
    ("array.json", json.dumps(TWO).encode(), "a JSON array"),
    ("pretty.json", ARRAY, "a JSON array"),
    ("comma.json", ARRAY.replace(b"\n]", b",\n]"), "a JSON array"),
    ("lines.json", b"[\n" + LINES.replace(b"}\n{", b"},\n{") + b"]\n", "a JSON array"),
    ("one.json", b"\n\n" + json.dumps(TWO).encode(), "a JSON array"),
    ("objects.json", b"\n".join(json.dumps(row, indent=1).encode() for row in TWO), "JSON objects"),
    ("data.json", json.dumps({"version": 1, "data": TWO}).encode(), "JSON lines"),
    ("rows.json", json.dumps({"rows": [{"row_idx": i, "row": r} for i, r in enumerate(TWO)]}, indent=1).encode(),
     "JSON objects"),
    ("strings.json", b'["Hi", "Ho, ho"]', "a JSON array"),
    ("strings.jsonl", b'"Hi"\n"Ho, ho"\n', "JSON lines"),
    ("a.csv", CSV, "CSV"),
    ("a.dat", CSV, "CSV"),
    ("quoted.csv", b'"prompt","id"\r\n"Hi","1"\r\n"Ho, ho","2"\r\n', "CSV"),
    ("semicolon.csv", b"prompt;id\nHi;1\nHo, ho;2\n", "CSV with semicolons"),
    ("excel.csv", b"sep=;\nprompt;id\nHi;1\nHo, ho;2\n", "CSV with semicolons"),
    ("a.tsv", b"prompt\tid\nHi\t1\nHo, ho\t2\n", "TSV"),
    ("column.csv", b"Prompt\nHi\nHo, ho\n", "CSV"),
    ("a.txt", b"Hi\n\nHo, ho", "lines of text"),
    ("prompts", b"Hi\r\nHo, ho\r\n", "lines of text"),
    ("pretty.txt", ARRAY, "a JSON array"),
    ("a.parquet", table(prompt=["Hi", "Ho, ho"]), "Parquet"),
    ("bytes.parquet", table(prompt=[b"Hi", b"Ho, ho"]), "Parquet"),
    ("utf16.jsonl", LINES.decode().encode("utf-16"), "JSON lines"),
    ("utf16be.csv", CSV.decode().encode("utf-16-be"), "CSV"),
    ("utf32.txt", "Hi\nHo, ho".encode("utf-32"), "lines of text"),
    ("a.jsonl.gz", gzip.compress(LINES), "JSON lines in gzip"),
    ("named-wrongly.jsonl", gzip.compress(LINES[:15]) + gzip.compress(LINES[15:]), "JSON lines in gzip"),
    ("a.csv.zst", zstd(CSV), "CSV in zstd"),
    ("frames.zst", zstd(LINES[:20]) + zstd(LINES[20:]), "JSON lines in zstd"),
    ("a.json.xz", lzma.compress(ARRAY), "a JSON array in xz"),
    ("a.bz2", bz2.compress(LINES), "JSON lines in bzip2"),
    ("twice.gz", gzip.compress(zstd(LINES)), "JSON lines in zstd in gzip"),
    ("packed.parquet.gz", gzip.compress(table(prompt=["Hi", "Ho, ho"])), "Parquet in gzip"),
]  # fmt: skip


def read(file: Path, **keys: Any) -> Workload:
    """The workload of a file as a sweep reads it."""
    return read_workload(WorkloadSpec(source=str(file), **keys), 0)


@pytest.mark.parametrize(("name", "data", "what"), CONTAINERS, ids=[f"{i}-{c[0]}" for i, c in enumerate(CONTAINERS)])
def test_containers(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    """The same two prompts are read out of every container, whatever the file is called."""
    (tmp_path / name).write_bytes(data)

    workload = read(tmp_path / name)

    assert [p.prompt for p in workload.prompts] == ["Hi", "Ho, ho"]
    assert workload.reading is not None
    assert workload.reading.container == what
    assert [p.prompt for p in read(tmp_path / name, requests=1).prompts] == ["Hi"]
    assert len(read(tmp_path / name, requests=3).prompts) == 3


# bytes, words of the error, its place
REFUSED: list[tuple[bytes, str, str]] = [
    (b"", "the workload is empty", "set"),
    (b"[]", "the workload is empty", "set"),
    (b"PK\x03\x04xxxx", "a ZIP archive or an Excel file", "set"),
    (b"\x00\x01\x02\x00\x07\x00\x00", "binary", "set"),
    (b"<!DOCTYPE html><html>", "an HTML", "set"),
    (b"%PDF-1.7", "a PDF", "set"),
    (b"version https://git-lfs.github.com/spec/v1\noid x", "git lfs pull", "set"),
    (b"- prompt: Hi\n  max_tokens: 5\n- prompt: Ho\n", "it seems to be YAML", "set"),
    (b"# mine\n---\nprompts:\n- Hi\n- 'Ho: ho'\n", "it seems to be YAML", "set"),
    (b"- Hi\n- Ho\n", "it seems to be YAML", "set"),
    (b"prompts:\n    - Hi, you\n    - Ho\n", "it seems to be YAML", "set"),
    (b"- prompt: |\n    Write.\n\n    At length:\n- prompt: Ho\n", "it seems to be YAML", "set"),
    (b"prompt: Hi\nmax_tokens: 5\n", "it seems to be YAML", "set"),
    (b'[[requests]]\nprompt = "Hi"\n[[requests]]\nprompt = "Ho"\n', "it seems to be TOML", "set"),
    (b'prompt = "Hi"\nmax_tokens = 5\n', "it seems to be TOML", "set"),
    (b"PAR1 no more PAR1", "seems to be Parquet, damaged", "set"),
    (gzip.compress(LINES * 1000)[:-20], "the gzip file is cut off or damaged", "set"),
    (zstd(LINES * 1000)[:-20], "", "set"),
    (b'[{"prompt": "a"}, {"prompt": ]', "not valid JSON", "set:1"),
    (b'[{"prompt": "a"}', "the JSON array does not end; it has 1 values", "set:1"),
    (b'[{"prompt": "a"}] tail', "text after the end of the JSON array", "set:1"),
    (b'{"prompt": "a"}\n{"prompt": "b"\n', "not valid JSON", "set:2"),
    (b"{'prompt': 'a'}\n", "single quotes", "set:1"),
    (b"id,prompt\n1,a\n2\n", "line 3: 1 cells, where the header has 2", "set:3"),
    (b'id,prompt\n1,"a\n2,b\n', "a quote opens here", "set:2"),
    (b"id,prompt,id\n1,a,2\n", "two columns 'id'", "set:1"),
    (b"# a comment\n" + LINES, "line 1: not valid JSON", "set:1"),
    (b"caf\xe9 au lait\n", "not UTF-8", "set:1"),
    (jl({"foo": "a text", "bar": 1}), "no text of a request in line 1", "set:1"),
    (jl({"prompt": [1, 2, 3, 4]}), "4 token ids", "set:1"),
    (jl({"prompt": ["a", "b"], "max_tokens": 3}), "several requests in one", "set:1"),
    (jl({"prompt": 5}), "prompt: given 5", "set:1"),
    (jl({"prompt": " "}), "only white space", "set:1"),
    (jl({"id": "a", "prompt": "Hi"}, {"id": "a", "prompt": "Ho"}), "id: 'a' is used before, on line 1", "set:2"),
    (jl({"prompt": "a", "max_tokens": 0}), "max_output_tokens: expected a whole number", "set:1"),
    (jl({"prompt": "a", "max_tokens": 2**31}), "max_output_tokens: expected a whole number", "set:1"),
    (jl({"text": "a", "image": "local.png"}), "expected an image as a URL", "set:1"),
    (jl({"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "a"}}), "not a text generation route", "set:1"),
    (jl(*TWO, 5), "line 3: 5 is not a request", "set:3"),
    (json.dumps([*TWO, {"conversations": []}]).encode(), "row 3: conversations:", "set, row 3"),
    (table(question=["a"], other=[None])[:-6] + b"xxPAR1", "damaged", "set"),
]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["Note: be brief. Why?\nRule: be kind. How?", "Question: a?\nQuestion: b?", "- one thing", "a: b",
     "def f(x):\n    return x", "[INST] Hi [/INST]\n[INST] Ho [/INST]", "- a list\nand prose",
     "x = 3\ny = 4\n", "  indented\n  lines"],
)  # fmt: skip
def test_texts_that_are_no_markup(text: str) -> None:
    """Prose with colons, dashes and brackets stays lines of text."""
    assert [p.prompt for p in parse_workload(text, where="set").prompts] == text.splitlines()


@pytest.mark.parametrize(("data", "words", "where"), REFUSED, ids=range(len(REFUSED)))
def test_refusals(data: bytes, words: str, where: str) -> None:
    """What is no request set is refused: what it seems to be, where, and what to do."""
    with pytest.raises(WorkloadError) as caught:
        parse_workload(data, where="set")

    assert words in str(caught.value)
    assert caught.value.where == where


def test_skipped_rows_are_counted() -> None:
    """Odd rows up to --skip-bad are left out and named; one more refuses the set."""
    data = jl({"prompt": "a"}, {"prompt": ""}, 7, {"prompt": "b"}) + b'{"prompt": "c"\n'

    workload = parse_workload(data, where="set", skip_bad=3)

    assert [p.prompt for p in workload.prompts] == ["a", "b"]
    assert workload.reading is not None
    assert [line.split(":")[0] for line in workload.reading.skipped] == ["line 2", "line 3", "line 5"]
    assert workload.reading.facts()["skipped"] == 3
    with pytest.raises(WorkloadError) as caught:
        parse_workload(data, where="set", skip_bad=2)
    assert caught.value.hint == "--skip-bad 3 leaves them out"


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        ({"prompt": "Frage"}, {"Frage": "Hi", "answer": "Ho"}, {"prompt": "Hi", "reference": "Ho"}),
        ({"prompt": "data.q", "max_output_tokens": "data.n"}, {"data": {"q": "Hi", "n": 3}},
         {"prompt": "Hi", "max_output_tokens": 3}),
        ({"prompt": "q"}, {"q": "Hi", "messages": CHAT}, {"prompt": "Hi"}),
        ({"prompt": "turns.1"}, {"turns": ["Hi", "Ho"]}, {"prompt": "Ho"}),
        ({"messages": "log", "temperature": "t"}, {"log": CHAT, "t": 0.5},
         {"messages": CHAT, "extra_body": {"temperature": 0.5}}),
    ],
)  # fmt: skip
def test_columns(columns: dict[str, str], row: dict[str, Any], expected: dict[str, Any]) -> None:
    """A column map names what no format knows; dots lead into nested values."""
    assert facts(parse_workload(jl(row), where="set", columns=columns).prompts[0]) == expected


def test_unknown_columns_are_refused() -> None:
    """A key that is not ours, and a column that a row lacks, are named."""
    with pytest.raises(WorkloadError, match="a key of the request format"):
        parse_workload(LINES, where="set", columns={"promt": "prompt"})
    with pytest.raises(WorkloadError, match="no column 'q' for prompt; it has prompt"):
        parse_workload(LINES, where="set", columns={"prompt": "q"})


def test_the_way_on_names_the_column() -> None:
    """Where no format knows a row, the command with its longest text is given."""
    with pytest.raises(WorkloadError) as caught:
        parse_workload(b"Nr,Die Frage\n1,Was ist ein Fjord?\n", where="set.csv")

    assert caught.value.hint is not None
    assert caught.value.hint.endswith("describe set.csv --column prompt='Die Frage'")


def test_nested_parquet() -> None:
    """Lists and structs of Parquet are messages and their parts; the fields that a struct lacks are not sent."""
    turns = [[user("Hi"), {"role": "assistant", "content": None, "tool_calls": [CALL]}, user("Ho")]]

    workload = parse_workload(table(messages=turns, max_tokens=[7.0], system=[None]), where="set")

    expected = [user("Hi"), {"role": "assistant", "content": None, "tool_calls": [CALL]}, user("Ho")]
    assert facts(workload.prompts[0]) == {"messages": expected, "max_output_tokens": 7}


def test_long_texts_and_quotes(tmp_path: Path) -> None:
    """A field of a megabyte, with line ends and quotes, is read whole, beyond what csv allows by default."""
    long = 'He said "x,\ny"\n' * 70_000
    (tmp_path / "long.csv").write_text('prompt,id\n"' + long.replace('"', '""') + '",1\n"b",2\n')

    assert [p.prompt for p in read(tmp_path / "long.csv").prompts] == [long, "b"]


def test_a_part_of_a_long_file_is_enough(tmp_path: Path) -> None:
    """With --requests no more is read than these: what comes later may even be broken."""
    (tmp_path / "long.json").write_bytes(b"[" + b'{"prompt": "a", "x": "' + b"y" * 99 + b'"},' * 1)
    with (tmp_path / "long.json").open("ab") as file:
        file.write((b'{"prompt": "a", "x": "' + b"y" * 99 + b'"},') * 30_000 + b"!!")

    assert len(read(tmp_path / "long.json", requests=100).prompts) == 100
    with pytest.raises(WorkloadError, match="30001 values before it"):
        read(tmp_path / "long.json")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"", LINES, ARRAY, CSV, gzip.compress(LINES), b"\xff\xfe", b"[", b"{", b'"', b"prompt\n"]),
    st.binary(max_size=60),
    st.integers(0, 40),
)
def test_any_bytes_end_in_prompts_or_an_error(start: bytes, data: bytes, at: int) -> None:
    """Whatever a file holds, it is prompts or a WorkloadError."""
    with contextlib.suppress(WorkloadError):
        assert parse_workload(start[:at] + data + start[at:], where="set", skip_bad=1).prompts


KEYS = (
    *(
        "id",
        "prompt",
        "messages",
        "role",
        "content",
        "from",
        "value",
        "conversations",
        "turns",
        "text",
        "image",
        "body",
    ),
    *(
        "url",
        "input",
        "parameters",
        "max_tokens",
        "tools",
        "tool_calls",
        "function",
        "arguments",
        "reference",
        "answer",
    ),
    *("choices", "question", "instruction", "extra_body", "system", "tags", "at_s", "type", "stop", "rows", "row"),
    *(
        "options",
        "A",
        "B",
        "C",
        "cop",
        "label",
        "scorer",
        "name",
        "labels",
        "doc",
        "arguments",
        "sample_score",
        "index",
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(KEYS),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_row_ends_in_a_prompt_or_a_reason(row: Any) -> None:
    """Whatever plain data a row is, it becomes a prompt that can be written, or an error."""
    with contextlib.suppress(WorkloadError):
        workload = parse_workload(jl(row), where="set")
        written = [*to_jsonl(workload.prompts)]
        assert parse_workload("\n".join(written), where="set") == workload


def test_hugging_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """hf:ORG/NAME:CONFIG:SPLIT streams the data set's rows; a missing package, a bad name and no network are said."""
    asked: list[Any] = []

    def load_dataset(*args: Any, **keys: Any) -> list[dict[str, str]]:
        asked.append((args, keys))
        if args[0] == "org/gone":
            raise ConnectionError("Couldn't reach 'org/gone' on the Hub")
        return [{"question": "Hi", "answer": "Ho"}]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    workload = read_workload(WorkloadSpec(source="hf:org/name:main:test"), 0)
    assert facts(workload.prompts[0]) == {"prompt": "Hi", "reference": "Ho"}
    assert asked == [(("org/name", "main"), {"split": "test", "streaming": True})]
    with pytest.raises(WorkloadError, match="cannot be read from Hugging Face"):
        read_workload(WorkloadSpec(source="hf:org/gone:test"), 0)
    with pytest.raises(WorkloadError, match="has a name and a split"):
        read_workload(WorkloadSpec(source="hf:org/name"), 0)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(WorkloadError) as caught:
        read_workload(WorkloadSpec(source="hf:org/name:test"), 0)
    assert "pip install 'benchsuite[hf]'" in str(caught.value.hint)
