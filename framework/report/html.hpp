// HTML out of texts that may be anything: paths, labels, values of a config, what a damaged file
// holds. Only this file knows what must be escaped; all other code gives texts through text().
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace scorenet::report {

/// HTML that is already escaped. It comes from text(), or from a literal in the code.
struct Html {
  std::string code;

  Html() = default;
  explicit Html(std::string already_html) : code(std::move(already_html)) {}
  Html& operator+=(const Html& more) { return code += more.code, *this; }
};
Html operator+(Html left, const Html& right);

/// A user's text: no byte of it is markup, in an element or in a quoted attribute. Bytes that are
/// not UTF-8 and control characters become \xNN; line breaks stay.
Html text(std::string_view text);

/// "3.142": four digits that count; "" for NaN and infinities.
Html number(double value, int digits = 4);

/// <name class="kind">inside</name>. name, kind: literals.
Html element(const char* name, const Html& inside, const char* kind = "");

/// A table that scrolls sideways by itself where the screen is narrow. The first cell of a row
/// heads it. Without rows it is empty.
Html table(const std::vector<Html>& head, const std::vector<std::vector<Html>>& rows);

/// A heading with what stands under it; empty if that is.
Html section(const char* title, const Html& inside);

/// "data:image/png;base64,..." of these bytes.
std::string png_address(std::string_view bytes);

}  // namespace scorenet::report
