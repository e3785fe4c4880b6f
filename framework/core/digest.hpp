// 128-bit digests of bytes (XXH3), as 32 hexadecimal digits. They tell accidents
// apart, not attacks.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace scorenet {

/// The digest of bytes that come in pieces.
class Digest {
 public:
  Digest();
  void add(const void* data, size_t bytes);
  std::string hex() const;

 private:
  struct State;
  struct Free {
    void operator()(State* state) const;
  };
  std::unique_ptr<State, Free> state_;
};

/// The digest of bytes that lie together: the same as a Digest to which they were added.
std::string digest(const void* data, size_t bytes);

}  // namespace scorenet
