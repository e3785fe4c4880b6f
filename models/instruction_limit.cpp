#include "models/instruction_limit.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

namespace scorenet::models {
namespace {

constexpr const char* kCapability = "ATEN_CPU_CAPABILITY";
// The variable's present name and its older one.
constexpr std::array kIsa = {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"};

// oneDNN's names in their order: those below AVX-512, those with it below bfloat16's instructions,
// those between these and float16's, and those between these and AMX.
constexpr std::array kBelowAvx512 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2"};
constexpr std::array kBelowBf16 = {"AVX512_CORE", "AVX512_CORE_VNNI"};
constexpr std::array kBelowFp16 = {"AVX512_CORE_BF16"};
constexpr std::array kBelowAmx = {"AVX512_CORE_FP16", "AVX10_1_512"};

template <size_t kCount>
bool is_one_of(const std::string& name, const std::array<const char*, kCount>& names) {
  return std::any_of(names.begin(), names.end(), [&](const char* one) { return name == one; });
}

std::string value_of(const char* variable) {
  const char* const value = std::getenv(variable);
  return value != nullptr ? value : "";
}

std::string isa_value() {
  for (const char* variable : kIsa)
    if (std::string value = value_of(variable); !value.empty()) return value;
  return "";
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

InstructionLimit instruction_limit(const std::string& capability, const std::string& isa) {
  InstructionLimit limit;
  const std::string name = upper(isa);
  limit.bf16 = !is_one_of(name, kBelowAvx512) && !is_one_of(name, kBelowBf16);
  limit.fp16 = limit.bf16 && !is_one_of(name, kBelowFp16);
  limit.amx = limit.fp16 && !is_one_of(name, kBelowAmx);
  // LibTorch takes these in small letters alone.
  if (capability == "default") return {false, false, false, false, false};
  if (capability == "avx2") return {true, false, false, false, false};
  return limit;
}

const InstructionLimit& instruction_limit() {
  static const InstructionLimit limit = instruction_limit(value_of(kCapability), isa_value());
  return limit;
}

std::string within_instruction_limit() {
  std::string text;
  const auto add = [&](const char* variable) {
    const std::string value = value_of(variable);
    if (!value.empty()) text += (text.empty() ? " within " : ", ") + (variable + ("=" + value));
  };
  add(kCapability);
  for (const char* variable : kIsa) add(variable);
  return text;
}

void extend_instruction_limit() {
  const std::string capability = value_of(kCapability);
  if (capability != "avx2" && capability != "default") return;
  const bool avx2 = capability == "avx2";
  if (isa_value().empty()) setenv(kIsa[0], avx2 ? "AVX2" : "SSE41", 0);
  setenv("MKL_ENABLE_INSTRUCTIONS", avx2 ? "AVX2" : "SSE4_2", 0);
}

}  // namespace scorenet::models
