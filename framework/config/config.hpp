// Every setting of a run, as plain structs. A default is written once: here, or in the options of
// the part that the setting belongs to. Those options are members of the structs below.
//
// fields.cpp gives each field its meaning and its bounds. The file reader, the command line,
// --help, the saved copy and the checks all use that table. A new key is one member here and
// one line there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/comm/comm_options.hpp"
#include "framework/data/condition_map.hpp"
#include "framework/data/data_map.hpp"
#include "framework/diffusion/convention_options.hpp"
#include "framework/diffusion/discrete_steps.hpp"
#include "framework/diffusion/loss_constants.hpp"
#include "framework/diffusion/schedule_options.hpp"
#include "framework/optim/adamw_options.hpp"
#include "framework/optim/lr_schedule.hpp"
#include "models/options.hpp"

namespace scorenet::config {

struct DataConfig {
  data::DataMap map;  // which files, which arrays, and which axes are what
  std::string split = "train";
  bool labels = false;
  bool flip = false;
  double augment = 0;           // EDM's probability of each transform; 0: off
  bool changed = false;         // resume although the data set has changed
  int64_t shuffle_window = 16;  // chunks
  int64_t prefetch = 4;         // batches
  // From the file's values to the network's (framework/transform/README.md).
  std::vector<std::string> transforms;  // in order
  int64_t levels = -1;                  // of discrete data; 0: continuous; -1: as the type says
  std::string missing;  // "nan" or a number: values that are not there; "": all are there
};

struct ModelConfig {
  std::string type = "unet";
  // Of every network. The members of these names in the options below are filled from here.
  double dropout = 0.0;
  int64_t num_classes = 0;
  std::vector<std::string> padding = {"zeros"};
  bool recompute = false;

  models::UNetOptions unet{.attention = {false, false, true}};
  bool attention_given = false;  // not a key: whether model.attention was given
  bool fourier_features = false;
  diffusion::DiscreteSteps numbered{.steps = 0};  // of the U-Net's training; 0: told the log-SNR
  models::MLPOptions mlp;
  models::DiTOptions dit;

  std::string file;                         // gaussian_mixture, torchscript
  diffusion::ConventionOptions convention;  // torchscript

  // gaussian_mixture
  double score_scale = 1.0;
  std::vector<double> score_linear;
  std::vector<double> score_offset;
};

struct DiffusionConfig {
  diffusion::ScheduleOptions schedule;
  std::string prediction = "eps";
  std::string loss = "elbo";
  std::string time_sampling = "stratified";
  double P_mean = diffusion::kLogSigmaMean;  // of log_normal, in EDM's letters
  double P_std = diffusion::kLogSigmaStd;
  double sigma_data = diffusion::kSigmaData;
  double min_snr_gamma = diffusion::kMinSnrCap;
  int64_t train_steps = 0;  // T; 0: continuous time
  int64_t time_bins = 100;  // of loss_second_moment in continuous time
  double hybrid_weight = diffusion::kHybridWeight;
  double divergence_weight = 0.0;  // 0: off
  double label_drop = 0.1;
  // Not keys: what was given. The rest follows a torchscript network's convention.
  bool schedule_given = false;
  bool betas_given = false;
  bool prediction_given = false;
  bool loss_given = false;
};

struct TrainConfig {
  int64_t batch_size = 128;  // global
  int64_t micro_batch = 0;   // per rank; 0: the whole local share at once
  bool uneven = false;       // shares of the ranks may differ by one image
  int64_t steps = 0;         // 0: from duration_kimg
  double duration_kimg = 0;  // 0: from steps
  int64_t seed = 0;
  optim::LrScheduleOptions rate;  // total_steps: from steps or duration_kimg
  double lr_rampup_kimg = -1;     // warm-up as EDM counts it; -1: by warmup_steps
  double loss_scaling = 1;        // on the loss, before its gradient
  optim::AdamWOptions adamw;
  std::string precision = "auto";
  std::string on_nonfinite = "halt";
  int64_t max_skipped = 10;
  std::string on_spike = "log";
  double spike_deviations = 10;
  int64_t max_rollbacks = 10;
  int64_t redraw = 0;  // not a key: how often the run has gone back, each time with other draws
  bool shard_optimizer = false;
  std::string init;         // the snapshot or run that a new run takes its first weights from
  std::string init_digest;  // of those weights; "": written by the program
};

struct EmaConfig {
  std::vector<double> decays = {0.999};
  std::vector<double> half_lives_kimg;
  std::vector<double> powers;  // relative widths
  double ramp_up = 0.1;        // 0: none
};

struct CheckpointConfig {
  int64_t every = 1000;      // steps; 0: only the last
  double every_minutes = 0;  // 0: by steps alone
  int64_t keep = 2;
  bool background = true;  // written while training goes on
  std::string on_failure = "stop";
  std::string replica;              // a second folder; "": none
  int64_t replica_every = 1;        // saves
  int64_t snapshot_keep = 0;        // 0: all
  int64_t snapshot_keep_every = 0;  // steps; 0: none beyond the last
};

struct EvalConfig {
  int64_t every = 1000;
  std::string split = "validation";
  int64_t n = 512;
  std::string ranks = "zero";
  int64_t micro_batch = 128;  // images a rank evaluates at once
  int64_t time_samples = 4;
  std::string decoder = "auto";
  int64_t samples = 64;
  std::string sampler = "ddim";
  int64_t sampler_steps = 50;
  double time_budget_s = 600;
  int64_t seed = 0;
};

struct CommConfig {
  comm::CommOptions link;  // limits.evaluate: from eval.time_budget_s
  double bucket_mb = 4.0;  // 0: chosen at start
  double first_bucket_mb = 0.5;
  double last_bucket_mb = 0.5;
  std::string overlap = "auto";
  int64_t check_every = 500;
  bool canonical = false;
  int64_t virtual_shards = 8;
  std::string compression = "none";
  int64_t powersgd_rank = 4;
  bool allow_unused = false;
  bool gpu_aware_mpi = false;
  double straggler_excess = 0.25;  // of a step; 0: no report
};

struct RunConfig {
  int64_t tick = 50;
  std::string progress = "auto";
  int64_t threads = 0;   // a rank; 0: its share of the machine's cores
  int64_t timeline = 0;  // steps
  bool graph = true;     // a GPU's step is one recorded graph
  bool tensorboard = true;
};

struct Config {
  DataConfig data;
  std::vector<data::ConditionMap> conditions;  // [condition.NAME], sorted by name
  ModelConfig model;
  DiffusionConfig diffusion;
  TrainConfig train;
  EmaConfig ema;
  CheckpointConfig checkpoint;
  EvalConfig eval;
  CommConfig comm;
  RunConfig run;
};

}  // namespace scorenet::config
