// scorenet convert: U-Nets to and from the folders of Hugging Face diffusers.
//
//   scorenet convert from-diffusers ddpm-cifar10-32 --out cifar10.safetensors
//   scorenet convert to-diffusers runs/a/snapshots/network-0001000-ema0.999.safetensors --outdir unet
#include <iostream>
#include <memory>

#include "framework/train/diffusers.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

struct ConvertArguments {
  std::string from, to;
};

using Convert = void (*)(const std::filesystem::path&, const std::filesystem::path&);

// What both directions do: rank zero converts and says where the result is.
void set_action(CLI::App* verb, const std::shared_ptr<ConvertArguments>& a, Convert convert,
                Task& task) {
  verb->callback([a, convert, &task] {
    task.action = [a, convert](comm::Communicators& comms) {
      if (comms.host->rank() != 0) return ExitCode::done;
      convert(a->from, a->to);
      std::cout << "wrote " << a->to << std::endl;
      return ExitCode::done;
    };
  });
}

}  // namespace

void add_convert_verb(CLI::App& app, Task& task) {
  CLI::App* verb = app.add_subcommand("convert", "U-Nets to and from the folders of diffusers");
  verb->require_subcommand(1);
  const auto from = std::make_shared<ConvertArguments>(), to = std::make_shared<ConvertArguments>();
  CLI::App* import = verb->add_subcommand(
      "from-diffusers", "a folder that UNet2DModel.save_pretrained or a pipeline's wrote");
  import->add_option("folder", from->from, "DIR")->required();
  import->add_option("--out", from->to, "SNAPSHOT.safetensors to write")->required();
  set_action(import, from, train::snapshot_from_diffusers, task);
  CLI::App* export_ = verb->add_subcommand("to-diffusers", "a folder that from_pretrained reads");
  export_->add_option("snapshot", to->from, "SNAPSHOT.safetensors")->required();
  export_->add_option("--outdir", to->to, "DIR to write")->required();
  set_action(export_, to, train::snapshot_to_diffusers, task);
}

}  // namespace scorenet::launch
