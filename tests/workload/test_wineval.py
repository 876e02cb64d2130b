"""The generated clinical request set."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
from jsonschema import Draft202012Validator

from benchsuite.workload.dataset import Prompt, Workload, describe, scorer_of, to_jsonl
from benchsuite.workload.formats import parse_workload
from benchsuite.workload.wineval import CHINESE, ENGLISH, NUMBERS, SCENARIOS, Language, make_wineval


@pytest.fixture(scope="module")
def whole() -> Workload:
    """The set of the paper's size."""
    return make_wineval()


def user(prompt: Prompt) -> str:
    """What the user says."""
    assert prompt.messages is not None
    return prompt.messages[1]["content"]


def test_size_and_lengths_of_the_paper(whole: Workload) -> None:
    """2,993 requests, about 450 input tokens and 203 tokens of output cap on average, and a long tail."""
    total = describe(whole)[-1]

    assert total.n == 2993
    assert total.input_tokens.mean == pytest.approx(450, abs=5)
    assert total.max_output_tokens.mean == pytest.approx(203, abs=5)
    assert total.input_tokens.p95 == pytest.approx(1117, abs=30)
    assert total.input_tokens.max == pytest.approx(3072, abs=40)
    assert total.max_output_tokens.max == 1024


@pytest.mark.parametrize("seed", [1, 2])
def test_lengths_for_any_seed(seed: int) -> None:
    """Another seed gives another set with the same lengths on average."""
    total = describe(make_wineval(1000, seed))[-1]

    assert total.input_tokens.mean == pytest.approx(450, rel=0.04)
    assert total.max_output_tokens.mean == pytest.approx(203, rel=0.04)


def test_shares(whole: Workload) -> None:
    """Each scenario is a tenth of the set, and 30 % of it is English."""
    assert {row.n for row in describe(whole)[:-1]} == {299, 300}
    for row in describe(whole):
        assert row.language_share == {"zh": pytest.approx(0.7, abs=0.004), "en": pytest.approx(0.3, abs=0.004)}


@pytest.mark.parametrize("requests", [1, 7, 10, 64])
def test_small_sets_are_balanced(requests: int) -> None:
    """In a set of any size no scenario has two requests more than another."""
    workload = make_wineval(requests)

    counts = Counter(prompt.scenario for prompt in workload.prompts)
    assert len(workload.prompts) == requests
    assert max(counts.values()) - min(counts[name] for name in SCENARIOS) <= 1


def test_prompts_differ_early(whole: Workload) -> None:
    """No two requests have one id, and no two start alike beyond the system message: prefix caches find nothing."""
    texts = sorted(user(prompt) for prompt in whole.prompts)

    assert len({prompt.prompt_id for prompt in whole.prompts}) == 2993
    assert not [a for a, b in pairwise(texts) if a[:40] == b[:40]]


def test_deterministic() -> None:
    """The same arguments give the same bytes on every machine; another seed gives others."""
    assert make_wineval().content_hash == "1f4dffce23eaf0ecef785d1d8daef1e564d33b0d189f1d979eeda058d1d4278b"
    assert make_wineval(64, seed=1).content_hash != make_wineval(64).content_hash


@pytest.mark.parametrize(
    ("requests", "seed", "sha256"),
    [
        (2993, 0, "200ca5b7115ab28f4f6d24216e83eed085e440f5017711759168c933d623dafe"),
        (2993, 5, "519f3c623d00edf76238f7ecb37899b45320af006b419ea4b9c2f851065adf53"),
        (64, 0, "b4c99f3a654cf81c2310f028ed5fb602716bdff4e49be02722df18b1d59b1c9b"),
        (64, 1, "609d6010be050c142f59a3c9f39e057319ad42a9c9d0e60d0532e86ebc15615e"),
        (7, 3, "175c0ae0aa195d072ab8aad10a24cd9ef36c323e4e1df936d6a6b978de686040"),
        (1000, 2**40, "18c9dcf581825a08f5c6bdb0e3c8477917911df88cacde2dc1193a378e99d787"),
    ],
)
def test_what_is_sent(requests: int, seed: int, sha256: str) -> None:
    """The prompts are byte for byte those that were made before they had more truths: one draw more would move all."""
    digest = hashlib.sha256()
    for p in make_wineval(requests, seed).prompts:
        parts = [p.prompt_id, p.scenario, p.messages, p.max_output_tokens, p.tags]
        digest.update(json.dumps(parts, ensure_ascii=False).encode())
    assert digest.hexdigest() == sha256


def test_choices_have_their_answer(whole: Workload) -> None:
    """Exams and triage offer five different options with one reference letter."""
    diseases = {d.name: d for language in (CHINESE, ENGLISH) for d in language.diseases}
    letters: Counter[str] = Counter()
    for prompt in whole.prompts:
        if prompt.scenario not in ("licensing_exam", "triage"):
            continue
        options = dict(re.findall(r"^([A-E])\. (.+)$", user(prompt), re.M))
        assert len(set(options.values())) == 5
        assert prompt.reference is not None
        answer = options[prompt.reference]
        right = [d for d in diseases.values() if answer in (d.name, d.department)]
        assert any(d.complaint in user(prompt) for d in right)
        assert prompt.scorer == "choice"
        letters[prompt.reference] += 1
    assert all(count == pytest.approx(598 / 5, rel=0.25) for count in letters.values())


def test_truths(whole: Workload) -> None:
    """Six scenarios are scored by what was drawn; it is in the text that is sent, or another name of what is there."""
    scored: Counter[tuple[str | None, str | None]] = Counter()
    diseases, misspelt = {d.name: d for language in (CHINESE, ENGLISH) for d in language.diseases}, 0
    for prompt in whole.prompts:
        name, options = scorer_of(prompt)
        scored[prompt.scenario, name] += 1
        text, reference = user(prompt), prompt.reference
        match prompt.scenario:
            case "text_correction":
                assert text.startswith(options["source"] + "\n")
                misspelt += options["source"] != reference
            case "clinical_diagnosis":
                ((disease, *_),) = reference
                assert diseases[disease].complaint in text
            case "record_quality_control":
                assert 1 <= len(reference) <= 2
            case "information_extraction":
                Draft202012Validator.check_schema(reference["schema"])
                fields = reference["reference"]
                assert list(reference["schema"]["required"])[:3] == ["age", "sex", "complaint"]
                assert all(str(fields[key]) in text for key in ("age", "sex", "complaint"))
                assert isinstance(fields["age"], int)
    assert {key for key in scored if key[1]} == {
        ("licensing_exam", "choice"), ("triage", "choice"), ("text_correction", "correction"),
        ("clinical_diagnosis", "contains"), ("record_quality_control", "contains"), ("information_extraction", "json"),
    }  # fmt: skip
    assert misspelt > 0.98 * scored["text_correction", "correction"]
    assert whole.references_hash is not None


def test_a_correction_is_known() -> None:
    """The first request of the set: two of its words are misspelt here, and the reference has them right."""
    first = make_wineval(64).prompts[0]
    source = scorer_of(first)[1]["source"]

    assert source.startswith("（2025-11-20，周敏）患着男，64岁，右侧肢体无力伴言语不清。")
    assert first.reference.startswith("（2025-11-20，周敏）患者男，64岁，右侧肢体无力伴言语不清。")
    assert "即往心房颤动8年" in source
    assert "既往心房颤动8年" in first.reference


def test_planted_defects(whole: Workload) -> None:
    """A reference of quality control has words for each defect that is in the record, and for no other."""
    for prompt in whole.prompts:
        if prompt.scenario == "record_quality_control":
            language = ENGLISH if "en" in prompt.tags else CHINESE
            planted = [
                list(words)
                for line, words in zip(language.lines["defects"], language.defect_words, strict=True)
                if re.search(re.sub(r"\\\{\w+\\\}", ".+?", re.escape(line)), user(prompt))
            ]
            assert sorted(prompt.reference) == sorted(planted)


def test_it_is_no_exam_of_medicine() -> None:
    """The set says what it is, and so does a file of it; another set says nothing of the kind."""
    note = "a generated load with checkable answers, no exam of medicine"

    assert make_wineval(3).note == note
    assert parse_workload("\n".join(to_jsonl(make_wineval(3).prompts)), where="set.jsonl").note == note
    assert parse_workload("hello", where="set.txt").note is None


def test_no_field_is_left(whole: Workload) -> None:
    """No template field is left unfilled."""
    assert not [user(prompt) for prompt in whole.prompts if "{" in user(prompt) or "}" in user(prompt)]


@pytest.mark.parametrize("language", [CHINESE, ENGLISH])
def test_language_is_complete(language: Language) -> None:
    """Each language has all ten tasks, every field that it uses and no word that it does not use."""
    templates = [line for lines in language.lines.values() for line in lines]
    templates += [finding for disease in language.diseases for finding in disease.findings]
    templates += [opening for task in language.tasks.values() for opening in task.opening]
    fields = set(re.findall(r"\{(\w+)\}", " ".join(templates)))

    assert len(SCENARIOS) == 10
    assert list(language.tasks) == list(SCENARIOS)
    assert {kind for scenario in SCENARIOS.values() for kind in scenario.kinds + scenario.later} <= set(language.lines)
    assert fields <= {*language.words, *NUMBERS, "sex", "age", "complaint", "date", "clock"}
    assert set(language.words) <= fields
    assert len(language.defect_words) == len(language.lines["defects"])


def test_imports_are_light() -> None:
    """Making a workload needs neither pandas, pyarrow nor scipy."""
    code = (
        "import sys, benchsuite.workload.wineval, benchsuite.workload.dataset, benchsuite.input_files;"
        "print(sorted({'pandas', 'pyarrow', 'scipy', 'asyncio', 'click'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
