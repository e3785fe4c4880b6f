// A config file says what differs from the defaults; anything it says wrongly is one sentence.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/config/fields.hpp"
#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/error.hpp"

namespace scorenet::config {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

template <typename Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const ConfigError& e) {
    EXPECT_EQ(e.exit_code(), ExitCode::usage);
    return e.what();
  }
  return "(no error)";
}

Config trainable() {
  Config config;
  config.train.steps = 10;
  return config;
}

TEST(Config, AFileOverridesOnlyWhatItNames) {
  const Config c =
      parse_text("[train]\nlearning_rate = 1e-3\n[model]\nchannels = [8, 16]\n", "a.toml");
  EXPECT_EQ(c.train.learning_rate, 1e-3);
  EXPECT_THAT(c.model.channels, ElementsAre(8, 16));
  EXPECT_EQ(c.train.batch_size, Config{}.train.batch_size);
}

TEST(Config, AWholeNumberIsAValidFloatButNotTheReverse) {
  EXPECT_EQ(parse_text("[train]\nclip_norm = 2", "a.toml").train.clip_norm, 2.0);
  EXPECT_THAT(error_of([] { parse_text("[train]\nsteps = 2.5", "a.toml"); }),
              AllOf(HasSubstr("a.toml, line 2"), HasSubstr("train.steps = 2.5"),
                    HasSubstr("a whole number")));
}

TEST(Config, AtLeastOneAverageIsKept) {
  Config c = trainable();
  c.ema.decays = {};
  EXPECT_THAT(problems(c, 1), ElementsAre(HasSubstr("ema.decays")));
  c.ema.powers = {0.1};
  EXPECT_THAT(problems(c, 1), IsEmpty());
}

TEST(Config, AnUnknownKeyNamesLineAndNearestKey) {
  EXPECT_THAT(error_of([] { parse_text("[train]\n\nlearning_rat = 1", "a.toml"); }),
              AllOf(HasSubstr("a.toml, line 3"), HasSubstr("train.learning_rat"),
                    HasSubstr("'train.learning_rate'")));
  EXPECT_THAT(error_of([] { parse_text("batch_size = 1", "a.toml"); }),
              HasSubstr("train.batch_size"));
}

TEST(Config, BrokenTomlNamesItsLine) {
  EXPECT_THAT(error_of([] { parse_text("[train]\nsteps = = 3", "a.toml"); }),
              HasSubstr("a.toml, line 2"));
}

TEST(Config, AMissingFileIsNamed) {
  EXPECT_THAT(error_of([] { parse_file("/nonexistent/x.toml"); }),
              HasSubstr("/nonexistent/x.toml"));
}

TEST(Config, TheCommandLineOverridesTheFileInBothSpellings) {
  Config c;
  apply_overrides(c, {"--train.steps", "7", "--train.learning_rate=0.5", "--model.channels", "4,8",
                      "--data.labels", "true", "--data.path", "x y.h5", "--ema.decays",
                      "[0.9, 0.99]", "--diffusion.gamma_min", "-4"});
  EXPECT_EQ(c.train.steps, 7);
  EXPECT_EQ(c.train.learning_rate, 0.5);
  EXPECT_THAT(c.model.channels, ElementsAre(4, 8));
  EXPECT_TRUE(c.data.labels);
  EXPECT_EQ(c.data.path, "x y.h5");
  EXPECT_THAT(c.ema.decays, ElementsAre(0.9, 0.99));
  EXPECT_EQ(c.diffusion.gamma_min, -4);
}

TEST(Config, CommandLineErrorsNameTheValueAndWhatWasExpected) {
  Config c;
  EXPECT_THAT(error_of([&] {
                apply_overrides(c, {"--train.steps", "many"});
              }),
              AllOf(HasSubstr("train.steps"), HasSubstr("many"), HasSubstr("whole number")));
  EXPECT_THAT(error_of([&] {
                apply_overrides(c, {"--train.step", "1"});
              }),
              HasSubstr("'train.steps'"));
  EXPECT_THAT(error_of([&] { apply_overrides(c, {"--train.steps"}); }), HasSubstr("needs a value"));
  EXPECT_THAT(error_of([&] { apply_overrides(c, {"stray"}); }), HasSubstr("stray"));
  // A value cannot smuggle in a second key.
  EXPECT_THAT(error_of([&] {
                apply_overrides(c, {"--train.steps", "1\nx = 2"});
              }),
              HasSubstr("train.steps"));
}

TEST(Config, TheSavedCopyReadsBackEqual) {
  Config c = trainable();
  c.data.path = "with \"quotes\" and \\ .h5";
  c.train.learning_rate = 0.1 + 0.2;
  c.model.score_linear = {1, 0, -0.5, 1e-300};
  c.model.attention = {true, false, true};
  const std::string text = to_toml(c);
  EXPECT_EQ(to_toml(parse_text(text, "saved")), text);
  EXPECT_EQ(parse_text(text, "saved").train.learning_rate, c.train.learning_rate);
  EXPECT_EQ(parse_text(text, "saved").data.path, c.data.path);
}

TEST(Config, EveryFieldHasItsOwnNameAndADefaultWithinItsBounds) {
  Config defaults = trainable();
  std::vector<std::string> names;
  for (const Field& field : fields(defaults)) names.push_back(field.name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_THAT(problems(defaults, 1), IsEmpty());
}

TEST(Config, ValidationReportsAllProblemsAtOnceWithValueAndRemedy) {
  Config c = trainable();
  c.train.learning_rate = -0.1;
  c.diffusion.schedule = "linear";
  c.model.attention = {true};
  const std::string text = error_of([&] { validate(c, 1); });
  EXPECT_THAT(text, AllOf(HasSubstr("train.learning_rate = -0.1: must be a number > 0"),
                          HasSubstr("diffusion.schedule = \"linear\""), HasSubstr("vp_cosine"),
                          HasSubstr("model.attention has 1 flags")));
}

TEST(Config, ObjectivesThatContradictThemselvesAreOneSentenceEach) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"schedule = \"vdm_learned\"\nloss = \"simple\"", "diffusion.loss = simple"},
      {"schedule = \"vdm_learned\"\nloss = \"likelihood\"\nlearn_ends = true",
       "diffusion.loss = likelihood"},
      {"schedule = \"vdm_linear\"\nlearn_ends = true", "diffusion.schedule = vdm_linear"},
      {"schedule = \"vdm_learned\"\ntime_sampling = \"log_snr\"", "time_sampling = log_snr"},
      {"schedule = \"vdm_learned\"\ntrain_steps = 10", "train_steps = 10"},
      {"train_steps = 10\ntime_sampling = \"log_normal\"", "time_sampling = log_normal"},
      {"loss = \"hybrid\"", "train_steps = 0"},
      {"divergence_weight = 0.1", "diffusion.prediction = eps"},
      {"divergence_weight = 0.1\nprediction = \"v\"\nschedule = \"ve\"", "schedule = ve"},
      {"divergence_weight = 0.1\nprediction = \"v\"\nloss = \"uncertainty\"", "loss = uncertainty"},
  };
  for (const auto& [text, named] : cases) {
    Config c = parse_text("[diffusion]\n" + text + "\n", "a.toml");
    c.train.steps = 10;
    const auto found = problems(c, 1);
    ASSERT_EQ(found.size(), 1u) << text;
    EXPECT_THAT(found[0], HasSubstr(named));
  }
  Config classifier = trainable();
  classifier.model.type = "classifier";
  EXPECT_THAT(problems(classifier, 1), ElementsAre(HasSubstr("model.num_classes = 0")));
  classifier.model.num_classes = 3;
  classifier.data.labels = true;
  EXPECT_THAT(problems(classifier, 1), IsEmpty());
  classifier.diffusion.loss = "edm";
  EXPECT_THAT(problems(classifier, 1), ElementsAre(HasSubstr("diffusion.loss = edm")));
}

TEST(Config, ABatchThatDoesNotDivideNamesTheNearestTotals) {
  Config c = trainable();
  c.train.batch_size = 33;
  EXPECT_THAT(error_of([&] { validate(c, 2); }),
              AllOf(HasSubstr("33"), HasSubstr("32 and 34"), HasSubstr("uneven")));
  c.train.uneven = true;
  EXPECT_THAT(problems(c, 2), IsEmpty());
  EXPECT_THAT(problems(c, 34), testing::SizeIs(1));  // fewer images than ranks
}

TEST(Config, WaysOfSummingGradientsThatExcludeOneAnotherAreRefused) {
  Config c = trainable();
  c.run.threads = 1;
  c.comm.canonical = true;
  EXPECT_THAT(problems(c, 4), IsEmpty());
  c.train.shard_optimizer = true;
  EXPECT_THAT(problems(c, 4), ElementsAre(AllOf(HasSubstr("comm.canonical = true"),
                                                HasSubstr("train.shard_optimizer = true"))));
  c.comm.canonical = false;
  EXPECT_THAT(problems(c, 4), IsEmpty());
  c.comm.compression = "bf16";
  EXPECT_THAT(problems(c, 4), ElementsAre(AllOf(HasSubstr("comm.compression = bf16"),
                                                HasSubstr("train.shard_optimizer"))));
  c.train.shard_optimizer = false;
  c.comm.canonical = true;
  EXPECT_THAT(problems(c, 4), ElementsAre(HasSubstr("comm.canonical")));
}

TEST(Config, CanonicalNeedsEqualShardsAndAFixedThreadCount) {
  Config c = trainable();
  c.comm.canonical = true;
  EXPECT_THAT(problems(c, 2), ElementsAre(HasSubstr("run.threads = 0")));
  c.run.threads = 1;
  c.train.uneven = true;
  EXPECT_THAT(problems(c, 3),
              ElementsAre(AllOf(HasSubstr("comm.virtual_shards = 8"), HasSubstr("3 ranks"))));
  c.comm.virtual_shards = 6;
  EXPECT_THAT(problems(c, 2), ElementsAre(HasSubstr("power of two")));
  c.comm.virtual_shards = 256;  // of a batch of 128
  EXPECT_THAT(problems(c, 2), ElementsAre(AllOf(HasSubstr("train.batch_size = 128"),
                                                HasSubstr("comm.virtual_shards = 256"))));
}

TEST(Config, StepsFollowFromThousandsOfImagesRoundedUp) {
  TrainConfig train;
  train.batch_size = 300;
  train.duration_kimg = 1;
  EXPECT_EQ(total_steps(train), 4);
  train.steps = 9;
  EXPECT_EQ(total_steps(train), 9);
}

}  // namespace
}  // namespace scorenet::config
