// scorenet sample: what its flags ask for, what its pictures show, and that the metrics of samples
// are of those that it writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/data/hdf5.hpp"
#include "framework/metrics/frechet.hpp"
#include "tests/launch/gaussian_model.hpp"
#include "tests/launch/trained_once.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

// A network of 8x8 images, grey or of more channels, after two steps.
class Sample : public TrainedOnce<Sample> {
 protected:
  static void SetUpTestSuite() { train_once(2, "--eval.every 0"); }
  static Outcome sample(const std::string& options, const std::string& run_name = "run") {
    return run("SCORENET sample --network " + snapshot(run_name) +
               " --sampler ddim --steps 2 --outdir " + file("s") + " " + options);
  }
  static void expect_refused(const std::string& options, const std::vector<std::string>& words) {
    const Outcome outcome = sample(options);
    EXPECT_EQ(outcome.exit_code, 2) << options;
    for (const std::string& word : words) EXPECT_THAT(outcome.err, HasSubstr(word)) << options;
  }
  static torch::Tensor drawn(const std::string& options, const std::string& program = "SCORENET") {
    const Outcome outcome =
        run(program + " sample --network " + snapshot("labelled") +
            " --sampler ddim --steps 2 --save-h5 --outdir " + file("c") + " " + options);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return read_array(file("c/samples.h5"), "/samples");
  }
  // Sample i of the list of seeds has class i of the list, from the first again behind the last.
  static void expect_classes_in_turn() {
    const auto all = drawn("--seeds 5-9 --class 0,3 --batch 2");
    for (int64_t i = 0; i < 5; ++i) {
      const std::string one = "--seeds " + std::to_string(5 + i) + " --class ";
      EXPECT_TRUE(torch::allclose(all[i], drawn(one + (i % 2 ? "3" : "0"))[0], 1e-5, 1e-5)) << i;
      EXPECT_FALSE(torch::allclose(all[i], drawn(one + (i % 2 ? "0" : "3"))[0], 1e-5, 1e-5)) << i;
    }
    const auto two = drawn("--seeds 5-9 --class 0,3 --batch 2", mpirun(2));
    EXPECT_TRUE(torch::equal(two, all));
  }
  // evaluate with classes compares the pictures that sample with classes writes.
  static void expect_metrics_of_classes() {
    const std::string classes = " --seeds 4-11 --class 0,3,2 --sampler ddim ";
    const Outcome drawn = run("SCORENET sample --network " + snapshot("labelled") + classes +
                              "--steps 2 --outdir " + file("of_classes/deeper"));
    ASSERT_EQ(drawn.exit_code, 0) << drawn.err;
    const auto fd = [](const std::string& options) {
      const Outcome outcome =
          run("SCORENET evaluate --split train --data " + file("labelled.h5") +
              " --metrics fd --features pixels --force --json " + file("fd.json") + " " + options);
      EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
      return nlohmann::json::parse(text_of(file("fd.json")))["metrics"]["fd"]["fd"].get<double>();
    };
    const double of_pictures = fd("--samples " + file("of_classes"));
    const std::string network = "--network " + snapshot("labelled") + " --sampler-steps 2";
    EXPECT_NEAR(fd(network + classes), of_pictures, 1e-6 * of_pictures);
    EXPECT_GT(std::abs(fd(network + " --seeds 4-11 --class 1 --sampler ddim") - of_pictures),
              1e-3 * of_pictures);
  }
  static void expect_only_pictures_of_the_size() {
    const auto refused = [](const std::string& folder) {
      const Outcome outcome = run("SCORENET evaluate --data " + tiny_.data +
                                  " --metrics fd --features pixels --samples " + file(folder));
      EXPECT_EQ(outcome.exit_code, 3);
      return outcome.err;
    };
    EXPECT_EQ(sample("--seeds 0-3 --grid 2x2").exit_code, 0);
    EXPECT_THAT(refused("s"), AllOf(HasSubstr("grid.png"), HasSubstr("(1, 18, 18)")));
    std::filesystem::create_directory(file("nothing"));
    EXPECT_THAT(refused("nothing"), HasSubstr("no PNG, JPEG or WebP picture"));
  }
  // The class of a seed is the same among other seeds; of many seeds every class comes up.
  static void expect_classes_by_seed() {
    const auto all = drawn("--seeds 0-31 --class random");
    const auto alone = drawn("--seeds 7 --class random");
    EXPECT_TRUE(torch::allclose(all[7], alone[0], 1e-5, 1e-5));
    std::vector<torch::Tensor> of_class;
    for (const char* label : {"0", "1", "2", "3"})
      of_class.push_back(drawn(std::string("--seeds 0-31 --class ") + label));
    int64_t counts[4] = {}, matched = 0;
    for (int64_t i = 0; i < 32; ++i)
      for (size_t label = 0; label < 4; ++label)
        if (torch::allclose(all[i], of_class[label][i], 1e-5, 1e-5)) ++counts[label], ++matched;
    EXPECT_EQ(matched, 32);
    for (const int64_t count : counts) EXPECT_GT(count, 1);  // P(below 2 of 32) = 1e-3 each
  }
  static std::string write_images(int64_t channels) {
    const std::string path = file("c" + std::to_string(channels) + ".h5");
    auto data = data::Hdf5File::create(path);
    const auto images = torch::arange(32 * channels * 64, torch::kInt64)
                            .remainder(251)
                            .to(torch::kUInt8)
                            .view({32, channels, 8, 8});
    for (const std::string split : {"train", "validation"})
      data.write_array("/" + split + "/images", images);
    data.close();
    return path;
  }
  /// Width and height stand in a PNG's header, big-endian, from byte 16.
  static std::pair<int, int> size_of(const std::string& png) {
    const std::string bytes = text_of(png).substr(0, 24);
    const auto number = [&bytes](size_t at) {
      return static_cast<unsigned char>(bytes.at(at + 2)) * 256 +
             static_cast<unsigned char>(bytes.at(at + 3));
    };
    return {number(16), number(20)};
  }
};

TEST_F(Sample, AnyNumberOfChannelsTrainsAndIsShownATileAChannel) {
  for (const int64_t channels : {2, 4, 5}) {
    const std::string name = "run" + std::to_string(channels);
    const Outcome trained =
        run("SCORENET train " + tiny_.config + " --data.path " + write_images(channels) +
            " --outdir " + file(name) + " --train.steps 2 --eval.every 2 --checkpoint.every 2");
    ASSERT_EQ(trained.exit_code, 0) << channels << ": " << trained.err;
    // 4 images in a row: 4 C tiles of 8 pixels and 2 between.
    const int width = static_cast<int>(4 * channels * 10 - 2);
    EXPECT_EQ(size_of(file(name + "/samples/reals.png")), std::pair(width, 8));
    EXPECT_EQ(size_of(file(name + "/samples/grid-0000002.png")), std::pair(width, 8));

    const Outcome grid = sample("--seeds 0-3 --grid 2x2", name);
    ASSERT_EQ(grid.exit_code, 0) << grid.err;
    EXPECT_THAT(grid.out, HasSubstr(std::to_string(channels) + " channels: a tile for each"));
    EXPECT_EQ(size_of(file("s/grid.png")), std::pair(static_cast<int>(2 * channels * 10 - 2), 18));
  }
  const Outcome colours = sample("--seeds 0-3 --grid 2x2 --grid-channels 3,0,1", "run4");
  ASSERT_EQ(colours.exit_code, 0) << colours.err;
  EXPECT_EQ(size_of(file("s/grid.png")), std::pair(18, 18));
  const Outcome wrong = sample("--seeds 0 --grid-channels 3,0,4", "run4");
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, AllOf(HasSubstr("--grid-channels 3,0,4"), HasSubstr("0 to 3")));
}

// The features "pixels" of the pictures, read back from their PNG files, against the data's:
// evaluate draws the samples of seeds 0 to 7 for --seed 0.
TEST_F(Sample, MetricsOfSamplesAreOfThePicturesThatItWrites) {
  const std::string options = " --sampler ddim";
  const Outcome drawn = run("SCORENET sample --network " + snapshot() + options +
                            " --steps 4 --seeds 0-7 --outdir " + file("pictures/all"));
  ASSERT_EQ(drawn.exit_code, 0) << drawn.err;
  const Outcome read = run("SCORENET data convert --folder " + file("pictures") +
                           " --validation 0 --out " + file("pictures.h5"));
  ASSERT_EQ(read.exit_code, 0) << read.err;
  const Outcome evaluated =
      run("SCORENET evaluate --network " + snapshot() + options + " --sampler-steps 4 --data " +
          tiny_.data + " --metrics fd,w2 --features pixels --n 8 --json " + file("fd.json"));
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;

  const auto levels = [](const std::string& path, const std::string& split) {
    return ((read_array(path, "/" + split + "/images") + 0.5) / 128 - 1).flatten(1);
  };
  const auto data = levels(tiny_.data, "test"), samples = levels(file("pictures.h5"), "train");
  const auto metrics = nlohmann::json::parse(text_of(file("fd.json")))["metrics"];
  const double expected = metrics::frechet_distance(data, samples);
  EXPECT_NEAR(metrics["fd"]["fd"].get<double>(), expected, 1e-5 * expected);
  EXPECT_EQ(metrics["fd"]["final"], "denoised");
  EXPECT_EQ(metrics["fd"]["levels"], 256);
  EXPECT_EQ(metrics["w2"]["levels"], 256);
  EXPECT_THAT(evaluated.out, HasSubstr("denoised in 256 levels"));
}

TEST_F(Sample, OfPointsIsTheStateAsItStands) {
  write_gaussian(file("law.h5"), {{0, 1}});
  write_config(file("law.toml"), file("law.h5"), "vp_linear");
  write_points(file("points.h5"), torch::linspace(-1, 1, 8, torch::kFloat64).view({8, 1}));
  const Outcome evaluated = run("SCORENET evaluate --config " + file("law.toml") + " --data " +
                                file("points.h5") + " --metrics w2 --json " + file("w2.json"));
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  const auto metric = nlohmann::json::parse(text_of(file("w2.json")))["metrics"]["w2"];
  EXPECT_EQ(metric["final"], "state");
  EXPECT_TRUE(metric["levels"].is_null());
}

// One example's norms are no measure of the noise in few dimensions.
TEST_F(Sample, ACorrectorOfFewDimensionsIsToldItsNorms) {
  write_gaussian(file("narrow.h5"), {{0, 0.25}, {0, 0.25}});
  write_config(file("narrow.toml"), file("narrow.h5"), "vp_linear");
  const auto drawn = [](const std::string& options) {
    return run("SCORENET sample --config " + file("narrow.toml") + " --sampler pc --steps 200 " +
               "--final state --seeds 0-999 --outdir " + file("narrow") + " " + options);
  };
  EXPECT_THAT(drawn("").err, HasSubstr("give --corrector-norms batch"));
  EXPECT_EQ(drawn("--corrector-steps 0").err, "");
  // As it says: the variance is then that of the law, to four standard errors and the corrector's
  // own 2 per cent.
  EXPECT_EQ(drawn("--corrector-norms batch").err, "");
  const auto x = read_array(file("narrow/samples.h5"), "/samples");
  EXPECT_NEAR(x.square().mean().item<double>(), 0.25, 0.25 * (4 * std::sqrt(2.0 / 2000) + 0.02));
}

TEST_F(Sample, AClassIsOneThatTheNetworkKnows) {
  expect_refused("--seeds 0 --class -3", {"--class -3", "0 classes"});
  expect_refused("--seeds 0 --class random", {"--class random", "knows no classes"});
  expect_refused("--seeds 0 --class 3-1", {"'3-1' is no class"});
  expect_refused("--seeds 0 --class 0", {"--class 0", "0 classes"});
  expect_refused("--seeds 0 --guidance 2", {"--guidance", "--class"});
  expect_refused("--seeds 0 --guidance-interval -1 1",
                 {"--guidance-interval", "there is no guidance"});
  auto data = data::Hdf5File::create(file("labelled.h5"));
  data.write_array("/train/images", torch::zeros({16, 1, 8, 8}, torch::kUInt8));
  data.write_array("/train/labels", torch::arange(16, torch::kInt64).remainder(4));
  data.close();
  const Outcome trained =
      run("SCORENET train " + tiny_.config + " --data.path " + file("labelled.h5") + " --outdir " +
          file("labelled") +
          " --data.labels true --model.num_classes 4 --train.steps 2 --train.warmup_steps 0 "
          "--train.learning_rate 0.3 --eval.every 0");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  for (const char* label : {"-3", "-1", "4"}) {
    const Outcome refused = sample(std::string("--seeds 0 --class ") + label, "labelled");
    EXPECT_EQ(refused.exit_code, 2) << label;
    EXPECT_THAT(refused.err,
                AllOf(HasSubstr(std::string("--class ") + label), HasSubstr("4 classes, 0 to 3")));
  }
  EXPECT_EQ(sample("--seeds 0 --class 3", "labelled").exit_code, 0);
  expect_classes_in_turn();
  expect_classes_by_seed();
  expect_metrics_of_classes();
  expect_only_pictures_of_the_size();
}

TEST_F(Sample, AGridDrawsWhatItShowsAndSaysSo) {
  const Outcome few = sample("--seeds 0-9 --grid 2x2");
  ASSERT_EQ(few.exit_code, 0) << few.err;
  EXPECT_THAT(few.err, AllOf(HasSubstr("first 4 of 10"), HasSubstr("only those are drawn")));
  EXPECT_THAT(few.out, HasSubstr("4 samples"));
  const Outcome all = sample("--seeds 0-9 --grid 2x2 --save-h5");
  ASSERT_EQ(all.exit_code, 0) << all.err;
  EXPECT_THAT(all.err, HasSubstr("first 4 of 10"));
  EXPECT_EQ(read_array(file("s/samples.h5"), "/samples").size(0), 10);
  EXPECT_EQ(sample("--seeds 0-3 --grid 2x2").err, "");
}

TEST_F(Sample, MoreThanAnyMachineHoldsIsRefused) {
  expect_refused("--seeds 0-1e12", {"--seeds 0-1e12"});
  expect_refused("--seeds 0-999999999999", {"more than 100000000 seeds"});
  expect_refused("--seeds 0-99999998,0-99999998", {"more than 100000000 seeds"});
  expect_refused("--seeds 5-4", {"5-4"});
  expect_refused("--steps 1000000000", {"--steps"});
  expect_refused("--final picture", {"--final", "denoised"});
}

}  // namespace
}  // namespace scorenet::test
