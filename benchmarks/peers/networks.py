"""The networks of our configs, built by diffusers, and the same of other widths and images.
Weights, layers and names are the same: a state dict of one is a state dict of the other."""

import dataclasses

import torch
from diffusers import UNet2DModel


@dataclasses.dataclass(frozen=True)
class Network:
    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    attends: tuple[bool, ...]  # a flag a level; the middle always attends
    layers: int
    head_dim: int
    groups: int
    dropout: float
    weights: int | None  # how many the network must have; None: not known here
    batch: int  # as its config has it


NETWORKS = {
    # configs/cifar10_ddpm.toml
    "large": Network(
        (3, 32, 32),
        (128, 256, 256, 256),
        (False, True, False, False),
        layers=2,
        head_dim=256,
        groups=32,
        dropout=0.1,
        weights=35_746_307,
        batch=128,
    ),
    # configs/fashion_mnist/network.toml
    "small": Network(
        (1, 28, 28),
        (32, 64, 64),
        (False, False, True),
        layers=1,
        head_dim=8,
        groups=8,
        dropout=0.0,
        weights=1_112_801,
        batch=256,
    ),
    # For trying this program on a CPU.
    "tiny": Network(
        (1, 8, 8),
        (8, 16),
        (False, True),
        layers=1,
        head_dim=8,
        groups=4,
        dropout=0.1,
        weights=44_969,
        batch=2,
    ),
}


def sized(name, channels=None, shape=None):
    """The network of that name, with other channels or images where they are given. Attention stays
    at the levels that had it."""
    network = NETWORKS[name]
    if channels is None and shape is None:
        return network
    channels, shape = channels or network.channels, shape or network.shape
    if len(channels) != len(network.channels):
        raise ValueError(f"network {name} has {len(network.channels)} levels, not {len(channels)}")
    return dataclasses.replace(network, channels=channels, shape=shape, weights=None)


def build(network, device, memory_format):
    """The network with fresh weights. Raises RuntimeError if its size is not that of our
    network."""
    model = UNet2DModel(
        sample_size=network.shape[1],
        in_channels=network.shape[0],
        out_channels=network.shape[0],
        layers_per_block=network.layers,
        block_out_channels=network.channels,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in network.attends),
        up_block_types=tuple(
            "AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(network.attends)
        ),
        attention_head_dim=network.head_dim,
        norm_num_groups=network.groups,
        dropout=network.dropout,
    )
    weights = sum(p.numel() for p in model.parameters())
    if network.weights not in (None, weights):
        raise RuntimeError(
            f"the network has {weights} weights, expected {network.weights}: this diffusers "
            "builds another one, so a comparison would say nothing."
        )
    return model.to(device=device, memory_format=memory_format)


class DdpmTimes:
    """DDPM's 1000 noise levels (Ho et al. 2020): vp_linear of our configs, in steps."""

    count = 1000

    def __init__(self, device):
        beta = torch.linspace(1e-4, 0.02, self.count, dtype=torch.float64)
        alpha_squared = torch.cumprod(1 - beta, 0)
        self.alpha = alpha_squared.sqrt().float().to(device)
        self.sigma = (1 - alpha_squared).sqrt().float().to(device)
        # Noise over signal, rising: EDM's sigma.
        self.ratio = ((1 - alpha_squared) / alpha_squared).sqrt().to(device)

    def step_of(self, ratio):
        """The first step at least as noisy as `ratio` (a tensor), for a network that was trained on
        steps."""
        return torch.searchsorted(self.ratio, ratio).clamp(max=self.count - 1)
