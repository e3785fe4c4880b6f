// The keys of [diffusion], [train] and [ema]: what is learned, and how.
#include "framework/config/field_sections.hpp"
#include "framework/diffusion/names.hpp"
#include "models/options.hpp"

namespace scorenet::config {

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

}  // namespace scorenet::config
