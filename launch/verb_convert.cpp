// scorenet convert: U-Nets to and from the folders of Hugging Face diffusers.
//
//   scorenet convert from-diffusers ddpm-cifar10-32 --out cifar10.safetensors
//   scorenet convert to-diffusers runs/a/snapshots/network-0001000-ema0.999.safetensors
//       --outdir unet
#include <iostream>
#include <memory>

#include "framework/files/output_guard.hpp"
#include "framework/score/diffusers.hpp"
#include "launch/output_options.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

struct ConvertArguments {
  std::string from, to;
  bool force = false;
};

std::vector<files::Output> snapshot_of(const ConvertArguments& a) {
  return {{"--out", a.to, a.force}};
}

std::vector<files::Output> folder_of(const ConvertArguments& a) {
  std::vector<files::Output> outputs;
  for (const std::string& name : score::diffusers_files())
    outputs.push_back({"--outdir", std::filesystem::path(a.to) / name, a.force,
                       /*may_make_folder=*/true});
  return outputs;
}

using Convert = void (*)(const std::filesystem::path&, const std::filesystem::path&);
using Outputs = std::vector<files::Output> (*)(const ConvertArguments&);

// What both directions do: rank zero converts and says where the result is.
void set_action(CLI::App* verb, const std::shared_ptr<ConvertArguments>& a, Convert convert,
                Outputs outputs, Task& task) {
  add_force_flag(verb, a->force);
  verb->callback([a, convert, outputs, &task] {
    task.action = [a, convert, outputs](comm::Communicators& comms) {
      if (comms.host->rank() != 0) return ExitCode::done;
      files::check_outputs({{"the input", a->from}}, outputs(*a));
      convert(a->from, a->to);
      std::cout << "wrote " << a->to << std::endl;
      return ExitCode::done;
    };
  });
}

}  // namespace

void add_convert_verb(CLI::App& app, Task& task) {
  CLI::App* verb =
      app.add_subcommand("convert", "convert U-Nets from and to the folders of diffusers");
  verb->require_subcommand(1);
  const auto from = std::make_shared<ConvertArguments>(), to = std::make_shared<ConvertArguments>();
  CLI::App* import = verb->add_subcommand(
      "from-diffusers", "read a folder written by UNet2DModel.save_pretrained, or by a pipeline's");
  import->add_option("folder", from->from, "DIR")->required();
  add_output_option(import, "--out", from->to, "SNAPSHOT.safetensors to write")->required();
  set_action(import, from, score::snapshot_from_diffusers, snapshot_of, task);
  CLI::App* export_ =
      verb->add_subcommand("to-diffusers", "write a folder that from_pretrained reads");
  export_->add_option("snapshot", to->from, "SNAPSHOT.safetensors")->required();
  add_output_option(export_, "--outdir", to->to, "DIR to write")->required();
  set_action(export_, to, score::snapshot_to_diffusers, folder_of, task);
}

}  // namespace scorenet::launch
