"""The networks of our configs, built by diffusers, and the same of other widths and images.
Weights, layers and names are the same: a state dict of one is a state dict of the other.
Transformers are built by PyTorch's layers."""

import dataclasses

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import nn


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


@dataclasses.dataclass(frozen=True)
class Transformer:
    shape: tuple[int, int, int]
    width: int
    depth: int
    heads: int
    weights: int
    batch: int


NETWORKS = {
    # Those of train_step_benchmark, which stand in no config. Without labels diffusers has no DiT.
    "dit": Transformer((1, 28, 28), width=192, depth=6, heads=3, weights=4_160_836, batch=32),
    "dit_s2": Transformer((3, 32, 32), width=384, depth=12, heads=6, weights=32_471_436, batch=8),
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
    if isinstance(network, Transformer):
        raise ValueError(f"network {name} has one size")
    channels, shape = channels or network.channels, shape or network.shape
    if len(channels) != len(network.channels):
        raise ValueError(f"network {name} has {len(network.channels)} levels, not {len(channels)}")
    return dataclasses.replace(network, channels=channels, shape=shape, weights=None)


def build(network, device, memory_format):
    """The network with fresh weights. Raises RuntimeError if its size is not that of our
    network."""
    model = DiT(network) if isinstance(network, Transformer) else unet(network)
    weights = sum(p.numel() for p in model.parameters())
    if network.weights not in (None, weights):
        raise RuntimeError(
            f"the network has {weights} weights, expected {network.weights}: this diffusers "
            "builds another one, so a comparison would say nothing."
        )
    return model.to(device=device, memory_format=memory_format)


def unet(network):
    return UNet2DModel(
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


def modulated(x, shift, scale):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class DiTBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x, activated):
        m = self.modulation(activated).chunk(6, 1)
        q, k, v = self.qkv(modulated(x, m[0], m[1])).unflatten(2, (3, self.heads, -1)).unbind(2)
        heads = (t.transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = x + m[2][:, None] * self.proj(mixed)
        inner = F.gelu(self.fc1(modulated(x, m[3], m[4])), approximate="tanh")
        return x + m[5][:, None] * self.fc2(inner)


class DiT(nn.Module):
    """models/dit.cpp with patches of 2x2, written as a user of PyTorch would."""

    def __init__(self, network):
        super().__init__()
        channels, height, across = network.shape
        width = network.width
        self.grid = (height // 2, across // 2)
        self.patch_embedding = nn.Conv2d(channels, width, 2, 2)
        self.time_embedding = nn.Sequential(
            nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList(DiTBlock(width, network.heads) for _ in range(network.depth))
        self.final_modulation = nn.Linear(width, 2 * width)
        self.final = nn.Linear(width, 4 * channels)
        places = torch.arange(self.grid[0] * self.grid[1])
        rows = sinusoids(places // self.grid[1], width // 2)
        columns = sinusoids(places % self.grid[1], width // 2)
        self.register_buffer("positions", torch.cat([rows, columns], 1))

    def forward(self, x, step, return_dict=True):
        activated = F.silu(self.time_embedding(sinusoids(step, 256)))
        h = self.patch_embedding(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            h = block(h, activated)
        patches = self.final(modulated(h, *self.final_modulation(activated).chunk(2, 1)))
        patches = patches.unflatten(2, (2, 2, -1)).unflatten(1, self.grid)
        return (patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3),)


def sinusoids(places, dim):
    rates = 10000 ** (-torch.arange(dim // 2, device=places.device) / (dim // 2))
    angle = places[:, None].float() * rates
    return torch.cat([angle.sin(), angle.cos()], 1)


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
