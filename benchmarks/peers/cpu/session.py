"""What compare and sizes share: options, and rounds of measurements that may be interrupted, fail
in part and go on later."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import machine
import results
import runs
from sides import MODES, Ours, Peer


def words(text):
    return text.split(",")


def modes(text):
    for mode in words(text):
        if mode not in MODES:
            raise argparse.ArgumentTypeError(f"{mode}: expected some of {', '.join(MODES)}")
    return words(text)


def parser_of(description, rounds):
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--build", type=Path, default=runs.ROOT / "build")
    parser.add_argument("--python", help="with torch, diffusers and h5py")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument(
        "--modes", type=modes, help=f"of the peer: {', '.join(MODES)}; default: its fastest"
    )
    parser.add_argument(
        "--precisions",
        type=words,
        default=["auto", "fp32"],
        help="of ours; auto: what train.precision = auto takes",
    )
    parser.add_argument(
        "--limit", choices=["avx2"], help="both sides use no more than these instructions"
    )
    parser.add_argument(
        "--resume", action="store_true", help="measure only what FOLDER's results.jsonl lacks"
    )
    parser.add_argument(
        "--patience", type=int, default=300, help="seconds until a run is ended and given up"
    )
    parser.add_argument("--quick", action="store_true", help="few steps: for trying")
    return parser


def parsed(parser):
    options = parser.parse_args()
    if not options.resume and (options.folder / "results.jsonl").exists():
        parser.error(f"{options.folder} has results; add --resume, or name another folder")
    options.folder, options.build = options.folder.resolve(), options.build.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    return options


def install(folder):
    python = folder / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        requirements = Path(__file__).resolve().parent / "requirements.txt"
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
    return str(python)


class Session:
    """options: as parsed. default_modes: of the peer; those in bf16 are left out where ours takes
    none, since without the instructions a step takes minutes. write: makes files of the results
    after each figure."""

    def __init__(self, options, default_modes, write):
        self.options, self.write = options, write
        python = options.python or install(options.folder)
        variables = runs.environment(options.limit)
        head, auto = machine.head(options.build, python, options.limit, variables)
        named = [auto if one == "auto" else one for one in options.precisions]
        self.precisions = list(dict.fromkeys(named))
        self.modes = options.modes or [
            mode for mode in default_modes if "bf16" not in mode or "bf16" in self.precisions
        ]
        self.results = results.Results(options.folder, options.resume)
        refusal = self.results.add_head(head)
        if refusal:
            sys.exit(refusal)
        print("\n".join(f"{name:6} {value}" for name, value in head.items()), flush=True)
        self.ours = Ours(options.build, options.folder, variables, options.patience)
        self.peer = Peer(python, variables, options.patience)
        self.failed = set()  # in this call: not tried again in its next rounds

    def measure(self, what, side, made_by, measure):
        """Nothing if this round's figure is there. measure: returns a line's figures."""
        if self.results.count(what, side) >= self.round or (what, side) in self.failed:
            return
        line = {"what": what, "side": side}
        try:
            line |= measure()
            said = f"{line['images_per_s']:10.1f} images/s"
        except runs.Failure as failure:
            line["failed"] = str(failure)
            self.failed.add((what, side))
            said = f"failed: {failure}"
        self.results.add(line | {"command": made_by.command})
        self.write(self.results)
        print(f"{what:16} {side:22} {said}", flush=True)

    def run(self, one_round):
        """Returns the exit code. A request to end is an interruption, too: what runs is ended."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            for self.round in range(1, self.options.rounds + 1):
                one_round()
        except KeyboardInterrupt:
            print("interrupted; --resume goes on from here", flush=True)
            return 130
        return 0
