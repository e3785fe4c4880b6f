// What samples are told, from files as they lie: one row a sample, fields on its grid, the same for
// all, and the samples before it.
#include "framework/data/condition_reader.hpp"

#include <gtest/gtest.h>
#include <torch/utils.h>

#include "framework/data/image_dataset.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

using Words = std::vector<std::string>;

torch::Tensor numbered(c10::IntArrayRef shape) {
  return torch::arange(c10::multiply_integers(shape), torch::kFloat32).view(shape);
}

class ConditionReaders_ : public testing::Test {
 protected:
  // Arrays by name, as a site writes them.
  std::string write(const std::string& name,
                    const std::vector<std::pair<std::string, torch::Tensor>>& arrays) const {
    const std::string path = folder_ / name;
    auto file = Hdf5File::create(path);
    for (const auto& [array, values] : arrays) file.write_array(array, values);
    file.close();
    return path;
  }
  static ImageDataset open(DataMap map, const std::vector<ConditionMap>& conditions,
                           const std::string& split = kAllSamples) {
    DatasetOptions options;
    options.conditions = conditions;
    return ImageDataset(map, split, options);
  }
  test::TemporaryFolder folder_;
};

DataMap flat(const std::string& path) {
  DataMap map;
  map.path = {path};
  map.arrays = {"u"};
  return map;
}

// (trajectory, time, channel, x)
DataMap trajectories(const std::vector<std::string>& paths) {
  DataMap map;
  map.path = paths;
  map.arrays = {"u"};
  map.sample_axes = {0, 1};
  map.channel_axis = 2;
  return map;
}

TEST_F(ConditionReaders_, AVectorHasARowASample) {
  const auto energies = numbered({5}), parameters = 100 + numbered({5, 3});
  const auto path =
      write("a.h5", {{"/u", numbered({5, 1, 4})}, {"/e", energies}, {"/p", parameters}});
  auto dataset = open(flat(path), {{.name = "energy", .array = "e"}, {.name = "p", .array = "p"}});
  EXPECT_EQ(dataset.condition_shape("energy"), (std::vector<int64_t>{1}));
  EXPECT_EQ(dataset.condition_shape("p"), (std::vector<int64_t>{3}));
  const Batch batch = dataset.read({3, 0});
  EXPECT_TRUE(torch::equal(batch.conditions.at("energy"), torch::tensor({{3.0F}, {0.0F}})));
  EXPECT_TRUE(
      torch::equal(batch.conditions.at("p"), parameters.index_select(0, torch::tensor({3, 0}))));
}

TEST_F(ConditionReaders_, AFieldLiesOnTheSamplesGridOrOnACoarserOne) {
  const auto fine = numbered({3, 2, 4, 6}), coarse = numbered({3, 2, 3}), mask = numbered({4, 6});
  const auto path = write("a.h5", {{"/u", numbered({3, 1, 4, 6})},
                                   {"/fine", fine},
                                   {"/coarse", coarse},  // no channel axis
                                   {"/mask", mask},      // the same for all
                                   {"/masks", numbered({2, 4, 6})}});
  auto dataset = open(flat(path), {{.name = "coarse", .array = "coarse", .kind = "field"},
                                   {.name = "fine", .array = "fine", .kind = "field"},
                                   {.name = "mask", .array = "mask", .kind = "field"},
                                   {.name = "masks", .array = "masks", .kind = "field"}});
  const auto values = dataset.read({2, 1}).conditions;
  const auto rows = torch::tensor({2, 1});
  EXPECT_TRUE(torch::equal(values.at("fine"), fine.index_select(0, rows)));
  EXPECT_TRUE(torch::equal(values.at("coarse"), coarse.index_select(0, rows).unsqueeze(1)));
  EXPECT_TRUE(torch::equal(values.at("mask")[1][0].to(torch::kFloat32), mask));
  EXPECT_EQ(dataset.condition_shape("masks"), (std::vector<int64_t>{2, 4, 6}));
}

TEST_F(ConditionReaders_, ChannelsLastAndAWindowHoldForFieldsToo) {
  const auto u = numbered({3, 6, 4, 2}), mask = numbered({6, 4, 1});
  DataMap map = flat(write("a.h5", {{"/u", u}, {"/mask", mask}, {"/low", numbered({3, 6, 4})}}));
  map.channel_axis = -1;
  map.window = {":", "2:6", ":"};
  auto dataset = open(map, {{.name = "low", .array = "low", .kind = "field"},
                            {.name = "mask", .array = "mask", .kind = "field"}});
  EXPECT_EQ(dataset.example_shape(), (std::vector<int64_t>{2, 4, 4}));
  const auto values = dataset.read({1}).conditions;
  EXPECT_TRUE(torch::equal(values.at("mask")[0].to(torch::kFloat32),
                           mask.narrow(0, 2, 4).permute({2, 0, 1})));
  EXPECT_TRUE(torch::equal(values.at("low")[0][0], numbered({3, 6, 4})[1].narrow(0, 2, 4)));
}

// Two files of 2 and 3 trajectories of 4 times: which samples have two before them, and which
// those are, by plain loops.
TEST_F(ConditionReaders_, EarlierSamplesAreThoseOfTheSameTrajectory) {
  const auto a = numbered({2, 4, 1, 3}), b = 1000 + numbered({3, 4, 1, 3});
  const auto map = trajectories({write("a.h5", {{"/u", a}}), write("b.h5", {{"/u", b}})});
  const std::vector<ConditionMap> past = {{.name = "past", .kind = "field", .steps = {-2, -1}}};
  auto dataset = open(map, past);
  ASSERT_EQ(dataset.size(), (2 + 3) * 2);
  int64_t index = 0;
  for (const auto& file : {a, b}) {
    for (int64_t trajectory = 0; trajectory < file.size(0); ++trajectory) {
      for (const int64_t time : {2, 3}) {
        const Batch batch = dataset.read({index++});
        const auto run = file[trajectory];
        EXPECT_TRUE(torch::equal(batch.examples[0], run[time]));
        EXPECT_TRUE(torch::equal(batch.conditions.at("past")[0],
                                 torch::cat({run[time - 2], run[time - 1]})));
      }
    }
  }
}

TEST_F(ConditionReaders_, RangesKeepTheirSamplesAndLookBackAcrossTheirEdges) {
  const auto u = numbered({3, 5, 1, 2});
  DataMap map = trajectories({write("a.h5", {{"/u", u}})});
  map.splits = {{"train", {"2:15:3"}}, {"late", {"3:5", "8:9"}}, {"none", {"0:2", "5:6"}}};
  const std::vector<ConditionMap> past = {{.name = "past", .kind = "field", .steps = {-2}}};
  const auto places = [&](const std::string& split) {
    auto dataset = open(map, past, split);
    std::vector<int64_t> found;
    for (int64_t i = 0; i < dataset.size(); ++i) {
      const Batch batch = dataset.read({i});
      const auto place = static_cast<int64_t>(batch.examples[0][0][0].item<float>()) / 2;
      EXPECT_EQ(batch.conditions.at("past")[0][0][0].item<float>(),
                static_cast<float>(2 * (place - 2)));
      found.push_back(place);
    }
    return found;
  };
  // 2 5 8 11 14, of which 5 and 11 are the first or second of their trajectories.
  EXPECT_EQ(places("train"), (std::vector<int64_t>{2, 8, 14}));
  EXPECT_EQ(places("late"), (std::vector<int64_t>{3, 4, 8}));
  test::expect_error<DataError>([&] { open(map, past, "none"); }, Words{"2 samples before it"});
}

TEST_F(ConditionReaders_, WhatDoesNotFitIsOneSentence) {
  const auto path = write("a.h5", {{"/u", numbered({5, 1, 4, 4})},
                                   {"/short", numbered({4, 1})},
                                   {"/odd", numbered({5, 1, 3, 4})}});
  const auto refuses = [&](const ConditionMap& condition, const std::vector<std::string>& words) {
    test::expect_error<DataError>([&] { open(flat(path), {condition}); }, words);
  };
  refuses({.name = "c", .array = "short"}, Words{"/short", "4 samples", "/u", "5"});
  refuses({.name = "c", .array = "odd", .kind = "field"}, Words{"/odd", "(1, 3, 4)", "(1, 4, 4)"});
  refuses({.name = "c", .array = "absent"}, Words{"/absent"});
}

TEST(ConditionMaps, ProblemsAreSentences) {
  const auto first = [](const ConditionMap& condition) {
    const auto all = problems(std::vector<ConditionMap>{condition});
    return all.empty() ? std::string() : all.front();
  };
  EXPECT_EQ(first({.name = "e", .array = "e"}), "");
  EXPECT_NE(first({.name = "e"}).find("condition.e.array is empty"), std::string::npos);
  EXPECT_NE(first({.name = "a.b", .array = "e"}).find("letters"), std::string::npos);
  EXPECT_NE(first({.name = "e", .array = "e", .steps = {-1}}).find("kind = vector"),
            std::string::npos);
  EXPECT_NE(first({.name = "e", .kind = "field", .steps = {-1, -1}}).find("below 0"),
            std::string::npos);
}

}  // namespace
}  // namespace scorenet::data
