#include "framework/report/page.hpp"

#include "framework/report/pictures.hpp"
#include "framework/report/tables.hpp"

namespace scorenet::report {
namespace {

// Columns as the screen has room for; wide tables scroll by themselves. Colours: Okabe & Ito 2008,
// which people who see colours differently can tell apart.
constexpr const char* kStyle = R"(
:root { --text: #1b1f24; --faint: #5b6470; --line: #d4d9df; --page: #ffffff; --card: #f6f7f9;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #a17c00; --c5: #56b4e9;
  --c6: #6b4fbb; --c7: #555555; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e9ed; --faint: #9aa4b1; --line: #3a424c; --page: #14171b; --card: #1d2228;
    --c0: #56b4e9; --c1: #f0883e; --c2: #3fc99b; --c3: #e5a4cb; --c4: #e0c040; --c5: #8fd0f5;
    --c6: #a995e8; --c7: #b0b0b0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 16px; background: var(--page);
  color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5em; margin: 0.4em 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2em; margin: 1.6em 0 0.6em; border-bottom: 1px solid var(--line); }
h3 { font-size: 1em; margin: 0.2em 0 0.4em; overflow-wrap: anywhere; }
p.made, figcaption { color: var(--faint); font-size: 0.87em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9em; }
th, td { text-align: left; vertical-align: top; padding: 4px 14px 4px 0;
  border-bottom: 1px solid var(--line); }
td { min-width: 7em; overflow-wrap: anywhere; }
thead th { color: var(--faint); font-weight: 600; }
tbody th { font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr));
  gap: 14px; }
figure { margin: 0; }
.figures figure { background: var(--card); border-radius: 6px; padding: 10px; min-width: 0; }
svg { display: block; width: 100%; height: auto; color: var(--text); }
ul.legend { list-style: none; margin: 4px 0 0; padding: 0; font-size: 0.85em; }
ul.legend li { overflow-wrap: anywhere; }
ul.legend i { display: inline-block; width: 1.4em; height: 0.35em; margin-right: 0.5em;
  vertical-align: middle; border-radius: 2px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr));
  gap: 10px; }
.pictures img { width: 100%; height: auto; image-rendering: pixelated; display: block; }
.bar { display: block; height: 6px; margin-top: 3px; background: var(--c0); border-radius: 2px; }
.missing { color: var(--c1); }
details { margin: 0.6em 0; }
pre { overflow-x: auto; background: var(--card); padding: 10px; border-radius: 6px;
  font-size: 0.85em; }
)";

// No script and nothing from elsewhere, whatever a text may hold.
constexpr const char* kPolicy =
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'\">";

class Figures {
 public:
  explicit Figures(bool plots) : plots_(plots) {}

  Html of(const std::vector<Figure>& figures) {
    Html all;
    for (const Figure& figure : figures) all += figure_html(figure, ++count_, plots_);
    return all.code.empty() ? all : element("div", all, "figures");
  }

 private:
  bool plots_;
  int count_ = 0;
};

}  // namespace

std::string page(std::vector<RunRecord> runs, const PageOptions& options) {
  Figures figures(options.plots);
  const bool one = runs.size() == 1;
  const Html grids = pictures(runs);  // first: it may find that some are missing
  const Html title = text(options.title);
  Html body = element("h1", title) + element("p", text(options.made_by), "made");
  if (!options.plots)
    body += element("p", Html("There are no figures, because gnuplot was not found."), "missing");
  body += section("What could not be read", missing_list(runs));
  body += section("What was trained", summary_table(runs));
  if (!one) body += section("Where the configs differ", config_differences(runs));
  body += section("Training", figures.of(training_figures(runs)));
  body += section("Held-out data", figures.of(metric_figures(runs)));
  body += section("Noise levels",
                  figures.of({loss_over_log_snr(runs), schedule_figure(runs, options.schedule)}));
  body += section("Samples over time", grids);
  body += section("Likelihoods and sample metrics", likelihood_table(runs));
  body += section("Where a step's time goes", step_time_table(runs));
  body += section("Versions and machine", versions_table(runs));
  if (one) body += section("Config: what is not at its default", config_differences(runs));
  body += section("Configs", whole_configs(runs));
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n" +
         std::string(kPolicy) +
         "\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" +
         element("title", title).code + "\n<style>" + kStyle + "</style>\n</head>\n<body>\n" +
         body.code + "</body>\n</html>\n";
}

}  // namespace scorenet::report
