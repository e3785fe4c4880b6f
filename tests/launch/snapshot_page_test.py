#!/usr/bin/env python3
"""The Python of framework/checkpoint/README.md opens a snapshot as the page says.

    snapshot_page_test.py PROGRAM      exit 0 if all hold, 1 if not, 77 without safetensors

The page reads into PyTorch; a Python without it reads into numpy here.
"""

import importlib.util
import json
import re
import struct
import sys
import tempfile
import tomllib
from pathlib import Path

import cases
import tensorboard_test
import wheels

PAGE = wheels.ROOT / "framework/checkpoint/README.md"


def page_code():
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)[1]
    assert len(code.splitlines()) <= 15, code
    if importlib.util.find_spec("torch") is None:
        assert code.count('"pt"') == 1
        code = code.replace('"pt"', '"np"')
    return code


def by_hand(path):
    """Name -> (shape, bytes), read as the format of safetensors says."""
    data = path.read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:begin])
    del header["__metadata__"]
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        tensors[name] = entry["shape"], data[begin + first : begin + last]
    return tensors


def test_weights_config_and_step(run):
    (path,) = run.outdir.glob("snapshots/*0000040*.safetensors")
    names = {}
    exec(page_code(), names)
    weights, config, step = names["load"](path)
    expected = by_hand(path)
    assert step == 40
    assert weights.keys() == expected.keys() and "conv_in.weight" in weights
    for name, (shape, content) in expected.items():
        assert list(weights[name].shape) == shape, name
        values = weights[name] if hasattr(weights[name], "tobytes") else weights[name].numpy()
        assert values.tobytes() == content, name
    assert config["model"]["channels"] == [8, 8]
    assert config == tomllib.loads((run.outdir / "config.toml").read_text()), config


def main():
    program = Path(sys.argv[1]).resolve()
    if not wheels.find("safetensors", "0.5.3", "numpy"):
        return wheels.SKIPPED
    with tempfile.TemporaryDirectory(prefix="scorenet-snapshot-") as name:
        folder = Path(name)
        tensorboard_test.write_images(folder / "images.npy")
        run = tensorboard_test.Run(program, folder, "run")
        run.train("--eval.every", "0")
        return cases.run(globals(), run)


if __name__ == "__main__":
    sys.exit(main())
