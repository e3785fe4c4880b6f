// A safetensors file of any program.
#include "framework/checkpoint/safetensors.hpp"

#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"

namespace scorenet::fuzz {

bool safetensors(std::string_view bytes) {
  const std::string path = workplace() / "x.safetensors", again = workplace() / "y.safetensors";
  test::write_bytes(path, bytes);
  takes<CheckpointError>([&] { checkpoint::read_safetensors_header(path); });
  checkpoint::Safetensors file;
  if (!takes<CheckpointError>([&] { file = checkpoint::read_safetensors(path); })) return false;
  // What was read can be written, and reads the same.
  checkpoint::write_safetensors(again, file.tensors, file.metadata);
  const auto second = checkpoint::read_safetensors(again);
  demand(second.metadata == file.metadata, "metadata changed when written again");
  demand(second.tensors.size() == file.tensors.size(), "tensors changed when written again");
  return true;
}

}  // namespace scorenet::fuzz
