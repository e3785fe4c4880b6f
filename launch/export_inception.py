#!/usr/bin/env python3
"""Inception's features, and their published moments, in the forms that `scorenet evaluate` reads.

    export_inception.py weights FILE OUT.pt [--repo EDM]     for --features OUT.pt
    export_inception.py reference FILE OUT.h5                for --reference OUT.h5

weights: FILE is one of
    *.pth    the weights of the FID Inception as a state dict (1008 classes, the TensorFlow network
             of 2015-12-05 in PyTorch's names); needs torchvision
    *.pt     a TorchScript module with forward(images in 0..255, return_features=True)
    *.pkl    NVIDIA's pickle of that module; --repo: a clone of their EDM, whose classes it names.
             Loading a pickle runs what is in it: give only one that you trust.
OUT.pt takes x (B, 1 or 3, H, W) in [-1, 1], level k of 256 at 2 (k + 1/2) / 256 - 1, and returns
(B, 2048).

reference: FILE.npz or FILE.pkl with `mu` (D) and `sigma` (D, D), as EDM and EDM2 publish them.
"""

import argparse
import pickle
import sys
from pathlib import Path

EXTRACTOR = "inception-v3-2015-12-05"


def levels_of(x):
    """0..255, three channels."""
    return ((x + 1) * 128 - 0.5).expand(-1, 3, -1, -1)


def fid_inception(weights):
    """torchvision's Inception v3 with the pooling of the TensorFlow network: means leave the border
    out, and the last block takes maxima."""
    import torch
    import torch.nn.functional as F
    from torchvision.models import inception

    class WithoutBorder(torch.nn.Module):
        """Behind a mean that counts zeros of the border: the mean of what is there."""

        def forward(self, x):
            there = F.avg_pool2d(torch.ones_like(x[:1, :1]), 3, stride=1, padding=1)
            return x / there

    class WithMaxima(inception.InceptionE):
        def _forward(self, x):
            one = self.branch3x3_1(x)
            two = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
            return [
                self.branch1x1(x),
                torch.cat([self.branch3x3_2a(one), self.branch3x3_2b(one)], 1),
                torch.cat([self.branch3x3dbl_3a(two), self.branch3x3dbl_3b(two)], 1),
                self.branch_pool(F.max_pool2d(x, 3, stride=1, padding=1)),
            ]

    net = inception.Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    net.load_state_dict(weights)
    for name in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b"):
        block = getattr(net, f"Mixed_{name}")
        if hasattr(block, "branch_pool"):
            block.branch_pool = torch.nn.Sequential(WithoutBorder(), block.branch_pool)
    net.Mixed_7c.__class__ = WithMaxima
    net.fc = torch.nn.Identity()
    net.dropout = torch.nn.Identity()

    class Features(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            size = [299, 299]
            x = F.interpolate(levels_of(x), size=size, mode="bilinear", align_corners=False)
            return self.net(2 * x / 255 - 1)

    return Features().eval()


def of_module(module):
    import torch

    class Features(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = module

        def forward(self, x):
            levels = levels_of(x).round().clamp(0, 255).to(torch.uint8)
            return self.module(levels, return_features=True)

    return Features().eval()


def load_pickle(path, repo=None):
    if repo:
        sys.path.insert(0, str(repo))
    with open(path, "rb") as file:
        return pickle.load(file)


def weights(arguments):
    import torch

    path = arguments.file
    if path.suffix == ".pkl":
        features = of_module(load_pickle(path, arguments.repo).eval())
    elif path.suffix == ".pt":
        features = of_module(torch.jit.load(path, map_location="cpu").eval())
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
        classes = state["fc.bias"].shape[0] if "fc.bias" in state else 0
        if classes != 1008:
            raise SystemExit(
                f"{path}: weights of {classes} classes, expected the FID Inception's 1008. "
                "Those of torchvision itself are another network."
            )
        features = fid_inception(state)
    with torch.no_grad():
        traced = torch.jit.trace(features, torch.zeros(2, 3, 32, 32))
    traced.save(str(arguments.out))
    print(f"{arguments.out}: features of {EXTRACTOR}, for evaluate --features")


def reference(arguments):
    import h5py
    import numpy as np

    path = arguments.file
    if path.suffix == ".npz":
        with np.load(path) as stored:
            moments = {name: stored[name] for name in stored.files}
    else:
        moments = load_pickle(path)
        moments = moments.get("fid", moments)
    if not {"mu", "sigma"} <= set(moments):
        raise SystemExit(f"{path}: holds {sorted(moments)}, expected mu and sigma.")
    with h5py.File(arguments.out, "w") as file:
        file["mean"] = np.asarray(moments["mu"], np.float64)
        file["covariance"] = np.asarray(moments["sigma"], np.float64)
        file.attrs["extractor"] = EXTRACTOR
    print(f"{arguments.out}: {len(moments['mu'])} means and their covariance, for --reference")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(required=True)
    for name, work in (("weights", weights), ("reference", reference)):
        kind = kinds.add_parser(name)
        kind.add_argument("file", type=Path)
        kind.add_argument("out", type=Path)
        kind.set_defaults(work=work)
        if work is weights:
            kind.add_argument("--repo", type=Path, help="a clone of EDM, for a .pkl")
    arguments = parser.parse_args()
    arguments.work(arguments)


if __name__ == "__main__":
    main()
