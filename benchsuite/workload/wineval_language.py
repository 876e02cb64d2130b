"""What a language must bring to write the clinical request set: words, sentence templates and ten tasks.

Templates hold {fields}. A field is drawn anew each time, from NUMBERS or the language's `words`; {date} is YYYY-MM-DD
and {clock} HH:MM. Those of the patient (age, sex, complaint) are the same throughout a request.
"""

from __future__ import annotations

from dataclasses import dataclass

# field: (low, high, decimals)
NUMBERS: dict[str, tuple[float, float, int]] = {
    "record": (100_000, 999_999, 0),
    "year": (2021, 2025, 0),
    "month": (1, 12, 0),
    "day": (1, 28, 0),
    "hour": (0, 23, 0),
    "bed": (1, 68, 0),
    "span": (2, 21, 0),
    "years": (1, 25, 0),
    "count": (1, 9, 0),
    "power": (0, 4, 0),
    "temp": (36.1, 39.4, 1),
    "fever": (38.4, 40.3, 1),
    "heart_rate": (56, 128, 0),
    "breath_rate": (14, 30, 0),
    "systolic": (102, 186, 0),
    "diastolic": (54, 99, 0),
    "oxygen": (88, 99, 0),
    "weight": (43.0, 104.0, 1),
    "wbc": (2.8, 21.6, 2),
    "neutrophils": (46.0, 93.5, 1),
    "hemoglobin": (68, 168, 0),
    "platelets": (62, 488, 0),
    "crp": (0.8, 186.0, 1),
    "creatinine": (48, 312, 0),
    "urea": (2.9, 21.4, 1),
    "alt": (9, 268, 0),
    "ast": (11, 241, 0),
    "bilirubin": (5.1, 68.0, 1),
    "albumin": (24.0, 49.5, 1),
    "potassium": (2.7, 5.9, 2),
    "sodium": (124.0, 149.0, 1),
    "glucose": (3.4, 22.8, 1),
    "hba1c": (5.2, 12.6, 1),
    "troponin": (0.003, 2.4, 3),
    "bnp": (18, 8600, 0),
    "ddimer": (0.11, 7.9, 2),
    "inr": (0.9, 4.6, 2),
    "tsh": (0.02, 14.8, 2),
    "ldl": (1.4, 5.6, 2),
    "lactate": (0.6, 5.8, 1),
    "procalcitonin": (0.03, 12.4, 2),
    "size": (0.4, 6.8, 1),
    "ejection": (28, 69, 0),
    "intake": (900, 3600, 0),
    "urine": (400, 3100, 0),
    "pain": (0, 9, 0),
}


@dataclass(frozen=True, slots=True)
class Disease:
    """findings: sentences (templates) that point to it. women: seen in women of 20 to 42 only, as told here."""

    name: str
    department: str
    complaint: str
    findings: tuple[str, ...]
    women: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """How one scenario is asked.

    system: the instruction, the same for all its requests. opening, ask: one of each is drawn. kinds: the kinds of
    lines (`Language.lines`) that fill the request; later: those of a long one, after each kind has been used.
    """

    system: str
    opening: tuple[str, ...]
    kinds: tuple[str, ...]
    later: tuple[str, ...]
    ask: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Language:
    """What requests in one language are made of.

    tag: the prompts' tag. space: between sentences. sexes: male, female. lines: templates by kind. typos: (right,
    wrong) spellings. tasks: by scenario.
    """

    tag: str
    space: str
    sexes: tuple[str, str]
    words: dict[str, tuple[str, ...]]
    diseases: tuple[Disease, ...]
    lines: dict[str, tuple[str, ...]]
    typos: tuple[tuple[str, str], ...]
    tasks: dict[str, Task]
