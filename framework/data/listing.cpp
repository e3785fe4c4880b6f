#include "framework/data/listing.hpp"

#include "framework/data/bytes.hpp"

namespace scorenet::data {
namespace {

void write(ByteWriter& out, const Hdf5ArrayInfo& info) {
  out.numbers(info.shape);
  out.text(info.type_name);
  out.number(info.dtype ? static_cast<int64_t>(*info.dtype) : -1);
  out.number(info.bytes_are_native);
  out.numbers(info.chunk);
  out.number(info.compressed);
  out.texts(info.filters);
  out.text(info.missing_filter);
  out.number(info.offset);
  out.number(info.bytes);
  out.text(info.file);
}

Hdf5ArrayInfo read_info(ByteReader& in) {
  Hdf5ArrayInfo info;
  info.shape = in.numbers();
  info.type_name = in.text();
  if (const int64_t dtype = in.number(); dtype >= 0) info.dtype = static_cast<torch::Dtype>(dtype);
  info.bytes_are_native = in.number() != 0;
  info.chunk = in.numbers();
  info.compressed = in.number() != 0;
  info.filters = in.texts();
  info.missing_filter = in.text();
  info.offset = in.number();
  info.bytes = in.number();
  info.file = in.text();
  return info;
}

void write(ByteWriter& out, const ArrayListing& array) {
  out.number(array.block_rows);
  out.number(static_cast<int64_t>(array.files.size()));
  for (const FileListing& file : array.files) {
    out.number(static_cast<int64_t>(file.files.size()));
    for (const StoredFile& stored : file.files) {
      out.text(stored.path);
      out.number(stored.size);
    }
    write(out, file.storage);
  }
}

ArrayListing read_array(ByteReader& in) {
  ArrayListing array;
  array.block_rows = in.number();
  array.files.resize(in.count());
  for (FileListing& file : array.files) {
    file.files.resize(in.count());
    for (StoredFile& stored : file.files) {
      stored.path = in.text();
      stored.size = in.number();
    }
    file.storage = read_info(in);
  }
  return array;
}

void write(ByteWriter& out, const ConditionListing& conditions) {
  out.number(static_cast<int64_t>(conditions.arrays.size()));
  for (const auto& [name, array] : conditions.arrays) {
    out.text(name);
    write(out, array);
  }
  out.number(static_cast<int64_t>(conditions.constants.size()));
  for (const auto& [name, field] : conditions.constants) {
    const torch::Tensor values = field.contiguous();
    out.text(name);
    out.numbers(values.sizes().vec());
    out.raw(values.const_data_ptr(), values.nbytes());
  }
}

ConditionListing read_conditions(ByteReader& in) {
  ConditionListing conditions;
  for (size_t left = in.count(); left > 0; --left) {
    const std::string name = in.text();
    conditions.arrays[name] = read_array(in);
  }
  for (size_t left = in.count(); left > 0; --left) {
    const std::string name = in.text();
    const torch::Tensor values = torch::empty(in.numbers(), torch::kFloat64);
    in.raw(values.data_ptr(), values.nbytes());
    conditions.constants[name] = values;
  }
  return conditions;
}

}  // namespace

std::string to_bytes(const SplitListing& listing) {
  ByteWriter out;
  out.text(listing.source.split);
  out.texts(listing.source.files);
  out.texts(listing.source.ranges);
  out.number(static_cast<int64_t>(listing.arrays.size()));
  for (const ArrayListing& array : listing.arrays) write(out, array);
  out.number(listing.labels.defined() ? listing.labels.size(0) : -1);
  if (listing.labels.defined()) out.raw(listing.labels.const_data_ptr(), listing.labels.nbytes());
  write(out, listing.conditions);
  return out.bytes();
}

SplitListing listing_from_bytes(const std::string& bytes) {
  ByteReader in(bytes);
  SplitListing listing;
  listing.source.split = in.text();
  listing.source.files = in.texts();
  listing.source.ranges = in.texts();
  listing.arrays.resize(in.count());
  for (ArrayListing& array : listing.arrays) array = read_array(in);
  if (const int64_t labels = in.number(); labels >= 0) {
    listing.labels = torch::empty({labels}, torch::kInt64);
    in.raw(listing.labels.data_ptr(), listing.labels.nbytes());
  }
  listing.conditions = read_conditions(in);
  return listing;
}

}  // namespace scorenet::data
