#include "framework/checkpoint/background_task.hpp"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace scorenet::checkpoint {
namespace {

using Clock = std::chrono::steady_clock;

// Training goes first: where all cores compute, about a tenth of one is left for the writer.
void lower_own_priority() {
  constexpr int kNice = 10;
  const auto thread = static_cast<id_t>(::syscall(SYS_gettid));
  ::setpriority(PRIO_PROCESS, thread, kNice);  // Linux: of this thread alone
}

// A signal is for the threads that look at it; here it would only cut a write short.
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

struct BackgroundTask::State {
  std::function<void()> work;
  Clock::time_point started = Clock::now();
  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  bool ended = false;
  double seconds = 0;
  std::exception_ptr failure;

  void run() {
    lower_own_priority();
    block_signals();
    std::exception_ptr caught;
    try {
      work();
    } catch (...) {
      caught = std::current_exception();
    }
    work = nullptr;  // frees what it owns before anyone hears of the end
    const std::lock_guard lock(mutex);
    failure = std::move(caught);  // whoever takes it is alone with it
    seconds = std::chrono::duration<double>(Clock::now() - started).count();
    ended = true;
    changed.notify_all();
  }
};

BackgroundTask::~BackgroundTask() {
  constexpr double kSomeTime = 1;
  while (state_ && !wait(kSomeTime)) {
  }
}

void BackgroundTask::start(std::function<void()> work) {
  state_ = std::make_shared<State>();
  state_->work = std::move(work);
  std::thread([state = state_] { state->run(); }).detach();
}

bool BackgroundTask::ended() const { return wait(0); }

bool BackgroundTask::wait(double limit_s) const {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, std::chrono::duration<double>(limit_s),
                                  [this] { return state_->ended; });
}

double BackgroundTask::seconds() const {
  const std::lock_guard lock(state_->mutex);
  return state_->seconds;
}

bool BackgroundTask::failed() const {
  const std::lock_guard lock(state_->mutex);
  return state_->failure != nullptr;
}

void BackgroundTask::take() {
  const auto state = std::exchange(state_, nullptr);
  std::exception_ptr failure;
  {
    const std::lock_guard lock(state->mutex);
    failure = std::exchange(state->failure, nullptr);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace scorenet::checkpoint
