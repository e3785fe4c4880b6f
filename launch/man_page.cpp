#include "launch/man_page.hpp"

#include <algorithm>
#include <sstream>

namespace scorenet::launch {
namespace {

// A text is no request (.) and no escape (\) of troff's, and its hyphens are those one can copy.
std::string troff(const std::string& text) {
  std::string out = text.starts_with(".") || text.starts_with("'") ? "\\&" : "";
  for (const char c : text) {
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

// An argument of a macro.
std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : troff(text)) out += c == '"' ? std::string("\\(dq") : std::string(1, c);
  return "\"" + out + "\"";
}

std::string with_hyphens(std::string command) {
  std::replace(command.begin(), command.end(), ' ', '-');
  return command;
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

void write_row(std::ostringstream& out, const HelpRow& row) {
  out << ".TP\n.B " << quoted(row.name) << '\n' << troff(row.meaning) << '\n';
  std::string more;
  if (!row.accepts.empty()) more += "Accepts " + row.accepts + ". ";
  if (row.standard == "required")
    more += "Required.";
  else if (!row.standard.empty())
    more += "Default: " + row.standard + ".";
  if (!more.empty()) out << ".br\n" << troff(more) << '\n';
}

}  // namespace

std::string man_file_name(const HelpPage& page) { return with_hyphens(page.command) + ".1"; }

std::string man_page(const HelpPage& page, const std::string& version) {
  std::ostringstream out;
  const std::string name = with_hyphens(page.command);
  out << ".TH " << quoted(upper(name)) << " 1 \"\" " << quoted(version) << " \"User Commands\"\n"
      << ".SH NAME\n"
      << troff(name) << " \\- " << troff(page.summary) << '\n'
      << ".SH SYNOPSIS\n.B " << quoted(page.usage) << '\n';
  if (!page.examples.empty()) out << ".SH EXAMPLES\n";
  for (const auto& [command, what] : page.examples)
    out << ".PP\n" << troff(what) << ":\n.PP\n.nf\n.RS\n" << troff(command) << "\n.RE\n.fi\n";
  for (const HelpSection& section : page.sections) {
    out << ".SH " << quoted(upper(section.title)) << '\n';
    if (!section.note.empty()) out << troff(section.note) << '\n';
    for (const HelpRow& row : section.rows) write_row(out, row);
  }
  if (!page.notes.empty()) out << ".SH NOTES\n" << troff(page.notes) << '\n';
  out << ".SH EXIT STATUS\n"
         "0 done; 2 wrong command line or config; 3 data; 4 not finite; 5 communication failed\n"
         "or a rank was lost; 6 checkpoint, snapshot or output; 75 stopped by a signal, ready to\n"
         "go on.\n";
  return out.str();
}

}  // namespace scorenet::launch
