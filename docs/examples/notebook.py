"""What a notebook does with a run: `python docs/examples/notebook.py [RUN]`, from the root of the repository.

Every name is in `help(benchsuite)`; `benchsuite.columns("levels")` says what the columns of a table mean.
"""

import sys

import benchsuite

run = benchsuite.read_run(sys.argv[1] if len(sys.argv) > 1 else "results/examples/demo")

# one row a level, as `benchsuite decide` prints it, with the ends of the 95 % intervals
levels = benchsuite.summarise(run).set_index("concurrency")
shown = ["ttft_p95_s", "ttft_p95_s_low", "ttft_p95_s_high", "output_tok_s", "cost_usd", "slo_verdict"]
print(levels[shown].round(6).to_string())

# one row a request: anything that pandas can ask
ok = run.requests[run.requests["whole"] & (run.requests["status"] == "ok")]
slowest = ok.groupby("prompt_id")["ttft_s"].mean().sort_values(ascending=False)
print(f"\nslowest prompt: {slowest.index[0]}, mean TTFT {slowest.iloc[0]:.3f} s")

# another promise, another price; nothing is measured again
for slo in ("ttft_mean<1s,output_throughput_per_user>50", "ttft_p95<200ms"):
    found = benchsuite.find_optimum(run, slo=slo, usd_per_hour=0.10)
    if found.kind == "optimum":
        print(f"{slo}: {found.recommended.point.level.users} users, ${found.recommended.cost.cost_usd:.6f} a run")
    else:
        print(f"{slo}: {found.reason}")
