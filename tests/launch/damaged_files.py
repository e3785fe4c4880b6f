#!/usr/bin/env python3
"""Damaged files of every kind, given to the built program.

    damaged_files.py PROGRAM [FILES] [--seed N] [--jobs N] [--seconds S]

FILES: 3000 by default. --seconds: begin no other file after so long.

Each file is whole (tests/fuzz/corpus, or written here by the program) before it is changed by
chance, as the seed says. The program must then end by itself after PROCESSOR_S seconds of work
at most, with a documented exit code and a sentence that is no "internal error"; and where it ends
with 0 although the file has a checksum of its own, its numbers must be those of the whole file.
Ends with a table; exits 1 if one did not hold, and keeps those files in damaged-files/.
"""

import argparse
import io
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
LIMIT_S = 300  # on a machine that does much else
PROCESSOR_S = 30
MEMORY = 6 << 30
DOCUMENTED = {0, 2, 3, 4, 6}

TINY = """[data]
path = "{data}"
[model]
type = "mlp"
hidden = [8]
[train]
steps = {steps}
batch_size = 4
[eval]
every = 0
samples = 0
n = 2
[checkpoint]
every = 2
[run]
tick = 2
progress = "lines"
"""
VALUES = [
    "0",
    "-1",
    "1",
    "3",
    "1e9",
    "9223372036854775807",
    "nan",
    "inf",
    '""',
    '"abc"',
    "[]",
    "[0]",
    "[-1]",
    "[1, 1]",
    "true",
    "{}",
    '"none"',
    '"unet"',
    '"dit"',
    '"ve"',
    '"/dev/zero"',
    "0.5",
    "",
]
EDGES = [
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"9" * 20,
    b"-1",
    b"nan",
]


def changed_bytes(chance, data):
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if not data:
            break
        at, more = chance.randrange(len(data)), chance.randint(1, 16)
        kind = chance.randrange(7)
        if kind < 3:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 3:
            edge = chance.choice(EDGES)
            data[at : at + len(edge)] = edge
        elif kind == 4:
            del data[at : at + more]
        elif kind == 5:
            data[at:at] = data[at : at + more]
        elif chance.random() < 0.5:
            del data[at:]
        else:
            begin = chance.randrange(len(data))
            data[at : at + more] = data[begin : begin + more]
    return bytes(data)


def changed_text(chance, data):
    """A value of a `key = value` or `"key": value` replaced; at times any bytes."""
    if chance.random() < 0.3:
        return changed_bytes(chance, data)
    lines = data.decode(errors="replace").split("\n")
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        replaced, n = re.subn(
            r"([=:]\s*).*?(,?)$", lambda m: m[1] + chance.choice(VALUES) + m[2], lines[at]
        )
        if n:
            lines[at] = replaced
        elif chance.random() < 0.5:
            del lines[at]
            lines = lines or [""]
        else:
            lines.insert(at, chance.choice(lines))
    return "\n".join(lines).encode()


class Kind:
    """put: writes the changed bytes into a folder and returns the command's arguments.
    numbers: what must be as with the whole file where the command ends with 0; None: the format
    has no checksum."""

    def __init__(self, name, wholes, put, change=changed_bytes, numbers=None):
        self.name, self.wholes, self.put, self.change, self.numbers = (
            name,
            wholes,
            put,
            change,
            numbers,
        )
        self.answers = {}  # of whole files


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def start(program, arguments, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [program, *arguments],
            cwd=folder,
            capture_output=True,
            timeout=LIMIT_S,
            preexec_fn=limits,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")
    except subprocess.TimeoutExpired:
        return 124, b"", f"did not end within {LIMIT_S} s"


def corpus(name):
    return {p.name: p.read_bytes() for p in sorted((CORPUS / name).iterdir())}


def one_file(name, *arguments):
    def put(folder, data):
        (folder / name).write_bytes(data)
        return list(arguments)

    return put


def file_of(*parts):
    return lambda folder: (
        folder.joinpath(*parts).read_bytes() if folder.joinpath(*parts).exists() else b"absent"
    )


def idx_put(folder, data):
    names = [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ]
    chosen = data[0] % 4 if data else 0
    for at, name in enumerate(names):
        content = data[1:] if at == chosen else corpus("idx")[f"file{at}"][1:]
        name += ".gz" if content[:2] == b"\x1f\x8b" else ""
        (folder / name).write_bytes(content)
    return ["data", "convert", "--idx", ".", "--out", "out.h5", "--force"]


def picture_put(folder, data):
    (folder / "p/a").mkdir(parents=True)
    (folder / "p/a/x.png").write_bytes(data)
    (folder / "p/a/y.png").write_bytes(corpus("picture")["png_grey"])
    return ["data", "convert", "--folder", "p", "--validation", "0", "--out", "out.h5"]


def zip_of_pictures():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for at, method in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)):
            name = zipfile.ZipInfo(f"00000/img{at:08}.png")
            archive.writestr(name, corpus("picture")["png_grey"], method)
        labels = {"labels": [["00000/img00000000.png", 3], ["00000/img00000001.png", 0]]}
        archive.writestr(zipfile.ZipInfo("dataset.json"), json.dumps(labels))
    return {"two": packed.getvalue()}


def kinds(program, work):
    """The run, its data and the diffusers folder are made once, by the program."""
    (work / "points.npy").write_bytes(
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (12, 2), }".ljust(117)
        + b"\n"
        + b"".join(bytes([at, 0, 128, 63]) for at in range(24))
    )
    checked(
        program,
        work,
        "data",
        "convert",
        "--npy",
        "points.npy",
        "--validation",
        "4",
        "--out",
        "points.h5",
    )
    data = work / "points.h5"
    (work / "tiny.toml").write_text(TINY.format(data=data, steps=4))
    checked(program, work, "train", "tiny.toml", "--outdir", "run")
    snapshot = next((work / "run/snapshots").iterdir())
    (work / "unet.safetensors").write_bytes(corpus("snapshot")["unet"])
    checked(program, work, "convert", "to-diffusers", "unet.safetensors", "--outdir", "foreign")

    def resumed(part):
        def put(folder, content):
            shutil.copytree(work / "run", folder / "run")
            (folder / "run" / part).write_bytes(content)
            (folder / "tiny.toml").write_text(TINY.format(data=data, steps=6))
            return ["train", "tiny.toml", "--outdir", "run"]

        return put

    def foreign(part):
        def put(folder, content):
            shutil.copytree(work / "foreign", folder / "foreign")
            (folder / "foreign" / part).write_bytes(content)
            return ["convert", "from-diffusers", "foreign", "--out", "out.safetensors"]

        return put

    def mapped(folder, content):
        (folder / "map.toml").write_bytes(
            re.sub(rb'"[^"]*\.h5"', b'"' + str(data).encode() + b'"', content)
        )
        return ["train", "map.toml", "--outdir", "run", "--dry-run", "--train.steps", "1"]

    def whole_of(path):
        return {path.name: path.read_bytes()}

    last = file_of("run", "snapshots", snapshot.name.replace("0000004", "0000006"))
    step = work / "run/checkpoints/0000004"
    sample = [
        "sample",
        "--network",
        "x.safetensors",
        "--seeds",
        "0-1",
        "--steps",
        "2",
        "--outdir",
        "out",
        "--save-h5",
    ]
    all_kinds = [
        Kind(
            "snapshot",
            {**corpus("snapshot"), **whole_of(snapshot)},
            one_file("x.safetensors", *sample),
            numbers=file_of("out", "samples.h5"),
        ),
        Kind(
            "safetensors", corpus("safetensors"), one_file("x.safetensors", "info", "x.safetensors")
        ),
        Kind(
            "manifest",
            whole_of(step / "manifest.json"),
            resumed("checkpoints/0000004/manifest.json"),
            changed_text,
            last,
        ),
        Kind(
            "latest",
            whole_of(work / "run/checkpoints/latest"),
            resumed("checkpoints/latest"),
            numbers=last,
        ),
        Kind(
            "config",
            corpus("config"),
            one_file("x.toml", "train", "x.toml", "--outdir", "run", "--dry-run"),
            changed_text,
        ),
        Kind("data map", corpus("data_map"), mapped, changed_text),
        Kind("IDX", corpus("idx"), idx_put),
        Kind(
            "npy",
            corpus("npy"),
            one_file(
                "x.npy",
                "data",
                "convert",
                "--npy",
                "x.npy",
                "--channels-first",
                "--validation",
                "0",
                "--out",
                "out.h5",
            ),
        ),
        Kind("pictures", corpus("picture"), picture_put),
        Kind(
            "zip",
            zip_of_pictures(),
            one_file("x.zip", "data", "convert", "--zip", "x.zip", "--out", "out.h5"),
        ),
        Kind(
            "HDF5", {**corpus("hdf5"), **whole_of(data)}, one_file("x.h5", "data", "info", "x.h5")
        ),
        Kind(
            "diffusers",
            whole_of(work / "foreign/unet/config.json"),
            foreign("unet/config.json"),
            changed_text,
        ),
        Kind(
            "diffusers weights",
            whole_of(work / "foreign/unet/diffusion_pytorch_model.safetensors"),
            foreign("unet/diffusion_pytorch_model.safetensors"),
        ),
    ]
    for part in sorted(step.iterdir()):
        if part.name != "manifest.json":
            all_kinds.append(
                Kind(
                    "checkpoint",
                    whole_of(part),
                    resumed(f"checkpoints/0000004/{part.name}"),
                    numbers=last,
                )
            )
    for part in ("config.toml", "stats.jsonl"):
        all_kinds.append(
            Kind("run folder", whole_of(work / "run" / part), resumed(part), changed_text)
        )
    return all_kinds


def checked(program, work, *arguments):
    code, _, err = start(program, arguments, work)
    if code != 0:
        sys.exit(f"damaged_files.py: {' '.join(arguments)} ended with {code}: {err}")


def fault_of(kind, whole, code, err, folder):
    if code not in DOCUMENTED:
        return f"ended with {code}"
    if "internal error" in err:
        return "internal error"
    if code != 0 and not err.strip():
        return "no sentence"
    if code == 0 and kind.numbers and kind.numbers(folder) != kind.answers[whole]:
        return "another number"
    return ""


def try_one(program, work, kind, number, seed):
    chance = random.Random(f"{seed} {number}")
    whole = chance.choice(sorted(kind.wholes))
    content = kind.change(chance, kind.wholes[whole])
    folder = Path(tempfile.mkdtemp(dir=work))
    code, _, err = start(program, kind.put(folder, content), folder)
    fault = fault_of(kind, whole, code, err, folder)
    if fault:
        kept = Path("damaged-files") / f"{kind.name.replace(' ', '_')}-{seed}-{number}"
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(content)
        print(f"{kept}: {fault}: {err.strip()[:300]}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return kind.name, code, fault


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program")
    parser.add_argument("files", nargs="?", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1e9)
    asked = parser.parse_args()
    program = str(Path(asked.program).resolve())
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        work = Path(name)
        all_kinds = kinds(program, work)
        for kind in all_kinds:  # the numbers of the whole files
            for whole, content in kind.wholes.items():
                folder = Path(tempfile.mkdtemp(dir=work))
                code, _, err = start(program, kind.put(folder, content), folder)
                if kind.numbers:
                    kind.answers[whole] = kind.numbers(folder)
                    if kind.name != "snapshot" and (code != 0 or kind.answers[whole] == b"absent"):
                        sys.exit(
                            f"damaged_files.py: the whole {kind.name} {whole} is refused: {err}"
                        )
                shutil.rmtree(folder)
        end = time.monotonic() + asked.seconds

        def one(n):
            return (
                try_one(program, work, all_kinds[n % len(all_kinds)], n, asked.seed)
                if time.monotonic() < end
                else None
            )

        with ThreadPoolExecutor(asked.jobs) as pool:
            results = [result for result in pool.map(one, range(asked.files)) if result]
    print(
        f"{'kind':18} {'files':>6} {'taken':>6} "
        + " ".join(f"{'exit ' + str(c):>7}" for c in (2, 3, 4, 6))
        + f" {'faults':>7}"
    )
    for name in dict.fromkeys(kind.name for kind in all_kinds):
        codes = Counter(code for kind_name, code, _ in results if kind_name == name)
        faults = sum(bool(fault) for kind_name, _, fault in results if kind_name == name)
        print(
            f"{name:18} {sum(codes.values()):6} {codes[0]:6} "
            + " ".join(f"{codes[c]:7}" for c in (2, 3, 4, 6))
            + f" {faults:7}"
        )
    faults = sum(bool(fault) for *_, fault in results)
    print(f"{len(results)} files, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
