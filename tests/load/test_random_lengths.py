"""Random sets over a socket: calibrated by the server's own counts, their error told; the same set on resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.http import Answer, Fake, Request, dumps
from sweeps_for_tests import Watcher, column, prompts, run, spec_of

from benchsuite.errors import InputError
from benchsuite.input_files import read_workload
from benchsuite.load.sweep import sweep
from benchsuite.report.judge import judge_run
from benchsuite.report.sections_run import facts as facts_shown
from benchsuite.simulator.config import SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.spec import SweepSpec
from benchsuite.store.run_folder import Run, read_run
from benchsuite.workload.random_set import WORDS, TokensPerWord, lengths_text

TEMPLATE = 17
TEXT = ("one two", " three", " four five six", " seven")  # seven words in four chunks


def tokens_of(text: str) -> int:
    """Words from a to h are two tokens, others one."""
    return sum(2 if word[0] < "i" else 1 for word in text.split())


class Counting(Fake):
    """A server with a template of 17 tokens; usage: the completion tokens that it reports, 0 for no usage at all."""

    def __init__(self, usage: int = 7) -> None:
        super().__init__()
        self._usage = usage

    async def handle(self, request: Request, answer: Answer) -> None:
        if request.path == "/v1/models":
            return await answer.whole(200, {"data": [{"id": "m", "owned_by": "vllm"}]})
        if not request.path.startswith("/v1/chat"):
            return await answer.whole(404, {"detail": "Not Found"})
        content = request.json["messages"][0]["content"]
        answer.start("text/event-stream")
        for piece in TEXT:
            await answer.chunk(f"data: {dumps({'choices': [{'index': 0, 'delta': {'content': piece}}]})}\n\n")
        usage = {"completion_tokens": self._usage, "prompt_tokens": TEMPLATE + tokens_of(content)}
        last: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
        last |= {"usage": usage} if self._usage else {}
        await answer.chunk(f"data: {dumps(last)}\n\ndata: [DONE]\n\n")
        return await answer.end()


def random_sweep(base_url: str, **workload: Any) -> SweepSpec:
    asked = {"source": "random", "input_tokens": 200, "output_tokens": 7, "requests": 24} | workload
    return spec_of(base_url, [2, 4], workload=asked)


def swept(spec: SweepSpec, folder: Path, view: Watcher | None = None) -> Run:
    return run(spec, read_workload(spec.workload, spec.load.random_seed), folder, view)[1]


def test_words_are_calibrated_and_the_error_is_told(tmp_path: Path) -> None:
    """Two probes give tokens per word and the template's; the set's prompts are as long as asked within the error that
    the manifest tells of each point."""
    with Counting() as fake:
        spec, view = random_sweep(fake.base_url, length_range=0.5), Watcher()
        found = swept(spec, tmp_path / "run", view)
        assert len(fake.asked) > 0
        facts = found.manifest.workload.lengths
        assert facts is not None
        assert facts["by"] == "usage"
        assert facts["tokens_per_word"] == pytest.approx(tokens_of(" ".join(WORDS)) / len(WORDS), abs=0.02)
        assert facts["overhead_tokens"] == pytest.approx(TEMPLATE, abs=2)
        sent = column(found, "input_tokens", "c0004-r0")
        assert sum(sent) / len(sent) - facts["overhead_tokens"] == pytest.approx(200, abs=3)
        assert 100 - 12 <= min(sent) - facts["overhead_tokens"] <= 115
        for point in found.manifest.points:
            assert point.tokens["overhead_tokens"] == facts["overhead_tokens"]
            assert 0 < point.tokens["length_error_median_tokens"] < point.tokens["length_error_max_tokens"] < 25
        (told,) = (note for note in view.notes if note.startswith("prompt lengths"))
        in_report = dict(facts_shown(judge_run(found, slo="ttft_mean<9s")))["prompt lengths"]
        assert told.split(";")[0] == f"prompt lengths: {in_report.split(';')[0]}"
        # gone on with on the same server: the same set, without another probe
        before = len(fake.asked)
        again = sweep(spec, read_workload(spec.workload, 0), tmp_path / "run", Watcher())
        assert again.complete
        assert len(fake.asked) == before
        assert read_run(tmp_path / "run").manifest.workload.content_hash == found.manifest.workload.content_hash


def test_a_trace_is_calibrated_too(tmp_path: Path) -> None:
    """A part of a trace that is replayed has the lengths of the trace by the server's count, and blocks that share."""
    source = str(Path(__file__).parents[1] / "fixtures" / "traces" / "mooncake.jsonl")
    with Counting() as fake:
        asked = spec_of(fake.base_url, [1], workload={"source": source}).model_dump(exclude={"load": {"concurrency"}})
        asked |= {"arrivals": {"replay": True, "from_s": 0.2, "speed": [20.0]}}
        found = swept(SweepSpec.model_validate(asked), tmp_path / "run")
    facts = found.manifest.workload.lengths
    assert facts is not None
    assert facts["by"] == "usage"
    (point,) = found.manifest.points
    ids, tokens = (column(found, name, point.point_id) for name in ("prompt_id", "input_tokens"))
    counted = {prompt_id: n - facts["overhead_tokens"] for prompt_id, n in zip(ids, tokens, strict=True)}
    assert counted == {"line-2": pytest.approx(1536, rel=0.02), "line-3": pytest.approx(1700, rel=0.02),
                       "line-4": pytest.approx(90, rel=0.1)}  # fmt: skip
    assert 0 < point.tokens["length_error_max_ratio"] < 0.1
    sent = [str(request.json["messages"][0]["content"]) for request in fake.asked if request.json][-3:]
    _, second, third = sorted(sent, key=len)
    assert third.startswith(f"{second} ")


def test_a_server_that_does_not_count(tmp_path: Path) -> None:
    """Without usage and tokenizer the lengths are by characters, and said to be unknown."""
    view = Watcher()
    with Counting(usage=0) as fake:
        found = swept(random_sweep(fake.base_url), tmp_path / "run", view)
    assert found.manifest.workload.lengths is not None
    assert found.manifest.workload.lengths["by"] == "characters"
    assert found.manifest.points[0].tokens == {}
    assert any("random lengths are estimated" in note for note in view.notes)


def test_the_set_is_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    """Workers share one set; every prompt of it is sent once at each level, its prefix with it."""
    hashes = []
    with simulator(SimulatorConfig(prefix_cache=True)) as server:
        for workers in (1, 3):
            spec = random_sweep(server.base_url, prefix_tokens=64, prefix_share=0.5)
            spec = spec.model_copy(update={"load": spec.load.model_copy(update={"workers": workers})})
            found = swept(spec, tmp_path / str(workers))
            hashes.append(found.manifest.workload.content_hash)
            assert len(set(column(found, "prompt_id", "c0004-r0"))) == 24
            assert set(column(found, "output_tokens")) == {7}
            assert {point.tokens["length_error_max_tokens"] for point in found.manifest.points} == {0}
            cached, all_tokens = sum(n or 0 for n in column(found, "cached_tokens")), sum(column(found, "input_tokens"))
            assert 0.05 < cached / all_tokens < 0.5 * 64 / 200  # the prefix is shared within a point, nothing else is
    assert hashes[0] == hashes[1]


def test_prompts_are_exact_on_the_wire(tmp_path: Path, words: str) -> None:
    """With a tokenizer that is the server's, its counts are what was asked, and the template is told apart."""
    with simulator(SimulatorConfig()) as server:
        found = swept(random_sweep(server.base_url, tokenizer=words, length_stdev=0.3), tmp_path / "run")
    lengths = found.manifest.workload.lengths
    assert lengths is not None
    assert (lengths["by"], lengths["tokenizer"]) == ("tokenizer", words)
    assert all(point.tokens["length_error_max_tokens"] == 0 for point in found.manifest.points)
    assert json.dumps(sorted(column(found, "output_tokens", "c0002-r0"))) == json.dumps(
        sorted(column(found, "asked_output_tokens", "c0002-r0"))
    )


@pytest.fixture
def words(tmp_path: Path) -> str:
    """A tokenizer for which every word of an answer is a token."""
    tokenizers = pytest.importorskip("tokenizers", reason="the extra `tokenizers`")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({f"w{i}": i for i in range(99)}, unk_token="w0"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("workers", [1, 2])
def test_tokens_without_usage_are_counted(tmp_path: Path, words: str, workers: int) -> None:
    """Seven words in four chunks are seven tokens, the prompt's are counted too, and the text is not kept."""
    with Counting(usage=0) as fake:
        spec = spec_of(fake.base_url, [2], workers=workers, workload={"tokenizer": words})
        found = run(spec, prompts(6, 7), tmp_path / "run")[1]
    assert set(column(found, "token_source")) == {"tokenizer"}
    assert set(column(found, "output_tokens")) == {7}
    assert set(column(found, "n_chunks")) == {4}
    assert set(column(found, "input_tokens")) == {2}  # "question 3"
    assert set(column(found, "text")) == {None}
    assert "tokens_estimated" not in codes(tmp_path / "run")


def test_usage_that_a_tokenizer_disagrees_with(tmp_path: Path, words: str) -> None:
    """The server's own count stands; one that is more than 2 % off the tokenizer's is warned of."""
    for usage, warned in ((7, False), (8, True)):
        folder = tmp_path / str(usage)
        with Counting(usage=usage) as fake:
            spec = spec_of(fake.base_url, [2], workload={"tokenizer": words, "save_text": True})
            found = run(spec, prompts(6, 7), folder)[1]
        assert set(column(found, "token_source")) == {"usage"}
        assert set(column(found, "output_tokens")) == {usage}
        assert set(column(found, "text")) == {"".join(TEXT)}
        tokens = {"responses": 6, "stopped": 0, "usage_output_tokens": 6 * usage, "tokenizer_output_tokens": 42}
        assert found.manifest.points[0].tokens == tokens
        assert ("tokenizer_disagrees" in codes(folder)) == warned


def codes(folder: Path) -> set[str]:
    (level,) = judge_run(read_run(folder), slo="ttft_mean<9s").judged
    return {warning.code for warning in level.point.warnings}


def test_a_cache_that_is_off_shares_no_prefix(tmp_path: Path) -> None:
    """A prefix to share and a field that switches the server's cache off contradict each other."""
    with simulator(SimulatorConfig()) as server:
        spec = random_sweep(server.base_url, prefix_tokens=64, cache_bust="field")
        llamacpp = spec.model_copy(update={"server": spec.server.model_copy(update={"profile": "llamacpp"})})
        with pytest.raises(InputError, match="the set has a prefix to share"):
            swept(llamacpp, tmp_path / "run")


OFF = ("length_error_median_tokens", "length_error_max_tokens", "length_error_max_ratio")


@pytest.mark.parametrize(
    ("lengths", "tokens", "says"),
    [
        ({}, {}, None),
        ({"by": "characters"}, {}, "estimated from characters"),
        ({"by": "usage", "tokens_per_word": "1e9"}, {"length_error_max_tokens": "many"}, "1e9 tokens a word, by the"),
        ({"by": ["tokenizer"]}, {"overhead_tokens": 3}, None),
        ({}, {"overhead_tokens": 3, **dict.fromkeys(OFF, 1)}, "the server counts 3 more (template, salt)"),
        ({}, {"overhead_tokens": -75, **dict.fromkeys(OFF, 1)}, "the server counts 75 fewer, to within 1 tokens"),
    ],
)
def test_what_a_manifest_may_say_of_lengths(lengths: dict[str, Any], tokens: dict[str, Any], says: str | None) -> None:
    """A manifest of somebody else's is shown as far as it makes sense, and gives no calibration."""
    text = lengths_text(lengths, [tokens])
    assert text is None if says is None else says in str(text)
    assert TokensPerWord.of(lengths | {"tokens_per_word": "1e9"}) == TokensPerWord()
