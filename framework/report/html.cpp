#include "framework/report/html.hpp"

#include <cmath>
#include <cstdint>
#include <cstdio>

#include "framework/config/plain_text.hpp"

namespace scorenet::report {
namespace {

std::string escaped_line(std::string_view line) {
  std::string out;
  for (const char c : config::escaped(line)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace

Html operator+(Html left, const Html& right) {
  left += right;
  return left;
}

Html text(std::string_view text) {
  std::string out;
  for (size_t begin = 0;;) {
    const size_t end = text.find('\n', begin);
    out += escaped_line(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return Html(out);
    out += '\n';
    begin = end + 1;
  }
}

Html number(double value, int digits) {
  if (!std::isfinite(value)) return {};
  char text[64];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return Html(text);
}

Html element(const char* name, const Html& inside, const char* kind) {
  const std::string attribute = *kind ? std::string(" class=\"") + kind + "\"" : "";
  return Html("<" + std::string(name) + attribute + ">" + inside.code + "</" + name + ">");
}

Html table(const std::vector<Html>& head, const std::vector<std::vector<Html>>& rows) {
  if (rows.empty()) return {};
  Html top, body;
  for (const Html& cell : head) top += element("th", cell);
  for (const auto& row : rows) {
    Html cells;
    for (size_t i = 0; i < row.size(); ++i) cells += element(i == 0 ? "th" : "td", row[i]);
    body += element("tr", cells) + Html("\n");
  }
  const Html all = element("thead", element("tr", top)) + element("tbody", body);
  return element("div", element("table", all), "wide") + Html("\n");
}

Html section(const char* title, const Html& inside) {
  if (inside.code.empty()) return {};
  return element("section", element("h2", Html(title)) + Html("\n") + inside) + Html("\n");
}

std::string png_address(std::string_view bytes) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out = "data:image/png;base64,";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t three = 0;
    for (size_t k = 0; k < 3; ++k)
      three = three << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k)
      out += i + k > bytes.size() ? '=' : kLetters[three >> (18 - 6 * k) & 63];
  }
  return out;
}

}  // namespace scorenet::report
