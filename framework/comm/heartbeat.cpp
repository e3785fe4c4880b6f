#include "framework/comm/heartbeat.hpp"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "framework/comm/end_of_mpi.hpp"
#include "framework/comm/mpi_detail.hpp"
#include "framework/core/error.hpp"
#include "framework/core/host_name.hpp"
#include "framework/core/stop_signal.hpp"

namespace scorenet::comm {
namespace {

/// What a rank says about itself. The wish to stop so reaches every rank within about two seconds,
/// also one that evaluates while the others wait.
struct Beat {
  int64_t leaving = 0;
  int64_t step = -1;
  int64_t operations = 0;
  int64_t phase = 0;
  int64_t stop = 0;  // it, or a rank that it hears, was told to stop
};
constexpr int kWords = 5;

/// One peer as this rank sees it.
struct Peer {
  int rank = 0;
  Clock::time_point last_seen;
  Beat beat;      // the last one received
  Beat outgoing;  // must live until sent
  MPI_Request sending = MPI_REQUEST_NULL;
};

class MpiHeartbeat final : public Heartbeat {
 public:
  MpiHeartbeat(std::shared_ptr<const Vitals> vitals, std::shared_ptr<const FlightRecorder> recorder,
               const HeartbeatOptions& options)
      : vitals_(std::move(vitals)),
        recorder_(std::move(recorder)),
        options_(options),
        period_s_(std::min(1.0, options.limit_s / 10)),
        exceptions_at_start_(std::uncaught_exceptions()) {
    check(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), "MPI_Comm_dup for the heartbeat");
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
    gather_hosts();
    for (int r = 0; r < size_; ++r) {
      if (r != rank_ && (rank_ == 0 || r == 0)) {
        peers_.push_back({r, Clock::now(), {}, {}, MPI_REQUEST_NULL});
      }
    }
    thread_ = std::thread([this] { run(); });
  }

  ~MpiHeartbeat() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      take_leave_ = std::uncaught_exceptions() <= exceptions_at_start_;
    }
    changed_.notify_all();
    thread_.join();
    // Without leave the peers may be gone; freeing would wait for them.
    if (take_leave_) MPI_Comm_free(&comm_);
  }

 private:
  void gather_hosts() {
    using Name = std::array<char, 64>;
    Name mine{};
    std::snprintf(mine.data(), mine.size(), "%s", host_name().c_str());
    std::vector<Name> all(static_cast<size_t>(size_));
    check(MPI_Allgather(mine.data(), int(mine.size()), MPI_CHAR, all.data(), int(mine.size()),
                        MPI_CHAR, comm_),
          "MPI_Allgather of host names");
    for (const Name& name : all) hosts_.emplace_back(name.data());
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      lock.unlock();
      take_turn(false);
      lock.lock();
      changed_.wait_for(lock, std::chrono::duration<double>(period_s_), [this] { return stop_; });
    }
    lock.unlock();
    if (take_leave_) leave();
  }

  void take_turn(bool said_goodbye) {
    // I was the one that stood still: nobody else's silence means anything.
    const bool stood_still =
        seconds_since(last_turn_) > std::max(5 * period_s_, options_.limit_s / 2);
    last_turn_ = Clock::now();
    receive();
    for (Peer& peer : peers_) {
      if (stood_still) peer.last_seen = last_turn_;
      if (!said_goodbye) send(peer, false);
      check_alive(peer);
    }
  }

  void send(Peer& peer, bool leaving) {
    int sent = 0;
    MPI_Test(&peer.sending, &sent, MPI_STATUS_IGNORE);
    if (sent == 0) return;  // it does not read: it will be found silent
    peer.outgoing = {leaving ? 1 : 0, vitals_->step, vitals_->operations,
                     int64_t(vitals_->phase.load()), stop_asked() ? 1 : 0};
    MPI_Isend(&peer.outgoing, kWords, MPI_INT64_T, peer.rank, 0, comm_, &peer.sending);
  }

  void receive() {
    for (Peer& peer : peers_) {
      int here = 1;
      while (true) {
        MPI_Iprobe(peer.rank, 0, comm_, &here, MPI_STATUS_IGNORE);
        if (here == 0) break;
        MPI_Recv(&peer.beat, kWords, MPI_INT64_T, peer.rank, 0, comm_, MPI_STATUS_IGNORE);
        peer.last_seen = Clock::now();
        if (peer.beat.stop != 0) ask_to_stop();
      }
    }
  }

  void check_alive(const Peer& peer) {
    const double silent_s = seconds_since(peer.last_seen);
    if (peer.beat.leaving != 0 || silent_s < options_.limit_s) return;
    std::array<char, 512> text{};
    std::snprintf(
        text.data(), text.size(),
        "rank %d on %s is frozen or unreachable: no heartbeat for %.1f s (limit %g s). It was "
        "last in phase %s, step %lld, after %lld operations. Check that host; the same command "
        "resumes from the last checkpoint.",
        peer.rank, hosts_[size_t(peer.rank)].c_str(), silent_s, options_.limit_s,
        name(Phase(peer.beat.phase)), static_cast<long long>(peer.beat.step),
        static_cast<long long>(peer.beat.operations));
    if (options_.on_lost) {
      options_.on_lost(text.data());
      return;
    }
    // All ranks miss a lost rank zero at once; the first to speak ends the job.
    std::this_thread::sleep_for(std::chrono::duration<double>(0.1 * std::min(rank_, 20)));
    std::fprintf(stderr, "[rank %d %s] %s\n", rank_, hosts_[size_t(rank_)].c_str(), text.data());
    if (recorder_) recorder_->dump();
    std::fflush(nullptr);
    abort_mpi(int(ExitCode::communication));
  }

  /// Ranks say goodbye to rank zero and wait for its answer, which it gives when all have left.
  /// Who has not left still works, for as long as it likes, or is found silent.
  void leave() {
    if (rank_ != 0) say_goodbye();
    while (!all_left()) {
      receive();
      if (seconds_since(last_turn_) > period_s_) take_turn(rank_ != 0);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (rank_ == 0) say_goodbye();
  }

  void say_goodbye() {
    for (Peer& peer : peers_) {
      wait_until_sent(peer);
      send(peer, true);
      wait_until_sent(peer);
    }
  }

  /// A peer that no longer reads stops nobody: what waits for it next has a limit too.
  void wait_until_sent(Peer& peer) {
    const auto start = Clock::now();
    for (int sent = 0; sent == 0 && seconds_since(start) < options_.limit_s;) {
      MPI_Test(&peer.sending, &sent, MPI_STATUS_IGNORE);
    }
  }

  bool all_left() const {
    return std::all_of(peers_.begin(), peers_.end(),
                       [](const Peer& peer) { return peer.beat.leaving != 0; });
  }

  std::shared_ptr<const Vitals> vitals_;
  std::shared_ptr<const FlightRecorder> recorder_;
  HeartbeatOptions options_;
  double period_s_;
  int exceptions_at_start_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  std::vector<std::string> hosts_;
  std::vector<Peer> peers_;
  Clock::time_point last_turn_ = Clock::now();
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  bool take_leave_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Heartbeat> start_heartbeat(const MpiEnvironment& environment,
                                           std::shared_ptr<const Vitals> vitals,
                                           std::shared_ptr<const FlightRecorder> recorder,
                                           const HeartbeatOptions& options) {
  if (!(options.limit_s > 0)) {
    throw ConfigError("comm.heartbeat_limit_s = " + std::to_string(options.limit_s) +
                      ": must be > 0 (default 60).");
  }
  if (environment.size() == 1 || !environment.thread_multiple()) return nullptr;
  return std::make_unique<MpiHeartbeat>(std::move(vitals), std::move(recorder), options);
}

}  // namespace scorenet::comm
