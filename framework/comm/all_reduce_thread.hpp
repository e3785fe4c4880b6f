// Large all-reduces on a thread of their own, with MPI's blocking call.
//
// Open MPI's non-blocking all-reduce advances only inside calls to MPI and takes about twice the
// time of the blocking one on large buffers (4.1, 64 MiB, two ranks of one machine). A thread gives
// the blocking one's speed, overlap with backward wherever a core is free, and a wait that can have
// a deadline. Before each operation the thread sleeps in short intervals until all ranks have
// started it, so it does not keep a core busy while another rank is still computing.
#pragma once

#include <mpi.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <thread>

namespace scorenet::comm {

/// All ranks meet here before an all-reduce. So no rank keeps its core busy inside the call while
/// another rank still computes.
class Arrival {
 public:
  /// This rank has arrived. Throws CommError if MPI refuses.
  explicit Arrival(MPI_Comm comm);
  /// Whether all ranks have arrived.
  bool is_complete();

 private:
  MPI_Request request_ = MPI_REQUEST_NULL;
};

/// The pause between two looks for the other ranks. Ranks that arrive together meet within some
/// microseconds. For later ones a pause of a quarter of the time waited so far loses little, and
/// leaves the core to the backward pass.
void nap_for_late_ranks(double waited_s);

class AllReduceThread {
 public:
  /// One operation; all members behind the thread's mutex.
  struct Task {
    std::function<void()> run;  // blocking MPI calls; throws CommError
    bool done = false;
    std::string error;  // what run() threw, or empty
  };

  /// comm: used by this thread alone; must outlive it. MPI must allow several threads.
  explicit AllReduceThread(MPI_Comm comm);
  /// Joins the thread. A thread that a lost rank keeps inside MPI is detached instead: the process
  /// is about to end.
  ~AllReduceThread();
  AllReduceThread(const AllReduceThread&) = delete;
  AllReduceThread& operator=(const AllReduceThread&) = delete;

  std::shared_ptr<Task> push(std::function<void()> run);
  /// Whether all pushed tasks are done: then another thread may use the communicator until
  /// the next push.
  bool is_idle() const;
  bool is_done(const Task& task) const;
  /// Waits for at most limit_s seconds; whether the task is done.
  bool wait(const Task& task, double limit_s) const;

 private:
  struct State {
    MPI_Comm comm = MPI_COMM_NULL;
    mutable std::mutex mutex;
    mutable std::condition_variable changed;
    std::queue<std::shared_ptr<Task>> tasks;
    bool stop = false;
  };
  static void run(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace scorenet::comm
