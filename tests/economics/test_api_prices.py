"""API prices: what is bundled, a user's own file, LiteLLM's units, genai-prices, and every mistaken unit refused."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchsuite.economics.prices import age_days, genai_price, parse_prices, price_book
from benchsuite.errors import PriceError

MINE = """
[sources]
bill = "our invoice"
[presets.mine]
usd_per_hour = 1.5
source = "bill"
as_of = 2026-11-01
[api."me/model"]
input_usd_per_1m_tokens = 0.2
output_usd_per_1m_tokens = 0.8
source = "bill"
as_of = "2026-11-01"
"""


def test_bundled_prices_have_source_and_date():
    """Each with an input and an output price, from genai-prices' snapshot or the article."""
    apis = price_book().apis
    assert 15 <= len(apis) <= 25
    for price in apis.values():
        assert price.source.startswith(("genai-prices 0.2.3", "web article"))
        assert price.as_of in ("2026-11-10", "2026-03")
        assert price.cached_input_usd_per_1m_tokens is None or (
            price.cached_input_usd_per_1m_tokens <= price.input_usd_per_1m_tokens
        )


def test_the_articles_prices_are_per_million():
    """$0.001 and $0.03 per 1,000 tokens are $1 and $30 per million."""
    book = price_book()
    small, large = book.api("article/gpt-3.5"), book.api("article/gpt-4")
    assert (small.input_usd_per_1m_tokens, small.output_usd_per_1m_tokens) == (1.0, 1.0)
    assert (large.input_usd_per_1m_tokens, large.output_usd_per_1m_tokens) == (30.0, 30.0)


def test_a_users_file_comes_first():
    """Its names join the bundled ones, and win where they meet."""
    book = price_book(MINE.replace("presets.mine", "presets.l4"), "mine.toml")
    assert (book.gpu("l4").usd_per_hour, book.gpu("l4").source, book.gpu("l4").as_of) == (
        1.5,
        "our invoice",
        "2026-11-01",
    )
    assert book.gpu("h100-low").usd_per_hour == 1.99
    assert book.api("me/model").cached_input_usd_per_1m_tokens is None


def test_the_file_in_the_methods_reads():
    """The example of docs/METHODS.md is a price file."""
    text = (Path(__file__).parents[2] / "docs" / "METHODS.md").read_text("utf-8")
    (example,) = [block for block in re.findall(r"```toml\n(.*?)```", text, re.S) if "[presets.mine]" in block]
    book = parse_prices(example, "METHODS.md")
    assert book.gpu("mine").usd_per_hour == 1.5
    assert book.api("vendor/model").cached_input_usd_per_1m_tokens == 0.02


def test_litellm_costs_are_per_token():
    """2.5e-06 per token is $2.50 per million; what is no language model or has no price is left out."""
    tree = {
        "sample_spec": {"input_cost_per_token": 0, "output_cost_per_token": 0, "mode": "one of ..."},
        "gpt-4o": {
            "input_cost_per_token": 2.5e-06,
            "output_cost_per_token": 1e-05,
            "cache_read_input_token_cost": 1.25e-06,
            "mode": "chat",
        },
        "dall-e-3": {"input_cost_per_pixel": 1e-08, "mode": "image_generation"},
        "embed": {"input_cost_per_token": 1e-07, "output_cost_per_token": 0, "mode": "embedding"},
    }
    book = parse_prices(json.dumps(tree), "prices.json")
    assert list(book.apis) == ["gpt-4o"]
    price = book.api("gpt-4o")
    assert (price.input_usd_per_1m_tokens, price.cached_input_usd_per_1m_tokens) == (2.5, 1.25)
    assert (price.output_usd_per_1m_tokens, price.as_of) == (10.0, None)


TIERS = [
    {"range": [0, 32000.0], "input_cost_per_token": 3e-07, "output_cost_per_token": 1.5e-06},
    {"range": [32000.0, 128000.0], "input_cost_per_token": 5e-07, "output_cost_per_token": 2.5e-06},
]
FLAT = {"input_cost_per_token": 1.25e-06, "output_cost_per_token": "1e-05", "litellm_provider": "made"}
LITELLM = {  # an entry: its price of input and output, or why it has none; the words of its note
    "flat": (FLAT, (1.25, 10.0), ""),
    "tiers": ({"tiered_pricing": TIERS, "mode": "chat"}, (0.3, 1.5), "the lowest of 2 tiers, for [0, 32000.0] input"),
    "flat and tiers": (FLAT | {"tiered_pricing": TIERS}, (1.25, 10.0), "left out: tiered_pricing"),
    "above 200k": (
        FLAT | {"input_cost_per_token_above_200k_tokens": 2.5e-06, "output_cost_per_reasoning_token": 1.2e-05},
        (1.25, 10.0),
        "left out: input_cost_per_token_above_200k_tokens, output_cost_per_reasoning_token",
    ),
    "by the second": ({"output_cost_per_second": 5e-4, "mode": "chat"}, "only output_cost_per_second", ""),
    "of images": ({"input_cost_per_pixel": 1e-8, "mode": "image_generation"}, "a model for image_generation", ""),
    "input alone": ({"input_cost_per_token": 1e-6, "mode": "chat"}, "no price by input and output tokens", ""),
    "free": (FLAT | {"input_cost_per_token": 0.0, "output_cost_per_token": 0}, (0.0, 0.0), "free of charge"),
}


@pytest.mark.parametrize("name", LITELLM)
def test_litellm_prices_of_other_kinds(name):
    """Tiers and prices above a length are used, or named as left out; a model that cannot be priced is not unknown."""
    entry, expected, note = LITELLM[name]
    book = parse_prices(json.dumps({name: entry}), "prices.json")
    if isinstance(expected, str):
        with pytest.raises(PriceError, match="the API cannot be priced") as caught:
            book.api(name)
        assert expected in caught.value.given
        return
    price = book.api(name)
    assert (price.input_usd_per_1m_tokens, price.output_usd_per_1m_tokens) == expected
    assert note in price.note
    assert bool(price.note) == bool(note)


def test_litellm_costs_that_are_not_per_token():
    """2.5 per token would be $2.5 million per million tokens: another unit, refused by name."""
    tree = {"gpt-4o": {"input_cost_per_token": 2.5, "output_cost_per_token": 10}}
    with pytest.raises(PriceError, match="input_usd_per_1m_tokens"):
        parse_prices(json.dumps(tree), "prices.json")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("input_usd_per_1m_tokens = 0.2", "input_usd_per_1m_tokens = -0.2", "input_usd_per_1m_tokens"),
        ("input_usd_per_1m_tokens = 0.2", "input_usd_per_1m_tokens = '2'", "input_usd_per_1m_tokens"),
        ("input_usd_per_1m_tokens = 0.2", "input_usd_per_1m_tokens = 2e-7", "per token or per 1,000 tokens"),
        ("input_usd_per_1m_tokens = 0.2", "input_usd_per_1k_tokens = 0.2", "multiply by 1,000"),
        ("input_usd_per_1m_tokens = 0.2", "input = 0.2", "api.me/model.input: unknown key"),
        ("output_usd_per_1m_tokens = 0.8", "", "api.me/model.output_usd_per_1m_tokens: required but missing"),
        ('as_of = "2026-11-01"', "", "api.me/model.as_of: required but missing"),
        ('as_of = "2026-11-01"', 'as_of = "last week"', "as_of"),
        ("as_of = 2026-11-01", 'as_of = "2026-02-30"', "as_of"),
        (
            "usd_per_hour = 1.5",
            "usd_per_hour = 1.5\ntornado = { usd_per_hour = [1] }",
            "presets.mine.tornado.usd_per_hour",
        ),
        ("usd_per_hour = 1.5", "usd_per_hour = -1.5", "usd_per_hour"),
        ("usd_per_hour = 1.5", "usd_per_hour = 'dear'", "presets.mine.usd_per_hour"),
        ("usd_per_hour = 1.5", "", "either usd_per_hour or a table `owned` is required"),
        ("usd_per_hour = 1.5", "owned = { years = 3, power = 1 }", "presets.mine.owned.power: unknown key"),
        (
            "usd_per_hour = 1.5",
            "owned = { purchase_price = 1, years = 0, power_kw = 1, electricity_per_kwh = 1 }",
            "presets.mine.owned.years",
        ),
        (
            "usd_per_hour = 1.5",
            "owned = { purchase_price = 1, years = 1, power_kw = 1 }",
            "presets.mine: owned.electricity_per_kwh",
        ),
        ("usd_per_hour = 1.5", "usd_per_month = 1.5", "unknown key; did you mean 'usd_per_hour'"),
        ("[presets.mine]", "[gpus.mine]", "gpus: unknown key"),
        ("[presets.mine]", "[presets.mine", "does not parse"),
    ],
)
def test_nonsense_is_refused(old, new, message):
    """One message with the key, and the unit where the unit is the mistake."""
    with pytest.raises(PriceError, match=message) as caught:
        parse_prices(MINE.replace(old, new, 1), "mine.toml")
    assert caught.value.exit_code == 2


def test_all_mistakes_at_once():
    """A file with several mistakes names them all."""
    with pytest.raises(PriceError) as caught:
        parse_prices(MINE.replace("usd_per_hour = 1.5", "usd_per_hour = -1").replace("0.8", "2e-7"), "mine.toml")
    places = [line.split(": ")[0].strip() for line in caught.value.what.split("\n")[1:]]
    assert places == ["presets.mine.usd_per_hour", "api.me/model.output_usd_per_1m_tokens"]
    assert caught.value.where == "mine.toml"


def test_a_mistyped_name_is_answered():
    """With the nearest one."""
    with pytest.raises(PriceError, match="did you mean 'openai/gpt-4o'"):
        price_book().api("openai/gpt4o")


def test_age_of_a_price():
    """A month counts from its first day."""
    assert [age_days(day, "2026-11-21") for day in ("2026-03", "2026-08-23")] == [265, 90]


def test_genai_prices():
    """The optional package gives the bundled price of gpt-4o, and refuses what it does not know."""
    pytest.importorskip("genai_prices")
    now = datetime(2026, 11, 10, 12, tzinfo=UTC)
    assert genai_price("openai/gpt-4o", now).output_usd_per_1m_tokens == 10
    with pytest.raises(PriceError, match="no such model"):
        genai_price("openai/no-such-model", now)


def test_genai_prices_absent(monkeypatch):
    """Without the package the message names the extra."""
    import sys

    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(PriceError, match=r"benchsuite\[prices\]"):
        genai_price("openai/gpt-4o", None)
