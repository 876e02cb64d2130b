"""The token estimate and the statistics of a request set."""

from __future__ import annotations

import pytest

from benchsuite.workload.dataset import LengthStats, Prompt, describe, estimate_input_tokens, make_workload


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("患者血压正常", 4), ("abcdefgh", 2), ("患者，体温38.5", 4), ("x" * 400, 100)],
)
def test_estimate(text: str, tokens: int) -> None:
    """A token is 1.5 Chinese characters, with their punctuation, or 4 others."""
    assert tokens == estimate_input_tokens(Prompt("a", None, None, text, None))


def test_estimate_of_messages() -> None:
    """The estimate of a chat is that of all its messages."""
    messages = ({"role": "system", "content": "x" * 40}, {"role": "user", "content": "血" * 30})

    assert estimate_input_tokens(Prompt("a", None, messages, None, None)) == 30


def test_describe() -> None:
    """Scenarios come in order of appearance and the whole set last; what no request has is None."""

    def prompt(name: str, scenario: str | None, tokens: int, cap: int | None, tag: str) -> Prompt:
        return Prompt(name, scenario, None, "x" * 4 * tokens, cap, tags=(tag,))

    workload = make_workload(
        "four",
        [
            prompt("1", "triage", 10, 8, "zh"),
            prompt("2", None, 100, None, "en"),
            prompt("3", "triage", 20, 16, "en"),
            prompt("4", "triage", 1000, 16, "zh"),
        ],
    )

    triage, unnamed, total = describe(workload, bins=2)

    assert (triage.scenario, triage.total, triage.n, triage.share) == ("triage", False, 3, 0.75)
    assert triage.input_tokens == LengthStats(3, pytest.approx(1030 / 3), 20, 1000, 1000)  # type: ignore[arg-type]
    assert triage.max_output_tokens == LengthStats(3, pytest.approx(40 / 3), 16, 16, 16)  # type: ignore[arg-type]
    assert triage.language_share == {"zh": pytest.approx(2 / 3), "en": pytest.approx(1 / 3)}
    assert triage.histogram == (2, 1)
    assert (unnamed.scenario, unnamed.n) == (None, 1)
    assert unnamed.max_output_tokens == LengthStats(0, None, None, None, None)
    assert unnamed.histogram == (0, 1)  # 100 is the edge between 10..100 and 100..1000
    assert (total.scenario, total.total, total.n, total.share) == (None, True, 4, 1.0)
    assert total.histogram == (2, 2)
