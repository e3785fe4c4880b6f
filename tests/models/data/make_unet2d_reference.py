"""Writes what unet_test.cpp compares with: names and shapes of diffusers' UNet2DModel, and its
outputs for weights and inputs that follow a formula, so that no weights need to be stored. Needs
torch and diffusers (0.42.1 was used); run in this folder. The tests themselves need neither."""

import math

import torch
from diffusers import UNet2DModel


def formula(name, tensor):
    """0.1 sin(1 + 0.1 k + 0.7 i), i the element's index, k the sum of the name's bytes modulo 97;
    norm scales plus one."""
    k = sum(name.encode()) % 97
    values = 0.1 * torch.sin(1 + 0.1 * k + 0.7 * torch.arange(tensor.numel(), dtype=torch.float64))
    if tensor.dim() == 1 and name.endswith("weight"):
        values = 1 + values
    return values.reshape(tensor.shape).float()


def reference(tag, **options):
    blocks = {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    model = UNet2DModel(
        in_channels=2,
        out_channels=2,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        **{**blocks, **options},
    )
    state = {name: formula(name, tensor) for name, tensor in model.state_dict().items()}
    model.load_state_dict(state)
    with open(f"unet2d_{tag}_parameters.txt", "w") as out:
        for name in sorted(state):
            out.write(name + " " + " ".join(map(str, state[name].shape)) + "\n")
    x = (
        torch.sin(0.3 * torch.arange(2 * 2 * 6 * 10, dtype=torch.float64))
        .reshape(2, 2, 6, 10)
        .float()
    )
    labels = {"class_labels": torch.tensor([1, 3])} if model.class_embedding is not None else {}
    with torch.no_grad():
        y = model(x, torch.tensor([3, 250]), **labels).sample
    with open(f"unet2d_{tag}_output.txt", "w") as out:
        out.writelines(f"{v:.9g}\n" for v in y.flatten().tolist())
    print(tag, y.std().item(), y.abs().max().item())


if __name__ == "__main__":
    torch.set_num_threads(1)
    reference("default", attention_head_dim=4, num_class_embeds=4)
    # The choices of the original DDPM weights.
    reference(
        "ddpm",
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )
    # ADM's: the time scales and shifts, blocks that resample. The middle's attention has no norm
    # unless it is given groups.
    adm = {
        "attention_head_dim": 4,
        "num_class_embeds": 4,
        "resnet_time_scale_shift": "scale_shift",
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "downsample_type": "resnet",
        "upsample_type": "resnet",
    }
    reference("adm", **adm)
    reference("adm_norm", **adm, attn_norm_num_groups=8)
    reference("no_middle", attention_head_dim=4, add_attention=False)
