#include "launch/help_text.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace scorenet::launch {
namespace {

// Lines of at most `width`, parted at spaces, and within words that are longer.
std::vector<std::string> wrapped(const std::string& text, size_t width) {
  std::vector<std::string> lines(1);
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width)
      lines.emplace_back();
    lines.back() += (lines.back().empty() ? "" : " ") + word;
    while (lines.back().size() > width) {
      const std::string rest = lines.back().substr(width);
      lines.back().resize(width);
      lines.push_back(rest);
    }
  }
  return lines;
}

constexpr size_t kGap = 2, kIndent = 2;
// On a narrower terminal what a row accepts follows its meaning, in place of a column of its own.
constexpr size_t kWide = 80;

// Cells of a row beside each other, each wrapped to its column. A name is never parted: where it is
// wider than its column, the other cells begin below it.
void write_row(std::ostringstream& out, std::vector<std::string> cells,
               const std::vector<size_t>& widths) {
  if (cells[0].size() > widths[0]) {
    out << std::string(kIndent, ' ') << cells[0] << '\n';
    cells[0].clear();
  }
  std::vector<std::vector<std::string>> columns;
  size_t lines = 0;
  for (size_t c = 0; c < cells.size(); ++c) {
    columns.push_back(wrapped(cells[c], widths[c]));
    lines = std::max(lines, columns[c].size());
  }
  for (size_t line = 0; line < lines; ++line) {
    std::string text(kIndent, ' ');
    size_t place = kIndent;
    for (size_t c = 0; c < columns.size(); ++c) {
      if (line < columns[c].size() && !columns[c][line].empty()) {
        text.resize(place, ' ');
        text += columns[c][line];
      }
      place += widths[c] + kGap;
    }
    out << text << '\n';
  }
}

size_t widest(const std::vector<HelpRow>& rows, std::string HelpRow::* cell, size_t least,
              size_t most) {
  size_t width = least;
  for (const HelpRow& row : rows) width = std::max(width, (row.*cell).size());
  return std::min(width, most);
}

bool any(const std::vector<HelpRow>& rows, std::string HelpRow::* cell) {
  return std::any_of(rows.begin(), rows.end(),
                     [cell](const HelpRow& row) { return !(row.*cell).empty(); });
}

// The columns of a section that are not empty, with their widths; the meaning takes the rest.
struct Columns {
  std::vector<std::string HelpRow::*> cells;
  std::vector<std::string> heads;
  std::vector<size_t> widths;
};

Columns columns_of(const HelpSection& section, size_t columns) {
  Columns out;
  size_t used = kIndent;
  const auto add = [&](std::string HelpRow::* cell, const char* head, size_t most) {
    if (!any(section.rows, cell)) return;
    out.cells.push_back(cell);
    out.heads.push_back(head);
    out.widths.push_back(widest(section.rows, cell, std::string(head).size(), most));
    used += out.widths.back() + kGap;
  };
  add(&HelpRow::name, "", columns * 26 / 100);
  add(&HelpRow::standard, "default", columns * 16 / 100);
  if (columns >= kWide) add(&HelpRow::accepts, "accepts", columns * 20 / 100);
  out.cells.push_back(&HelpRow::meaning);
  out.heads.push_back("");
  out.widths.push_back(std::max<size_t>(columns > used ? columns - used : 0, 20));
  return out;
}

void write_section(std::ostringstream& out, const HelpSection& section, size_t columns) {
  out << '\n' << section.title << '\n';
  if (!section.note.empty())
    for (const std::string& line : wrapped(section.note, columns - kIndent))
      out << std::string(kIndent, ' ') << line << '\n';
  const Columns layout = columns_of(section, columns);
  if (layout.heads.size() > 2) write_row(out, layout.heads, layout.widths);
  for (const HelpRow& row : section.rows) {
    std::vector<std::string> cells;
    for (const auto cell : layout.cells) cells.push_back(row.*cell);
    if (columns < kWide && !row.accepts.empty()) cells.back() += "; " + row.accepts;
    write_row(out, cells, layout.widths);
  }
}

class HelpFormatter : public CLI::FormatterBase {
 public:
  explicit HelpFormatter(std::string topic) : topic_(std::move(topic)) {}

  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const override {
    HelpPage page = help_page(*app);
    const std::string title = "[" + topic_ + "]";
    const auto is_topic = [&](const HelpSection& section) {
      return section.title == title || section.title.starts_with("[" + topic_ + ".");
    };
    const auto found = std::find_if(page.sections.begin(), page.sections.end(), is_topic);
    if (topic_.empty() || found == page.sections.end()) return help_text(page, terminal_columns());
    std::ostringstream out;
    write_section(out, *found, terminal_columns());
    return out.str().substr(1);
  }

 private:
  std::string topic_;
};

}  // namespace

size_t terminal_columns() {
  winsize size{};
  size_t columns = 100;
  if (::isatty(STDOUT_FILENO) && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    columns = size.ws_col;
  else if (const char* const given = std::getenv("COLUMNS"); given && std::atoi(given) > 0)
    columns = static_cast<size_t>(std::atoi(given));
  return std::clamp<size_t>(columns, 60, 140);
}

std::string help_text(const HelpPage& page, size_t columns) {
  std::ostringstream out;
  for (const std::string& line : wrapped(page.command + ": " + page.summary, columns))
    out << line << '\n';
  if (!page.examples.empty()) out << "\nExamples\n";
  for (const auto& [command, what] : page.examples)
    out << "  # " << what << "\n  " << command << '\n';
  out << "\nUsage\n  " << page.usage << '\n';
  bool has_keys = false;
  for (const HelpSection& section : page.sections) {
    if (section.title[0] == '[' && !has_keys) {
      out << '\n';
      const std::string note =
          "The config is a file of these sections and keys (TOML). `" + page.command +
          " --help train` shows one section, `scorenet info config RUN` what a run has set.";
      for (const std::string& line : wrapped(note, columns)) out << line << '\n';
      has_keys = true;
    }
    write_section(out, section, columns);
  }
  if (!page.notes.empty()) out << '\n';
  for (const std::string& line :
       page.notes.empty() ? std::vector<std::string>() : wrapped(page.notes, columns))
    out << line << '\n';
  return out.str();
}

std::shared_ptr<CLI::FormatterBase> help_formatter(std::string topic) {
  return std::make_shared<HelpFormatter>(std::move(topic));
}

std::string help_topic(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--help" || word == "-h") return argv[i + 1][0] == '-' ? "" : argv[i + 1];
  }
  return "";
}

}  // namespace scorenet::launch
