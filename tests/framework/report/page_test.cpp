// A run folder as a page: what it shows, that no text becomes markup, and what is not there.
#include "framework/report/page.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "framework/config/parse.hpp"
#include "framework/core/error.hpp"
#include "framework/report/gnuplot.hpp"
#include "framework/report/pictures.hpp"
#include "framework/report/tables.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::report {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kAttack = R"(</title><script>alert(1)</script>" onload='x' &amp;)";

std::string tick(int step, double loss) {
  return R"({"step":)" + std::to_string(step) + R"(,"kimg":)" + std::to_string(step * 0.1) +
         R"(,"loss":)" + std::to_string(loss) +
         R"(,"images_per_sec":321.5,"total_sec":3700,"log_snr":[10,-10],)" +
         R"("loss_by_log_snr":[0.5,null,1.5,2.5],"phase_sec":{"forward":0.03,"backward":0.01},)" +
         R"("data_wait_frac":0.125,"timestamp":"2026-11-26T21:00:00Z"})" + "\n";
}

class PageTest : public testing::Test {
 protected:
  std::filesystem::path folder(const std::string& name) const { return folder_.path() / name; }
  void write(const std::string& file, const std::string& bytes) const {
    test::write_bytes(folder_.path() / file, bytes);
  }

  /// A whole run of 200 steps with one evaluation and one grid.
  void write_run(const std::string& name, const std::string& keys = "") const {
    write(name + "/config.toml", "[data]\npath = \"d.h5\"\n[train]\nbatch_size = 100\n" + keys);
    write(name + "/log.txt", "output folder   " + name +
                                 "\nprogram         scorenet 9.9\nnetwork         unet, 4242 "
                                 "parameters\nstep 100  kimg 10.0  time 0m 01s\n");
    write(name + "/stats.jsonl", tick(100, 0.75) + tick(200, 0.5));
    write(name + "/metrics.csv", "step,name,value\n200,loss,0.5\n200,elbo_bits_per_dim,3.25\n");
    write(name + "/eval/eval-0000200.json",
          R"({"dims":4,"metrics":{"elbo":{"kind":"bound","nats_mean":9.01,"nats_stderr":0.02,)"
          R"("bits_per_dim":3.25,"terms":{"prior":0.001},"n":64,"nfe":7,"seconds":1.5}}})");
    write(name + "/samples/grid-0000200.png", "\x89PNG\r\n\x1a\n and more");
  }

  std::string page_of(const std::vector<std::string>& names, bool plots = false) const {
    std::vector<RunRecord> runs;
    for (const std::string& name : names) runs.push_back(read_run(folder(name)));
    const auto curve = [](const diffusion::ScheduleOptions&) {
      return std::vector<std::pair<double, double>>{{0, 10}, {1, -10}};
    };
    return page(std::move(runs), {"a title", "made by a test", curve, plots});
  }

  const test::TemporaryFolder folder_;
};

TEST_F(PageTest, ShowsWhatWasTrainedHowFarAndHowGood) {
  write_run("a");
  EXPECT_THAT(page_of({"a"}),
              AllOf(HasSubstr("unet, 4242 parameters"), HasSubstr("<td>200</td>"),
                    HasSubstr("1h 01m 40s"), HasSubstr("321.5 images/s"),
                    HasSubstr("3.25 &plusmn; 0.0072"),  // 0.02 / (4 log 2)
                    HasSubstr("9.01 &plusmn; 0.02"), HasSubstr("prior 0.001"),
                    HasSubstr("30 ms, 75 %"), HasSubstr("12.5 %"), HasSubstr("scorenet 9.9"),
                    HasSubstr("batch_size = 100"), Not(HasSubstr("What could not be read"))));
}

TEST_F(PageTest, NeedsNothingElseAndRunsNothing) {
  write_run("a");
  const std::string all = page_of({"a"});
  EXPECT_THAT(all, AllOf(HasSubstr("default-src 'none'"), HasSubstr("src=\"data:image/png;base64,"),
                         Not(HasSubstr("<script")), Not(HasSubstr("src=\"http")),
                         Not(HasSubstr("href=\"http")), Not(HasSubstr("url("))));
}

TEST_F(PageTest, OfOneRunTheKeysThatAreNotAtTheirDefault) {
  write_run("a");
  const std::string keys = config_differences({read_run(folder("a"))}).code;
  EXPECT_THAT(keys, AllOf(HasSubstr("<th>train.batch_size</th><td>100</td><td>128</td>"),
                          HasSubstr("data.path"), Not(HasSubstr("train.seed"))));
}

TEST_F(PageTest, TwoRunsStandSideBySideWithTheDifferencesOfTheirConfigs) {
  write_run("a");
  write_run("b", "seed = 7\n");
  const std::string keys = config_differences({read_run(folder("a")), read_run(folder("b"))}).code;
  EXPECT_THAT(keys, AllOf(HasSubstr("<th>train.seed</th><td>0</td><td>7</td><td>0</td>"),
                          Not(HasSubstr("batch_size"))));
  EXPECT_THAT(page_of({"a", "b"}), AllOf(HasSubstr("Where the configs differ"),
                                         HasSubstr("<th>network</th><td>unet, 4242 parameters</td>"
                                                   "<td>unet, 4242 parameters</td>")));
}

// Every place where a user's or a file's text comes in.
TEST_F(PageTest, NoTextBecomesMarkup) {
  const std::string attack = kAttack;
  write_run("a",
            "on_nonfinite = \""
            "skip"
            "\"\n[eval]\nsplit = '''" +
                attack + "'''\n");
  write("a/log.txt", "output folder   x\nnetwork         " + attack + "\n");
  write("a/metrics.csv", "step,name,value\n100," + attack + ",2\n200," + attack + ",1\n");
  const nlohmann::json report = {
      {"dims", 4},
      {"metrics",
       {{attack, {{"kind", attack}, {"nats_mean", 1}, {"terms", {{attack, 2}}}, {"n", attack}}},
        {"x", {{attack, 3}}}}}};
  write(
      "a/eval/"
      "likelihood.json",
      report.dump());
  const nlohmann::json one = {
      {"step", 5}, {"timestamp", attack}, {"phase_sec", {{attack, 1.0}}}, {"loss", attack}};
  write("a/stats.jsonl", one.dump() + "\n" + one.dump() + "\n");
  std::vector<RunRecord> runs = {read_run(folder("a")), read_run(folder("a"))};
  runs[0].name = runs[1].name = attack;
  runs[0].missing.push_back(attack);
  const auto curve = [](const diffusion::ScheduleOptions&) {
    return std::vector<std::pair<double, double>>{{0, 10}, {1, -10}};
  };
  const std::string all = page(runs, {attack, attack, curve, has_gnuplot()});
  EXPECT_THAT(all, AllOf(Not(HasSubstr("<script")), Not(HasSubstr("alert(1)</script>")),
                         Not(HasSubstr("onload='x'")), HasSubstr("&lt;script&gt;alert(1)")));
  size_t titles = 0;
  for (size_t at = 0; (at = all.find("</title>", at)) != std::string::npos; ++at) ++titles;
  EXPECT_EQ(titles, 1u);
}

TEST_F(PageTest, WhatIsMissingOrCutIsNamedAndTheRestIsThere) {
  write_run("a");
  std::filesystem::remove(folder("a") / "metrics.csv");
  write("a/config.toml", "[train\n");
  write("a/stats.jsonl", tick(100, 0.75) + "[]\n{\"step\":\"x\"}\n{\"step\": 200, \"lo");
  write("a/eval/eval-0000200.json", "{\"metrics\": {");
  write("a/samples/grid-0000200.png", "GIF89a");
  EXPECT_THAT(page_of({"a"}),
              AllOf(HasSubstr("metrics.csv is not there."), HasSubstr("config.toml, line 1"),
                    HasSubstr("stats.jsonl: 3 lines are not whole"),
                    HasSubstr("eval/eval-0000200.json is not a whole JSON object."),
                    HasSubstr("samples/grid-0000200.png is no PNG file."),
                    HasSubstr("unet, 4242 parameters"), HasSubstr("<td>100</td>")));
}

TEST_F(PageTest, AnEmptyFolderGivesAPageThatNamesWhatIsMissing) {
  std::filesystem::create_directory(folder("empty"));
  EXPECT_THAT(page_of({"empty"}),
              AllOf(HasSubstr("config.toml is not there."), HasSubstr("log.txt is not there."),
                    HasSubstr("stats.jsonl is not there."), HasSubstr("</html>")));
}

TEST_F(PageTest, WhatIsNoFolderIsRefused) {
  try {
    read_run(folder("none"));
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("none: is no folder."));
  }
}

TEST_F(PageTest, OfMetricsOverHEachHasARow) {
  write_run("a");
  write(
      "a/likelihood.json",
      R"({"dims":2,"metrics":{"hbar-elbo":{"kind":"bound","nats_mean":1,"per_hbar":[)"
      R"({"hbar":0,"nats_mean":1.5,"kind":"bound"},{"hbar":0.1,"nats_mean":1.25,"kind":"exact"}]}}})");
  EXPECT_THAT(likelihood_table({read_run(folder("a"))}).code,
              AllOf(HasSubstr("hbar-elbo, h = 0<"), HasSubstr("hbar-elbo, h = 0.1<"),
                    HasSubstr("<td>1.25</td>"), HasSubstr("likelihood.json")));
}

TEST_F(PageTest, OfManyGridsSixAreShownTheLastAmongThem) {
  write_run("a");
  for (int step = 1; step < 20; ++step)
    write("a/samples/grid-" + std::to_string(1000 + step) + ".png", "\x89PNG\r\n\x1a\n");
  std::vector<RunRecord> runs = {read_run(folder("a"))};
  const std::string all = pictures(runs).code;
  size_t shown = 0;
  for (size_t at = 0; (at = all.find("<img", at)) != std::string::npos; ++at) ++shown;
  EXPECT_EQ(shown, 6u);
  EXPECT_THAT(all, HasSubstr("step 1019"));
}

TEST(LossOverLogSnr, IsTheMeanOfTheBinsFromNoisyToClean) {
  RunRecord run;
  run.name = "a";
  for (const double loss : {1.0, 3.0}) {
    run.ticks.push_back(nlohmann::json::parse(tick(static_cast<int>(loss), loss)));
    run.ticks.back()["loss_by_log_snr"] = {loss, nullptr};
  }
  const Figure figure = loss_over_log_snr({run, run});
  // The last fifth of two ticks is the last: bins from 10 to 0 (loss 3) and from 0 to -10 (none).
  const auto& points = figure.series[0].points;
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0].first, -10);
  EXPECT_TRUE(std::isnan(points[0].second));
  EXPECT_EQ(points[1], std::make_pair(0.0, 3.0));
  EXPECT_EQ(points[2], std::make_pair(10.0, 3.0));
}

Figure two_curves() {
  return {"a title",
          "x",
          "y",
          {{kAttack, 0, {{0, 1}, {1, NAN}, {2, 1000}}}, {"b", 1, {{0, 5}, {2, 6}}}},
          true};
}

TEST(Figure, NoTextOfAUsersReachesGnuplot) {
  const std::string script = script_of(two_curves(), 1);
  EXPECT_THAT(script, AllOf(Not(HasSubstr("script>")), HasSubstr("0 1\n\n2 1000\n"),
                            HasSubstr("set logscale y")));
}

TEST(Figure, ColoursAndIdsBecomeThoseOfThePage) {
  EXPECT_EQ(for_page("<?xml?>\n<svg a='rgb(  1,   2,   3)' b=\"rgb(1,2,100)\" c='rgb(9,9,9)'/>", 1),
            "<svg a='var(--c3)' b=\"var(--text)\" c='rgb(9,9,9)'/>");
  EXPECT_EQ(for_page("<svg><title>t</title><desc>d</desc><use xlink:href='#gpPt5' id='gpPt6'/>", 2),
            "<svg><use xlink:href='#figure2_gpPt5' id='figure2_gpPt6'/>");
}

TEST(Figure, GnuplotDrawsIt) {
  if (!has_gnuplot()) GTEST_SKIP() << "needs gnuplot";
  const std::string figure = figure_html(two_curves(), 3, true).code;
  EXPECT_THAT(figure, AllOf(HasSubstr("<svg"), HasSubstr("var(--c0)"), HasSubstr("var(--c1)"),
                            HasSubstr("figure3"), Not(HasSubstr("rgb(  1,   2")),
                            Not(HasSubstr("<?xml")), HasSubstr("&lt;script&gt;")));
}

TEST(Figure, WhyGnuplotDrewNothingIsTold) {
  if (!has_gnuplot()) GTEST_SKIP() << "needs gnuplot";
  const Plot plot = run_gnuplot("set terminal no_such_thing\n");
  EXPECT_EQ(plot.svg, "");
  EXPECT_THAT(plot.reason, HasSubstr("gnuplot: "));
}

TEST_F(PageTest, WithoutGnuplotThePageSaysSo) {
  write_run("a");
  EXPECT_THAT(page_of({"a"}, false),
              AllOf(HasSubstr("gnuplot was not found"), Not(HasSubstr("<svg"))));
}

}  // namespace
}  // namespace scorenet::report
