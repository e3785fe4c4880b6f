#include "framework/checkpoint/json_text.hpp"

#include <set>
#include <vector>

#include "framework/core/error.hpp"

namespace scorenet::checkpoint {

using Json = nlohmann::json;

Json parse_object(const std::string& text, const std::filesystem::path& path,
                  const std::string& what) {
  constexpr int kDeepest = 16;
  const auto fail = [&](const std::string& reason) {
    throw CheckpointError(path.string() + ": " + what + " " + reason + ". The file is damaged.");
  };
  // The parser takes a zero for the text's end.
  if (text.find('\0') != std::string::npos) fail("holds a byte of zero");
  std::vector<std::set<std::string>> open_objects;
  const auto look = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kDeepest) fail("is nested more than " + std::to_string(kDeepest) + " deep");
    if (event == Json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == Json::parse_event_t::object_end) open_objects.pop_back();
    if (event == Json::parse_event_t::key &&
        !open_objects.back().insert(value.get<std::string>()).second)
      fail("names " + value.dump(-1, ' ', false, Json::error_handler_t::replace) + " twice");
    return true;
  };
  Json json = Json::parse(text, look, /*allow_exceptions=*/false);
  if (!json.is_object()) fail("is not a JSON object");
  return json;
}

}  // namespace scorenet::checkpoint
