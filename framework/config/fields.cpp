#include "framework/config/fields.hpp"

#include <utility>

#include "framework/diffusion/names.hpp"
#include "models/options.hpp"

namespace scorenet::config {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Names = std::vector<std::string>;

Field one_of(std::string name, std::string* value, std::string help, Names names) {
  Field field{std::move(name), value, std::move(help)};
  field.choices = std::move(names);
  return field;
}

// A field of which it matters whether it was given.
Field noticed(Field field, bool* given) {
  field.given = given;
  return field;
}

Names with(Names names, const Names& more) {
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

// From files as they lie to samples.
void map_fields(data::DataMap& c, std::vector<Field>& out) {
  Field path{
      "data.path", &c.path,
      "data file, list of files, or pattern: HDF5, netCDF-4, .npy; {split} stands for the split's "
      "name"};
  path.bare_one = true;
  out.push_back(path);
  out.push_back(
      {"data.arrays", &c.arrays,
       "data sets that hold the samples; several are stacked as channels; {split} stands for the "
       "split's name"});
  out.push_back({"data.sample_axes", &c.sample_axes,
                 "axes of the stored array that number the samples, slowest first", 0, 31});
  out.push_back(
      {"data.channel_axis", &c.channel_axis,
       "axis of the stored array that is the channel, -1: the last; \"none\": an axis of size 1 "
       "is added",
       -32, 31});
  out.push_back({"data.window", &c.window,
                 "part of each stored axis to take, start:stop:step as in Python; []: all"});
  out.push_back({"data.reshape", &c.reshape,
                 "shape of a sample, channels first; -1: computed from the others; []: as stored",
                 -1, 1e12});
  out.push_back(
      {"data.splits", &c.splits,
       "samples of each split, where the file has no groups of these names: { train = \"0:900\", "
       "test = \"b.h5\" }; ranges of sample numbers, or files"});
  out.push_back({"data.labels_array", &c.labels_array,
                 "data set of the labels, one whole number per sample"});
}

void data_fields(DataConfig& c, std::vector<Field>& out) {
  map_fields(c.map, out);
  out.push_back({"data.split", &c.split, "split to train on: train or any group of the file"});
  out.push_back({"data.labels", &c.labels, "use the labels of data.labels_array as condition"});
  out.push_back({"data.flip", &c.flip, "mirror each image left-right with probability 1/2"});
  out.push_back({"data.augment", &c.augment,
                 "EDM's augmentation: probability of each change (EDM: 0.12), which the network is "
                 "told, and an x-flip with 1/2; 0: off",
                 0, 1});
  out.push_back({"data.changed", &c.changed,
                 "resume a run although its data set has changed; log.txt records it"});
  out.push_back({"data.shuffle_window", &c.shuffle_window,
                 "chunks shuffled together (chunked files)", 1, 1 << 20});
  out.push_back({"data.prefetch", &c.prefetch, "batches read ahead", 1, 1024});
  out.push_back({"data.transforms", &c.transforms,
                 "from the file's values to the network's, in order: log(a), logit(a), arcsinh(a), "
                 "affine(a, b), standardise(channel | pixel | all), divide(NAME)"});
  out.push_back({"data.levels", &c.levels,
                 "number of levels of discrete data, whose values are 0, 1, ...: 2, 256, 65536; 0: "
                 "continuous; -1: 256 for uint8, else continuous",
                 -1, 65536});
  Field missing{
      "data.missing", &c.missing,
      "nan, or the number that marks missing values; the loss and the likelihood leave these out"};
  missing.or_number = true;
  out.push_back(missing);
}

void condition_fields(data::ConditionMap& c, std::vector<Field>& out) {
  const std::string prefix = kConditionPrefix + c.name + ".";
  out.push_back(
      {prefix + "array", &c.array,
       "data set of the condition, or FILE.npy; empty, with steps: the samples' own arrays"});
  out.push_back(one_of(
      prefix + "kind", &c.kind,
      "vector: numbers, added to the embedding of the noise level; field: values on the sample's "
      "grid, added as input channels",
      {"vector", "field"}));
  out.push_back(
      {prefix + "transforms", &c.transforms,
       "as data.transforms; the last may be angle(period), which gives its cosine and sine"});
  out.push_back({prefix + "steps", &c.steps,
                 "field: which earlier samples of the same trajectory, such as [-2, -1]", -1e6,
                 -1});
  out.push_back({prefix + "shape", &c.shape, "shape for one sample; []: as in the data", 1, 1e12});
}

// A word of a convention; left open, it is the named convention's.
Field word(std::string name, std::string* value, const std::string& help, const Names& names) {
  return one_of(std::move(name), value, "torchscript: " + help, with({diffusion::kOpen}, names));
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

void model_fields(ModelConfig& c, std::vector<Field>& out) {
  out.push_back(one_of(
      "model.type", &c.type,
      "network; classifier: classifies noised data, with the keys of unet for images, of mlp for "
      "points",
      with(models::model_names(), {"classifier", "gaussian_mixture", "torchscript"})));
  out.push_back({"model.channels", &c.unet.channels, "unet: channels of each level, finest first",
                 1, 1 << 16});
  out.push_back({"model.layers_per_block", &c.unet.layers_per_block,
                 "unet: residual blocks per level", 1, 64});
  out.push_back({"model.attention",
                 &c.unet.attention,
                 "unet: self-attention, one flag per level; default: only at the coarsest level",
                 -kInfinity,
                 kInfinity,
                 {},
                 &c.attention_given});
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
  out.push_back({"model.hidden", &c.mlp.hidden, "mlp: widths of the hidden layers", 1, 1 << 16});
  out.push_back(one_of("model.time_embedding", &c.mlp.time_embedding,
                       "mlp: embedding of the noise level", models::time_embedding_names()));
  out.push_back({"model.residual", &c.mlp.residual, "mlp: residual hidden layers"});
  out.push_back({"model.patch_size", &c.dit.patch_size, "dit: side of a patch, pixels", 1, 64});
  out.push_back({"model.width", &c.dit.width, "dit: channels of a token", 1, 1 << 16});
  out.push_back({"model.depth", &c.dit.depth, "dit: number of blocks", 1, 512});
  out.push_back({"model.heads", &c.dit.heads, "dit: attention heads", 1, 1024});
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

void diffusion_fields(DiffusionConfig& c, std::vector<Field>& out) {
  out.push_back(noticed(
      one_of("diffusion.schedule", &c.schedule.name, "noise schedule", diffusion::schedule_names()),
      &c.schedule_given));
  out.push_back(
      {"diffusion.t_min", &c.schedule.t_min, "first time; -1: the schedule's own", -1, 1e6});
  out.push_back(
      {"diffusion.t_max", &c.schedule.t_max, "last time; -1: the schedule's own", -1, 1e6});
  out.push_back(noticed(
      {"diffusion.beta_min", &c.schedule.beta_min, "vp_linear, subvp: beta at t = 0", 0, 1e6},
      &c.betas_given));
  out.push_back(noticed(
      {"diffusion.beta_max", &c.schedule.beta_max, "vp_linear, subvp: beta at t = 1", kTiny, 1e6},
      &c.betas_given));
  out.push_back({"diffusion.beta", &c.schedule.beta,
                 "vp_constant: beta(t) = beta; vp_ramp: beta(t) = beta t", kTiny, 1e6});
  out.push_back(
      {"diffusion.gamma_min", &c.schedule.gamma_min, "vdm_*: -log_snr at t = 0, nats", -50, 50});
  out.push_back(
      {"diffusion.gamma_max", &c.schedule.gamma_max, "vdm_*: -log_snr at t = 1, nats", -50, 50});
  out.push_back({"diffusion.sigma_min", &c.schedule.sigma_min,
                 "ve, edm: least noise, in data units", kTiny, 1e6});
  out.push_back({"diffusion.sigma_max", &c.schedule.sigma_max, "ve, edm: most noise, in data units",
                 kTiny, 1e9});
  out.push_back(noticed(one_of("diffusion.prediction", &c.prediction,
                               "what the network's output means", diffusion::prediction_names()),
                        &c.prediction_given));
  out.push_back(
      noticed(one_of("diffusion.loss", &c.loss,
                     "weighting of the squared error; uncertainty: learned; hybrid: with a learned "
                     "reverse variance",
                     with(diffusion::weighting_names(), {"uncertainty", "hybrid"})),
              &c.loss_given));
  out.push_back(one_of("diffusion.time_sampling", &c.time_sampling, "how training times are drawn",
                       with(diffusion::time_sampling_names(), {"loss_second_moment"})));
  out.push_back({"diffusion.P_mean", &c.P_mean,
                 "log_normal: mean of log(sigma / alpha) in training (EDM)", -50, 50});
  out.push_back({"diffusion.P_std", &c.P_std,
                 "log_normal: standard deviation of log(sigma / alpha) in training (EDM)", 1e-6,
                 50});
  out.push_back({"diffusion.sigma_data", &c.sigma_data, "F: standard deviation of the data (EDM)",
                 kTiny, 1e6});
  out.push_back(
      {"diffusion.min_snr_gamma", &c.min_snr_gamma, "min_snr: largest SNR weight", kTiny, 1e6});
  out.push_back(
      {"diffusion.train_steps", &c.train_steps,
       "T: train on the T-step bound's times, uniform between t_min and t_max; 0: continuous time",
       0, 1e6});
  out.push_back(
      {"diffusion.time_bins", &c.time_bins,
       "loss_second_moment in continuous time: number of intervals of t, each with a history of "
       "losses",
       1, 1e5});
  out.push_back({"diffusion.learn_ends", &c.schedule.learn_ends,
                 "vdm_learned: gamma_min and gamma_max are learned too, by the bound's gradient"});
  out.push_back({"diffusion.hybrid_weight", &c.hybrid_weight,
                 "hybrid: weight of the T-step bound beside the simple loss", 0, 1e6});
  out.push_back({"diffusion.divergence_weight", &c.divergence_weight,
                 "v: weight of second-order flow matching (i-DODE: 0.1); 0: off", 0, 1e6});
  out.push_back({"diffusion.label_drop", &c.label_drop,
                 "probability of training without the label and the conditions", 0, 1});
}

void train_fields(TrainConfig& c, std::vector<Field>& out) {
  out.push_back({"train.batch_size", &c.batch_size, "images per step, over all ranks", 1, 1 << 24});
  out.push_back({"train.micro_batch", &c.micro_batch,
                 "images a rank computes at once; 0: its whole share", 0, 1 << 24});
  out.push_back({"train.uneven", &c.uneven,
                 "allow the ranks' shares to differ by one image (weighted by the true counts)"});
  out.push_back({"train.steps", &c.steps, "steps to train; 0: from duration_kimg", 0, 1e12});
  out.push_back({"train.duration_kimg", &c.duration_kimg,
                 "thousands of images to train on; 0: from steps", 0, 1e12});
  out.push_back({"train.seed", &c.seed, "seed of weights, order, noise and times", 0, 1e15});
  out.push_back(
      {"train.learning_rate", &c.rate.learning_rate, "AdamW's step size after warm-up", kTiny, 10});
  out.push_back({"train.warmup_steps", &c.rate.warmup_steps, "steps of linear warm-up", 0, 1e9});
  out.push_back({"train.lr_rampup_kimg", &c.lr_rampup_kimg,
                 "thousands of images of linear warm-up, as EDM counts it; -1: by warmup_steps", -1,
                 1e12});
  out.push_back(one_of("train.lr_schedule", &c.rate.law, "learning rate after warm-up",
                       optim::lr_law_names()));
  out.push_back(
      {"train.weight_decay", &c.adamw.weight_decay, "AdamW's decoupled weight decay", 0, 10});
  out.push_back({"train.beta1", &c.adamw.beta1, "AdamW's decay of the first moment", 0, 0.999999});
  out.push_back(
      {"train.beta2", &c.adamw.beta2, "AdamW's decay of the second moment", 0, 0.99999999});
  out.push_back({"train.adam_eps", &c.adamw.eps, "AdamW's denominator offset", kTiny, 1});
  out.push_back({"train.clip_norm", &c.adamw.clip_norm,
                 "largest global gradient norm; 0: no clipping", 0, 1e9});
  out.push_back({"train.loss_scaling", &c.loss_scaling,
                 "factor on the loss before its gradient (EDM's --ls); logs hold the plain loss",
                 kTiny, 1e12});
  out.push_back(one_of(
      "train.precision", &c.precision,
      "precision of the network's arithmetic; weights stay fp32; tf32: fp32 whose products a GPU "
      "rounds; fp16 scales its loss; auto: "
      "trains in bf16 where all ranks compute it natively (avx512_bf16, amx_bf16, GPUs from 8.0 "
      "on) and the network is no mlp, else in fp32, and evaluates in fp32",
      models::precision_names()));
  out.push_back(one_of("train.on_nonfinite", &c.on_nonfinite,
                       "what to do when a loss or gradient on any rank is not finite; skip: that "
                       "update does not happen; rollback: to the last checkpoint, then on with "
                       "other draws",
                       {"halt", "skip", "rollback"}));
  out.push_back({"train.max_skipped", &c.max_skipped,
                 "skip: stop after this many skipped steps in a row", 1, 1e9});
  out.push_back(one_of("train.on_spike", &c.on_spike,
                       "what to do when the loss or the gradient norm is far above its recent "
                       "steps; log: tell it; skip and rollback as in train.on_nonfinite",
                       {"log", "skip", "rollback"}));
  out.push_back({"train.spike_deviations", &c.spike_deviations,
                 "how far above the median a spike is, in robust standard deviations of the "
                 "logarithm",
                 1, 1e6});
  out.push_back({"train.max_rollbacks", &c.max_rollbacks,
                 "rollback: stop after this many to one checkpoint", 1, 1e9});
  out.push_back({"train.shard_optimizer", &c.shard_optimizer,
                 "divide AdamW's moments and the moving averages among the ranks (ZeRO stage 1)"});
  out.push_back({"train.init", &c.init,
                 "snapshot, or run folder (its newest snapshot), whose weights a new run starts "
                 "from, by name; \"\": from train.seed"});
  out.push_back({"train.init_digest", &c.init_digest,
                 "digest of train.init's weights; the program writes it, and refuses others"});
}

void ema_fields(EmaConfig& c, std::vector<Field>& out) {
  out.push_back({"ema.decays", &c.decays,
                 "decays per step, one moving average of the weights for each", 0, 0.9999999});
  out.push_back({"ema.half_lives_kimg", &c.half_lives_kimg,
                 "half-lives in thousands of images (EDM), one average for each", kTiny, 1e9});
  out.push_back({"ema.powers", &c.powers,
                 "relative widths of a power profile (EDM2), one average for each; `scorenet ema "
                 "reconstruct` makes any other width from two of them",
                 0.001, 0.279});
  out.push_back({"ema.ramp_up", &c.ramp_up,
                 "early on the half-life is at most this fraction of the steps so far; 0: off", 0,
                 1});
}

void checkpoint_fields(CheckpointConfig& c, std::vector<Field>& out) {
  out.push_back({"checkpoint.every", &c.every,
                 "steps between checkpoints and snapshots; 0: only the last", 0, 1e12});
  out.push_back({"checkpoint.every_minutes", &c.every_minutes,
                 "minutes between checkpoints by rank zero's clock, besides checkpoint.every; 0: "
                 "by steps alone",
                 0, 1e6});
  out.push_back({"checkpoint.keep", &c.keep, "checkpoints kept", 1, 1e6});
  out.push_back({"checkpoint.background", &c.background,
                 "copy the state, then write it while training goes on; needs the state's size "
                 "once more in host memory"});
  out.push_back(one_of("checkpoint.on_failure", &c.on_failure,
                       "when a checkpoint cannot be written: end the run, or tell it and go on to "
                       "the next",
                       {"stop", "continue"}));
  out.push_back({"checkpoint.replica", &c.replica,
                 "a second folder for the checkpoints of this run alone, such as one on another "
                 "file system; empty: none"});
  out.push_back({"checkpoint.replica_every", &c.replica_every,
                 "saves between two that are also written to checkpoint.replica", 1, 1e9});
  out.push_back({"checkpoint.snapshot_keep", &c.snapshot_keep,
                 "steps whose snapshots are kept, the newest; 0: all", 0, 1e9});
  out.push_back({"checkpoint.snapshot_keep_every", &c.snapshot_keep_every,
                 "with snapshot_keep: of the older snapshots, the first in every so many steps "
                 "stays; 0: none",
                 0, 1e12});
}

void eval_fields(EvalConfig& c, std::vector<Field>& out) {
  out.push_back({"eval.every", &c.every, "steps between evaluations; 0: no evaluation", 0, 1e12});
  out.push_back({"eval.split", &c.split, "held-out split: validation or any group of the file"});
  out.push_back({"eval.n", &c.n, "held-out images evaluated; 0: all", 0, 1e12});
  out.push_back(one_of("eval.ranks", &c.ranks, "ranks that evaluate", {"zero", "all"}));
  out.push_back(
      {"eval.micro_batch", &c.micro_batch, "images a rank evaluates at once", 1, 1 << 20});
  out.push_back({"eval.time_samples", &c.time_samples, "times drawn for each image", 1, 1e6});
  out.push_back(one_of("eval.decoder", &c.decoder,
                       "reconstruction term; auto: 256 levels for uint8, else flat",
                       with({"auto"}, diffusion::decoder_names())));
  out.push_back({"eval.samples", &c.samples, "images of a sample grid; 0: no grid", 0, 1 << 16});
  out.push_back(
      one_of("eval.sampler", &c.sampler, "sampler of the grid", diffusion::sampler_names()));
  out.push_back({"eval.sampler_steps", &c.sampler_steps, "steps of the grid's sampler", 1, 1e6});
  out.push_back(
      {"eval.time_budget_s", &c.time_budget_s, "limit of one evaluation, seconds", 1, 1e6});
  out.push_back({"eval.seed", &c.seed, "seed of evaluation and samples", 0, 1e15});
}

void comm_fields(CommConfig& c, std::vector<Field>& out) {
  out.push_back(one_of("comm.backend", &c.link.backend,
                       "library that communicates; auto: nccl on GPUs, else mpi",
                       comm::backend_names()));
  out.push_back(
      {"comm.bucket_mb", &c.bucket_mb,
       "largest gradient bucket, MiB; 0: all three sizes are chosen at start, from the measured "
       "link and backward pass",
       0, 1e5});
  out.push_back({"comm.first_bucket_mb", &c.first_bucket_mb,
                 "largest first bucket, MiB; a small one starts communication early", 1e-3, 1e5});
  out.push_back({"comm.last_bucket_mb", &c.last_bucket_mb,
                 "largest last bucket, MiB; no computation overlaps with it", 1e-3, 1e5});
  out.push_back(one_of(
      "comm.overlap", &c.overlap,
      "reduce gradients during the backward pass; auto: on with GPUs, else the faster of both in "
      "the first 18 steps",
      {"auto", "on", "off"}));
  out.push_back({"comm.start_timeout_s", &c.link.limits.start,
                 "longest wait for a rank at start, seconds", 0.1, 1e6});
  out.push_back({"comm.train_timeout_s", &c.link.limits.train,
                 "longest wait for a rank while training, seconds", 0.1, 1e6});
  out.push_back({"comm.save_timeout_s", &c.link.limits.save,
                 "longest wait for a rank while saving, seconds", 0.1, 1e6});
  out.push_back(
      {"comm.heartbeat_limit_s", &c.link.heartbeat_limit_s,
       "a frozen rank is named and the job ended after this many seconds; 0: no heartbeat", 0,
       1e6});
  out.push_back({"comm.check_collectives", &c.link.check_collectives,
                 "debugging: compare every collective over the ranks"});
  out.push_back({"comm.check_every", &c.check_every,
                 "steps between comparisons of the ranks' weights; 0: never", 0, 1e12});
  out.push_back({"comm.canonical", &c.canonical,
                 "debugging: the same weights, bit for bit, at any rank count that divides "
                 "comm.virtual_shards"});
  out.push_back({"comm.virtual_shards", &c.virtual_shards,
                 "canonical: equal parts of the batch, a power of two", 1, 1 << 20});
  out.push_back(one_of(
      "comm.compression", &c.compression,
      "compression of the gradients that are sent: bf16 halves the bytes, powersgd sends matrices "
      "of rank comm.powersgd_rank",
      {"none", "bf16", "powersgd"}));
  out.push_back({"comm.powersgd_rank", &c.powersgd_rank,
                 "powersgd: rank of the matrices that stand for a gradient", 1, 1 << 10});
  out.push_back({"comm.allow_unused", &c.allow_unused,
                 "allow weights that get no gradient; otherwise they are an error"});
  out.push_back({"comm.gpu_aware_mpi", &c.gpu_aware_mpi,
                 "pass device memory to MPI; needs an MPI library built for it"});
  out.push_back(
      {"comm.straggler_excess", &c.straggler_excess,
       "report a rank whose own work in a phase is slower than the median rank's by this fraction "
       "of a step; 0: never",
       0, 1e6});
}

void run_fields(RunConfig& c, std::vector<Field>& out) {
  out.push_back({"run.tick", &c.tick, "steps between status lines", 1, 1e12});
  out.push_back(one_of("run.progress", &c.progress, "progress bar; auto: on a terminal",
                       {"auto", "bar", "lines"}));
  out.push_back(
      {"run.threads", &c.threads,
       "CPU threads per rank; 0: its cores, divided among the ranks that share them; 1 where a "
       "GPU computes",
       0, 4096});
  out.push_back({"run.timeline", &c.timeline,
                 "steps to trace after each start, one Chrome trace per rank; 0: none", 0, 1e5});
  out.push_back({"run.graph", &c.graph,
                 "on a GPU: record the step once (CUDA graph) and launch it as a whole"});
  out.push_back({"run.tensorboard", &c.tensorboard,
                 "write event files for TensorBoard into the run folder, beside the logs"});
}

}  // namespace

std::vector<Field> fields(Config& config) {
  std::vector<Field> all;
  data_fields(config.data, all);
  for (data::ConditionMap& condition : config.conditions) condition_fields(condition, all);
  model_fields(config.model, all);
  diffusion_fields(config.diffusion, all);
  train_fields(config.train, all);
  ema_fields(config.ema, all);
  checkpoint_fields(config.checkpoint, all);
  eval_fields(config.eval, all);
  comm_fields(config.comm, all);
  run_fields(config.run, all);
  return all;
}

}  // namespace scorenet::config
