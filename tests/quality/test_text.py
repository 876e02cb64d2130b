"""exact, contains, numeric, token_f1, rouge_l: known answers of both languages, what is refused, what holds always."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchsuite.quality.normalise import answer_of
from benchsuite.quality.score import SCORERS
from benchsuite.quality.text import MOST_CHARS, MOST_TOKENS


def scored(name, answer, reference, **options):
    """The score of a model's text, after the check has let reference and options pass."""
    SCORERS[name].check(reference, options)
    return SCORERS[name].score(answer_of(answer)[0], reference, options, "")


@pytest.mark.parametrize(("answer", "reference", "right"), [
    ("Paris.", "paris", True), ("**Paris**", ["London", "PARIS"], True), ("（甲）。", "甲", True),
    ("Ｐａｒｉｓ", "paris", True), ("“OK”!", "ok", True), ("straße", "STRASSE", True),
    ("Paris, France", "Paris", False),
    ("-5", "5", False), ("5%", "5", False), ("C#", "C", False), (".5", "5", False), ("!", "?", False),
    ("", "x", False),
])  # fmt: skip
def test_exact(answer, reference, right):
    """Case, width and punctuation around the text do not matter; a sign, a point, a percent do."""
    assert scored("exact", answer, reference).score == right


@pytest.mark.parametrize(("answer", "items", "share"), [
    ("诊断：社区获得性肺炎", ["肺炎"], 1), ("肺炎", ["肺炎", "肺结核"], 0.5), ("头痛", ["肺炎"], 0),
    ("I suspect a heart  attack", [["STEMI", "myocardial infarction", "heart attack"]], 1),
    # a word is whole in scripts with spaces, a part in CJK; an abbreviation is in capitals
    ("bronchopneumonia", ["pneumonia"], 0), ("做CT检查", ["CT"], 1), ("12型糖尿病", ["2型糖尿病"], 0),
    ("维生素B12", ["维生素B"], 0), ("a cap of 5", ["CAP"], 0), ("PNEUMONIA", ["pneumonia"], 1),
    # negated, in six characters or three words
    ("排除肺炎", ["肺炎"], 0), ("排除：肺炎", ["肺炎"], 0), ("无明显肺炎", ["肺炎"], 0),
    ("不考虑急性肺炎", ["肺炎"], 0),
    ("no pneumonia", ["pneumonia"], 0), ("it is not pneumonia", ["pneumonia"], 0),
    ("isn't pneumonia", ["pneumonia"], 0),
    ("rule out acute pneumonia", ["pneumonia"], 0), ("without any signs of pneumonia", ["pneumonia"], 0),
    ("无一二三四五六肺炎", ["肺炎"], 0), ("无一二三四五六七肺炎", ["肺炎"], 1),
    ("no one two three pneumonia", ["pneumonia"], 0), ("no one two three four pneumonia", ["pneumonia"], 1),
    ("neither TB nor pneumonia", ["TB", "pneumonia"], 0), ("CT不支持肺炎", ["肺炎"], 0), ("absence of TB", ["TB"], 0),
    # not negated: another clause, another place, a negation taken back
    ("No, it is pneumonia", ["pneumonia"], 1), ("排除肺炎，考虑肺结核", ["肺结核"], 1),
    ("无发热但有肺炎", ["肺炎"], 1),
    ("ruled out pneumonia at first. Diagnosis: pneumonia", ["pneumonia"], 1), ("无菌性脑膜炎", ["无菌性脑膜炎"], 1),
    ("不能排除肺炎", ["肺炎"], 1), ("无法排除肺炎", ["肺炎"], 1), ("cannot rule out pneumonia", ["pneumonia"], 1),
    ("can't be ruled out: pneumonia", ["pneumonia"], 1), ("无疑是肺炎", ["肺炎"], 1),
    ("not only pneumonia", ["pneumonia"], 1),
])  # fmt: skip
def test_contains(answer, items, share):
    """The share of items that stand in the answer and are not negated there."""
    assert scored("contains", answer, items).score == share


def test_contains_all():
    """With `all` a part of the items is nothing; the parts say what was found, and what was found only negated."""
    found = scored("contains", "肺炎，排除肺结核", ["肺炎", "肺结核"], all=True)
    assert (found.score, found.how, found.reading) == (0, "some", "肺炎")
    assert found.parts == {"items": 2, "found": 1, "negated": 1}
    assert scored("contains", "肺炎、肺结核", ["肺炎", "肺结核"], all=True).score == 1


@pytest.mark.parametrize(("answer", "value"), [
    # a cue
    ("The answer is 42.", 42), ("答案是４２。", 42), ("**Answer:** 42", 42), ("#### 42", 42), ("3 + 4 = 7", 7),
    ("3 × 4 = 12 mg，约为12", 12), ("The answer is 12 (out of 20).", 12), ("The answer to question 3 is 12.", 12),
    ("The answer for 70 kg should be 350 mg", 350), ("Answer is 5. Wait, the answer is 6.", 6),
    ("Answer:\n3*4=12\n12+5=17", 17), ("答案是12。验算：12×2=24", 12), ("答案不是5，而是6", 6),
    (r"so \boxed{42}", 42), (r"The answer is $\boxed{12{,}500}$.", 12500), (r"$x=-\frac{1}{2}$", -0.5),
    ("180 km ÷ 2.5 h = **72 km/h**", 72), ("面积为12×5=60（平方厘米）", 60), ("Answer: 42\n\n6*7=42, and 42/2=21", 42),
    ("180 / 2.5 = <<180/2.5=72>>72 km\n#### 72", 72), ("<answer>42</answer>", 42), ('{"answer": "42"}', 42),
    ("Answer: mean = 5", 5), ("答案\n\n42", 42), ("So the answer is \\(72\\).", 72),
    ("Let x be the answer. So x = 42.", 42),
    ("The answer is at least 42.", 42), ("至少42", 42), ("10^6", 1e6), ("area: 60cm^2", 60),
    # the only number
    ("It takes 42 days", 42), ("42 apples. 42!", 42), ("B12 and COVID-19: 3 of them", 3), ("第3天用5片", 5),
    ("12 ± 0.5", 12),
    # how numbers are written
    ("1,234.5", 1234.5), ("1'234", 1234), ("１２３", 123), ("1/2", 0.5), ("6.02e23", 6.02e23), ("6.02×10²³", 6.02e23),
    ("6.02 x 10^23", 6.02e23), (r"$6.02\times 10^{23}$", 6.02e23), ("5×10⁻⁵", 5e-5), ("2×10³ = 2000", 2000),
    ("约1.2万", 12000), ("1.2 million", 1.2e6), ("50%", 50), ("50％", 0.5), ("百分之50", 50), (".5", 0.5),
    # signs
    ("-5", -5), ("−5", -5), ("–5", -5), ("－5", -5), ("﹣5", -5), ("‑5", -5), ("答案为-5℃", -5), ("零下5度", -5),
    ("minus 5", -5),
    ("答案——5", 5), ("+5", 5),
])  # fmt: skip
def test_a_number_is_read(answer, value):
    """The number of the last statement, or the only one, in every way to write it."""
    found = scored("numeric", answer, value)
    assert (found.score, found.how in ("stated", "only")) == (1, True), found


@pytest.mark.parametrize("answer", [
    "", "none", "3-5", "3–5 mg", "3至5天", "3 to 5", "The answer is 3 to 5 mg", "Answer: 5 or 6",
    "Answer: 5 mg to 10 mg",
    "between 5 and 10", "There are 3 cats and 4 dogs", "The answer is not 5.", "不是5", "1,5", "0,500", "1,50,000",
    "1 234",
    ">5", "more than 5", "The answer is less than 5.", "超过5天", "3小时30分钟", "3 h 30 min", "x = 5 or x = -5",
    "42? No, 5.",
    "mean = 5 (n = 10)", "The probability is 0.25 (or 25%).", "Answer: between 4 and 5", "5th", "每次5mg，每日3次",
    "12:30", "2024-01-02", "v1.2.3", "1e999", "9" * 500, "2×100", "体重约70kg，剂量5mg", "Answer: 3 + 4",
    "x >= 5, y <= 6",
])  # fmt: skip
def test_no_number_is_guessed(answer):
    """Ranges, choices, sums, candidates without a cue, and what is written in two ways are not read."""
    found = scored("numeric", answer, 5)
    assert (found.score, found.reading, found.how) == (0, "", "unread")


@pytest.mark.parametrize(("answer", "unit", "value", "expected"), [
    ("5 mg", "mg", 5, 1), ("5mg", "mg", 5, 1), ("5", "mg", 5, 1), ("5 MG", "mg", 5, 1), ("**5** mg", "mg", 5, 1),
    ("5毫克", ["mg", "毫克"], 5, 1), ("5 because it is", "mg", 5, 1), ("5 mg / L", "mg/L", 5, 1), ("５μg", "µg", 5, 1),
    ("37.5 °C", "℃", 37.5, 1), ("3个月", "月", 3, 1), (r"$5 \text{ mg}$", "mg", 5, 1), ("¥5", "元", 5, 1),
    ("50%", "%", 50, 1), ("50 percent", "%", 50, 1), ("0.5", "%", 50, 0),
    ("5.2×10⁹/L", "×10⁹/L", 5.2, 1), ("5.2", "10^9/L", 5.2, 1), ("1.2万元", "万元", 1.2, 1),
    ("12000元", "万元", 1.2, 1),
    ("5 g", "mg", 5, "wrong_unit"), ("5毫升", "毫克", 5, "wrong_unit"), ("5 mg/L", "mg", 5, "wrong_unit"),
    ("5 MW", "mW", 5, "wrong_unit"), ("50%", "mg", 50, "wrong_unit"), ("$5", "元", 5, "wrong_unit"),
    ("99.5°F", "℃", 99.5, "wrong_unit"), ("5个月", "天", 5, "wrong_unit"),
])  # fmt: skip
def test_units(answer, unit, value, expected):
    """The unit may be left out, another one scores 0."""
    found = scored("numeric", answer, value, unit=unit)
    assert (found.how if isinstance(expected, str) else found.score) == expected
    if isinstance(expected, str):
        assert found.score == 0


def test_a_unit_can_be_required():
    """Then a bare number scores 0 and says why."""
    found = scored("numeric", "5", 5, unit="mg", unit_required=True)
    assert (found.score, found.how) == (0, "no_unit")
    assert scored("numeric", "5 mg", 5, unit="mg", unit_required=True).score == 1


@pytest.mark.parametrize(("answer", "value", "options", "right"), [
    ("3.15", 3.14, {"abs_tol": 0.01}, 1), ("3.16", 3.14, {"abs_tol": 0.01}, 0), ("101", 100, {"rel_tol": 0.01}, 1),
    ("101.1", 100, {"rel_tol": 0.01}, 0), ("-99", -100, {"rel_tol": 0.01}, 1), ("1000000001", 1000000000, {}, 0),
    ("0.3", 0.1 + 0.2, {}, 1), ("42", "42", {}, 1), ("1500", "1,500", {}, 1), ("-5", "−5", {}, 1),
])  # fmt: skip
def test_tolerances(answer, value, options, right):
    """The larger of the two tolerances counts; without one only what doubles cannot tell apart is equal."""
    assert scored("numeric", answer, value, **options).score == right


def test_a_long_answer_is_read_at_its_end():
    """A number is read in the last MOST_CHARS of an answer."""
    assert scored("numeric", "7 " * MOST_CHARS + "\nThe answer is 5.", 5).score == 1
    assert scored("numeric", "The answer is 5." + " x" * MOST_CHARS, 5).how == "unread"


@pytest.mark.parametrize(("name", "answer", "reference", "f1"), [
    ("token_f1", "the cat sat", "the cat ran", 2 / 3), ("token_f1", "cat the", "the cat", 1),
    ("token_f1", "a a b", "a b b", 2 / 3),
    ("token_f1", "肺炎", "肺结核", 2 / 5), ("token_f1", "CT示肺炎", "ct 肺炎", 6 / 7), ("token_f1", "5mg", "5 mg", 1),
    ("token_f1", "x", ["a", "x y"], 2 / 3), ("token_f1", "", "a", 0), ("token_f1", "1.5", "1 5", 0),
    # the longest common subsequence: order counts
    ("rouge_l", "cat the", "the cat", 1 / 2), ("rouge_l", "患者既往心房颤动", "患者即往心房颤动", 7 / 8),
    ("rouge_l", "police killed the gunman", "police kill the gunman", 3 / 4),
    ("rouge_l", "the gunman kill police", "police kill the gunman", 1 / 2),
    ("rouge_l", "今天天气好", "明日有大雨", 0), ("rouge_l", "", "a", 0),
])  # fmt: skip
def test_shares_of_tokens(name, answer, reference, f1):
    """By hand; for ROUGE-L Lin's own sentences (2004, section 3). Unlike Chinese sentences have nothing in common."""
    assert scored(name, answer, reference).score == pytest.approx(f1)


def test_an_answer_beyond_the_bound_scores_lower():
    """Tokens beyond MOST_TOKENS are not in common, so an answer gains nothing by its length."""
    tail = "b " * MOST_TOKENS + "a"
    assert scored("rouge_l", tail, "a").score == 0
    assert scored("token_f1", tail, "a").score == pytest.approx(2 / (MOST_TOKENS + 2))


@pytest.mark.parametrize(("name", "reference", "options", "words"), [
    ("exact", 5, {}, "expected a text"), ("exact", [], {}, "expected a text"), ("exact", ["a", ""], {}, "empty text"),
    ("exact", "a", {"all": True}, "this scorer takes none"), ("contains", "肺炎", {}, "a list of items"),
    ("contains", [], {}, "a list of items"), ("contains", [[]], {}, "expected a text"),
    ("contains", [1], {}, "expected a text"),
    ("contains", ["a"] + [["b", "c"]] * 5_000, {}, "10,001 texts"), ("exact", ["a"] * 10_001, {}, "10,001 texts"),
    ("contains", ["a"], {"al": True}, "did you mean 'all'?"), ("contains", ["a"], {"all": 1}, "true or false"),
    ("numeric", "five", {}, "expected a number"), ("numeric", True, {}, "expected a number"),
    ("numeric", None, {}, "expected a number"),
    ("numeric", float("nan"), {}, "expected a number"), ("numeric", 10**400, {}, "expected a number"),
    ("numeric", "1,5", {}, "expected a number"),
    ("numeric", 5, {"abs_tol": -1}, "at least 0"), ("numeric", 5, {"abs_tol": float("nan")}, "at least 0"),
    ("numeric", 5, {"abs_tol": float("inf")}, "at least 0"), ("numeric", 5, {"rel_tol": 5}, "at most 1"),
    ("numeric", 5, {"abs_tol": "1"}, "a number"), ("numeric", 5, {"abs_toll": 1}, "did you mean 'abs_tol'?"),
    ("numeric", 5, {"unit": []}, "a list of accepted texts"),
    ("numeric", 5, {"unit": ["元", "万元"]}, "different size"),
    ("numeric", 5, {"unit_required": True}, "needs the option unit"), ("token_f1", "!!", {}, "0 words"),
    ("rouge_l", "a " * (MOST_TOKENS + 1), {}, "20,001 words"), ("rouge_l", {}, {}, "expected a text"),
])  # fmt: skip
def test_what_is_refused(name, reference, options, words):
    """A reference or an option that cannot be used is said in words."""
    with pytest.raises(ValueError, match=re.escape(words)):
        SCORERS[name].check(reference, options)


TEXTS = st.text(st.sampled_from("ab C5%。，.-肺炎无 no\n排除12éß"), min_size=1, max_size=40)


@pytest.mark.parametrize("name", ["exact", "token_f1", "rouge_l"])
@given(text=TEXTS)
def test_the_reference_itself_is_right(name, text):
    """The score of a reference as the answer is 1."""
    try:
        SCORERS[name].check(text, {})
    except ValueError:
        assume(False)
    assert scored(name, text, text).score == 1


@given(st.lists(st.sampled_from(["肺炎", "heart failure", "STEMI", "2型糖尿病"]), min_size=1, unique=True))
def test_all_items_are_found(items):
    """An answer of all the items has all of them."""
    assert scored("contains", "、".join(items), items).score == 1


@given(st.one_of(st.integers(-(10**15), 10**15), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_is_itself(value):
    """However Python writes a number, it is read as that one."""
    assert scored("numeric", repr(value), value).score == 1
    assert scored("numeric", f"The answer is {value!r} mg.", value, unit="mg").score == 1


@pytest.mark.parametrize("name", ["token_f1", "rouge_l"])
@given(one=TEXTS, other=TEXTS)
def test_f1_is_symmetric(name, one, other):
    """Between 0 and 1, and the same in both directions."""
    try:
        there, back = scored(name, one, other).score, scored(name, other, one).score
    except ValueError:
        assume(False)
    assert there == back
    assert 0 <= there <= 1


@given(st.text(max_size=300))
def test_any_answer_has_a_score(answer):
    """Whatever a model says: a score from 0 to 1, and a short reading."""
    for name, reference in (
        ("exact", "a"),
        ("contains", ["no", "肺"]),
        ("numeric", 1),
        ("token_f1", "a"),
        ("rouge_l", "a"),
    ):
        found = scored(name, answer, reference)
        assert 0 <= found.score <= 1
        assert len(found.reading) <= 200
