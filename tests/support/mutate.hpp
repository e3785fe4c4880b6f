// Damage by chance, for tests of what reads files: a function of a seed, so that a
// failure comes again.
//
// SCORENET_FUZZ=100 makes such tests a hundred times as long, SCORENET_FUZZ_SEED=1 another draw of
// inputs. SCORENET_FUZZ_KEEP=FOLDER keeps each input that was taken wrongly.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "framework/core/error.hpp"

namespace scorenet::test {

using Json = nlohmann::ordered_json;

/// Of an environment variable.
inline uint64_t number(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// How many inputs to try where `usual` are tried by default.
inline int fuzz_count(int usual) { return usual * static_cast<int>(number("SCORENET_FUZZ", 1)); }

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed + 1000 * number("SCORENET_FUZZ_SEED", 0)) {}

  /// 0 to n - 1.
  size_t below(size_t n) { return static_cast<size_t>(random_() % std::max<size_t>(n, 1)); }
  bool chance(size_t one_in) { return below(one_in) == 0; }
  template <typename Values>
  const auto& one_of(const Values& values) {
    return values[below(values.size())];
  }

  /// One to four of: a bit turned, a byte set, a number written over, a piece cut, doubled or
  /// moved, the end cut off.
  std::string bytes(std::string text) {
    for (size_t left = 1 + below(4); left > 0 && !text.empty(); --left) damage(text);
    return text;
  }

  /// A line of `key = value` with another value, or lines lost, doubled or changed over.
  std::string toml(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    for (size_t left = 1 + below(3); left > 0 && !lines.empty(); --left) {
      std::string& line = lines[below(lines.size())];
      const size_t equals = line.find('=');
      if (equals != std::string::npos && !chance(5)) {
        line = line.substr(0, equals + 1) + " " + one_of(toml_values());
      } else if (chance(3)) {
        lines.erase(lines.begin() + static_cast<long>(below(lines.size())));
      } else if (chance(2)) {
        lines.insert(lines.begin() + static_cast<long>(below(lines.size())), one_of(lines));
      } else {
        line = bytes(line);
      }
    }
    std::string out;
    for (const std::string& line : lines) out += line + "\n";
    return out;
  }

  /// One to three values, wherever they stand, become others, are lost or get other names.
  Json json(Json value) {
    for (size_t left = 1 + below(3); left > 0; --left) change(value, 0);
    return value;
  }
  /// The text of such a value, at times nested very deep or damaged.
  std::string json_text(const Json& value) {
    if (chance(50)) return deep();
    const std::string text = json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
    return chance(10) ? bytes(text) : text;
  }

  static const std::vector<std::string>& toml_values() {
    static const std::vector<std::string> values{"0",
                                                 "-1",
                                                 "1",
                                                 "2",
                                                 "3",
                                                 "7",
                                                 "64",
                                                 "1e9",
                                                 "1000000000",
                                                 "65536",
                                                 "1048576",
                                                 "9223372036854775807",
                                                 "-9223372036854775808",
                                                 "9223372036854775808",
                                                 "\"\"",
                                                 "\"abc\"",
                                                 "nan",
                                                 "inf",
                                                 "-inf",
                                                 "1e308",
                                                 "-1e-300",
                                                 "1e-320",
                                                 "0.5",
                                                 "0.0",
                                                 "[]",
                                                 "[0]",
                                                 "[1]",
                                                 "[65536]",
                                                 "[1000000000]",
                                                 "[-1]",
                                                 "[1, 1, 1, 1, 1, 1, 1, 1]",
                                                 "[64, 64, 64]",
                                                 "[false]",
                                                 "[true, true]",
                                                 "[[1]]",
                                                 "[\"a\"]",
                                                 "[nan]",
                                                 "true",
                                                 "false",
                                                 "{}",
                                                 "{a = 1}",
                                                 "1979-05-27",
                                                 "\"\\u0000\"",
                                                 "\"none\"",
                                                 "\"auto\"",
                                                 "\"/dev/zero\"",
                                                 "\"vdm_learned\"",
                                                 "\"classifier\"",
                                                 "\"dit\"",
                                                 "\"unet\"",
                                                 "\"mlp\"",
                                                 "\"ve\"",
                                                 "\"edm\"",
                                                 "\"hybrid\"",
                                                 "\"F\"",
                                                 "\"v\"",
                                                 ""};
    return values;
  }

  static const std::vector<Json>& json_values() {
    static const std::vector<Json> values{nullptr,
                                          true,
                                          false,
                                          0,
                                          -1,
                                          1,
                                          2,
                                          3,
                                          1000000000,
                                          0.5,
                                          1e308,
                                          -1e308,
                                          1e-320,
                                          1e30,
                                          std::numeric_limits<int64_t>::max(),
                                          std::numeric_limits<int64_t>::min(),
                                          std::numeric_limits<uint64_t>::max(),
                                          uint64_t{1} << 63,
                                          "",
                                          "abc",
                                          "NaN",
                                          "1",
                                          std::string(100000, 'x'),
                                          Json::array(),
                                          Json::array({0}),
                                          Json::array({nullptr}),
                                          Json::array({65536, 65536}),
                                          Json::array({-1}),
                                          Json::array({Json::array({1})}),
                                          Json(std::vector<int>(1000, 1)),
                                          Json::object(),
                                          Json::object({{"a", 1}})};
    return values;
  }

 private:
  static std::string deep() {
    constexpr size_t kLevels = 200000;
    return "{\"a\": " + std::string(kLevels, '[') + std::string(kLevels, ']') + "}";
  }

  void damage(std::string& text) {
    const size_t at = below(text.size()), more = below(16);
    switch (below(8)) {
      case 0:
      case 1:
      case 2:
        text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
        break;
      case 3: {
        static const std::string edges("\x00\xff\x7f\x80\x01\xfe", 6);
        text[at] = one_of(edges);
        break;
      }
      case 4: {
        static const std::vector<uint64_t> numbers{0,
                                                   1,
                                                   0x7f,
                                                   0xff,
                                                   0xffff,
                                                   0x7fffffff,
                                                   0x80000000,
                                                   0xffffffff,
                                                   uint64_t{1} << 40,
                                                   ~uint64_t{0},
                                                   ~uint64_t{0} >> 1};
        const uint64_t number = one_of(numbers);
        const size_t width = size_t{1} << below(4);
        for (size_t i = 0; i < width && at + i < text.size(); ++i)
          text[at + i] = static_cast<char>(number >> (8 * i));
        break;
      }
      case 5:
        text.erase(at, 1 + more);
        break;
      case 6:
        text.insert(at, text.substr(below(text.size()), 1 + more));
        break;
      default:
        if (chance(2))
          text.resize(at);
        else
          text.replace(at, more, text.substr(below(text.size()), more));
    }
  }

  void change(Json& value, int depth) {
    const bool into = value.is_structured() && !value.empty() && (depth == 0 || !chance(4));
    if (!into) {
      value = one_of(json_values());
      return;
    }
    auto place = std::next(value.begin(), static_cast<long>(below(value.size())));
    if (!chance(8)) return change(*place, depth + 1);
    if (value.is_object() && chance(2)) {
      const Json moved = *place;
      value[place.key() + "x"] = moved;
      return;
    }
    value.erase(place);
  }

  std::mt19937_64 random_;
};

/// Holds this process to `more` bytes above what it has mapped: an allocation by a number in
/// a file fails. Not under a sanitizer, which maps more and more itself.
inline void limit_memory(uint64_t more) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return;
#endif
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0;
  statm >> pages;
  rlimit limit{};
  ::getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = std::min<rlim_t>(pages * 4096 + more, limit.rlim_max);
  ::setrlimit(RLIMIT_AS, &limit);
}

/// What the readers of one kind of file make of damaged ones. Only errors of the given types may
/// come of them, soon.
class Hostile {
 public:
  Hostile(std::string name, const std::filesystem::path& input)
      : name_(std::move(name)), input_(input) {}
  ~Hostile() { std::printf("%s: %d inputs, %d accepted\n", name_.c_str(), tried_, accepted_); }
  Hostile(const Hostile&) = delete;
  Hostile& operator=(const Hostile&) = delete;

  /// Whether `work` took the input: it says so, or returns at all. Any other exception than
  /// `Expected`, or more than ten seconds, fails the test.
  template <typename... Expected, typename Work>
  bool takes(const Work& work) {
    constexpr double kLongest = 10;
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    ++tried_;
    std::string wrong;
    bool accepted = false;
    try {
      if constexpr (std::is_same_v<decltype(work()), bool>) {
        accepted = work();
      } else {
        work();
        accepted = true;
      }
    } catch (const Error& error) {
      if (!(... || (dynamic_cast<const Expected*>(&error) != nullptr)))
        wrong = "another type of error, exit code " +
                std::to_string(static_cast<int>(error.exit_code())) + ": " + error.what();
    } catch (const std::exception& error) {
      wrong = std::string("internal error: ") + error.what();
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (seconds > kLongest) wrong += "; took " + std::to_string(seconds) + " s";
    accepted_ += accepted;
    if (!wrong.empty()) report(wrong);
    return accepted;
  }

  void report(const std::string& wrong) {
    std::string kept;
    if (const char* folder = std::getenv("SCORENET_FUZZ_KEEP")) {
      const auto copy = std::filesystem::path(folder) / (name_ + std::to_string(tried_));
      std::filesystem::copy(input_, copy,
                            std::filesystem::copy_options::recursive |
                                std::filesystem::copy_options::overwrite_existing);
      kept = ", kept as " + copy.string();
    }
    ADD_FAILURE() << name_ << ", input " << tried_ << kept << ": " << wrong.substr(0, 500);
  }

  /// Of inputs that another process looks at.
  void count(bool accepted) {
    ++tried_;
    accepted_ += accepted;
  }

 private:
  std::string name_;
  std::filesystem::path input_;
  int tried_ = 0, accepted_ = 0;
};

}  // namespace scorenet::test
