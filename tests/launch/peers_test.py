#!/usr/bin/env python3
"""The tables of benchmarks/peers/cpu, from figures that are made up: ratios, rounds, what fails,
what is interrupted and goes on. No peer is needed.

    peers_test.py      exit 0 if all hold, 1 if not
"""

import sys
import tempfile
import types
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks/peers/cpu"))

import results  # noqa: E402
import runs  # noqa: E402
import session  # noqa: E402
import sides  # noqa: E402
import size_files  # noqa: E402

HEAD = {"CPU": "a CPU, 2 cores", "limit": "none", "load": "0.1"}


class Folder(unittest.TestCase):
    def setUp(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)

    def results(self, resume=False, **head):
        made = results.Results(self.folder, resume)
        self.assertIsNone(made.add_head(HEAD | head))
        return made


class Tables(Folder):
    def test_ratios_are_of_medians(self):
        made = self.results()
        for side, values in (("ours bf16", (400, 300, 350)), ("peer eager", (100, 70, 140))):
            for value in values:
                made.add({"what": "step-small", "side": side, "images_per_s": value})
        made.add({"what": "step-small", "side": "ours fp32", "images_per_s": 150, "peak_mib": 99.6})
        text = results.write(made, self.folder)
        self.assertIn("| peer eager | 100.0 (70.0 to 140.0) | 3.50 | 1.50 |  |  |", text)
        self.assertIn("| ours bf16 | 350.0 (300.0 to 400.0) |  | 0.43 |  |  |", text)
        self.assertIn("| ours fp32 | 150.0 (150.0 to 150.0) | 2.33 |  | 100 |  |", text)
        self.assertEqual((self.folder / "table.md").read_text(), text)

    def test_two_ranks_over_twice_one(self):
        made = self.results()
        for ranks, rate in (("1 rank", 100), ("2 ranks", 196)):
            side = f"ours fp32, {ranks}"
            made.add({"what": "scaling-small", "side": side, "images_per_s": rate})
        text = results.table(made)
        self.assertIn("| scaling-small | ours fp32 | 100.0 | 196.0 | 0.980 |", text)
        self.assertNotIn("to 196", text)

    def test_parts_of_a_step(self):
        phases = {"data": 0.01, "forward": 0.3, "backward": 0.5, "update": 0.04, "other": 0.02}
        tick = {"images_per_sec": 64.0, "phase_sec": phases | {"communication": 0.1}}
        found = sides.shares([tick], 64)  # a second: 0.06 of it are data, other and the loop
        self.assertAlmostEqual(found["outside_share"], 0.06)
        self.assertAlmostEqual(found["communication_share"], 0.1)

    def test_sizes_become_a_table_a_csv_and_a_plot(self):
        made = self.results()
        for size in size_files.PANELS[1].sizes:
            for side, rate in (("ours bf16", 300), ("peer eager", 100)):
                line = {"what": size.name(), "side": side, "images_per_s": rate}
                made.add(line)
        text = size_files.write(made, self.folder)
        self.assertIn("| 32-64-64 | 64x64 | 32 | 2 | 300.0 | 100.0 | 3.00 |", text)
        rows = (self.folder / "sizes.csv").read_text().splitlines()
        self.assertIn("32-64-64,64,32,2,peer eager,100.0,100.0,100.0,1", rows)
        self.assertEqual(len(rows), 1 + 2 * 4)
        plot = self.folder / "speed_against_size.svg"
        if "No plot" not in text:
            self.assertIn("PyTorch and diffusers, fp32, eager", plot.read_text())


class Rounds(Folder):
    """A session without its programs."""

    def session(self, resume=False, rounds=2):
        made = session.Session.__new__(session.Session)
        made.options = types.SimpleNamespace(rounds=rounds)
        made.results, made.failed = self.results(resume), set()
        made.write = lambda done: results.write(done, self.folder)
        return made

    def measured(self, made, side, figure):
        made.measure("heun", side, types.SimpleNamespace(command="command"), figure)

    def test_what_is_there_is_not_measured_again(self):
        calls = []

        def figure():
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return {"images_per_s": 10.0}

        def both(made):
            for side in ("ours fp32", "peer eager"):
                self.measured(made, side, figure)

        first = self.session()
        self.assertEqual(first.run(lambda: both(first)), 130)
        self.assertIn("| heun | peer eager | 10.0", (self.folder / "table.md").read_text())
        then = self.session(resume=True)
        self.assertEqual(then.run(lambda: both(then)), 0)
        self.assertEqual(len(calls), 5)  # two, the one cut off, and the second round's two
        self.assertEqual(then.results.count("heun", "peer eager"), 2)

    def test_a_failure_is_told_and_loses_nothing(self):
        calls = []

        def fails():
            calls.append(1)
            raise runs.Failure("exit code 1: no compiler")

        made = self.session()
        made.run(lambda: [self.measured(made, "ours", lambda: {"images_per_s": 5.0}),
                          self.measured(made, "peer", fails)])  # fmt: skip
        self.assertEqual(len(calls), 1)
        text = (self.folder / "table.md").read_text()
        self.assertIn("- heun, peer: exit code 1: no compiler", text)
        self.assertIn("| heun | ours | 5.0", text)

    def test_machines_and_limits_are_not_mixed(self):
        self.results()
        for other in ({"CPU": "another"}, {"limit": "both sides limited to AVX2"}):
            made = results.Results(self.folder, resume=True)
            self.assertIn("a CPU, 2 cores" if "CPU" in other else "none",
                          made.add_head(HEAD | other))  # fmt: skip
        later = self.results(resume=True, load="3.0")
        self.assertIn("continued with load: 3.0", results.table(later))


class Commands(unittest.TestCase):
    def run_python(self, program, patience=60):
        return runs.run([sys.executable, "-c", program], runs.environment("avx2"), patience)

    def test_memory_is_that_of_the_largest_process(self):
        start = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
        child = start.format("b = b'x' * (300 << 20)")
        self.assertLess(self.run_python("pass").peak_mib, 200)
        self.assertGreater(self.run_python(child).peak_mib, 300)

    def test_a_limit_reaches_the_program(self):
        said = self.run_python("import os; print(os.environ['ATEN_CPU_CAPABILITY'])")
        self.assertEqual(said.printed, "avx2\n")

    def test_failures_say_why(self):
        with self.assertRaisesRegex(runs.Failure, "exit code 3: because"):
            self.run_python("import sys; print('because', file=sys.stderr); sys.exit(3)")
        with self.assertRaisesRegex(runs.Failure, "no end within 0.5 s"):
            self.run_python("import time; time.sleep(60)", patience=0.5)


if __name__ == "__main__":
    unittest.main()
