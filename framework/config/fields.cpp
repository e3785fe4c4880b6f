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

Names with(Names names, const Names& more) {
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

// From files as they lie to samples.
void map_fields(data::DataMap& c, std::vector<Field>& out) {
  Field path{"data.path", &c.path,
             "data file, several, or a pattern: HDF5, netCDF-4, .npy; {split} may stand in it"};
  path.bare_one = true;
  out.push_back(path);
  out.push_back(
      {"data.arrays", &c.arrays,
       "data sets of a sample; several are stacked as channels; {split}: the split's name"});
  out.push_back({"data.sample_axes", &c.sample_axes,
                 "axes of the stored array that number the samples, slowest first", 0, 31});
  out.push_back(
      {"data.channel_axis", &c.channel_axis,
       "axis of the stored array that is the channel, -1 the last; \"none\": an axis of 1 "
       "is added",
       -32, 31});
  out.push_back({"data.window", &c.window,
                 "places of each stored axis, start:stop:step as in Python; [] all"});
  out.push_back({"data.reshape", &c.reshape,
                 "shape of a sample, channel first, -1 what is left; [] as it comes", -1, 1e12});
  out.push_back(
      {"data.splits", &c.splits,
       "samples of each split where the file has no such groups: { train = \"0:900\", test "
       "= \"b.h5\" }, ranges of sample numbers or files"});
  out.push_back(
      {"data.labels_array", &c.labels_array, "data set of the labels, a whole number a sample"});
}

void data_fields(DataConfig& c, std::vector<Field>& out) {
  map_fields(c.map, out);
  out.push_back({"data.split", &c.split, "split to train on: train or any group of the file"});
  out.push_back({"data.labels", &c.labels, "condition on the labels, those of data.labels_array"});
  out.push_back({"data.flip", &c.flip, "mirror each image left-right with probability 1/2"});
  out.push_back({"data.changed", &c.changed,
                 "resume a run although its data set is another now; log.txt says so"});
  out.push_back({"data.shuffle_window", &c.shuffle_window,
                 "chunks shuffled together (chunked files)", 1, 1 << 20});
  out.push_back({"data.prefetch", &c.prefetch, "batches read ahead", 1, 1024});
  out.push_back({"data.transforms", &c.transforms,
                 "from the file's values to the network's, in order: log(a), logit(a), arcsinh(a), "
                 "affine(a, b), standardise(channel | pixel | all), divide(NAME)"});
  out.push_back({"data.levels", &c.levels,
                 "values 0, 1, ... of discrete data: 2, 256, 65536; 0: continuous; -1: 256 for "
                 "uint8, else continuous",
                 -1, 65536});
  Field missing{"data.missing", &c.missing,
                "nan or the number that marks missing values; they are no dimensions: not in the "
                "loss, not in the likelihood"};
  missing.or_number = true;
  out.push_back(missing);
}

void model_fields(ModelConfig& c, std::vector<Field>& out) {
  out.push_back(one_of(
      "model.type", &c.type,
      "network; classifier: of noised data, with the keys of unet for images, of mlp for points",
      with(models::model_names(), {"classifier", "gaussian_mixture"})));
  out.push_back({"model.channels", &c.unet.channels, "unet: channels of each level, finest first",
                 1, 1 << 16});
  out.push_back(
      {"model.layers_per_block", &c.unet.layers_per_block, "unet: residual blocks a level", 1, 64});
  out.push_back({"model.attention",
                 &c.unet.attention,
                 "unet: self-attention at each level; left out, at the coarsest alone",
                 -kInfinity,
                 kInfinity,
                 {},
                 &c.attention_given});
  out.push_back({"model.attention_head_dim", &c.unet.attention_head_dim,
                 "channels of an attention head; 0: one head of all", 0, 1 << 16});
  out.push_back(
      {"model.norm_groups", &c.unet.norm_groups, "unet: groups of each group norm", 1, 1 << 16});
  out.push_back({"model.dropout", &c.dropout, "probability of dropping an activation", 0, 0.95});
  out.push_back(
      {"model.num_classes", &c.num_classes, "classes of the labels; 0: unconditional", 0, 1 << 20});
  Field padding{"model.padding", &c.padding,
                "unet, dit: how axes end, zeros or periodic; one for all, or one an axis"};
  padding.bare_one = true;
  padding.choices = models::boundary_names();
  out.push_back(padding);
  out.push_back({"model.recompute", &c.recompute,
                 "unet, dit: compute activations again in the backward pass and keep few of them"});
  out.push_back(one_of("model.kernels", &c.unet.kernels,
                       "unet on CPUs: auto takes the fused blocks where they apply, aten never",
                       models::kernel_choices()));
  out.push_back({"model.fourier_features", &c.fourier_features,
                 "unet: append VDM's Fourier features to the input"});
  out.push_back(
      {"model.norm_eps", &c.unet.norm_eps, "unet: added to variances in group norms", kTiny, 1});
  out.push_back({"model.downsample_padding", &c.unet.downsample_padding,
                 "unet: zeros around an image before it is halved; 0: behind it alone", 0, 1});
  out.push_back(
      {"model.cosines_first", &c.unet.cosines_first, "unet: order of the level's features"});
  out.push_back(
      {"model.freq_shift", &c.unet.freq_shift, "unet: 1 as in the original DDPM code", 0, 1});
  out.push_back({"model.timesteps", &c.numbered.steps,
                 "unet: numbered steps that it was trained on; 0: it is told the log-SNR", 0, 1e6});
  out.push_back(one_of("model.timestep_law", &c.numbered.law,
                       "model.timesteps: how beta runs over them", diffusion::step_law_names()));
  out.push_back(
      {"model.timestep_beta_min", &c.numbered.beta_min, "beta of the first step", kTiny, 1});
  out.push_back(
      {"model.timestep_beta_max", &c.numbered.beta_max, "beta of the last step", kTiny, 1});
  out.push_back({"model.hidden", &c.mlp.hidden, "mlp: widths of the hidden layers", 1, 1 << 16});
  out.push_back(one_of("model.time_embedding", &c.mlp.time_embedding,
                       "mlp: how the noise level enters", models::time_embedding_names()));
  out.push_back({"model.residual", &c.mlp.residual, "mlp: residual hidden layers"});
  out.push_back({"model.patch_size", &c.dit.patch_size, "dit: pixels of a patch's side", 1, 64});
  out.push_back({"model.width", &c.dit.width, "dit: channels of a token", 1, 1 << 16});
  out.push_back({"model.depth", &c.dit.depth, "dit: number of blocks", 1, 512});
  out.push_back({"model.heads", &c.dit.heads, "dit: attention heads", 1, 1024});
  out.push_back(
      {"model.file", &c.file, "gaussian_mixture: HDF5 file with weights, means, covariances"});
  out.push_back(
      {"model.score_scale", &c.score_scale, "gaussian_mixture: factor on the exact score"});
  out.push_back({"model.score_linear", &c.score_linear,
                 "gaussian_mixture: matrix A added as A x, row-major, D*D numbers"});
  out.push_back({"model.score_offset", &c.score_offset,
                 "gaussian_mixture: vector c added to the score, D numbers"});
}

void diffusion_fields(DiffusionConfig& c, std::vector<Field>& out) {
  out.push_back(one_of("diffusion.schedule", &c.schedule.name, "noise schedule",
                       diffusion::schedule_names()));
  out.push_back(
      {"diffusion.t_min", &c.schedule.t_min, "first time; -1: the schedule's own", -1, 1e6});
  out.push_back(
      {"diffusion.t_max", &c.schedule.t_max, "last time; -1: the schedule's own", -1, 1e6});
  out.push_back(
      {"diffusion.beta_min", &c.schedule.beta_min, "vp_linear, subvp: beta at t = 0", 0, 1e6});
  out.push_back(
      {"diffusion.beta_max", &c.schedule.beta_max, "vp_linear, subvp: beta at t = 1", kTiny, 1e6});
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
  out.push_back(one_of("diffusion.prediction", &c.prediction, "what the network's output means",
                       diffusion::prediction_names()));
  out.push_back(
      one_of("diffusion.loss", &c.loss,
             "weighting of the squared error; uncertainty: learned; hybrid: with a learned "
             "reverse variance",
             with(diffusion::weighting_names(), {"uncertainty", "hybrid"})));
  out.push_back(one_of("diffusion.time_sampling", &c.time_sampling, "how training times are drawn",
                       with(diffusion::time_sampling_names(), {"loss_second_moment"})));
  out.push_back({"diffusion.sigma_data", &c.sigma_data, "F: standard deviation of the data (EDM)",
                 kTiny, 1e6});
  out.push_back(
      {"diffusion.min_snr_gamma", &c.min_snr_gamma, "min_snr: largest SNR weight", kTiny, 1e6});
  out.push_back(
      {"diffusion.train_steps", &c.train_steps,
       "T: train on the T-step bound's times, uniform between t_min and t_max; 0: continuous time",
       0, 1e6});
  out.push_back({"diffusion.time_bins", &c.time_bins,
                 "loss_second_moment in continuous time: intervals of t with a history each", 1,
                 1e5});
  out.push_back({"diffusion.learn_ends", &c.schedule.learn_ends,
                 "vdm_learned: gamma_min and gamma_max are learned too, by the bound's gradient"});
  out.push_back({"diffusion.hybrid_weight", &c.hybrid_weight,
                 "hybrid: weight of the T-step bound beside the simple loss", 0, 1e6});
  out.push_back({"diffusion.divergence_weight", &c.divergence_weight,
                 "v: weight of second-order flow matching (i-DODE: 0.1); 0: off", 0, 1e6});
  out.push_back(
      {"diffusion.label_drop", &c.label_drop, "probability of training without the label", 0, 1});
}

void train_fields(TrainConfig& c, std::vector<Field>& out) {
  out.push_back({"train.batch_size", &c.batch_size, "images a step over all ranks", 1, 1 << 24});
  out.push_back({"train.micro_batch", &c.micro_batch,
                 "images a rank computes at once; 0: its whole share", 0, 1 << 24});
  out.push_back({"train.uneven", &c.uneven,
                 "allow shares that differ by one image a rank (weighted by true counts)"});
  out.push_back({"train.steps", &c.steps, "steps to train; 0: from duration_kimg", 0, 1e12});
  out.push_back({"train.duration_kimg", &c.duration_kimg,
                 "thousands of images to train on; 0: from steps", 0, 1e12});
  out.push_back({"train.seed", &c.seed, "seed of weights, order, noise and times", 0, 1e15});
  out.push_back(
      {"train.learning_rate", &c.rate.learning_rate, "AdamW's step size after warm-up", kTiny, 10});
  out.push_back({"train.warmup_steps", &c.rate.warmup_steps, "steps of linear warm-up", 0, 1e9});
  out.push_back(one_of("train.lr_schedule", &c.rate.law, "after warm-up", optim::lr_law_names()));
  out.push_back(
      {"train.weight_decay", &c.adamw.weight_decay, "AdamW's decoupled weight decay", 0, 10});
  out.push_back({"train.beta1", &c.adamw.beta1, "AdamW's decay of the first moment", 0, 0.999999});
  out.push_back(
      {"train.beta2", &c.adamw.beta2, "AdamW's decay of the second moment", 0, 0.99999999});
  out.push_back({"train.adam_eps", &c.adamw.eps, "AdamW's denominator offset", kTiny, 1});
  out.push_back({"train.clip_norm", &c.adamw.clip_norm,
                 "largest global gradient norm; 0: no clipping", 0, 1e9});
  out.push_back(
      one_of("train.precision", &c.precision,
             "of the network's arithmetic; weights stay fp32; fp16 scales its loss; auto: trains "
             "in bf16 where all ranks compute it natively (avx512_bf16, amx_bf16, GPUs from "
             "8.0 on) and the network is no mlp, else in fp32, and evaluates in fp32",
             models::precision_names()));
  out.push_back(one_of("train.on_nonfinite", &c.on_nonfinite,
                       "when a loss or gradient is not finite on any rank", {"halt", "skip"}));
  out.push_back({"train.max_skipped", &c.max_skipped,
                 "skip: stop after so many skipped steps in a row", 1, 1e9});
  out.push_back(
      {"train.shard_optimizer", &c.shard_optimizer,
       "share AdamW's moments and the moving averages out over the ranks (ZeRO stage 1)"});
}

void ema_fields(EmaConfig& c, std::vector<Field>& out) {
  out.push_back({"ema.decays", &c.decays, "a moving average of the weights for each decay per step",
                 0, 0.9999999});
  out.push_back({"ema.half_lives_kimg", &c.half_lives_kimg,
                 "and one for each half-life in thousands of images (EDM)", kTiny, 1e9});
  out.push_back({"ema.powers", &c.powers,
                 "and one for each relative width of a power profile (EDM2); `scorenet ema "
                 "reconstruct` makes any other width of two of them",
                 0.001, 0.279});
  out.push_back({"ema.ramp_up", &c.ramp_up,
                 "early on the half-life is at most this fraction of the steps so far; 0: off", 0,
                 1});
}

void checkpoint_fields(CheckpointConfig& c, std::vector<Field>& out) {
  out.push_back({"checkpoint.every", &c.every,
                 "steps between checkpoints and snapshots; 0: only the last", 0, 1e12});
  out.push_back({"checkpoint.keep", &c.keep, "checkpoints kept", 1, 1e6});
}

void eval_fields(EvalConfig& c, std::vector<Field>& out) {
  out.push_back({"eval.every", &c.every, "steps between evaluations; 0: none", 0, 1e12});
  out.push_back({"eval.split", &c.split, "held-out split: validation or any group of the file"});
  out.push_back({"eval.n", &c.n, "held-out images evaluated; 0: all", 0, 1e12});
  out.push_back(one_of("eval.ranks", &c.ranks, "who evaluates", {"zero", "all"}));
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
                       "carrier of gradients; auto: nccl on GPUs, else mpi",
                       comm::backend_names()));
  out.push_back({"comm.bucket_mb", &c.bucket_mb,
                 "cap of a gradient bucket, MiB; 0: all three caps are chosen at start, from the "
                 "measured link and backward pass",
                 0, 1e5});
  out.push_back({"comm.first_bucket_mb", &c.first_bucket_mb,
                 "cap of the first bucket: traffic begins early, MiB", 1e-3, 1e5});
  out.push_back({"comm.last_bucket_mb", &c.last_bucket_mb,
                 "cap of the last bucket: the part nothing hides, MiB", 1e-3, 1e5});
  out.push_back(
      one_of("comm.overlap", &c.overlap,
             "gradients travel during backward; auto: on with GPUs, else as the first 18 steps "
             "measure",
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
  out.push_back(
      one_of("comm.compression", &c.compression,
             "of gradients on the way: bf16 halves the traffic, powersgd sends matrices of rank "
             "comm.powersgd_rank",
             {"none", "bf16", "powersgd"}));
  out.push_back({"comm.powersgd_rank", &c.powersgd_rank,
                 "powersgd: rank of the matrices sent for a gradient", 1, 1 << 10});
  out.push_back({"comm.allow_unused", &c.allow_unused,
                 "let a backward pass leave out weights; otherwise the first is an error"});
  out.push_back({"comm.gpu_aware_mpi", &c.gpu_aware_mpi,
                 "give device memory to MPI; only for an MPI library built for it"});
  out.push_back(
      {"comm.straggler_excess", &c.straggler_excess,
       "name a rank whose own work in a phase takes longer than the median rank's by this "
       "fraction of a step; 0: never",
       0, 1e6});
}

void run_fields(RunConfig& c, std::vector<Field>& out) {
  out.push_back({"run.tick", &c.tick, "steps between status lines", 1, 1e12});
  out.push_back(one_of("run.progress", &c.progress, "progress bar; auto: on a terminal",
                       {"auto", "bar", "lines"}));
  out.push_back({"run.threads", &c.threads,
                 "CPU threads a rank; 0: the cores it may use, shared with the ranks that may use "
                 "them too, and 1 where a GPU computes",
                 0, 4096});
  out.push_back({"run.timeline", &c.timeline,
                 "first steps of a start that are traced, one Chrome trace a rank; 0: none", 0,
                 1e5});
  out.push_back({"run.graph", &c.graph,
                 "on a GPU: record the step once (CUDA graph) and launch it as a whole"});
}

}  // namespace

std::vector<Field> fields(Config& config) {
  std::vector<Field> all;
  data_fields(config.data, all);
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
