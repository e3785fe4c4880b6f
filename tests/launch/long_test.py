#!/usr/bin/env python3
"""A long training that is disturbed again and again, and must end with the undisturbed run's bits.

    long_test.py PROGRAM [--minutes M] [--kills K] [--steps N] [--seed S] [--faults A,B,...]

    --minutes M   no fault is begun that would make it take longer; default 20
    --kills K     faults, spread over the steps; default 100
    --steps N     of the training, with a checkpoint every 20; default 2000
    --seed S      of the faults and their steps; default 1
    --faults A,B  of those below; default all that are possible here

A small network is trained by launch/train_mpirun.sh --restarts on 2, 4 or 1 ranks, with
comm.canonical. The script must go on by itself after
    rank      kill -9 of a rank
    crash     SIGSEGV in a rank
    start     kill -9 of a rank, and of another while they start again
    mpirun    kill -9 of mpirun
    freeze    SIGSTOP of a rank
    node      kill -9 of every process of one of two hosts, which stays away until the next fault
              (both are namespaces of this machine; a node of a Slurm job is lost in slurm_test)
What follows ends the script. The test calls it again with another rank count, as a scheduler would:
    stop      USR1 to the script
    script    kill -9 of the script
    disk      the run folder's disk is filled until the script has ended (a disk in memory; where it
              may not be mounted, a limit on the size of the ranks' files)

Prints a table, a line a fault. Exits with 0 only if the bits are equal, no process, temporary
folder or shared memory is left, no fault of the first kind cost more than 40 steps (those since the
last checkpoint was due, and those before, if it was still being written beside training), and stop
and script cost none.
"""

import argparse
import os
import random
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EVERY = 20  # steps between checkpoints
RANK_COUNTS = (2, 4, 1)  # of one call after the other
GOES_ON = ("rank", "crash", "start", "mpirun", "freeze", "node")
CALLED_AGAIN = {"stop": 75, "script": -signal.SIGKILL, "disk": 6}  # and how the script ends
# Steps lost at most, where that is not 2 * EVERY; a save that fails is noticed with the next one.
MOST_LOST = {"stop": 0, "script": 0, "disk": 3 * EVERY}
DISK_MB = 512
LIMIT_S = 120  # until the next finished step
CONFIG = """
[data]
path = "{folder}/data.h5"
[model]
type = "mlp"
[diffusion]
schedule = "vp_linear"
prediction = "eps"
loss = "simple"
[train]
batch_size = 128
steps = {steps}
warmup_steps = 4
learning_rate = 1e-3
[ema]
decays = [0.9]
[checkpoint]
every = {every}
[comm]
canonical = true
heartbeat_limit_s = 5
straggler_excess = 0
[eval]
every = 0
[run]
tick = 1
threads = 1
"""


def processes(matches):
    """Numbers of those whose words (command line) and environment match."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        if matches(words, environment):
            found.append(int(folder.name))
    return sorted(found)


def end(number, how=signal.SIGKILL):
    try:
        os.kill(number, how)
    except ProcessLookupError:
        pass


def wait_for(condition, what, limit_s=LIMIT_S):
    limit = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > limit:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(0.01)
    return value


class Hosts:
    """The two of tests/support/hosts.sh."""

    def __init__(self, folder):
        self.folder = folder
        self.suffix = str(os.getpid())
        self.away = None
        self.possible = self.call(f"hosts_start '{folder}'")

    def call(self, command):
        script = f"source '{ROOT}/tests/support/hosts.sh'; hosts_folder='{self.folder}'; {command}"
        environment = dict(os.environ, hosts_suffix=self.suffix)
        return subprocess.run(["bash", "-c", script], env=environment).returncode == 0

    def look(self, ranks):
        """Which of them have ranks."""
        mark = f"SCORENET_HOST=first{self.suffix}".encode()
        on_first = set(ranks) & set(processes(lambda words, environment: mark in environment))
        self.busy = ["first"] * bool(on_first) + ["second"] * bool(set(ranks) - on_first)

    def kill_one(self, chance):
        self.away = chance.choice(self.busy)
        self.call(f"hosts_kill {self.away}")

    def heal(self):
        if self.away:
            self.call(f"hosts_heal {self.away}")
        self.away = None


class Disk:
    """In memory, mounted at a new folder if that is allowed."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "scorenet_long", str(folder)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.mounted = subprocess.run(mount, check=False, **quiet).returncode == 0
        self.filler = folder / "filler"

    def fill(self):
        with open(self.filler, "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(1 << 16))
            except OSError:  # full
                pass

    def clear(self):
        self.filler.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=False)


class Training:
    """One run folder, trained by the script, which is called as often as it must be."""

    def __init__(self, folder, program, chance, hosts, disk):
        self.folder, self.program, self.chance, self.hosts = folder, program, chance, hosts
        self.disk = disk
        self.outdir = str(folder / "disturbed")
        self.log = folder / "disturbed/log.txt"
        self.said = folder / "said"
        self.scripts = []

    def call(self):
        words = [str(ROOT / "launch/train_mpirun.sh"), "--restarts", "10", "--outdir", self.outdir]
        words += ["--config", str(self.folder / "long.toml")]
        words += ["--ranks", str(RANK_COUNTS[len(self.scripts) % 3])]
        environment = dict(os.environ, SCORENET=self.program)
        if self.hosts:
            words += ["--hostfile", str(self.hosts.folder / "file")]
            environment["OMPI_MCA_plm_rsh_agent"] = str(self.hosts.folder / "agent")
        with open(self.said, "a") as said:
            self.scripts.append(
                subprocess.Popen(
                    words,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
            )

    def ended(self):
        return self.scripts[-1].poll() is not None

    def ranks(self):
        return processes(lambda w, _: w[:2] == [self.program, "train"] and self.outdir in w)

    def look(self):
        """Before the fault: to look through all processes takes the time of several steps."""
        self.known = self.ranks()
        self.mpirun = processes(lambda w, _: w[0] == "mpirun" and self.outdir in w)
        if self.hosts:
            self.hosts.look(self.known)

    def text(self, offset):
        """Of the log, from there on."""
        if not self.log.exists():
            return ""
        with open(self.log, "rb") as log:
            log.seek(max(0, offset))
            return log.read().decode(errors="replace")

    def size(self):
        return self.log.stat().st_size if self.log.exists() else 0

    def step(self):
        return last_step(self.text(self.size() - 4000))

    def taken_up(self, offset):
        """(last step before it, where it was taken up) by the first start after `offset` that
        finished a step; None as long as there is none."""
        before = self.text(0)[: len(self.text(0)) - len(self.text(offset))]
        for start in re.finditer(r"^duration .*\n", self.text(offset), re.M):
            after = self.text(offset)[start.end() :]
            if not re.search(r"^(step \d+  kimg|done;)", after.split("\nduration ")[0], re.M):
                continue
            resumed = re.search(r"resumed at step (\d+)", start[0])
            died = last_step(before + self.text(offset)[: start.start()])
            return died, int(resumed[1]) if resumed else 0
        return None

    # --- Faults.

    def one_rank(self):
        return self.chance.choice(self.known)

    def kill_while_starting(self):
        old = self.known
        end(self.one_rank())
        self.known = wait_for(lambda: sorted(set(self.ranks()) - set(old)), "ranks that start")
        time.sleep(self.chance.uniform(0, 1.5))
        end(self.one_rank())

    def limit_files(self):
        """To a little more than the largest log: a checkpoint's files are larger, at first."""
        largest = max(p.stat().st_size for p in self.log.parent.iterdir() if p.is_file())
        for rank in self.known:
            hard = resource.prlimit(rank, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(rank, resource.RLIMIT_FSIZE, (largest + 32768, hard))

    def inject(self, kind):
        script = self.scripts[-1].pid
        if kind == "rank":
            end(self.one_rank())
        elif kind == "crash":
            end(self.one_rank(), signal.SIGSEGV)
        elif kind == "freeze":
            end(self.one_rank(), signal.SIGSTOP)
        elif kind == "start":
            self.kill_while_starting()
        elif kind == "mpirun":
            end(self.mpirun[0])
        elif kind == "node":
            self.hosts.kill_one(self.chance)
        elif kind == "disk" and self.disk.mounted:
            self.disk.fill()
        elif kind == "disk":
            self.limit_files()
        else:
            end(script, signal.SIGUSR1 if kind == "stop" else signal.SIGKILL)

    def call_again(self, kind):
        """False if the training had ended before it heard of the fault."""
        script = self.scripts[-1]
        wait_for(self.ended, f"the script's end after {kind}")
        wait_for(lambda: not self.ranks(), f"the ranks' end after {kind}")
        if script.returncode == 0:
            return False
        if script.returncode != CALLED_AGAIN[kind]:
            raise RuntimeError(f"after {kind} the script ended with {script.returncode}")
        self.disk.clear()
        self.call()
        return True


def last_step(text):
    steps = re.findall(r"^step (\d+)  kimg", text, re.M)
    return int(steps[-1]) if steps else 0


class Row:
    HEAD = "  nr  fault    ranks  at step  from step  steps lost  s to next step  ranks then"

    def __init__(self, kind, ranks):
        self.kind, self.ranks = kind, ranks

    def __str__(self):
        return (
            f"{self.number:4}  {self.kind:7}  {self.ranks:5}  {self.died:7}  {self.resumed:9}  "
            f"{self.died - self.resumed:10}  {self.seconds:14.1f}  {self.ranks_then:10}"
        )


def disturb(training, kind, step, chance):
    """The fault's row, at this step or later; None if the training ended before."""
    training.look()
    if kind == "freeze" and len(training.known) == 1:
        kind = "rank"  # nobody is there to miss it
    row = Row(kind, len(training.known))
    if training.hosts:
        training.hosts.heal()
    wait_for(lambda: training.step() >= step or training.ended(), f"step {step}", 600)
    time.sleep(chance.uniform(0, 0.05))  # anywhere in a step or a save
    if training.ended():
        return None
    offset, then = training.size(), time.monotonic()
    training.inject(kind)
    if kind == "start":
        offset, then = training.size(), time.monotonic()
    if kind in CALLED_AGAIN:
        if not training.call_again(kind):
            return None
        then = time.monotonic() if kind == "disk" else then
    finished = lambda: training.taken_up(offset) or (training.ended() and "ended")
    found = wait_for(finished, f"a step after {kind}")
    if found == "ended":
        if training.scripts[-1].returncode == 0:
            return None
        raise RuntimeError(f"after {kind} the script gave up: {training.scripts[-1].returncode}")
    row.seconds = time.monotonic() - then
    row.died, row.resumed = found
    row.ranks_then = len(training.ranks())
    return row


def planned(options, kinds, chance):
    """(step, kind), by step: one anywhere in each of equal parts, each kind as often as the
    others."""
    part = (options.steps - EVERY) / options.kills
    steps = [1 + int(part * (i + chance.random())) for i in range(options.kills)]
    each = [kinds[i % len(kinds)] for i in range(options.kills)]
    chance.shuffle(each)
    return list(zip(steps, each))


def run_disturbed(training, plan, options, chance, per_step_s, deadline):
    """Yields the rows. A fault comes at its step, or some steps after the one before."""
    number = 0
    training.call()
    wait_for(training.step, "the first step")
    for step, kind in plan:
        step = max(step, training.step() + chance.randrange(EVERY))
        left_s = 3 * per_step_s * (options.steps - step) + 30
        if training.ended() or time.monotonic() + left_s > deadline:
            break
        row = disturb(training, kind, step, chance)
        if row is None:
            break
        row.number = number = number + 1
        yield row
    wait_for(training.ended, "the end of the training", 600)


def different_files(folder, steps):
    name = f"checkpoints/{steps:07}"
    return [
        file
        for file in ("model", "ema", "optimizer")
        if (folder / f"undisturbed/{name}/{file}.safetensors").read_bytes()
        != (folder / f"disturbed/{name}/{file}.safetensors").read_bytes()
    ]


def leftovers(training):
    found = [f"process {p}" for p in processes(lambda w, _: training.outdir in w)]
    found += [str(path) for path in (training.folder / "tmp").iterdir()]
    for script in training.scripts:
        found += [str(p) for p in Path("/dev/shm").glob(f"scorenet-job-*-{script.pid}")]
    host = f"*{training.hosts.suffix}" if training.hosts else "no-host"
    return found + [str(path) for path in Path("/dev/shm").glob(f"vader_segment.{host}.*")]


def faults_of_result(training, rows, options):
    """Sentences on what does not hold."""
    code = training.scripts[-1].returncode
    if code != 0:
        yield f"the script ended with {code}: see its words above"
        return
    if not rows:
        yield "not one fault was made: --minutes is too short here"
    for file in different_files(training.folder, options.steps):
        yield f"{file}.safetensors differs from the undisturbed run's"
    for row in rows:
        allowed = MOST_LOST.get(row.kind, 2 * EVERY)
        if row.died - row.resumed > allowed:
            yield f"fault {row.number} cost {row.died - row.resumed} steps, allowed are {allowed}"
    calls = 1 + sum(row.kind in CALLED_AGAIN for row in rows)
    if len(training.scripts) != calls:
        yield f"the script was called {len(training.scripts)} times, expected {calls}"
    yield from (f"left behind: {what}" for what in leftovers(training))


def summary(training, rows, options, seconds):
    kills = [row for row in rows if row.kind in GOES_ON]
    lost = [row.died - row.resumed for row in kills]
    waits = [row.seconds for row in kills]
    said = training.said.read_text(errors="replace")
    restarts = len(re.findall(r"^\[train_mpirun.sh\] restart ", said, re.M))
    print(f"{len(rows)} faults in {options.steps} steps, {seconds:.0f} s; {restarts} restarts")
    if kills:
        print(f"from {len(kills)} of them the script went on by itself")
        print(
            f"steps lost: at most {max(lost)}, median {statistics.median(lost):g}, more "
            f"than {EVERY} in {sum(n > EVERY for n in lost)} of them"
        )
        print(
            f"seconds to the next finished step: median {statistics.median(waits):.1f}, longest "
            f"{max(waits):.1f}"
        )
    again = len(rows) - len(kills)
    print(f"the script was called {len(training.scripts)} times, {again} of them after its end")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"long_test: {message}; see --help\n")


def parse():
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", default=",".join([*GOES_ON, *CALLED_AGAIN]))
    options = parser.parse_args()
    options.faults = options.faults.split(",")
    unknown = set(options.faults) - {*GOES_ON, *CALLED_AGAIN}
    if unknown:
        parser.error(f"--faults: no fault is called {', '.join(sorted(unknown))}")
    if options.steps % EVERY or not 0 < options.kills < options.steps - EVERY:
        parser.error(f"--steps: a multiple of {EVERY}, and more by {EVERY} than --kills, above 0")
    return options


def prepare(folder, program, options):
    """The data, the config and the undisturbed run; its seconds a step."""
    os.environ.update(TMPDIR=str(folder / "tmp"), OMP_NUM_THREADS="1")
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    (folder / "tmp").mkdir()
    sizes = ["--train", "2048", "--validation", "16", "--test", "16", "--out", folder / "data.h5"]
    make = [program, "data", "synthesize", "--kind", "swiss-roll", *sizes]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    config = CONFIG.format(folder=folder, steps=options.steps, every=EVERY)
    (folder / "long.toml").write_text(config)
    train = [program, "train", folder / "long.toml", "--outdir", folder / "undisturbed"]
    then = time.monotonic()
    subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
    return (time.monotonic() - then) / options.steps


def test(folder, disk, options):
    begin = time.monotonic()
    program = os.path.realpath(options.program)
    per_step_s = prepare(folder, program, options)
    chance = random.Random(options.seed)
    hosts = Hosts(folder / "hosts") if "node" in options.faults else None
    if hosts and not hosts.possible:
        print("no fault of a node: namespaces are not allowed here")
        options.faults.remove("node")
        hosts = None
    if "disk" in options.faults and not disk.mounted:
        print("no disk may be mounted here: disk limits the size of files")
    training = Training(folder, program, chance, hosts, disk)
    print(Row.HEAD)
    rows, wrong = [], []
    try:
        plan = planned(options, options.faults, chance)
        deadline = begin + 60 * options.minutes
        for row in run_disturbed(training, plan, options, chance, per_step_s, deadline):
            rows.append(row)
            print(row, flush=True)
    except (TimeoutError, RuntimeError) as error:
        wrong = [str(error)]
    finally:
        wrong = wrong or list(faults_of_result(training, rows, options))
        for number in processes(lambda w, _: training.outdir in w):
            end(number)
    if wrong:
        print(training.said.read_text(errors="replace")[-6000:])
    summary(training, rows, options, time.monotonic() - begin)
    for sentence in wrong:
        print("FAILED:", sentence)
    if not wrong:
        print("ok: the weights are the undisturbed run's, bit for bit; nothing is left behind")
    return 1 if wrong else 0


def main():
    options = parse()
    # The disk before the hosts, which see what is mounted when they begin.
    with (
        tempfile.TemporaryDirectory(prefix="scorenet_long_") as folder,
        Disk(Path(folder) / "disturbed") as disk,
    ):
        return test(Path(folder), disk, options)


if __name__ == "__main__":
    sys.exit(main())
