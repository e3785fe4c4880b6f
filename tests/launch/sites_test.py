#!/usr/bin/env python3
"""The five sites of configs/sites: every command of the page as it stands, on one rank and on two.

    sites_test.py PROGRAM      exit 0 if all hold, 1 if not

pages_test.py knows what a command is and makes the trainings short; here each block runs twice,
with `mpirun -n 1` in place of `mpirun -n 2` the first time, and must leave a file of samples of the
layout of its data and a likelihood that is a number.
"""

import json
import math
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pages_test

PAGE = "configs/sites/README.md"
SITES = 5
# What a training is given besides: the networks are those of the configs.
TRAIN_KEYS = "--train.steps 4 --train.batch_size 4 --train.warmup_steps 1 --checkpoint.every 4 "
TRAIN_KEYS += "--eval.every 4 --eval.n 2 --run.threads 1"


def on_ranks(line, ranks):
    return line.replace("mpirun -n 2", f"mpirun -n {ranks} --oversubscribe")


def prepare(folder, program):
    pages_test.TRAIN_KEYS = TRAIN_KEYS.split()
    pages_test.VALUES["--seeds"] = "0-15"
    # The channels of other pages' networks.
    pages_test.WRAPPER = re.sub(r".*model\.channels.*\n", "", pages_test.WRAPPER)
    pages_test.prepare(folder, program)


def wrong_results(folder):
    """What the commands of a block must have left and did not."""
    reports = sorted(folder.glob("runs/*/likelihood.json"))
    if len(reports) != 1:
        yield f"{len(reports)} reports of a likelihood"
    for report in reports:
        for name, metric in json.loads(report.read_text())["metrics"].items():
            if not math.isfinite(metric["nats_mean"] or math.nan):
                yield f"{report}: {name} is {metric['nats_mean']}"
    samples = [p for p in folder.glob("runs/*/samples.*") if p.suffix in (".h5", ".npy")]
    if len(samples) != 1:
        yield f"{len(samples)} files of samples"


def main():
    program = Path(sys.argv[1]).resolve()
    failures = []
    blocks = [
        [line for line, is_command in pages_test.commands(lines) if is_command]
        for lines in pages_test.blocks(PAGE)
    ]
    blocks = [lines for lines in blocks if any(re.search(r"\btrain\b", line) for line in lines)]
    for ranks in (1, 2):
        for lines in blocks:
            folder = Path(tempfile.mkdtemp(prefix="scorenet_sites_"))
            environment = pages_test.environment_of(folder)
            try:
                prepare(folder, program)
                code, output = pages_test.run_block(
                    [on_ranks(line, ranks) for line in lines], folder, environment
                )
                problems = [f"exit {code}\n{output[-2500:]}"] if code else wrong_results(folder)
                failures += [f"{ranks} ranks, {lines[2]}: {problem}" for problem in problems]
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            print(f"{ranks} ranks: {lines[2]}", flush=True)
    if len(blocks) != SITES:
        failures.append(f"{PAGE} has {len(blocks)} blocks that train, expected {SITES}")
    for failure in failures:
        print("FAILED " + failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
