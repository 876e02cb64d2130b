"""Pages of metrics, recorded or in their published format, become one reading, whoever wrote them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from benchsuite.records import ServerSample
from benchsuite.telemetry.dcgm import read_dcgm_page
from benchsuite.telemetry.server_metrics import FAMILIES, WANTED, parse_page, read_server_page

DATA = Path(__file__).parents[1] / "data"


def body(name: str) -> str:
    """A page's text, without the status line and headers of a capture."""
    text = (DATA / name).read_bytes().decode()
    return text.split("\r\n\r\n", 1)[1] if text.startswith("HTTP/") else text


VLLM = body("captures/vllm_after_metrics.txt")


def test_fields_are_those_of_the_record():
    """Every figure that a family names is a column of ServerSample."""
    assert {field for family in FAMILIES.values() for field in family} <= set(ServerSample._fields)


def test_vllm():
    """vLLM 0.32, recorded: every figure, and the means that follow from sums and counts."""
    reading = read_server_page(VLLM)
    assert (reading.family, reading.page.odd) == ("vllm", None)
    assert reading.figures == {
        "running": 0.0, "waiting": 0.0, "kv_cache_ratio": 0.0, "prefix_cache_hits": 0.0,
        "prefix_cache_queries": 11233.0, "preemptions": 0.0, "prompt_tokens": 11233.0, "generated_tokens": 20969.0,
        "requests_done": 345.0, "queue_sum_s": 0.008192747988687188, "queue_count": 345.0,
        "prefill_sum_s": 14.760429634010507, "prefill_count": 345.0, "decode_sum_s": 86.41739032100259,
        "decode_count": 345.0, "itl_sum_s": 86.41739032100259, "itl_count": 20624.0, "ttft_sum_s": 20.494316339492798,
        "ttft_count": 345.0, "e2e_sum_s": 106.96129322052002, "e2e_count": 345.0,
    }  # fmt: skip


def test_old_vllm():
    """Names of vLLM 0.8 fill the same fields."""
    reading = read_server_page(body("metrics/vllm_0.8.txt"))
    assert reading.family == "vllm"
    wanted = {
        "kv_cache_ratio": 0.42, "prefix_cache_queries": 800.0, "prefix_cache_hits": 600.0, "requests_done": 20.0,
        "itl_sum_s": 9.6, "itl_count": 480.0, "queue_sum_s": 1.0, "prefill_sum_s": 3.0, "waiting": 7.0,
    }  # fmt: skip
    assert {name: reading.figures[name] for name in wanted} == wanted


def test_llamacpp():
    """llama.cpp, recorded: cached prompt tokens are queries too; its sums have no count."""
    reading = read_server_page(body("captures/llamacpp_after_metrics.txt"))
    assert reading.family == "llamacpp"
    assert reading.figures == {
        "running": 0.0, "waiting": 0.0, "prefix_cache_hits": 3942.0, "prefix_cache_queries": 10763.0,
        "prompt_tokens": 10763.0, "generated_tokens": 20864.0, "prefill_sum_s": 0.192784, "decode_sum_s": 188.512,
    }  # fmt: skip


def test_tgi():
    """TGI, recorded: counters without _total, prefill and decode told apart by their label."""
    reading = read_server_page(body("metrics/tgi.txt"))
    assert (reading.family, reading.page.odd) == ("tgi", None)
    assert reading.figures == {
        "running": 4.0, "waiting": 5.0, "prompt_tokens": 3343.0, "generated_tokens": 1676.0, "requests_done": 57.0,
        "queue_sum_s": 11.533975685, "queue_count": 57.0, "prefill_sum_s": 1.3151005230000001, "prefill_count": 50.0,
        "itl_sum_s": 7.532371351999999, "itl_count": 787.0, "e2e_sum_s": 33.318720509, "e2e_count": 57.0,
    }  # fmt: skip


def test_sglang():
    """SGLang: what it splits by streaming or not adds up."""
    figures = read_server_page(body("metrics/sglang.txt")).figures
    assert (figures["prompt_tokens"], figures["generated_tokens"], figures["itl_count"]) == (400.0, 200.0, 190.0)
    assert (figures["running"], figures["waiting"], figures["kv_cache_ratio"]) == (2.0, 1.0, 0.28)


def test_engines():
    """Over engines requests add up and the cache's share is averaged."""
    text = "".join(
        f'vllm:num_requests_running{{engine="{i}"}} {i + 2}\nvllm:kv_cache_usage_perc{{engine="{i}"}} 0.{2 + 4 * i}\n'
        for i in range(2)
    )
    assert read_server_page(text).figures == {"running": 5.0, "kv_cache_ratio": pytest.approx(0.4)}


def test_nan_is_missing():
    """A NaN gauge says nothing; one engine's NaN makes the sum unknown, and leaves the mean to the others."""
    text = "".join(
        f'vllm:{name}{{engine="{i}"}} {value}\n'
        for name in ("num_requests_running", "kv_cache_usage_perc")
        for i, value in enumerate(("NaN", 0.5))
    )
    for odd in ("+Inf", "-1", "-1e308", "1e308"):
        assert read_server_page(text + f"vllm:num_requests_waiting {odd}\n").figures == {"kv_cache_ratio": 0.5}


@pytest.mark.parametrize(
    "line",
    [
        'vllm:num_requests_running{engine="0" 3',
        "vllm:num_requests_running{engine=0} 3",
        "vllm:num_requests_running three",
        "vllm:num_requests_running{} ",
    ],
)
def test_one_odd_line(line):
    """A line that cannot be read is named, and loses no other."""
    reading = read_server_page(f"{line}\nvllm:num_requests_waiting 4\n")
    assert reading.figures == {"waiting": 4.0}
    assert reading.page.odd == line.rstrip("\n")


def test_timestamps_and_exemplars():
    """The value is the value, whatever follows it."""
    text = 'vllm:request_success_total{a="} # 1"} 7 # {trace="x"} 1.0\nvllm:num_requests_running 2 1700000000000\n'
    assert read_server_page(text).figures == {"requests_done": 7.0, "running": 2.0}


def test_pages_of_nobody():
    """A page without a known name has no family, and says whether it is Prometheus text at all."""
    assert (read_server_page("<html>no</html>").family, read_server_page("<html>no</html>").page.n_named) == (None, 0)
    assert (read_server_page("up 1\n").family, read_server_page("up 1\n").page.n_named) == (None, 1)


def test_same_as_the_strict_parser():
    """On a recorded page the samples are those of prometheus_client's own walk over it."""
    strict = [s for family in text_string_to_metric_families(VLLM) for s in family.samples if s.name in WANTED]
    found = parse_page(VLLM, WANTED).samples
    assert len(found) == len(strict) == 25
    assert {(r.name, *sorted(r.labels.items()), r.value) for r in found} == {
        (s.name, *sorted(s.labels.items()), s.value) for s in strict
    }


LINES = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.builds(
            "{}{}{}".format,
            st.sampled_from([*sorted(WANTED), "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"]),
            st.text(alphabet='{}",=\\ aUID\t#é', max_size=20) | st.just('{UUID="GPU-1",GPU_I_ID="3"} '),
            st.text(alphabet=" 0123456789.eE+-NaInf_", max_size=12) | st.just("1e400"),
        ),
    ),
    max_size=12,
)


@given(LINES)
def test_any_text(lines):
    """No text makes the readers raise or invent a value that is not finite."""
    text = "\n".join(lines)
    assert all(math.isfinite(value) for value in read_server_page(text).figures.values())
    assert all(math.isfinite(value) for device in read_dcgm_page(text).devices for value in device.figures.values())


@given(st.integers(min_value=0, max_value=len(VLLM.encode())))
def test_torn_pages(cut):
    """A page cut off anywhere gives a part of its figures or a shorter number, and never raises."""
    assert set(read_server_page(VLLM.encode()[:cut].decode("utf-8", "replace")).figures) <= set(FAMILIES["vllm"])
