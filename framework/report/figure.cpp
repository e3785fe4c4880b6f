#include "framework/report/figure.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>

#include "framework/report/gnuplot.hpp"

namespace scorenet::report {
namespace {

// Colours that mean a place in the style sheet: rgb(1, 2, n).
constexpr int kMarkRed = 1, kMarkGreen = 2, kText = 100, kGrid = 101;

std::string mark(int n) {
  char text[16];
  std::snprintf(text, sizeof text, "'#%02x%02x%02x'", kMarkRed, kMarkGreen, n);
  return text;
}

bool is_point(const std::pair<double, double>& p) {
  return std::isfinite(p.first) && std::isfinite(p.second);
}

// Positive throughout, over more than a decade and a half.
bool spans_decades(const Figure& figure) {
  double least = std::numeric_limits<double>::infinity(), most = 0;
  for (const Series& series : figure.series) {
    for (const auto& point : series.points) {
      if (!is_point(point)) continue;
      least = std::min(least, point.second);
      most = std::max(most, point.second);
    }
  }
  return least > 0 && most > 30 * least;
}

// A blank line parts a curve. gnuplot makes no line of a single point.
void write_block(std::ostringstream& out, size_t index, const Series& series) {
  out << "$d" << index << " << EOD\n";
  for (const auto& point : series.points) {
    if (is_point(point))
      out << point.first << ' ' << point.second << '\n';
    else
      out << '\n';
  }
  out << "EOD\n";
}

std::string style_of(const Series& series) {
  const std::string colour = " lc rgb " + mark(static_cast<int>(series.colour % kColours));
  if (series.stairs) return "with steps lw 2" + colour;
  return (series.dots ? "with linespoints pt 7 ps 0.5 lw 2" : "with lines lw 2") + colour;
}

// What a browser would show beside the pointer: the names of blocks of data.
void erase_elements(std::string& svg, const std::string& name) {
  const std::string head = "<" + name + ">", end = "</" + name + ">";
  for (size_t at = 0; (at = svg.find(head, at)) != std::string::npos;) {
    const size_t close = svg.find(end, at);
    if (close == std::string::npos) return;
    svg.erase(at, close + end.size() - at);
  }
}

// A name of the style sheet for a marked colour; "" for any other.
std::string style_name(int red, int green, int blue) {
  if (red != kMarkRed || green != kMarkGreen) return "";
  if (blue == kText) return "var(--text)";
  if (blue == kGrid) return "var(--line)";
  return "var(--c" + std::to_string(blue) + ")";
}

std::string with_page_colours(const std::string& svg) {
  std::string out;
  for (size_t at = 0; at < svg.size();) {
    int red = 0, green = 0, blue = 0, length = 0;
    const bool is_colour =
        svg.compare(at, 4, "rgb(") == 0 &&
        std::sscanf(svg.c_str() + at, "rgb( %d , %d , %d )%n", &red, &green, &blue, &length) == 3;
    const std::string style = is_colour && length > 0 ? style_name(red, green, blue) : "";
    out += style.empty() ? svg.substr(at, 1) : style;
    at += style.empty() ? 1 : static_cast<size_t>(length);
  }
  return out;
}

Html legend(const Figure& figure) {
  Html items;
  for (const Series& series : figure.series) {
    const std::string colour = std::to_string(series.colour % kColours);
    items += element(
        "li", Html("<i style=\"background:var(--c" + colour + ")\"></i>") + text(series.name));
  }
  return element("ul", items, "legend");
}

}  // namespace

bool has_points(const Figure& figure) {
  return std::any_of(figure.series.begin(), figure.series.end(), [](const Series& series) {
    return std::count_if(series.points.begin(), series.points.end(), is_point) >=
           (series.dots ? 1 : 2);
  });
}

std::string script_of(const Figure& figure, int number) {
  std::ostringstream out;
  out.precision(9);
  const std::string text = " tc rgb " + mark(kText), line = " lc rgb " + mark(kGrid);
  out << "set encoding utf8\n"
      << "set term svg size 520,330 dynamic noenhanced font 'sans-serif,14' name 'figure" << number
      << "'\n"
      << "set border 3" << line << "\nset grid" << line << "\nset tics nomirror" << text
      << "\nset key off\n"
      << "set xlabel '" << figure.x << "'" << text << "\nset ylabel '" << figure.y << "'" << text
      << "\nset style fill solid\n";
  if (figure.may_be_log && spans_decades(figure)) out << "set logscale y\nset format y '%.0e'\n";
  for (size_t i = 0; i < figure.series.size(); ++i) write_block(out, i, figure.series[i]);
  out << "plot ";
  bool first = true;
  for (size_t i = 0; i < figure.series.size(); ++i) {
    const auto& points = figure.series[i].points;
    if (!std::any_of(points.begin(), points.end(), is_point)) continue;
    out << (first ? "" : ", ") << "$d" << i << ' ' << style_of(figure.series[i]);
    first = false;
  }
  out << "\n";
  return out.str();
}

std::string for_page(std::string svg, int number) {
  svg.erase(0, std::min(svg.find("<svg"), svg.size()));  // without the XML head
  erase_elements(svg, "title");
  erase_elements(svg, "desc");
  const std::string prefix = "figure" + std::to_string(number) + "_";
  for (const std::string mark : {"id='gp", "href='#gp", "id=\"gnuplot"})
    for (size_t at = 0; (at = svg.find(mark, at)) != std::string::npos;
         at += mark.size() + prefix.size())
      svg.insert(at + mark.find('g'), prefix);
  return with_page_colours(svg);
}

Html figure_html(const Figure& figure, int number, bool plots) {
  if (!plots || !has_points(figure)) return {};
  const Plot plot = run_gnuplot(script_of(figure, number));
  const Html picture = plot.svg.empty() ? element("p", text(plot.reason), "missing")
                                        : Html(for_page(plot.svg, number));
  return element("figure", element("h3", Html(figure.title)) + picture + legend(figure)) +
         Html("\n");
}

}  // namespace scorenet::report
