// In place of bf16_kernels_x86.cpp on other machines: nobody calls these, as there is no unit.
#include <exception>

#include "models/cpu/bf16_kernels.hpp"

namespace scorenet::models::cpu {
namespace {

[[noreturn]] void fail() { std::terminate(); }

}  // namespace

Bf16Unit bf16_unit() { return Bf16Unit::none; }
void limit_bf16_unit(Bf16Unit) {}
Bf16Scope::Bf16Scope() : tiles_(false) {}
Bf16Scope::~Bf16Scope() = default;
void multiply(const Bf16Product&) { fail(); }
void write_pixels(const float*, int64_t, int64_t, int64_t, int64_t, Area, const Target&) { fail(); }
void round_pixels(const float*, int64_t, int64_t, int64_t, Bf16*, int64_t) { fail(); }
void transpose_pixels(const Bf16*, int64_t, Bf16*, int64_t) { fail(); }
void pair_pixels(const Bf16*, int64_t, Bf16*, int64_t) { fail(); }
void pairs_of_rows(const Bf16*, Bf16*) { fail(); }
void pair_rows(const float*, int64_t, int64_t, Bf16*) { fail(); }
void pair_columns(const float*, int64_t, int64_t, Bf16*) { fail(); }

}  // namespace scorenet::models::cpu
