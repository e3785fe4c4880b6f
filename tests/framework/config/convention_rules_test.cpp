// What model.type = torchscript means for the other keys of a config.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"

namespace scorenet::config {
namespace {

using testing::Contains;
using testing::HasSubstr;

const std::string kNetwork = "[model]\ntype = \"torchscript\"\nfile = \"net.pt\"\n";

Config parsed(const std::string& keys) { return parse_text(kNetwork + keys, "here"); }

TEST(ConventionRules, OpenKeysFollowTheConvention) {
  const Config edm = parsed("convention = \"edm\"\n");
  EXPECT_EQ(edm.diffusion.schedule.name, "edm");
  EXPECT_EQ(edm.diffusion.prediction, "x0");
  const Config adm = parsed("convention = \"adm\"\ntimesteps = 500\n");
  EXPECT_EQ(adm.diffusion.loss, "hybrid");
  EXPECT_EQ(adm.diffusion.train_steps, 500);
  EXPECT_DOUBLE_EQ(adm.diffusion.schedule.beta_max, 10);  // 500 times 0.02
  EXPECT_EQ(parsed("convention = \"dit\"\n").model.numbered.steps, 1000);
}

TEST(ConventionRules, WhatIsGivenStays) {
  const Config config = parsed(
      "convention = \"edm\"\n[diffusion]\nschedule = \"vp_linear\"\nprediction = \"F\"\nloss = "
      "\"edm\"\n");
  EXPECT_EQ(config.diffusion.schedule.name, "vp_linear");
  EXPECT_EQ(config.diffusion.prediction, "F");
  EXPECT_EQ(config.diffusion.loss, "edm");
  Config changed = parsed("convention = \"edm\"\n");
  apply_overrides(changed, {"--diffusion.prediction", "eps", "--model.convention=vdm"});
  EXPECT_EQ(changed.diffusion.prediction, "eps");
  EXPECT_EQ(changed.diffusion.schedule.name, "vdm_linear");
}

TEST(ConventionRules, TheSavedConfigSaysTheSame) {
  const Config config = parsed("convention = \"adm\"\ntimestep_law = \"squared_cosine\"\n");
  EXPECT_EQ(config.diffusion.schedule.name, "vp_cosine");
  EXPECT_EQ(to_toml(parse_text(to_toml(config), "saved")), to_toml(config));
}

void expect_problem(const Config& config, const std::string& said) {
  EXPECT_THAT(problems(config, 1), Contains(HasSubstr(said)));
}

TEST(ConventionRules, TellsWhatIsMissingOrContradicts) {
  expect_problem(parse_text("[model]\ntype = \"torchscript\"\nconvention = \"edm\"\n", "here"),
                 "model.file is empty: model.type = torchscript");
  expect_problem(parsed(""), "model.level is not given");
  expect_problem(parsed("convention = \"edm\"\ndropout = 0.1\n"),
                 "model.dropout with model.type = torchscript");
  expect_problem(parse_text("[model]\nconvention = \"edm\"\n", "here"),
                 "model.convention = edm with model.type = unet");
  expect_problem(parsed("convention = \"edm\"\n[diffusion]\nloss = \"hybrid\"\n"),
                 "diffusion.loss = hybrid with model.variance = none");
  expect_problem(
      parsed("convention = \"edm\"\nnum_classes = 3\n[condition.a]\narray = \"a\"\nkind = "
             "\"vector\"\n"),
      "more than one of labels, vector and field conditions");
  EXPECT_TRUE(problems(parsed("convention = \"edm\"\n"), 1).empty());
}

}  // namespace
}  // namespace scorenet::config
