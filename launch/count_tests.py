#!/usr/bin/env python3
"""Sum the test cases of a ctest run into one line: N passed, N failed, N skipped.

Reads ctest's log. A GoogleTest program counts by its cases; any other test, and a program that died
before it could say how it ended (crash, time limit), counts as one."""

import re
import sys


def count(log_path):
    passed = failed = skipped = 0
    with open(log_path, encoding="utf-8", errors="replace") as log:
        plain = re.sub(
            r"\x1b\[[0-9;]*m", "", log.read()
        )  # mpiexec gives its ranks a terminal, GoogleTest colours it
        tests = re.split(r"^-{58}\n(?=\d+/\d+ Test)", plain, flags=re.M)
    tests = re.split(r"^\d+/\d+ Testing: ", "\n".join(tests), flags=re.M)[1:]
    for text in tests:
        cases = [int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", text, flags=re.M)]
        bad = [
            int(n)
            for n in re.findall(r"^\[  FAILED  \] (\d+) tests?, listed below", text, flags=re.M)
        ]
        skip = [
            int(n)
            for n in re.findall(r"^\[  SKIPPED \] (\d+) tests?, listed below", text, flags=re.M)
        ]
        succeeded = re.search(r"^Test Passed\.", text, flags=re.M) is not None
        # A script that returned 77, or a program that found no device.
        if re.search(
            r"^Test Skipped|\*\*\*Skipped|^Skip regular expression found", text, flags=re.M
        ):
            skipped += 1
            continue
        if cases:
            passed += sum(cases)
            failed += sum(bad) if bad else (0 if succeeded else 1)
            skipped += sum(skip)
        elif succeeded:
            passed += 1
        else:
            failed += 1
    return passed, failed, skipped


if __name__ == "__main__":
    passed, failed, skipped = count(sys.argv[1])
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not passed else 0)
