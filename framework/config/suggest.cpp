#include "framework/config/suggest.hpp"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace scorenet::config {
namespace {

// What neighbouring programs call these keys.
constexpr Synonym kKeys[] = {
    {"lr", "train.learning_rate"},
    {"step_size", "train.learning_rate"},
    {"base_lr", "train.learning_rate"},
    {"epoch", "train.duration_kimg"},
    {"epochs", "train.duration_kimg"},
    {"num_epochs", "train.duration_kimg"},
    {"duration", "train.duration_kimg"},
    {"kimg", "train.duration_kimg"},
    {"total_kimg", "train.duration_kimg"},
    {"iterations", "train.steps"},
    {"iters", "train.steps"},
    {"n_iters", "train.steps"},
    {"max_steps", "train.steps"},
    {"num_steps", "train.steps"},
    {"batch", "train.batch_size"},
    {"bs", "train.batch_size"},
    {"batchsize", "train.batch_size"},
    {"global_batch", "train.batch_size"},
    {"batch_gpu", "train.micro_batch"},
    {"gradient_accumulation", "train.micro_batch"},
    {"accumulate", "train.micro_batch"},
    {"warmup", "train.warmup_steps"},
    {"lr_warmup_steps", "train.warmup_steps"},
    {"lr_rampup", "train.lr_rampup_kimg"},
    {"rampup_kimg", "train.lr_rampup_kimg"},
    {"ls", "train.loss_scaling"},
    {"augment", "data.augment"},
    {"xflip", "data.flip"},
    {"lr_scheduler", "train.lr_schedule"},
    {"wd", "train.weight_decay"},
    {"decay", "ema.decays"},
    {"ema_decay", "ema.decays"},
    {"ema_rate", "ema.decays"},
    {"halflife", "ema.half_lives_kimg"},
    {"grad_clip", "train.clip_norm"},
    {"clip", "train.clip_norm"},
    {"max_grad_norm", "train.clip_norm"},
    {"dtype", "train.precision"},
    {"amp", "train.precision"},
    {"fp16", "train.precision"},
    {"bf16", "train.precision"},
    {"mixed_precision", "train.precision"},
    {"workers", "run.threads"},
    {"num_workers", "run.threads"},
    {"num_threads", "run.threads"},
    {"dataset", "data.path"},
    {"file", "data.path"},
    {"dir", "data.path"},
    {"files", "data.path"},
    {"keys", "data.arrays"},
    {"array", "data.arrays"},
    {"crop", "data.window"},
    {"stride", "data.window"},
    {"slice", "data.window"},
    {"xflip", "data.flip"},
    {"classes", "model.num_classes"},
    {"class_cond", "data.labels"},
    {"conditional", "data.labels"},
    {"network", "model.type"},
    {"arch", "model.type"},
    {"layers", "model.layers_per_block"},
    {"num_res_blocks", "model.layers_per_block"},
    {"dims", "model.channels"},
    {"num_channels", "model.channels"},
    {"channel_mult", "model.channels"},
    {"attention_resolutions", "model.attention"},
    {"noise_schedule", "diffusion.schedule"},
    {"sde", "diffusion.schedule"},
    {"beta_schedule", "diffusion.schedule"},
    {"objective", "diffusion.prediction"},
    {"parametrisation", "diffusion.prediction"},
    {"parameterization", "diffusion.prediction"},
    {"prediction_type", "diffusion.prediction"},
    {"loss_type", "diffusion.loss"},
    {"weighting", "diffusion.loss"},
    {"t", "diffusion.train_steps"},
    {"num_timesteps", "diffusion.train_steps"},
    {"diffusion_steps", "diffusion.train_steps"},
    {"cond_drop_prob", "diffusion.label_drop"},
    {"uncond_prob", "diffusion.label_drop"},
    {"save_every", "checkpoint.every"},
    {"save_interval", "checkpoint.every"},
    {"snap", "checkpoint.every"},
    {"eval_every", "eval.every"},
    {"log_every", "run.tick"},
    {"log_interval", "run.tick"},
};

// Metrics, samplers, schedules and other values. A meaning is given only where the list at
// hand holds it.
constexpr Synonym kNames[] = {
    {"fid", "fd"},
    {"frechet", "fd"},
    {"mmd", "kid"},
    {"precision", "pr"},
    {"recall", "pr"},
    {"prdc", "pr"},
    {"wasserstein", "w2"},
    {"emd", "w2"},
    {"nll", "elbo"},
    {"bpd", "elbo"},
    {"vlb", "elbo"},
    {"vb", "elbo"},
    {"likelihood", "ode"},
    {"iwae", "hbar-iw"},
    {"euler", "euler-maruyama"},
    {"em", "euler-maruyama"},
    {"sde", "euler-maruyama"},
    {"ddpm", "ancestral"},
    {"edm", "heun"},
    {"dpm", "dpmpp-2m"},
    {"dpm++", "dpmpp-2m"},
    {"dpm-solver", "dpmpp-2m"},
    {"dpm-solver++", "dpmpp-2m"},
    {"dpmpp", "dpmpp-2m"},
    {"dpmpp-sde", "dpmpp-2m-sde"},
    {"predictor-corrector", "pc"},
    {"rk45", "ode"},
    {"dopri5", "ode"},
    {"linear", "vp_linear"},
    {"cosine", "vp_cosine"},
    {"vp", "vp_linear"},
    {"ddpm", "vp_linear"},
    {"vdm", "vdm_linear"},
    {"learned", "vdm_learned"},
    {"ve_geometric", "ve"},
    {"karras", "edm"},
    {"rectified-flow", "flow"},
    {"flow-matching", "flow"},
    {"epsilon", "eps"},
    {"noise", "eps"},
    {"sample", "x0"},
    {"v-prediction", "v"},
    {"mse", "simple"},
    {"l2", "simple"},
    {"float32", "fp32"},
    {"32", "fp32"},
    {"bfloat16", "bf16"},
    {"float16", "fp16"},
    {"half", "fp16"},
    {"val", "validation"},
    {"valid", "validation"},
    {"dev", "validation"},
    {"gmm", "gaussian_mixture"},
    {"transformer", "dit"},
};

// Small letters, with '-' for '_' and for spaces.
std::string plain(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const char small = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    out += small == '_' || small == ' ' ? '-' : small;
  }
  return out;
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }
// "train" of train.steps, "condition.NAME" of condition.NAME.array.
std::string section_of(const std::string& name) {
  return name.find('.') == std::string::npos ? "" : name.substr(0, name.rfind('.'));
}

// Letters to insert, delete, replace, or swap with their neighbour (optimal string alignment).
size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      d[i][j] = std::min(
          {d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1] ? 1 : 0)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

// Slips that a name of this length may have and still be told: none in two letters, one in five,
// two in nine, then three.
size_t slips(const std::string& name) {
  return name.size() < 3 ? 0 : name.size() < 6 ? 1 : name.size() < 10 ? 2 : 3;
}

bool holds(const std::vector<std::string>& known, const std::string& name) {
  return std::find(known.begin(), known.end(), name) != known.end();
}

// Nobody means a name this long, and its distance would cost its length squared.
constexpr size_t kLongest = 100;

}  // namespace

std::string suggest_key(const std::string& name, const std::vector<std::string>& known) {
  if (name.size() > kLongest) return "";
  const std::string section = plain(section_of(name)), wrong = plain(last_part(name));
  // The nearest last part; among equals the nearest section, among those the first.
  std::string best;
  std::pair<size_t, size_t> least{slips(wrong), 1000};
  for (const std::string& key : known) {
    const std::string right = plain(last_part(key));
    if (right.size() > wrong.size() + 3 || wrong.size() > right.size() + 3) continue;
    const std::pair<size_t, size_t> here{
        distance(wrong, right), section.empty() ? 0 : distance(section, plain(section_of(key)))};
    if (here.first > slips(wrong) || here >= least) continue;
    least = here;
    best = key;
  }
  if (least.first == 0 && !best.empty()) return best;
  for (const Synonym& synonym : kKeys)
    if (plain(synonym.wrong) == wrong && holds(known, synonym.known)) return synonym.known;
  return best;
}

std::string suggest_name(const std::string& name, const std::vector<std::string>& known) {
  if (name.size() > kLongest) return "";
  const std::string wrong = plain(name);
  for (const std::string& one : known)
    if (plain(one) == wrong) return one;
  for (const Synonym& synonym : kNames)
    if (plain(synonym.wrong) == wrong && holds(known, synonym.known)) return synonym.known;
  std::string best;
  size_t least = slips(wrong) + 1;
  for (const std::string& one : known) {
    const size_t here = distance(wrong, plain(one));
    if (here >= least) continue;
    least = here;
    best = one;
  }
  return best;
}

std::string did_you_mean(const std::string& suggestion) {
  return suggestion.empty() ? "" : " Did you mean '" + suggestion + "'?";
}

}  // namespace scorenet::config
