"""Planted answers: right ones to the scored prompts of a request set, and a known share of wrong ones. Pure.

It knows no scorer: whether a scorer reads these answers as they were meant is what they are for.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping
from typing import Any

from benchsuite.errors import SpecError
from benchsuite.simulator.config import PlantedAnswers
from benchsuite.workload.dataset import Prompt, message_text, scorer_of

_Styles = dict[str, tuple[str, ...]]
# x: the letters to be read; y: another, which a reader must not take
_LETTER: _Styles = {
    "en": ("{x}", "{x}.", "({x})", "Answer: {x}", "**Answer: {x}**", "Answer: \\boxed{{{x}}}", "The answer is {x}.",
           "Thus {x} is the correct answer.", '{{"answer": "{x}"}}',
           "Answer: {y}\nI need to correct this.\nAnswer: {x}",
           "<think>Maybe {y}. The answer is {y}.</think>\n\n**Answer: {x}**"),
    "zh": ("{x}", "答案：{x}", "答案是{x}。", "**答案：** {x}", "【答案】{x}", "故选{x}。", "本题选{x}项。",
           "综上所述，正确选项为 {x}。", "答案：{y}\n更正：答案应为{x}。",
           "<think>可能选{y}，答案是{y}。</think>\n\n答案：{x}"),
}  # fmt: skip
_LETTERS: _Styles = {
    "en": ("{x}", "Answer: {x}", "ANSWER: {x}", "Answer: ({x})", "<think>Maybe {y}.</think>\nAnswer: {x}"),
    "zh": ("{x}", "答案：{x}", "【答案】{x}", "故选{x}。", "正确答案是{x}。", "<think>可能选{y}。</think>\n答案：{x}"),
}
_NUMBER: _Styles = {"en": ("{x}", "Answer: {x}", "The answer is {x}."), "zh": ("{x}", "答案：{x}", "答案是{x}。")}
_TEXT: _Styles = {"en": ("{x}", "<think>Let me see.</think>\n\n{x}"), "zh": ("{x}", "<think>先想一想。</think>\n\n{x}")}
_JSON: _Styles = {"en": (*_TEXT["en"], "```json\n{x}\n```"), "zh": (*_TEXT["zh"], "```json\n{x}\n```")}
_STYLES = {
    "choice": _LETTER,
    "choices": _LETTERS,
    "numeric": _NUMBER,
    "json": _JSON,
}
_NOTHING = ("something else", "xyzzy", "qwfpgj", "zxcvbq")  # the first of which a reference has no word
_SALT = re.compile(r"\[[^\]\n]{1,100}\]\s")
_ASKED = re.compile(r"(?:.*\n\n)?user: (.*)\n\nassistant:", re.S)  # a chat as a text, for completions


class Answers:
    """Texts by what is asked: `error_rate` of each scenario's scored prompts, rounded (half to even), are wrong.

    Which they are, and each one's style, is drawn from the seed: the same in every request for a prompt. Copies of a
    prompt count once. Raises SpecError where no right answer to a prompt is known.
    """

    def __init__(self, planted: PlantedAnswers, prompts: Iterable[Prompt]) -> None:
        scored = {_key(prompt): prompt for prompt in reversed([p for p in prompts if p.scorer is not None])}
        scenarios: dict[str | None, list[str]] = {}
        for key, prompt in reversed(scored.items()):
            scenarios.setdefault(prompt.scenario, []).append(key)
        self.texts: dict[str, str] = {}
        for scenario, keys in scenarios.items():
            draw = random.Random(f"{planted.seed}:{scenario}")
            wrong = {*draw.sample(range(len(keys)), round(planted.error_rate * len(keys)))}
            for place, key in enumerate(keys):
                style = random.Random(f"{planted.seed}:{scored[key].prompt_id}")
                self.texts[key] = _answer(scored[key], style, right=place not in wrong)
        if not self.texts:
            raise SpecError("no prompt of the set is scored", where="answers.workload", given=planted.workload)

    def to(self, body: Mapping[str, Any]) -> str | None:
        """The answer to a request's body; None where it asks for none of the scored prompts."""
        messages = body.get("messages") or [{"content": body.get("prompt")}]
        content = messages[-1].get("content")
        parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
        text = content if isinstance(content, str) else message_text({"content": parts})
        for key in (text, _SALT.sub("", text, count=1)):
            if key in self.texts:
                return self.texts[key]
            if "messages" not in body and (asked := _ASKED.fullmatch(key)) and asked[1] in self.texts:
                return self.texts[asked[1]]
        return None


def _key(prompt: Prompt) -> str:
    return prompt.prompt or "" if prompt.messages is None else message_text(prompt.messages[-1])


def _answer(prompt: Prompt, draw: random.Random, *, right: bool) -> str:
    name, options = scorer_of(prompt)
    assert name is not None
    chinese = "zh" in prompt.tags or re.search("[\u4e00-\u9fff]", _key(prompt)) is not None
    language = "zh" if chinese else "en"
    style = draw.choice(_STYLES.get(name, _TEXT)[language])
    if name in ("choice", "choices"):
        known, given = set(_letters(prompt.reference)), options.get("labels", "ABCDE")
        labels = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:given] if isinstance(given, int) else "".join(given).upper()
        others = [label for label in labels if label not in known] or [labels[0]]
        other = draw.sample(others, draw.randint(1, len(others)) if name == "choices" else 1)
        joint = draw.choice((", ", ",", "")) if language == "en" else draw.choice(("、", ""))
        told = joint.join(sorted(known if right else other))
        return style.format(x=told, y=draw.choice(others) if right else next(iter(sorted(known))))
    return style.format(x=_right(name, prompt, options) if right else _wrong(name, prompt, options))


def _letters(reference: Any) -> Iterable[str]:
    return re.findall("[A-Z]", "".join(reference).upper())


def _right(name: str, prompt: Prompt, options: Mapping[str, Any]) -> str:
    reference = prompt.reference
    match name:
        case "contains":  # one a line: a negation reaches no further
            return "\n".join(item if isinstance(item, str) else item[0] for item in reference)
        case "numeric":
            return _number(reference, options)
        case "json" if isinstance(reference, dict) and isinstance(fields := reference.get("reference"), dict):
            missing = dict.fromkeys(reference.get("schema", {}).get("required", ()))
            return json.dumps(missing | fields, ensure_ascii=False)
        case "json" if isinstance(reference, dict) and "reference" in reference:
            return json.dumps(reference["reference"], ensure_ascii=False)
    first = reference[0] if isinstance(reference, list) and reference else reference
    if name != "json" and isinstance(first, str) and options.get("form") != "list":
        return first
    raise SpecError(
        "no right answer is known to a prompt that is scored", where=f"answers.workload, prompt {prompt.prompt_id}",
        given=f"scorer {name}", expected="a reference that is an answer",
    )  # fmt: skip


def _wrong(name: str, prompt: Prompt, options: Mapping[str, Any]) -> str:
    if name == "numeric":
        try:
            value = float(str(prompt.reference).replace(",", ""))
        except ValueError:
            return _NOTHING[0]
        reach = options.get("abs_tol", 0) + options.get("rel_tol", 0) * abs(value)
        return _number(value + 1 + 3 * reach, options)
    if name == "correction" and (source := options.get("source")) not in (None, prompt.reference):
        return str(source)  # nothing corrected
    known = json.dumps([prompt.reference, options.get("source")], ensure_ascii=False).lower()
    nothing = next((text for text in _NOTHING if not any(word in known for word in text.split())), "?")
    return json.dumps({"answer": nothing}) if name == "json" else nothing


def _number(value: Any, options: Mapping[str, Any]) -> str:
    unit = options.get("unit")
    text = value if isinstance(value, str) else repr(value).removesuffix(".0")
    return " ".join([text, *([unit if isinstance(unit, str) else unit[0]] if unit else [])])
