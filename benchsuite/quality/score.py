"""Scorers by name: how an answer is compared with what is known to be right; and the scores of a run's rows. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from benchsuite.analysis.requests import in_window
from benchsuite.errors import InputError
from benchsuite.quality import choice, correction, structure
from benchsuite.quality import text as texts
from benchsuite.quality.normalise import VERSION, answer_of
from benchsuite.records import ScoreRecord, end_kind
from benchsuite.results import AnswerScore
from benchsuite.workload.dataset import Prompt, message_text, prompt_texts


class Scorer(NamedTuple):
    """version: raised whenever a rule changes. score: of the answer (normalised), the reference, the options and the
    text of the prompt's last user message. check: raises ValueError, in words, for a reference or options that it
    cannot use. graded: scores lie between 0 and 1 too, so that a sum of them is of points, not of correct answers.
    """

    version: int
    score: Callable[[str, Any, Mapping[str, Any], str], AnswerScore]
    check: Callable[[Any, Mapping[str, Any]], None]
    graded: bool


SCORERS: dict[str, Scorer] = {
    "choice": Scorer(1, choice.choice, choice.check_choice, graded=False),
    "choices": Scorer(1, choice.choices, choice.check_choices, graded=True),
    "exact": Scorer(1, texts.exact, texts.check_exact, graded=False),
    "contains": Scorer(1, texts.contains, texts.check_contains, graded=True),
    "numeric": Scorer(1, texts.numeric, texts.check_numeric, graded=False),
    "token_f1": Scorer(1, texts.token_f1, texts.check_tokens, graded=True),
    "rouge_l": Scorer(1, texts.rouge_l, texts.check_tokens, graded=True),
    "correction": Scorer(1, correction.correction, correction.check_correction, graded=True),
    "json": Scorer(1, structure.json, structure.check_json, graded=True),
}
_READING_CHARS = 200


def named(scorer: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of a prompt's scorer, and its options."""
    given = {"name": scorer} if isinstance(scorer, str) else dict(scorer)
    return given.pop("name"), given


def version_of(name: str) -> int:
    """Of a scorer's rules together with those of `normalise`: it is higher whenever one of them has changed."""
    return SCORERS[name].version + VERSION - 1


def score_facts(prompts: Iterable[Prompt]) -> dict[str, dict[str, int]]:
    """By scenario ("" for none): its prompts' scorers, and the version of each."""
    found: dict[str, dict[str, int]] = {}
    for prompt in prompts:
        if prompt.scorer is not None:
            name, _ = named(prompt.scorer)
            found.setdefault(prompt.scenario or "", {})[name] = version_of(name)
    return found


class RowScorer:
    """Scores rows of requests.parquet by the scorers of their prompts.

    Every issued request of a prompt with a scorer has a score, but for the warm-up and the tail of a rate, which are
    not measured: one that failed, or whose answer is empty, has 0 and the reason in `how`.
    """

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._prompts = prompts
        self._places = {prompt.prompt_id: i for i, prompt in enumerate(prompts) if prompt.scorer is not None}

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
                        "the run keeps no texts, so its answers cannot be scored", where=where[3],
                        expected="a run that was measured with --save-text",
                    )  # fmt: skip
                prompt = self._prompts[place]
                name, options = named(prompt.scorer or "")
                found = AnswerScore(0.0, how=status) if status != "ok" else _score(text, name, options, prompt)
                parts = None if found.parts is None else json.dumps(found.parts, ensure_ascii=False)
                point_id, repeat, attempt, request_id, prompt_id, scenario = where
                yield ScoreRecord(
                    point_id, repeat, attempt, request_id, prompt_id, scenario, name, version_of(name),
                    found.score, found.reading[:_READING_CHARS] or None, found.how,
                    reason is not None and end_kind(reason) == "cap", status != "ok", parts,
                )  # fmt: skip


def _score(text: str, name: str, options: Mapping[str, Any], prompt: Prompt) -> AnswerScore:
    answer, reason = answer_of(text)
    if reason:
        return AnswerScore(0.0, how=reason)
    try:
        return SCORERS[name].score(answer, prompt.reference, options, _question(prompt))
    except Exception as error:  # whatever a server may say: one answer that a rule of ours cannot take is not judged
        return AnswerScore(None, how=f"scorer_failed: {type(error).__name__}")


def _question(prompt: Prompt) -> str:
    """The text of the last user message, or the prompt."""
    users = (message_text(m) for m in reversed(prompt.messages or ()) if m.get("role") == "user")
    return next(users, "\n".join(prompt_texts(prompt)))
