// What a data file holds, for people: `scorenet data info`.
#pragma once

#include <filesystem>
#include <string>

namespace scorenet::data {

/// Several lines: source, split rule, and for each split its shape, type, storage, label
/// histogram and fingerprint. Opens every split as training would, so it throws DataError
/// where training would.
std::string describe_file(const std::filesystem::path& path);

}  // namespace scorenet::data
