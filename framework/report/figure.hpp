// A figure of curves: what gnuplot is told, and its SVG with the page's colours.
//
// No text of a user's reaches gnuplot: titles of axes are literals, and the legend is HTML beside
// the figure.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "framework/report/html.hpp"

namespace scorenet::report {

struct Series {
  std::string name;   // anything
  size_t colour = 0;  // its number among kColours; larger ones begin again
  std::vector<std::pair<double, double>> points;  // those that are not finite part the curve
  bool stairs = false;  // a point is the left end of a bar; the last one ends it
  bool dots = false;    // a mark at each point
};

struct Figure {
  const char* title;
  const char* x;
  const char* y;
  std::vector<Series> series;
  bool may_be_log = false;  // y on a logarithmic axis where it spans decades
};

inline constexpr size_t kColours = 8;

/// What gnuplot is told. number: of the figure in the page, for ids that differ.
std::string script_of(const Figure& figure, int number);

/// Whether there is anything to draw: a series with two points, or dots.
bool has_points(const Figure& figure);

/// gnuplot's SVG as a part of the page: the colours of the script become the style sheet's, its ids
/// are those of this figure alone, and gnuplot's own titles go.
std::string for_page(std::string svg, int number);

/// The figure with its heading and its legend; in place of an SVG that could not be made, why.
/// Empty if there is nothing to draw. plots: false: as though gnuplot were not there, without a
/// word.
Html figure_html(const Figure& figure, int number, bool plots);

}  // namespace scorenet::report
