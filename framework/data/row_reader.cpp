#include "framework/data/row_reader.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <list>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "framework/core/check.hpp"

namespace scorenet::data {
namespace {

// Blocks smaller than this are read several at a time: a call costs as much as 100 kB of copying.
constexpr int64_t kLeastBlockBytes = int64_t{1} << 18;

class MappedFile {
 public:
  explicit MappedFile(const std::string& path) : path_(path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status{};
    if (file >= 0 && ::fstat(file, &status) == 0) {
      size_ = static_cast<size_t>(status.st_size);
      data_ = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
    }
    const int reason = errno;
    if (file >= 0) ::close(file);
    if (file < 0 || data_ == MAP_FAILED) {
      throw DataError(path + ": cannot be mapped into memory (" + std::strerror(reason) +
                      "). Store it in chunks with `scorenet data rechunk`, which need no mapping.");
    }
  }
  ~MappedFile() { ::munmap(data_, size_); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const char* at(int64_t offset) const { return static_cast<const char*>(data_) + offset; }
  int64_t size() const { return static_cast<int64_t>(size_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  void* data_ = MAP_FAILED;
  size_t size_ = 0;
};

int64_t row_elements(const Hdf5ArrayInfo& info) {
  return std::accumulate(info.shape.begin() + 1, info.shape.end(), int64_t{1}, std::multiplies<>());
}

torch::Tensor empty_rows(const Hdf5ArrayInfo& info, size_t count) {
  std::vector<int64_t> shape = info.shape;
  shape[0] = static_cast<int64_t>(count);
  return torch::empty(shape, *info.dtype);
}

class MappedRows : public RowReader {
 public:
  explicit MappedRows(const Hdf5Array& array)
      : file_(array.info().file),
        info_(array.info()),
        row_bytes_(row_elements(info_) * static_cast<int64_t>(c10::elementSize(*info_.dtype))) {
    if (info_.offset + info_.shape[0] * row_bytes_ > file_.size()) {
      throw DataError(array.where() + ": ends at byte " +
                      std::to_string(info_.offset + info_.shape[0] * row_bytes_) +
                      ", the file has " + std::to_string(file_.size()) +
                      ". The file is truncated: copy or make it again.");
    }
  }

  torch::Tensor read(const std::vector<int64_t>& indices) override {
    torch::Tensor rows = empty_rows(info_, indices.size());
    char* out = static_cast<char*>(rows.data_ptr());
    for (const int64_t index : indices) {
      copy_from_mapped(out, file_.at(info_.offset + index * row_bytes_),
                       static_cast<size_t>(row_bytes_), file_.path());
      out += row_bytes_;
    }
    return rows;
  }

  int64_t block_rows() const override { return 1; }

 private:
  MappedFile file_;
  Hdf5ArrayInfo info_;
  int64_t row_bytes_;
};

class BlockRows : public RowReader {
 public:
  BlockRows(Hdf5Array array, int64_t cached_blocks)
      : array_(std::move(array)),
        row_bytes_(row_elements(array_.info()) *
                   static_cast<int64_t>(c10::elementSize(*array_.info().dtype))),
        cached_blocks_(std::max<int64_t>(1, cached_blocks)) {
    const auto& chunk = array_.info().chunk;
    const int64_t chunk_rows = chunk.empty() ? 1 : std::min(chunk[0], array_.info().shape[0]);
    const int64_t chunk_bytes = std::max<int64_t>(1, chunk_rows * row_bytes_);
    block_rows_ = chunk_rows * std::max<int64_t>(1, kLeastBlockBytes / chunk_bytes);
  }

  torch::Tensor read(const std::vector<int64_t>& indices) override {
    torch::Tensor rows = empty_rows(array_.info(), indices.size());
    // Rows of one block are served together, so that even a batch wider than the cache reads
    // each block once.
    std::vector<size_t> by_block(indices.size());
    std::iota(by_block.begin(), by_block.end(), size_t{0});
    std::stable_sort(by_block.begin(), by_block.end(), [&](size_t a, size_t b) {
      return indices[a] / block_rows_ < indices[b] / block_rows_;
    });
    char* out = static_cast<char*>(rows.data_ptr());
    for (const size_t place : by_block) {
      const int64_t block = indices[place] / block_rows_;
      const auto* data = static_cast<const char*>(block_at(block).data_ptr());
      std::memcpy(out + static_cast<int64_t>(place) * row_bytes_,
                  data + (indices[place] - block * block_rows_) * row_bytes_,
                  static_cast<size_t>(row_bytes_));
    }
    return rows;
  }

  int64_t block_rows() const override { return block_rows_; }

 private:
  struct Block {
    int64_t number;
    torch::Tensor rows;
  };

  const torch::Tensor& block_at(int64_t number) {
    if (const auto found = places_.find(number); found != places_.end()) {
      blocks_.splice(blocks_.begin(), blocks_, found->second);
      return blocks_.front().rows;
    }
    const int64_t first = number * block_rows_;
    const int64_t count = std::min(block_rows_, array_.rows() - first);
    blocks_.push_front({number, array_.read_rows(first, count, *array_.info().dtype)});
    places_[number] = blocks_.begin();
    if (static_cast<int64_t>(blocks_.size()) > cached_blocks_) {
      places_.erase(blocks_.back().number);
      blocks_.pop_back();
    }
    return blocks_.front().rows;
  }

  Hdf5Array array_;
  int64_t row_bytes_;
  int64_t cached_blocks_;
  int64_t block_rows_ = 1;
  std::list<Block> blocks_;  // most recently used first
  std::unordered_map<int64_t, std::list<Block>::iterator> places_;
};

}  // namespace

std::unique_ptr<RowReader> make_row_reader(Hdf5Array array, int64_t cached_blocks) {
  if (array.info().offset >= 0 && array.info().bytes_are_native)
    return std::make_unique<MappedRows>(array);
  return std::make_unique<BlockRows>(std::move(array), cached_blocks);
}

}  // namespace scorenet::data
