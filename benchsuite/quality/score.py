"""Scorers by name: how an answer is compared with what is known to be right; and the scores of a run's rows. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pyarrow as pa

from benchsuite.analysis.requests import in_window
from benchsuite.errors import InputError, did_you_mean, read_json
from benchsuite.quality import choice, correction, rubric, structure
from benchsuite.quality import text as texts
from benchsuite.quality.normalise import VERSION, answer_of
from benchsuite.records import ScoreRecord, end_kind
from benchsuite.results import AnswerScore
from benchsuite.workload.dataset import Prompt, Workload, make_workload, message_text, prompt_texts, scorer_of


class Scorer(NamedTuple):
    """version: raised whenever a rule changes. score: of the answer (normalised), the reference, the options and the
    text of the prompt's last user message. check: raises ValueError, in words, for a reference or options that it
    cannot use. graded: scores lie between 0 and 1 as a rule, so that their sum is of points, not correct answers.
    """

    version: int
    score: Callable[[str, Any, Mapping[str, Any], str], AnswerScore]
    check: Callable[[Any, Mapping[str, Any]], None]
    graded: bool


SCORERS: dict[str, Scorer] = {
    "choice": Scorer(2, choice.choice, choice.check_choice, graded=False),
    "choices": Scorer(2, choice.choices, choice.check_choices, graded=False),
    "exact": Scorer(1, texts.exact, texts.check_exact, graded=False),
    "contains": Scorer(1, texts.contains, texts.check_contains, graded=True),
    "numeric": Scorer(1, texts.numeric, texts.check_numeric, graded=False),
    "token_f1": Scorer(1, texts.token_f1, texts.check_tokens, graded=True),
    "rouge_l": Scorer(1, texts.rouge_l, texts.check_tokens, graded=True),
    "correction": Scorer(1, correction.correction, correction.check_correction, graded=True),
    "json": Scorer(1, structure.json, structure.check_json, graded=True),
    "judge": Scorer(1, rubric.judge, rubric.check_judge, graded=False),
}


def scorer_named(name: str | None, scorers: Mapping[str, Scorer] = SCORERS) -> Scorer:
    """Raises InputError for a name that no scorer has."""
    if name is not None and name in scorers:
        return scorers[name]
    hint = did_you_mean(name or "", scorers)
    raise InputError("no such scorer", given=name, expected=", ".join(scorers), hint=hint)


def version_of(name: str, scorers: Mapping[str, Scorer] = SCORERS) -> int:
    """Of a scorer's rules together with those of `normalise`: it is higher whenever one of them has changed."""
    return scorer_named(name, scorers).version + VERSION - 1


def with_scorers(workload: Workload, given: Mapping[str, str], only: str | None = None) -> Workload:
    """The set with other scorers for prompts that have a reference, by scenario ("*": all): a name, or JSON of a name
    and options. only: no other scenario has scorers then ("" for prompts that name none).

    Raises InputError, also for a reference that a scorer cannot use, and where nothing is left to score.
    """
    scenarios = {prompt.scenario or "" for prompt in workload.prompts}
    asked = [*(name for name in given if name != "*"), *([] if only is None else [only])]
    if unknown := [name for name in asked if name not in scenarios]:
        raise InputError("no such scenario in the set", given=unknown[0], expected=", ".join(sorted(scenarios)))
    chosen: dict[str, Any] = {}
    for scenario, text in given.items():
        try:
            chosen[scenario] = read_json(text) if text.lstrip().startswith("{") else text
            scorer_named(chosen[scenario] if isinstance(chosen[scenario], str) else chosen[scenario].get("name"))
        except ValueError as error:
            raise InputError("a scorer is a name, or JSON", where=f"--scorer {scenario}", given=str(error)) from None

    def changed(prompt: Prompt) -> Prompt:
        scorer = chosen.get(prompt.scenario or "", chosen.get("*"))
        if scorer is not None and prompt.reference is not None:
            prompt = replace(prompt, scorer=scorer)
            name, options = scorer_of(prompt)
            try:
                scorer_named(name).check(prompt.reference, options)
            except ValueError as error:
                raise InputError(
                    f"the scorer {name} cannot use a reference", where=prompt.prompt_id, given=str(error)
                ) from None
        return prompt if only in (None, prompt.scenario or "") else replace(prompt, scorer=None)

    made = make_workload(workload.name, map(changed, workload.prompts))
    if made.references_hash is None:
        known = any(prompt.reference is not None for prompt in workload.prompts)
        raise InputError(
            "no prompt has a scorer", where=workload.name, expected="keys reference and scorer in its rows",
            hint="--scorer '*=NAME' for the prompts with a reference" if known else None,
        )  # fmt: skip
    return made


class RowScorer:
    """Scores rows of requests.parquet by the scorers of their prompts.

    Every issued request of a prompt with a scorer has a score, but for the warm-up and the tail of a rate, which are
    not measured: one that failed, or whose answer is empty, has 0 and the reason in `how`. facts: as
    store.run_folder.Scores has them.
    """

    def __init__(self, prompts: Sequence[Prompt], scorers: Mapping[str, Scorer] = SCORERS) -> None:
        self._prompts, self._places, self._scorers = prompts, dict[str, int](), scorers
        by_scenario: dict[str, dict[str, int]] = {}
        for place, prompt in enumerate(prompts):
            if (name := scorer_of(prompt)[0]) is not None:
                self._places[prompt.prompt_id] = place
                by_scenario.setdefault(prompt.scenario or "", {})[name] = version_of(name, scorers)
        self.facts: dict[str, Any] = {"by_scenario": by_scenario}

    @classmethod
    def of_run(cls, workload: Workload, run_id: str) -> RowScorer:
        """With the facts of which run and which references the scores are."""
        made = cls(workload.prompts)
        made.facts |= {"run_id": run_id, "references_hash": workload.references_hash}
        return made

    def __call__(self, tables: Iterable[pa.Table]) -> Iterator[ScoreRecord]:
        """tables: with the columns point_id to text below. Raises InputError where the texts were not kept."""
        names = ("point_id", "repeat", "attempt", "request_id", "prompt_id", "scenario")
        for table in tables:
            table = table.filter(in_window(table))
            columns = [table[name].to_pylist() for name in (*names, "status", "finish_reason", "text")]
            for *where, status, reason, text in zip(*columns, strict=True):
                if (place := self._places.get(where[4])) is None:
                    continue
                if text is None and status == "ok":
                    raise InputError(
                        "the run kept no texts, so its answers cannot be scored", where=f"{where[0]}, {where[3]}",
                        hint="measure with --save-text, the default where a prompt has a scorer",
                    )  # fmt: skip
                prompt = self._prompts[place]
                name, options = scorer_of(prompt)
                assert name is not None
                found = AnswerScore(0.0, how=status) if status != "ok" else self._score(text, name, options, prompt)
                parts = None if found.parts is None else json.dumps(found.parts, ensure_ascii=False)
                point_id, repeat, attempt, request_id, prompt_id, scenario = where
                yield ScoreRecord(
                    point_id, repeat, attempt, request_id, prompt_id, scenario, name, version_of(name, self._scorers),
                    found.score, found.reading or None, found.how,
                    reason is not None and end_kind(reason) == "cap", status != "ok", parts,
                )  # fmt: skip

    def _score(self, text: str, name: str, options: Mapping[str, Any], prompt: Prompt) -> AnswerScore:
        answer, reason = answer_of(text)
        if reason:
            return AnswerScore(0.0, how=reason)
        try:
            return self._scorers[name].score(answer, prompt.reference, options, question_text(prompt))
        except Exception as error:  # whatever a server may say: an answer that a rule of ours cannot take is not judged
            return AnswerScore(None, how=f"scorer_failed: {type(error).__name__}")


def question_text(prompt: Prompt) -> str:
    """The text of the last user message, or the prompt."""
    users = (message_text(m) for m in reversed(prompt.messages or ()) if m.get("role") == "user")
    return next(users, "\n".join(prompt_texts(prompt)))
