#include "framework/score/pipeline_text.hpp"

#include <utility>

namespace scorenet::score {
namespace {

constexpr char kPipeline[] =
    R"py("""DDIM with eta = 0 (Song et al. 2021, 2010.02502) for a network that scorenet trained.

    pipe = diffusers.DiffusionPipeline.from_pretrained(
        FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)
    images = pipe(batch_size=4, num_inference_steps=50).images
"""

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput

PREDICTION = "@prediction@"
SIGMA_DATA = @sigma_data@
NO_LABEL = @no_label@  # None: a network without classes
PRIOR_DEVIATION = @prior@
# What the network is told, alpha and sigma of x_t = alpha x0 + sigma eps, from noise to data. None:
# the scheduler's steps.
LEVELS = @levels@


def estimates(output, x, alpha, sigma):
    """x0 and eps that the network's output implies."""
    if PREDICTION == "F":
        n = sigma**2 + SIGMA_DATA**2 * alpha**2
        scaled = SIGMA_DATA * output / n**0.5
        return SIGMA_DATA**2 * alpha * x / n + sigma * scaled, sigma * x / n - alpha * scaled
    if PREDICTION == "v":
        s = alpha**2 + sigma**2
        return (alpha * x - sigma * output) / s, (sigma * x + alpha * output) / s
    if PREDICTION == "x0":
        return output, (x - alpha * output) / sigma
    eps = output if PREDICTION == "eps" else -sigma * output
    return (x - sigma * eps) / alpha, eps


def input_scale(alpha, sigma):
    data = SIGMA_DATA if PREDICTION == "F" else 1
    return 1 / (sigma**2 + data**2 * alpha**2) ** 0.5


class ScorenetPipeline(DiffusionPipeline):
    _optional_components = ["scheduler"]

    def __init__(self, unet, scheduler):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    def levels(self, count):
        rows = LEVELS
        if rows is None:
            left = self.scheduler.alphas_cumprod.double().tolist()
            rows = [(i, a**0.5, (1 - a) ** 0.5) for i, a in reversed(list(enumerate(left)))]
        if not 2 <= count <= len(rows):
            raise ValueError(f"num_inference_steps = {count}: expected 2 to {len(rows)}")
        return [rows[round(i * (len(rows) - 1) / (count - 1))] for i in range(count)]

    def denoised(self, x, level, class_labels, guidance_scale):
        told, alpha, sigma = level
        told = torch.full((x.shape[0],), told, dtype=torch.float32, device=x.device)

        def output(labels):
            more = {} if NO_LABEL is None else {"class_labels": labels}
            scaled = (input_scale(alpha, sigma) * x).to(self.unet.dtype)
            return self.unet(scaled, told, **more).sample[:, : x.shape[1]].to(x.dtype)

        y = output(class_labels)
        if guidance_scale != 1:
            free = output(torch.full_like(class_labels, NO_LABEL))
            y = free + guidance_scale * (y - free)
        return estimates(y, x, alpha, sigma)

    @torch.no_grad()
    def __call__(
        self,
        batch_size=1,
        generator=None,
        class_labels=None,
        guidance_scale=1.0,
        num_inference_steps=50,
        latents=None,
        output_type="pil",
        return_dict=True,
    ):
        """class_labels: a class for each sample; None: without a label. latents: the start, noise
        of unit variance. output_type: "pil", "np" (in [0, 1]) or "latent" (the network's)."""
        size, device = self.unet.config.sample_size, self.unet.device
        size = (size, size) if isinstance(size, int) else tuple(size)
        shape = (batch_size, self.unet.config.in_channels, *size)
        x = latents if latents is not None else torch.randn(shape, generator=generator)
        x = PRIOR_DEVIATION * x.to(device, torch.float64)
        if NO_LABEL is not None and class_labels is None:
            class_labels = [NO_LABEL] * x.shape[0]
        if class_labels is not None:
            class_labels = torch.as_tensor(class_labels, device=device)
        levels = self.levels(num_inference_steps)
        for level, then in self.progress_bar(list(zip(levels, levels[1:] + [None]))):
            x0, eps = self.denoised(x, level, class_labels, guidance_scale)
            x = x0 if then is None else then[1] * x0 + then[2] * eps
        if output_type != "latent":
            x = (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()
        if output_type == "pil":
            x = self.numpy_to_pil(x)
        return ImagePipelineOutput(images=x) if return_dict else (x,)
)py";

std::string filled(std::string text, const PipelineFacts& facts) {
  const std::pair<std::string, std::string> values[] = {
      {"@prediction@", facts.prediction},
      {"@sigma_data@", std::to_string(facts.sigma_data)},
      {"@no_label@", facts.num_classes > 0 ? std::to_string(facts.num_classes) : "None"},
      {"@prior@", std::to_string(facts.prior_deviation)},
      {"@levels@", facts.levels}};
  for (const auto& [mark, value] : values) text.replace(text.find(mark), mark.size(), value);
  return text;
}

std::string sampling(const PipelineFacts& facts) {
  if (facts.steps > 0 && facts.num_classes == 0) {
    return "    pipe = diffusers.DDPMPipeline.from_pretrained(FOLDER)\n"
           "    images = pipe(batch_size=4, num_inference_steps=" +
           std::to_string(facts.steps) + ").images        # or fewer\n";
  }
  std::string text =
      "    pipe = diffusers.DiffusionPipeline.from_pretrained(\n"
      "        FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)\n"
      "    images = pipe(batch_size=4, num_inference_steps=50).images\n";
  if (facts.num_classes > 0) {
    text += "    images = pipe(batch_size=4, class_labels=[0, 1, 2, 3], guidance_scale=2).images\n";
  }
  return text + "\nThe second runs pipeline.py of this folder; read it first.\n";
}

}  // namespace

std::string pipeline_text(const PipelineFacts& facts) { return filled(kPipeline, facts); }

std::string pipeline_readme(const PipelineFacts& facts, bool says_variance) {
  std::string text = "A U-Net trained by scorenet (schedule " + facts.schedule + ", predicts " +
                     facts.prediction + ").\n\n" + sampling(facts) +
                     "\nThe network alone is unet = diffusers.UNet2DModel.from_pretrained(FOLDER, "
                     "subfolder=\"unet\"), called as\nunet(x_t, timestep).sample.\n\n";
  text += facts.steps > 0 ? "timestep: a step of scheduler/scheduler_config.json.\n"
                          : "timestep and the scale of x_t: see pipeline.py.\n";
  if (says_variance)
    text += "The second half of the channels says the reverse variance (learned_range).\n";
  if (facts.num_classes > 0)
    text += "class_labels = " + std::to_string(facts.num_classes) + " asks for no label.\n";
  return text;
}

}  // namespace scorenet::score
