"""Writes what diffusers_test.cpp compares with: where diffusers' DDIMScheduler leads the network of
make_unet2d_reference.py ("ddpm"), from a start and with noise that follow a formula. Needs torch
and diffusers (0.42.1 was used); run in this folder. The tests themselves need neither."""

import torch
from diffusers import DDIMScheduler, UNet2DModel

from make_unet2d_reference import formula

SHAPE = (2, 2, 6, 10)
CASES = {  # scheduler, steps, eta
    "default": (dict(), 10, 0.0),
    "noise": (dict(), 10, 1.0),
    "first": (dict(clip_sample=False, set_alpha_to_one=False, steps_offset=1), 7, 0.0),
    "trailing": (
        dict(timestep_spacing="trailing", prediction_type="v_prediction", clip_sample_range=2.0),
        6,
        0.5,
    ),
    "linspace": (
        dict(
            timestep_spacing="linspace",
            beta_schedule="scaled_linear",
            prediction_type="sample",
            num_train_timesteps=900,
        ),
        6,
        0.0,
    ),
    "cosine": (dict(beta_schedule="squaredcos_cap_v2", clip_sample=False), 9, 1.0),
}


def wave(phase):
    """Sines of two rows of different frequencies: the start (phase 0) and the noise of each step
    (1, 2, ...)."""
    i = torch.arange(2 * 2 * 6 * 10, dtype=torch.float64)
    return (1.4 * torch.sin((0.9 + 0.1 * phase) * i + 0.5 * phase)).reshape(SHAPE).float()


def trajectory(model, options, steps, eta):
    scheduler = DDIMScheduler(**options)
    scheduler.set_timesteps(steps)
    x = wave(0).double()
    for k, t in enumerate(scheduler.timesteps):
        with torch.no_grad():
            output = model(x, t).sample
        x = scheduler.step(
            output, t, x, eta=eta, variance_noise=wave(k + 1).double() if eta > 0 else None
        ).prev_sample
    return x


if __name__ == "__main__":
    torch.set_num_threads(1)
    net = UNet2DModel(
        in_channels=2,
        out_channels=2,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )
    net.load_state_dict({name: formula(name, tensor) for name, tensor in net.state_dict().items()})
    # So that the only rounding in the reference is that of the scheduler's float32 products.
    net.double()
    for name, case in CASES.items():
        end = trajectory(net, *case)
        with open(f"ddim_{name}.txt", "w") as out:
            out.writelines(f"{v:.9g}\n" for v in end.flatten().tolist())
        print(name, end.std().item(), end.abs().max().item())
