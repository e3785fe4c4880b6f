#include "framework/train/train_precision.hpp"

#include "models/native_precision.hpp"

namespace scorenet::train {

std::string settled_precision(const config::Config& config, torch::Device device,
                              comm::Communicator& comm) {
  if (config.train.precision != "auto") return config.train.precision;
  const bool here = models::auto_precision(device) == "bf16" && config.model.type != "mlp";
  double everywhere = here ? 1 : 0;
  comm.all_reduce({&everywhere, 1, comm::DataType::float64}, comm::ReduceOp::min,
                  "precision of all ranks")
      .wait();
  return everywhere == 1 ? "bf16" : "fp32";
}

std::string describe_precision(const std::string& asked, const std::string& settled,
                               torch::Device device) {
  if (asked == "auto") {
    const bool bf16 = models::auto_precision(device) == "bf16";
    return settled + " (auto; " + (device.is_cpu() ? models::cpu_name() : device.str()) +
           (bf16 ? " has bf16 arithmetic" : " has no bf16 arithmetic") +
           (device.is_cpu() && !bf16 ? models::within_instruction_limit() : "") + ")";
  }
  if (asked == "tf32") return device.is_cpu() ? "fp32 (tf32 is for GPUs)" : asked;
  const std::string cost = models::cost_of_precision(settled, device);
  return settled + (cost.empty() ? "" : "; " + cost);
}

}  // namespace scorenet::train
