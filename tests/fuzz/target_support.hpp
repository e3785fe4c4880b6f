// What the targets share.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "framework/core/error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::fuzz {

/// A folder in memory, gone when the program ends. Readers that want a path find the input there.
inline const test::TemporaryFolder& workplace() {
  static const test::TemporaryFolder folder(test::memory_or_disk());
  return folder;
}

/// Whether `work` took the input. Errors of the given types alone are passed over.
template <typename... Expected, typename Work>
bool takes(const Work& work) {
  try {
    work();
    return true;
  } catch (const Error& error) {
    if ((... || (dynamic_cast<const Expected*>(&error) != nullptr))) return false;
    throw;
  }
}

/// Ends the program unless `fact` holds: libFuzzer then keeps the input.
inline void demand(bool fact, const std::string& sentence) {
  if (fact) return;
  std::fprintf(stderr, "fuzz: %s\n", sentence.c_str());
  std::abort();
}

/// Which of `count` files the input stands for, as its first byte says, and the rest of it.
struct Chosen {
  size_t file = 0;
  std::string_view bytes;
};

inline Chosen choose(std::string_view bytes, size_t count) {
  if (bytes.empty()) return {};
  return {static_cast<unsigned char>(bytes[0]) % count, bytes.substr(1)};
}

}  // namespace scorenet::fuzz
