"""A clinical request set in the manner of WiNEval-3.0: 2,993 requests, ten scenarios, lengths with a long tail.

The paper ("economics of inference") names four of its ten scenarios and gives neither texts nor shares; the set itself
is not public. What is ours: the other six scenarios, equal shares, 30 % English, all texts, and the lengths, chosen so
that the whole set has about the paper's mean input (1,347,535 / 2,993 = 450 tokens for most models) and output caps
within what its non-reasoning models wrote (115 to 320 tokens per request). The texts read like clinical work but are
drawn from templates: this is a load, not an exam of medical knowledge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchsuite.errors import WorkloadError
from benchsuite.workload.prompts import Prompt, Workload, make_workload
from benchsuite.workload.synthetic import Draw, LengthMix, lengths
from benchsuite.workload.tokens import token_weight
from benchsuite.workload.wineval_en import ENGLISH
from benchsuite.workload.wineval_language import NUMBERS, Disease, Language, Task
from benchsuite.workload.wineval_zh import CHINESE

REQUESTS = 2993
ENGLISH_TENTHS = 3  # of ten requests
OPTIONS = 5
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """in_paper: the paper names it. input_tokens: by the estimate of `tokens.py`. output_tokens: max_output_tokens."""

    name: str
    in_paper: bool
    input_tokens: LengthMix
    output_tokens: LengthMix


def _input(median: float) -> LengthMix:
    return LengthMix(median, 0.45, 60, 3072, tail_share=0.06, tail_from=2.2 * median, tail_alpha=1.7)


def _output(median: float) -> LengthMix:
    return LengthMix(median, 0.35, 8, 1024, tail_share=0.05, tail_from=1.8 * median, tail_alpha=2.0)


SCENARIOS = (
    Scenario("licensing_exam", True, _input(220), _output(24)),
    Scenario("clinical_diagnosis", True, _input(400), _output(280)),
    Scenario("record_quality_control", True, _input(510), _output(220)),
    Scenario("text_correction", True, _input(280), _output(230)),
    Scenario("discharge_summary", False, _input(640), _output(290)),
    Scenario("medication_review", False, _input(370), _output(210)),
    Scenario("lab_interpretation", False, _input(310), _output(190)),
    Scenario("patient_consultation", False, _input(190), _output(180)),
    Scenario("information_extraction", False, _input(410), _output(120)),
    Scenario("triage", False, _input(170), _output(16)),
)


def make_wineval(requests: int = REQUESTS, seed: int = 0) -> Workload:
    """The set: `requests` prompts that are all different, the same bytes for the same arguments.

    Every ten consecutive requests hold each scenario once, in random order, so any part of the set is balanced; each
    scenario is 30 % English. Lengths are stratified per scenario. Raises WorkloadError if requests < 1 or seed < 0.
    """
    if requests < 1:
        raise WorkloadError("a workload has at least one request", given=requests, expected="1 or more")
    if seed < 0:
        raise WorkloadError("a seed is not negative", given=seed, expected="0 or more")
    order = _order(requests, Draw(seed, 0))
    counts = [sum(which == index for which, _ in order) for index in range(len(SCENARIOS))]
    inputs = [
        lengths(s.input_tokens, n, Draw(seed, 1, i)) for i, (s, n) in enumerate(zip(SCENARIOS, counts, strict=True))
    ]
    caps = [
        lengths(s.output_tokens, n, Draw(seed, 2, i)) for i, (s, n) in enumerate(zip(SCENARIOS, counts, strict=True))
    ]
    draw = Draw(seed, 3)
    prompts = []
    for number, (which, english) in enumerate(order, 1):
        writer = _Writer(draw, ENGLISH if english else CHINESE, SCENARIOS[which].name)
        prompts.append(writer.prompt(f"wineval-{number:05d}", inputs[which].pop(), caps[which].pop()))
    return make_workload(f"wineval-{requests}" if seed == 0 else f"wineval-{requests}-seed-{seed}", prompts)


def _order(requests: int, draw: Draw) -> list[tuple[int, bool]]:
    """Scenario index and whether in English, per request: blocks of all ten scenarios."""
    order: list[tuple[int, bool]] = []
    for block in range(-(-requests // len(SCENARIOS))):
        # 7 and 3 have no factor in common with 10: three of ten in each block, and in ten blocks of each scenario.
        block_of_ten = [(index, (block * 7 + index * 3) % 10 < ENGLISH_TENTHS) for index in range(len(SCENARIOS))]
        order += draw.some(block_of_ten, len(block_of_ten))
    return order[:requests]


class _Writer:
    """Writes one request about one patient."""

    def __init__(self, draw: Draw, language: Language, scenario: str) -> None:
        self.draw, self.language, self.scenario = draw, language, scenario
        self.task: Task = language.tasks[scenario]
        self.disease: Disease = draw.pick(language.diseases)
        sex = language.sexes[1] if self.disease.women else draw.pick(language.sexes)
        age = draw.integer(20, 42) if self.disease.women else draw.integer(19, 86)
        self.patient = {"sex": sex, "age": str(age), "complaint": self.disease.complaint}

    def prompt(self, prompt_id: str, input_tokens: int, max_output_tokens: int) -> Prompt:
        """The request, of about `input_tokens` tokens by the estimate, or as short as its fixed parts allow."""
        question, reference = self.question()
        sentences = [self.fill(self.draw.pick(self.task.opening))]
        left = input_tokens - sum(map(token_weight, (self.task.system, question, sentences[0])))
        sentences += self.body(left)
        text = self.language.space.join(sentences)
        if self.scenario == "text_correction":
            text = self.misspell(text)
        messages = ({"role": "system", "content": self.task.system}, {"role": "user", "content": f"{text}\n{question}"})
        return Prompt(
            prompt_id=prompt_id,
            scenario=self.scenario,
            messages=messages,
            prompt=None,
            max_output_tokens=max_output_tokens,
            reference=reference,
            scorer=None if reference is None else "choice",
            tags=(self.language.tag,),
        )

    def question(self) -> tuple[str, str | None]:
        """What is asked, with options A to E where there are any, and the right letter."""
        ask = self.draw.pick(self.task.ask)
        if self.scenario == "licensing_exam":
            answers, right = [disease.name for disease in self.language.diseases], self.disease.name
        elif self.scenario == "triage":
            answers, right = sorted({d.department for d in self.language.diseases}), self.disease.department
        else:
            return ask, None
        options = self.draw.some([answer for answer in answers if answer != right], OPTIONS - 1)
        place = self.draw.integer(0, OPTIONS - 1)
        options.insert(place, right)
        lines = [f"{letter}. {option}" for letter, option in zip("ABCDE", options, strict=True)]
        return "\n".join([ask, *lines]), "ABCDE"[place]

    def body(self, tokens: float) -> list[str]:
        """Sentences of about `tokens` tokens: the disease's findings, then lines of the task's kinds in turn."""
        sentences: list[str] = []
        templates = self.templates()
        while tokens > 0:
            sentence = self.fill(templates.pop(0))
            weight = token_weight(sentence + self.language.space)
            if weight > 2 * tokens:  # would overshoot by more than it leaves to fill
                break
            sentences.append(sentence)
            tokens -= weight
            templates = templates or self.round(self.task.later)
        return sentences

    def templates(self) -> list[str]:
        """The first round of templates: what the scenario is about comes first."""
        lines = self.round(self.task.kinds)
        findings = self.draw.some(self.disease.findings, len(self.disease.findings))
        if self.scenario == "record_quality_control":
            early, late = self.draw.some(self.language.lines["defects"], 2)
            return [findings[0], early, *lines, late]
        return findings + lines if "exam" in self.task.kinds else lines

    def round(self, kinds: tuple[str, ...]) -> list[str]:
        """Two different lines of each kind."""
        return [line for kind in kinds for line in self.draw.some(self.language.lines[kind], 2)]

    def fill(self, template: str) -> str:
        """The template with its fields drawn, beginning with a capital."""
        text = _FIELD.sub(lambda found: self.field(found[1]), template)
        return text[0].upper() + text[1:]

    def field(self, name: str) -> str:
        """One drawn value, as text."""
        if name in self.patient:
            return self.patient[name]
        if name in self.language.words:
            return self.draw.pick(self.language.words[name])
        if name == "date":
            return f"{self.draw.integer(2021, 2025)}-{self.draw.integer(1, 12):02d}-{self.draw.integer(1, 28):02d}"
        if name == "clock":
            return f"{self.draw.integer(0, 23)}:{self.draw.integer(0, 59):02d}"
        low, high, decimals = NUMBERS[name]
        scale = 10**decimals
        return f"{self.draw.integer(round(low * scale), round(high * scale)) / scale:.{decimals}f}"

    def misspell(self, text: str) -> str:
        """The text with about half of its words that we know how to misspell misspelt, once each."""
        for right, wrong in self.language.typos:
            if self.draw.uniform() < 0.5:
                text = text.replace(right, wrong, 1)
        return text
