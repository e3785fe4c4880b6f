// The first files of tests/fuzz/corpus: one of each kind that a reader knows, as small as it can
// be.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace scorenet::fuzz {

/// What decides a seed's bytes.
enum class SeedSource {
  here,       // seeds.cpp alone
  libraries,  // also the versions of zlib, libjpeg, libwebp or HDF5
  program     // also the keys that a config has in this version, or the files of configs/
};

struct Seed {
  std::string target, name;
  SeedSource source;
};

/// Writes every seed to folder/TARGET/NAME and returns them.
std::vector<Seed> write_seeds(const std::filesystem::path& folder);

}  // namespace scorenet::fuzz
