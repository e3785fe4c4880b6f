#!/usr/bin/env python3
"""Makes the networks and numbers that foreign_libraries_test compares the program with.

    make_foreign_reference.py PROGRAM      writes FAMILY.pt and FAMILY.json beside this script

Five families of networks, each by its own library, small and with random weights (torchcfm's is
trained for a minute). For each: outputs of the network, a trajectory of 20 steps from the start
that the program draws for seeds 0 and 1, and -log p of two examples along the ODE. All by the
library's own modules, schedules and samplers in float64; the ODE by DOP853 with tolerances of 1e-7,
or by RK4, and the divergence as the full trace of the Jacobian. The program is asked for its starts
and its times alone.

Made with torch 2.13, diffusers 0.42.1, azula 0.11.1, torchcfm 1.0.7 and
denoising-diffusion-pytorch 2.3.4.
"""

import copy
import json
import math
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import torch
from scipy.integrate import solve_ivp

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "launch"))
from export_network import export  # noqa: E402

STEPS = 20
RK4_STEPS = 300


def column(value, x):
    return value.reshape(-1, *[1] * (x.dim() - 1))


def likelihood(velocity, x, begin, end, prior_variance):
    """-log p of x (B, ...): dx/ds = velocity(x, s) from s = begin, where the data are, to end."""
    nats = []
    for one in x:
        shape, dims = one.shape, one.numel()

        def slope(s, state):
            # One row for each dimension: the diagonal of the Jacobian in one backward pass.
            rows = torch.tensor(state[:dims]).reshape(1, *shape).repeat(dims, *[1] * len(shape))
            rows.requires_grad_(True)
            out = velocity(rows, float(s)).reshape(dims, dims)
            gradient = torch.autograd.grad(out.diagonal().sum(), rows)[0].reshape(dims, dims)
            return np.append(out[0].detach().numpy(), gradient.diagonal().sum().item())

        start = np.append(one.double().numpy().ravel(), 0.0)
        done = solve_ivp(slope, (begin, end), start, method="DOP853", rtol=1e-7, atol=1e-7)
        z, change = done.y[:dims, -1], done.y[dims, -1]
        log_prior = -0.5 * (z @ z) / prior_variance - 0.5 * dims * math.log(
            2 * math.pi * prior_variance
        )
        nats.append(-(log_prior + change))
    return nats


class Linear:
    """The variance-preserving law with beta from 0.1 to 20 (DDPM's in continuous time)."""

    def __init__(self, table):
        self.steps = np.arange(len(table), dtype=float)
        self.gamma = -np.log(table / (1 - table))

    @staticmethod
    def alpha_sigma(t):
        integral = 0.1 * t + 9.95 * t * t
        return math.exp(-integral / 2), math.sqrt(-math.expm1(-integral))

    def step(self, t):
        """Between two numbered steps: linear in log-SNR."""
        alpha, sigma = self.alpha_sigma(t)
        return float(np.interp(2 * math.log(sigma / alpha), self.gamma, self.steps))

    def nats(self, noise, x, t_min):
        """-log p of x along the ODE, RK4 in log-SNR: dx/dl = (sigma^2 x - sigma eps) / 2. Between
        numbered steps the level is a line in log-SNR, which adaptive steps halt at."""
        dims = x[0].numel()

        def slope(rows, l):
            sigma2 = 1 / (1 + math.exp(l))
            step = float(np.interp(-l, self.gamma, self.steps))
            # An example's copies: the diagonal of its Jacobian in one backward pass.
            copies = rows.repeat_interleave(dims, 0).requires_grad_(True)
            eps = noise(copies, torch.full((len(copies),), step, dtype=torch.float64))
            out = 0.5 * (sigma2 * copies - math.sqrt(sigma2) * eps)
            of_own = out.reshape(-1, dims, dims).diagonal(dim1=1, dim2=2).sum()
            gradient = torch.autograd.grad(of_own, copies)[0].reshape(-1, dims, dims)
            return out.detach()[::dims], gradient.diagonal(dim1=1, dim2=2).sum(1)

        at = lambda t: 2 * math.log(self.alpha_sigma(t)[0] / self.alpha_sigma(t)[1])  # noqa: E731
        levels, change = np.linspace(at(t_min), at(1.0), RK4_STEPS + 1), 0.0
        for l, m in zip(levels[:-1], levels[1:]):
            h = m - l
            k1, d1 = slope(x, l)
            k2, d2 = slope(x + 0.5 * h * k1, l + 0.5 * h)
            k3, d3 = slope(x + 0.5 * h * k2, l + 0.5 * h)
            k4, d4 = slope(x + h * k3, m)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            change = change + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
        log_prior = -0.5 * x.flatten(1).square().sum(1) - 0.5 * dims * math.log(2 * math.pi)
        return (-(log_prior + change)).tolist()


def ddim(x, times, alpha_sigma, noise):
    path = [x]
    for t, s in zip(times[:-1], times[1:]):
        (alpha, sigma), (alpha_s, sigma_s) = alpha_sigma(t), alpha_sigma(s)
        eps = noise(x, t)
        x = alpha_s * (x - sigma * eps) / alpha + sigma_s * eps
        path.append(x)
    return torch.stack(path, 1)


class Family:
    """What the program is told of a network, and what the library says of it."""

    sampler = ["--sampler", "ddim", "--steps", str(STEPS)]
    told = []  # also in sample
    labels = None
    solver = ["--rtol", "1e-6", "--atol", "1e-6"]  # of the program
    shape = (1, 4, 4)

    def data(self):
        generator = torch.Generator().manual_seed(7)
        return 0.5 * torch.randn(2, *self.shape, generator=generator)


class Diffusers(Family):
    name, library = "diffusers", "diffusers"
    what = "UNet2DModel, DDIMScheduler"
    options = ["--convention", "ddpm", "--diffusion.t_min", "0.002"]
    sampler = ["--sampler", "ddim", "--spacing", "trained-steps", "--steps", str(STEPS)]
    solver = ["--steps", str(RK4_STEPS)]
    level = 500

    def __init__(self):
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

        self.net = UNet2DModel(
            sample_size=4, in_channels=1, out_channels=1, block_out_channels=(4, 8),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1, norm_num_groups=2, attention_head_dim=4,
        )  # fmt: skip
        self.scheduler = DDIMScheduler()
        self.law = Linear(DDPMScheduler().alphas_cumprod.double().numpy())

    def export(self, path):
        export(self.net, path, self.shape, level=self.level)

    def output(self, net, x, level):
        return net(x, level).sample

    def trajectory(self, net, x, times):
        self.scheduler.set_timesteps(STEPS)
        path = [x]
        for step in self.scheduler.timesteps:
            x = self.scheduler.step(net(x, step.expand(len(x))).sample, step, x).prev_sample
            path.append(x)
        return torch.stack(path, 1)

    def nats(self, net, x):
        return self.law.nats(lambda rows, step: net(rows, step).sample, x, 0.002)


class DiT(Family):
    name, library = "dit", "diffusers"
    what = "DiTTransformer2DModel, its labels and learned variance"
    options = ["--convention", "dit", "--model.num_classes", "3", "--diffusion.t_min", "0.002"]
    told = ["--class", "1"]
    labels = [1, 2]
    solver = ["--steps", str(RK4_STEPS)]
    level = 500

    def __init__(self):
        from diffusers import DDPMScheduler, DiTTransformer2DModel

        self.net = DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=1, out_channels=2,
            num_layers=2, sample_size=4, patch_size=2, num_embeds_ada_norm=3,
        )  # fmt: skip
        self.law = Linear(DDPMScheduler().alphas_cumprod.double().numpy())

    def export(self, path):
        export(self.net, path, self.shape, level=self.level, label=1)

    def output(self, net, x, level):
        return net(x, level, class_labels=torch.ones(len(x), dtype=torch.long)).sample

    def noise(self, net, label):
        def eps(x, step):
            labels = torch.full((len(x),), label)
            return net(x, step, class_labels=labels).sample[:, :1]

        return eps

    def trajectory(self, net, x, times):
        eps = self.noise(net, 1)
        at = lambda t: torch.full((len(x),), self.law.step(t), dtype=torch.float64)  # noqa: E731
        return ddim(x, times, self.law.alpha_sigma, lambda x, t: eps(x, at(t)))

    def nats(self, net, x):
        return [
            self.law.nats(self.noise(net, label), one[None], 0.002)[0]
            for one, label in zip(x, self.labels)
        ]


class Azula(Family):
    name, library = "azula", "azula"
    what = "UNet behind KarrasDenoiser, VESchedule, DDIMSampler"
    options = [
        "--model.level", "log_sigma", "--model.input_scaling", "vp", "--model.output", "F",
        "--diffusion.sigma_data", "1", "--schedule", "ve", "--diffusion.sigma_min", "0.01",
        "--diffusion.sigma_max", "50",
    ]  # fmt: skip
    level = 0.5

    def __init__(self):
        from azula.denoise import KarrasDenoiser
        from azula.nn.unet import UNet
        from azula.noise import VESchedule
        from azula.sample import DDIMSampler

        class Backbone(torch.nn.Module):
            """Azula's U-Net, told the time by its modulation."""

            def __init__(self):
                super().__init__()
                self.time = torch.nn.Sequential(
                    torch.nn.Linear(1, 8), torch.nn.SiLU(), torch.nn.Linear(8, 8)
                )
                self.unet = UNet(
                    1, 1, hid_channels=(4, 8), hid_blocks=(1, 1), mod_features=8, norm="layer"
                )

            def forward(self, x, t):
                return self.unet(x, self.time(t.reshape(-1, 1)))

        self.net = Backbone()
        # Azula begins near zero: weights of a size that shows.
        for weight in self.net.parameters():
            weight.data.add_(0.1 * torch.randn_like(weight))
        self.sampler_of = lambda denoiser: DDIMSampler(
            denoiser, start=1.0, stop=0.0, steps=STEPS, silent=True
        )
        self.denoiser = lambda net: KarrasDenoiser(net, VESchedule(0.01, 50.0))

    def export(self, path):
        export(self.net, path, self.shape, level=self.level)

    def output(self, net, x, level):
        return net(x, level)

    def trajectory(self, net, x, times):
        sampler = self.sampler_of(self.denoiser(net))
        path = [x]
        for t, s in zip(times[:-1], times[1:]):
            x = sampler.step(x, torch.tensor(t), torch.tensor(s))
            path.append(x)
        return torch.stack(path, 1)

    def nats(self, net, x):
        denoiser = self.denoiser(net)

        def velocity(x, t):
            _, sigma = denoiser.schedule(torch.tensor(t, dtype=torch.float64))
            mean = denoiser(x, torch.tensor(t, dtype=torch.float64).expand(len(x))).mean
            return math.log(5000) * (x - mean)  # d sigma / dt = sigma log(50 / 0.01)

        return likelihood(velocity, x, 0.0, 1.0, 50.0**2)


class TorchCfm(Family):
    name, library = "torchcfm", "torchcfm"
    what = "MLP trained by ConditionalFlowMatcher, Euler's steps"
    options = ["--convention", "flow"]
    # SELU has a kink, and the divergence jumps there.
    solver = ["--rtol", "1e-8", "--atol", "1e-8"]
    level = 0.5
    shape = (2,)

    def __init__(self):
        from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
        from torchcfm.models.models import MLP

        class Wrapper(torch.nn.Module):
            """Torchcfm's torch_wrapper for batches of times."""

            def __init__(self):
                super().__init__()
                self.model = MLP(dim=2, w=32, time_varying=True)

            def forward(self, x, t):
                return self.model(torch.cat([x, t.reshape(-1, 1)], 1))

        self.net = Wrapper()
        matcher = ConditionalFlowMatcher(sigma=0.0)
        optimizer = torch.optim.Adam(self.net.parameters(), 3e-3)
        for _ in range(2000):
            t, x_t, u_t = matcher.sample_location_and_conditional_flow(
                torch.randn(256, 2), self.points(256)
            )
            loss = (self.net(x_t, t) - u_t).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @staticmethod
    def points(count):
        """Four Gaussians at the corners of a square."""
        corners = 2 * torch.randint(0, 2, (count, 2)) - 1
        return corners + 0.3 * torch.randn(count, 2)

    def data(self):
        torch.manual_seed(7)
        return self.points(2)

    def export(self, path):
        export(self.net, path, self.shape, level=self.level)

    def output(self, net, x, level):
        return net(x, level)

    def trajectory(self, net, x, times):
        path = [x]
        for t, s in zip(times[:-1], times[1:]):  # torchcfm's time is 1 - t
            x = x + (t - s) * net(x, torch.full((len(x),), 1 - t, dtype=torch.float64))
            path.append(x)
        return torch.stack(path, 1)

    def nats(self, net, x):
        def velocity(x, tau):
            return net(x, torch.full((len(x),), tau, dtype=torch.float64))

        return likelihood(velocity, x, 0.999, 0.001, 1.0)


class Edm(Family):
    name, library = "edm", "denoising-diffusion-pytorch"
    what = "Unet behind ElucidatedDiffusion (EDM's denoiser), Euler's steps"
    options = ["--convention", "edm"]
    sampler = ["--sampler", "ddim", "--spacing", "edm", "--steps", str(STEPS)]
    solver = ["--rtol", "1e-7", "--atol", "1e-7"]
    level = 0.5

    def __init__(self):
        from denoising_diffusion_pytorch import Unet
        from denoising_diffusion_pytorch.elucidated_diffusion import ElucidatedDiffusion

        unet = Unet(
            dim=4, dim_mults=(1, 2), channels=1, attn_dim_head=4, attn_heads=2,
            learned_sinusoidal_cond=True, learned_sinusoidal_dim=4, full_attn=(False, True),
        )  # fmt: skip

        class Denoised(torch.nn.Module):
            """EDM's D(x, sigma)."""

            def __init__(self):
                super().__init__()
                self.edm = ElucidatedDiffusion(unet, image_size=4, channels=1)

            def forward(self, x, sigma):
                edm = self.edm
                s = sigma.reshape(-1, 1, 1, 1)
                out = edm.net(edm.c_in(s) * x, 0.25 * sigma.log(), None)
                return edm.c_skip(s) * x + edm.c_out(s) * out

        self.net = Denoised()

    def export(self, path):
        export(self.net, path, self.shape, level=self.level)

    def output(self, net, x, level):
        return net.edm.preconditioned_network_forward(x, level)

    def trajectory(self, net, x, times):
        def slope(x, sigma):
            level = torch.full((len(x),), sigma, dtype=torch.float64)
            return (x - self.output(net, x, level)) / sigma

        path = [x]
        for now, then in zip(times[:-1], times[1:]):  # EDM, algorithm 1, of first order
            x = x + (then - now) * slope(x, now)
            path.append(x)
        return torch.stack(path, 1)

    def nats(self, net, x):
        def velocity(x, log_sigma):
            sigma = math.exp(log_sigma)
            level = torch.full((len(x),), sigma, dtype=torch.float64)
            return x - self.output(net, x, level)

        return likelihood(velocity, x, math.log(0.002), math.log(80), 80.0**2)


FAMILIES = [Diffusers, DiT, Azula, TorchCfm, Edm]


def program_says(program, family, path, data, folder):
    """Start, times and path of the program's trajectory, and its -log p."""
    shape = ["--shape", ",".join(map(str, family.shape))]
    network = ["--network", path, *family.options, "--model.convention_check", "off"]
    subprocess.run(
        [program, "sample", *network, *shape, *family.told, *family.sampler, "--final", "state",
         "--seeds", "0-1", "--save-h5", "--trajectory", "--outdir", folder / "out"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    with h5py.File(folder / "data.h5", "w") as file:
        file["test/images"] = data.numpy()
        if family.labels:
            file["test/labels"] = np.array(family.labels)
    subprocess.run(
        [program, "evaluate", *network, "--data", folder / "data.h5", "--metrics", "ode",
         "--batch", "1",
         "--exact-trace", *family.solver, "--force",
         "--per-example", folder / "nats.h5"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    with h5py.File(folder / "out" / "samples.h5") as file, h5py.File(folder / "nats.h5") as nats:
        return file["path"][:], file["path_t"][:], nats["ode"][:]


def main(program, names):
    for make in FAMILIES:
        if names and make.name not in names:
            continue
        torch.manual_seed(1)
        torch.set_grad_enabled(True)
        family = make()
        family.net.eval()
        file = HERE / f"{family.name}.pt"
        family.export(file)
        net = copy.deepcopy(family.net).double()
        data = family.data().float()
        with tempfile.TemporaryDirectory() as name:
            path, times, theirs = program_says(program, family, file, data, Path(name))
        start = torch.tensor(path[:, 0]).double()
        with torch.no_grad():
            x = torch.randn(2, *family.shape)
            level = family.level * torch.tensor([0.2, 0.9])
            output = family.output(net, x.double(), level.double())
            mine = family.trajectory(net, start, times.tolist())
        nats = family.nats(net, data.double())
        difference = np.abs(path - mine.numpy()).max() / max(1, np.abs(mine.numpy()).max())
        print(family.name, family.library, version(family.library), file.stat().st_size,
              "trajectory", difference, "nats", np.abs(nats - theirs).max())  # fmt: skip
        flat = lambda tensor: tensor.double().flatten().tolist()  # noqa: E731
        record = {
            "library": f"{family.library} {version(family.library)}", "what": family.what,
            "options": family.options, "told": family.told, "sampler": family.sampler,
            "solver": family.solver, "shape": list(family.shape), "labels": family.labels or [],
            "x": flat(x), "level": flat(level), "output": flat(output),
            "start": flat(start), "trajectory": flat(mine[:, -1]),
            "data": flat(data), "nats": list(map(float, nats)),
        }  # fmt: skip
        (HERE / f"{family.name}.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
