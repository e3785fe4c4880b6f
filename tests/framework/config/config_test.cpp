// A config file says what differs from the defaults; anything it says wrongly is one sentence.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "framework/config/fields.hpp"
#include "framework/config/parse.hpp"
#include "framework/config/plain_text.hpp"
#include "framework/config/suggest.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/error.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::config {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

template <typename Call>
std::string error_of(const Call& call) {
  return test::error_of<ConfigError>(call);
}

Config trainable() {
  Config config;
  config.train.steps = 10;
  return config;
}

TEST(Config, AFileOverridesOnlyWhatItNames) {
  const Config c =
      parse_text("[train]\nlearning_rate = 1e-3\n[model]\nchannels = [8, 16]\n", "a.toml");
  EXPECT_EQ(c.train.rate.learning_rate, 1e-3);
  EXPECT_THAT(c.model.unet.channels, ElementsAre(8, 16));
  EXPECT_EQ(c.train.batch_size, Config{}.train.batch_size);
}

TEST(Config, AWholeNumberIsAValidFloatButNotTheReverse) {
  EXPECT_EQ(parse_text("[train]\nclip_norm = 2", "a.toml").train.adamw.clip_norm, 2.0);
  EXPECT_THAT(error_of([] { parse_text("[train]\nsteps = 2.5", "a.toml"); }),
              AllOf(HasSubstr("a.toml, line 2"), HasSubstr("train.steps = 2.5"),
                    HasSubstr("a whole number")));
}

TEST(Config, AListOfStringsIsReadWrittenAndGivenOnTheCommandLine) {
  const std::vector<std::string> both = {"log(1e-3)", "affine(0.5, 2)"};
  const Config c = parse_text("[data]\ntransforms = [\"log(1e-3)\", \"affine(0.5, 2)\"]", "a.toml");
  EXPECT_EQ(c.data.transforms, both);
  EXPECT_EQ(parse_text(to_toml(c), "again").data.transforms, both);
  Config line;
  apply_overrides(line, {"--data.transforms", "log(1e-3), affine(0.5, 2)"});
  EXPECT_EQ(line.data.transforms, both);
  apply_overrides(line, {"--data.transforms", "[\"arcsinh(1)\"]"});
  EXPECT_THAT(line.data.transforms, ElementsAre("arcsinh(1)"));
  apply_overrides(line, {"--data.transforms="});
  EXPECT_THAT(line.data.transforms, IsEmpty());
  EXPECT_THAT(error_of([] { parse_text("[data]\ntransforms = \"log(1)\"", "a.toml"); }),
              AllOf(HasSubstr("data.transforms"), HasSubstr("a list of strings")));
}

TEST(Config, AWrongTransformIsRefusedBeforeAnyDataIsRead) {
  Config c = trainable();
  c.data.transforms = {"log(1e-3)", "standardise(channel)"};
  EXPECT_THAT(problems(c, 1), IsEmpty());
  c.data.levels = 2;
  EXPECT_THAT(problems(c, 1), ElementsAre(HasSubstr("data.levels = 2")));
  c.data.levels = 0;
  c.data.transforms = {"log(1e-3)", "normalise(all)"};
  EXPECT_THAT(problems(c, 1), ElementsAre(AllOf(HasSubstr("data.transforms[1]"),
                                                HasSubstr("normalise"), HasSubstr("standardise"))));
  c.data.transforms = {"divide(energy)"};
  EXPECT_THAT(problems(c, 1), ElementsAre(HasSubstr("divide(energy)")));
}

TEST(Config, AMapFromFilesToSamplesIsReadWrittenAndGivenOnTheCommandLine) {
  const Config c = parse_text(
      "[data]\npath = [\"a.h5\", \"b.h5\"]\narrays = [\"t0_fields/u\"]\nsample_axes = [0, 1]\n"
      "channel_axis = \"none\"\nwindow = [\":\", \"::2\"]\nreshape = [1, -1]\n"
      "splits = { train = \"0:9\", test = [\"c.h5\", \"d.h5\"] }\n",
      "a.toml");
  data::DataMap map;
  map.path = {"a.h5", "b.h5"};
  map.arrays = {"t0_fields/u"};
  map.sample_axes = {0, 1};
  map.channel_axis = {};
  map.window = {":", "::2"};
  map.reshape = {1, -1};
  map.splits = {{"train", {"0:9"}}, {"test", {"c.h5", "d.h5"}}};
  EXPECT_EQ(c.data.map, map);
  EXPECT_EQ(parse_text(to_toml(c), "again").data.map, map);
  Config line;
  apply_overrides(
      line, {"--data.path", "a.h5, b.h5", "--data.arrays=t0_fields/u", "--data.sample_axes", "0,1",
             "--data.channel_axis", "none", "--data.window", ":,::2", "--data.reshape", "1,-1",
             "--data.splits", "{train = \"0:9\", test = [\"c.h5\", \"d.h5\"]}"});
  EXPECT_EQ(line.data.map, map);
  apply_overrides(line, {"--data.channel_axis", "-1"});
  EXPECT_EQ(line.data.map.channel_axis, -1);
}

TEST(Config, OneFileIsWrittenAsItAlwaysWas) {
  Config c;
  c.data.map.path = {"a.h5"};
  EXPECT_THAT(to_toml(c), HasSubstr("path = \"a.h5\"\n"));
  EXPECT_THAT(to_toml(Config{}), HasSubstr("path = \"\"\n"));
  EXPECT_THAT(parse_text("[data]\npath = \"\"", "a.toml").data.map.path, IsEmpty());
}

TEST(Config, AMapThatCanBeRightForNoFileIsOneSentence) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"arrays = []", "data.arrays = []"},
      {"sample_axes = []", "data.sample_axes = []"},
      {"sample_axes = [0, 0]", "named twice"},
      {"sample_axes = [0, 1]", "data.channel_axis = 1"},
      {"sample_axes = [-1]", "data.sample_axes = [-1]"},
      {"channel_axis = 40", "data.channel_axis = 40"},
      {"window = [\":\", \"3\"]", "data.window: \"3\""},
      {"window = [\"::0\"]", "data.window: \"::0\""},
      {"reshape = [-1, -1]", "data.reshape = [-1, -1]"},
      {"reshape = [0, 2]", "data.reshape = [0, 2]"},
      {"splits = { train = [] }", "data.splits, train"},
      {"splits = { train = [\"0:9\", \"a.h5\"] }", "holds both ranges and files"},
  };
  for (const auto& [key, says] : cases) {
    Config c = parse_text("[data]\n" + key, "a.toml");
    c.train.steps = 10;
    EXPECT_THAT(problems(c, 1), ElementsAre(HasSubstr(says))) << key;
  }
  for (const std::string key : {"channel_axis = \"last\"", "channel_axis = 1.5", "splits = \"0:9\"",
                                "splits = { train = 5 }", "path = 3"})
    EXPECT_THAT(error_of([&] { parse_text("[data]\n" + key, "a.toml"); }), HasSubstr("expected"));
}

TEST(Config, MissingValuesAreMarkedByNanOrANumberAsATomlNumberOrAsText) {
  const auto missing = [](const std::string& value) {
    return parse_text("[data]\nmissing = " + value, "a.toml").data.missing;
  };
  EXPECT_EQ(missing("\"nan\""), "nan");
  EXPECT_EQ(missing("nan"), "nan");
  EXPECT_EQ(std::stod(missing("-999")), -999);
  EXPECT_EQ(std::stod(missing("1e20")), 1e20);
  EXPECT_EQ(std::stod(missing("0.1")), 0.1);
  Config c = trainable();
  c.data.missing = "none";
  EXPECT_THAT(problems(c, 1), ElementsAre(AllOf(HasSubstr("data.missing"), HasSubstr("none"))));
  c.data.missing = "nan";
  EXPECT_THAT(problems(c, 1), IsEmpty());
  c.data.levels = 256;
  EXPECT_THAT(problems(c, 1), ElementsAre(HasSubstr("data.levels = 256")));
  c.data.missing = "";
  c.data.levels = 1;
  EXPECT_THAT(problems(c, 1), ElementsAre(HasSubstr("data.levels = 1")));
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

TEST(Config, ASuggestionIsTheSameLastPartOrASynonymOrASlipAndElseNone) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"train.lr", "train.learning_rate"},
      {"lr", "train.learning_rate"},
      {"model.learning_rate", "train.learning_rate"},  // the last part, in another section
      {"duration", "train.duration_kimg"},
      {"train.epochs", "train.duration_kimg"},
      {"train.batch", "train.batch_size"},
      {"optim.weight_decay", "train.weight_decay"},
      {"trian.steps", "train.steps"},
      {"train.stpes", "train.steps"},
      {"evl.every", "eval.every"},
      {"checkpiont.every", "checkpoint.every"},
      {"ema.decay", "ema.decays"},
      {"train.mixed-precision", "train.precision"},
  };
  for (const auto& [wrong, right] : cases) {
    Config c;
    EXPECT_THAT(error_of([&] { apply_overrides(c, {"--" + wrong, "1"}); }),
                HasSubstr("Did you mean '" + right + "'?"))
        << wrong;
  }
  for (const std::string wrong : {"train.device", "qqq", "wandb.project", "x"}) {
    Config c;
    EXPECT_THAT(
        error_of([&] { apply_overrides(c, {"--" + wrong, "1"}); }),
        AllOf(HasSubstr(wrong), testing::Not(HasSubstr("Did you mean")), HasSubstr("--help")));
  }
}

TEST(Config, AValueNearAChoiceOrASynonymOfItIsSuggested) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"diffusion.schedule=cosine", "vp_cosine"}, {"diffusion.schedule=vp-linear", "vp_linear"},
      {"eval.sampler=ddpm", "ancestral"},         {"eval.sampler=eulr-maruyama", "euler-maruyama"},
      {"train.precision=float32", "fp32"},        {"diffusion.prediction=epsilon", "eps"},
  };
  for (const auto& [argument, right] : cases) {
    Config c = trainable();
    apply_overrides(c, {"--" + argument});
    EXPECT_THAT(problems(c, 1), ElementsAre(HasSubstr("Did you mean '" + right + "'?")))
        << argument;
  }
  EXPECT_EQ(suggest_name("fid", {"elbo", "fd", "kid"}), "fd");
  EXPECT_EQ(suggest_name("accuracy", {"elbo", "fd", "kid"}), "");
}

TEST(Config, ASplitMayHaveAnyNameSinceTheFileSaysWhichThereAre) {
  Config c = trainable();
  apply_overrides(c, {"--data.split", "training", "--eval.split", "val"});
  EXPECT_THAT(problems(c, 1), testing::IsEmpty());
}

TEST(Config, AnEmptyFileIsTheDefaults) {
  const test::TemporaryFolder folder;
  test::write_bytes(folder.file("empty.toml"), "");
  EXPECT_EQ(to_toml(parse_file(folder.file("empty.toml"))), to_toml(Config{}));
}

TEST(Config, WhatIsNoFileIsNamedAndNotWaitedFor) {
  const test::TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { parse_file(folder.path().string()); }), HasSubstr("is a folder"));
  const std::string pipe = folder.file("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(error_of([&] { parse_file(pipe); }), HasSubstr("is a pipe"));
}

TEST(Config, HugeOrDeeplyNestedTextIsRefusedBeforeItIsParsed) {
  EXPECT_THAT(error_of([] { parse_text(std::string(100'000'000, '#'), "a.toml"); }),
              AllOf(HasSubstr("a.toml"), HasSubstr("100000000 bytes")));
  const auto many = [](const std::string& part) {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += part;
    return text;
  };
  for (const std::string& deep :
       {"x = " + many("["), "x = " + many("{a="), "[" + many("a.") + "a]", many("a.") + "a = 1"}) {
    EXPECT_THAT(error_of([&] { parse_text("\n" + deep, "a.toml"); }),
                AllOf(HasSubstr("a.toml, line 2"), HasSubstr("deep")));
  }
  EXPECT_EQ(parse_text("# ........................................ \n", "a").train.steps, 0);
}

TEST(Config, ATableThatIsNoSectionIsAnErrorEvenWhenEmpty) {
  EXPECT_THAT(error_of([] { parse_text("\n[trian]\n", "a.toml"); }),
              AllOf(HasSubstr("line 2"), HasSubstr("[trian]"), HasSubstr("'train'")));
  EXPECT_THAT(error_of([] { parse_text("[trian]\nsteps = 1\n", "a.toml"); }),
              AllOf(HasSubstr("[trian]"), HasSubstr("'train'")));
  EXPECT_THAT(error_of([] { parse_text("[qqq]\n", "a.toml"); }),
              AllOf(HasSubstr("[qqq]"), HasSubstr("Sections are data, model")));
  EXPECT_THAT(error_of([] { parse_text("[train]\nsteps = {}\n", "a.toml"); }),
              AllOf(HasSubstr("train.steps"), HasSubstr("a whole number")));
  EXPECT_THAT(error_of([] { parse_text("[train.steps]\n", "a.toml"); }), HasSubstr("train.steps"));
  EXPECT_THAT(error_of([] { parse_text("[train.stps]\n", "a.toml"); }), HasSubstr("'train.steps'"));
  EXPECT_THAT(error_of([] { parse_text("train = 3\n", "a.toml"); }), HasSubstr("is a section"));
  EXPECT_THAT(error_of([] { parse_text("[[train]]\nsteps = 3\n", "a.toml"); }),
              HasSubstr("is a section"));
  EXPECT_EQ(to_toml(parse_text("[train]\n", "a.toml")), to_toml(Config{}));
}

TEST(Config, NumbersNeedNoZeroBeforeOrAfterThePointOnTheCommandLine) {
  Config c;
  apply_overrides(c, {"--train.learning_rate", ".001", "--train.clip_norm=1.", "--ema.decays",
                      "[.9, 0.99]", "--diffusion.gamma_min", "-.5", "--train.adam_eps", "1.e-6"});
  EXPECT_EQ(c.train.rate.learning_rate, 0.001);
  EXPECT_EQ(c.train.adamw.clip_norm, 1);
  EXPECT_THAT(c.ema.decays, ElementsAre(0.9, 0.99));
  EXPECT_EQ(c.diffusion.schedule.gamma_min, -0.5);
  EXPECT_EQ(c.train.adamw.eps, 1e-6);
  for (const std::string wrong : {".", "1.2.3", "1e", "..5", "nan"}) {
    EXPECT_NE(error_of([&] {
                apply_overrides(c, {"--train.learning_rate", wrong});
                c.train.steps = 1;
                validate(c, 1);
              }),
              "")
        << wrong;
  }
  EXPECT_THAT(error_of([&] { apply_overrides(c, {"--train.steps", "1."}); }), HasSubstr("'1.'"));
}

TEST(Config, BoundsArePrintedWithAllTheirDigits) {
  Config c = trainable();
  c.train.adamw.beta2 = 1.0;
  c.train.steps = 1'000'000'000'000'000'000;
  c.model.unet.layers_per_block = 1'000'000'000;
  EXPECT_THAT(problems(c, 1),
              testing::UnorderedElementsAre(
                  HasSubstr("train.beta2 = 1.0: must be a number >= 0 and <= 0.99999999."),
                  AllOf(HasSubstr("train.steps = 1000000000000000000"), HasSubstr("<= 1e+12")),
                  AllOf(HasSubstr("model.layers_per_block = 1000000000"), HasSubstr("<= 64"))));
  for (const Field& field : fields(c)) {
    if (field.name == "train.batch_size") {
      EXPECT_THAT(expectation(field), HasSubstr("<= 16777216"));
    }
  }
}

TEST(Config, AttentionIsAtTheCoarsestLevelHoweverManyThereAre) {
  EXPECT_THAT(parse_text("[model]\nchannels = [8, 16]\n", "a").model.unet.attention,
              ElementsAre(false, true));
  Config c = parse_text("", "a");
  EXPECT_THAT(c.model.unet.attention, ElementsAre(false, false, true));
  apply_overrides(c, {"--model.channels", "8,8,8,8"});
  EXPECT_THAT(c.model.unet.attention, ElementsAre(false, false, false, true));
  apply_overrides(c, {"--model.channels", "8"});
  EXPECT_THAT(c.model.unet.attention, ElementsAre(true));
  c.train.steps = 10;
  EXPECT_THAT(problems(c, 1), IsEmpty());
  // What is said is kept, and must fit.
  Config said = parse_text("[model]\nattention = [false, false, true]\n", "a");
  said.train.steps = 10;
  apply_overrides(said, {"--model.channels", "8,8"});
  EXPECT_THAT(problems(said, 1), ElementsAre(HasSubstr("model.attention has 3 flags")));
}

TEST(Config, TextThatNoFileCanHoldIsRefusedByItsPlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"donn\xE9"
       "es.h5",
       "byte 0xE9 at place 5"},
      {"a\rb.h5", "0x0D at place 2"},
      {"a\nb.h5", "0x0A"},
      {std::string("a\0b", 3), "0x00"},
      {"\x7f", "0x7F"},
      {"\xC0\xAF", "0xC0"},      // overlong
      {"\xED\xA0\x80", "0xED"},  // half a surrogate pair
      {"ab\xE2\x82", "0xE2"},    // cut off
  };
  for (const auto& [path, why] : cases) {
    Config c = trainable();
    c.data.map.path = {path};
    EXPECT_THAT(problems(c, 1), ElementsAre(AllOf(HasSubstr("data.path"), HasSubstr(why))));
    EXPECT_EQ(not_plain_because(escaped(path)), "");
  }
  for (const std::string path : {"donn\u00e9es.h5", "\u65e5\u672c.h5", "a b 'c'.h5", "\U0001F600"})
    EXPECT_EQ(not_plain_because(path), "") << path;
  // Other programs' configs may hold them: what is saved reads back all the same.
  Config c;
  c.data.map.path = {"a\rb\x01\n"};
  EXPECT_EQ(parse_text(to_toml(c), "saved").data.map.path, c.data.map.path);
}

TEST(Config, ChangesNameEachKeyWithBothValues) {
  Config then, now;
  now.train.rate.learning_rate = 0.002;
  now.run.tick = 7;
  const auto found = changes(then, now);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].sentence(), "train.learning_rate = 0.002, was 2e-04");
  EXPECT_EQ(found[1].sentence(), "run.tick = 7, was 50");
  EXPECT_THAT(changes(now, now), IsEmpty());
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
  EXPECT_EQ(c.train.rate.learning_rate, 0.5);
  EXPECT_THAT(c.model.unet.channels, ElementsAre(4, 8));
  EXPECT_TRUE(c.data.labels);
  EXPECT_THAT(c.data.map.path, ElementsAre("x y.h5"));
  EXPECT_THAT(c.ema.decays, ElementsAre(0.9, 0.99));
  EXPECT_EQ(c.diffusion.schedule.gamma_min, -4);
}

TEST(Config, CommandLineErrorsNameTheValueAndWhatWasExpected) {
  Config c;
  EXPECT_THAT(error_of([&] { apply_overrides(c, {"--train.steps", "many"}); }),
              AllOf(HasSubstr("train.steps"), HasSubstr("many"), HasSubstr("whole number")));
  EXPECT_THAT(error_of([&] { apply_overrides(c, {"--train.step", "1"}); }),
              HasSubstr("'train.steps'"));
  EXPECT_THAT(error_of([&] { apply_overrides(c, {"--train.steps"}); }), HasSubstr("needs a value"));
  EXPECT_THAT(error_of([&] { apply_overrides(c, {"stray"}); }), HasSubstr("stray"));
  // A value cannot smuggle in a second key.
  EXPECT_THAT(error_of([&] { apply_overrides(c, {"--train.steps", "1\nx = 2"}); }),
              HasSubstr("train.steps"));
}

TEST(Config, TheSavedCopyReadsBackEqual) {
  Config c = trainable();
  c.data.map.path = {"with \"quotes\" and \\ .h5"};
  c.train.rate.learning_rate = 0.1 + 0.2;
  c.model.score_linear = {1, 0, -0.5, 1e-300};
  c.model.unet.attention = {true, false, true};
  const std::string text = to_toml(c);
  EXPECT_EQ(to_toml(parse_text(text, "saved")), text);
  EXPECT_EQ(parse_text(text, "saved").train.rate.learning_rate, c.train.rate.learning_rate);
  EXPECT_EQ(parse_text(text, "saved").data.map.path, c.data.map.path);
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
  c.train.rate.learning_rate = -0.1;
  c.diffusion.schedule.name = "linear";
  c.model.unet.attention = {true};
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
      {"P_mean = -0.4", "P_mean = -0.4 with diffusion.time_sampling = stratified"},
      {"P_std = 1\ntime_sampling = \"uniform\"", "P_std = 1 with"},
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

TEST(Config, WarmUpIsCountedInStepsOrInImages) {
  Config c = trainable();
  c.train.batch_size = 512;
  EXPECT_EQ(warmup_steps(c.train), 500);
  c.train.lr_rampup_kimg = 10'000;
  EXPECT_EQ(warmup_steps(c.train), 19'532);  // 10,000,000 / 512 = 19,531.25
  EXPECT_THAT(problems(c, 1), IsEmpty());
  c.train.rate.law = "cosine";
  c.train.steps = 19'532;
  EXPECT_THAT(problems(c, 1),
              ElementsAre(HasSubstr("train.lr_rampup_kimg = 10000, 19532 steps: ")));
  c.train.steps = 20'000;
  c.train.rate.warmup_steps = 100;
  EXPECT_THAT(problems(c, 1), ElementsAre(HasSubstr("both say how long the warm-up is")));
  c.train.lr_rampup_kimg = -1;
  EXPECT_THAT(problems(c, 1), IsEmpty());
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
