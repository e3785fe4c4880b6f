#include "framework/comm/on_rank_zero.hpp"

#include <exception>

#include "framework/comm/fingerprint.hpp"
#include "framework/core/error.hpp"

namespace scorenet::comm {

std::string on_rank_zero(Communicator& communicator, const std::function<std::string()>& make,
                         std::string_view tag) {
  // Begins with the exit code of the error that it tells of, or with that of none.
  std::string text;
  std::exception_ptr mine;
  if (communicator.rank() == 0) {
    try {
      text = static_cast<char>(ExitCode::done) + make();
    } catch (const Error& error) {
      mine = std::current_exception();
      text = static_cast<char>(error.exit_code()) + std::string(error.what());
    }
  }
  text = broadcast_text(communicator, std::move(text), 0, tag);
  if (mine) std::rethrow_exception(mine);
  const auto code = static_cast<ExitCode>(text.front());
  text.erase(0, 1);
  if (code != ExitCode::done) throw Error(code, text);
  return text;
}

}  // namespace scorenet::comm
