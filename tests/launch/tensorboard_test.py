#!/usr/bin/env python3
"""A run's event files, as the real TensorBoard reads them: also after a resume from an earlier
step.

    tensorboard_test.py PROGRAM      exit 0 if all hold, 1 if not, 77 where there is no TensorBoard

The reader is the tensorboard that python3 imports, else PyPI's, fetched into .deps/ on first use.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import cases
import wheels

CONFIG = """
[data]
path = "{folder}/images.npy"
splits = {{ train = "0:40", validation = "40:60" }}
channel_axis = "none"
[model]
channels = [8, 8]
layers_per_block = 1
norm_groups = 4
attention_head_dim = 4
[diffusion]
schedule = "vdm_linear"
loss = "{loss}"
[train]
batch_size = 8
steps = 40
warmup_steps = 2
[checkpoint]
every = 20
[eval]
every = 20
n = 4
time_samples = 1
samples = 4
sampler_steps = 2
[run]
tick = 5
threads = 1
"""


def write_images(path):
    """60 grey images of 8 x 8, as numpy writes them."""
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (60, 8, 8), }"
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    pixels = bytes((7 * i + 13 * (i // 64)) % 256 for i in range(60 * 64))
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + pixels)


class Run:
    """A small training, and what TensorBoard shows of it."""

    def __init__(self, program, folder, name, loss="elbo"):
        self.program, self.outdir = program, folder / name
        self.config = folder / f"{name}.toml"
        self.config.write_text(CONFIG.format(folder=folder, loss=loss))

    def train(self, *more):
        command = [self.program, "train", self.config, "--outdir", self.outdir, *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    def events(self):
        return sorted(self.outdir.glob("events.out.tfevents.*"))

    def reader(self):
        from tensorboard.backend.event_processing import plugin_event_accumulator

        return plugin_event_accumulator.EventAccumulator(
            str(self.outdir), tensor_size_guidance={"": 0} | dict.fromkeys(PLUGINS, 0)
        )


def records(data):
    """The records of an event file: version, start, ..."""
    parts = []
    while data:
        size = 16 + struct.unpack("<Q", data[:8])[0]
        parts.append(data[:size])
        data = data[size:]
    return parts


PLUGINS = ("scalars", "images", "histograms", "text")


def arrays(reader, tag):
    from tensorboard.util import tensor_util

    return [(e.step, tensor_util.make_ndarray(e.tensor_proto)) for e in reader.Tensors(tag)]


def steps(reader, tag):
    return [step for step, _ in arrays(reader, tag)]


def check_ticks(reader, run):
    """Every number of stats.jsonl, at its step, once."""
    ticks = [json.loads(line) for line in (run.outdir / "stats.jsonl").read_text().splitlines()]
    assert [t["step"] for t in ticks] == list(range(5, 41, 5))
    for tag, field in [
        ("train/loss", "loss"),
        ("train/grad_norm", "grad_norm"),
        ("train/kimg", "kimg"),
        ("time/images_per_sec", "images_per_sec"),
        ("memory/cpu_mem_gb", "cpu_mem_gb"),
    ]:
        shown = arrays(reader, tag)
        assert [s for s, _ in shown] == [t["step"] for t in ticks], (tag, shown)
        for (_, value), tick in zip(shown, ticks):
            assert abs(value - tick[field]) <= 1e-6 * abs(tick[field]), (tag, value, tick[field])
    assert steps(reader, "step_seconds/forward") == [t["step"] for t in ticks]
    for (step, bars), tick in zip(arrays(reader, "loss_over_log_snr"), ticks):
        clean, noisy = tick["log_snr"]
        wide = (clean - noisy) / 20
        for left, right, height in bars:
            index = round((clean - right) / wide)
            loss = tick["loss_by_log_snr"][index] or 0
            assert abs(height - max(loss, 0)) <= 1e-5 * (1 + abs(loss)), (step, index, height, loss)
            assert abs(right - left - wide) < 1e-4


def check_evaluations(reader, run):
    rows = [line.split(",") for line in (run.outdir / "metrics.csv").read_text().splitlines()[1:]]
    written = [(int(s), n, float(v)) for s, n, v in rows if n.startswith("elbo")]
    assert written, rows
    for name in {n for _, n, _ in written}:
        shown = [(s, float(v)) for s, v in arrays(reader, "eval/" + name)]
        expected = [(s, v) for s, n, v in written if n == name]
        assert len(shown) == len(expected), (name, shown, expected)
        for (step, value), (its_step, its_value) in zip(shown, expected):
            assert step == its_step and abs(value - its_value) <= 1e-6 * abs(its_value)
    for tag, mark in ("samples/average", ""), ("samples/raw", "raw-"):
        grids = arrays(reader, tag)
        assert [s for s, _ in grids] == [20, 40], (tag, grids)
        for step, (width, height, png) in grids:
            file = run.outdir / "samples" / f"grid-{mark}{step:07d}.png"
            assert png == file.read_bytes()
            assert (int(width), int(height)) == struct.unpack(">II", png[16:24])


def lose_the_last_checkpoint(run):
    for path in sorted((run.outdir / "checkpoints" / "0000040").iterdir()):
        path.unlink()
    (run.outdir / "checkpoints" / "0000040").rmdir()


def test_each_step_once_after_a_resume_from_an_earlier_one(program, folder):
    run = Run(program, folder, "resumed")
    run.train()
    watching = run.reader()
    watching.Reload()
    check_ticks(watching, run)
    check_evaluations(watching, run)
    assert len(run.events()) == 1
    config = arrays(watching, "config")
    assert len(config) == 1 and config[0][0] == 0, config
    assert b'    schedule = "vdm_linear"' in config[0][1].item(), config
    lose_the_last_checkpoint(run)
    run.train("--checkpoint.keep", "7")
    assert len(run.events()) == 2
    watching.Reload()  # one that was open meanwhile, and one that sees both files at once
    later = run.reader()
    later.Reload()
    for reader in watching, later:
        check_ticks(reader, run)
        check_evaluations(reader, run)
        texts = arrays(reader, "config")
        assert [s for s, _ in texts] == [0, 21], texts
        assert b"    keep = 7\n" in texts[1][1].item()


def test_without_the_start_event_steps_would_stand_twice(program, folder):
    """What the test above would miss if the reader removed doubles by itself."""
    run = Run(program, folder, "doubled")
    run.train()
    first = run.events()[0]
    version, _, *rest = records(first.read_bytes())
    first.with_name("events.out.tfevents.9999999999.z").write_bytes(b"".join([version, *rest]))
    reader = run.reader()
    reader.Reload()
    assert len(steps(reader, "train/loss")) == 16


def test_off_means_no_file(program, folder):
    run = Run(program, folder, "off")
    run.train("--run.tensorboard", "false", "--train.steps", "5", "--eval.every", "0")
    assert not run.events()


def main():
    program = Path(sys.argv[1]).resolve()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("LD_PRELOAD", None)
    if not wheels.find("tensorboard", "2.21.0", "protobuf", "numpy", "absl-py"):
        return wheels.SKIPPED
    with tempfile.TemporaryDirectory(prefix="scorenet-tensorboard-") as name:
        folder = Path(name)
        write_images(folder / "images.npy")
        return cases.run(globals(), program, folder)


if __name__ == "__main__":
    sys.exit(main())
