"""Traces as their owners publish them: times, lengths, and texts that share what the trace's requests shared."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from benchsuite.errors import InputError, WorkloadError
from benchsuite.input_files import read_tokenizer, read_workload
from benchsuite.limits import TABLE
from benchsuite.load.schedule import replayed
from benchsuite.request_spec import WorkloadSpec
from benchsuite.spec import SweepSpec
from benchsuite.workload.dataset import Workload, make_workload, to_jsonl
from benchsuite.workload.formats import parse_workload
from benchsuite.workload.random_set import TokensPerWord
from benchsuite.workload.traces import TraceTexts

FOLDER = Path(__file__).parents[1] / "fixtures" / "traces"


def trace(name: str, **keys: Any) -> Workload:
    """A sample."""
    return read_workload(WorkloadSpec(source=str(FOLDER / name), **keys), 0)


@pytest.mark.parametrize(("name", "times_s", "inputs", "outputs"), [
    ("mooncake.jsonl", [0, 0.25, 0.25, 3.052], [1100, 1536, 1700, 90], [12, 40, 7, 316]),
    ("bailian.jsonl", [0, 60.614], [40, 64], [9, 3]),
    ("azure.csv", [0, 0.0519999, 6.5000004], [48, 31, 110], [10, 8, 27]),
    ("azure_2024.csv", [0, 0.5], [48, 31], [10, 8]),
    ("burstgpt.csv", [0, 113], [47, 41], [18, 27]),
    ("burstgpt_3.csv", [0, 51.5], [90, 36], [44, 29]),
    ("vidur.csv", [0, 0.125], [59, 54], [14, 24]),
    ("sharegpt.json", [None, None], [None, None], [4, 5]),
])  # fmt: skip
def test_samples(name, times_s, inputs, outputs):
    """Times from the first row, lengths as they stand; native JSONL keeps both."""
    workload = trace(name)
    assert [p.at_s for p in workload.prompts] == times_s
    assert [p.input_tokens for p in workload.prompts] == inputs
    assert [p.max_output_tokens for p in workload.prompts] == outputs
    again = parse_workload("\n".join(to_jsonl(workload.prompts)), where="set")
    assert (again.prompts, again.content_hash) == (workload.prompts, workload.content_hash)
    by = None if inputs[0] is None else "characters"
    assert (workload.lengths or {}).get("by") == by


def test_failures_are_counted():
    """A request without a response is left out, and said; its time may be where the trace begins."""
    assert trace("burstgpt.csv").reading.notes["requests of the trace without output, which failed, are left out"] == 1
    rows = "arrived_at,num_prefill_tokens,num_decode_tokens\n3,5,0\n4,0,5\n7,5,1\n"
    (prompt,) = parse_workload(rows, where="set").prompts
    assert prompt.at_s == 4


def test_equal_hash_ids_are_equal_text():
    """Requests share the text of the blocks that they share, and nothing more; the seed changes all of it."""
    first, second, third, other = (prompt.prompt for prompt in trace("mooncake.jsonl").prompts)
    block = TokensPerWord()
    shared = first.split()[: int(2 * 512 / block.value) - 2]
    assert second.split()[: len(shared)] == third.split()[: len(shared)] == shared
    assert third.startswith(f"{second} ")
    assert other.split()[:3] != first.split()[:3]
    assert first.split()[len(shared) + 9 :] != second.split()[len(shared) + 9 :][: len(first.split())]
    seeded = read_workload(WorkloadSpec(source=str(FOLDER / "mooncake.jsonl")), 1).prompts
    assert seeded[0].prompt.split()[:3] != first.split()[:3]


def test_lengths_of_many_small_blocks():
    """Blocks of 16 tokens are 13.3 words or so: what is over evens out in a prompt of 400 of them."""
    for ruler in (TokensPerWord(), TokensPerWord(1.37, "usage", 5)):
        row = {"timestamp": 0, "chat_id": 1, "input_length": 6400, "output_length": 1, "hash_ids": [*range(7, 407)]}
        made = parse_workload(json.dumps(row), where="set", texts=TraceTexts(3, lambda ruler=ruler: ruler))
        words = len(made.prompts[0].prompt.split())
        assert words * ruler.value == pytest.approx(6400, rel=0.002)
        assert made.lengths == ruler.facts()


@pytest.mark.parametrize("make", ["word_level", "byte_level", "metaspace"])
def test_a_tokenizer_makes_blocks_exact(make, tmp_path):
    """Each block has its tokens behind another's; only the first stands behind none, and is a token or so off."""
    pytest.importorskip("tokenizers", reason="the extra `tokenizers`")
    from tests.workload import test_random_set

    getattr(test_random_set, make)().save(str(tmp_path / "tokenizer.json"))
    made = trace("bailian.jsonl", tokenizer=str(tmp_path))
    counts = read_tokenizer(str(tmp_path)).counts([str(prompt.prompt) for prompt in made.prompts])
    assert counts == pytest.approx([40, 64], abs=2)
    assert made.lengths["by"] == "tokenizer"


ROW = {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}


@pytest.mark.parametrize(("rows", "expected"), [
    ([ROW | {"hash_ids": [1]}], "hash_ids: expected 2, as 600 tokens are so many blocks of 512 (given 1); --block"),
    ([ROW | {"hash_ids": [1, -2]}], "hash_ids: expected a list of whole numbers"),
    ([ROW | {"hash_ids": [1, True]}], "hash_ids: expected a list of whole numbers"),
    ([ROW | {"input_length": -1}], "input_length: expected a number"),
    ([ROW | {"input_length": 1.5}], "input_length, output_length: expected whole numbers"),
    ([ROW | {"input_length": 10**9, "hash_ids": []}], "up to 10,000,000"),
    ([ROW | {"timestamp": 1e305}], "timestamp: expected a number"),
    ([{"prompt": "a", "at_s": 1e300}], "at_s: expected a number"),
    ([{"TIMESTAMP": "9999-11-16 18:17:03", "ContextTokens": 4, "GeneratedTokens": 1}], "timestamp: expected YYYY"),
    ([ROW | {"timestamp": "noon"}], "timestamp: expected a number"),
    ([ROW | {"timestamp": 500}, ROW], "sent 0.5 s before the first row"),
    ([{"TIMESTAMP": "2023-13-16 18:17:03", "ContextTokens": 4, "GeneratedTokens": 1}], "timestamp: expected YYYY"),
    ([{"TIMESTAMP": "2023-11-16 18:17:03+02:00", "ContextTokens": 4, "GeneratedTokens": 1}], "in UTC"),
])  # fmt: skip
def test_rows_that_are_refused(rows, expected):
    """By their line, with the reason; --skip-bad leaves them out."""
    with pytest.raises(WorkloadError) as refused:
        parse_workload("".join(json.dumps(row) + "\n" for row in rows), where="set")
    assert f"line {len(rows)}: " in refused.value.what
    assert expected in refused.value.what


def test_a_trace_of_more_tokens_than_memory_is_refused(monkeypatch):
    """A row of 60 bytes may stand for 10,000,000 tokens: they are counted, and --requests reads fewer rows."""
    monkeypatch.setitem(TABLE, "set_tokens", TABLE["set_tokens"]._replace(most=1300))
    rows = f"{json.dumps(ROW)}\n" * 3
    with pytest.raises(WorkloadError, match="too long") as refused:
        parse_workload(rows, where="set")
    assert (refused.value.given, refused.value.hint) == ("1,800 tokens in 3 requests", "--requests 2")
    assert len(parse_workload(rows, where="set", requests=2).prompts) == 2


def test_a_set_without_an_end_is_refused(monkeypatch):
    """A packed file of a few bytes may hold as many rows as it likes: their bytes are counted."""
    monkeypatch.setitem(TABLE, "set_bytes", TABLE["set_bytes"]._replace(most=20_000))
    packed = gzip.compress(b'{"prompt":"a"}\n' * 1_000_000)
    with pytest.raises(WorkloadError, match="too large") as refused:
        parse_workload(packed, where="set")
    assert (refused.value.where, refused.value.hint) == ("set", "--requests 18")
    assert len(parse_workload(packed, where="set", requests=18).prompts) == 18


def test_the_size_of_blocks():
    """--block names another size than the format's."""
    asked = {"timestamp": 0, "input_length": 60, "output_length": 5, "hash_ids": [1, 2]}
    made = parse_workload(json.dumps(asked), where="set", texts=TraceTexts(block=32))
    assert made.prompts[0].input_tokens == 60


def replay(workload: Workload, **keys: Any) -> tuple[Workload, tuple[float, ...]]:
    """The part that is sent, and its times."""
    tree = {"server": {"base_url": "http://h"}, "arrivals": {"replay": True} | keys}
    return replayed(SweepSpec.model_validate(tree), workload)[1:]


def test_replayed():
    """A part of the trace in the order of its times, which begin anew; texts, lengths and what counted them stay."""
    whole = trace("mooncake.jsonl")
    assert replay(whole) == (whole, (0, 0.25, 0.25, 3.052))
    part, times_s = replay(whole, from_s=0.2, to_s=3.052)
    assert part.prompts == whole.prompts[1:3]
    assert times_s == pytest.approx((0.05, 0.05))
    assert part.lengths == whole.lengths
    backwards, times_s = replay(make_workload("set", whole.prompts[::-1]))
    assert [p.prompt_id for p in backwards.prompts] == ["line-1", "line-3", "line-2", "line-4"]
    assert times_s == (0, 0.25, 0.25, 3.052)
    with pytest.raises(InputError, match=r"3\.052 s"):
        replay(whole, from_s=4.0)
    with pytest.raises(InputError, match="no at_s in the request 's0'"):
        replay(trace("sharegpt.json"))
    at_once = make_workload("set", [dataclasses.replace(one, at_s=0.0) for one in whole.prompts])
    with pytest.raises(InputError, match=r"4e\+06 requests/s"):  # of which --workers auto would make 20,000
        replay(at_once)
    assert replay(at_once, speed=[0.001])[1] == (0, 0, 0, 0)


def test_imported_by_the_verb(cli, tmp_path):
    """Offline, with a line for what was left out; what is written is what a direct reading makes."""
    path = tmp_path / "trace.jsonl"
    ended = cli(f"workload import mooncake {FOLDER / 'mooncake.jsonl'} --output {path}")
    assert ended.code == 0
    assert read_workload(WorkloadSpec(source=str(path)), 0).prompts == trace("mooncake.jsonl").prompts
    small = cli(f"workload import mooncake {FOLDER / 'mooncake.jsonl'} --block 16 --output {tmp_path / 'b.jsonl'}")
    assert (small.code, "--block" in str(small.error)) == (2, True)
