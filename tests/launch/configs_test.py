#!/usr/bin/env python3
"""Every config of configs/: --dry-run as it stands, two steps of a narrower network, its row in
the gallery.

    configs_test.py PROGRAM      exit 0 if all hold, 1 if not

configs/README.md must link each config or its folder's page, and state the number of weights that
--dry-run prints. The data are random images of the config's size, or points. The configs of
configs/sites have data of their own (sites_test.py).
"""

import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pages_test

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "configs/README.md"
COUNT = 48  # images
CLASSES = 10
# The shape of a config's examples, by its name.
SHAPES = [
    (r"imagenet64", (3, 64, 64)),
    (r"imagenet32|cifar10", (3, 32, 32)),
    (r"fashion_mnist|quickstart", (1, 28, 28)),
    (r"path_integral", (2,)),
]
# One narrow network a kind; what the rest of a config asks of its step stays.
NARROW = {
    "points": [],
    "images": ["--model.layers_per_block", "1", "--model.norm_groups", "8"]
    + ["--model.attention_head_dim", "8"],
}
SHORT = [
    *("--train.batch_size", "4", "--train.micro_batch", "0", "--train.steps", "2"),
    *("--train.duration_kimg", "0", "--train.warmup_steps", "0", "--train.lr_rampup_kimg", "-1"),
    *("--checkpoint.every", "0"),
    *("--eval.every", "0", "--run.threads", "1"),
]


def shape_of(config):
    name = str(config.relative_to(ROOT / "configs"))
    for pattern, shape in SHAPES:
        if re.search(pattern, name):
            return shape
    raise SystemExit(f"{name}: SHAPES of this test does not say which examples it trains on")


def run(program, *arguments):
    return subprocess.run(
        [program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def make_data(program, folder, shape):
    out = folder / ("x".join(map(str, shape)) + ".h5")
    if out.exists():
        return out
    if len(shape) == 1:
        kind = ("--kind", "gaussians25", "--train", COUNT, "--validation", COUNT, "--test", COUNT)
        made = run(program, "data", "synthesize", *kind, "--out", out)
    else:
        images, labels = folder / "images.npy", folder / "labels.npy"
        size = COUNT * shape[0] * shape[1] * shape[2]
        pages_test.npy(images, (COUNT, *shape), "|u1", random.Random(0).randbytes(size))
        pages_test.npy(labels, (COUNT,), "|u1", bytes(i % CLASSES for i in range(COUNT)))
        sources = ("--npy", images, "--labels", labels, "--validation", 8)
        made = run(program, "data", "convert", *sources, "--out", out)
    if made.returncode != 0:
        raise SystemExit(made.stdout)
    return out


def narrow(config, shape):
    """As many levels as the config has, of 16 channels each."""
    if len(shape) == 1:
        return NARROW["points"]
    levels = re.search(r"^channels = \[([^]]*)\]", config.read_text(), re.M)
    channels = ",".join(["16"] * (levels.group(1).count(",") + 1 if levels else 3))
    return [*NARROW["images"], "--model.channels", channels]


def wrong_gallery(config, weights):
    """What the page says of the config that is not so."""
    page = GALLERY.read_text()
    name = str(config.relative_to(ROOT / "configs"))
    rows = [line for line in page.splitlines() if f"({name})" in line]
    if not rows and f"({Path(name).parent}/README.md)" not in page:
        yield "configs/README.md does not link it"
    for stated in re.findall(r"\| (\d{1,3}(?:,\d{3})+) \|", " ".join(rows)):
        if int(stated.replace(",", "")) != weights:
            yield f"configs/README.md says {stated} weights, --dry-run {weights:,}"


def faults(program, config, folder):
    shape = shape_of(config)
    path = ["--data.path", make_data(program, folder, shape)]
    outdir = folder / "runs" / config.stem
    dry = run(program, "train", config, "--outdir", outdir, *path, "--dry-run")
    weights = re.search(r"^network .*?(\d+) parameters", dry.stdout, re.M)
    if dry.returncode != 0 or not weights:
        yield f"--dry-run: {dry.stdout[-500:]}"
        return
    yield from wrong_gallery(config, int(weights.group(1)))
    keys = [*path, *narrow(config, shape), *SHORT]
    trained = run(program, "train", config, "--outdir", outdir, *keys)
    if trained.returncode != 0 or not list(outdir.glob("snapshots/*-0000002*.safetensors")):
        yield f"two steps: {trained.stdout[-500:]}"


def main():
    program = Path(sys.argv[1]).resolve()
    configs = [c for c in sorted((ROOT / "configs").rglob("*.toml")) if c.parent.name != "sites"]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for config in configs:
            found = list(faults(program, config, Path(folder)))
            wrong += bool(found)
            for fault in found:
                print(f"FAILED {config.relative_to(ROOT)}: {fault}")
            if not found:
                print(f"ok {config.relative_to(ROOT)}")
    print(f"{len(configs)} configs, {wrong} failed")
    return 1 if wrong or not configs else 0


if __name__ == "__main__":
    sys.exit(main())
