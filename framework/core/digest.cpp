#include "framework/core/digest.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>
#include <cstdio>

namespace scorenet {
namespace {

std::string hex_of(const XXH128_hash_t& hash) {
  std::array<char, 33> text{};
  std::snprintf(text.data(), text.size(), "%016llx%016llx",
                static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text.data();
}

std::string hex_of(XXH64_hash_t hash) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(hash));
  return text.data();
}

}  // namespace

// XXH3's state wants 64-byte alignment, which a plain member would hand on to every owner.
struct Digest::State {
  XXH3_state_t xxh;
};

void Digest::Free::operator()(State* state) const { delete state; }

Digest::Digest(DigestBits bits) : bits_(bits), state_(new State) {
  if (bits_ == DigestBits::b64)
    XXH3_64bits_reset(&state_->xxh);
  else
    XXH3_128bits_reset(&state_->xxh);
}

void Digest::add(const void* data, size_t bytes) {
  if (bits_ == DigestBits::b64)
    XXH3_64bits_update(&state_->xxh, data, bytes);
  else
    XXH3_128bits_update(&state_->xxh, data, bytes);
}

std::string Digest::hex() const {
  return bits_ == DigestBits::b64 ? hex_of(XXH3_64bits_digest(&state_->xxh))
                                  : hex_of(XXH3_128bits_digest(&state_->xxh));
}

std::string digest(const void* data, size_t bytes, DigestBits bits) {
  return bits == DigestBits::b64 ? hex_of(XXH3_64bits(data, bytes))
                                 : hex_of(XXH3_128bits(data, bytes));
}

}  // namespace scorenet
