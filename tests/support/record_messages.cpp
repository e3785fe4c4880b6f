// Preloaded into the tests and whatever they start (LD_PRELOAD): every exception of this program
// that is thrown becomes a line of the file SCORENET_MESSAGES: test, program, type and text,
// with tabs between.
// tests/launch/messages_test.py finds there who provokes which message.
#include <cxxabi.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <typeinfo>

extern char* program_invocation_short_name;

namespace {

bool is_ours(const char* type) {
  return std::strstr(type, "scorenet") != nullptr || std::strncmp(type, "N3CLI", 5) == 0 ||
         std::strncmp(type, "St", 2) == 0;
}

std::string on_one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    if (c == '\n')
      line += "\\n";
    else
      line += c == '\t' ? ' ' : c;
  }
  return line;
}

// One write of a file opened for appending: lines of several processes do not mix.
void add_line(const std::string& line) {
  const char* path = std::getenv("SCORENET_MESSAGES");
  if (path == nullptr) return;
  const int file = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return;
  [[maybe_unused]] const ssize_t written = ::write(file, line.data(), line.size());
  ::close(file);
}

void record(void* object, const std::type_info& type) {
  if (!is_ours(type.name())) return;
  void* as_exception = object;
  if (!typeid(std::exception).__do_catch(&type, &as_exception, 1)) return;
  const char* test = std::getenv("SCORENET_TEST");
  int status = 0;
  char* name = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
  constexpr size_t kLongest = 20000;
  add_line(std::string(test != nullptr ? test : "") + '\t' + program_invocation_short_name + '\t' +
           (name != nullptr ? name : type.name()) + '\t' +
           on_one_line(static_cast<std::exception*>(as_exception)->what()).substr(0, kLongest) +
           '\n');
  std::free(name);
}

}  // namespace

extern "C" [[noreturn]] void __cxa_throw(void* object, std::type_info* type,
                                         void (*destroy)(void*)) {
  using Throw = void (*)(void*, std::type_info*, void (*)(void*));
  static const auto original = reinterpret_cast<Throw>(::dlsym(RTLD_NEXT, "__cxa_throw"));
  record(object, *type);
  original(object, type, destroy);
  std::abort();
}
