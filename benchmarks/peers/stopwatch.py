"""Times of a repeated piece of work: the device's own between the pieces, the wall's over all of
them. A budget of time ends warming up, compiling included, and timing."""

import contextlib
import fcntl
import signal
import time

import torch


class OutOfTime(BaseException):
    """Not an Exception: torch.compile would take one for a failure of its back end."""


class Budget:
    """What is left of `seconds` since now; 0 or less: no end."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds if seconds > 0 else None

    def left(self):
        return float("inf") if self.end is None else self.end - time.monotonic()

    @contextlib.contextmanager
    def interrupts(self):
        """Raises OutOfTime within, wherever that is, once the time is over."""
        if self.end is None:
            yield
            return
        if self.left() <= 0:
            raise OutOfTime

        def stop(_number, _frame):
            raise OutOfTime

        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, self.left())
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def alone(path):
    """Holds the lock of this file, as flock(1) does; without a path: at once. So several programs
    compile side by side and are timed one after the other."""
    if not path:
        yield
        return
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Marks:
    """Moments on the device: CUDA events, or the clock where the CPU computes."""

    def __init__(self, device):
        self.device = device
        self.marks = []

    def mark(self):
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def intervals_ms(self):
        """To be asked after a synchronisation."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        if self.device.type == "cuda":
            return [a.elapsed_time(b) for a, b in pairs]
        return [1e3 * (b - a) for a, b in pairs]


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def quantile(values, q):
    return sorted(values)[min(int(q * len(values)), len(values) - 1)]


def timed(work, count, device, budget, result):
    """The times between `count` calls, in ms, and the wall's over all of them, in seconds."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    marks = Marks(device)
    start = time.perf_counter()
    marks.mark()
    for _ in range(count):
        work()
        marks.mark()
        if budget.left() <= 0:
            result["stopped"] = "out of time while timing"
            break
    synchronize(device)
    return marks.intervals_ms(), time.perf_counter() - start


def measure(work, images, count, warmup, device, budget, lock=None):
    """Calls `work` warmup + count times, `images` images each, until the budget ends; the `count`
    calls while it holds the lock of that file. Returns what a line of results says."""
    result = {}
    start = time.perf_counter()
    done = 0
    try:
        with budget.interrupts():
            for _ in range(warmup):
                work()
                done += 1
            synchronize(device)
    except OutOfTime:
        result["stopped"] = (
            f"out of time after {done} of {warmup} calls to warm up, compiling included"
        )
        result["warmup_s"] = round(time.perf_counter() - start, 2)
        return result
    result["warmup_s"] = round(time.perf_counter() - start, 2)
    with alone(lock):
        times, wall = timed(work, count, device, budget, result)
    result |= {
        "steps": len(times),
        "median_ms": round(quantile(times, 0.5), 3),
        "p10_ms": round(quantile(times, 0.1), 3),
        "p90_ms": round(quantile(times, 0.9), 3),
        "images_per_s": round(images * len(times) / wall, 1),
    }
    if device.type == "cuda":
        # What graphs keep for themselves shows in the second alone.
        result["peak_memory_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
        result["peak_reserved_mib"] = round(torch.cuda.max_memory_reserved(device) / 2**20)
    return result
