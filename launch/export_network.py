#!/usr/bin/env python3
"""Writes a PyTorch module as the TorchScript file that scorenet evaluates, samples and trains.

    from export_network import export
    export(network, "net.pt", example_shape=(3, 32, 32), level=0.5)
    # scorenet evaluate --network net.pt --convention ddpm --data cifar10.h5 --metrics elbo,ode

It needs PyTorch and nothing else. `network` is any module with forward(x, level) or
forward(x, level, label): x (B, ...), level (B), one level per example. `level` is a value that is
usual there: 500 for a numbered step, 0.5 for a time or a sigma. With labels give `label`, an
example of the third argument for one example: 3 for an index, a list of numbers for a vector.
What `forward` returns beside the tensor is left out (diffusers: `.sample`; azula: `.mean`).

The module is scripted where TorchScript can read its source, else traced. Either way it is compared
with the module on other batches, values and levels, so that a file that would say something else
is not left behind. Dropout is off, and weights keep their gradients, so that the file can be
trained.

diffusers:
    from diffusers import UNet2DModel
    export(UNet2DModel.from_pretrained(FOLDER), "net.pt", (3, 32, 32), level=500)
    # --convention ddpm; DiTTransformer2DModel: level=500, label=3, --convention dit
EDM (a network that takes (x, sigma, labels) and returns the denoised image):
    net = pickle.load(open("edm-cifar10-32x32-uncond-vp.pkl", "rb"))["ema"].float()
    export(net, "net.pt", (3, 32, 32), level=0.5)
    # --convention edm; with labels: label=[0, 1, 0, ...], --convention edm --model.num_classes 10
azula (a denoiser's own network, told log(sigma / alpha), behind KarrasDenoiser):
    export(denoiser.backbone, "net.pt", (3, 32, 32), level=0.5)
    # --model.level log_sigma --model.input_scaling vp --model.output F --diffusion.sigma_data 1
torchcfm (a velocity field with the time in front; flip turns the two around):
    export(UNetModel(...), "net.pt", (3, 32, 32), level=0.5, flip=True)
    # --convention flow
score_sde (told 999 t, returns the noise; or told sigma, returns the score):
    export(model, "net.pt", (3, 32, 32), level=500)
    # --convention score_sde --schedule vp_linear; --convention score_sde --schedule ve
"""

import argparse
import importlib
import io
import os
import sys
import warnings

import torch

RTOL = 1e-4  # of an operation that another batch size orders otherwise


class NoTensor(TypeError):
    """A forward that returns something else."""


def tensor_of(result):
    """The one tensor in what a library's forward returns."""
    if isinstance(result, torch.Tensor):
        return result
    for name in ("sample", "mean"):
        if isinstance(getattr(result, name, None), torch.Tensor):
            return getattr(result, name)
    if isinstance(result, (tuple, list)) and result and isinstance(result[0], torch.Tensor):
        return result[0]
    raise NoTensor(f"forward returns {type(result).__name__}, expected a tensor")


class _Plain(torch.nn.Module):
    """forward(x, level) that returns the tensor alone."""

    def __init__(self, network, flip, name):
        super().__init__()
        self.network, self.flip, self.name = network, flip, name

    def forward(self, x, level):
        return tensor_of(self.network(level, x) if self.flip else self.network(x, level))


class _Told(_Plain):
    """forward(x, level, label): with a label or a condition."""

    def forward(self, x, level, label):
        told = {self.name: label} if self.name else {}
        rest = () if told else (label,)
        if self.flip:
            return tensor_of(self.network(level, x, *rest, **told))
        return tensor_of(self.network(x, level, *rest, **told))


def _inputs(example_shape, level, label, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, *example_shape, generator=generator)
    levels = level * (0.2 + 0.8 * torch.rand(batch, generator=generator))
    if label is None:
        return x, levels
    one = torch.as_tensor(label)
    if one.is_floating_point() or one.dim() > 0:
        one = one.float()
    return x, levels, one.expand(batch, *one.shape).contiguous()


def _same(script, module, inputs):
    """Whether both say the same; else by how much they differ, or what failed."""
    with torch.no_grad():
        expected = module(*inputs)
        try:
            found = script(*inputs)
        except Exception as error:  # whatever TorchScript makes of a stranger's code
            return str(error).strip().splitlines()[-1]
    if found.shape != expected.shape:
        return f"it returns shape {tuple(found.shape)}, the module {tuple(expected.shape)}"
    scale = max(1.0, expected.abs().max().item())
    difference = (found - expected).abs().max().item() / scale
    return "" if difference <= RTOL else f"they differ by {difference:.2g}"


def _checked(script, module, example_shape, level, label):
    """What is wrong with the script for any of several batches; an empty string: nothing."""
    for batch, share in ((1, 1.0), (2, 0.1), (5, 0.6), (3, 1.0)):
        inputs = _inputs(example_shape, level * share, label, batch, seed=batch)
        why = _same(script, module, inputs)
        if why:
            return f"for a batch of {batch}: {why}"
    return ""


def _script(network, module, told):
    """TorchScript of the module's own source; only where it returns a tensor as it stands."""
    if isinstance(module, _Told) and module.name or module.flip:
        raise TypeError("a wrapper is traced")
    return torch.jit.script(network)


def _trace(module, example_shape, level, label):
    inputs = _inputs(example_shape, level, label, 2, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is checked below
        return torch.jit.trace(module, inputs, check_trace=False)


def export(network, path, example_shape, level=0.5, label=None, flip=False, label_name="",
           how="auto"):
    """Writes `network` to `path`. flip: its forward takes the level first. label_name: the name of
    the argument of the label, where it is not the third. how: "script", "trace" or "auto". Returns
    "scripted" or "traced". Raises ValueError, with the reason, where neither gives the module's
    values."""
    network = network.eval()
    if label is not None and not label_name:
        label_name = "class_labels" if type(network).__module__.startswith("diffusers") else ""
    module = (_Plain if label is None else _Told)(network, flip, label_name).eval()
    try:
        with torch.no_grad():
            module(*_inputs(example_shape, level, label, 1, seed=0))
    except NoTensor as error:
        raise ValueError(f"{path}: not written. {error}") from error
    ways = {"script": lambda: _script(network, module, label),
            "trace": lambda: _trace(module, example_shape, level, label)}
    reasons = []
    for name in ways if how == "auto" else [how]:
        try:
            script = ways[name]()
        except Exception as error:  # the compiler's many ways to refuse
            reasons.append(f"{name}: {str(error).strip().splitlines()[0]}")
            continue
        why = _checked(script, module, example_shape, level, label)
        if why:
            reasons.append(f"{name}: {why}")
            continue
        buffer = io.BytesIO()
        torch.jit.save(script, buffer)
        loaded = torch.jit.load(io.BytesIO(buffer.getvalue()))
        why = _checked(loaded, module, example_shape, level, label)
        if why:
            reasons.append(f"{name}, after saving: {why}")
            continue
        with open(f"{path}.part", "wb") as file:
            file.write(buffer.getvalue())
        os.replace(f"{path}.part", path)
        done = {"script": "scripted", "trace": "traced"}[name]
        print(f"{path}: {done}, {sum(p.numel() for p in network.parameters())} parameters, "
              "the module's values for batches of 1, 2, 3 and 5: ok")
        return done
    raise ValueError(f"{path}: not written. " + "; ".join(reasons))


def main():
    """MODULE:FUNCTION names what makes the network, so that no code is needed here."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("make", metavar="MODULE:FUNCTION", help="what returns the module")
    parser.add_argument("--out", required=True, help="the TorchScript file")
    parser.add_argument("--shape", required=True, help="of an example, such as 3,32,32")
    parser.add_argument("--level", type=float, default=0.5, help="a usual level")
    parser.add_argument("--label", type=int, help="a label, where the network takes one")
    parser.add_argument("--flip", action="store_true", help="forward takes the level first")
    given = parser.parse_args()
    sys.path.insert(0, os.getcwd())
    module, _, function = given.make.partition(":")
    network = getattr(importlib.import_module(module), function)()
    shape = tuple(int(size) for size in given.shape.split(","))
    try:
        export(network, given.out, shape, given.level, given.label, given.flip)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
