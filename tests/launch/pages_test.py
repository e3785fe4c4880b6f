#!/usr/bin/env python3
"""Every command of every page runs as it stands.

    pages_test.py PROGRAM      exit 0 if all hold, 1 if not

Commands are the lines of a page that are indented by four spaces or fenced; those of one block
share a shell, and all pages one folder that looks like the project's root. What a command needs
(images, a hostfile) the test puts there under the names that the pages use. What would take long is
made short on its way to the program: VALUES lists which values are replaced, train_keys what a
training is given besides; names of verbs, options and files reach the program as written. sbatch
and srun are stand-ins that start the script and one rank of the program at once. Commands of cmake
and ctest build the project, so of these only the names are looked up: options, targets, tests.
Names in `backticks` are looked up too: scripts, options, keys, files, tests and their cases; and so
are links. No page has a line over 160 columns but the rows of tables.
"""

import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "README.md",
    ".github/CONTRIBUTING.md",
    "launch/README.md",
    "launch/install.md",
    "launch/cluster.md",
    "launch/from_edm.md",
    "benchmarks/README.md",
    "framework/README.md",
    *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("framework/*/README.md")),
    "models/README.md",
    "models/cpu/README.md",
    "configs/README.md",
    *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("configs/*/README.md")),
]

# Commands that are not run, and why. What they start is shown to exist, and to explain itself.
NOT_RUN = {
    "./launch/quickstart": "builds the program; its own commands are those of the other pages",
    "./launch/run_tests": "runs this test",
    "./launch/long_test --minutes 20": "takes 20 minutes; short_long_test runs it with fewer steps",
    "configs/fashion_mnist/run": "takes a day",
    "configs/path_integral/run": "takes hours; with --help it is run",
    "./launch/setup --cuda": "fetches wheels",
    "./launch/format": "rewrites the sources",
    "./launch/format --check": "begins .ci/run",
    "./launch/tidy": "takes minutes",
    "./launch/sanitize address": "takes minutes",
    "./launch/sanitize thread framework/comm": "takes minutes",
    "./launch/fuzz": "takes minutes",
    "./launch/fuzz 600 npy picture": "takes minutes",
    "./launch/run_tests --long": "runs this test",
}
# Pages whose commands another test runs: of these the names are looked up.
RUN_ELSEWHERE = ["configs/sites/README.md"]  # sites_test.py
# Indented lines that are no commands.
TEXT = [r" <- ", r"/SPLIT/", r"this page \(Python"]
# Values that are replaced by cheap ones, by option.
VALUES = {
    "--n": "2",
    "--seeds": "0-3",
    "--grid": "2x2",
    "--steps": "4",
    "--batch": "2",
    "--wkb-profile": "2",
    "--train": "64",
    "--validation": "16",
    "--test": "16",
}
LIMIT_S = 200  # of a block; seconds where nothing else runs
FIRST_WORDS = (
    "scorenet",
    "build/bin/scorenet",
    "mpirun",
    "sbatch",
    "srun",
    "scontrol",
    "cmake",
    "ctest",
    "bash",
    "python3",
    "export",
    "mkdir",
)

WRAPPER = r'''#!/usr/bin/env python3
import os, sys
values = VALUES
given, words = sys.argv[1:], []
verb = given[0] if given else ""
for i, word in enumerate(given):
    before = given[i - 1] if i else ""
    words.append(values.get(before, word))
if verb == "train" and "--help" not in words:
    words += TRAIN_KEYS
    words += [] if "--model.channels" in words else ["--model.channels", "16,16,16"]
if verb == "evaluate" and "--help" not in words and "--n" not in words:
    words += ["--n", "2"]
for name in list(os.environ):
    if name.startswith("SLURM_"):
        del os.environ[name]
os.execv("PROGRAM", ["PROGRAM"] + words)
'''
TRAIN_KEYS = [
    "--train.steps",
    "4",
    "--train.duration_kimg",
    "0",
    "--train.batch_size",
    "16",
    "--train.warmup_steps",
    "1",
    "--train.lr_rampup_kimg",
    "-1",
    "--eval.every",
    "4",
    "--eval.n",
    "2",
    "--eval.samples",
    "0",
    "--checkpoint.every",
    "0",
    "--run.threads",
    "1",
    "--model.layers_per_block",
    "1",
    "--model.norm_groups",
    "8",
    "--model.attention_head_dim",
    "8",
]
SBATCH = r'''#!/usr/bin/env bash
# Options, then the script and its arguments: started here, as the job's first node would.
while [[ "$1" == --* ]]; do
  [[ "$1" == *=* ]] || { echo "sbatch: write $1=VALUE" >&2; exit 2; }
  shift
done
export SLURM_JOB_ID=1 SLURM_SUBMIT_DIR=$PWD SLURM_JOB_NODELIST=host SLURM_ARRAY_TASK_ID=0
exec bash "$@"
'''
SRUN = r'''#!/usr/bin/env bash
while [[ "$1" == --* ]]; do shift; done
exec "$@"
'''
TRAIN_MPIRUN = r'''#!/usr/bin/env bash
# As many ranks as this machine has patience for.
words=(); while [ $# -gt 0 ]; do
  if [ "$1" = --ranks ]; then words+=(--ranks 2); shift 2; else words+=("$1"); shift; fi
done
SCORENET=$PWD/build/bin/scorenet exec bash ROOT/launch/train_mpirun.sh "${words[@]}"
'''


def png(path, size, shade):
    rows = b"".join(
        b"\0" + bytes((shade + x + y) % 256 for x in range(size) for _ in range(3))
        for y in range(size)
    )

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def npy(path, shape, kind, body):
    sizes = ', '.join(map(str, shape))
    header = (
        f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sizes},), }}".ljust(117) + "\n"
    )
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body)


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def write_zip(folder):
    """As EDM's dataset_tool.py writes."""
    with zipfile.ZipFile(folder / "cifar10-32x32.zip", "w") as archive:
        names = [f"00000/img{i:08}.png" for i in range(40)]
        for i, name in enumerate(names):
            png(folder / "picture.png", 32, 5 * i)
            archive.write(folder / "picture.png", name)
        labels = [[name, i % 10] for i, name in enumerate(names)]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    (folder / "picture.png").unlink()


def prepare(folder, program):
    """A folder that looks like the project's root to whoever types a page's commands there."""
    for name in ("configs", "framework", "models", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "launch").mkdir()
    for path in (ROOT / "launch").iterdir():
        if path.name != "train_mpirun.sh":
            (folder / "launch" / path.name).symlink_to(path)
    executable(
        folder / "launch/train_mpirun.sh", TRAIN_MPIRUN.replace("ROOT", shlex.quote(str(ROOT)))
    )
    wrapper = (
        WRAPPER.replace("PROGRAM", str(program))
        .replace("TRAIN_KEYS", repr(TRAIN_KEYS))
        .replace("VALUES", repr(VALUES))
    )
    executable(folder / "build/bin/scorenet", wrapper)
    (folder / "bin").mkdir()
    (folder / "bin/scorenet").symlink_to(folder / "build/bin/scorenet")
    executable(folder / "bin/sbatch", SBATCH)
    executable(folder / "bin/srun", SRUN)
    executable(folder / "bin/scontrol", "#!/bin/sh\necho localhost\n")
    (folder / "hosts").write_text("localhost slots=2\n")
    for kind in ("cats", "dogs"):
        (folder / "photos" / kind).mkdir(parents=True)
        for i in range(20):
            png(folder / "photos" / kind / f"{i}.png", 16, 9 * i)
    npy(folder / "images.npy", (40, 1, 16, 16), "|u1", bytes(i % 251 for i in range(40 * 256)))
    npy(folder / "labels.npy", (40,), "<i8", b"".join(struct.pack("<q", i % 4) for i in range(40)))
    npy(folder / "colours.npy", (40, 3, 32, 32), "|u1", bytes(i % 253 for i in range(40 * 3072)))
    write_zip(folder)
    foreign = ROOT / "tests/launch/data/foreign/torchcfm.pt"  # told a flow's time, for points
    shutil.copy(foreign, folder / "net.pt")
    arrays = ("--npy", folder / "colours.npy", "--labels", folder / "labels.npy")
    converted = ("--validation", "8", "--out", folder / "cifar10.h5")
    make = [program, "data", "convert", *arrays, *converted]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)


def blocks(page):
    """Lists of lines: what stands indented by four spaces after an empty line, or between fences of
    no other language."""
    found, now, fenced, foreign, before = [], [], False, False, ""
    for line in (ROOT / page).read_text().splitlines() + [""]:
        if line.startswith("```"):
            fenced, foreign = not fenced, not fenced and line.strip("` ") not in ("", "bash", "sh")
        elif foreign:
            continue
        elif fenced or (line.startswith("    ") and (now or not before.strip())):
            now.append(line if fenced else line[4:])
        elif now and line.strip():
            found.append(now)
            now = []
        before = line
    return found + ([now] if now else [])


def commands(lines):
    """The block's lines as (line, is it a command), continued ones joined. What follows a # or two
    spaces is a remark."""
    joined = []
    for line in lines:
        if joined and joined[-1].endswith("\\"):
            joined[-1] = joined[-1][:-1].rstrip() + " " + line.strip()
        else:
            joined.append(line.strip())
    for line in joined:
        line = re.split(r"\s{2,}|\s+#", line)[0]
        if line and not line.startswith("#"):
            first = line.split()[0]
            yield line, bool(
                first in FIRST_WORDS or re.match(r"(\./)?(launch|configs)/|[A-Z_]+=", first)
            )


def wrong_build_names(command):
    """Names in a command of cmake or ctest that the project does not have."""
    lists = "\n".join(
        path.read_text()
        for path in [
            *ROOT.glob("*.txt"),
            *ROOT.glob("*/**/CMakeLists.txt"),
            *ROOT.glob("launch/cmake/*.cmake"),
        ]
        if "build" not in path.parts[len(ROOT.parts)]
    )
    for option in re.findall(r"-D((?:SCORENET|LIBTORCH)\w*)", command):
        if not re.search(rf"\b{option}\b", lists):
            yield f"{command}: no CMakeLists.txt has {option}"
    for target in re.findall(r"(?:--target|-R) (\w+)", command):
        if not re.search(rf"(_test|_library|_executable|NAME|ITEMS)[( ][^)]*\b{target}\b", lists):
            yield f"{command}: no target or test is called {target}"


def shown_to_exist(command):
    script = ROOT / command.split()[0]
    if not script.exists():
        return f"{script} is not there"
    done = subprocess.run(["bash", str(script), "--help"], capture_output=True, text=True)
    return (
        None if done.returncode == 0 and done.stdout else f"{script} --help: exit {done.returncode}"
    )


def environment_of(folder):
    """Of a page's commands, which run on one thread: the folder's programs come first."""
    environment = dict(
        os.environ,
        PATH=f"{folder}/bin:{os.environ['PATH']}",
        OMP_NUM_THREADS="1",
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    )
    environment.pop("SCORENET", None)
    return environment


def run_block(lines, folder, environment):
    script = "set -euo pipefail\n" + "\n".join(
        f"echo {shlex.quote('+ ' + line)} >&2\n{line}" for line in lines
    )
    # Output goes to a file: a pipe would be waited for as long as any process of the block lives.
    with tempfile.TemporaryFile("w+") as output:
        job = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = job.wait(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, signal.SIGTERM)
            code = 124
        output.seek(0)
        return code, output.read()


def known_names(program):
    """(options of all verbs and scripts, config keys) from the program's and the scripts' own
    help."""
    verbs = [
        "train",
        "evaluate",
        "sample",
        "plan",
        "info",
        "timeline",
        "doctor",
        "data convert",
        "data info",
        "data rechunk",
        "data synthesize",
        "ema reconstruct",
        "convert from-diffusers",
        "convert to-diffusers",
        "report",
        "completion",
        "man",
    ]
    text = ""
    for verb in verbs:
        text += subprocess.run(
            [program, *verb.split(), "--help"], capture_output=True, text=True
        ).stdout
    keys = set(re.findall(r"--([a-z]+\.[a-z0-9_]+)", text))
    for table, rows in re.findall(r"^\[(\w+)(?:\.NAME)?\]\n((?:  .*\n)+)", text, re.M):
        keys |= {f"{table}.{key}" for key in re.findall(r"^  ([a-z]\w*)(?:  |$)", rows, re.M)}
    for script in ROOT.glob("launch/*"):
        if script.is_file() and script.suffix not in (".cpp", ".hpp"):
            text += script.read_text()
    for pattern in ("configs/*/run", "benchmarks/peers/*/*"):
        for script in ROOT.glob(pattern):
            if script.suffix in ("", ".py"):
                text += script.read_text()
    return set(re.findall(r"--[a-z][a-z0-9-]*", text)), keys


# Options of other programs that the pages name.
FOREIGN = {
    *("--data", "--dest", "--ref", "--images", "--cond", "--duration", "--batch-gpu", "--lr"),
    *("--ls", "--ema", "--dropout", "--augment", "--xflip", "--precond", "--fp16", "--snap"),
    *("--dump", "--transfer", "--resume"),
    "--oversubscribe",
    "--bind-to",
    "--nodes",
    "--array",
    "--map-by",
    "--hostfile",
    "--logdir",
    "--gpus-per-node",
    "--target",
    "--ntasks-per-node",
    "--cpus-per-task",
    "--mpi",
    "--kill-on-bad-exit",
}


def wrong_names(page, options, keys):
    """Names in `backticks` outside blocks that nothing knows."""
    sections = {key.split(".")[0] for key in keys}
    for span in re.findall(r"`([^`\n]+)`", (ROOT / page).read_text()):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*(?![\w.-])", span):
            if option not in options | FOREIGN:
                yield f"`{span}`: no verb or script has {option}"
        for key in re.findall(r"(?<![\w./])([a-z]+\.[a-z0-9_]+)(?![\w/(.])", span):
            if (
                key.split(".")[0] in sections
                and key not in keys
                and not re.search(r"\.(h|c)pp$|\.md$|\.toml$|\.json|\.txt|\.safetensors$", key)
            ):
                yield f"`{span}`: no key is called {key}"
        for path in re.findall(
            r"(?<![\w/.-])(?:\./)?((?:framework|models|launch|configs|tests|benchmarks)/[\w./-]*)",
            span,
        ):
            if not (ROOT / path).exists() and not list(ROOT.glob(path.rstrip(".") + "*")):
                yield f"`{span}`: {path} is not there"


def wrong_tests(page):
    """Test programs in `backticks`, and the cases that are listed behind them, that do not
    exist."""
    for program, cases in re.findall(
        r"`(\w+_test)`((?:[\s,]+[A-Z][a-z]*[A-Z]\w+)*)", (ROOT / page).read_text()
    ):
        files = list(ROOT.glob(f"tests/**/{program}.*"))
        if not files:
            yield f"no test is called {program}"
        for case in re.findall(r"\w+", cases):
            if files and not any(
                re.search(rf"TEST\w*\(\w+,\s*{case}\)", file.read_text()) for file in files
            ):
                yield f"{program} has no case {case}"


def wrong_form(page):
    """Links that lead nowhere, and lines that are too wide."""
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", line):
            if not target.startswith("http") and not ((ROOT / page).parent / target).exists():
                yield f"line {number}: {target} is not there"
        # A row of a table is one line: broken, it would be two rows. README's still fit.
        if len(line) > 160 and not (line.startswith("|") and str(page) != "README.md"):
            yield f"line {number}: {len(line)} columns; at most 160"


def other_pages():
    """The project's pages whose commands are not run here; none in a copy without git."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True)
    return sorted(set(listed.stdout.split()) - set(PAGES))


def main():
    program = Path(sys.argv[1]).resolve()
    folder = Path(tempfile.mkdtemp(prefix="scorenet_pages_"))
    failures, ran, left_out = [], 0, 0
    environment = environment_of(folder)
    try:
        prepare(folder, program)
        options, keys = known_names(program)
        for page in other_pages():
            failures += [f"{page}: {problem}" for problem in wrong_form(page)]
        for page in PAGES:
            for problem in [
                *wrong_names(page, options, keys),
                *wrong_tests(page),
                *wrong_form(page),
            ]:
                failures.append(f"{page}: {problem}")
            for block in [] if page in RUN_ELSEWHERE else blocks(page):
                lines = []
                for command, is_command in commands(block):
                    bare = re.sub(r"\s*\[.*", "", command)
                    if bare in NOT_RUN:
                        left_out += 1
                        problem = shown_to_exist(bare)
                        failures += [f"{page}: {problem}"] if problem else []
                    elif command.split()[0] in ("cmake", "ctest"):
                        left_out += 1
                        failures += [f"{page}: {problem}" for problem in wrong_build_names(command)]
                    elif is_command:
                        lines.append(command)
                    elif not any(re.search(text, command) for text in TEXT):
                        failures.append(f"{page}: neither a command nor known text: {command}")
                if not lines:
                    continue
                code, output = run_block(lines, folder, environment)
                ran += len(lines)
                print(
                    f"{'ok' if code == 0 else 'FAILED'} {page}: {lines[0]}"
                    + (f" ... {len(lines)} commands" if len(lines) > 1 else ""),
                    flush=True,
                )
                if code != 0:
                    failures.append(f"{page}: exit {code}\n{output[-2500:]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{ran} commands ran, {left_out} left out, {len(failures)} failures")
    for failure in failures:
        print("FAILED " + failure)
    return 1 if failures or ran < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
