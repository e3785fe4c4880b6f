#include "models/native_precision.hpp"

#include <ATen/detail/CUDAHooksInterface.h>

#include <fstream>
#include <sstream>

namespace scorenet::models {
namespace {

std::string text_of_cpuinfo() {
  std::ifstream in("/proc/cpuinfo");
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// A whole word of a list.
bool has_flag(const std::string& flags, const std::string& flag) {
  return (" " + flags + " ").find(" " + flag + " ") != std::string::npos;
}

bool has_bf16(torch::Device device) {
  if (device.is_cpu()) return this_cpu().bf16;
  // LibTorch's own question for compute capability 8.0, asked of the current device.
  return device.is_cuda() && at::detail::getCUDAHooks().supportsBFloat16ConvolutionWithCuDNNv8();
}

}  // namespace

CpuArithmetic cpu_arithmetic(const std::string& flags, const InstructionLimit& limit) {
  const bool bf16_tiles = limit.amx && has_flag(flags, "amx_bf16");
  const bool fp16_tiles = limit.amx && has_flag(flags, "amx_fp16");
  return {limit.bf16 && (bf16_tiles || has_flag(flags, "avx512_bf16")),
          limit.fp16 && (fp16_tiles || has_flag(flags, "avx512_fp16"))};
}

std::string cpuinfo_value(const std::string& cpuinfo, const std::string& key) {
  std::istringstream lines(cpuinfo);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t end = line.find_last_not_of(" \t", colon - 1);
    if (colon == 0 || end == std::string::npos || line.substr(0, end + 1) != key) continue;
    const size_t begin = line.find_first_not_of(' ', colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

CpuArithmetic this_cpu() {
  return cpu_arithmetic(cpuinfo_value(text_of_cpuinfo(), "flags"), instruction_limit());
}

std::string cpu_name() {
  const std::string name = cpuinfo_value(text_of_cpuinfo(), "model name");
  return name.empty() ? "unknown CPU" : name;
}

std::string vector_units(const std::string& flags) {
  std::string units;
  for (const char* unit : {"asimd", "sve", "sve2", "bf16", "svebf16", "fma", "avx2", "avx512f",
                           "avx512_bf16", "amx_bf16", "avx512_fp16", "amx_fp16"}) {
    if (has_flag(flags, unit)) units += (units.empty() ? "" : ", ") + std::string(unit);
  }
  return units.empty() ? "none" : units;
}

std::string vector_units_here() {
  const std::string text = text_of_cpuinfo();
  // x86, and ARM
  return vector_units(cpuinfo_value(text, "flags") + " " + cpuinfo_value(text, "Features"));
}

bool bf16_is_faster(const std::string& flags, const InstructionLimit& limit,
                    const std::string& vendor) {
  const bool tiles = limit.amx && has_flag(flags, "amx_bf16");
  return cpu_arithmetic(flags, limit).bf16 && (tiles || vendor != "GenuineIntel");
}

std::string auto_precision(torch::Device device) {
  if (!device.is_cpu()) return has_bf16(device) ? "bf16" : "fp32";
  const std::string text = text_of_cpuinfo();
  return bf16_is_faster(cpuinfo_value(text, "flags"), instruction_limit(),
                        cpuinfo_value(text, "vendor_id"))
             ? "bf16"
             : "fp32";
}

// Seconds of a core a training step of configs/quickstart.toml, imitated over fp32: bf16 4
// (AVX-512) to 11 (AVX2), fp16 30.
std::string cost_of_precision(const std::string& precision, torch::Device device) {
  const std::string remedy = "train.precision = auto takes " + auto_precision(device) + " here";
  if (precision == "bf16" && device.is_cpu() && !has_bf16(device)) {
    return "imitated, as this CPU has no bf16 arithmetic" + within_instruction_limit() +
           " (avx512_bf16 or amx_bf16): 4 to 11 times slower than fp32; " + remedy;
  }
  if (precision == "bf16" && device.is_cuda() && !has_bf16(device)) {
    return "imitated, as this GPU has no bf16 arithmetic (compute capability 8.0): slower than "
           "fp32; " +
           remedy;
  }
  if (precision == "fp16" && device.is_cpu() && !this_cpu().fp16) {
    return "imitated, as this CPU has no fp16 arithmetic" + within_instruction_limit() +
           " (avx512_fp16 or amx_fp16): about 30 times slower than fp32; " + remedy;
  }
  return "";
}

}  // namespace scorenet::models
