"""Corrections of a text: the specification's known answers, lists of corrections, what holds of edits always."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.quality.correction import MOST_UNITS, apply_edits, edits_of, f_half
from benchsuite.quality.normalise import answer_of
from benchsuite.quality.score import SCORERS

SOURCE = "患着男，64岁，即往心房颤动8年，头颅CT未见出血"
RIGHT = "患者男，64岁，既往心房颤动8年，头颅CT未见出血"
REWRITTEN = "病人为男性，64岁，有心房颤动病史8年，头部CT没有出血"


def scored(answer, reference=RIGHT, source=SOURCE, **options):
    options = {"source": source, **options}
    SCORERS["correction"].check(reference, options)
    return SCORERS["correction"].score(answer_of(answer)[0], reference, options, "")


def test_edits_of_the_specification():
    """(1, 2, 者) and (8, 9, 既): places are characters, also after a number, which is one unit."""
    assert edits_of(SOURCE, RIGHT) == [(1, 2, "者"), (8, 9, "既")]


@pytest.mark.parametrize(("answer", "counts", "figures"), [
    (RIGHT, (2, 0, 0), (1, 1, 1)), (SOURCE, (0, 0, 2), (1, 0, 0)), ("患者" + SOURCE[2:], (1, 0, 1), (1, 0.5, 0.8333)),
    (RIGHT.replace("头颅", "头部"), (2, 1, 0), (0.6667, 1, 0.7143)), (REWRITTEN, (0, 6, 2), (0, 0, 0)),
    ("修改后：" + RIGHT, (2, 1, 0), (0.6667, 1, 0.7143)), ("", (0, 1, 2), (0, 0, 0)),
])  # fmt: skip
def test_known_answers(answer, counts, figures):
    """Perfect, untouched, one of two, one spoilt, rewritten, with a preamble, empty: counts, and P, R, F0.5 of them."""
    found = scored(answer)
    assert (found.parts["tp"], found.parts["fp"], found.parts["fn"]) == counts
    assert [round(figure, 4) for figure in f_half(*counts)] == list(figures)
    assert found.score == f_half(*counts)[2]


def test_nothing_to_correct():
    """A right source left alone is 1, touched it is 0; a scenario's figure is of the sums, not the mean of items."""
    assert scored(RIGHT, source=RIGHT).score == 1
    assert scored(RIGHT + "。", source=RIGHT).score == 0
    assert f_half(0, 0, 0) == (1, 1, 1)
    assert f_half(2 + 0, 0 + 6, 0 + 2)[2] == pytest.approx(1.25 * 0.25 * 0.5 / (0.25 * 0.25 + 0.5))


@pytest.mark.parametrize(("answer", "source", "detection", "position", "rewrite"), [
    (RIGHT, SOURCE, "tp", (2, 0, 0), False), (SOURCE, SOURCE, "fn", (0, 0, 2), False),
    (RIGHT.replace("患者", "患儿"), SOURCE, "tp", (2, 0, 0), False), (RIGHT, RIGHT, "tn", (0, 0, 0), False),
    (RIGHT + "。", RIGHT, "fp", (0, 1, 0), False), ("完全不同的另一段话", SOURCE, "tp", (0, 1, 2), True),
])  # fmt: skip
def test_detection_position_and_rewriting(answer, source, detection, position, rewrite):
    """In the manner of CGED: is something wrong, where; and a text of other words is called rewritten."""
    parts = scored(answer, source=source).parts
    assert (parts["detection"], parts["rewrite"]) == (detection, rewrite)
    assert (parts["position_tp"], parts["position_fp"], parts["position_fn"]) == position


def test_a_rewrite_is_more_than_two_fifths():
    """Two of five units are none yet, three are; a word or a number is one unit."""
    assert not scored("gamma 2 x", reference="alpha 1 x", source="alpha 1 x").parts["rewrite"]
    assert not scored("子丑丙丁戊", "甲乙丙丁戊", "甲乙丙丁戊").parts["rewrite"]
    assert scored("子丑寅丁戊", "甲乙丙丁戊", "甲乙丙丁戊").parts["rewrite"]


@pytest.mark.parametrize(("answer", "counts", "how"), [
    ("着->者，即->既", (2, 0, 0), "list"), ("改正：着->者", (1, 0, 1), "list"),
    ("患着→患者；既往→x", (1, 1, 1), "list"),
    ("1. “着”应为“者”\n2. “即往”改为“既往”", (2, 0, 0), "list"), ("将着改为者", (1, 0, 1), "list"),
    ("- 着 => 者 (错别字)", (1, 0, 1), "list"), ("没有错误", (0, 0, 2), "nothing"), ("好的。", (0, 0, 2), "unread"),
])  # fmt: skip
def test_a_list_of_corrections(answer, counts, how):
    """With form = "list" pairs are made in the source; one that is not in it is a wrong edit."""
    found = scored(answer, form="list")
    assert (found.parts["tp"], found.parts["fp"], found.parts["fn"], found.how) == (*counts, how)
    assert scored(answer).score == 0


def test_a_list_says_that_nothing_is_wrong():
    """Then a right source scores 1; an answer that says neither is unread, and scores 0."""
    assert scored("没有错误", source=RIGHT, form="list").score == 1
    assert scored("There are no spelling errors.", source=RIGHT, form="list").score == 1
    assert scored("好的。", source=RIGHT, form="list").score == 0


def test_corrections_come_in_the_order_of_the_text():
    """The second correction of the same word is of its next place."""
    found = scored("的->地，的->得", reference="慢慢地走得快", source="慢慢的走的快", form="list")
    assert found.score == 1


def test_the_prompt_is_the_source():
    """Without the option it is the prompt's own text; a prompt without one cannot be judged."""
    score = SCORERS["correction"].score
    assert score(answer_of(RIGHT)[0], RIGHT, {}, SOURCE).score == 1
    assert (score("a", "b", {}, "").score, score("a", "b", {}, "").how) == (None, "no_source")
    assert score("a", "b", {}, "字" * (MOST_UNITS + 1)).how == "source_too_long"


def test_the_same_correction_is_the_same_edit():
    """Of two equal characters the first is the one too many, whatever else is corrected."""
    assert edits_of("很多病人人来了", "很多病人来了") == [(3, 4, "")]
    assert edits_of("很多病人人来乐", "很多病人来了") == [(3, 4, ""), (6, 7, "了")]
    assert edits_of("hen多病人人来了", "很多病人来了") == [(0, 3, "很"), (5, 6, "")]


def test_a_long_answer_is_cut_for_the_comparison():
    """What is beyond the bound is one insertion, so the edits still make the answer."""
    answer = "字" * (MOST_UNITS + 5)
    edits = edits_of("字字", answer)
    assert apply_edits("字字", edits) == answer
    assert len(edits) == 1


@pytest.mark.parametrize(("reference", "options", "words"), [
    (5, {}, "reference is 5; expected a text"), ("", {}, "0 words"), ("a", {"source": ""}, "source has 0 words"),
    ("a", {"source": 5}, "source is 5; expected a text"), ("a", {"form": "table"}, 'expected "text" or "list"'),
    ("a", {"sorce": "b"}, "did you mean 'source'?"), ("字" * (MOST_UNITS + 1), {}, "20,001 words"),
])  # fmt: skip
def test_what_is_refused(reference, options, words):
    """A reference or an option that cannot be used is said in words."""
    with pytest.raises(ValueError, match=re.escape(words)):
        SCORERS["correction"].check(reference, options)


TEXTS = st.text(st.sampled_from("病人的地ab 12,。"), max_size=25)


@given(source=TEXTS, text=TEXTS)
def test_edits_make_the_text(source, text):
    """Edits are in order, none overlaps or touches another, and made in the source they give the text."""
    edits = edits_of(source, text)
    assert apply_edits(source, edits) == text
    assert all(one[1] < other[0] for one, other in itertools.pairwise(edits))
    assert all(source[start:end] != replacement for start, end, replacement in edits)


@given(source=TEXTS.filter(str.strip), text=TEXTS.filter(str.strip), answer=TEXTS)
def test_scores(source, text, answer):
    """The reference itself scores 1, anything from 0 to 1; true edits and missed ones are the reference's."""
    assert scored(text, text, source).score == 1
    found = scored(answer, text, source)
    assert 0 <= found.score <= 1
    assert found.parts["tp"] + found.parts["fn"] == len(edits_of(answer_of(source)[0], answer_of(text)[0]))
