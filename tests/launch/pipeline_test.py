#!/usr/bin/env python3
"""Folders that `convert to-diffusers` writes, opened and sampled by diffusers itself.

    pipeline_test.py PROGRAM      exit 0 if all hold, 1 if not, 77 without torch and diffusers

Needs torch and diffusers (0.42.1 was used) in the Python that runs it, or in $DIFFUSERS_PYTHON.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

python = os.environ.pop("DIFFUSERS_PYTHON", "")
if python:
    os.execv(python, [python, *sys.argv])
if not (importlib.util.find_spec("torch") and importlib.util.find_spec("diffusers")):
    print("skipped: no torch and diffusers in this Python")
    sys.exit(77)

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="scorenet_hub_")
import numpy as np  # noqa: E402
import torch  # noqa: E402
from diffusers import DDPMPipeline, DiffusionPipeline, UNet2DModel  # noqa: E402

CONFIG = """
[data]
path = "images.h5"
[model]
channels = [16, 16]
attention = [false, true]
norm_groups = 4
[train]
batch_size = 8
steps = 4
[ema]
decays = [0.9]
[eval]
every = 0
[run]
threads = 1
"""
SIMPLE = "--diffusion.schedule vp_linear --diffusion.loss simple"
ADM = " --model.scale_shift true --model.residual_resampling true,true --model.mid_norm_groups 0"
CASES = {  # name: (keys, opened by DDPMPipeline alone)
    "vdm": ("--diffusion.schedule vdm_linear --diffusion.prediction v", True),
    "cosine_x0": ("--diffusion.schedule vp_cosine --diffusion.prediction x0", True),
    "numbered": (SIMPLE + " --model.timesteps 1000", True),
    "adm": (SIMPLE + ADM, True),
    "classes": ("--data.labels true --model.num_classes 3 --diffusion.schedule vp_cosine", False),
    "edm": ("--diffusion.schedule edm --diffusion.prediction F --diffusion.loss edm", False),
    "flow": ("--diffusion.schedule flow --diffusion.prediction v --diffusion.loss simple", False),
}


def scorenet(*words):
    done = subprocess.run([program, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"scorenet {' '.join(words)}: exit {done.returncode}\n{done.stderr}")


def exported(name, keys):
    scorenet("train", "tiny.toml", "--outdir", name, *keys.split())
    snapshot = next(Path(name, "snapshots").iterdir())
    scorenet("convert", "to-diffusers", str(snapshot), "--outdir", name + "_there")
    back = name + "_back.safetensors"
    scorenet("convert", "from-diffusers", name + "_there", "--out", back)
    return name + "_there"


def check_levels(folder):
    """The scheduler's steps are 1 / 25 nat apart, as the network is told them."""
    left = DDPMPipeline.from_pretrained(folder).scheduler.alphas_cumprod.double()
    log_snr = (left / (1 - left)).log().numpy()
    steps = np.diff(log_snr)
    clear = log_snr[1:] < 10  # beyond, float32 has few digits of 1 - alpha
    assert np.allclose(steps[clear], -1 / 25, atol=4e-3), np.abs(steps[clear] + 1 / 25).max()


def sampled(pipe, folder, **more):
    x = pipe(batch_size=3, num_inference_steps=20, generator=torch.manual_seed(0), **more)[0]
    images = np.stack([np.asarray(image, dtype=np.float64) for image in x])
    assert images.shape[:3] == (3, 8, 8), images.shape
    assert np.isfinite(images).all()
    return images


def check(name, keys, plain):
    folder = exported(name, keys)
    UNet2DModel.from_pretrained(folder, subfolder="unet")
    if plain:
        sampled(DDPMPipeline.from_pretrained(folder), folder)
        if name != "numbered":
            check_levels(folder)
        return
    pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
    assert type(pipe).__name__ == "ScorenetPipeline", type(pipe)
    first = sampled(pipe, folder)
    assert np.array_equal(first, sampled(pipe, folder))
    if name == "classes":
        sampled(pipe, folder, class_labels=[0, 1, 2], guidance_scale=2.0)


def main():
    os.chdir(tempfile.mkdtemp(prefix="scorenet_pipeline_"))
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    np.save("images.npy", images)
    np.save("labels.npy", np.arange(40) % 3)
    scorenet(*"data convert --npy images.npy --labels labels.npy --validation 8".split(),
             "--out", "images.h5")
    Path("tiny.toml").write_text(CONFIG)
    failures = 0
    for name, (keys, plain) in CASES.items():
        try:
            check(name, keys, plain)
            print(f"ok {name}", flush=True)
        except (Exception, SystemExit) as error:
            failures += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
    return 1 if failures else 0


program = str(Path(sys.argv[1]).resolve())
sys.exit(main())
