// A file layer that fails, or kills the process, at the k-th system call, and writes
// in small pieces.
#pragma once

#include <signal.h>

#include <algorithm>
#include <cerrno>

#include "framework/files/file_layer.hpp"

namespace scorenet::test {

class FaultLayer : public files::FileLayer {
 public:
  enum class Fault { error, kill };

  /// The call number `at` (from 1; 0: none) fails with `reason`, or is the process's last.
  /// Writes take at most `most_bytes`, so a buffer needs several. If `lasting`, every call after
  /// it fails too.
  FaultLayer(int at, Fault fault, int reason = 0, size_t most_bytes = 1 << 30, bool lasting = false)
      : at_(at), fault_(fault), reason_(reason), most_bytes_(most_bytes), lasting_(lasting) {}

  int calls() const { return calls_; }

  int create(const std::filesystem::path& path) override {
    return fails() ? -1 : FileLayer::create(path);
  }
  ssize_t write(int file, const void* bytes, size_t count) override {
    count = std::min(count, most_bytes_);
    if (calls_ + 1 == at_) FileLayer::write(file, bytes, count / 2);  // a part arrives all the same
    return fails() ? -1 : FileLayer::write(file, bytes, count);
  }
  int sync(int file) override { return fails() ? -1 : FileLayer::sync(file); }
  int close(int file) override {
    const bool failed = fails();
    const int result = FileLayer::close(file);
    if (failed) errno = reason_;
    return failed ? -1 : result;
  }
  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return fails() ? -1 : FileLayer::rename(from, to);
  }
  int make_folder(const std::filesystem::path& path) override {
    return fails() ? -1 : FileLayer::make_folder(path);
  }
  int sync_folder(const std::filesystem::path& path) override {
    return fails() ? -1 : FileLayer::sync_folder(path);
  }

 private:
  bool fails() {
    ++calls_;
    if (at_ == 0 || calls_ < at_ || (calls_ > at_ && !lasting_)) return false;
    if (fault_ == Fault::kill) ::raise(SIGKILL);
    errno = reason_;
    return true;
  }

  int at_;
  Fault fault_;
  int reason_;
  size_t most_bytes_;
  bool lasting_;
  int calls_ = 0;
};

}  // namespace scorenet::test
