"""Counters, true times, and the life of the process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys

import psutil
from simulator_fixture import CHAT, COMPLETIONS, Client, chat, events, request_bytes

from benchsuite.clock import NS_PER_S, now_ns
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import Connection, Server, simulator


def metric(client: Client, name: str, label: str = "") -> float:
    text = client.ask("/metrics")[2].decode()
    found = re.search(rf"^vllm:{name}\{{[^}}]*{label}[^}}]*\}} (\S+)$", text, re.MULTILINE)
    assert found, name
    return float(found[1])


def test_counters_are_exact_and_reset():
    """Two requests of 2 input tokens, 3 and 5 output tokens: 4 and 8; after /reset nothing."""
    with simulator() as sim, Client(sim) as client:
        client.ask(CHAT, chat(3))
        client.ask(CHAT, chat(5, sim={"tokens_per_chunk": 2}))

        assert metric(client, "prompt_tokens_total") == 4
        assert metric(client, "generation_tokens_total") == 8
        assert metric(client, "time_to_first_token_seconds_count") == 2
        assert metric(client, "inter_token_latency_seconds_count") == 2 + 2
        assert metric(client, "request_queue_time_seconds_count") == 2
        assert metric(client, "request_success_total", 'finished_reason="length"') == 2
        assert client.ask("/reset", {})[0] == 200
        assert metric(client, "generation_tokens_total") == 0
        assert json.loads(client.ask("/stats")[2])["responses"] == []


def test_a_late_turn_counts_each_request_once():
    """Two requests that are admitted and answered in one turn of the loop each have a queue and a prefill time."""
    server = Server(SimulatorConfig(latency=LatencyModel(slots=1, ttft_s=0.02, itl_s=0.01)), None)
    pairs = [socket.socketpair() for _ in range(2)]
    for ours, _ in pairs:
        conn = Connection(ours)
        conn.inbox += request_bytes(CHAT, chat(3))
        server._serve(conn, now_ns() - 10 * NS_PER_S)
    server._step_engine(now_ns())
    text = server.metrics.exposition(0, 0, 0.0).decode()
    for name in ("time_to_first_token", "request_queue_time", "request_prefill_time", "e2e_request_latency"):
        assert re.search(rf"^vllm:{name}_seconds_count\{{.*\}} 2$", text, re.MULTILINE), name
    for pair in pairs:
        for end in pair:
            end.close()


def test_gauges_and_abort():
    """One slot: of two endless requests one runs, one waits, KV is counted; hanging up frees both."""
    latency = LatencyModel(slots=1, itl_s=0.01, kv_tokens=40_000)
    with simulator(SimulatorConfig(latency=latency)) as sim, Client(sim) as watcher:
        with Client(sim) as first, Client(sim) as second:
            for client in (first, second):
                client.sock.sendall(request_bytes(CHAT, chat(9998)))
                client._until(b"\r\n\r\n")

            assert metric(watcher, "num_requests_running") == 1
            assert metric(watcher, "num_requests_waiting") == 1
            assert metric(watcher, "kv_cache_usage_perc") == 0.25
        while metric(watcher, "num_requests_running") or metric(watcher, "num_requests_waiting"):
            pass
        assert metric(watcher, "request_success_total", 'finished_reason="abort"') == 2
        assert metric(watcher, "kv_cache_usage_perc") == 0


def test_stats_have_the_send_times_of_the_wire():
    """/stats has the very send times that the chunks carried, none before it was due."""
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.005, itl_s=0.002))) as sim, Client(sim) as client:
        got = events(client.ask(CHAT, chat(4, sim={"role": "none"}))[2])[:-1]
        (row,) = json.loads(client.ask("/stats")[2])["responses"]

    assert row["id"] == got[0]["id"]
    assert row["sent_ns"] == [int(event["system_fingerprint"]) for event in got]
    assert [due - row["received_ns"] for due in row["due_ns"]] == [5_000_000, 7_000_000, 9_000_000, 11_000_000]
    assert all(sent >= due for sent, due in zip(row["sent_ns"], row["due_ns"], strict=True))
    assert (row["input_tokens"], row["output_tokens"], row["finished"]) == (2, 4, "length")


def test_synchronized_streams_are_on_one_grid():
    """Synchronized, every chunk is due at a multiple of the step."""
    with simulator(SimulatorConfig(latency=LatencyModel(itl_s=0.004, synchronized=True))) as sim, Client(sim) as client:
        client.ask(CHAT, chat(3))
        (row,) = json.loads(client.ask("/stats")[2])["responses"]

    assert [due % 4_000_000 for due in row["due_ns"]] == [0, 0, 0]


def test_the_engine_holds_on_the_wire():
    """A lone request of 20 tokens at 1000 tokens/s, a + b = 3 ms: due 20, 23, 26 ms after it was read."""
    latency = LatencyModel(slots=64, prefill_tokens_per_s=1000, itl_s=0.002, itl_per_stream_s=0.001)
    with simulator(SimulatorConfig(latency=latency)) as sim, Client(sim) as client:
        client.ask(COMPLETIONS, {"prompt": "w " * 20, "max_tokens": 3, "stream": True})
        (row,) = json.loads(client.ask("/stats")[2])["responses"]

    assert [due - row["received_ns"] for due in row["due_ns"]] == [20_000_000, 23_000_000, 26_000_000]


def test_prefix_cache_is_reported_and_reset():
    """The second time, 32 of 40 prompt tokens are cached; after /reset_prefix_cache none."""
    with simulator(SimulatorConfig(prefix_cache=True)) as sim, Client(sim) as client:
        ask = {"prompt": " ".join(map(str, range(40))), "max_tokens": 1}
        cached = []
        for _ in range(2):
            usage = json.loads(client.ask(COMPLETIONS, ask)[2])["usage"]
            cached.append(usage.get("prompt_tokens_details", {}).get("cached_tokens"))
        client.ask("/reset_prefix_cache", {})

        assert cached == [None, 32]
        assert "prompt_tokens_details" not in json.loads(client.ask(COMPLETIONS, ask)[2])["usage"]
        assert metric(client, "prefix_cache_hits_total") == 32


def test_many_streams_at_once_all_end():
    """64 connections, 50 chunks each, as fast as it can: every byte arrives."""
    with simulator() as sim:
        clients = [Client(sim) for _ in range(64)]
        for client in clients:
            client.sock.sendall(request_bytes(CHAT, chat(50)))
        lengths = {len(events(client.take()[2])) for client in clients}
        for client in clients:
            client.sock.close()

    assert lengths == {52}


def test_a_slow_reader_gets_everything():
    """A stream larger than the socket's buffers waits for its reader and loses nothing."""
    with simulator(SimulatorConfig(max_model_len=10**6)) as sim, Client(sim) as client, Client(sim) as other:
        client.sock.sendall(request_bytes(CHAT, chat(50_000)))
        assert other.ask(CHAT, chat())[0] == 200  # the blocked stream holds nobody up
        got = client.take()[2]

    assert got.count(b"data: ") == 50_002


def test_ends_with_its_parent():
    """When the process that started it is killed, the simulator ends by itself."""
    code = (
        "import signal\nfrom benchsuite.simulator.server import simulator\n"
        "with simulator() as sim:\n    print(sim.pid, flush=True)\n    signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert gone(pid)


def test_sigterm_ends_it():
    """SIGTERM is enough."""
    with simulator() as sim:
        os.kill(sim.pid, signal.SIGTERM)
        assert gone(sim.pid)


def gone(pid: int) -> bool:
    """Whether the process ends (or is a zombie) within 10 s."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    psutil.wait_procs([process], timeout=10)
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
