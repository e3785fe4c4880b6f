#!/usr/bin/env python3
"""scorenet report on real runs: the page is whole HTML that needs nothing else.

    report_test.py PROGRAM      exit 0 if all hold, 1 if not
"""

import html.parser
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cases
import tensorboard_test

PROGRAM = Path(sys.argv[1]).resolve()
# Elements of HTML and SVG that have no end tag.
VOID = {"meta", "img", "br", "col"}


class Page(html.parser.HTMLParser):
    """Elements and addresses of a page; a tag that is not closed is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.addresses, self.words = [], [], [], ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v]
        assert not [k for k, _ in attrs if k.startswith("on")], attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        self.words += data


def report(*words, code=0, path=None):
    environment = {**os.environ, **({"PATH": path} if path else {})}
    done = subprocess.run(
        [PROGRAM, "report", *words], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def page_of(file):
    page = Page(file.read_text())
    assert "script" not in page.names
    for address in page.addresses:
        assert address.startswith(("data:image/png;base64,", "#")), address[:80]
    return page


def test_a_run(runs, folder):
    out = folder / "a.html"
    warned = report(runs[0], "--out", out)
    page = page_of(out)
    for words in "unet", "elbo", "bits/dim", "forward", "LibTorch", "batch_size = 8", "the data":
        assert words in page.words, words
    assert "What could not be read" not in page.words
    assert page.names.count("img") == 3  # two evaluations, and the data
    if shutil.which("gnuplot"):
        assert not warned
        assert page.names.count("svg") == 7, page.names.count("svg")
    assert "exists" in report(runs[0], "--out", out, code=2)
    report(runs[0], "--out", out, "--force", "--title", "<b>T</b>")
    assert "<b>T</b>" in page_of(out).words


def test_two_runs(runs, folder):
    out = folder / "two.html"
    report(*runs, "--out", out)
    page = page_of(out)
    assert "Where the configs differ" in page.words
    assert page.words.count("diffusion.loss") == 1  # the only key that differs
    assert "train.batch_size" not in page.words


def test_without_gnuplot(runs, folder):
    out = folder / "plain.html"
    warned = report(runs[0], "--out", out, path="/nowhere")
    assert "apt-get install gnuplot-nox" in warned and warned.count("\n") == 1, warned
    page = page_of(out)
    assert "gnuplot was not found" in page.words and "svg" not in page.names
    assert "bits/dim" in page.words


def test_a_damaged_run(runs, folder):
    damaged = folder / "damaged"
    shutil.copytree(runs[0], damaged)
    for file in [p for p in damaged.rglob("*") if p.is_file() and "checkpoints" not in p.parts]:
        bytes_ = file.read_bytes()
        file.write_bytes(bytes_[: len(bytes_) // 2])
    out = folder / "damaged.html"
    report(damaged, "--out", out)
    page = page_of(out)
    assert "stats.jsonl: 1 line is not whole" in page.words
    assert "eval/eval-0000040.json is not a whole JSON object" in page.words


def test_what_is_no_run(runs, folder):
    del runs
    assert "is no folder" in report(folder / "none", "--out", folder / "x.html", code=2)
    assert not (folder / "x.html").exists()


def main():
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="scorenet-report-") as name:
        folder = Path(name)
        tensorboard_test.write_images(folder / "images.npy")
        runs = []
        for loss in "elbo", "simple":
            run = tensorboard_test.Run(PROGRAM, folder, loss, loss)
            run.train()
            runs.append(run.outdir)
        return cases.run(globals(), runs, folder)


if __name__ == "__main__":
    sys.exit(main())
