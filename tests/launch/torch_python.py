"""A Python that has PyTorch, for tests of the scripts that export networks."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = 77


def candidates():
    """This Python, the one in $TORCH_PYTHON, and that of the environment in which launch/setup
    found LibTorch."""
    yield sys.executable
    yield os.environ.get("TORCH_PYTHON", "")
    written = ROOT / ".deps/env.sh"
    for word in written.read_text().split() if written.exists() else ():
        name, _, folder = word.partition("=")
        if name == "SCORENET_LIBTORCH":  # ENVIRONMENT/lib/python3.11/site-packages/torch
            parents = Path(folder).parents
            yield str(parents[3] / "bin/python3") if len(parents) > 3 else ""


def imports(python, modules):
    done = subprocess.run(
        [python, "-c", f"import {', '.join(modules)}"],
        check=False,
        capture_output=True,
        timeout=120,
    )
    return done.returncode == 0


def run_with(*modules):
    """Goes on in the first Python that imports these modules; ends the test as skipped, with the
    reason, where there is none."""
    for python in candidates():
        if python and os.access(python, os.X_OK) and imports(python, modules):
            if python != sys.executable:
                os.execv(python, [python, *sys.argv])
            return
    print(f"skipped: no Python here imports {', '.join(modules)}. Name one in $TORCH_PYTHON")
    sys.exit(SKIPPED)
