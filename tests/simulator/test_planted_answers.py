"""The simulator's planted answers: a known share is wrong, the same prompts each time, in styles that models write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from simulator_fixture import CHAT, COMPLETIONS, Client, events

from benchsuite.errors import SpecError
from benchsuite.simulator.answers import Answers
from benchsuite.simulator.config import PlantedAnswers, ResponseShape, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.workload.dataset import Prompt, message_text
from benchsuite.workload.wineval import make_wineval

EXAM = Path(__file__).parents[2] / "workloads" / "exam-21.jsonl"


def letters(n: int, scenario: str = "exam") -> list[Prompt]:
    """n questions whose answer is B."""
    return [
        Prompt(f"{scenario}-{k}", scenario, prompt=f"{scenario} question {k}?", reference="B", scorer="choice")
        for k in range(n)
    ]


def wrong_ones(planted: PlantedAnswers, prompts: list[Prompt]) -> set[str]:
    """The prompts that are answered otherwise than without errors."""
    right = Answers(planted.model_copy(update={"error_rate": 0.0}), prompts).texts
    return {key for key, text in Answers(planted, prompts).texts.items() if text != right[key]}


def ask(client: Client, path: str = CHAT, **fields: Any) -> tuple[str, str, int]:
    """The text of a streamed answer, its finish reason and its output tokens."""
    body = {"stream": True, "max_tokens": 1000, "stream_options": {"include_usage": True}} | fields
    found = [event for event in events(client.ask(path, body)[2]) if event != "[DONE]"]
    choices = [event["choices"][0] for event in found if event["choices"]]
    text = "".join(one["delta"].get("content", "") if path == CHAT else one["text"] for one in choices)
    return text, choices[-1]["finish_reason"], found[-1]["usage"]["completion_tokens"]


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(("rate", "wrong"), [(0.0, 0), (0.25, 10), (0.26, 10), (0.5, 20), (1.0, 40)])
def test_share_of_each_scenario(rate: float, wrong: int) -> None:
    """Of the 40 prompts of each scenario round(rate * 40) are answered wrongly, whatever the other scenario has."""
    found = wrong_ones(PlantedAnswers(error_rate=rate, seed=7), [*letters(40), *letters(40, "other")])

    assert [sum(key.startswith(name) for key in found) for name in ("exam", "other")] == [wrong, wrong]


def test_seeds_and_copies() -> None:
    """The seed alone decides which are wrong; copies of a prompt and unscored ones count for nothing."""
    prompts = letters(40)
    copies = [Prompt(f"{p.prompt_id}#2", p.scenario, prompt=p.prompt, reference="B", scorer="choice") for p in prompts]
    unscored = [Prompt("u", "exam", prompt="Tell me.", reference="a tale")]
    planted = PlantedAnswers(error_rate=0.25, seed=7)
    first = Answers(planted, prompts).texts

    assert len(first) == 40
    assert Answers(planted, [*prompts, *copies, *unscored]).texts == first
    assert wrong_ones(planted, prompts) != wrong_ones(planted.model_copy(update={"seed": 8}), prompts)


def test_what_cannot_be_answered() -> None:
    """A set without scored prompts, and a prompt whose right answer nobody knows, are refused."""
    with pytest.raises(SpecError, match="no prompt of the set is scored"):
        Answers(PlantedAnswers(), [Prompt("a", prompt="hi")])
    with pytest.raises(SpecError, match="no right answer is known"):
        Answers(PlantedAnswers(), [Prompt("a", prompt="hi", reference={"schema": {}}, scorer="json")])


def test_on_the_wire() -> None:
    """Each prompt is answered alike in a chat, with a system prompt or a salt before it, as a text and unstreamed."""
    prompts = [p for p in make_wineval(40, 3).prompts if p.scorer is not None]
    config = SimulatorConfig(answers=PlantedAnswers(requests=40, random_seed=3, error_rate=0.5, chars_per_token=3))
    assert config.answers is not None
    expected = Answers(config.answers, prompts)
    with simulator(config) as running, Client(running) as client:
        for prompt in prompts:
            messages = list(prompt.messages or ())
            text = expected.texts[message_text(messages[-1])]
            tokens = -(-len(text) // 3)
            assert ask(client, messages=messages) == (text, "stop", tokens)
        salted = [messages[0] | {"content": "[s1] " + messages[0]["content"]}, *messages[1:]]
        assert ask(client, messages=salted)[0] == text
        assert ask(client, messages=[*user("[abc] " + message_text(messages[-1]))])[0] == text
        joined = "\n\n".join(f"{m['role']}: {m['content']}" for m in messages) + "\n\nassistant:"
        assert ask(client, COMPLETIONS, prompt=f"[abc] {joined}")[0] == text
        whole = json.loads(client.ask(CHAT, {"messages": messages, "max_tokens": 1000})[2])
        assert whole["choices"][0] | {"logprobs": None} == {
            "index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": "stop",
        }  # fmt: skip
        assert whole["usage"]["completion_tokens"] == tokens
        assert ask(client, messages=[{"role": "user", "content": ["?", {"text": 1}]}], max_tokens=1)[0] == " tok"
        assert ask(client, COMPLETIONS, prompt=[1, 2, 3], max_tokens=1)[0] == " tok"
        assert ask(client, messages=user("Anything else?"), max_tokens=3) == (" tok tok tok", "length", 3)


def test_the_cap_cuts(tmp_path: Path) -> None:
    """The cap is in tokens of chars_per_token; a fixed length goes on after the answer; reasoning tokens come first."""
    path = tmp_path / "set.jsonl"
    path.write_text('{"prompt": "Repeat.", "reference": "0123456789", "scorer": "exact"}\n')
    planted = PlantedAnswers(workload=str(path), chars_per_token=4, seed=1)
    assert set(Answers(planted, letters(1)).texts)
    shape = ResponseShape(tokens_per_chunk=2, reasoning_tokens=3)
    with simulator(SimulatorConfig(answers=planted, response=shape)) as running, Client(running) as client:
        thought = ask(client, messages=user("Repeat."))[0].removesuffix("0123456789")
        tokens = 3 + -(-(len(thought) + 10) // 4)
        whole = thought + "0123456789"
        assert ask(client, messages=user("Repeat.")) == (whole, "stop", tokens)
        assert ask(client, messages=user("Repeat."), max_tokens=5) == (whole[:8], "length", 5)
        fixed = ask(client, messages=user("Repeat."), max_tokens=tokens + 2, ignore_eos=True)
        assert fixed == (whole + " tok tok", "length", tokens + 2)


def test_options(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """--answers and --error-rate are keys of the configuration; without them nothing is planted."""
    served: list[SimulatorConfig] = []
    monkeypatch.setattr("benchsuite.simulator.server.serve", lambda config, _: served.append(config))

    assert cli("serve simulator --answers", EXAM, "--error-rate 0.25").code == 0
    assert cli("serve simulator").code == 0
    assert [one.answers for one in served] == [PlantedAnswers(workload=str(EXAM), error_rate=0.25), None]
    assert cli("serve simulator --answers wineval --error-rate 1.5").code == 2
    assert cli("serve simulator --answers wineval:0").code == 2
