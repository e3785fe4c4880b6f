// The file `latest` beside two checkpoints that are whole: one of them is opened, whatever it says.
#include "framework/checkpoint/checkpoint_store.hpp"
#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"

namespace scorenet::fuzz {
namespace {

std::string make_root() {
  const std::string root = workplace() / "checkpoints";
  for (const int64_t step : {5, 12}) {
    checkpoint::CheckpointWriter writer(root, step);
    writer.write_text("state.json", "{}");
    writer.commit(2);
  }
  return root;
}

}  // namespace

bool latest(std::string_view bytes) {
  static const std::string root = make_root();
  test::write_bytes(root + "/latest", bytes);
  return takes<CheckpointError>([&] {
    const auto found = checkpoint::open_latest(root);
    demand(found.has_value(), "two checkpoints were not seen");
    demand(found->step() == 5 || found->step() == 12, "a step that is not there was opened");
    demand(found->text("state.json") == "{}", "another file was read");
  });
}

}  // namespace scorenet::fuzz
