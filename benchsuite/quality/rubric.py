"""What a judge is asked, how its verdict is read, and how often it is right: its control. Pure.

The network is quality.judge's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from random import Random
from string import Template
from typing import TYPE_CHECKING, Any, NamedTuple

from benchsuite.errors import read_json
from benchsuite.level import Level
from benchsuite.limits import most
from benchsuite.metrics import ALPHA
from benchsuite.quality.normalise import answer_of
from benchsuite.results import AnswerScore, Estimate
from benchsuite.warning_table import Finding, warn

if TYPE_CHECKING:
    from benchsuite.analysis.requests import Floats
    from benchsuite.quality.score import Scorer

# analysis.intervals and quality.paired are imported where they are used: every reading of a request set has this file
MOST_SCALE = 100
LEAST_CONTROL, MOST_PAIRS = 20, 50
_SEED = 20260101
LEAST_SUM = 1.5  # of sensitivity and specificity: a coin, and a judge that always says yes, have 1


class Rubric(NamedTuple):
    """text: what a good answer does. scale: a verdict is a whole number from 0 to it. pass_at: the verdict from which
    an answer passes and scores 1, else 0; None: its score is its share of the scale.
    """

    text: str
    scale: int = 1
    pass_at: int | None = None

    def passes(self, verdict: int) -> bool:
        """Of a graded rubric: more than half of the scale."""
        return verdict >= (self.scale // 2 + 1 if self.pass_at is None else self.pass_at)

    def score(self, verdict: int) -> float:
        return verdict / self.scale if self.pass_at is None else float(self.passes(verdict))


def rubric_of(options: Mapping[str, Any]) -> Rubric:
    """The rubric of a scorer's options. Raises ValueError, in words."""
    if unknown := options.keys() - {"rubric", "reference", "scale", "pass"}:
        raise ValueError(f"the scorer judge takes rubric, reference, scale and pass, not {min(unknown)!r:.40}")
    text, scale = options.get("rubric"), options.get("scale", 1)
    if not isinstance(text, str) or not text.strip():
        raise ValueError('the scorer judge needs a rubric: {"name": "judge", "rubric": "what a good answer does"}')
    if type(scale) is not int or not 1 <= scale <= MOST_SCALE:
        raise ValueError(f"scale should be a whole number from 1 to {MOST_SCALE}, not {scale!r:.40}")
    pass_at = options.get("pass", 1 if scale == 1 else None)
    if pass_at is not None and (type(pass_at) is not int or not 1 <= pass_at <= scale):
        raise ValueError(f"pass should be a whole number from 1 to scale ({scale}), not {pass_at!r:.40}")
    return Rubric(text.strip(), scale, pass_at)


def check_judge(reference: object, options: Mapping[str, Any]) -> None:  # noqa: ARG001 - a scorer's signature
    rubric_of(options)


def judge(answer: str, reference: object, options: Mapping[str, Any], prompt_text: str) -> AnswerScore:  # noqa: ARG001
    """No score: a verdict needs a network (`benchsuite score RUN --judge-url URL`)."""
    return AnswerScore(None, how="not_judged")


class Question(NamedTuple):
    """What is asked about one answer; of two, other is the second."""

    rubric: Rubric
    prompt: str
    reference: str | None
    answer: str
    other: str | None = None


ORDERS = ("first", "second", "tie")


def request_body(question: Question, prompts: Mapping[str, Any], model: str, max_tokens: int) -> dict[str, Any]:
    """The body of the request to the judge. prompts: those of data/judge.toml.

    What is judged stands between marks that hold a hash of it, which no answer can foresee, so none can end early.
    """
    rubric, prompt, reference, *answers = question
    texts = [_shortened(answer_of(text)[0]) for text in answers if text is not None]  # control answers alike
    mark = hashlib.sha256(
        "\0".join([rubric.text, prompt, reference or "", *texts]).encode(errors="surrogatepass")
    ).hexdigest()[:16]
    values = {"mark": mark, "scale": str(rubric.scale), "rubric": rubric.text, "question": prompt}
    values |= dict(zip(("answer", "other"), texts, strict=False))
    values["reference"] = f"<{mark} reference>\n{reference}\n</{mark} reference>\n" if reference is not None else ""
    name, allowed = allowed_verdicts(question)
    schema = {
        "type": "object",
        "properties": {name: {"enum": [*allowed]}, "reason": {"type": "string"}},
        "required": [name, "reason"],
        "additionalProperties": False,
    }
    return {
        "model": model,
        "messages": [
            {"role": role, "content": Template(prompts["one" if len(texts) == 1 else "two"][role]).substitute(values)}
            for role in ("system", "user")
        ],
        "temperature": 0,
        "max_tokens": max_tokens,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": schema},
        },
    }


def allowed_verdicts(question: Question) -> tuple[str, Sequence[Any]]:
    """The name of the field that holds the verdict, and what it may be."""
    return ("score", range(question.rubric.scale + 1)) if question.other is None else ("better", ORDERS)


def _shortened(text: str) -> str:
    half = most("judged_chars") // 2
    left_out = len(text) - 2 * half
    return text if left_out <= 0 else f"{text[:half]}\n[{left_out:,} characters left out]\n{text[-half:]}"


_FENCED = re.compile(r"```(?:json)?\s*(\{.*?\})\s*```", re.DOTALL)


def read_verdict(text: str, question: Question) -> tuple[Any, str] | None:
    """The verdict and its reason: of the whole answer, or of its only fenced block; None for anything else."""
    name, allowed = allowed_verdicts(question)
    text = answer_of(text)[0].strip()
    blocks = _FENCED.findall(text)
    try:
        tree = read_json(blocks[0] if len(blocks) == 1 else text)
    except ValueError:
        return None
    verdict = tree.get(name) if isinstance(tree, dict) else None
    if isinstance(verdict, float) and verdict.is_integer():
        verdict = int(verdict)
    if type(verdict) is not type(allowed[0]) or verdict not in allowed:
        return None
    return verdict, str(tree.get("reason") or "")


class Item(NamedTuple):
    """A prompt to judge: its conversation, and what its own scorer knows."""

    scenario: str | None
    rubric: Rubric
    prompt: str
    reference: Any
    scorer: str
    options: Mapping[str, Any]
    prompt_text: str

    @property
    def shown(self) -> str | None:
        """The reference as the judge sees it."""
        reference = self.reference
        plain = reference is None or isinstance(reference, str)
        return reference if plain else json.dumps(reference, ensure_ascii=False)


class Control(NamedTuple):
    """An answer whose verdict is known. how: what was planted in it; reference: nothing."""

    question: Question
    right: bool
    how: str


_NUMBER = re.compile(r"(?<![A-Za-z\d.])\d+(?:\.\d+)?")
_LISTED = re.compile(r"(?m)^\s*\d+[.)、:]\s")  # the number of an item says nothing
_SEPARATOR = "; "


def planted(reference: Any, scorer: str, others: Iterable[str]) -> tuple[str, str, str] | None:
    """A reference as an answer, the same with a planted error, and which; None where none can be planted.

    others: references of other items, as answers.
    """
    if scorer == "json" and isinstance(reference, dict):
        reference = reference.get("reference")
    if isinstance(reference, list) and scorer in ("exact", "token_f1", "rouge_l", "correction") and reference:
        reference = reference[0]  # of texts of which each is right
    if isinstance(reference, list) and scorer == "choices" and all(isinstance(one, str) for one in reference):
        reference = "".join(reference)
    if isinstance(reference, bool):
        return json.dumps(reference), json.dumps(not reference), "the opposite"
    if isinstance(reference, int | float):
        return f"{reference:.15g}", _other_number(f"{reference:.15g}"), "a changed number"
    if isinstance(reference, list) and reference:
        items = [str(one[0] if isinstance(one, list) and one else one) for one in reference]
        if len(items) > 1:
            return _SEPARATOR.join(items), _SEPARATOR.join(items[:-1]), "a removed item"
        reference = items[0]
    if isinstance(reference, dict) and reference:
        left = dict([*reference.items()][1:])
        return json.dumps(reference, ensure_ascii=False), json.dumps(left, ensure_ascii=False), "a removed item"
    if not isinstance(reference, str) or not reference.strip():
        return None
    if scorer == "choices" and len(reference) > 1:
        return reference, reference[:-1], "a removed item"
    if re.fullmatch("[A-Z]", reference):
        return reference, chr(ord(reference) - 1) if reference != "A" else "B", "another letter"
    listed = [range(*found.span()) for found in _LISTED.finditer(reference)]
    for found in _NUMBER.finditer(reference):
        if not any(found.start() in places for places in listed):
            changed = f"{reference[: found.start()]}{_other_number(found[0])}{reference[found.end() :]}"
            return reference, changed, "a changed number"
    same = _folded(reference)
    other = next((text for text in others if _folded(text) not in same and same not in _folded(text)), None)
    return None if other is None else (reference, other, "another item's reference")


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _other_number(text: str) -> str:
    """Half as much again, and no less than 1 more where it is whole."""
    number = Decimal(text)
    half = abs(number) / 2
    return str(number + half if number % 1 else number + max(half // 1, Decimal(1)))


def control_of(items: Iterable[Item], scorers: Mapping[str, Scorer]) -> list[Control]:
    """Each reference as an answer and the same with a planted error, of at most 50 items in a fixed random order.

    Where the item has a scorer of its own besides, that one must find the first right and the second worse. scorers:
    quality.score.SCORERS.
    """
    known = list({item.prompt: item for item in items if item.reference is not None}.values())
    Random(_SEED).shuffle(known)
    texts = [(item.scenario, text) for item in known if (text := _first_text(item.reference)) is not None]
    found: list[Control] = []
    for at, item in enumerate(known):
        if len(found) >= 2 * MOST_PAIRS:
            break
        near = [text for scenario, text in texts[at:] + texts[:at] if scenario == item.scenario]
        pair = planted(item.reference, item.scorer, near + [text for _, text in texts])
        if pair is None or not _holds(item, scorers.get(item.scorer), *pair[:2]):
            continue
        for text, right, how in ((pair[0], True, "reference"), (pair[1], False, pair[2])):
            found.append(Control(Question(item.rubric, item.prompt, item.shown, text), right, how))
    return found


def _first_text(reference: Any) -> str | None:
    while isinstance(reference, list) and reference:
        reference = reference[0]
    return reference if isinstance(reference, str) else None


def _holds(item: Item, scorer: Scorer | None, right: str, wrong: str) -> bool:
    if scorer is None or item.scorer == "judge":
        return True
    answers = [answer_of(text)[0] for text in (right, wrong)]
    scores = [scorer.score(text, item.reference, item.options, item.prompt_text).score for text in answers]
    return scores[0] == 1.0 and scores[1] is not None and scores[1] < 1.0


class JudgeAccuracy(NamedTuple):
    """What a control says of a judge: right answers that passed, wrong ones that did not, of how many verdicts."""

    right_passed: int
    right: int
    wrong_failed: int
    wrong: int

    @property
    def sensitivity(self) -> float | None:
        return self.right_passed / self.right if self.right else None

    @property
    def specificity(self) -> float | None:
        return self.wrong_failed / self.wrong if self.wrong else None

    @property
    def can_tell(self) -> bool:
        """Its verdicts rank anything: sensitivity and specificity sum to 1.5 or more, of 20 verdicts or more."""
        se, sp = self.sensitivity, self.specificity
        return se is not None and sp is not None and self.right + self.wrong >= LEAST_CONTROL and se + sp >= LEAST_SUM

    def facts(self) -> dict[str, Any]:
        """Counts, both shares as estimates with Wilson's intervals, and whether it can tell."""
        from benchsuite.analysis.intervals import Z, none, wilson

        facts: dict[str, Any] = self._asdict()
        for name, k, n in (
            ("sensitivity", self.right_passed, self.right), ("specificity", self.wrong_failed, self.wrong),
        ):  # fmt: skip
            share = (
                Estimate(k / n, *wilson(k / n, n, Z), n, f"Wilson, {n} verdicts") if n else none(None, 0, "no verdict")
            )
            facts[name] = asdict(share)
        return facts | {"can_tell": self.can_tell}


def judge_accuracy(verdicts: Iterable[tuple[bool, bool | None]]) -> JudgeAccuracy:
    """verdicts: whether each control answer is right, and whether it passed, None without a verdict, which is left out:
    20 must be left."""
    passed = {True: [0, 0], False: [0, 0]}
    for right, said in verdicts:
        if said is not None:
            passed[right][0] += said is right
            passed[right][1] += 1
    return JudgeAccuracy(*passed[True], *passed[False])


def corrected_rate(rate: float, sensitivity: float, specificity: float) -> float:
    """The rate of right answers that would pass at `rate` under such a judge, clipped to 0 and 1.

    Source: Rogan and Gladen, Am. J. Epidemiology 107 (1978) 71. sensitivity + specificity: above 1.
    """
    return min(max((rate + specificity - 1) / (sensitivity + specificity - 1), 0.0), 1.0)


def corrected(scenarios: Mapping[str, Floats], accuracy: JudgeAccuracy) -> Estimate:
    """The corrected rate with an interval by joint draws of the items, the sensitivity and the specificity.

    scenarios: by name (n,) the share of passes of each item. None where the judge cannot tell. Sensitivity and
    specificity are drawn from their Jeffreys posteriors.
    """
    import numpy as np

    from benchsuite.quality.paired import DRAWS, score_draws

    n = sum(map(len, scenarios.values()))
    se, sp = accuracy.sensitivity, accuracy.specificity
    if not n or not accuracy.can_tell or se is None or sp is None:
        return Estimate(None, None, None, n, "no interval: the judge cannot tell")
    value = corrected_rate(float(np.mean([items.mean() for items in scenarios.values()])), se, sp)
    rng = np.random.default_rng((_SEED, n))
    drawn_se = rng.beta(accuracy.right_passed + 0.5, accuracy.right - accuracy.right_passed + 0.5, DRAWS)
    drawn_sp = rng.beta(accuracy.wrong_failed + 0.5, accuracy.wrong - accuracy.wrong_failed + 0.5, DRAWS)
    above, below = score_draws(scenarios) + drawn_sp - 1, np.maximum(drawn_se + drawn_sp - 1, 1e-9)
    low, high = np.quantile(np.clip(above / below, 0.0, 1.0), [ALPHA / 2, 1 - ALPHA / 2])
    method = f"joint draws of {n} items and {accuracy.right + accuracy.wrong} control verdicts"
    return Estimate(value, min(float(low), value), max(float(high), value), n, method)


# names of a model by which its maker's others are known
_FAMILIES = {
    "qwen": "qwen|qwq", "llama": "llama|vicuna", "openai": r"gpt|\bo[1345](?:\b|-)|davinci", "anthropic": "claude",
    "google": "gemini|gemma", "mistral": "m[ai]?[nx]?istral|mixtral|magistral|codestral|pixtral",
    "deepseek": "deepseek",
    "phi": r"\bphi", "glm": "glm", "yi": r"\byi\b", "baichuan": "baichuan", "internlm": "internlm",
    "moonshot": "kimi|moonshot", "cohere": "command-?[ra]|\\baya", "granite": "granite", "hunyuan": "hunyuan",
    "ernie": "ernie", "doubao": "doubao|seed-oss", "minimax": "minimax|abab", "smollm": "smollm", "falcon": "falcon",
    "olmo": "olmo|tulu", "nemotron": "nemotron", "grok": "grok",
}  # fmt: skip


def families(model: str) -> set[str]:
    """The families that a model's name tells; a distilled one may have two; empty where it tells none."""
    return {family for family, names in _FAMILIES.items() if re.search(names, model.casefold())}


def judge_findings(facts: Mapping[str, Any], level: Level | None = None) -> Iterator[Finding]:
    """What to know before trusting a judge. facts: of a judging."""
    control, name = facts["control"], facts["model"]
    if not control["can_tell"]:
        shares = [control[share]["value"] for share in ("sensitivity", "specificity")]
        shown = ["unknown" if share is None else f"{share:.2f}" for share in shares]
        yield warn("judge_cannot_tell", level, judge=name, sensitivity=shown[0], specificity=shown[1], least=LEAST_SUM)
    for model in facts["candidates"]:
        if shared := families(model) & families(name):
            yield warn("judge_same_family", level, judge=name, model=model, family=", ".join(sorted(shared)))
    if facts.get("under_test"):
        yield warn("judge_under_test", level, judge=name)
