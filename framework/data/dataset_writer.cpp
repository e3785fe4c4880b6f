#include "framework/data/dataset_writer.hpp"

#include <functional>
#include <numeric>

#include "framework/core/check.hpp"
#include "framework/core/stop_signal.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::data {

DatasetWriter::DatasetWriter(const std::filesystem::path& target, const Hdf5Storage& storage,
                             bool overwrite)
    : target_(target), temporary_(files::temporary_sibling(target)), storage_(storage) {
  if (!overwrite && std::filesystem::exists(target)) {
    throw DataError(target.string() +
                    ": exists already. Choose another name, or overwrite it with --force.");
  }
  if (storage.gzip_level > 0 && storage.chunk_rows == 0) {
    throw ConfigError("gzip level " + std::to_string(storage.gzip_level) +
                      ": compression needs chunks. Give --chunk as well, for example --chunk 512.");
  }
  file_ = Hdf5File::create(temporary_.string());
}

DatasetWriter::~DatasetWriter() {
  images_.reset();
  labels_.reset();
  file_.reset();
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);  // after commit there is no such name
}

void DatasetWriter::set_attribute(const std::string& key, const std::string& value) {
  file_->set_attribute("/", key, value);
}

void DatasetWriter::set_class_names(const std::vector<std::string>& names) {
  file_->write_strings("/classes", names);
}

void DatasetWriter::copy_the_rest(const Hdf5File& from, Notes& notes) {
  from.copy_missing(*file_, notes);
}

void DatasetWriter::begin_split(const SplitHeader& header) {
  check_complete();
  split_ = header;
  rows_ = 0;
  std::vector<int64_t> shape{header.size};
  shape.insert(shape.end(), header.example_shape.begin(), header.example_shape.end());
  if (storage_.gzip_level == 0) {
    check_room(std::accumulate(shape.begin(), shape.end(),
                               static_cast<int64_t>(c10::elementSize(header.dtype)),
                               std::multiplies<>()));
  }
  images_ = file_->create_array("/" + header.name + "/images", shape, header.dtype, storage_);
  labels_.reset();
  if (header.labels) {
    labels_ = file_->create_array("/" + header.name + "/labels", {header.size}, torch::kInt64);
  }
}

// Before hours of work, not after them.
void DatasetWriter::check_room(int64_t bytes) const {
  std::error_code error;
  const auto space =
      std::filesystem::space(std::filesystem::absolute(target_).parent_path(), error);
  if (error || space.available >= static_cast<uintmax_t>(bytes)) return;
  throw DataError(target_.string() + ": needs " + std::to_string(bytes) + " bytes, its disk has " +
                  std::to_string(space.available) + " free. Write to another disk, or make room.");
}

void DatasetWriter::append(const torch::Tensor& images, const torch::Tensor& labels) {
  throw_if_stop_asked();
  images_->write_rows(rows_, images);
  if (labels_) labels_->write_rows(rows_, labels.to(torch::kInt64));
  rows_ += images.size(0);
}

void DatasetWriter::write_split(const std::string& name, const torch::Tensor& images,
                                const torch::Tensor& labels) {
  begin_split({name, images.size(0), images.sizes().slice(1).vec(), images.scalar_type(),
               labels.defined()});
  append(images, labels);
}

void DatasetWriter::check_complete() const {
  if (rows_ == split_.size) return;
  throw DataError(target_.string() + ", split " + split_.name + ": " + std::to_string(rows_) +
                  " of " + std::to_string(split_.size) +
                  " samples written. The source ended early.");
}

void DatasetWriter::commit() {
  check_complete();
  images_.reset();
  labels_.reset();
  file_->close();
  try {
    files::sync_file(temporary_);
    files::publish(temporary_, target_);
  } catch (const files::FileError& error) {
    throw DataError(error.what());
  }
}

}  // namespace scorenet::data
