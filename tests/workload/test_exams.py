"""Exams, and the sample files of lm-eval and evalscope, as request sets with checkable answers."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from benchsuite.errors import WorkloadError
from benchsuite.workload.dataset import Prompt, Workload, message_text, scorer_of
from benchsuite.workload.formats import parse_workload

ONE_EN = 'Exactly one option is correct. Reply with its letter only, in the form "Answer: X".'
ONE_ZH = "只有一个选项正确。请只回答该选项的字母，格式为“答案：X”。"
SEVERAL_ZH = "有一个或多个选项正确。请只回答所有正确选项的字母，格式为“答案：XYZ”。"

MMLU = {"question": "What is 2 + 3?", "subject": "elementary", "choices": ["4", "5", "6", "7"], "answer": 1}
MMLU_0 = {"question": "What is 2 + 2?", "subject": "elementary", "choices": ["4", "5", "6", "7"], "answer": 0}
MEDMCQA = {"id": "m1", "question": "Vitamin C deficiency causes", "opa": "Rickets", "opb": "Scurvy", "opc": "Pellagra",
           "opd": "Beriberi", "cop": 1, "choice_type": "multi", "exp": "...", "subject_name": "Medicine"}  # fmt: skip


def jl(*rows: Any) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def read(*rows: Any, where: str = "exam.jsonl", **keys: Any) -> Workload:
    return parse_workload(jl(*rows), where=where, **keys)


def refused(text: str, **keys: Any) -> str:
    """What is said of a file that is refused."""
    with pytest.raises(WorkloadError) as caught:
        parse_workload(text, where="exam.jsonl", **keys)
    return str(caught.value)


def known(workload: Workload) -> list[tuple[Any, str | None, str | None]]:
    """Reference, scorer and labels of each prompt."""
    return [(p.reference, scorer_of(p)[0], scorer_of(p)[1].get("labels")) for p in workload.prompts]


def asked(prompt: Prompt) -> str:
    return prompt.prompt or message_text((prompt.messages or ({},))[-1])


@pytest.mark.parametrize(
    ("row", "prompt", "reference", "scorer", "labels"),
    [
        pytest.param(
            {"question": "Which gland?", "options": ["Liver", "Thyroid", "N/A", "Skin", "Lung", "Eye", "Ear", "Nose",
             "Hand", "Pancreas"], "answer": "J", "answer_index": 9, "category": "biology", "cot_content": ""},
            "Which gland?\n\nA. Liver\nB. Thyroid\nC. N/A\nD. Skin\nE. Lung\nF. Eye\nG. Ear\nH. Nose\nI. Hand\n"
            "J. Pancreas\n\n" + ONE_EN, "J", "choice", "ABCDEFGHIJ", id="MMLU-Pro",
        ),
        pytest.param(
            {"question": "A boy has scurvy. What is missing?", "answer": "Vitamin C", "meta_info": "step1",
             "options": {"A": "Vitamin A", "B": "Vitamin B", "C": "Vitamin C", "D": "Vitamin D"}, "answer_idx": "C"},
            "A boy has scurvy. What is missing?\n\nA. Vitamin A\nB. Vitamin B\nC. Vitamin C\nD. Vitamin D\n\n" + ONE_EN,
            "C", "choice", "ABCD", id="MedQA",
        ),
        pytest.param(
            {"Question": "治疗2型糖尿病首选的口服药是", "Answer": "B",
             "Options": "A 阿司匹林\nB 二甲双胍\nC 青霉素\nD 地高辛\nE 呋塞米", "Explanation": "二甲双胍为一线药物"},
            "治疗2型糖尿病首选的口服药是\n\nA. 阿司匹林\nB. 二甲双胍\nC. 青霉素\nD. 地高辛\nE. 呋塞米\n\n" + ONE_ZH,
            "B", "choice", "ABCDE", id="CMExam",
        ),
        pytest.param(
            {"exam_type": "医师考试", "question_type": "多项选择题", "question": "属于心肌坏死标志物的有",
             "option": {"A": "肌钙蛋白", "B": "白蛋白", "C": "CK-MB", "D": "肌红蛋白", "E": ""}, "answer": "ACD"},
            "属于心肌坏死标志物的有\n\nA. 肌钙蛋白\nB. 白蛋白\nC. CK-MB\nD. 肌红蛋白\n\n" + SEVERAL_ZH,
            "ACD", "choices", "ABCD", id="CMB",
        ),
        pytest.param(
            {"id": 0, "question": "光合作用的场所是____。", "A": "线粒体", "B": "叶绿体", "C": "核糖体",
             "D": "高尔基体", "answer": "B", "explanation": ""},
            "光合作用的场所是____。\n\nA. 线粒体\nB. 叶绿体\nC. 核糖体\nD. 高尔基体\n\n" + ONE_ZH,
            "B", "choice", "ABCD", id="C-Eval",
        ),
        pytest.param(
            {"题目": "水的化学式", "选项": ["A. H2O", "B. CO2"], "答案": "Ａ"},
            "水的化学式\n\nA. H2O\nB. CO2\n\n" + ONE_ZH, "A", "choice", "AB", id="题目",
        ),
        pytest.param(
            {"question": "Which is a noble gas?", "choices": {"text": ["neon", "iron"], "label": ["A", "B"]},
             "answerKey": "A"}, "Which is a noble gas?\n\nA. neon\nB. iron\n\n" + ONE_EN, "A", "choice", "AB", id="ARC",
        ),
        pytest.param(
            {"question": "Which planet is red?", "options": "A) Venus B) Mars C) Pluto", "answer": "Mars"},
            "Which planet is red?\n\nA. Venus\nB. Mars\nC. Pluto\n\n" + ONE_EN, "B", "choice", "ABC", id="text",
        ),
        pytest.param(
            {"prompt": "Which is a prime?", "A": "4", "B": "9", "C": "11", "answer": "(C)"},
            "Which is a prime?\n\nA. 4\nB. 9\nC. 11\n\n" + ONE_EN, "C", "choice", "ABC", id="prompt and columns",
        ),
        pytest.param(
            {"question": "Which are even?", "options": ["2", "3", "4"], "answer": ["A", "C"]},
            'Which are even?\n\nA. 2\nB. 3\nC. 4\n\nOne or more options are correct. Reply with all of their letters '
            'only, in the form "Answer: XYZ".', "AC", "choices", "ABC", id="list",
        ),
    ],
)  # fmt: skip
def test_exams(row: Any, prompt: str, reference: str, scorer: str, labels: str) -> None:
    """Each exam's columns become a question in its language, its options from A on, and the letter."""
    workload = read(row)

    assert workload.prompts[0].prompt == prompt
    assert known(workload) == [(reference, scorer, labels)]
    assert workload.prompts[0].tags == (("zh",) if "\u4e00" < prompt[0] < "\u9fff" else ("en",))
    assert workload.reading is not None
    assert workload.reading.formats == {"exam": 1}


def test_csv_and_parquet() -> None:
    """The same exam as a table: cells of texts, and numbers, from 0 on as one row tells."""
    csv = 'Question,A,B,C,D,Answer\n"7, or 8?",5,7,8,9,B\nAnd 9?,9,1,2,3,A\n'
    table = pa.Table.from_pylist([MMLU, MMLU_0])
    file = io.BytesIO()
    parquet.write_table(table, file)

    assert known(parse_workload(csv, where="exam.csv")) == [("B", "choice", "ABCD"), ("A", "choice", "ABCD")]
    assert known(parse_workload(file.getvalue(), where="x")) == [("B", "choice", "ABCD"), ("A", "choice", "ABCD")]
    cells = 'question,choices,answer\nFirst?,"[\'x\', \'y\']",0\nSecond?,"[""x"", ""y""]",1\n'
    assert known(parse_workload(cells, where="exam.csv")) == [("A", "choice", "AB"), ("B", "choice", "AB")]


def test_tables_as_they_are_published() -> None:
    """CMMLU's first column has no name; CMExam's options are lines in a cell; Excel's semicolons."""
    cmmlu = ",Question,A,B,C,D,Answer\n0,食品法典由什么组织制定,CAC,IAC,CCC,ICC,A\n1,另一题,甲,乙,丙,丁,D\n"
    cmexam = 'Question,Options,Answer,Explanation\n"首选药是","A 甲\nB 乙\nC 丙",BC,"见\n上文"\n'
    cmexam += '下列正确的是,"A 甲\nB 乙",A,无\n'

    assert known(parse_workload(cmmlu, where="cmmlu.csv")) == [("A", "choice", "ABCD"), ("D", "choice", "ABCD")]
    assert known(parse_workload(cmexam, where="x.csv")) == [("BC", "choices", "ABC"), ("A", "choice", "AB")]
    excel = "题目;选项A;选项B;答案\n水是什么;H2O;CO2;A\n"
    assert known(parse_workload(excel, where="excel.csv")) == [("A", "choice", "AB")]


def test_numbers_from_0_or_1() -> None:
    """Whether numbers count from 0 or 1 is told by all rows: one with 0, or with the number of its options."""
    last = MEDMCQA | {"id": "m2", "question": "Another?", "cop": 4}

    assert [one[0] for one in known(read(MMLU, MMLU_0))] == ["B", "A"]
    assert [one[0] for one in known(read(MEDMCQA, last))] == ["A", "D"]
    assert "may count from 0 or from 1: no line has the answer 0, and none the number of its options" in refused(
        jl(MMLU)
    )
    text = refused(jl(MMLU_0, MEDMCQA | {"cop": 4}))
    assert "the answers are numbers that count neither from 1 (line 1) nor from 0 (line 2)" in text


def test_rows_beyond_the_first_tell_too() -> None:
    """Of a file of which the first row is asked for, the others still tell from where its numbers count."""
    workload = read(MMLU, MMLU | {"question": "Other?"}, MMLU_0, requests=1)

    assert known(workload) == [("B", "choice", "ABCD")]
    assert workload.reading is not None
    assert workload.reading.formats == {"exam": 1}


def test_a_letter_that_is_a_text() -> None:
    """An answer that is one option's letter and another's text is what the other rows show it to be."""
    blood = {"question": "Which blood group?", "options": ["B", "A", "AB", "O"], "answer": "B"}
    letters = {"question": "Which gas?", "options": ["neon", "iron"], "answer": "A"}
    texts = letters | {"answer": "neon"}

    assert [one[0] for one in known(read(blood, letters))] == ["B", "A"]
    assert [one[0] for one in known(read(blood, texts))] == ["A", "A"]
    text = refused(jl(blood))
    assert (
        "line 1: the answer may be B as a letter or A as an option's text, and the other rows do not tell which" in text
    )


def test_case_tells_options_apart() -> None:
    """Genotypes differ in their case alone; and an answer may name its column."""
    row = {"question": "Which is heterozygous?", "A": "GG", "B": "gg", "C": "Gg", "answer": "Gg"}

    assert known(read(row)) == [("C", "choice", "ABC")]
    assert known(read(row | {"answer": "opc"}, row | {"question": "a?", "answer": "Option B"}))[0][0] == "C"


def test_rows_without_an_answer() -> None:
    """They are sent, not scored, and counted: an empty answer, and -1 as MedMCQA's test set has it."""
    workload = read(MEDMCQA | {"cop": -1}, MMLU_0 | {"answer": None}, MMLU_0 | {"question": "c?"})

    assert [one[0] for one in known(workload)] == [None, None, "A"]
    assert workload.reading is not None
    assert workload.reading.notes == {"questions without an answer: sent, not scored": 2}


def test_an_answer_that_is_no_option_is_counted() -> None:
    """Where another column says which is right the row is scored by that one; how many such rows there are is noted."""
    asked = {"question": "Which?", "options": ["x", "y", "z"]}
    rows = [asked | {"answer": "of none of them", "answer_idx": "B"},
            asked | {"question": "And?", "answer": "z", "answer_idx": "C"}]  # fmt: skip
    workload = read(*rows)

    assert [one[0] for one in known(workload)] == ["B", "C"]
    assert workload.reading is not None
    assert workload.reading.notes == {
        "questions whose answer is no option, where another column says which is right": 1
    }


def test_mistakes_name_line_and_column() -> None:
    """What cannot be read is refused by line, all at once: no guess, no silent drop."""
    good = {"question": "Good?", "options": ["x", "y"], "answer": "A"}
    rows = [
        good,
        good | {"answer": "F"},
        good | {"question": "No options?", "options": None, "answer": "B"},
        {"question": "A gap?", "A": "x", "B": "y", "D": "z", "answer": "A"},
        good | {"question": "Equal?", "options": ["x", "y", "x"]},
        good | {"question": "Twice?", "options": "A x\nB y\nA z"},
        good | {"question": "One?", "options": ["x"]},
        good | {"answer": "B"},
        good | {"question": "Two answers?", "answer_idx": "B", "answer": "x"},
        good | {"question": "", "options": ["x", "y"]},
        good | {"question": "Empty?", "options": ["x", "", "z"]},
        good | {"question": "Number?", "answer": 7},
    ]
    lines = refused(jl(*rows)).split("\n")

    for expected in (
        "line 2: answer: 'F' is none of the options A, B, nor the text or number of one",
        "line 3: options: missing, where the answer is B",
        "line 4: options: C is missing, where D is there",
        "line 5: options: A and another have the same text, and one of them is the answer",
        "line 6: options: option A is there twice",
        "line 7: options: 1 options that are not empty; expected 2 to 26",
        "line 8: the same question has the answers A and B",
        "line 9: answer: 'x' says A, where another column of the answer says B",
        "line 10: question: expected the text of a question, given ''",
        "line 11: options: option B is no text, or empty, and a later one is not",
        "line 12: answer: 7 is none of the options A, B, nor the text or number of one",
    ):
        assert any(line.strip() == expected for line in lines), expected


def test_a_number_among_letters_is_named() -> None:
    """In a file of letters a single number is a mistake of its line: nothing tells what it counts from."""
    good = {"question": "Good?", "options": ["x", "y", "z"], "answer": "A"}
    text = refused(jl(good, good | {"question": "Odd?", "answer": 1}))

    assert "line 2: the answer may be B as a number from 0 or A as a number from 1, and the other rows do not" in text


def test_copies_are_counted() -> None:
    """A question that is there twice with the same answer stays, and the reading says so."""
    row = {"question": "Good?", "options": ["x", "y"], "answer": "A"}
    workload = read(row, row, row)

    assert len(workload.prompts) == 3
    assert workload.reading is not None
    assert workload.reading.notes == {"questions that are there before": 2}


def lm_eval(doc_id: int, doc: Any, target: str, calls: list[list[Any]], **more: Any) -> dict[str, Any]:
    """A line as lm-eval 0.4 writes it with --log_samples."""
    arguments = {f"gen_args_{i}": {f"arg_{j}": one for j, one in enumerate(call)} for i, call in enumerate(calls)}
    row = {"doc_id": doc_id, "doc": doc, "target": target, "arguments": arguments, "filter": "none"}
    hashes = {"doc_hash": "d", "prompt_hash": "p", "target_hash": "t"}
    return (
        row
        | hashes
        | {"resps": [["x"]], "filtered_resps": ["x"], "metrics": ["exact_match"], "exact_match": 1.0}
        | more
    )


GENERATE = {"until": ["Question:", "</s>"], "do_sample": False, "temperature": 0.0, "max_gen_toks": 256}


def test_lm_eval_generations() -> None:
    """What was generated is sent as it was, with its stops and cap; GSM8K's number after #### is the reference."""
    gsm8k = lm_eval(0, {"question": "3 boxes of 4?", "answer": "3*4=12\n#### 1,212"}, "3*4=12\n#### 1,212",
                    [["Question: 3 boxes of 4?\nAnswer:", GENERATE]])  # fmt: skip
    words = lm_eval(1, {"q": "x"}, "a lake", [["Name a lake.", {"until": []}]])
    chat = lm_eval(2, {"question": "Gas?", "options": ["neon", "iron"], "answer": "A"}, "A",
                   [[['[{"role": "user", "content": "Gas? A neon B iron"}]'], GENERATE]])  # fmt: skip
    bare = {"doc_id": 3, "target": "42", "resps": [["42"]], "arguments": {"gen_args_0": {"arg_0": "What is 6 * 7?"}}}
    other_filter = gsm8k | {"filter": "flexible-extract"}
    workload = read(gsm8k, words, chat, bare, other_filter)
    first, second, third, fourth = workload.prompts

    assert (first.prompt_id, first.prompt) == ("doc-0", "Question: 3 boxes of 4?\nAnswer:")
    assert (first.reference, first.scorer, first.max_output_tokens) == (1212, "numeric", 256)
    assert first.extra_body == {"stop": ["Question:", "</s>"]}
    assert (second.prompt, second.reference, second.scorer) == ("Name a lake.", "a lake", None)
    assert (fourth.prompt, fourth.reference, fourth.scorer) == ("What is 6 * 7?", 42, "numeric")
    assert (asked(third), third.reference, scorer_of(third)[0]) == ("Gas? A neon B iron", "A", "choice")
    assert workload.reading is not None
    assert workload.reading.formats == {"lm-eval": 4}
    assert workload.reading.notes == {
        "an answer in words, whose scorer is not known: sent, not scored": 1,
        "lines of a document that is there before: of another filter": 1,
    }


def test_lm_eval_log_likelihoods() -> None:
    """A choice by log-likelihood becomes one question for its letter; the target is the call's number, from 0 on."""
    calls = [["What is 2 + 3?\nAnswer:", f" {letter}"] for letter in "ABCD"]
    cmexam = {"Question": "首选药是", "Options": "A 甲\nB 乙", "Answer": "B"}
    workload = read(
        lm_eval(0, MMLU | {"answer": 2}, "2", calls, metrics=["acc"], acc=0.0),
        lm_eval(1, cmexam, "1", calls[:2]),
        lm_eval(2, {"question": "Gas?", "choices": {"text": ["neon", "iron"], "label": ["A", "B"]}, "answerKey": "B"},
                "iron", [["Gas?", " neon"], ["Gas?", " iron"]]),
        lm_eval(3, {"question": "Metal?", "choices": ["neon", "iron"]}, "(B)", [["Metal", " (A)"], ["Metal", " (B)"]]),
    )  # fmt: skip

    assert [one[::2] for one in known(workload)] == [("C", "ABCD"), ("B", "AB"), ("B", "AB"), ("B", "AB")]
    assert asked(workload.prompts[0]).startswith("What is 2 + 3?\n\nA. 4\nB. 5\nC. 6\nD. 7\n\nExactly one")
    endings = lm_eval(0, {"ctx": "He sits", "endings": ["down.", "up."], "label": "0"}, "0", [["x", "y"], ["x", "z"]])
    assert "doc: no question with options in it, of which a request could be made" in refused(jl(endings))
    few = lm_eval(0, MMLU, "1", calls[:3])
    assert "line 1: doc: 4 options, where arguments has 3 calls" in refused(jl(few))


def test_evalscope() -> None:
    """A line of evalscope's reviews is what was sent, without what was generated, and its target."""
    question = "请选出正确答案。\n\nA) 氖\nB) 铁\nC) 铜"
    sent = {"id": "1", "role": "user", "content": question, "source": "input", "metadata": None}
    got = {"id": "2", "role": "assistant", "content": [{"type": "text", "text": "答案：A"}], "source": "generate"}
    score = {"score": {"value": {"acc": 1.0}, "extracted_prediction": "A"}, "sample_id": 0, "group_id": 0}
    several = sent | {"content": "回答下面的多项选择题\n" + question}
    number = sent | {"content": [{"type": "text", "text": "2+3?"}]}
    legacy = {"index": 4, "target": "B", "input": f"**User**: \n{question}", "sample_score": score}
    workload = read(
        {"index": 0, "target": ["A"], "messages": [sent, got], "agent_trace": None, "sample_score": score},
        {"index": 1, "target": ["AC"], "messages": [several, got], "sample_score": score},
        {"index": 2, "target": ["5"], "messages": [number, got], "sample_score": score},
        {"index": 3, "model": "m", "model_output": {"choices": []}, "messages": [sent, got], "metadata": {}},
        legacy,
    )

    assert [p.prompt_id for p in workload.prompts] == [f"sample-{k}" for k in range(5)]
    assert workload.prompts[0].messages == ({"role": "user", "content": question},)
    assert known(workload) == [
        ("A", "choice", "ABC"), ("AC", "choices", "ABC"), (5.0, "numeric", None), (None, None, None),
        ("B", "choice", "ABC"),
    ]  # fmt: skip
    assert asked(workload.prompts[4]) == question
    assert workload.reading is not None
    assert workload.reading.formats == {"evalscope": 5}
    assert not workload.reading.ignored
