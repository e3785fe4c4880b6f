// The keys of [data] and of each [condition.NAME].
#include "framework/config/field_sections.hpp"

namespace scorenet::config {
namespace {

// From files as they lie to samples.
void map_fields(data::DataMap& c, std::vector<Field>& out) {
  Field path{
      "data.path", &c.path,
      "data file, list of files, or pattern: HDF5, netCDF-4, .npy; {split} stands for the split's "
      "name"};
  path.bare_one = true;
  out.push_back(path);
  out.push_back(
      {"data.arrays", &c.arrays,
       "data sets that hold the samples; several are stacked as channels; {split} stands for the "
       "split's name"});
  out.push_back({"data.sample_axes", &c.sample_axes,
                 "axes of the stored array that number the samples, slowest first", 0, 31});
  out.push_back(
      {"data.channel_axis", &c.channel_axis,
       "axis of the stored array that is the channel, -1: the last; \"none\": an axis of size 1 "
       "is added",
       -32, 31});
  out.push_back({"data.window", &c.window,
                 "part of each stored axis to take, start:stop:step as in Python; []: all"});
  out.push_back({"data.reshape", &c.reshape,
                 "shape of a sample, channels first; -1: computed from the others; []: as stored",
                 -1, 1e12});
  out.push_back(
      {"data.splits", &c.splits,
       "samples of each split, where the file has no groups of these names: { train = \"0:900\", "
       "test = \"b.h5\" }; ranges of sample numbers, or files"});
  out.push_back({"data.labels_array", &c.labels_array,
                 "data set of the labels, one whole number per sample"});
}

}  // namespace

void data_fields(DataConfig& c, std::vector<Field>& out) {
  map_fields(c.map, out);
  out.push_back({"data.split", &c.split, "split to train on: train or any group of the file"});
  out.push_back({"data.labels", &c.labels, "use the labels of data.labels_array as condition"});
  out.push_back({"data.flip", &c.flip, "mirror each image left-right with probability 1/2"});
  out.push_back({"data.augment", &c.augment,
                 "EDM's augmentation: probability of each change (EDM: 0.12), which the network is "
                 "told, and an x-flip with 1/2; 0: off",
                 0, 1});
  out.push_back({"data.changed", &c.changed,
                 "resume a run although its data set has changed; log.txt records it"});
  out.push_back({"data.shuffle_window", &c.shuffle_window,
                 "chunks shuffled together (chunked files)", 1, 1 << 20});
  out.push_back({"data.prefetch", &c.prefetch, "batches read ahead", 1, 1024});
  out.push_back({"data.transforms", &c.transforms,
                 "from the file's values to the network's, in order: log(a), logit(a), arcsinh(a), "
                 "affine(a, b), standardise(channel | pixel | all), divide(NAME)"});
  out.push_back({"data.levels", &c.levels,
                 "number of levels of discrete data, whose values are 0, 1, ...: 2, 256, 65536; 0: "
                 "continuous; -1: 256 for uint8, else continuous",
                 -1, 65536});
  Field missing{
      "data.missing", &c.missing,
      "nan, or the number that marks missing values; the loss and the likelihood leave these out"};
  missing.or_number = true;
  out.push_back(missing);
}

void condition_fields(data::ConditionMap& c, std::vector<Field>& out) {
  const std::string prefix = kConditionPrefix + c.name + ".";
  out.push_back(
      {prefix + "array", &c.array,
       "data set of the condition, or FILE.npy; empty, with steps: the samples' own arrays"});
  out.push_back(one_of(
      prefix + "kind", &c.kind,
      "vector: numbers, added to the embedding of the noise level; field: values on the sample's "
      "grid, added as input channels",
      {"vector", "field"}));
  out.push_back(
      {prefix + "transforms", &c.transforms,
       "as data.transforms; the last may be angle(period), which gives its cosine and sine"});
  out.push_back({prefix + "steps", &c.steps,
                 "field: which earlier samples of the same trajectory, such as [-2, -1]", -1e6,
                 -1});
  out.push_back({prefix + "shape", &c.shape, "shape for one sample; []: as in the data", 1, 1e12});
}

}  // namespace scorenet::config
