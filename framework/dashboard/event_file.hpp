// One start's event file in a run folder, as TensorBoard finds it.
//
// A run that goes on from step s writes a new file, which begins with "what came before with a
// step > s does not count". TensorBoard then shows each step once, though the earlier file stays as
// it is: a reader may be in the middle of it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "framework/files/atomic_file.hpp"

namespace scorenet::dashboard {

class EventFile {
 public:
  /// Creates a file in `folder`, behind all others there by its name: readers take them in that
  /// order. resumed_step: the last step that stays. Throws files::FileError.
  EventFile(const std::filesystem::path& folder, int64_t resumed_step,
            files::FileLayer& layer = files::real_files());

  /// Whether it is the folder's first.
  bool is_first() const { return is_first_; }

  /// values: of event.hpp. When this returns, readers see them. Throws files::FileError.
  void add(int64_t step, const std::vector<std::string>& values);

 private:
  bool is_first_ = true;
  std::unique_ptr<files::OutputFile> file_;
};

}  // namespace scorenet::dashboard
