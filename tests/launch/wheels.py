"""Python packages that a test needs and the machine may not have."""

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = 77  # the exit code of a test that could not get its package


def find(package, version, *needs):
    """Whether `package` can be imported: the machine's own, else PyPI's of this version with the
    packages `needs` beside it, fetched into .deps/ on first use."""
    if importlib.util.find_spec(package):
        return True
    folder = ROOT / ".deps" / f"{package}-{version}"
    if not (folder / "complete").exists():
        fetched = subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:"]
            + ["--disable-pip-version-check", "--target", folder, f"{package}=={version}", *needs],
            check=False,
            timeout=300,
        )
        if fetched.returncode != 0:
            print(f"skipped: needs the Python package {package}, which could not be fetched")
            return False
        (folder / "complete").touch()
    sys.path.insert(0, str(folder))
    return True
