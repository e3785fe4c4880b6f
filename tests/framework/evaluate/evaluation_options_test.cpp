// The choices of an evaluation: each name is understood, and what does not suit the data is
// refused.
#include "framework/evaluate/evaluation_options.hpp"

#include "framework/evaluate/evaluation.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::evaluate {
namespace {

using diffusion::Decoder;

TEST(EvaluationOptions, AutoDecodesBytesByTheirLevelsAndOtherDataFlat) {
  EXPECT_EQ(decoder_for("auto", 256).kind, Decoder::discrete);
  EXPECT_EQ(decoder_for("auto", 0).kind, Decoder::flat);
  for (const char* name : {"auto", "discrete"}) EXPECT_EQ(decoder_for(name, 16).levels, 16) << name;
}

TEST(EvaluationOptions, EveryDecoderServesBytesAndAllButOneContinuousData) {
  for (const std::string& name : decoder_choices()) {
    EXPECT_NO_THROW(decoder_for(name, 256)) << name;
    if (name != "discrete") {
      EXPECT_NO_THROW(decoder_for(name, 0)) << name;
    }
  }
  EXPECT_ERROR(decoder_for("discrete", 0), ConfigError, "eval.decoder", "continuous");
  EXPECT_ERROR(decoder_for("round", 256), ConfigError, "\"round\"", "tweedie");
}

TEST(EvaluationOptions, TheDefaultsAreThoseOfTheTrainersEvaluations) {
  const EvaluationOptions own, trainers = training_evaluation({});
  EXPECT_EQ(own.batch, trainers.batch);
  EXPECT_EQ(own.time_samples, trainers.time_samples);
  EXPECT_EQ(own.decoder, trainers.decoder);
}

TEST(EvaluationOptions, TheShapeOfHIsConstantUnlessGiven) {
  EvaluationOptions options;
  EXPECT_FALSE(hbar_shape(options));
  options.hbar.schedule = "0:0,1:2";
  EXPECT_DOUBLE_EQ(hbar_shape(options)(0.25), 0.5);
}

}  // namespace
}  // namespace scorenet::evaluate
