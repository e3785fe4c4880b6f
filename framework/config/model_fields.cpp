// The keys of [model].
#include "framework/config/field_sections.hpp"
#include "framework/diffusion/names.hpp"
#include "models/options.hpp"

namespace scorenet::config {
namespace {

// A word of a convention; left open, it is the named convention's.
Field word(std::string name, std::string* value, const std::string& help, const Names& names) {
  return one_of(std::move(name), value, "torchscript: " + help, with({diffusion::kOpen}, names));
}

// Of the U-Net, and those that it shares with other networks.
void unet_fields(ModelConfig& c, std::vector<Field>& out) {
  out.push_back({"model.channels", &c.unet.channels, "unet: channels of each level, finest first",
                 1, 1 << 16});
  out.push_back({"model.layers_per_block", &c.unet.layers_per_block,
                 "unet: residual blocks per level", 1, 64});
  out.push_back(
      noticed({"model.attention", &c.unet.attention,
               "unet: self-attention, one flag per level; default: only at the coarsest level"},
              &c.attention_given));
  out.push_back({"model.mid_attention", &c.unet.mid_attention,
                 "unet: self-attention between the way down and the way up"});
  out.push_back({"model.mid_norm_groups", &c.unet.mid_norm_groups,
                 "unet: groups of the norm of the middle's attention; 0: no norm; -1: norm_groups",
                 -1, 1 << 16});
  out.push_back({"model.scale_shift", &c.unet.scale_shift,
                 "unet: the noise level scales and shifts behind a block's second norm (ADM); "
                 "false: it is added before it"});
  out.push_back({"model.residual_resampling", &c.unet.residual_resampling,
                 "unet: resample in a residual block (ADM), one flag per level; []: by "
                 "convolutions"});
  out.push_back({"model.attention_head_dim", &c.unet.attention_head_dim,
                 "channels per attention head; 0: one head with all channels", 0, 1 << 16});
  out.push_back(
      {"model.norm_groups", &c.unet.norm_groups, "unet: groups of each group norm", 1, 1 << 16});
  out.push_back({"model.dropout", &c.dropout, "probability of dropping an activation", 0, 0.95});
  out.push_back(
      {"model.num_classes", &c.num_classes, "classes of the labels; 0: no labels", 0, 1 << 20});
  Field padding{"model.padding", &c.padding,
                "unet, dit: boundary of each axis, zeros or periodic; one name for all axes, or "
                "one per axis"};
  padding.bare_one = true;
  padding.choices = models::boundary_names();
  out.push_back(padding);
  out.push_back({"model.recompute", &c.recompute,
                 "unet, dit: recompute activations in the backward pass to save memory"});
  out.push_back(
      one_of("model.kernels", &c.unet.kernels,
             "unet, dit: auto takes kernels of our own where they apply, aten never; blocks: "
             "unet, those of one block each",
             models::kernel_choices()));
  out.push_back({"model.fourier_features", &c.fourier_features,
                 "unet: append VDM's Fourier features to the input"});
  out.push_back(
      {"model.norm_eps", &c.unet.norm_eps, "unet: added to variances in group norms", kTiny, 1});
  out.push_back({"model.downsample_padding", &c.unet.downsample_padding,
                 "unet: zeros before and after each axis when an image is halved; 0: only after it",
                 0, 1});
  out.push_back({"model.cosines_first", &c.unet.cosines_first,
                 "unet: cosines before sines in the embedding of the noise level"});
  out.push_back({"model.freq_shift", &c.unet.freq_shift,
                 "unet: shift of the embedding's frequencies; 1: as in the original DDPM code", 0,
                 1});
}

// Of networks that are told the number of a step.
void step_fields(ModelConfig& c, std::vector<Field>& out) {
  out.push_back(
      {"model.timesteps", &c.numbered.steps,
       "unet, torchscript: number of discrete steps that it was trained on; 0: its input is the "
       "log-SNR",
       0, 1e6});
  out.push_back(one_of("model.timestep_law", &c.numbered.law, "law of beta over model.timesteps",
                       diffusion::step_law_names()));
  out.push_back(
      {"model.timestep_beta_min", &c.numbered.beta_min, "beta of the first step", kTiny, 1});
  out.push_back(
      {"model.timestep_beta_max", &c.numbered.beta_max, "beta of the last step", kTiny, 1});
}

void mlp_and_dit_fields(ModelConfig& c, std::vector<Field>& out) {
  out.push_back({"model.hidden", &c.mlp.hidden, "mlp: widths of the hidden layers", 1, 1 << 16});
  out.push_back(one_of("model.time_embedding", &c.mlp.time_embedding,
                       "mlp: embedding of the noise level", models::time_embedding_names()));
  out.push_back({"model.residual", &c.mlp.residual, "mlp: residual hidden layers"});
  out.push_back({"model.patch_size", &c.dit.patch_size, "dit: side of a patch, pixels", 1, 64});
  out.push_back({"model.width", &c.dit.width, "dit: channels of a token", 1, 1 << 16});
  out.push_back({"model.depth", &c.dit.depth, "dit: number of blocks", 1, 512});
  out.push_back({"model.heads", &c.dit.heads, "dit: attention heads", 1, 1024});
}

void convention_fields(diffusion::ConventionOptions& c, std::vector<Field>& out) {
  out.push_back(one_of("model.convention", &c.name,
                       "torchscript: what the network expects and returns, by the name of its "
                       "family; none: the keys below say it",
                       with({"none"}, diffusion::convention_names())));
  out.push_back(word("model.level", &c.level,
                     "forward's second argument; auto: as model.convention says",
                     diffusion::level_names()));
  out.push_back(word("model.input_scaling", &c.input_scaling,
                     "scale of forward's first argument; auto: as model.convention says",
                     diffusion::input_scaling_names()));
  out.push_back(word("model.output", &c.output,
                     "what forward returns; auto: as model.convention says",
                     diffusion::output_names()));
  out.push_back(word("model.variance", &c.variance,
                     "learned: forward returns a reverse variance behind its output; auto: as "
                     "model.convention says",
                     {"none", "learned"}));
  out.push_back(word("model.label_form", &c.label_form,
                     "how forward's third argument tells the label; auto: as model.convention says",
                     {"index", "one_hot"}));
  out.push_back(word("model.level_schedule", &c.level_schedule,
                     "schedule whose time the levels t, 1-t, 999t and 1000t are; auto: "
                     "diffusion.schedule, or as model.convention says",
                     diffusion::schedule_names()));
  out.push_back(one_of("model.convention_check", &c.check,
                       "torchscript: what becomes of a convention that the network contradicts",
                       {"refuse", "warn", "off"}));
  out.push_back({"model.file_digest", &c.file_digest,
                 "torchscript: digest of model.file; written by the program, and compared where it "
                 "is given"});
}

}  // namespace

void model_fields(ModelConfig& c, std::vector<Field>& out) {
  out.push_back(one_of(
      "model.type", &c.type,
      "network; classifier: classifies noised data, with the keys of unet for images, of mlp for "
      "points",
      with(models::model_names(), {"classifier", "gaussian_mixture", "torchscript"})));
  unet_fields(c, out);
  step_fields(c, out);
  mlp_and_dit_fields(c, out);
  out.push_back(
      {"model.file", &c.file,
       "gaussian_mixture: HDF5 file with weights, means, covariances; torchscript: the network's "
       "file"});
  convention_fields(c.convention, out);
  out.push_back(
      {"model.score_scale", &c.score_scale, "gaussian_mixture: factor on the exact score"});
  out.push_back({"model.score_linear", &c.score_linear,
                 "gaussian_mixture: matrix A added as A x, row-major, D*D numbers"});
  out.push_back({"model.score_offset", &c.score_offset,
                 "gaussian_mixture: vector c added to the score, D numbers"});
}

}  // namespace scorenet::config
