#!/usr/bin/env python3
"""launch/export_network.py: what it writes, what it refuses, and that the program reads it.

    export_network_test.py PROGRAM     exit 0 if all hold, 1 if not, 77 without PyTorch
"""

import json
import math
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import cases
import torch_python

torch_python.run_with("torch")
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "launch/export_network.py"
sys.path.insert(0, str(SCRIPT.parent))
from export_network import export  # noqa: E402

SHAPE = (2, 3, 3)


class Plain(torch.nn.Module):
    """Dropout and a weight: what export must switch off, and what it must keep."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(2, 2, 3, padding=1)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x, level):
        return self.dropout(self.layer(x)) + level.reshape(-1, 1, 1, 1)


class Untyped(Plain):
    """Source that TorchScript cannot read."""

    def forward(self, x, level, **more):
        return super().forward(x, level)


class InABox(Plain):
    """The tensor as diffusers and azula return it."""

    class Box:
        def __init__(self, sample):
            self.sample = sample

    def forward(self, x, level):
        return self.Box(self.layer(x) * level.reshape(-1, 1, 1, 1))


class TimeFirst(torch.nn.Module):
    def forward(self, time, x):
        return x * time.reshape(-1, 1, 1, 1)


class WithLabel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(4, 2)

    def forward(self, x, level, label):
        return x * level.reshape(-1, 1, 1, 1) + self.table(label).reshape(-1, 2, 1, 1)


class WithVector(torch.nn.Module):
    def forward(self, x, level, label):
        return x * level.reshape(-1, 1, 1, 1) + label.reshape(-1, 2, 1, 1)


class OfOneBatch(Untyped):
    """Another function for large batches, which a trace of a small one does not hold."""

    def forward(self, x, level, **more):
        return x if x.shape[0] < 3 else 2 * x


class GaussianDenoiser(torch.nn.Module):
    """E[x0 | x] for data N(0, 0.6^2): what EDM's networks return."""

    def __init__(self):
        super().__init__()
        self.variance = torch.nn.Parameter(torch.tensor(0.36))

    def forward(self, x, sigma):
        s = sigma.reshape(-1, 1, 1, 1)
        return self.variance / (self.variance + s * s) * x


def exported(folder, network, name="net.pt", **options):
    path = folder / name
    return export(network, str(path), SHAPE, **options), torch.jit.load(str(path))


def expect_same(loaded, network, *inputs):
    with torch.no_grad():
        expected = network.eval()(*inputs)
        assert torch.allclose(loaded(*inputs), expected, rtol=1e-5, atol=1e-6)


def numbers(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *SHAPE, generator=generator), torch.rand(batch, generator=generator)


def test_a_module_is_scripted_or_traced_with_its_values(folder, program):
    for network, way in ((Plain(), "scripted"), (Untyped(), "traced")):
        done, loaded = exported(folder, network.train())
        assert done == way, done
        for batch in (1, 4, 7):
            expect_same(loaded, network, *numbers(batch, batch))
        assert all(p.requires_grad for p in loaded.parameters())


def test_the_tensor_is_taken_out_of_what_a_library_returns(folder, program):
    network = InABox()
    _, loaded = exported(folder, network)
    x, level = numbers(3)
    with torch.no_grad():
        assert torch.allclose(loaded(x, level), network(x, level).sample, atol=1e-6)


def test_a_level_in_front_goes_behind(folder, program):
    _, loaded = exported(folder, TimeFirst(), flip=True)
    x, level = numbers(3)
    assert torch.allclose(loaded(x, level), TimeFirst()(level, x))


def test_labels_are_an_index_or_a_vector(folder, program):
    x, level = numbers(4)
    network = WithLabel()
    _, loaded = exported(folder, network, label=3)
    expect_same(loaded, network, x, level, torch.tensor([0, 1, 2, 3]))
    _, loaded = exported(folder, WithVector(), label=[0, 1])
    expect_same(loaded, WithVector(), x, level, torch.rand(4, 2))


def test_a_module_that_is_another_function_for_other_batches_is_refused(folder, program):
    path = folder / "refused.pt"
    try:
        export(OfOneBatch(), str(path), SHAPE)
    except ValueError as error:
        said = str(error)
    else:
        raise AssertionError("not refused")
    assert "not written" in said and "for a batch of 5" in said and "script: " in said, said
    assert not path.exists() and not Path(f"{path}.part").exists()


def test_the_command_names_a_module_and_its_function(folder, program):
    (folder / "mine.py").write_text(
        "import torch\n"
        "class Scaled(torch.nn.Module):\n"
        "    def forward(self, x, level):\n"
        "        return x * level.reshape(-1, 1, 1, 1)\n"
        "class Wrong(torch.nn.Module):\n"
        "    def forward(self, x, level):\n"
        "        return 'nothing'\n"
        "make, wrong = Scaled, Wrong\n"
    )

    def command(function):
        words = [f"mine:{function}", "--out", "made.pt", "--shape", "2,3,3"]
        return subprocess.run(
            [sys.executable, SCRIPT, *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
        )

    done = command("make")
    assert done.returncode == 0 and "made.pt: scripted" in done.stdout, done.stderr
    assert torch.jit.load(str(folder / "made.pt"))(*numbers(2)).shape == (2, *SHAPE)
    (folder / "made.pt").unlink()
    done = command("wrong")
    assert done.returncode == 1, done.stderr
    assert done.stderr == "made.pt: not written. forward returns str, expected a tensor\n"
    assert not (folder / "made.pt").exists()


def write_npy(path, rows):
    """Rows of float64 as numpy writes (rows, channels, height, width)."""
    shape = (len(rows), *SHAPE)
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    values = b"".join(struct.pack("<d", value) for row in rows for value in row)
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + values)


def test_the_program_finds_the_likelihood_of_an_exact_denoiser(folder, program):
    """The flow from sigma_min to sigma_max scales x by sqrt((s^2 + sigma_max^2) / (s^2 +
    sigma_min^2)); what arrives is compared with N(0, sigma_max^2)."""
    exported(folder, GaussianDenoiser(), "gaussian.pt")
    generator = torch.Generator().manual_seed(1)
    dims = math.prod(SHAPE)
    rows = 0.6 * torch.randn(8, dims, generator=generator, dtype=torch.float64)
    write_npy(folder / "x.npy", rows.tolist())
    command = [program, "evaluate", "--network", "gaussian.pt", "--convention", "edm", "--data"]
    command += ["x.npy", "--split", "all", "--metrics", "ode", "--json", "ode.json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "ode.json").read_text())["metrics"]["ode"]
    growth = (0.36 + 80**2) / (0.36 + 0.002**2)
    prior = 0.5 * dims * math.log(2 * math.pi * 80**2)
    nats = 0.5 * growth * rows.square().sum(1) / 80**2 + prior - 0.5 * dims * math.log(growth)
    assert abs(found["nats_mean"] - nats.mean().item()) < 5e-2, (found, nats.mean())


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        return cases.run(globals(), Path(folder), program)


if __name__ == "__main__":
    sys.exit(main(str(Path(sys.argv[1]).resolve())))
