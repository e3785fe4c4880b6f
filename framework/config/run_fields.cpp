// The keys of [checkpoint], [eval], [comm] and [run]: what goes on around the training.
#include "framework/config/field_sections.hpp"
#include "framework/diffusion/names.hpp"

namespace scorenet::config {

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

}  // namespace scorenet::config
