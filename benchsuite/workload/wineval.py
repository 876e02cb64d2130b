"""A clinical request set in the manner of WiNEval-3.0: 2,993 requests, ten scenarios, lengths with a long tail.

The paper ("economics of inference") names four of its ten scenarios and gives neither texts nor shares; the set itself
is not public. What is ours: the other six scenarios, equal shares, 30 % English, all texts, and the lengths, chosen so
that the whole set has about the paper's mean input (1,347,535 / 2,993 = 450 tokens for most models) and output caps
within what its non-reasoning models wrote (115 to 320 tokens per request). The texts read like clinical work but are
drawn from templates (data/wineval*.toml): this is a load with checkable answers, no exam of medicine.

What was drawn is known, and six scenarios are scored by it: the right letter (licensing_exam, triage), the disease or
another name of it (clinical_diagnosis), the defects that were planted (record_quality_control), the text before it was
misspelt (text_correction), and the age, sex and complaint (information_extraction: of its other four keys a record's
text does not say how they are to be worded). The order of the draws is that of the set before it had these truths.
"""

from __future__ import annotations

import math
import re
from array import array
from dataclasses import dataclass
from importlib import resources
from statistics import NormalDist
from typing import Any

from benchsuite.errors import read_toml
from benchsuite.strict_model import StrictModel
from benchsuite.workload.dataset import Prompt, Workload, make_workload, token_weight
from benchsuite.workload.random_set import RandomStream

_NORMAL = NormalDist()
REQUESTS = 2993
ENGLISH_TENTHS = 3  # of ten requests
OPTIONS = 5
_KEYS = ("age", "sex", "complaint", "history", "drugs", "labs", "imaging")
EXTRACTED = {  # what information_extraction asks for
    "type": "object",
    "properties": {"age": {"type": ["integer", "null"]}, **{k: {"type": ["string", "null"]} for k in _KEYS[1:3]}},
    "required": list(_KEYS),
}
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class LengthDistribution:
    """A lognormal body with a Pareto tail, clipped: how long texts are in the real world (tokens).

    body: exp(Normal(ln median, sigma)), with probability 1 - tail_share.
    tail: tail_from * (1 - v)^(-1/tail_alpha), v uniform in [0, 1): survival (x / tail_from)^(-tail_alpha).
    Lengths are rounded and clipped to low..high.
    """

    median: float
    sigma: float
    low: int
    high: int
    tail_share: float = 0.0
    tail_from: float = 1.0
    tail_alpha: float = 2.0

    def at(self, u: float) -> int:
        """The quantile of a uniform number u in (0, 1): the body below 1 - tail_share, the tail above."""
        body = 1 - self.tail_share
        if u < body:
            length = self.median * math.exp(self.sigma * _NORMAL.inv_cdf(u / body))
        else:
            length = self.tail_from * (1 - (u - body) / self.tail_share) ** (-1 / self.tail_alpha)
        return round(min(max(length, self.low), self.high))

    def sample(self, n: int, stream: RandomStream) -> list[int]:
        """n lengths, stratified: their histogram follows the distribution even for small n."""
        return [self.at(u) for u in stream.stratified(n)]


class Disease(StrictModel):
    name: str
    synonyms: tuple[str, ...] = ()
    department: str
    complaint: str
    findings: tuple[str, ...]
    women: bool = False


class Task(StrictModel):
    system: str
    opening: tuple[str, ...]
    ask: tuple[str, ...]


class Language(StrictModel):
    """What texts in one language are made of. lines: templates by kind. typos: wrong by right. tasks: by scenario.

    defect_words: of each of lines["defects"], in their order, words that name it.
    """

    tag: str
    space: str
    sexes: tuple[str, str]
    defect_words: tuple[tuple[str, ...], ...]
    words: dict[str, tuple[str, ...]]
    lines: dict[str, tuple[str, ...]]
    typos: dict[str, str]
    diseases: tuple[Disease, ...]
    tasks: dict[str, Task]


class Scenario(StrictModel):
    """Medians are tokens: of the input by the estimate of `token_weight`, of the output as max_output_tokens."""

    median_input_tokens: float
    median_output_tokens: float
    kinds: tuple[str, ...]
    later: tuple[str, ...]

    @property
    def input_tokens(self) -> LengthDistribution:
        median = self.median_input_tokens
        return LengthDistribution(median, 0.45, 60, 3072, tail_share=0.06, tail_from=2.2 * median, tail_alpha=1.7)

    @property
    def output_tokens(self) -> LengthDistribution:
        median = self.median_output_tokens
        return LengthDistribution(median, 0.35, 8, 1024, tail_share=0.05, tail_from=1.8 * median, tail_alpha=2.0)


def _read(name: str) -> dict[str, Any]:
    return read_toml((resources.files("benchsuite.workload") / "data" / f"{name}.toml").read_text("utf-8"))


_SET = _read("wineval")
SCENARIOS = {name: Scenario.model_validate(tree) for name, tree in _SET["scenarios"].items()}
NUMBERS: dict[str, tuple[float, float, int]] = _SET["numbers"]
ENGLISH, CHINESE = (Language.model_validate(_read(f"wineval_{tag}")) for tag in ("en", "zh"))


def make_wineval(requests: int = REQUESTS, seed: int = 0) -> Workload:
    """The set: `requests` prompts that are all different, the same bytes for the same arguments.

    Every ten consecutive requests hold each scenario once, in random order, so any part of the set is balanced; each
    scenario is 30 % English. Lengths are stratified per scenario. requests: at least 1; seed: at least 0.
    """
    order = _order(requests, RandomStream(seed, 0))
    inputs, caps = {}, {}
    for index, (name, scenario) in enumerate(SCENARIOS.items()):
        n = sum(name == other for other, _ in order)
        inputs[name] = array("q", scenario.input_tokens.sample(n, RandomStream(seed, 1, index)))
        caps[name] = array("q", scenario.output_tokens.sample(n, RandomStream(seed, 2, index)))
    stream = RandomStream(seed, 3)
    prompts = (
        _Writer(stream, language, name).prompt(f"wineval-{number:05d}", inputs[name].pop(), caps[name].pop())
        for number, (name, language) in enumerate(order, 1)
    )
    return make_workload(f"wineval-{requests}" if seed == 0 else f"wineval-{requests}-seed-{seed}", prompts)


def _order(requests: int, stream: RandomStream) -> list[tuple[str, Language]]:
    """Scenario and language per request: blocks of all ten scenarios."""
    order: list[tuple[str, Language]] = []
    for block in range(-(-requests // len(SCENARIOS))):
        # 7 and 3 have no factor in common with 10: three of ten in each block, and in ten blocks of each scenario.
        block_of_ten = [
            (name, ENGLISH if (block * 7 + index * 3) % 10 < ENGLISH_TENTHS else CHINESE)
            for index, name in enumerate(SCENARIOS)
        ]
        order += stream.sample(block_of_ten, len(block_of_ten))
    return order[:requests]


class _Writer:
    """Writes one request about one patient."""

    def __init__(self, stream: RandomStream, language: Language, scenario: str) -> None:
        self.stream, self.language, self.name = stream, language, scenario
        self.scenario, self.task = SCENARIOS[scenario], language.tasks[scenario]
        self.disease = stream.choice(language.diseases)
        sex = language.sexes[1] if self.disease.women else stream.choice(language.sexes)
        age = stream.integer(20, 42) if self.disease.women else stream.integer(19, 86)
        self.patient = {"sex": sex, "age": str(age), "complaint": self.disease.complaint}
        self.defects: list[tuple[str, ...]] = []  # of each that is in the text, words that name it

    def prompt(self, prompt_id: str, input_tokens: int, max_output_tokens: int) -> Prompt:
        """The request, of about `input_tokens` tokens by the estimate, or as short as its fixed parts allow."""
        question, letter = self.question()
        sentences = [self.fill(self.stream.choice(self.task.opening))]
        left = input_tokens - sum(map(token_weight, (self.task.system, question, sentences[0])))
        right_text = text = self.language.space.join(sentences + self.body(left))
        if self.name == "text_correction":  # about half of the words that can be misspelt, once each
            for right, wrong in self.language.typos.items():
                if self.stream.uniform() < 0.5:
                    text = text.replace(right, wrong, 1)
        reference: Any = letter
        scorer: str | dict[str, Any] | None = None if letter is None else "choice"
        match self.name:
            case "text_correction":
                reference, scorer = right_text, {"name": "correction", "source": text}
            case "clinical_diagnosis":
                reference, scorer = [[self.disease.name, *self.disease.synonyms]], "contains"
            case "record_quality_control" if self.defects:  # a short record has room for none
                reference, scorer = [list(words) for words in self.defects], "contains"
            case "information_extraction":
                fields = {**self.patient, "age": int(self.patient["age"])}
                reference, scorer = {"schema": EXTRACTED, "reference": fields}, "json"
        messages = ({"role": "system", "content": self.task.system}, {"role": "user", "content": f"{text}\n{question}"})
        return Prompt(
            prompt_id=prompt_id,
            scenario=self.name,
            messages=messages,
            max_output_tokens=max_output_tokens,
            reference=reference,
            scorer=scorer,
            tags=(self.language.tag,),
        )

    def question(self) -> tuple[str, str | None]:
        """What is asked, with options A to E where there are any, and the right letter."""
        ask = self.stream.choice(self.task.ask)
        if self.name == "licensing_exam":
            answers, right = [disease.name for disease in self.language.diseases], self.disease.name
        elif self.name == "triage":
            answers, right = sorted({d.department for d in self.language.diseases}), self.disease.department
        else:
            return ask, None
        options = self.stream.sample([answer for answer in answers if answer != right], OPTIONS - 1)
        place = self.stream.integer(0, OPTIONS - 1)
        options.insert(place, right)
        lines = [f"{letter}. {option}" for letter, option in zip("ABCDE", options, strict=True)]
        return "\n".join([ask, *lines]), "ABCDE"[place]

    def body(self, tokens: float) -> list[str]:
        """Sentences of about `tokens` tokens: the disease's findings, then lines of the scenario's kinds in turn."""
        sentences: list[str] = []
        templates = self.two_of_each(self.scenario.kinds)
        findings = self.stream.sample(self.disease.findings, len(self.disease.findings))
        if self.name == "record_quality_control":
            early, late = self.stream.sample(self.language.lines["defects"], 2)
            templates = [findings[0], early, *templates, late]
        elif "exam" in self.scenario.kinds:
            templates = findings + templates
        while tokens > 0:
            template = templates.pop(0)
            sentence = self.fill(template)
            weight = token_weight(sentence + self.language.space)
            if weight > 2 * tokens:  # would overshoot by more than it leaves to fill
                break
            sentences.append(sentence)
            if template in self.language.lines["defects"]:
                self.defects.append(self.language.defect_words[self.language.lines["defects"].index(template)])
            tokens -= weight
            templates = templates or self.two_of_each(self.scenario.later)
        return sentences

    def two_of_each(self, kinds: tuple[str, ...]) -> list[str]:
        return [line for kind in kinds for line in self.stream.sample(self.language.lines[kind], 2)]

    def fill(self, template: str) -> str:
        """The template with its fields drawn, beginning with a capital."""
        text = _FIELD.sub(lambda field: self.field(field[1]), template)
        return text[0].upper() + text[1:]

    def field(self, name: str) -> str:
        integer = self.stream.integer
        if name in self.patient:
            return self.patient[name]
        if name in self.language.words:
            return self.stream.choice(self.language.words[name])
        if name == "date":
            return f"{integer(2021, 2025)}-{integer(1, 12):02d}-{integer(1, 28):02d}"
        if name == "clock":
            return f"{integer(0, 23)}:{integer(0, 59):02d}"
        low, high, decimals = NUMBERS[name]
        scale = 10**decimals
        return f"{integer(round(low * scale), round(high * scale)) / scale:.{decimals}f}"
