"""Letters are read as the specification says, and never guessed: known answers, properties, and linear time."""

from __future__ import annotations

import json
import string
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.quality.choice import check_choice, check_choices, choice, choices, read_labels
from benchsuite.quality.score import SCORERS

DATA = Path(__file__).parents[1] / "data"


def tally(rows):
    """How many rows are read right, wrong, missed and invented, and the ones that are not right."""
    counts, others = Counter(right=0, wrong=0, missed=0, invented=0), []
    for row in rows:
        truth = "".join(sorted(row["truth"] or ""))
        labels = string.ascii_uppercase[: row["options"]]
        reading, how = read_labels(row["answer"], labels, row["multiple"], row.get("prompt", ""))
        kind = "right" if reading == truth else "missed" if not reading else "wrong" if truth else "invented"
        counts[kind] += 1
        if kind != "right":
            others.append((kind, row["answer"], truth, reading, how))
    return dict(counts), others


def rows_of(name):
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("name", "right", "missed"),
    [
        ("letters.jsonl", 102, 0),
        ("letters_tuned.jsonl", 1409, 12),  # what the rules were made with
        ("letters_second.jsonl", 120, 4),
        ("letters_third.jsonl", 98, 4),
        ("letters_fourth.jsonl", 77, 1),
        ("letters_fifth.jsonl", 50, 4),
        ("letters_sixth.jsonl", 67, 3),  # never tuned on
        ("letters_review.jsonl", 519, 84),  # of a reviewer, to be hard; 375 of the 603 state something
    ],
)
def test_of_labelled_answers_no_letter_is_wrong_or_invented(name, right, missed):
    """Answers with their truths; no more are missed than the rules miss today."""
    counts, others = tally(rows_of(name))
    assert (counts["wrong"], counts["invented"]) == (0, 0), others
    assert counts["missed"] <= missed, others
    assert sum(counts.values()) == right + missed


@pytest.mark.parametrize(
    ("answer", "reading", "how"),
    [
        ("(B)", "B", "bare"),
        ("Ｂ．", "B", "bare"),
        ('```json\n{"reason": "A is correct", "答案": "B"}\n```', "B", "bare"),
        ('{"answer": "B. Metformin", "why": "Answer: A"}', "B", "bare"),
        ('{"answer": "Metformin", "why": "Answer: A"}', "", "unread"),
        ("The answer is A. Hmm, actually the answer is B.", "B", "stated"),
        ("The answer is A. Wait, that's wrong.", "", "unread"),
        ("Thus $\\boxed{\\text{B}}$", "B", "stated"),
        ("A不对，C也不对，所以是B", "B", "stated"),
        ("答案：B\n解析：A项正确，C项正确。", "B", "stated"),
        ("B) Metformin\n\nIt is first line.", "B", "leading"),
        ("B. Metformin\nC. Insulin", "", "unread"),
        ("It lowers glucose.\n\nB", "B", "last_line"),
        ("Both are possible, but the first is unlikely. B", "B", "last_line"),
        ("除了A都对", "", "unread"),
        ("选A或者选C", "", "unread"),
        ("Answer: A, C", "", "unread"),
        ("My answer: E", "", "unread"),
        ("The answer is A. My final answer: E", "", "unread"),
        ("The most likely diagnosis is hepatitis B.", "", "unread"),
        ("The answer is C reactive protein.", "", "unread"),
        ("Select the right answer: A. x B. y C. z D. w", "", "unread"),
        ("As an AI language model, I cannot answer.", "", "refused"),
        ("无法回答。", "", "refused"),
        ("As an AI I am no doctor, but the answer is B.", "B", "stated"),
        ("", "", "empty"),
        ("<think>The answer is A", "", "cut_thinking"),
        ("the answer is A</think>B", "B", "bare"),
        ("Answer: B\n\nQuestion: what else?\nAnswer: C", "B", "stated"),
    ],
)
def test_tiers_and_reasons(answer, reading, how):
    """Options A to D; `how` names the tier, or why there is no reading."""
    assert read_labels(answer, "ABCD", False) == (reading, how)


@pytest.mark.parametrize(
    ("answer", "reading"),
    [
        ("A, C and D", "ACD"),
        ("A, C, and D", "ACD"),
        ("ACD", "ACD"),
        ("D、C、A", "ACD"),
        ('["A", "C", "D"]', "ACD"),
        ("- A\n- C\n- D", "ACD"),
        ("The correct options are:\n1. A\n2. C\n3. D", "ACD"),
        ("答案：A.高血压、C.糖尿病、D.肥胖", "ACD"),
        ("Answer: A, B\nWait, B is wrong.\nAnswer: A, C, D", "ACD"),
        ("A对，B错，C对，D对，E错", "ACD"),
        ("The answers are A and C; B, D and E are wrong.", "AC"),
        ("Answer: A", "A"),
        ("None of the above", ""),
        ("ANSWER: None of the above", ""),
        ("All except B", ""),
        ("A or C", ""),
        ("Answer: ACE inhibitors", ""),
        ("Select all that apply: A. x B. y C. z D. w E. v", ""),
    ],
)
def test_several_letters(answer, reading):
    """`choices` with options A to E."""
    assert read_labels(answer, "ABCDE", True)[0] == reading


def test_scores():
    """Equality of letters or sets; jaccard is shared over all; what is unread has 0, never None."""
    assert choice("Answer: C", "C", {}, "").score == 1
    assert choice("Answer: B", "C", {}, "").score == 0
    assert (choice("?", "C", {}, "").score, choice("?", "C", {}, "").reading) == (0, "")
    assert choice("Answer: F", "F", {"labels": 10}, "").score == 1
    assert choices("Answer: D, C, A", ["A", "C", "D"], {}, "").score == 1
    assert choices("Answer: A, C", "ACD", {}, "").score == 0
    assert choices("Answer: A, B, C", "A,C,D", {"partial": "jaccard"}, "").score == 0.5
    assert choices("?", "ACD", {"partial": "jaccard"}, "").score == 0


def test_a_question_after_what_is_wrong_makes_nothing_of_a_true_statement():
    """ "B is correct" is then no answer; an answer that is stated stays one."""
    assert choice("B is correct.", "B", {}, "Which one helps?").score == 1
    assert choice("B is correct.", "B", {}, "All of these help EXCEPT").reading == ""
    assert choice("B is correct. The answer is C.", "C", {}, "下列说法错误的是").score == 1


@pytest.mark.parametrize(
    ("check", "reference", "options", "words"),
    [
        (check_choice, "F", {}, "'F'; expected one of the labels ABCDE"),
        (check_choice, 3, {}, "3; expected one of"),
        (check_choice, "C", {"labels": 1}, "labels is 1; expected"),
        (check_choice, "C", {"labels": "AA"}, "labels is 'AA'; expected"),
        (check_choice, "C", {"partial": "jaccard"}, "unknown option 'partial'; expected labels"),
        (check_choices, "", {}, "expected labels of ABCDE"),
        (check_choices, ["A", "A"], {}, "expected labels of ABCDE"),
        (check_choices, None, {}, "expected labels of ABCDE"),
        (check_choices, "AC", {"partial": True}, "partial is True"),
    ],
)
def test_what_a_scorer_cannot_use_is_refused_in_words(check, reference, options, words):
    """Where the request set is read."""
    with pytest.raises(ValueError, match="expected") as error:
        check(reference, options)
    assert words in str(error.value)


def test_both_are_scorers():
    """With their checks, which take what is right."""
    SCORERS["choice"].check("j", {"labels": 10})
    SCORERS["choices"].check("A、C", {"labels": "ABCD", "partial": "jaccard"})


OPENERS = [
    "", "The answer is ", "**Final answer:** ", "I would choose ", "Therefore, ", "So it is ",
    "The best option is ", "Not A but ", "答案：", "故选", "After A and B are ruled out, the answer is ",
    "Although A is common, I choose ", "{\"answer\": ", "Vitamin C helps. Answer: ", "综上所述，本题选",
    "我认为是", "不是A，而是", "正确答案为",
]  # fmt: skip
MARKS = [
    "{}", "({})", "**{}**", "${}$", "\\boxed{{{}}}", "\"{}\"", "【{}】", "{}.", "{})", "{}、", "option", "{}",
    "选项{}", "{}项", "[{}]",
]  # fmt: skip
ENDS = [
    "", ".", "。", " because A is wrong.", ", not A.", " Metformin", "\n\nA is contraindicated.",
    "，因为A不对。", "}", " is correct.", "正确。", " cell", "型", " or A", "或A", "\nA. x\nB. y", "?",
    "，而不是A", " and A", ". coli", " if A fails",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.sampled_from("BCDEHJ"), st.sampled_from(OPENERS), st.sampled_from(MARKS), st.sampled_from(ENDS))
def test_a_label_is_read_as_itself_or_not_at_all(label, opener, mark, end):
    """However it is put; the other letters stand where they are denied, explained or left open."""
    reading, how = read_labels(opener + mark.format(label) + end, "ABCDEFGHIJ", False)
    assert reading in (label, ""), how


WORDS = [
    "the patient has", "vitamin C", "deficiency", "hepatitis B", "type A influenza", "group B streptococci",
    "a CT", "scan", "plan", "5 mg", "I am", "fever", "and", "cough", "维生素C", "乙肝", "患者", "发热", "检查",
    "B超", ",", ".", ";", "(", ")", "grade C", "stage I", "E. coli", "D-dimer", "HBV", "A patient", "in",
    "point A to point B", "B",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=3, max_size=30))
def test_text_without_a_statement_has_no_reading_but_of_its_ends(words):
    """No cue, no judgement: only an answer that begins with a label, or whose last sentence is one, can be read."""
    _, how = read_labels(" ".join(words), "ABCDEFGHIJ", False)
    assert how in ("unread", "refused", "bare", "leading", "last_line")


@given(st.text(max_size=200), st.booleans())
def test_any_text_is_taken(text, several):
    """Whatever a model writes."""
    reading, _ = read_labels(text, "ABCD", several)
    assert set(reading) <= set("ABCD")


SHAPES = [
    "A or B ", "A and B, ", "answer ", "Answer: A ", "(", " ", "\n", "A. x\n", "A", "\\boxed{", "\\text{",
    "<a ", "best the ", "so ", "I would ", "选", "答案是", "A、", "A,", "**", "[{", "1. ", "~~a", "—", "wait ",
    "Answer: A\nWait ", "A is ", "A. Foo is ", "B. ii", "correct (", "x (A) ", "\nQ1:", "answer to a ",
    "最佳的", "<think>", "'a", "A. Foo B", "(A) ",
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_time_grows_as_the_answer_does(shape, several):
    """100 kB take about eight times what 12.5 kB take; a pattern that looks back would take 64 times."""

    def seconds(size):
        text = (shape * (size // len(shape) + 1))[:size]
        times = []
        for _ in range(3):
            start = time.process_time()
            read_labels(text, "ABCDE", several)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(100_000) < 24 * max(seconds(12_500), 1e-3)
