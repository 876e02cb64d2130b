"""NVML through its real binding and a fake library: what is read, which GPUs, and what every fault becomes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from fake_nvml import FakeNvml, build, compiler
from fake_nvml.session import play

from benchsuite.errors import TelemetryError
from benchsuite.telemetry.gpu_selection import Gpu, Mig, ProcessTree, listeners, select_gpus

needs_cc = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
A = "GPU-00000000-aaaa-bbbb-cccc-dddddddddddd"
B = "GPU-10000000-aaaa-bbbb-cccc-dddddddddddd"
MIG = "MIG-00000000-aaaa-bbbb-cccc-000000000000"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The whole library, built once."""
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def fake(tmp_path, built):
    """A fake of this test's own, with its control file."""
    return lambda **knobs: FakeNvml(tmp_path, built, **knobs)


@needs_cc
def test_a_sample_has_the_units_of_its_columns(fake):
    """mW become W, mJ J, percent ratios, kB/s bytes/s; the activity metrics come with the second sample."""
    report = play(
        fake(
            util=93, mem_util=40, watts=412.5, avg=400, instant=433, energy=1234567, throttle=4, gpm=1, sm=87, dram=71.5
        ),
        [{"sample": 1}, {"wait_s": 0.06, "sample": 1}],
        hz=2.0,
    )
    (first,), (second,) = report["rows"]
    assert {key: first[key] for key in ("source", "uuid", "util_ratio", "memory_util_ratio", "error")} == {
        "source": "nvml", "uuid": A, "util_ratio": 0.93, "memory_util_ratio": 0.4, "error": None,
    }  # fmt: skip
    assert (first["power_w"], first["power_average_w"], first["power_instant_w"]) == (412.5, 400.0, 433.0)
    assert (first["energy_j"], first["power_limit_w"], first["throttle_reasons"]) == (1234.567, 700.0, 4)
    assert (first["memory_used_bytes"], first["memory_total_bytes"]) == (2**30, 80 * 2**30)
    assert (first["sm_clock_mhz"], first["memory_clock_mhz"], first["temperature_c"]) == (1980, 2619, 61.0)
    assert (first["pcie_tx_bytes_per_s"], first["pcie_rx_bytes_per_s"]) == (1e6, 2e6)
    assert first["sm_active_ratio"] is None
    assert (second["sm_active_ratio"], second["tensor_active_ratio"], second["dram_active_ratio"]) == (0.87, 0.4, 0.715)
    assert 0 < first["at_s"] < second["at_s"] < 60
    assert second["wall_s"] - first["wall_s"] == pytest.approx(second["at_s"] - first["at_s"], abs=0.5)
    assert report["problems"] == []
    assert report["gpm_live"] == 0


@needs_cc
def test_facts_name_versions_and_cards(fake):
    """The manifest gets versions, every card, which are sampled and how that was found."""
    facts = play(fake(gpus=2, arch1=7, name1="Fake A100"), [], gpu_ids=["1"])["facts"]
    assert (facts["driver"], facts["nvml"], facts["cuda_driver"]) == ("580.65.06", "13.580.65.06", "13.0")
    assert (facts["source"], facts["used"], facts["used_how"], facts["period_s"]) == ("nvml", [B], "asked", 1.0)
    hopper, ampere = facts["devices"]
    assert (hopper["name"], hopper["architecture"], hopper["compute_capability"]) == ("Fake H100", "hopper", "9.0")
    assert (hopper["power_window_s"], ampere["power_window_s"]) == (1.0, 0.0)
    assert (ampere["uuid"], ampere["pci_bus_id"], ampere["power_limit_w"]) == (B, "00000000:02:00.0", 700.0)


@needs_cc
def test_a_lost_gpu_leaves_empty_rows_and_the_others_go_on(fake):
    """Its rows say NVML's word; NVML is started anew once in 10 s, then it answers again."""
    report = play(
        fake(gpus=2),
        [
            {"sample": 1},
            {"set": {"lost1": 1}, "sample": 3},  # 2 of them after the first attempt
            {"later_s": 9.9, "sample": 1},
            {"later_s": 0.2, "sample": 1},
            {"set": {"lost1": None}, "later_s": 21, "sample": 1},
        ],
    )
    assert [row["power_w"] for row, _ in report["rows"]] == [300.0] * 7
    assert [row["error"] for _, row in report["rows"]] == [None, *["GPU is lost"] * 5, None]
    assert [row["power_w"] for _, row in report["rows"]] == [300.0, *[None] * 5, 300.0]
    assert report["calls"]["nvmlInitWithFlags"] == 4
    assert report["problems"][-2:] == [
        f"{B}: GPU is lost; its readings are empty until it answers again",
        f"{B}: answers again",
    ]


@needs_cc
def test_a_reloaded_driver_is_found_again(fake):
    """Handles go stale with the driver; after the next start of NVML rows are whole, the counter from its new zero."""
    report = play(
        fake(gpm=1),
        [
            {"sample": 1},
            {"set": {"generation": 1, "init_rc": 9}, "sample": 2},
            {"set": {"init_rc": None, "energy_reset": 1}, "later_s": 21, "sample": 1},
        ],
    )
    rows = [row for (row,) in report["rows"]]
    assert [row["error"] is None for row in rows] == [True, False, False, True]
    assert rows[0]["energy_j"] == 5000.0
    assert rows[3]["energy_j"] < 5000.0
    assert "NVML does not start again: Driver Not Loaded" in report["problems"]
    assert report["gpm_live"] == 0


@needs_cc
def test_missing_functions_leave_their_fields_empty(tmp_path):
    """What an old library lacks is empty and said in one line; the old name of the throttle reasons still serves."""
    without = (
        "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlGpmQueryDeviceSupport",
        "nvmlDeviceGetFieldValues", "nvmlDeviceGetMemoryInfo_v2",
    )  # fmt: skip
    report = play(FakeNvml(tmp_path, without=without, throttle=8), [{"sample": 2}])
    (row,) = report["rows"][1]
    assert (row["energy_j"], row["power_average_w"], row["throttle_reasons"]) == (None, None, 8)
    assert (row["memory_used_bytes"], row["power_w"], row["error"]) == (2**30, 300.0, None)
    assert report["problems"] == [
        "Fake H100: empty, the driver's library is too old: GPM activity",
        "Fake H100: empty, the driver's library is too old: energy_j, power_average_w and power_instant_w",
    ]


@needs_cc
def test_what_fails_once_is_asked_again(fake):
    """A passing error empties one field of one row, which says so; what is not supported is no error."""
    fields = {"gpm": 1, "rc__nvmlDeviceGetPowerUsage": 999, "rc__nvmlDeviceGetTotalEnergyConsumption": 3}
    report = play(fake(**fields), [{"sample": 1}, {"set": {"rc__nvmlDeviceGetPowerUsage": None}, "sample": 1}])
    (first,), (second,) = report["rows"]
    assert (first["power_w"], first["util_ratio"], first["error"]) == (None, 0.5, "power_w: Unknown Error")
    assert (second["power_w"], second["energy_j"], second["error"]) == (300.0, None, None)
    assert report["problems"] == [
        "Fake H100: empty, not supported: energy_j",
        f"{A}: empty at times, Unknown Error: power_w",
    ]


@needs_cc
def test_pcie_is_asked_seldom(fake):
    """Every 10th sample at 1 Hz, never above 2 Hz: an answer takes longer than all the rest."""
    assert play(fake(), [{"sample": 21}])["calls"]["nvmlDeviceGetPcieThroughput"] == 6
    assert play(fake(), [{"sample": 21}], hz=10.0)["calls"]["nvmlDeviceGetPcieThroughput"] == 0


@needs_cc
def test_mig(fake):
    """A slice has its own memory, the whole card's power once, and no utilisation; the card lists its slices."""
    other = "MIG-00000001-aaaa-bbbb-cccc-000000000001"
    report = play(fake(mig=2, gpm=1), [{"sample": 1}, {"wait_s": 0.06, "sample": 1}], gpu_ids=[MIG, other])
    first, second = report["rows"][1]
    assert (first["uuid"], first["util_ratio"], first["memory_total_bytes"]) == (MIG, None, 10 * 2**30)
    assert (first["power_w"], second["power_w"], second["energy_j"]) == (300.0, None, None)
    assert (first["sm_active_ratio"], second["sm_active_ratio"]) == (0.41, 0.42)
    assert f"{MIG}: MIG has no utilization, and power and energy only of the whole card, {A}" in report["problems"]
    (card,) = report["facts"]["devices"]
    assert card["mig"] is True
    assert [one["uuid"] for one in card["mig_devices"]] == [MIG, other]
    (whole,) = play(fake(mig=2), [{"sample": 1}])["rows"][0]
    assert (whole["uuid"], whole["util_ratio"], whole["power_w"]) == (A, None, 300.0)


@needs_cc
def test_the_servers_processes_tell_its_gpus(fake):
    """Cards on which its processes run are its own; others' processes there are counted as foreign."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stranger = os.getppid()
    try:
        knobs = {"gpus": 2, "pids0": f"{stranger}", "pids1": f"{child.pid},{stranger}"}
        report = play(fake(**knobs), [{"sample": 1}], server_pids=[os.getpid()])
        assert (report["facts"]["used"], report["facts"]["used_how"]) == ([B], "the server's processes")
        assert (report["rows"][0][0]["n_processes"], report["rows"][0][0]["foreign_processes"]) == (2, 1)
    finally:
        child.communicate(b"\n")


@needs_cc
def test_who_listens_on_the_servers_port_tells_its_gpus(fake):
    """A listener on a GPU is the server, though we did not start it; a proxy, which is on none, is not."""
    me, stranger = os.getpid(), os.getppid()
    on_a_gpu = fake(gpus=2, pids0=f"{stranger}", pids1=f"{me},{stranger}")
    report = play(on_a_gpu, [{"sample": 1}], listening_pids=[me])
    assert (report["facts"]["used"], report["facts"]["used_how"]) == ([B], "the server's processes")
    assert report["rows"][0][0]["foreign_processes"] == 1

    on_a_gpu.set(pids1=stranger)
    report = play(on_a_gpu, [{"sample": 1}], listening_pids=[me])
    assert (report["facts"]["used"], report["facts"]["used_how"]) == ([A, B], "all")
    assert report["rows"][0][0]["foreign_processes"] is None


def test_listeners():
    """The process that listens on a port is found; of a port where nobody listens there is none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listeners([port]) == (os.getpid(),)
    assert listeners([port]) == ()


@needs_cc
def test_the_servers_environment_tells_its_gpus(fake):
    """CUDA_VISIBLE_DEVICES as the server was started with; none is no GPU, and that is said."""
    for value, used in (("1", [B]), (f"{B},{A}", [B, A]), ("GPU-0", [A])):
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": value}
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as server:
            report = play(fake(gpus=2), [], server_pids=[server.pid])
            server.communicate(b"\n")
        assert (report["facts"]["used"], report["facts"]["used_how"]) == (used, "the server's CUDA_VISIBLE_DEVICES")


@needs_cc
@pytest.mark.parametrize(
    ("knobs", "what", "hint"),
    [
        ({"init_rc": 9}, "the NVIDIA driver is not loaded", "nvidia-smi"),
        ({"init_rc": 4}, "no permission to use the GPUs", "/dev/nvidia"),
        ({"init_rc": 18}, "the NVML library and the loaded driver are of different versions", "reboot"),
        ({"init_rc": 999}, "NVML does not start", "nvidia-smi"),
        ({"gpus": 0}, "NVML finds no GPU that it can reach", "nvidia-smi -L"),
        ({"lost": 1}, "NVML finds no GPU that it can reach", "nvidia-smi -L"),
    ],
)
def test_what_cannot_be_opened_says_why(fake, knobs, what, hint):
    """Each cause has its own words and its remedy."""
    report = play(fake(**knobs), [])
    assert report["error"] == what
    assert hint in report["hint"]


@needs_cc
def test_no_library_and_no_such_gpu(fake):
    """Without the library that is said; a GPU that is not there is refused with those that are."""
    report = play(fake(), [], environment={"LD_LIBRARY_PATH": ""})
    if report.get("error") != "there is no NVML library (libnvidia-ml.so.1) here":
        pytest.skip("this machine has a library of its own")
    report = play(fake(gpus=2), [], gpu_ids=["7"])
    assert (report["error"], report["given"]) == ("there is no such GPU", "7")
    assert report["expected"] == f"one of 0 = {A} (Fake H100), 1 = {B} (Fake H100)"


def gpu(index: int, bus: str, name: str = "H100", mig: tuple[Mig, ...] = ()) -> Gpu:
    """A card for the choice."""
    return Gpu(index, f"GPU-{index}abc", name, bus, None, None, None, None, bool(mig), mig)


BOX = (gpu(0, "0:03"), gpu(1, "0:01"), gpu(2, "0:02"))
MIXED = (gpu(0, "0:03", "L4"), gpu(1, "0:01"))
SPLIT = (gpu(0, "0:01", mig=(Mig("MIG-77", None, 1), Mig("MIG-78", None, 2))), gpu(1, "0:02"))


@pytest.mark.parametrize(
    ("gpus", "value", "uuids", "n_warnings"),
    [
        (BOX, "0,2", ("GPU-1abc", "GPU-0abc"), 0),  # along the bus, not NVML's index
        (BOX, " 1 , 9, 0", ("GPU-2abc",), 0),  # ends at the first that is none, as CUDA does
        (BOX, "GPU-2,GPU-0abc", ("GPU-2abc", "GPU-0abc"), 0),
        (MIXED, "0", ("GPU-1abc",), 1),
        (MIXED, "GPU-0abc", ("GPU-0abc",), 0),
        (SPLIT, "MIG-78", ("MIG-78",), 0),
        (SPLIT, "0", ("GPU-0abc",), 1),
    ],
)
def test_cuda_visible_devices(gpus, value, uuids, n_warnings):
    """Indices count along the PCI bus and are doubtful where cards differ; UUIDs may be cut short."""
    choice = select_gpus(gpus, (), [{"CUDA_VISIBLE_DEVICES": value}], ["GPU-2abc"])
    assert (choice.uuids, len(choice.warnings)) == (uuids, n_warnings)
    assert choice.how == "the server's CUDA_VISIBLE_DEVICES"
    ordered = select_gpus(gpus, (), [{"CUDA_VISIBLE_DEVICES": value, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}], ())
    assert [words for words in ordered.warnings if "fastest" in words] == []


def test_the_order_of_what_is_believed():
    """The user, then the environment, then the processes, then all; a server told to use none is refused."""
    environment = [{"PATH": "/bin"}, {"CUDA_VISIBLE_DEVICES": "0"}]
    assert select_gpus(BOX, ("2", "GPU-2abc", "0abc"), environment, ()).uuids == ("GPU-2abc", "GPU-0abc")
    assert select_gpus(BOX, (), environment, ("GPU-2abc",)).uuids == ("GPU-1abc",)
    assert select_gpus(BOX, (), environment[:1], ("GPU-2abc",)).how == "the server's processes"
    assert select_gpus(BOX, (), (), ()).how == "all"
    for none in ("", "-1", "NoDevFiles"):
        with pytest.raises(TelemetryError, match="names no GPU"):
            select_gpus(BOX, (), [{"CUDA_VISIBLE_DEVICES": none}], ("GPU-2abc",))
    with pytest.raises(TelemetryError, match="several GPUs"):
        select_gpus(BOX, ("GPU-",), (), ())


def test_process_tree():
    """A descendant is the server's, an ancestor is not; of a process that is not here nothing is known."""
    me, parent, nobody = os.getpid(), os.getppid(), 2**22 + 1
    assert ProcessTree([parent]).foreign([me, parent]) == 0
    assert ProcessTree([me]).foreign([me, parent]) == 1
    assert ProcessTree([me]).foreign([nobody]) is None
    assert ProcessTree([]).foreign([me]) is None
    assert ProcessTree([]).foreign([]) == 0
