#include "framework/report/gnuplot.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string_view>

extern char** environ;

namespace scorenet::report {
namespace {

constexpr const char* kProgram = "gnuplot";

// Files without a name: what the child reads and writes may be longer than a pipe holds.
using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File temporary() { return {std::tmpfile(), std::fclose}; }

std::string content(std::FILE* file) {
  std::string out;
  char part[4096];
  std::rewind(file);
  for (size_t read; (read = std::fread(part, 1, sizeof part, file)) > 0;) out.append(part, read);
  return out;
}

// The exit status, or -1 where it could not be started; errno then says why.
int run_child(std::FILE* in, std::FILE* out, std::FILE* err) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(in), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(out), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(err), STDERR_FILENO);
  std::string program = kProgram, plain = "-d";  // the user's ~/.gnuplot is not read
  char* const arguments[] = {program.data(), plain.data(), nullptr};
  pid_t child = -1;
  const int failed = ::posix_spawnp(&child, kProgram, &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return errno = failed, -1;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

std::string first_words(const std::string& text) {
  std::istringstream in(text);
  std::string out;
  for (std::string line; std::getline(in, line);) {
    const size_t begin = line.find_first_not_of(" ^");
    if (begin != std::string::npos) out += (out.empty() ? "" : "; ") + line.substr(begin);
  }
  return out.substr(0, 300);
}

}  // namespace

bool has_gnuplot() {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path ? path : "/usr/local/bin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const auto file = std::filesystem::path(folder.empty() ? "." : folder) / kProgram;
    std::error_code ignored;
    if (std::filesystem::is_regular_file(file, ignored) && ::access(file.c_str(), X_OK) == 0)
      return true;
  }
  return false;
}

Plot run_gnuplot(const std::string& script) {
  const File in = temporary(), out = temporary(), err = temporary();
  if (!in || !out || !err) return {"", "no temporary file can be made"};
  std::fwrite(script.data(), 1, script.size(), in.get());
  std::fflush(in.get());
  std::rewind(in.get());
  ::lseek(::fileno(in.get()), 0, SEEK_SET);
  const int status = run_child(in.get(), out.get(), err.get());
  if (status == -1) return {"", std::string("gnuplot: ") + std::strerror(errno)};
  std::string svg = content(out.get());
  const bool whole = svg.find("</svg>") != std::string::npos;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && whole) return {std::move(svg), ""};
  return {"", "gnuplot: " + first_words(content(err.get()))};
}

}  // namespace scorenet::report
