// A network in a file. Its digests would keep every change out, so it is also loaded without them,
// as a file of an older version, and then used.
#include "framework/score/snapshot.hpp"

#include "framework/checkpoint/digests.hpp"
#include "framework/config/parse.hpp"
#include "framework/diffusion/denoiser.hpp"
#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"

namespace scorenet::fuzz {
namespace {

bool load(const std::string& path) {
  return takes<CheckpointError, NotFiniteError>([&] {
    const auto loaded = score::load_snapshot(path, torch::kCPU);
    config::to_toml(loaded.model.config);
    const std::vector<int64_t>& shape = loaded.example_shape;
    if (c10::multiply_integers(shape) > 4096 || loaded.model.is_classifier()) return;
    const torch::NoGradGuard no_grad;
    std::vector<int64_t> one{1};
    one.insert(one.end(), shape.begin(), shape.end());
    const auto given = models::Conditions{};
    network_for(loaded.model, given, nullptr)(torch::zeros(one), torch::zeros({1}));
  });
}

}  // namespace

bool snapshot(std::string_view bytes) {
  const std::string path = workplace() / "snapshot.safetensors";
  test::write_bytes(path, bytes);
  const bool taken = load(path);
  // The texts of the digests, under names that no reader knows.
  std::string older(bytes);
  for (const std::string key : {"scorenet.digest", "scorenet.tensor_digests"})
    if (const size_t at = older.find(key); at != std::string::npos) older[at] = 'o';
  if (older == bytes) return taken;
  test::write_bytes(path, older);
  return load(path) || taken;
}

}  // namespace scorenet::fuzz
