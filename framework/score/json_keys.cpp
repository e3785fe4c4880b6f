#include "framework/score/json_keys.hpp"

#include <algorithm>
#include <sstream>

#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::score {
namespace {

using Json = nlohmann::ordered_json;

// Python's json writes NaN, Infinity and -Infinity, outside of strings; JSON has no such words.
std::string without_pythons_numbers(const std::string& text) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') in_string = !in_string;
    if (in_string && text[i] == '\\' && i + 1 < text.size()) out += text[i++];
    size_t word = 0;
    for (const std::string name : {"-Infinity", "Infinity", "NaN"})
      if (!in_string && word == 0 && text.compare(i, name.size(), name) == 0) word = name.size();
    if (word > 0) {
      out += "null";
      i += word - 1;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string in_words(const Json& value) {
  const char* type = value.is_string()    ? "a text"
                     : value.is_boolean() ? "true or false"
                     : value.is_array()   ? "a list"
                     : value.is_object()  ? "an object"
                     : value.is_null()    ? "nothing"
                                          : "a number";
  std::string shown = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (shown.size() > 80) shown = shown.substr(0, 77) + "...";
  return shown + " (" + type + ")";
}

std::string plain(double value) {
  std::ostringstream text;
  text.precision(17);
  text << value;
  return text.str();
}

// unsigned values beyond int64 would wrap
bool is_integer(const Json& value, int64_t low, int64_t high) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return false;
  return value.get<int64_t>() >= low && value.get<int64_t>() <= high;
}

std::string text_of(const std::filesystem::path& path) {
  try {
    return files::read_file(path);
  } catch (const files::FileError& error) {
    throw CheckpointError(std::string(error.what()) + " Give a folder that save_pretrained wrote.");
  }
}

std::string between(int64_t low, int64_t high) {
  return " from " + std::to_string(low) + " to " + std::to_string(high);
}

}  // namespace

JsonKeys::JsonKeys(const std::filesystem::path& path) : JsonKeys(text_of(path), path) {}

JsonKeys::JsonKeys(const std::string& text, const std::filesystem::path& path) : path_(path) {
  // Whatever walks through a value calls itself at each level.
  constexpr int kDeepest = 16;
  const auto look = [&](int depth, Json::parse_event_t, Json&) {
    if (depth <= kDeepest) return true;
    throw CheckpointError(path.string() + ": is nested more than " + std::to_string(kDeepest) +
                          " deep. Give a folder that save_pretrained wrote.");
  };
  try {
    json_ = Json::parse(without_pythons_numbers(text), look);
  } catch (const Json::parse_error& error) {
    throw CheckpointError(path.string() + ": is not JSON, at byte " + std::to_string(error.byte) +
                          ". Give a folder that save_pretrained wrote.");
  }
  if (json_.is_object()) return;
  throw ConfigError(path.string() + ": found " + in_words(json_) +
                    ", expected an object of keys and values, as save_pretrained writes it.");
}

const Json* JsonKeys::find(const std::string& key) {
  asked_.insert(key);
  const auto found = json_.find(key);
  return found == json_.end() ? nullptr : &*found;
}

void JsonKeys::refuse(const std::string& key, const std::string& expected,
                      const std::string& advice) const {
  const std::string found = json_.contains(key) ? in_words(json_.at(key)) : "no such key";
  throw ConfigError(path_.string() + ", key \"" + key + "\": found " + found + ", expected " +
                    expected + "." + (advice.empty() ? "" : " " + advice));
}

int64_t JsonKeys::integer(const std::string& key, int64_t otherwise, int64_t low, int64_t high) {
  const Json* value = find(key);
  if (!value) return otherwise;
  if (!is_integer(*value, low, high)) refuse(key, "a whole number" + between(low, high));
  return value->get<int64_t>();
}

double JsonKeys::number(const std::string& key, double otherwise, double low, double high) {
  const Json* value = find(key);
  if (!value) return otherwise;
  if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high))
    refuse(key, "a number from " + plain(low) + " to " + plain(high));
  return value->get<double>();
}

bool JsonKeys::boolean(const std::string& key, bool otherwise) {
  const Json* value = find(key);
  if (!value) return otherwise;
  if (!value->is_boolean()) refuse(key, "true or false");
  return value->get<bool>();
}

std::string JsonKeys::text(const std::string& key, const std::string& otherwise) {
  const Json* value = find(key);
  if (!value) return otherwise;
  if (!value->is_string()) refuse(key, "a text");
  return value->get<std::string>();
}

std::vector<int64_t> JsonKeys::integers(const std::string& key,
                                        const std::vector<int64_t>& otherwise, int64_t low,
                                        int64_t high) {
  const Json* value = find(key);
  if (!value) return otherwise;
  const auto fits = [&](const Json& each) { return is_integer(each, low, high); };
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), fits))
    refuse(key, "a list of whole numbers" + between(low, high));
  return value->get<std::vector<int64_t>>();
}

std::vector<double> JsonKeys::numbers(const std::string& key) {
  const Json* value = find(key);
  const auto fits = [](const Json& each) { return each.is_number(); };
  if (!value || !value->is_array() || !std::all_of(value->begin(), value->end(), fits))
    refuse(key, "a list of numbers");
  return value->get<std::vector<double>>();
}

std::vector<std::string> JsonKeys::texts(const std::string& key,
                                         const std::vector<std::string>& otherwise) {
  const Json* value = find(key);
  if (!value) return otherwise;
  const auto fits = [](const Json& each) { return each.is_string(); };
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), fits))
    refuse(key, "a list of texts");
  return value->get<std::vector<std::string>>();
}

bool JsonKeys::has(const std::string& key) {
  const Json* value = find(key);
  return value && !value->is_null();
}

bool JsonKeys::is_null(const std::string& key) {
  const Json* value = find(key);
  return value && value->is_null();
}

void JsonKeys::require(const std::string& key, const Json& expected, const std::string& why) {
  const Json* value = find(key);
  if (!value || (*value == expected && value->is_boolean() == expected.is_boolean())) return;
  refuse(key, expected.dump(), why);
}

void JsonKeys::ignore(const std::vector<std::string>& keys) {
  asked_.insert(keys.begin(), keys.end());
}

void JsonKeys::refuse_unknown(const std::string& whose) const {
  for (const auto& [key, value] : json_.items()) {
    if (key.starts_with("_") || asked_.contains(key)) continue;
    throw ConfigError(path_.string() + ", key \"" + key + "\": found " + in_words(value) +
                      ", expected no such key: it is not known as one of " + whose +
                      ", and may change what the network is. Take it out if it changes nothing; "
                      "keys that begin with \"_\" are passed over.");
  }
}

}  // namespace scorenet::score
