"""The two sides: each method runs one program once and returns what a line of results says."""

import json
import os
import re
import statistics
import subprocess
from pathlib import Path

import runs
from runs import ROOT

HERE = Path(__file__).resolve().parent
SMALL = ROOT / "configs/fashion_mnist/network.toml"
LARGE = ROOT / "configs/cifar10_ddpm.toml"
# name: (the peer's network, images a rank, shape of an image, our config)
NETWORKS = {
    "small": ("small", 64, (1, 28, 28), SMALL),
    "large": ("large", 8, (3, 32, 32), LARGE),
}
# What the peer is asked for: options of ../train_step.py.
MODES = {
    "eager": ["--layout", "contiguous"],
    "channels-last": [],
    "bmm": ["--layout", "contiguous", "--attention", "bmm"],
    "bf16": ["--layout", "contiguous", "--precision", "bf16"],
    "bf16-bmm": ["--layout", "contiguous", "--precision", "bf16", "--attention", "bmm"],
    "bf16-channels-last": ["--precision", "bf16", "--attention", "bmm"],
    "compile": ["--layout", "contiguous", "--mode", "compile"],
    "compile-bmm": ["--layout", "contiguous", "--mode", "compile", "--attention", "bmm"],
    "compile-bf16": ["--layout", "contiguous", "--mode", "compile", "--precision", "bf16"],
    "compile-bf16-bmm": "--layout contiguous --mode compile --precision bf16".split()
    + ["--attention", "bmm"],
}
EVALUATIONS = {"heun": "heun18", "ode": "ode", "elbo": "elbo"}
LOADED_IMAGES = 20000


def last_json(done):
    """The object in the last line that a program printed."""
    lines = done.printed.splitlines()
    if not lines:
        raise runs.Failure("it printed nothing")
    return json.loads(lines[-1])


def write_npy(path, shape):
    """Random bytes, as numpy.save would write them."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    size = 1
    for n in shape:
        size *= n
    path.write_bytes(
        b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + os.urandom(size)
    )


class Side:
    def __init__(self, variables, patience):
        self.variables = variables
        self.patience = patience

    def run(self, command):
        self.command = " ".join(str(word) for word in command)
        return runs.run(command, self.variables, self.patience)


class Peer(Side):
    def __init__(self, python, variables, patience):
        super().__init__(variables, patience)
        self.python = python

    def call(self, options, mode):
        command = [self.python, HERE.parent / "train_step.py", "--device", "cpu", "--threads", 1]
        more = MODES[mode]
        if "--precision" not in more:
            command += ["--precision", "fp32"]
        done = self.run([*command, *options, *more])
        said = last_json(done)
        if "images_per_s" not in said:
            raise runs.Failure(said.get("error") or said.get("stopped") or "no figure")
        figures = {name: said[name] for name in ("images_per_s", "network_images_per_s", "weights")}
        figures |= {"peak_mib": done.peak_mib}
        return figures | {"first_step_s": said["first_call_ended"] - done.began}

    def step(self, network, batch, ranks, steps, mode, more=("--warmup", 2)):
        options = ["--network", network, "--batch", batch, "--ranks", ranks]
        return self.call([*options, "--steps", steps, *more], mode)

    def evaluation(self, what, batch, rk4_steps, mode):
        options = ["--network", "small", "--batch", batch, "--steps", 1, "--warmup", 1]
        options += ["--what", EVALUATIONS[what], "--rk4-steps", rk4_steps]
        return self.call(options, mode)

    def loader(self):
        done = self.run([self.python, HERE / "h5py_loader.py", LOADED_IMAGES])
        return last_json(done)


class Ours(Side):
    def __init__(self, build, folder, variables, patience):
        super().__init__(variables, patience)
        self.build = build
        self.folder = folder

    def images(self, shape, count):
        path = self.folder / f"images-{count}-{'x'.join(map(str, shape))}.npy"
        if not path.exists():
            write_npy(path, (count, *shape))
        return path

    def train(self, config, shape, keys, launch):
        """Runs so long as `keys` say. Returns (what the run was, its folder)."""
        count = max(512, 2 * keys["train.batch_size"])
        keys = {
            "data.path": self.images(shape, count),
            "data.splits": f"{{ train = '0:{count - 64}', validation = '{count - 64}:' }}",
            "diffusion.prediction": "eps",
            "diffusion.loss": "simple",
            "diffusion.schedule": "vp_linear",
            "diffusion.time_sampling": "stratified",
            "train.duration_kimg": 0,
            "train.warmup_steps": 0,
            "checkpoint.every": 0,
            "eval.every": 0,
            "run.progress": "lines",
            **keys,
        }
        run = self.folder / "run"
        subprocess.run(["rm", "-rf", run], check=True)
        command = [*launch, self.build / "bin/scorenet", "train", config, "--outdir", run]
        for key, value in keys.items():
            command += [f"--{key}", value]
        return self.run(command), run

    def step(self, config, shape, batch, ranks, steps, precision, pinned=False, more=None):
        """The median of the status lines but the first, each of a fifth of the steps."""
        launch = ["mpirun", "-n", ranks, "--bind-to", "core" if pinned else "none"]
        keys = {"train.batch_size": ranks * batch, "train.precision": precision}
        keys |= {"train.steps": steps, "run.tick": max(1, steps // 5), **(more or {})}
        done, run = self.train(config, shape, keys, launch)
        ticks = [json.loads(line) for line in open(run / "stats.jsonl", encoding="utf-8")]
        figures = {"peak_mib": done.peak_mib}
        figures["images_per_s"] = statistics.median(t["images_per_sec"] for t in ticks[1:])
        figures |= shares(ticks[1:], ranks * batch)
        found = re.search(r"(\d+) parameters", (run / "log.txt").read_text(encoding="utf-8"))
        return figures | {"weights": int(found[1])}

    def first_step_s(self, config, shape, batch, ranks, precision):
        """From the command to the line that the first step writes, which is the run's last."""
        launch = ["mpirun", "-n", ranks, "--bind-to", "none"]
        keys = {"train.batch_size": ranks * batch, "train.precision": precision}
        keys |= {"train.steps": 1, "run.tick": 1}
        done, run = self.train(config, shape, keys, launch)
        return (run / "stats.jsonl").stat().st_mtime - done.began

    def evaluation(self, what, batch, rk4_steps, precision):
        command = [self.build / "benchmarks/evaluation_benchmark", SMALL, "--shape", "1,28,28"]
        command += ["--what", EVALUATIONS[what], "--batch", batch, "--batches", 1]
        command += ["--rk4-steps", rk4_steps, "--train.precision", precision]
        done = self.run(command)
        said = last_json(done)
        figures = {name: said[name] for name in ("images_per_s", "network_images_per_s")}
        return figures | {"peak_mib": done.peak_mib}

    def loader(self):
        """(Of the loader, of the same bytes by memcpy) from a contiguous file."""
        command = [self.build / "benchmarks/batch_loader_benchmark", LOADED_IMAGES]
        printed = self.run(command).printed
        names = ("loader, contiguous", "memcpy, contiguous")
        found = [re.search(rf"^{name} +\d+ +(\d+)", printed, re.M) for name in names]
        if None in found:
            raise runs.Failure(f"no line of {' or '.join(names)}: {printed[-500:]}")
        return [{"images_per_s": float(one[1])} for one in found]


def shares(ticks, images):
    """Medians of the parts of a step: of waiting for other ranks, and of all that is neither this
    nor the passes nor the update. `images`: of a step, all ranks."""
    outside, communication = [], []
    for tick in ticks:
        whole = images / tick["images_per_sec"]
        phases = tick["phase_sec"]
        inside = sum(phases[name] for name in ("forward", "backward", "update"))
        communication.append(phases["communication"] / whole)
        outside.append(1 - (inside + phases["communication"]) / whole)
    return {
        "outside_share": statistics.median(outside),
        "communication_share": statistics.median(communication),
    }
