// Reads the keys of a JSON file that another program wrote, each with its type. Errors name the
// file, the key, what was found and what was expected.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace scorenet::score {

class JsonKeys {
 public:
  /// Reads an object. Python's NaN and Infinity, which JSON does not have, are read as null. Throws
  /// CheckpointError for a file that cannot be read or is not JSON, ConfigError for JSON that is
  /// not an object.
  explicit JsonKeys(const std::filesystem::path& path);
  /// The same for a text that was read from `path`.
  JsonKeys(const std::string& text, const std::filesystem::path& path);

  // Each returns `otherwise` where the key is missing, and throws ConfigError for a value of
  // another type or out of bounds. null is a value like any other: it is only taken by the calls
  // that say so.
  int64_t integer(const std::string& key, int64_t otherwise, int64_t low, int64_t high);
  double number(const std::string& key, double otherwise, double low, double high);
  bool boolean(const std::string& key, bool otherwise);
  std::string text(const std::string& key, const std::string& otherwise);
  std::vector<int64_t> integers(const std::string& key, const std::vector<int64_t>& otherwise,
                                int64_t low, int64_t high);
  std::vector<double> numbers(const std::string& key);
  std::vector<std::string> texts(const std::string& key, const std::vector<std::string>& otherwise);
  /// The key is there and is not null.
  bool has(const std::string& key);
  /// The key is there and is null.
  bool is_null(const std::string& key);

  /// Throws unless the key is missing or holds this value (1 and 1.0 are the same). why: what else
  /// it would ask for, "".
  void require(const std::string& key, const nlohmann::ordered_json& expected,
               const std::string& why = "");
  /// Accepts keys that have no effect in this program.
  void ignore(const std::vector<std::string>& keys);
  /// Throws ConfigError naming a key that was not read, if there is one. Keys that begin with
  /// "_" are comments.
  void refuse_unknown(const std::string& whose) const;

  /// "PATH, key "K": found V, expected E." and, if given, what to do.
  [[noreturn]] void refuse(const std::string& key, const std::string& expected,
                           const std::string& advice = "") const;

  const std::filesystem::path& path() const { return path_; }
  const nlohmann::ordered_json& json() const { return json_; }

 private:
  // The value, or null where the key is missing.
  const nlohmann::ordered_json* find(const std::string& key);

  std::filesystem::path path_;
  nlohmann::ordered_json json_;
  std::set<std::string> asked_;
};

}  // namespace scorenet::score
