"""The sweep specification: all mistakes at once, with what, where, given and expected."""

from __future__ import annotations

import pytest

from benchsuite.base_url import api_address
from benchsuite.errors import SpecError
from benchsuite.spec import DEFAULT_LEVELS, SweepSpec, load_spec, parse_spec

SERVER = {"base_url": "http://127.0.0.1:8000"}


def mistakes(tree: dict) -> list[str]:
    """The lines of the refusal, without the head."""
    with pytest.raises(SpecError) as refused:
        parse_spec(tree, where="sweep.toml")
    assert refused.value.where == "sweep.toml"
    assert refused.value.exit_code == 2
    head, *lines = refused.value.what.splitlines()
    assert head == f"the sweep spec has {len(lines)} mistake{'s' * (len(lines) > 1)}:"
    return [line.strip() for line in lines]


def test_defaults():
    """A spec with no more than a server has the paper's levels and SLO."""
    spec = parse_spec({"server": SERVER}, where="flags")
    assert spec.load.concurrency == (8, 16, 32, 48, 64, 128) == DEFAULT_LEVELS
    assert (spec.slo, str(spec.limits)) == (
        "ttft_mean<1s,output_throughput_per_user>20",
        "ttft_mean<1s, output_throughput_per_user>20",
    )
    assert (spec.server.profile, spec.server.endpoint, spec.server.stream) == ("auto", "chat", True)
    assert (spec.load.repeats, spec.load.random_seed, spec.price.gpus, spec.price.usd_per_hour) == (1, 0, 1, None)


@pytest.mark.parametrize(
    ("tree", "slo"),
    [
        ({"load": {"rate": [2.0]}}, "ttft_mean<1s,tpot_mean<50ms"),
        ({"arrivals": {"replay": True}}, "ttft_mean<1s,tpot_mean<50ms"),
        ({"load": {"rate": [2.0]}, "slo": "ttft_p95<2s"}, "ttft_p95<2s"),
    ],
)
def test_the_default_slo_of_a_rate(tree: dict, slo: str):
    """A rate has no users, so a limit on their speed would leave each rate unknown."""
    assert parse_spec({"server": SERVER, **tree}, where="x").slo == slo


def test_every_mistake_at_once():
    """All mistakes are named together, each with its key, and a mistyped key with the likely one."""
    assert mistakes(
        {
            "server": {"base_url": "127.0.0.1:8000", "profil": "vllm", "endpoint": "chats"},
            "load": {"concurency": [8], "repeats": 0},
            "slo": "ttft<1",
            "wokload": {},
        }
    ) == [
        "server.base_url: expected http://HOST[:PORT] or https://HOST[:PORT], with or without /v1; "
        "did you mean http://127.0.0.1:8000? (given '127.0.0.1:8000')",
        "server.endpoint: Input should be 'chat', 'completions' or 'native' (given 'chats'); did you mean 'chat'?",
        "server.profil: unknown key; did you mean 'profile'?",
        "load.repeats: Input should be greater than or equal to 1 (given 0)",
        "load.concurency: unknown key; did you mean 'concurrency'?",
        "slo: ttft needs a unit ('ttft<1'); expected s, ms or us (given 'ttft<1')",
        "wokload: unknown key; did you mean 'workload'?",
    ]


@pytest.mark.parametrize(
    ("tree", "mistake"),
    [
        ({}, "server: required but missing (--base-url URL)"),
        ({"server": {}}, "server.base_url: required but missing (--base-url URL)"),
        ({"server": {**SERVER, "zzz": 1}}, "server.zzz: unknown key"),
        (
            {"server": SERVER, "price": {"usd_per_hour": 1, "preset": "x"}},
            "price: give usd_per_hour, preset or owned, one of them",
        ),
        (
            {"server": SERVER, "price": {"usd_per_hour": float("inf")}},
            "price.usd_per_hour: Input should be a finite number (given inf)",
        ),
        (
            {"server": SERVER, "timeouts": {"request_s": float("inf")}},
            "timeouts.request_s: Input should be a finite number (given inf)",
        ),
        (
            {"server": SERVER, "load": {"random_seed": -1}},
            "load.random_seed: Input should be greater than or equal to 0 (given -1)",
        ),
        (
            {"server": SERVER, "workload": {"requests": 0}},
            "workload.requests: Input should be greater than or equal to 1 (given 0)",
        ),
    ],
)
def test_one_mistake(tree, mistake):
    """A mistake is one line that names the key, what is wrong and what was given."""
    assert mistakes(tree) == [mistake]


@pytest.mark.parametrize(
    ("levels", "why"),
    [
        ([], "expected at least one concurrency level, and no level twice"),
        ([8, 8], "expected at least one concurrency level, and no level twice"),
        (0, "a concurrency level is a whole number of at least 1, not 0"),
        ([8, 0], "a concurrency level is a whole number of at least 1, not 0"),
        ([True], "a concurrency level is a whole number of at least 1, not True"),
        (8.0, "a concurrency level is a whole number of at least 1, not 8.0"),
        ("8,16", "a concurrency level is a whole number of at least 1, not '8,16'"),
        ({"a": 1}, "a concurrency level is a whole number of at least 1, not {'a': 1}"),
        (None, "a concurrency level is a whole number of at least 1, not None"),
    ],
)
def test_levels_refused(levels, why):
    """A level is a whole number of at least 1, once."""
    (line,) = mistakes({"server": SERVER, "load": {"concurrency": levels}})
    assert line.startswith(f"load.concurrency: {why}")


@pytest.mark.parametrize(
    ("levels", "kept"),
    [(8, (8,)), ([32, 8, 16], (8, 16, 32)), ((2,), (2,)), ("1:64:7", (1, 2, 4, 8, 16, 32, 64)), ("1:3:9", (1, 2, 3)),
     ([5, "2:8:3"], (2, 4, 5, 8))],
)  # fmt: skip
def test_levels(levels, kept):
    """Levels are kept in ascending order; one level needs no list, and a range is so many in equal ratios."""
    assert parse_spec({"server": SERVER, "load": {"concurrency": levels}}, where="x").load.concurrency == kept


@pytest.mark.parametrize(
    ("rates", "kept"),
    [("1:16:5", (1.0, 2.0, 4.0, 8.0, 16.0)), (["0.5:8:3", 20], (0.5, 2.0, 8.0, 20.0)),
     ("1:1000.5:3", (1.0, 31.6, 1000.5))],
)  # fmt: skip
def test_rates(rates, kept):
    """As the levels of a closed loop; what is between the ends has three digits, so that points have short names."""
    assert parse_spec({"server": SERVER, "load": {"rate": rates}}, where="x").load.rate == kept


@pytest.mark.parametrize("text", ["16:1:5", "1:16", "1:16:1", "0:16:5", "1:16:5:7", "1.2.3:4:5", "a:b:c", "1:2:9999"])
def test_ranges_refused(text):
    """A range that is none is one mistake, and says what one is."""
    for kind in ("rate", "concurrency"):
        (line,) = mistakes({"server": SERVER, "load": {kind: text}})
        assert line.startswith(f"load.{kind}: a range is FROM:TO:HOW_MANY such as 1:16:5")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
        ("https://h/proxy/v1", "https://h/proxy"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1"),
        ("http://h/v1/?api-version=2024-10-21", "http://h?api-version=2024-10-21"),
    ],
)
def test_base_urls(url, kept):
    """A base URL is kept without /v1 and without a last slash."""
    assert parse_spec({"server": {"base_url": url}}, where="x").server.base_url == kept


# base URL -> where a chat completion, the list of models and the server's own metrics are, below https://h
ADDRESSES = {
    "": "/v1/chat/completions /v1/models /metrics",
    "/v1/": "/v1/chat/completions /v1/models /metrics",
    "/gateway/team-a/v1": "/gateway/team-a/v1/chat/completions /gateway/team-a/v1/models /gateway/team-a/metrics",
    "/gateway/team-a": "/gateway/team-a/v1/chat/completions /gateway/team-a/v1/models /gateway/team-a/metrics",
    "/api/paas/v4": "/api/paas/v4/chat/completions /api/paas/v4/models /api/paas/metrics",
    "/api/v3/": "/api/v3/chat/completions /api/v3/models /api/metrics",
    "/v1beta/openai/": "/v1beta/openai/chat/completions /v1beta/openai/models /metrics",
    "/v1alpha": "/v1alpha/chat/completions /v1alpha/models /metrics",
    "/v1beta1/projects/p/endpoints/openapi":
        "/v1beta1/projects/p/endpoints/openapi/chat/completions /v1beta1/projects/p/endpoints/openapi/models "
        "/v1beta1/projects/p/endpoints/metrics",
    "/v3/openai": "/v3/openai/chat/completions /v3/openai/models /metrics",
    "/openai/v1": "/openai/v1/chat/completions /openai/v1/models /openai/metrics",
    "/v1/chat/completions": "/v1/chat/completions /v1/models /metrics",
    "/api/v3/chat/completions/": "/api/v3/chat/completions /api/v3/models /api/metrics",
    "/chat/completions": "/chat/completions /models /metrics",
    "/compat/chat/completions": "/compat/chat/completions /compat/models /compat/metrics",
    "/openai/deployments/dep?api-version=2":
        "/openai/deployments/dep/chat/completions?api-version=2 /openai/deployments/dep/models?api-version=2 "
        "/metrics",
    "/openai/deployments/dep/chat/completions?api-version=1":
        "/openai/deployments/dep/chat/completions?api-version=1 /openai/deployments/dep/models?api-version=1 "
        "/metrics",
    "/v2ray": "/v2ray/v1/chat/completions /v2ray/v1/models /v2ray/metrics",
}  # fmt: skip


@pytest.mark.parametrize(("path", "urls"), ADDRESSES.items(), ids=ADDRESSES)
def test_where_a_base_url_leads(path, urls):
    """The version is the URL's own, else v1; a whole route is taken as it is; what is kept reads back."""
    server = parse_spec({"server": {"base_url": f"https://h{path}"}}, where="x").server
    address = api_address(server.base_url)
    given = (address.url("/chat/completions"), address.url("/models"), f"{address.root}/metrics")
    assert list(given) == [f"https://h{url}" for url in urls.split()]
    assert parse_spec({"server": server.model_dump()}, where="x").server == server


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [("", "chat"), ("/v1/chat/completions", "chat"), ("/v1/completions", "completions"),
     ("/x/completions", "completions"), ("/api/chat", "native"), ("/generate_stream", "native")],
)  # fmt: skip
def test_a_route_in_the_url_is_the_endpoint(path, endpoint):
    """A URL that ends with a route says which endpoint is meant; another one that is named is refused."""
    tree = {"base_url": f"http://h{path}"}
    assert parse_spec({"server": tree}, where="x").server.endpoint == endpoint
    other = "completions" if endpoint == "chat" else "chat"
    if path:
        (line,) = mistakes({"server": tree | {"endpoint": other}})
        assert f"and endpoint is {other}, not {endpoint}" in line


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://h", "http://", "http:///v1", "http://u:p@h", "http://h:99999", "http://h:x", "http://h:0",
     "http://[::1", "http://a b", "http://h/?api_key=sk-1", "http://h/v1?key=1", "http://h/v1?subscription-key",
     "http://h/#f", "http://h/\n", "http://h\u00e9llo"],
)  # fmt: skip
def test_base_urls_refused(url):
    """What is no plain http(s) URL is refused before anything is sent to it."""
    (line,) = mistakes({"server": {"base_url": url}})
    assert line.startswith("server.base_url: ")


def test_file_and_overrides(tmp_path):
    """Flags go over the file; a flag that was not given changes nothing."""
    path = tmp_path / "sweep.toml"
    path.write_text('slo = "ttft<2s"\n[server]\nbase_url = "http://h:1/v1"\nmodel = "m"\n[load]\nrepeats = 3\n')
    spec = load_spec(path, {"server.model": "n", "load.repeats": None, "price.usd_per_hour": 1.5, "slo": None})
    assert (spec.server.base_url, spec.server.model) == ("http://h:1", "n")
    assert (spec.load.repeats, spec.price.usd_per_hour, spec.slo) == (3, 1.5, "ttft<2s")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "the spec file does not exist"),
        (b"[server\n", "the spec is not valid TOML"),
        (b"\xff\xfe", "the spec file is not UTF-8"),
        (b'server = "http://h"\n', "'server' is a table"),
    ],
)
def test_files_refused(tmp_path, content, what):
    """A spec file that cannot be read is refused by name."""
    path = tmp_path / "sweep.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError) as refused:
        load_spec(path, {"server.model": "m"})
    assert refused.value.what.startswith(what)
    assert str(refused.value.where).removesuffix(":1") == str(path)


def test_a_spec_is_frozen_and_survives_json():
    """Nobody edits a spec, and the one in a manifest is the same spec."""
    spec = parse_spec({"server": SERVER, "load": {"concurrency": [4, 2]}}, where="x")
    with pytest.raises(ValueError, match="frozen"):
        spec.slo = "ttft<1s"
    assert SweepSpec.model_validate_json(spec.model_dump_json()) == spec
    assert parse_spec(spec.model_dump(mode="json"), where="x") == spec


def test_several_base_urls():
    """base_url takes one URL or a list; the first stays base_url, and what is written reads back the same."""
    one = parse_spec({"server": {"base_url": "http://a:1/v1"}}, where="test").server
    assert (one.base_url, one.more_base_urls, one.base_urls) == ("http://a:1", (), ("http://a:1",))
    several = parse_spec({"server": {"base_url": ["http://a:1/v1", "http://b:2/"]}}, where="test")
    assert several.server.base_urls == ("http://a:1", "http://b:2")
    assert parse_spec(several.model_dump(mode="json"), where="test") == several


@pytest.mark.parametrize(
    ("server", "mistake"),
    [
        ({"base_url": []}, "an empty list"),
        ({"base_url": ["http://a", "http://a/v1"]}, "http://a appears twice"),
        ({"base_url": ["http://a", "b"]}, "expected http://HOST"),
        ({"base_url": ["http://a", "http://b"], "more_base_urls": ["http://c"]}, "not both"),
        ({"base_url": "http://a", "fallback": {"base_url": "http://a", "model": "m"}}, "http://a appears twice"),
        ({"base_url": "http://a", "fallback": {"base_url": "http://b", "modle": "m"}}, "did you mean 'model'"),
        ({"base_url": "http://a", "fallback": {"base_url": "http://b", "model": "m", "on": ["queue"]}}, "go together"),
        ({"base_url": "http://a", "fallback": {"base_url": "http://b", "model": "m", "on": []}}, "on names nothing"),
        (
            {"base_url": "http://a", "fallback": {"base_url": "http://b", "model": "m", "usd_per_1m_input": 1.0}},
            "give both usd_per_1m_input and usd_per_1m_output",
        ),
    ],
)
def test_servers_that_do_not_hold_together(server, mistake):
    """URLs named twice, and a fallback that lacks its other half, are refused by name."""
    with pytest.raises(SpecError, match=mistake):
        parse_spec({"server": server}, where="test")


def test_a_fallback_on_a_queue():
    """A limit for the queue alone makes the queue a reason to fall back."""
    server = {"base_url": "http://a", "fallback": {"base_url": "http://b/v1", "model": "m", "max_waiting": 4}}
    fallback = parse_spec({"server": server}, where="test").server.fallback
    assert fallback is not None
    assert (fallback.base_url, fallback.on, fallback.max_waiting) == ("http://b", ("429", "503", "queue"), 4)


def test_flags_reach_into_tables_that_were_left_out():
    """A flag of a fallback makes its table, also on top of a saved spec that says null there."""
    keys = {"server.base_url": "http://a", "server.fallback.base_url": "http://b", "server.fallback.model": "m"}
    saved = parse_spec({"server": {"base_url": "http://a"}}, where="test").model_dump(mode="json")
    for base in (None, saved):
        fallback = load_spec(None, keys, base).server.fallback
        assert fallback is not None
        assert (fallback.base_url, fallback.model) == ("http://b", "m")
