#!/usr/bin/env python3
"""launch/export_inception.py: its features and references, as `scorenet evaluate` reads them.

    export_inception_test.py PROGRAM     exit 0 if all hold, 1 if not, 77 without PyTorch and h5py

The weights are random: the published ones cannot be in a test. The network is compared with the
same layers called one by one.
"""

import importlib.util
import json
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import cases
import torch_python

torch_python.run_with("torch", "h5py", "numpy")
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "launch/export_inception.py"


def python(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
    )


def random_weights():
    import torch
    from torchvision.models import inception

    torch.manual_seed(0)
    net = inception.Inception3(num_classes=1008, aux_logits=False, init_weights=False).eval()
    for name, value in net.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return net


def by_layers(net, levels):
    """The FID network, its pooling spelled out."""
    import torch
    import torch.nn.functional as F

    def mean(x):
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    def block_a(b, x):
        return torch.cat(
            [
                b.branch1x1(x),
                b.branch5x5_2(b.branch5x5_1(x)),
                b.branch3x3dbl_3(b.branch3x3dbl_2(b.branch3x3dbl_1(x))),
                b.branch_pool(mean(x)),
            ],
            1,
        )

    def block_c(b, x):
        seven = b.branch7x7dbl_3(b.branch7x7dbl_2(b.branch7x7dbl_1(x)))
        return torch.cat(
            [
                b.branch1x1(x),
                b.branch7x7_3(b.branch7x7_2(b.branch7x7_1(x))),
                b.branch7x7dbl_5(b.branch7x7dbl_4(seven)),
                b.branch_pool(mean(x)),
            ],
            1,
        )

    def block_e(b, x, pool):
        one, two = b.branch3x3_1(x), b.branch3x3dbl_2(b.branch3x3dbl_1(x))
        parts = [b.branch1x1(x), b.branch3x3_2a(one), b.branch3x3_2b(one)]
        parts += [b.branch3x3dbl_3a(two), b.branch3x3dbl_3b(two), b.branch_pool(pool(x))]
        return torch.cat(parts, 1)

    x = F.interpolate(levels, size=[299, 299], mode="bilinear", align_corners=False) / 127.5 - 1
    x = net.Conv2d_2b_3x3(net.Conv2d_2a_3x3(net.Conv2d_1a_3x3(x)))
    x = net.Conv2d_4a_3x3(net.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
    x = F.max_pool2d(x, 3, stride=2)
    for name in ("5b", "5c", "5d"):
        x = block_a(getattr(net, f"Mixed_{name}"), x)
    x = net.Mixed_6a(x)
    for name in ("6b", "6c", "6d", "6e"):
        x = block_c(getattr(net, f"Mixed_{name}"), x)
    x = block_e(net.Mixed_7b, net.Mixed_7a(x), mean)
    x = block_e(net.Mixed_7c, x, lambda y: F.max_pool2d(y, 3, stride=1, padding=1))
    return x.mean((2, 3))


def test_weights_of_the_fid_network_give_its_features(folder, program):
    if importlib.util.find_spec("torchvision") is None:
        print("left out: no torchvision")
        return
    import torch

    net = random_weights()
    torch.save(net.state_dict(), folder / "fid.pth")
    done = python("weights", folder / "fid.pth", folder / "fid.pt")
    assert done.returncode == 0, done.stderr
    features = torch.jit.load(folder / "fid.pt")
    levels = torch.randint(0, 256, (3, 3, 24, 24)).float()
    with torch.no_grad():
        found = features(2 * (levels + 0.5) / 256 - 1)
        expected = by_layers(net, levels)
        assert found.shape == (3, 2048)
        error = ((found - expected).abs().max() / expected.abs().max()).item()
        assert error < 1e-4, error
        grey = levels[:, :1]
        of_grey = by_layers(net, grey.expand(-1, 3, -1, -1))
        error = (features(2 * (grey + 0.5) / 256 - 1) - of_grey).abs()
        assert error.max() < 1e-4 * expected.abs().max()
    state = net.state_dict()
    state["fc.bias"] = torch.zeros(1000)
    torch.save(state, folder / "other.pth")
    assert "1000 classes" in python("weights", folder / "other.pth", folder / "o.pt").stderr


def test_a_module_in_levels_becomes_one_in_the_models_range(folder, program):
    import torch

    class Detector(torch.nn.Module):
        def forward(self, images, return_features: bool = False):
            rows = images.to(torch.float32).flatten(1)
            return rows if return_features else rows.sum(1, keepdim=True)

    torch.jit.script(Detector()).save(folder / "detector.pt")
    done = python("weights", folder / "detector.pt", folder / "levels.pt")
    assert done.returncode == 0, done.stderr
    levels = torch.randint(0, 256, (5, 3, 4, 4))
    found = torch.jit.load(folder / "levels.pt")(2 * (levels.float() + 0.5) / 256 - 1)
    assert torch.equal(found, levels.float().flatten(1))


def evaluated(program, folder, *options):
    return subprocess.run(
        [program, "evaluate", "--data", folder / "images.h5", "--split", "test", *options],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
    )


def test_a_published_reference_is_what_fd_compares_with(folder, program):
    import h5py
    import numpy as np

    images = np.random.default_rng(0).integers(0, 256, (40, 1, 2, 2), np.uint8)
    with h5py.File(folder / "images.h5", "w") as file:
        file["test/images"] = images[:20]
    with h5py.File(folder / "samples.h5", "w") as file:
        file["samples"] = 2 * (images[20:] + 0.5) / 256 - 1
    rows = 2 * (images[:20].reshape(20, 4) + 0.5) / 256 - 1
    mu, sigma = rows.mean(0), np.cov(rows, rowvar=False)
    np.savez(folder / "published.npz", mu=mu, sigma=sigma)
    (folder / "published.pkl").write_bytes(pickle.dumps({"fid": {"mu": mu, "sigma": sigma}}))
    options = ("--metrics", "fd", "--features", "pixels", "--samples", "samples.h5", "--force")
    direct = evaluated(program, folder, *options, "--json", "direct.json")
    assert direct.returncode == 0, direct.stderr
    direct = json.loads((folder / "direct.json").read_text())["metrics"]["fd"]["fd"]
    for kind in ("npz", "pkl"):
        done = python("reference", folder / f"published.{kind}", folder / "made.h5")
        assert done.returncode == 0, done.stderr
        refused = evaluated(program, folder, *options, "--reference", f"published.{kind}")
        assert refused.returncode == 2 and "export_inception.py reference" in refused.stderr
        # Made of pixels here, whatever the script writes.
        with h5py.File(folder / "made.h5", "a") as file:
            assert file.attrs["extractor"] == "inception-v3-2015-12-05"
            file.attrs["extractor"] = "pixels"
        done = evaluated(
            program, folder, *options, "--reference", "made.h5", "--json", "by_moments.json"
        )
        assert done.returncode == 0, done.stderr
        found = json.loads((folder / "by_moments.json").read_text())["metrics"]["fd"]["fd"]
        assert abs(found - direct) < 1e-9 * direct, (found, direct)


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        return cases.run(globals(), Path(folder), program)


if __name__ == "__main__":
    sys.exit(main(str(Path(sys.argv[1]).resolve())))
