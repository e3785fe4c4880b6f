"""One command at a time: what it printed, when it began, and the memory of its largest process."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


class Failure(Exception):
    """A command that did not come to its end; the sentence says why."""


@dataclasses.dataclass(frozen=True)
class Done:
    printed: str
    began: float  # seconds since 1970
    peak_mib: float  # resident memory of the largest process, at any time


def environment(limit=None):
    """One thread a process, and no more instructions than `limit` ("avx2") allows."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    variables |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    if limit == "avx2":
        variables |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
        variables |= {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    return variables


def run(command, variables, patience):
    """Waits `patience` seconds at most. Raises Failure."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.time()
        process = subprocess.Popen(
            words, env=variables, cwd=ROOT, stdout=out, stderr=err, start_new_session=True
        )
        try:
            status, usage = wait(process, began + patience)
        except BaseException:
            end(process)
            raise
        if status is None:
            raise Failure(f"no end within {patience} s")
        printed = text_of(out)
        if status != 0:
            said = (text_of(err).strip() or printed)[-500:]
            raise Failure(f"exit code {os.waitstatus_to_exitcode(status)}: {said}")
        return Done(printed, began, usage.ru_maxrss / 1024)


def text_of(file):
    file.seek(0)
    return file.read().decode(errors="replace")


def wait(process, until):
    """Its status and what it and its children used; (None, None) if it had to be ended."""
    while time.time() < until:
        # Unlike subprocess's own, this call tells the memory.
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return status, usage
        time.sleep(0.02)
    end(process)
    return None, None


def end(process):
    """mpirun ends its ranks when it is asked to; what does not end by itself is killed."""
    if process.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
