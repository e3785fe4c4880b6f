// Digests of bytes (XXH3) in hexadecimal digits. They tell accidents apart, not attacks.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace scorenet {

/// 16 or 32 hexadecimal digits.
enum class DigestBits { b64, b128 };

/// The digest of bytes that come in pieces.
class Digest {
 public:
  explicit Digest(DigestBits bits = DigestBits::b128);
  void add(const void* data, size_t bytes);
  std::string hex() const;

 private:
  struct State;
  struct Free {
    void operator()(State* state) const;
  };
  DigestBits bits_;
  std::unique_ptr<State, Free> state_;
};

/// The digest of bytes that lie together: the same as a Digest to which they were added.
std::string digest(const void* data, size_t bytes, DigestBits bits = DigestBits::b128);

}  // namespace scorenet
