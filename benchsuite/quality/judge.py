"""Verdicts on a run's answers from a judge: any OpenAI-compatible endpoint, asked after the run.

The only part of quality with a network. Every verdict is journalled as it comes, in judge.jsonl of the run folder: what
was paid for is never asked again, whatever ends the judging.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.base_url import api_address, plain_base_url
from benchsuite.errors import InputError, RunError, ServerRefused, StoreError, os_error_as, read_json, read_toml
from benchsuite.limits import most
from benchsuite.quality.levels import items_of, quality_by_level, sets_of
from benchsuite.quality.paired import mean_interval
from benchsuite.quality.rubric import (
    LEAST_CONTROL,
    Control,
    Item,
    JudgeAccuracy,
    Question,
    Rubric,
    allowed_verdicts,
    control_of,
    corrected,
    judge_accuracy,
    read_verdict,
    request_body,
    rubric_of,
)
from benchsuite.quality.score import SCORERS, RowScorer, question_text, version_of
from benchsuite.records import ScoreRecord
from benchsuite.redact import json_text, remember_key, shortened
from benchsuite.results import AnswerScore
from benchsuite.store.files import SCORE_SCHEMA, lock
from benchsuite.store.run_folder import Run
from benchsuite.strict_model import read_text
from benchsuite.telemetry.http import bounded_client
from benchsuite.workload.dataset import Prompt, message_text, scorer_of

JOURNAL = "judge.jsonl"
_WAITS, _LONGEST_WAIT_S = 3, 30.0  # before a request is sent again: 1, 2 and 4 s, or what Retry-After says
_MOST_FAILURES = 24  # in a row: the judge is down, and the rest is not asked
_REASON_CHARS = 300
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Judge:
    """base_url: as a server's. key_env: the variable that holds its API key. max_tokens: of a verdict, with what the
    judge thinks before it. usd_per_1m_input, usd_per_1m_output: its prices per million tokens. first_wait_s: before a
    request is sent again the first time.
    """

    base_url: str
    model: str
    key_env: str = "JUDGE_API_KEY"
    concurrency: int = 8
    max_tokens: int = 1024
    usd_per_1m_input: float | None = None
    usd_per_1m_output: float | None = None
    first_wait_s: float = 1.0

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "base_url", plain_base_url(self.base_url))
        except ValueError as error:
            what, expected = "not the URL of a judge", str(error).removeprefix("expected ")
            raise InputError(what, where="--judge-url", given=self.base_url, expected=expected) from None

    def headers(self) -> dict[str, str]:
        """With the key, which is remembered as a secret. Raises InputError for one that no header can carry."""
        key = os.environ.get(self.key_env, "").strip()
        remember_key(key)
        if not (key.isascii() and key.isprintable()):
            what = "the judge's API key contains a character that an HTTP header cannot carry"
            raise InputError(what, where=f"${self.key_env}", expected="printable ASCII on one line")
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


class Verdict(NamedTuple):
    """verdict: None where what came was unusable. Tokens as the judge counts them, None where it does not."""

    verdict: int | str | None
    reason: str
    input_tokens: int | None
    output_tokens: int | None


class Judging:
    """The questions of one judging, and the journal of their verdicts: one JSON line for each that came, by the hash of
    its request, which holds prompt, reference, answer, rubric, our prompt file and the judge's model.

    A context manager; one process at a time; a line that a crash cut off is passed over. progress: is told how many of
    how many were asked. Raises InputError and StoreError.
    """

    def __init__(self, judge: Judge, run: Run, progress: Progress | None) -> None:
        file = (resources.files("benchsuite.quality") / "data" / "judge.toml").read_text("utf-8")
        self._judge, self._run, self._progress, self._path = judge, run, progress, run.path / JOURNAL
        self._prompts, self._prompt_hash = read_toml(file), hashlib.sha256(file.encode()).hexdigest()
        self._url, self._headers = api_address(judge.base_url).url("/chat/completions"), judge.headers()
        self._questions: dict[str, tuple[Question, bytes]] = {}
        self._came: dict[str, list[Verdict]] = defaultdict(list)
        self._lock, self._stop, self._n_new = threading.Lock(), threading.Event(), 0
        self._why: str | None = None
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        with os_error_as(StoreError, "the journal of verdicts cannot be opened", self._path):
            self._file = os.fdopen(os.open(self._path, flags, 0o666), "r+b", buffering=0)
            if not lock(self._file):
                self._file.close()
                raise InputError("another benchsuite is judging this run", where=str(self._path))
            content = self._file.read(most("file_bytes"))
        self._torn = content[-1:] not in (b"", b"\n")
        for line in content.splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                tree = read_json(line)
                found = Verdict(*(tree[name] for name in Verdict._fields))
                tokens_known = all(n is None or (type(n) is int and 0 <= n < 2**31) for n in found[2:])
                if tokens_known and isinstance(found.reason, str) and isinstance(found.verdict, int | str | None):
                    self._came[str(tree["key"])].append(found)

    def __enter__(self) -> Judging:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._file.close()

    def question(self, question: Question) -> str:
        """Will be asked, once however often it is there; its key."""
        body = json.dumps(request_body(question, self._prompts, self._judge.model, self._judge.max_tokens)).encode()
        key = hashlib.sha256(body).hexdigest()
        self._questions[key] = question, body
        return key

    def verdict(self, key: str) -> Verdict | None:
        """None where none is usable."""
        _, allowed = allowed_verdicts(self._questions[key][0])
        known = (one for one in self._came.get(key, ()) if type(one.verdict) is type(allowed[0]))
        return next((one for one in known if one.verdict in allowed), None)

    def ask(self) -> None:
        """Asks what has no verdict yet, in a fixed random order, so that nothing tells control answers apart.

        The first alone: raises ServerRefused and RunError where it has no answer. Of the others some may be left
        without a verdict: one that is unusable twice, or a judge that is down.
        """
        todo = [key for key in self._questions if self.verdict(key) is None]
        if not todo:
            return
        Random(0).shuffle(todo)
        self._n_new = len(todo)
        with self._client() as client:
            try:
                self._one(client, todo[0])
            except _NoAnswer as error:
                kind, what = (ServerRefused, "refuses") if error.refused else (RunError, "does not answer")
                raise kind(
                    f"the judge {what}", where=self._url, given=str(error), expected=f"verdicts of {self._judge.model}",
                    hint=f"look at --judge-url, --judge-model and ${self._judge.key_env}",
                ) from None  # fmt: skip
        waiting, done = queue.SimpleQueue[str](), queue.SimpleQueue[Exception | None]()
        for key in todo[1:]:
            waiting.put(key)

        def work() -> None:
            with self._client() as client:
                while not self._stop.is_set():
                    try:
                        self._one(client, waiting.get_nowait())
                        done.put(None)
                    except queue.Empty:
                        return
                    except Exception as error:  # for the thread that waits
                        done.put(error)

        for _ in range(min(self._judge.concurrency, len(todo) - 1)):
            threading.Thread(target=work, daemon=True).start()  # Ctrl-C does not wait for a judge
        in_a_row = 0
        for n in range(1, len(todo)):
            if self._progress:
                self._progress(n, len(todo))
            if isinstance(failed := done.get(), _NoAnswer):
                in_a_row += 1
                self._why = str(failed)
                if in_a_row == _MOST_FAILURES:
                    self._stop.set()
                    self._why = f"the judge was down, {len(todo) - 1 - n:,} answers were not asked about: {failed}"
                    return
            elif failed is not None:
                raise failed
            else:
                in_a_row = 0

    def _client(self) -> httpx.Client:
        limit_s = most("verdict_s")
        return bounded_client(self._judge.base_url, headers=self._headers, timeout_s=limit_s, total_s=limit_s)

    def _one(self, client: httpx.Client, key: str) -> None:
        """Asks, and once more where the verdict is unusable. Raises _NoAnswer, StoreError."""
        question, body = self._questions[key]
        for _ in range(2):
            found = _verdict(self._post(client, body), question)
            with self._lock, os_error_as(StoreError, "a verdict cannot be written down", self._path):
                line = f"{json_text({'key': key} | found._asdict(), indent=None)}\n".encode()
                written = self._file.write(b"\n" * self._torn + line)
                self._torn = written != len(line) + self._torn
                self._came[key].append(found)
            if found.verdict is not None:
                return

    def _post(self, client: httpx.Client, body: bytes) -> bytes:
        wait_s, words = self._judge.first_wait_s, ""
        for left in range(_WAITS, -1, -1):
            asked_for_s = 0.0
            try:
                answer = client.post(self._url, content=body)
            except httpx.HTTPError as error:
                words = f"{type(error).__name__}: {shortened(str(error), 200)}"
            else:
                if answer.status_code == 200:
                    return answer.content
                words = f"HTTP {answer.status_code}: {shortened(answer.text, 200)}"
                if answer.status_code < 500 and answer.status_code not in (408, 409, 425, 429):
                    raise _NoAnswer(words, refused=True)
                if re.fullmatch(r"\d{1,6}", after := answer.headers.get("retry-after", "")):
                    asked_for_s = float(after)
            if left and self._stop.wait(min(max(wait_s, asked_for_s), _LONGEST_WAIT_S)):
                break
            wait_s *= 2
        raise _NoAnswer(words, refused=False)

    def facts(self, accuracy: JudgeAccuracy, known: Sequence[Control], *, given: bool) -> dict[str, Any]:
        """What was asked and of whom, what the control says, and what it cost, which is no part of the serving cost.

        given: the control was; not made from references.
        """
        came = [one for key in self._questions for one in self._came.get(key, ())]
        counted = all(None not in one[2:] for one in came)
        n_in, n_out = (sum(getattr(one, name) or 0 for one in came) for name in Verdict._fields[2:])
        usd_in, usd_out = self._judge.usd_per_1m_input, self._judge.usd_per_1m_output
        known_usd = counted and usd_in is not None and usd_out is not None
        roots = {api_address(one.base_url).root for one in self._run.manifest.endpoints if one.base_url}
        return {
            "model": self._judge.model,
            "candidates": [self._run.manifest.model or ""],
            "base_url": self._judge.base_url,
            "version": version_of("judge"),
            "prompt_hash": self._prompt_hash,
            "rubric_hashes": sorted({hashlib.sha256(repr(q.rubric).encode()).hexdigest()[:16]
                                     for q, _ in self._questions.values()}),
            "asked": len(self._questions),
            "asked_before": len(self._questions) - self._n_new,
            "no_verdict": sum(self.verdict(key) is None for key in self._questions),
            "why": self._why,
            "input_tokens": n_in if counted else None,
            "output_tokens": n_out if counted else None,
            "usd": (n_in * (usd_in or 0) + n_out * (usd_out or 0)) / 1e6 if known_usd else None,
            "under_test": api_address(self._judge.base_url).root in roots,
            "control": accuracy.facts() | {
                "n": len(known),
                "planted": {} if given else dict(Counter(one.how for one in known if not one.right)),
            },
        }  # fmt: skip


class _NoAnswer(Exception):
    """refused: the same request would be refused again."""

    def __init__(self, words: str, *, refused: bool) -> None:
        super().__init__(words)
        self.refused = refused


def _verdict(content: bytes, question: Question) -> Verdict:
    """What a response of the API says, whatever it is."""
    try:
        tree = read_json(content)
        text, usage = tree["choices"][0]["message"]["content"], tree.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return Verdict(None, "no message", None, None)
    tokens = [count if type(count) is int and 0 <= count < 2**31 else None for count in counts]
    found = read_verdict(text, question) if isinstance(text, str) else None
    verdict, reason = found or (None, f"unusable: {text}")
    return Verdict(verdict, shortened(reason, _REASON_CHARS), *tokens)


def _items(prompts: Iterable[Prompt], rubric: Rubric | None) -> dict[str, Item]:
    """By prompt_id what is to be judged: by the prompt's own rubric, else by `rubric`. Raises InputError for none."""
    found = {}
    for prompt in prompts:
        name, options = scorer_of(prompt)
        of = rubric_of(options) if name == "judge" else rubric
        if of is not None:
            messages = prompt.messages or ({"role": "user", "content": prompt.prompt},)
            heads = [f"[{message.get('role')}]\n" if len(messages) > 1 else "" for message in messages]
            text = "\n\n".join(head + message_text(m) for head, m in zip(heads, messages, strict=True))
            reference = options.get("reference", prompt.reference) if name == "judge" else prompt.reference
            found[prompt.prompt_id] = Item(
                prompt.scenario, of, text, reference, name or "", options, question_text(prompt)
            )  # fmt: skip
    if not found:
        raise InputError(
            "nothing in the request set says what a judge is to look for", where="--judge-url",
            expected='prompts with the scorer {"name": "judge", "rubric": ...}', hint="--judge-rubric FILE, for all",
        )  # fmt: skip
    return found


def _answers(
    run: Run, items: Mapping[str, Item], prompts: Iterable[Prompt], score: Callable[[str, Item, str], AnswerScore],
    point: str = "",
) -> list[ScoreRecord]:  # fmt: skip
    """The rows of the scorer judge with `score`, of an item and the answer; of one point, or all."""
    model = run.manifest.model or ""

    def of_row(answer: str, _: object, options: Mapping[str, Any], __: str) -> AnswerScore:
        for name in (model, model.rpartition("/")[2]):
            if len(name) >= 6 and re.search(r"[\d-]", name):  # a candidate that names itself
                answer = re.sub(re.escape(name), "[the model]", answer, flags=re.IGNORECASE)
        name = options["id"]
        return score(name, items[name], answer) if answer.strip() else AnswerScore(0.0, how="empty")

    own = [replace(p, scorer={"name": "judge", "id": p.prompt_id}) for p in prompts if p.prompt_id in items]
    table = run.whole.filter(pc.equal(run.whole["point_id"], point)) if point else run.whole
    return [*RowScorer(own, {"judge": SCORERS["judge"]._replace(score=of_row)})([table])]


def judge_run(
    run: Run, prompts: Sequence[Prompt], judge: Judge, *, rubric: Rubric | None = None, control: Path | None = None,
    progress: Progress | None = None,
) -> tuple[list[ScoreRecord], dict[str, Any]]:  # fmt: skip
    """A row of the scorer `judge` for each request whose prompt has a rubric, and the judging's facts.

    rubric: for prompts without one of their own. control: JSON lines with known verdicts; None: made from references.
    Answers that failed or are empty have 0 unasked, as with every scorer. Raises InputError for a run without texts,
    rubric or control.
    """
    items = _items(prompts, rubric)
    known = _control(items.values(), control)
    with Judging(judge, run, progress) as judging:

        def score(_: str, item: Item, answer: str) -> AnswerScore:
            found = judging.verdict(judging.question(Question(item.rubric, item.prompt, item.shown, answer)))
            if found is None or not isinstance(found.verdict, int):
                return AnswerScore(None, how="no_verdict")
            reading = f"{found.verdict} of {item.rubric.scale}: {found.reason}"
            return AnswerScore(item.rubric.score(found.verdict), reading, "judged")

        _answers(run, items, prompts, score)  # the questions; after ask() the verdicts
        asked_of = [judging.question(one.question) for one in known]
        judging.ask()
        rows = _answers(run, items, prompts, score)
        accuracy = judge_accuracy(
            (one.right, one.question.rubric.passes(found.verdict) if (found := judging.verdict(key)) else None)  # type: ignore[arg-type]
            for one, key in zip(known, asked_of, strict=True)
        )
        facts = judging.facts(accuracy, known, given=control is not None)
    table = pa.Table.from_pylist([row._asdict() for row in rows], SCORE_SCHEMA)
    levels = sorted({point.level for point in run.manifest.points if point.level is not None})
    facts["levels"] = []
    for level, quality in quality_by_level(table, run.whole, levels).items():
        if scenarios := sets_of(quality):
            entry = level.named() | {"at": level.at, "score": asdict(quality.score)}
            if all(item.rubric.pass_at is not None for item in items.values()):
                entry["corrected"] = asdict(corrected(scenarios, accuracy))
            facts["levels"].append(entry)
    return rows, facts | {"rows": len(rows), "not_judged": sum(row.score is None for row in rows)}


def compare_runs(
    first: Run, second: Run, prompts: Sequence[Prompt], judge: Judge, *, rubric: Rubric | None = None,
    control: Path | None = None, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The judging's facts with the win rate of `first` over `second`: wins and half of the ties, over items.

    Their answers at the lowest level that both have, in its first repeat, each pair in both orders: a verdict that goes
    with the order is a tie. Who has no answer loses. The control: right against planted answers to at least 20 prompts,
    the right one first in half of them. Raises InputError as judge_run, and for runs of other request sets.
    """
    sets = [run.manifest.workload.content_hash for run in (first, second)]
    points = [{p.level: p.point_id for p in reversed(run.manifest.judged_points) if p.level} for run in (first, second)]
    shared = sorted(points[0].keys() & points[1].keys())
    if sets[0] != sets[1] or not shared:
        raise InputError("the runs cannot be compared", where="--against", given=second.manifest.run_id,
                         expected="the same request set, at a level that both measured")  # fmt: skip
    items = _items(prompts, rubric)
    known = _control(items.values(), control, in_pairs=True)
    sides: list[dict[str, str]] = [{}, {}]
    for run, of, side in zip((first, second), points, sides, strict=True):

        def keep(name: str, _: Item, answer: str, side: dict[str, str] = side) -> AnswerScore:
            side[name] = answer
            return AnswerScore(None)

        _answers(run, items, prompts, keep, of[shared[0]])
    with Judging(judge, first, progress) as judging:

        def both_orders(about: Question, a: str, b: str) -> tuple[str, str]:
            one = about._replace(answer=a, other=b)
            return judging.question(one), judging.question(one._replace(answer=b, other=a))

        def better(keys: tuple[str, str]) -> str | None:
            found = [one.verdict for key in keys if (one := judging.verdict(key)) is not None]
            return None if len(found) < 2 else str(found[0]) if {*found} == {"first", "second"} else "tie"

        of_control = []
        for n in range(len(known) // 2):
            right, wrong = (one.question for one in known[2 * n : 2 * n + 2])
            pair = right.answer, wrong.answer
            of_control.append(both_orders(right, *(pair if n % 2 else pair[::-1])))
        open_, scores = {}, {}
        for name, item in items.items():
            a, b = (side.get(name, "") for side in sides)
            if a and b and a != b:
                open_[name] = both_orders(Question(item.rubric, item.prompt, item.shown, ""), a, b)
            else:
                scores[name] = 0.5 if a == b else float(bool(a))
        judging.ask()
        found = {name: better(keys) for name, keys in open_.items()}
        scores |= {name: {"first": 1.0, "tie": 0.5, "second": 0.0}[one] for name, one in found.items() if one}
        # sensitivity is of the pairs whose right answer is the first, specificity of the others
        accuracy = judge_accuracy(
            (n % 2 == 1, None if (way := better(keys)) is None else way == "first" if n % 2 else way != "second")
            for n, keys in enumerate(of_control)
        )
        facts = judging.facts(accuracy, known, given=control is not None)
        same = [{one.verdict for key in open_[name] if (one := judging.verdict(key))} != {"tie"}
                for name, tie in found.items() if tie == "tie"]  # fmt: skip
    counts, by_item = Counter(scores.values()), defaultdict[str, list[float]](list)
    own = items_of(scores)
    for name, score in scores.items():
        by_item[own[name]].append(score)
    return facts | shared[0].named() | {
        "at": shared[0].at,
        "runs": [run.manifest.run_id for run in (first, second)],
        "candidates": [run.manifest.model or "" for run in (first, second)],
        "wins": counts[1.0], "ties": counts[0.5], "losses": counts[0.0], "contradictions": sum(same),
        "rows": len(items), "not_judged": len(items) - len(scores),
        "win_rate": asdict(mean_interval(np.array([np.mean(each) for each in by_item.values()]))),
    }  # fmt: skip


def _control(items: Iterable[Item], path: Path | None, *, in_pairs: bool = False) -> list[Control]:
    """Answers with known verdicts; in_pairs: a right and a wrong one to each of 20 prompts. Raises InputError."""
    items = list(items)
    known = control_of(items, SCORERS) if path is None else _control_in(path, items)
    if in_pairs:
        of = [{one.question.prompt: one for one in known if one.right is right} for right in (True, False)]
        known = [side[prompt] for prompt in of[0] if prompt in of[1] for side in of]
    n_right, least = sum(one.right for one in known), LEAST_CONTROL * (1 + in_pairs)
    if len(known) < least or not 0 < n_right < len(known):
        raise InputError(
            "no judged run without a control: answers whose right verdict is known",
            given=f"{n_right} right and {len(known) - n_right} wrong answers"
            + (", made from the references of the request set" if path is None else ""),
            expected=f"at least {least} together" + (", a right and a wrong one to each prompt" if in_pairs else ""),
            hint='--judge-control FILE: JSON lines such as {"prompt": "2+2?", "answer": "5", "verdict": "wrong"}',
        )
    return known


def _control_in(path: Path, items: Sequence[Item]) -> list[Control]:
    """JSON lines with prompt, answer, verdict, and reference if the judge is to see one."""
    by_prompt, rubrics, known = {item.prompt: item for item in items}, {item.rubric for item in items}, []
    for number, line in enumerate(read_text(path, "the control").split("\n"), 1):
        if line.strip():
            try:
                tree = read_json(line) if line.lstrip()[:1] == "{" else {}
                texts = [str(tree.get(name) or "") for name in ("prompt", "answer", "verdict")]
                if not all(texts) or texts[2] not in ("right", "wrong"):
                    raise ValueError('expected {"prompt": TEXT, "answer": TEXT, "verdict": "right" or "wrong"}')
                item = by_prompt.get(texts[0])
                if item is None and len(rubrics) > 1:
                    raise ValueError("the prompt is not of the request set, whose prompts have several rubrics")
                item = item or items[0]._replace(prompt=texts[0], reference=None)
                shown = item._replace(reference=tree.get("reference", item.reference)).shown
            except ValueError as error:
                what = "a line of the control cannot be used"
                raise InputError(what, where=f"{path}:{number}", given=str(error)) from None
            known.append(Control(Question(item.rubric, item.prompt, shown, texts[1]), texts[2] == "right", "given"))
    return known


def read_rubric(path: Path) -> Rubric:
    """A rubric from a file: its text, right or wrong; or TOML with rubric, scale and pass. Raises InputError."""
    text = read_text(path, "the rubric")
    try:
        return rubric_of(read_toml(text) if path.suffix == ".toml" else {"rubric": text})
    except ValueError as error:
        raise InputError("the rubric cannot be used", where=str(path), given=str(error)) from None
