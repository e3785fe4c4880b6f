// The messages in an event file, as bytes: TensorFlow's event.proto, summary.proto and tensor.proto
// in protobuf's wire format.
//
// By hand: six messages of a few fields that have not changed for years are a screen of code.
// Protobuf would be a dependency with a compiler and generated sources for the same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace scorenet::dashboard {

/// Summary.Value: what a step has under a tag, "train/loss".
std::string scalar_value(const std::string& tag, double value);

/// png: the bytes of a PNG file. Throws std::invalid_argument for other bytes.
std::string image_value(const std::string& tag, std::string_view png);

/// Bars between edges, ascending, one more than heights. Heights >= 0.
std::string histogram_value(const std::string& tag, const std::vector<double>& edges,
                            const std::vector<double>& heights);

/// Markdown.
std::string text_value(const std::string& tag, std::string_view text);

/// Event. wall_time: seconds since 1970. The first event of a file is its version.
std::string version_event(double wall_time);

/// A start: readers forget what came before it with a step >= `step`, unless it is the first start
/// that they see (SessionLog.START).
std::string start_event(double wall_time, int64_t step);

/// values: of the functions above.
std::string summary_event(double wall_time, int64_t step, const std::vector<std::string>& values);

/// A message as a record of a TFRecord file: length, checksum of the length, bytes, checksum.
std::string record(std::string_view message);

}  // namespace scorenet::dashboard
