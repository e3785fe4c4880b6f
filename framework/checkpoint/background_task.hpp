// One piece of work at a time, on a thread of low priority beside the program's own.
#pragma once

#include <functional>
#include <memory>

namespace scorenet::checkpoint {

class BackgroundTask {
 public:
  BackgroundTask() = default;
  /// Waits for work under way.
  ~BackgroundTask();
  BackgroundTask(const BackgroundTask&) = delete;
  BackgroundTask& operator=(const BackgroundTask&) = delete;

  /// REQUIRES nothing under way.
  void start(std::function<void()> work);
  /// From start() to take().
  bool under_way() const { return state_ != nullptr; }
  /// Whether work under way has ended.
  bool ended() const;
  /// Waits for that. False if it has not ended after limit_s.
  bool wait(double limit_s) const;
  /// Whether it threw. Seconds that it took. REQUIRES ended().
  bool failed() const;
  double seconds() const;
  /// Nothing is under way any more. Throws what the work threw. REQUIRES ended().
  void take();
  /// Leaves work under way to itself: it must own all that it uses. For a disk that does not
  /// answer.
  void abandon() { state_.reset(); }

 private:
  struct State;
  std::shared_ptr<State> state_;  // the thread's too
};

}  // namespace scorenet::checkpoint
