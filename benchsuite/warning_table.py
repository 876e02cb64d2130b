"""Every warning of the product once: its code, how serious it is, when it is given, what it says and what to do.

A Finding is a code with values; the table renders its text. docs/WARNINGS.md lists the table. To add a warning, add one
entry here and make a Finding of it where the facts are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from benchsuite.level import Level

Severity = Literal["error", "warning", "info"]


class WarningType(NamedTuple):
    """severity: error, the figures are not those of the intended load; warning, they are in doubt or mean less
    than they seem to; info, useful when reading them. when: for the documentation. finding, remedy: templates of
    str.format over Finding.values and `level`.
    """

    severity: Severity
    when: str
    finding: str
    remedy: str


_REPEAT = "measure the level again"
_USAGE = "name a tokenizer that counts the text (--tokenizer)"
_SOURCE = "check the row against its source"
_THERMAL = "cool the GPU or cap its clocks (nvidia-smi -lgc), then measure again"
# clauses of remedies, by what a run may have had already, and what then stands in their place
_CLAUSES = {
    "fixed_length": (", or use --fixed-length", ""),
    "repeats": ("a single run cannot tell: repeat this level, or decide", "decide"),
    "metrics": ("make its metrics readable (--metrics-url), or disable", "disable"),  # that the server does not have
    "rate_limit": (  # a closed loop's own, --max-request-rate
        "raise the connection limit of the server or its proxy, or use more requests than virtual users",
        "the limit on the request rate keeps users waiting: raise --max-request-rate, or lower the level",
    ),
    "local": (
        "switch buffering off in the server or the proxy before it",
        "give server and client CPU cores of their own",
    ),
}
_BY_TOKEN = "compare levels by $ per 1M output tokens" + _CLAUSES["fixed_length"][0]
_EXACT = _CLAUSES["repeats"][0] + " whether the limit is that exact"
_COUNTS = "check how the server counts; --tokenizer counts the text instead"
_NOT_CORRECT = "check how the server counts; do not trust its token counts, nor $ per token"

WARNINGS: dict[str, WarningType] = {
    # before the sweep: the server against what the sweep will ask of it
    "slots_refused": WarningType(
        "error", "the server refuses requests beyond its slots, and a level has more",
        "{server} refuses requests beyond {slots} = {limit}, so {level} fails in part", "start it with {setting}"),
    "slots_exceeded": WarningType(
        "warning", "a level has more requests than the server has slots",
        "{server} runs {limit} requests at a time ({slots}): {waiting} of {requests} requests wait at {level}, and "
        "their TTFT includes the wait", "start it with {setting}"),
    "slots_unknown": WarningType(
        "info", "the server does not report its number of slots, and a level has more requests than their default",
        "{server} does not report its {slots}, whose default is {default} or more: requests may wait at {level}",
        "start it with {setting}"),
    "rate_limited": WarningType(
        "info", "the API limits requests (x-ratelimit-limit-requests)",
        "the API allows {requests} requests per period and refuses more (429)", "stay below: --max-request-rate"),
    "longest_refused": WarningType(
        "error", "the server refused the longest request of the set",
        "the longest request of the set ({prompt}) was refused and will be at every level: {refusal}",
        "shorten it, or leave it out of the set"),
    "prompts_cut": WarningType(
        "error", "the server truncates the longest prompt silently",
        "the longest request of the set ({prompt}) does not fit, and {server} truncates it; asked not to, "
        "it answers {refusal}", "{remedy}, or shorten it"),
    "prompt_too_long": WarningType(
        "error", "the longest request has more prompt tokens than the server takes",
        "the longest request of the set ({prompt}) has {tokens} prompt tokens, and the server takes {most} "
        "(max_input_tokens)", "shorten it, or raise that limit"),
    "context_too_short": WarningType(
        "error", "the longest request does not fit into the server's context",
        "the longest request of the set ({prompt}) needs {tokens} + {asked} tokens, and the context holds "
        "{context}{effect}", "{remedy}"),
    "api_key_readable": WarningType(
        "warning", "other users of this machine can read the file of an API key",
        "other users of this machine can read the API key in {file}", "chmod 600 {file}"),
    # one level's requests
    "errors": WarningType(
        "error", "more than 1 % of the requests failed",
        "{failed} of {issued} requests failed ({kinds})",
        "read the column `error` of requests.parquet, remove the cause, " + _REPEAT),
    "concurrency_not_reached": WarningType(
        "error", "the most requests in flight are not the level's concurrency (HTTP clients that pool stop at 100)",
        "at most {max_in_flight} requests were in flight, not {level}", _CLAUSES["rate_limit"][0]),
    "saturated": WarningType(
        "error", "requests of a rate came faster than they ended, in more than half of its repeats",
        "requests came faster than they ended: of {offered:.4g} requests/s that were due {unserved:.0%} were "
        "{left} (in {n} of {runs} runs)",
        "a lower rate, or more capacity; what it cannot serve meets no SLO"),
    "dropped": WarningType(
        "error", "requests of a rate were not sent, because max_in_flight were in flight (over = drop)",
        "{dropped:,} of {issued:,} requests ({share:.1%}) were dropped at --max-in-flight",
        "they count as failed; raise the limit, or a lower rate"),
    "waited_for_slot": WarningType(
        "warning", "requests of a rate waited to be sent, because max_in_flight were in flight (over = wait)",
        "{share:.1%} of the requests waited for --max-in-flight before they were sent: it is in their latency",
        "raise the limit, or a lower rate"),
    "connections_opened": WarningType(
        "info", "more connections were opened while a rate was sent than 1 % of its requests",
        "{opened:,} connections were opened for {requests:,} requests ({share:.0%}): connecting is in their latency",
        "the server closes connections that are idle for long: vLLM's environment variable "
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE is 5 s; or bursts need more than were opened beforehand"),
    "connections_closed": WarningType(
        "info", "users spent more than 2 % of their time on new connections, as the server had closed theirs",
        "the server closes connections: users spent {share:.1%} of their time on opening new ones",
        "if it is to keep them, look at its keep-alive settings, or those of a proxy before it"),
    "few_requests": WarningType(
        "info", "fewer than 100 requests of a rate were due in its window",
        "a window of {requests} requests is a first impression: {least} are the least for a figure",
        "a longer --duration-s"),
    "littles_law": WarningType(
        "error", "Little's law is off by more than 0.5 %: rows are missing or doubled",
        "Little's law is off by {error:.1%}: rows are missing, doubled, or have no end",
        "do not use this level; " + _REPEAT),
    "unfinished_requests": WarningType(
        "error", "a request that was sent has no end",
        "{requests} requests have no end, so their time is not in the duration", _REPEAT),
    "idle_users": WarningType(
        "warning", "virtual users were busy less than 98 % of the steady window",
        "virtual users were busy {shown} of the steady window: the client is late between requests",
        "give the client a dedicated CPU core"),
    "ramp_up_down": WarningType(
        "warning", "virtual users were busy less than 95 % of the run, which has less throughput than its steady part",
        "virtual users were busy {shown} of the run: duration and throughput include ramp-up and ramp-down",
        "use about {requests:,} requests at this level{steady}"),
    "empty": WarningType(
        "warning", "successful responses without a token",
        "{responses} of {ok} responses are empty",
        "they count against the level as errors do (empty_rate): read the prompts and the server's log"),
    "empty_under_load": WarningType(
        "error", "a level with empty responses above levels without, more than by chance",
        "{share:.1%} of the responses are empty, and of the same prompts none was at {below.at}",
        "the server is the cause, not the prompts: check its log, its queue and its limits at this load"),
    "tokens_without_chunks": WarningType(
        "warning", "usage counts output tokens, but no chunk with a token arrived",
        "{responses} of {ok} responses have output tokens by usage, but no chunk with a token: their TTFT and TPOT are "
        "not known", "inspect a response: its content is in a field that benchsuite does not read"),
    "finish_reason_missing": WarningType(
        "warning", "a response with its end, text and usage has no finish_reason",
        "{responses} of {ok} responses have no finish_reason; they ended with [DONE], or are complete JSON",
        "they may have been truncated: compare their output tokens with max_tokens"),
    "finish_reason_unknown": WarningType(
        "warning", "an unknown finish_reason",
        "{responses} of {ok} responses ended with an unknown finish_reason: {ends}",
        "they count as successful: check the server's documentation whether it means a failure"),
    "usage_below_chunks": WarningType(
        "warning", "usage counts fewer output tokens than chunks with tokens arrived",
        "{responses} of {ok} responses have more chunks than usage counts tokens: their usage is ignored", _COUNTS),
    "usage_without_reasoning": WarningType(
        "info", "total_tokens, or reasoning_tokens, are more than completion_tokens can hold",
        "{responses} of {ok} responses have reasoning tokens that completion_tokens leaves out: they are added",
        "no action needed: output tokens are total_tokens - prompt_tokens, or completion_tokens + reasoning_tokens"),
    "events_not_separated": WarningType(
        "info", "SSE events follow each other without a blank line",
        "{responses} of {ok} responses have events without a blank line between them, which other clients cannot read",
        "report it to the maintainer of the server or of the proxy in front of it"),
    "not_json_after_end": WarningType(
        "info", "data that is not JSON follows the finish_reason",
        "{responses} of {ok} responses have data that is not JSON after their finish_reason",
        "report it to the maintainer of the server or of the proxy in front of it"),
    "single_chunk": WarningType(
        "warning", "several tokens arrived in a single chunk, so the response has no TPOT",
        "{responses} of {ok} responses arrived in a single chunk and have no TPOT",
        _CLAUSES["local"][0]),
    "several_tokens_per_chunk": WarningType(
        "warning", "chunks hold several tokens, so TPOT over all tokens but one would be more than 2 % too low",
        "chunks hold several tokens ({tokens:.1f} on average in the first): TPOT and decode throughput leave the first "
        "chunk's tokens out; over all tokens but one TPOT would be {correction:.0%} lower",
        "ITL is the time between chunks; for figures per token use longer responses, or let the server send each token "
        "separately (vLLM, SGLang: --stream-interval 1)"),
    "length_not_kept": WarningType(
        "warning", "a fixed length was requested, and more than 1 % of the responses have another length",
        "{responses} of {ok} responses do not have the requested length",
        "the server ignores the fixed length: choose its --profile, or do not compare levels by duration"),
    "usage_over_cap": WarningType(
        "error", "a response reports more output tokens than the max_tokens of its request",
        "{responses} of {ok} responses report more output tokens than max_tokens allows", _NOT_CORRECT),
    "truncated_by_max_tokens": WarningType(
        "warning", "more than 5 % of the responses ended at max_tokens, and not each at the one that was asked for",
        "{responses} of {ok} responses were cut at max_tokens, so duration and cost depend on that limit",
        "raise --max-output-tokens" + _CLAUSES["fixed_length"][0]),
    "merged_reads": WarningType(
        "warning", "more than 1 % of the socket reads held several events, which share one timestamp",
        "{merged} of {reads} socket reads held several events, which share one timestamp",
        _CLAUSES["local"][0]),
    "input_tokens_unknown": WarningType(
        "warning", "input tokens of a successful request are not known; sums and rates leave it out",
        "{responses} of {ok} responses have no input token count; sums and rates leave them out", _USAGE),
    "output_tokens_unknown": WarningType(
        "warning", "output tokens of a successful request are not known; sums and rates leave it out",
        "{responses} of {ok} responses have no output token count; sums and rates leave them out", _USAGE),
    "tokens_estimated": WarningType(
        "warning", "more than 1 % of the token counts are neither from `usage` nor by a tokenizer",
        "{responses} of {ok} token counts are not from the server but counts of chunks, which are not tokens", _USAGE),
    "no_steady_state": WarningType(
        "warning", "TTFT or TPOT never settled (\"How sure\")",
        "{metrics} never settled: the first half of a repeat differs from the second",
        "use a longer warm-up, or measure for longer; the mean depends on when the run was stopped"),
    "drift": WarningType(
        "warning", "TTFT or TPOT drifted after it had settled (\"How sure\")",
        "after the warm-up the level drifted: {changes}",
        "check for throttling, other work on the machine and a filling cache; then " + _REPEAT),
    # the HTTP of a level's responses, by their notes
    "body_lingers": WarningType(
        "warning", "responses stayed open after the end of their stream (\"Stream semantics\")",
        "{responses} of {ok} responses stayed open after their stream: they count as closed, on a new connection",
        "make the server, or a proxy in front of it, end the response with its stream: clients wait or reconnect"),
    "silent_end": WarningType(
        "error", "streams stayed open after a finish_reason, without [DONE], and were ended after 5 s of silence",
        "{responses} of {ok} responses were ended only by 5 s of silence after their finish_reason (or idle_s): their "
        "users waited, so duration, throughput and $ include it, and latencies are those of a lower load",
        "make the server, or a proxy in front of it, send [DONE] and end the response: clients wait as long"),
    "last_chunk_missing": WarningType(
        "info", "connections were closed after the end of a stream, without the end of their response",
        "{responses} of {ok} responses ended with their connection after their stream, without the final chunk",
        "check for a worker or a proxy that is stopped or times out"),
    "bytes_after_response": WarningType(
        "warning", "bytes followed the end of a response; they are not read",
        "{responses} of {ok} responses were followed by bytes that belong to no response",
        "check the Content-Length of the server or the proxy in front of it"),
    "kernel_stamps_refused": WarningType(
        "warning", "kernel timestamps that cannot be correct: the wall clock was set (\"The measuring client\")",
        "the kernel's timestamps of {responses} of {ok} responses are invalid: the wall clock was set, or they are out "
        "of order; user-space timestamps are used instead",
        "let only one program set the clock, by slewing; these times are late by the process's lag"),
    "length_and_chunked": WarningType(
        "info", "responses have a Content-Length and chunks (the chunks are used, RFC 9112)",
        "{responses} of {ok} responses have both Content-Length and Transfer-Encoding: chunked; the latter is used",
        "make the proxy drop the Content-Length: strict clients refuse such responses"),
    "loose_http": WarningType(
        "info", "responses that only a lenient parser accepts: line ends, folded headers, spaces around chunk sizes",
        "{responses} of {ok} responses violate the syntax of HTTP/1.1 and were accepted",
        "strict clients refuse such responses: inspect them with curl -v"),
    "body_compressed": WarningType(
        "info", "bodies are compressed though identity was requested",
        "{responses} of {ok} responses are compressed: a token's time is that of the read that completes its event",
        "disable compression for text/event-stream (nginx: gzip_types): it may delay tokens"),
    "content_type_of_another": WarningType(
        "info", "streams have a content type other than text/event-stream or NDJSON",
        "{responses} of {ok} responses are streams with another content type than text/event-stream or NDJSON",
        "make the server or the proxy send text/event-stream: proxies buffer streams of other types"),
    # the client and the server's own counters
    "client_bound": WarningType(
        "error", "the measuring client may have changed the figures (\"The measuring client\")",
        "the measuring client {what}, and may have changed the figures: {reasons}", "{remedy}"),
    "client_degraded": WarningType(
        "warning", "the measuring client has a visible effect on some figures (\"The measuring client\")",
        "the measuring client {what}: {reasons}", "{remedy}"),
    "merged_by_sender": WarningType(
        "info", "more than 1 % of the socket reads held several events, though the client read them at once",
        "events arrive in groups: {share:.1%} of the reads hold more than one, so ITL and TTFT are those of groups",
        _CLAUSES["local"][0]),
    "unasked_responses": WarningType(
        "error", "the server sent bytes before a request, so that responses may be another request's",
        "the server sent data before a request, on {connections} connections: a response may be another request's",
        "look for a server or proxy that responds twice, or whose framing is wrong (Content-Length, chunks)"),
    "prefix_hits_unexpected": WarningType(
        "error", "more prefix-cache hits than the request set can have (\"Prefix caches\")",
        "{hits:.1%} of the prompt tokens were in the server's prefix cache, and the set's own prompts share at most "
        "{expected:.1%}",
        "another client sends the same prompts, or the server ignores the salt: try --cache-bust prompt"),
    "prefix_hits_unknown": WarningType(
        "info", "it is not known whether the prompts were new to the server's prefix cache",
        "the server reports no prefix-cache hits: whether its cache shortened TTFT is not known",
        _CLAUSES["metrics"][0] + " its prefix cache"),
    "token_balance": WarningType(
        "warning", "output tokens differ by more than 0.5 % from the server's counter (no request failed)",
        "{ours:,} output tokens by the responses, {servers:,.0f} by the server's counter",
        "measure without other load on the server; if it had none, its usage is wrong and $ per token is in doubt"),
    "tokenizer_disagrees": WarningType(
        "warning", "output tokens by usage and by --tokenizer differ by more than 2 % (without stop tokens)",
        "{usage:,} output tokens by the server's usage, {tokenizer:,} by the tokenizer",
        "check that the tokenizer is the model's, and whether responses have tokens outside their text (tool calls)"),
    "ttft_breakdown_mismatch": WarningType(
        "warning", "the server's queue, prefill and TTFT are more than the client's TTFT (\"Where TTFT goes\")",
        "the server's parts exceed TTFT by {excess_ms:.1f} ms: {part} < 0",
        "the server counts other requests too, or its parts overlap; measure without other load"),
    "queue_depth": WarningType(
        "warning", "100 or more requests waited in the server",
        "up to {waiting:,.0f} requests waited in the server (target: below {target})",
        "more slots (vLLM: --max-num-seqs), another replica, or lower concurrency"),
    "kv_cache_full": WarningType(
        "warning", "90 % or more of the KV cache in use",
        "KV cache up to {used:.0%} in use (target: below {target:.0%}); preemptions come next",
        "more memory for the cache, a shorter context, or lower concurrency"),
    "preemptions": WarningType(
        "warning", "the server preempted requests",
        "{requests:,.0f} requests were preempted: their KV cache was discarded and computed again",
        "more memory for the cache (vLLM: --gpu-memory-utilization), or lower concurrency"),
    # several endpoints
    "imbalance": WarningType(
        "warning", "one of several replicas got more than 1.2 times the mean of requests, and more than by chance",
        "{most_at} got {most:,} requests and {least_at} {least:,}: {imbalance:.2f} times the mean",
        "the endpoint with fewer is slower: compare GPUs, settings and other load of both"),
    "uneven_users": WarningType(
        "warning", "the same imbalance, because the virtual users do not divide evenly among the endpoints",
        "{most_at} got {most:,} requests and {least_at} {least:,}: {imbalance:.2f} times the mean",
        "virtual users do not divide evenly among {endpoints} endpoints: measure multiples of {endpoints}"),
    "slow_endpoint": WarningType(
        "warning", "mean TTFT at one endpoint more than 1.5 times that of the others, and 10 ms more",
        "mean TTFT {ttft_ms:.0f} ms at {endpoint}, {others_ms:.0f} ms at the others",
        "measure that endpoint alone, and check its queue and its network"),
    "gpus_fewer_than_endpoints": WarningType(
        "error", "the price counts fewer GPUs than servers that answered",
        "GPUs in the price: {gpus}; servers that answered: {servers}",
        "--gpus (price.gpus) is the number of GPUs of all servers together"),
    "fallback_used": WarningType(
        "info", "requests went to the fallback API (\"Fallback to an API\")",
        "{api:,} of {requests:,} requests ({share}) went to the API",
        "latencies and tokens/s include both: `benchsuite check RUN --balance` separates them"),
    "fallback_price_unknown": WarningType(
        "warning", "the API has no price, so the level has no cost",
        "the cost of the API is not known, so no level has a cost",
        "give --fallback-usd-per-1m-input and --fallback-usd-per-1m-output"),
    "fallback_usage_unknown": WarningType(
        "warning", "the API reports no usage for some responses, so the level has no cost",
        "the API reports no usage for some responses, so no cost is known", "see its invoice"),
    # GPUs
    "gpu_power_capped": WarningType(
        "info", "the power limit held the clocks (NVML: sw_power_cap), as it does with most GPUs under load",
        "the GPU ran at its power limit ({reason}) for {seconds:,.1f} s: its speed is that of this limit",
        "quote the power limit with the result; raise it (nvidia-smi -pl) if it is below the GPU's default"),
    "gpu_thermal_throttling": WarningType(
        "warning", "clocks were throttled by temperature (NVML: sw_thermal, hw_thermal, hw_slowdown)",
        "GPU clocks throttled ({reason}) for {seconds:,.1f} s", _THERMAL),
    "gpu_power_brake": WarningType(
        "warning", "clocks were throttled by the power supply (NVML: power_brake)",
        "GPU clocks throttled ({reason}) for {seconds:,.1f} s", "check the host's power supply, then measure again"),
    "gpu_shared": WarningType(
        "error", "processes that are not the server's ran on its GPU",
        "other processes on the server's GPU: {processes}; speed, power and memory include them",
        "end them, or measure on a dedicated GPU"),
    "gpu_util_low": WarningType(
        "info", "mean GPU utilisation below 70 %",
        "GPU utilisation {util:.0%}, below the alert threshold of {alert:.0%} (target: above {target:.0%})",
        "higher concurrency, a smaller GPU or one GPU less; if it stays low, the server's CPU or the client limits it"),
    "gpu_memory": WarningType(
        "info", "90 % or more of the GPU memory in use",
        "GPU memory {used:.0%} in use (target: below {target:.0%})",
        "a shorter context, fewer slots, a quantized model, or a GPU with more memory"),
    "gpu_memory_reserved": WarningType(
        "info",
        "90 % or more of the GPU memory in use by a server that reserves it and does not report its KV cache use",
        "GPU memory {used:.0%} in use, but {profile} reserves it at start, and its KV cache use is not known",
        "make the server's metrics readable (--metrics-url): KV cache use shows the load"),
    "gpu_count": WarningType(
        "error", "energy and price count different numbers of GPUs",
        "GPUs in the energy: {measured}; GPUs in the price: {priced}",
        "name the GPUs that serve (--gpu-ids), and their number (--gpus)"),
    "gpu_lost": WarningType(
        "error", "a GPU gave no readings for more than 10 % of the time",
        "readings of GPU {uuid} cover {coverage:.0%} of the time{driver}",
        "check the kernel log for Xid errors, then " + _REPEAT),
    "gpu_samples_missing": WarningType(
        "warning", "readings of a GPU were not taken for more than 10 % of the time",
        "readings of GPU {uuid} cover {coverage:.0%} of the time{driver}",
        "a lower --gpu-sample-hz, or CPU cores that the sampler does not share"),
    "gpu_reads_zero": WarningType(
        "warning", "a GPU's power, energy, clocks or activity stayed at 0 while it served",
        "readings of GPU {uuid} that did not change while it served are treated as unknown: {names}",
        "read another source (NVML on the GPUs' host, or --dcgm-url); MIG, vGPU and old drivers do not report some"),
    # energy
    "energy_window_short": WarningType(
        "info", "a window shorter than 60 s",
        "a window of {window_s:,.1f} s: the age of readings at its edges leaves up to {error:.2%} uncertain",
        "use a larger request set: repeats of at least {least_s:,.0f} s"),
    "energy_uncertain": WarningType(
        "warning", "the age of readings at the windows' edges leaves more than 5 % of the energy uncertain",
        "a window of {window_s:,.1f} s: the age of readings at its edges leaves up to {error:.2%} uncertain",
        "use a larger request set: repeats of at least {least_s:,.0f} s; make a DCGM exporter collect every second "
        "(-c 1000)"),
    "energy_counter_reset": WarningType(
        "warning", "an energy counter was reset within the window",
        "an energy counter was reset within the window: no energy", _REPEAT),
    "energy_counter_still": WarningType(
        "warning", "an energy counter did not move while its GPU served",
        "an energy counter did not move while its GPU served: power is integrated instead, where it is known",
        "longer repeats; a DCGM exporter that collects every second (-c 1000)"),
    "energy_no_counter": WarningType(
        "info", "the GPU has no energy counter",
        "no energy counter: power is integrated between samples", "--gpu-sample-hz 10, and repeats of minutes"),
    "energy_power_differs": WarningType(
        "warning", "counter and integrated power differ by more than 5 %",
        "the energy counter and the integrated power differ by {difference:+.1%}",
        "some GPUs' power sensors read only part of the time: longer repeats, and trust the counter"),
    "energy_whole_card": WarningType(
        "warning", "power and energy of a MIG slice are those of the whole GPU",
        "a MIG slice: power and energy are those of the whole GPU, including other slices",
        "take the slice's share by price; keep the other slices idle"),
    "energy_constant_power": WarningType(
        "info", "power is a constant that the user gave",
        "{watts:,.0f} W as given, not measured: the same at every load",
        "measure it: NVML on the GPUs' host, or --dcgm-url"),
    "energy_idle_unknown": WarningType(
        "info", "idle power was not measured", "idle power was not measured: no net energy", "--idle-power-s 60"),
    "owned_power_unknown": WarningType(
        "warning", "the price of owned GPUs needs their power, and nothing measured it",
        "the power of the owned GPUs was not measured, so no level has a cost",
        "price.owned.power_kw, --assumed-power-kw, or telemetry of the GPUs"),
    # the answers' scores ("Quality")
    "answers_unread": WarningType(
        "warning", "more than 5 % of a scenario's answers could not be read by its scorer, and count as wrong",
        "{count} of {n} answers of {scenario} could not be read ({examples}){others}",
        "look at their texts: the prompt may have to ask for another form of answer"),
    "answers_cut": WarningType(
        "warning", "more than 2 % of a scenario's answers ended at max_tokens",
        "{count} of {n} answers of {scenario} were cut at max_tokens ({examples}){others}",
        "raise --max-output-tokens"),
    "quality_partial": WarningType(
        "warning", "more than 1 % of the answers could not be judged, by no fault of theirs",
        "{count} of {n} answers could not be judged: the score is partial", "score them again: benchsuite score RUN"),
    "scored_with_salt": WarningType(
        "warning", "answers are scored to prompts that a salt against the prefix cache was written into",
        "the prompts of scored answers begin with a salt against the prefix cache, which changes the question",
        "--cache-bust field where the server has such a field, else --cache-bust off"),
    "sampled_without_seed": WarningType(
        "info", "answers are scored that were sampled: a temperature other than 0 (or the server's own), and no seed",
        "answers are sampled (temperature {temperature}) without a seed: another run has other answers",
        "--temperature 0; or more repeats, whose answers are averaged"),
    "quality_falls": WarningType(
        "warning", "a lower score than at the lowest level, on the same items (paired, Holm over all levels)",
        "the same items score {fall:.1f} points lower than at {below.at} ({low:.1f} to {high:.1f}; p = {p:.2g}, Holm)",
        "look whether answers fail or are cut (check --quality); a limit such as score>=0.7 keeps such a level out"),
    # levels against each other, and the decision
    "superlinear_scaling": WarningType(
        "warning", "output tokens/s grow more than 1.1 times as fast as concurrency",
        "output tokens/s grow faster than concurrency from {below} to {level} (elasticity {elasticity:.2f}); "
        "disturbed: {disturbed}",
        "repeat the disturbed levels; if nothing changes, check this one for prefix-cache hits"),
    "slow_level": WarningType(
        "warning", "the next level up has more tok/s/user, after a step of `superlinear_scaling`",
        "{tok_s:.2f} tok/s/user, less than the {above_tok_s:.2f} at concurrency {above}",
        "repeat this level before trusting it, or an optimum next to it: the run was disturbed"),
    "throughput_drop": WarningType(
        "warning",
        "fewer output tokens/s than at the next lower level, by more than 1 % where the intervals over several runs do "
        "not meet, else by more than 10 %; unless higher levels have no more either",
        "{tok_s:,.0f} output tok/s, less than the {below_tok_s:,.0f} at {below.at}",
        "repeat the level; if nothing changes, the server is past its peak"),
    "duration_rises": WarningType(
        "warning",
        "a longer run of the same requests than at the next lower level, by as much as `throughput_drop` asks for, and "
        "none",
        "a run takes {duration_s:,.2f} s, longer than the {below_s:,.2f} s at {below.at}",
        "repeat the level; " + _BY_TOKEN),
    "usl_residual": WarningType(
        "warning",
        "output tokens/s more than 15 % off the universal scalability law through all levels, one of which is "
        "more than 10 % below the line between its neighbours",
        "{tok_s:,.0f} output tok/s where the scalability law through all levels has {fitted_tok_s:,.0f} "
        "({residual:+.0%})",
        "one of the levels does not fit the others: repeat the disturbed ones, then check again"),
    "output_length": WarningType(
        "warning", "output tokens per response more than 5 % off the median of the levels of a closed loop",
        "{tokens:,.1f} output tokens per response, {deviation:+.1%} from the median of the levels ({median:,.1f})",
        _BY_TOKEN),
    "fragile_optimum": WarningType(
        "warning", "the optimum meets a limit by less than 1 %",
        "the optimum meets {limit} by {margin:.2%}: {value}", _EXACT),
    "near_miss": WarningType(
        "warning", "a level that would cost less than the optimum is beyond a limit by less than 1 %",
        "is beyond {misses}; otherwise it would {otherwise}", _EXACT),
    "run_cut_short": WarningType(
        "warning", "planned points were not measured to their end, or are invalid, and are not judged",
        "{missing} of {planned} points were not measured to their end, or are invalid, and are not judged: {points}",
        "resume the sweep: the optimum may be among them"),
    "damaged_files": WarningType(
        "warning", "a file of the run folder is damaged: the rest of a journal is lost, other files come from parts, "
        "impossible samples are left out",
        "{files}", "measure incomplete points again, score damaged scores again (benchsuite score RUN); "
        "no figure includes samples after the damage"),
    # scores of answers
    "judge_cannot_tell": WarningType(
        "error", "a judge's sensitivity and specificity sum to less than 1.5, or fewer than 20 control verdicts came",
        "the judge {judge} cannot tell right from wrong: sensitivity {sensitivity}, specificity {specificity}, whose "
        "sum is below {least} or unknown", "another judge, or a clearer rubric"),
    "judge_same_family": WarningType(
        "warning", "a judge's name is of the candidate's family",
        "the judge {judge} is of the same family ({family}) as {model}, and judges prefer answers like their own",
        "a judge of another maker"),
    "judge_under_test": WarningType(
        "warning", "the judge's URL is that of the server that was measured",
        "the judge {judge} is asked at the server that was measured: a model judges its own answers, and what judging "
        "leaves in its caches is in what is measured next", "a judge elsewhere; restart the server before the next "
        "measurement"),
    # tables of points from elsewhere
    "throughput_identity": WarningType(
        "warning", "a table of points has another throughput than its formula gives",
        "{where}: printed throughput {printed:g} tok/s, the formula gives {computed:.2f}",
        "output / (time * concurrency) is used; " + _SOURCE),
    "token_identity": WarningType(
        "warning", "a table of points has another total than input + output",
        "{where}: printed total {printed} tokens, input + output is {computed}", "input + output is used; " + _SOURCE),
}  # fmt: skip


# what a warning does to the figures, for the codes that do it; in braces: as the finding's values say
_EFFECTS = {
    "no figure of the level can be trusted": "concurrency_not_reached littles_law unfinished_requests "
    "unasked_responses",
    "latencies include a wait for the client's limit": "waited_for_slot",
    "TTFT includes connecting": "connections_opened",
    "figures may be too high or too low": "client_bound gpu_shared slow_level superlinear_scaling no_steady_state "
    "drift damaged_files usl_residual throughput_drop few_requests",
    "duration and $ look lower than they are": "slots_refused longest_refused prompts_cut prompt_too_long "
    "context_too_short dropped errors empty empty_under_load",
    "TTFT includes the wait": "slots_exceeded slots_unknown queue_depth ttft_breakdown_mismatch",
    "TTFT may be too low": "prefix_hits_unexpected prefix_hits_unknown",
    "throughput is too low, $ too high": "idle_users connections_closed ramp_up_down preemptions kv_cache_full "
    "gpu_thermal_throttling gpu_power_brake rate_limited silent_end body_lingers",
    "TPOT and ITL are coarser than they look": "single_chunk several_tokens_per_chunk merged_reads merged_by_sender "
    "body_compressed",
    "{effect}": "client_degraded saturated",
    "TTFT and TPOT leave these responses out": "tokens_without_chunks",
    "latencies are late by the process's lag": "kernel_stamps_refused",
    "tokens/s and $ per token are in doubt": "usage_below_chunks usage_over_cap input_tokens_unknown tokens_estimated "
    "output_tokens_unknown token_balance tokenizer_disagrees throughput_identity token_identity",
    "duration and $ per run cannot be compared between levels": "length_not_kept truncated_by_max_tokens output_length "
    "duration_rises",
    "a failure may count as a success": "finish_reason_missing finish_reason_unknown bytes_after_response",
    "means hide a slower server": "imbalance uneven_users slow_endpoint",
    "$ is not the cost of the machine": "gpus_fewer_than_endpoints gpu_count owned_power_unknown "
    "fallback_price_unknown fallback_usage_unknown",
    "energy and its cost are in doubt": "gpu_lost gpu_samples_missing gpu_reads_zero energy_window_short "
    "energy_uncertain energy_counter_reset energy_counter_still energy_no_counter energy_power_differs "
    "energy_whole_card energy_constant_power energy_idle_unknown",
    "the score is lower than the model's": "answers_unread answers_cut",
    "no figure is ranked by the score": "quality_partial",
    "the score is that of other questions": "scored_with_salt",
    "the score differs from run to run": "sampled_without_seed",
    "what is cheaper there is worse": "quality_falls",
    "the judge's scores rank nothing": "judge_cannot_tell",
    "the judge's scores may be too high": "judge_same_family judge_under_test",
    "another level may be the optimum": "fragile_optimum near_miss run_cut_short",
    "no figure changes": "api_key_readable usage_without_reasoning events_not_separated not_json_after_end "
    "last_chunk_missing length_and_chunked loose_http content_type_of_another fallback_used gpu_util_low gpu_memory "
    "gpu_memory_reserved gpu_power_capped",
}
EFFECTS = {code: effect for effect, codes in _EFFECTS.items() for code in codes.split()}

# A level with one of these proves nothing: its figures may belong to another load, or be too high or too low. A miss
# stands under one that only flatters.
DISTURBING: dict[str, Literal["flatters", "either"]] = {
    "client_bound": "either", "concurrency_not_reached": "either", "littles_law": "either",
    "unfinished_requests": "either", "gpu_shared": "either", "slow_level": "either",
    "prefix_hits_unexpected": "flatters", "unasked_responses": "either", "silent_end": "either",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader must know before trusting a number, with its text from WARNINGS. Raises KeyError for a code
    that the table does not have, and for a value that a template lacks.
    """

    code: str
    level: Level | None = None
    values: Mapping[str, Any] = field(default_factory=dict, hash=False)
    severity: Severity = field(init=False, compare=False)
    finding: str = field(init=False, compare=False)
    effect: str = field(init=False, compare=False)
    remedy: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        kind, values = WARNINGS[self.code], {**self.values, "level": self.level}
        for name, text in (
            ("severity", kind.severity),
            ("finding", kind.finding.format_map(values)),
            ("effect", EFFECTS[self.code].format_map(values)),
            ("remedy", kind.remedy.format_map(values)),
        ):
            object.__setattr__(self, name, text)


def warn(code: str, level: Level | None = None, **values: Any) -> Finding:
    return Finding(code, level, values)


_OF_SERVER = re.compile(r" \(([^():]+): (--[^)]*)\)")


def remedy_here(finding: Finding, had: Mapping[str, bool], server: str | None) -> Finding:
    """The finding with a remedy that works in its run: none that asks for what the run had, or of another server.

    had: names of _CLAUSES. server: its title, None where it is not known; then the flags of all stay, each by its name.
    """
    found, remedy = Finding(finding.code, finding.level, finding.values), finding.remedy
    for name, clause in _CLAUSES.items():
        remedy = remedy.replace(*clause) if had.get(name) else remedy
    if server is not None:
        remedy = _OF_SERVER.sub(lambda named: f" ({named[2]})" * (server in named[1].split(", ")), remedy)
    object.__setattr__(found, "remedy", remedy)
    return found
