"""Where and with what a table was measured."""

import datetime
import os
import re

import runs


def cpu_name():
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return os.uname().machine


def doctor(build, variables):
    """The lines of `scorenet doctor` by their first word."""
    said = runs.run([build / "bin/scorenet", "doctor"], variables, patience=60).printed
    return {line.split()[0]: " ".join(line.split()[1:]) for line in said.splitlines() if line}


def auto_precision(lines):
    return re.search(r"train\.precision = auto takes (\w+)", lines["precision"])[1]


def peer_versions(python, variables):
    names = ("torch", "diffusers", "h5py", "numpy")
    imports = f"import {', '.join(names)}; print(*(m.__version__ for m in ({', '.join(names)})))"
    versions = runs.run([python, "-c", imports], variables, patience=300).printed.split()
    return ", ".join(f"{name} {version}" for name, version in zip(names, versions, strict=True))


def head(build, python, limit, variables):
    """What stands above a table, as a dictionary of lines; and what train.precision = auto
    takes."""
    lines = doctor(build, variables)
    auto = auto_precision(lines)
    return {
        "CPU": f"{cpu_name()}, {os.cpu_count()} cores",
        "limit": f"both sides limited to {limit.upper()}" if limit else "none",
        "ours": f"scorenet {lines['scorenet']}, LibTorch {lines['LibTorch']}",
        "takes": f"U-Nets {lines['U-Nets']}; train.precision = auto: {auto}",
        "peer": peer_versions(python, variables),
        "load": f"{os.getloadavg()[0]:.2f} before the start",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }, auto
