// Parses JSON from any source, with a limit on its depth. A key that stands twice is an error.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace scorenet::checkpoint {

/// The object that `text` holds. `what` begins the message after the path: "its header". Throws
/// CheckpointError if the text is no JSON object, is nested more than 16 deep (to print or copy it
/// would need a stack of that depth) or names a key twice (readers then differ in what they take).
nlohmann::json parse_object(const std::string& text, const std::filesystem::path& path,
                            const std::string& what);

}  // namespace scorenet::checkpoint
