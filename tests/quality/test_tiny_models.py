"""The exam of benchmarks/tiny_models: its references are right, and none of its items is trained on."""

import itertools
import re

import pytest

from benchmarks.tiny_models import SCENARIOS, conversation, exam, tokenizer, training_rows


def solved(text: str) -> int:
    """The right value of a question, worked out from its words alone."""
    question, *lines = text.splitlines()
    values = sorted(int(line[3:]) for line in lines)
    if sum_ := re.fullmatch(r"What is ([-+ \d]+)\?", question):
        return sum(int(term) for term in sum_[1].replace("- ", "-").replace("+ ", "+").split())
    if letters := re.fullmatch(r"How many (\w) are in ([a-e ]+)\?", question):
        return len(re.findall(rf"\b{letters[1]}\b", letters[2]))
    if named := re.fullmatch(r"Which option is (\d+)\?", question):
        return int(named[1])
    return {"Which is the largest?": values[-1], "Which is the second smallest?": values[1]}[question]


@pytest.mark.parametrize("rows", [exam(), list(itertools.islice(training_rows(), 600))], ids=["exam", "training"])
def test_letter_is_that_of_the_right_value(rows):
    """Of every item exactly one option has the value that the question asks for, and the reference is its letter."""
    for one in rows:
        text = one["messages"][0]["content"]
        options = {line[0]: int(line[3:]) for line in text.splitlines()[1:]}
        right = [label for label, value in options.items() if value == solved(text)]
        assert right == [one["reference"]], text
        assert one["answer"] == f"{solved(text)}. Answer: {one['reference']}"


def test_exam_is_held_out():
    """300 items, 50 a scenario, no two alike; no training item has the text, the sum or the letters of one."""
    rows = exam()
    texts = {one["messages"][0]["content"] for one in rows}
    assert len(texts) == len({one["id"] for one in rows}) == 300
    assert [[one["scenario"] for one in rows].count(name) for name in SCENARIOS] == [50] * 6
    heads = {text.partition("\n")[0] for text in texts if text[:4] in ("What", "How ")}
    for one in itertools.islice(training_rows(), 5000):
        text = one["messages"][0]["content"]
        assert text not in texts
        assert text.partition("\n")[0] not in heads


def test_digits_stay_apart():
    """Every digit is a token: no number is one that the model must have met."""
    words = tokenizer()
    for one in exam():
        head, _ = conversation(one)
        tokens = words.encode(head).tokens
        assert [token for token in tokens if token.isdigit()] == re.findall(r"\d", head)
