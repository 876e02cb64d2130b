"""Random request sets: lengths as asked, exact where a tokenizer is at hand, the same bytes for the same arguments."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest

from benchsuite.errors import InputError, SpecError, WorkloadError
from benchsuite.input_files import read_tokenizer, read_workload
from benchsuite.request_spec import WorkloadSpec, read_scenario
from benchsuite.strict_model import validated
from benchsuite.workload.dataset import Prompt, PromptPlaces, Workload, to_jsonl
from benchsuite.workload.random_set import WORDS, RandomStream, TokensPerWord, length_errors, make_random
from benchsuite.workload.tokenizer import TextTokenizer, count_where_unknown

tokenizers = pytest.importorskip("tokenizers", reason="the extra `tokenizers`")
TEXT = [
    "the quick brown fox jumps over the lazy dog near every river bank",
    "a model reads words and then writes words",
]


def random_spec(**keys: Any) -> WorkloadSpec:
    return validated(WorkloadSpec, {"source": "random", **keys}, "the request set", where="test")


def lengths(workload: Workload) -> tuple[list[int], list[int]]:
    return [p.input_tokens or 0 for p in workload.prompts], [p.max_output_tokens or 0 for p in workload.prompts]


def test_counts_where_the_server_has_none():
    """Output, and its reasoning by its share of the chunks, by the tokenizer; where chunks are more, they stay."""
    rows: dict[str, Any] = {
        "request_id": ["a", "b", "c"], "prompt_id": ["p", "p", "q"], "status": ["ok"] * 3, "n_chunks": [4, 4, 2],
        "finish_reason": ["stop", "MAX_TOKENS", "maxTokens"], "input_tokens": [None, 7, 9],
        "output_tokens": [4, 4, 5], "reasoning_tokens": [1, None, 3], "token_source": ["chunks", "chunks", "usage"],
    }  # fmt: skip
    texts = {"a": "the quick brown fox jumps over the lazy", "b": "river bank", "c": "a model reads words"}
    ruler = TextTokenizer("words", word_level())
    compared = count_where_unknown(rows, texts, {"p": "over the river", "q": "a"}, ruler)
    counted = [rows[name] for name in ("input_tokens", "output_tokens", "reasoning_tokens", "token_source")]
    assert counted == [[3, 7, 9], [8, 4, 5], [2, None, 3], ["tokenizer", "chunks", "usage"]]
    assert compared == {"responses": 1, "stopped": 0, "usage_output_tokens": 5, "tokenizer_output_tokens": 4}


def test_lengths_that_nothing_tells():
    """What the server adds is not known: nor is how far its counts are from the lengths."""
    places = PromptPlaces([Prompt("a", prompt="x", input_tokens=8), Prompt("b", prompt="y"), Prompt("c", prompt="z")])
    assert length_errors([(["a", "a"], [10, None])], places, None) == {}
    assert length_errors([(["b"], [10]), (["a"], [None])], places, 1) == {}
    found = length_errors([(["c", "a"], [3, 10]), ([], []), (["a", "b"], [11, None])], places, 1)
    assert found == {
        "overhead_tokens": 1,
        "length_error_median_tokens": 1.5,
        "length_error_max_tokens": 2,
        "length_error_max_ratio": 0.25,
    }


def word_level() -> Any:
    """A token a word, split at spaces and punctuation."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.train_from_iterator(TEXT, tokenizers.trainers.WordLevelTrainer(special_tokens=["[UNK]"]))
    return made


def byte_level() -> Any:
    """Byte-level BPE, as GPT, Llama 3 and Qwen have it."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.train_from_iterator(TEXT * 20, tokenizers.trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>"]))
    return made


def metaspace() -> Any:
    """BPE over the mark of a space, as SentencePiece (Llama 2, Mistral) has it."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.decoder = tokenizers.decoders.Metaspace()
    made.train_from_iterator(TEXT * 20, tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"]))
    return made


def characters() -> Any:
    """A token a character: a word of one letter and its space are two."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.train_from_iterator(TEXT, tokenizers.trainers.BpeTrainer(vocab_size=30, special_tokens=["<s>"]))
    return made


@pytest.mark.parametrize("make", [word_level, byte_level, metaspace, characters])
@pytest.mark.parametrize("asked", [1, 2, 7, 64, 1001])
def test_prompts_are_exact(make: Any, asked: int, tmp_path: Path) -> None:
    """Each text encodes to the tokens that were asked for, with a prefix too."""
    make().save(str(tmp_path / "tokenizer.json"))
    tokenizer = read_tokenizer(str(tmp_path))
    keys: dict[str, Any] = {"requests": 12, "input_tokens": asked, "output_tokens": 4, "length_range": 0.5}
    if asked > 8:
        keys |= {"prefix_tokens": asked // 4, "prefix_share": 0.5}
    made = make_random(random_spec(**keys), 0, tokenizer)
    inputs, _ = lengths(made)
    counted = [len(make().encode(p.prompt, add_special_tokens=False)) for p in made.prompts]
    assert counted == inputs
    assert fmean(inputs) == pytest.approx(asked, rel=0.1, abs=1)
    assert made.lengths is not None
    assert made.lengths["by"] == "tokenizer"


@pytest.mark.parametrize(
    ("keys", "inputs", "outputs"),
    [
        ({"input_tokens": 100, "output_tokens": 10}, (100, 0, 100, 100), (10, 0, 10, 10)),
        ({"input_tokens": 100, "output_tokens": 10, "length_range": 0.5}, (100, 29, 50, 150), (10, 3.2, 5, 15)),
        ({"input_tokens": 100, "output_tokens": 10, "length_range": 1.0}, (100, 57.7, 1, 200), (10.5, 5.8, 1, 20)),
        ({"input_tokens": 500, "output_tokens": 100, "length_stdev": 0.1}, (500, 50, 250, 750), (100, 10, 50, 150)),
        ({"scenario": "D(1024,128)"}, (1024, 0, 1024, 1024), (128, 0, 128, 128)),
        ({"scenario": "N(480,100)/(300,20)"}, (480, 100, 1, 980), (300, 20, 200, 400)),
        ({"scenario": "u(50, 100)/(200, 250)"}, (75, 14.7, 50, 100), (225, 14.7, 200, 250)),
        ({"scenario": "U(9,4)"}, (5, 2.6, 1, 9), (2.5, 1.1, 1, 4)),
    ],
)
def test_lengths(keys: dict[str, Any], inputs: tuple[float, ...], outputs: tuple[float, ...]) -> None:
    """Mean, standard deviation, least and most of 1,000 inputs and outputs are those of the distribution."""
    for drawn, (mean, stdev, low, high) in zip(
        lengths(make_random(random_spec(**keys), 0, TokensPerWord())), (inputs, outputs), strict=True
    ):
        assert len(drawn) == 1000
        assert fmean(drawn) == pytest.approx(mean, rel=0.01, abs=0.1)
        assert pstdev(drawn) == pytest.approx(stdev, rel=0.03, abs=0.2)
        assert min(drawn) >= low
        assert max(drawn) <= high


def test_the_same_arguments_give_the_same_bytes() -> None:
    """Seed and number decide; a longer set of one length begins with the shorter; another seed is another set."""
    spec = random_spec(input_tokens=30, output_tokens=3, requests=40)
    made = make_random(spec, 5, TokensPerWord())
    assert made == make_random(spec, 5, TokensPerWord())
    longer = make_random(spec.model_copy(update={"requests": 60}), 5, TokensPerWord())
    assert longer.prompts[:40] == made.prompts
    assert make_random(spec, 6, TokensPerWord()).content_hash != made.content_hash
    assert len({p.prompt for p in made.prompts}) == 40


@pytest.mark.parametrize(("n", "wanted"), [(0, 3), (1, 1), (10, 4), (1024, 1024), (1025, 1025), (5000, 4321), (3, 9)])
def test_a_sample_takes_one_item_after_another(n: int, wanted: int) -> None:
    """Of many as of few: each draw is the place of the next item among those that are left."""
    stream, left = RandomStream(3, 7), list(range(n))
    expected = [left.pop(int(stream.uniform() * len(left))) for _ in range(min(n, wanted))]
    assert RandomStream(3, 7).sample(range(n), wanted) == expected


def test_words_by_the_server_s_count() -> None:
    """At so many tokens a word, a prompt has as many words as make its tokens; the words come about equally often."""
    made = make_random(random_spec(input_tokens=1035, output_tokens=1, requests=2), 0, TokensPerWord(1.25, "usage", 9))
    for prompt in made.prompts:
        words = (prompt.prompt or "").split()
        assert len(words) == 828
        assert {words.count(word) for word in WORDS} <= {828 // len(WORDS), 828 // len(WORDS) + 1}
    assert made.lengths == {"by": "usage", "tokens_per_word": 1.25, "overhead_tokens": 9}


def test_a_shared_prefix() -> None:
    """The asked share of the prompts, exactly, begins with the same text; it counts into their length."""
    keys = {"input_tokens": 100, "output_tokens": 4, "requests": 50, "prefix_tokens": 40, "prefix_share": 0.3}
    made = make_random(random_spec(**keys), 0, TokensPerWord(1.0, "usage"))
    begins = [p.prompt.split()[:40] for p in made.prompts if p.scenario == "prefix" and p.prompt]
    assert len(begins) == 15
    assert all(begin == begins[0] for begin in begins)
    assert {len((p.prompt or "").split()) for p in made.prompts} == {100}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "input_tokens and output_tokens: required"),
        ({"output_tokens": 4, "length_stdev": 0.1}, "input_tokens: required"),
        ({"input_tokens": 8, "output_tokens": 0}, "output_tokens: Input should be greater than or equal to 1"),
        (
            {"input_tokens": 8, "output_tokens": 4, "length_stdev": 30},
            "length_stdev: expected a share, 0 to 1 (given 30)",
        ),
        ({"input_tokens": 8, "output_tokens": 4, "length_range": -0.1}, "length_range: expected a share"),
        ({"input_tokens": 8, "output_tokens": 4, "length_range": 0.1, "length_stdev": 0.1}, "give one of them"),
        ({"input_tokens": 8, "output_tokens": 4, "prefix_share": 0.5}, "prefix_share: needs prefix_tokens"),
        (
            {"input_tokens": 8, "output_tokens": 4, "prefix_tokens": 4, "prefix_share": 2},
            "prefix_share: expected a share",
        ),
        ({"input_tokens": 8, "output_tokens": 4, "prefix_tokens": 8}, "prefix_tokens: part of the 8 input tokens"),
        ({"scenario": "D(8,4)", "input_tokens": 8}, "scenario has the lengths in it"),
        ({"scenario": "D(8;4)"}, "scenario: expected D(in,out), N(mean,stdev)/(mean,stdev)"),
        ({"scenario": "N(8,4)"}, "scenario: expected"),
        ({"scenario": "E(8)"}, "scenario: expected"),
        ({"scenario": "U(9,8)/(1,2)"}, "the lower before the higher"),
        ({"scenario": "D(99999999999999999999,1)"}, "scenario: lengths"),
        ({"source": "wineval", "prefix_tokens": 8, "scenario": "D(8,4)"}, "prefix_tokens, scenario: only for"),
    ],
)
def test_mistakes(keys: dict[str, Any], says: str) -> None:
    """What does not fit together is refused with the key, what was given and what is expected."""
    with pytest.raises(SpecError) as caught:
        random_spec(**keys)
    assert says in str(caught.value)


def test_outputs_are_as_long_as_their_caps() -> None:
    """Random sets ask for a fixed length unless told not to; others only where told."""
    assert random_spec(scenario="D(8,4)").fixed_length
    assert not random_spec(scenario="D(8,4)", fixed_length=False).fixed_length
    assert not WorkloadSpec().fixed_length


def test_a_random_set_is_read_back(tmp_path: Path) -> None:
    """Written as native JSONL it is the same set, lengths included."""
    made = read_workload(random_spec(scenario="D(8,4)", requests=3), 0)
    (tmp_path / "set.jsonl").write_text("\n".join(to_jsonl(made.prompts)), "utf-8")
    again = read_workload(WorkloadSpec(source=str(tmp_path / "set.jsonl")), 0)
    assert again.prompts == made.prompts
    assert again.content_hash == made.content_hash


@pytest.mark.parametrize("name", ["missing/tokenizer.json", "./nowhere", "broken.json", ".", "/dev/zero"])
def test_a_tokenizer_that_is_none(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is not there, no JSON, a folder without a tokenizer or a file without an end is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchsuite.strict_model.most", lambda _: 1000)
    (tmp_path / "broken.json").write_text("{", "utf-8")
    with pytest.raises(InputError, match="the tokenizer cannot be read") as caught:
        read_tokenizer(name)
    assert str(caught.value.given).startswith(f"{name}: ")


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the extra is named."""
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(InputError, match="a package that is missing") as caught:
        read_tokenizer("x.json")
    assert "benchsuite[tokenizers]" in str(caught.value.hint)


def test_a_length_that_no_text_has(tmp_path: Path) -> None:
    """A vocabulary without a word is refused."""
    tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(tmp_path / "t.json"))
    tokenizer = read_tokenizer(str(tmp_path / "t.json"))
    with pytest.raises(WorkloadError):
        make_random(random_spec(scenario="D(8,4)", requests=2), 0, tokenizer)


def test_scenarios_read_as_numbers() -> None:
    """The notation's numbers stand where GenAI-Bench reads them."""
    assert [n[:2] for n in read_scenario("N(480,240)/(300,150)")] == [(480, 240), (300, 150)]
    assert [n[2:] for n in read_scenario("U(50,100)/(200,250)")] == [(50, 100), (200, 250)]
