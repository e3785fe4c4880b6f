#!/usr/bin/env python3
"""--help, man pages and completion of every verb: one source, so one test.

    help_test.py PROGRAM      exit 0 if all hold, 1 if not
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cases

PROGRAM = Path(sys.argv[1]).resolve()


def run(*words, columns=100, code=0):
    environment = {**os.environ, "COLUMNS": str(columns)}
    done = subprocess.run(
        [PROGRAM, *words], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == code, (words, done.returncode, done.stderr)
    return done.stdout + done.stderr


def rows_under(text, title):
    """Names of the rows of a section of --help."""
    block = re.search(rf"^{re.escape(title)}\n((?:  .*\n)+)", text, re.M)
    return re.findall(r"^  ([a-z][\w-]*)(?:  |$)", block[1], re.M) if block else []


def all_verbs():
    for verb in rows_under(run("--help"), "Verbs"):
        yield [verb]
        for part in rows_under(run(verb, "--help"), "Parts"):
            yield [verb, part]


def examples_in(text):
    block = re.search(r"^Examples\n((?:  .*\n)+)", text, re.M)
    return re.findall(r"^  (?!# )(.*)$", block[1], re.M) if block else []


VERBS = list(all_verbs())
HELP = {" ".join(verb): run(*verb, "--help") for verb in VERBS}


def test_there_are_the_verbs_that_users_rely_on():
    for verb in ["train", "evaluate", "sample", "data convert", "ema reconstruct", "info"]:
        assert verb in HELP, HELP.keys()


def test_every_verb_begins_with_three_examples():
    for verb, text in {**HELP, "": run("--help")}.items():
        lines = text.splitlines()
        before = lines[: lines.index("Examples")]
        assert not any(line.startswith(("Usage", "  -")) for line in before), text
        assert len(examples_in(text)) == 3, (verb, examples_in(text))


def test_examples_use_what_there_is():
    keys = set(re.findall(r"^\[(\w+)\]", HELP["train"], re.M))
    for verb, text in HELP.items():
        for example in examples_in(text):
            words = shlex.split(example.split(">")[0].replace('"$(', "").replace(')"', ""))
            if "scorenet" not in words:
                continue
            words = words[words.index("scorenet") + 1 :]
            of = " ".join(words[:2]) if " ".join(words[:2]) in HELP else words[0]
            assert of in HELP, (verb, example)
            for option in [w for w in words if w.startswith("--")]:
                table = option[2:].split(".")[0]
                known = table in keys if "." in option else option in HELP[of]
                assert known, (verb, example, option)


def test_no_line_is_longer_than_the_terminal():
    for columns in 60, 80, 120:
        for verb in ["train", "evaluate", "data convert"]:
            text = run(*verb.split(), "--help", columns=columns)
            rest = text[text.index("\nUsage\n") :].splitlines()[3:]
            for line in rest:
                assert len(line) <= columns, (verb, columns, line)


def test_keys_stand_with_default_and_range_in_their_section():
    row = next(x for x in HELP["train"].splitlines() if x.startswith("  learning_rate"))
    assert re.search(r"learning_rate +2e-04 +a number > 0 +\w", row), row
    assert HELP["train"].index("\n[train]\n") < HELP["train"].index(row)
    assert "--train.KEY VALUE" in HELP["train"]


def test_a_section_alone():
    text = run("train", "--help", "data")
    assert text.startswith("[data]\n") and "  shuffle_window" in text, text
    assert "learning_rate" not in text and "Examples" not in text
    assert run("plan", "--help", "ema").startswith("[ema]\n")
    assert run("train", "--help", "nothing") == HELP["train"]


def test_options_have_their_choices_and_defaults():
    row = next(x for x in HELP["evaluate"].splitlines() if x.startswith("  --time-samples"))
    assert re.search(r"--time-samples +4 +a whole number +", row), row
    assert "one number > 0" not in HELP["evaluate"]
    words = " ".join(HELP["evaluate"].split())
    for name in "uniform", "truncated-normal", "variational":
        assert name in words, name


def test_man_pages_of_every_verb_without_a_warning():
    with tempfile.TemporaryDirectory() as folder:
        run("man", "--outdir", folder)
        pages = sorted(Path(folder).iterdir())
        assert len(pages) == len(VERBS) + 1, pages
        train = (Path(folder) / "scorenet-train.1").read_text()
        assert '.TH "SCORENET\\-TRAIN"' in train and "learning_rate" in train
        if not shutil.which("groff"):
            print("  groff is not here: troff's warnings were not looked at")
            return
        for page in pages:
            troff = ["groff", "-man", "-Tascii", "-ww", page]
            done = subprocess.run(troff, capture_output=True, text=True, check=True)
            assert not done.stderr, done.stderr


def completed(line):
    """What bash offers for the last word of `line`."""
    script = (
        f'eval "$({PROGRAM} completion bash)"\n'
        f"COMP_WORDS=({' '.join(shlex.quote(w) for w in line.split(' '))})\n"
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_scorenet\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_bash_completes_verbs_options_keys_and_values():
    assert completed("scorenet tr") == ["train"]
    assert completed("scorenet data ")[:4] == ["convert", "info", "rechunk", "synthesize"]
    assert completed("scorenet data convert --gz") == ["--gzip"]
    assert completed("scorenet train c.toml --train.learn") == ["--train.learning_rate"]
    assert completed("scorenet train c.toml --train.precision b") == ["bf16"]
    assert completed("scorenet train c.toml --dry") == ["--dry-run"]
    assert "heun" in completed("scorenet sample --sampler ")
    assert completed("scorenet train conf") == []  # files are bash's own


def test_a_config_without_its_defaults():
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text(
            '[train]\nbatch_size = 128\nseed = 7\n[run]\ntick = 50\n[condition.a]\narray = "x"\n'
        )
        expected = '[condition.a]\narray = "x"\n\n[train]\nseed = 7\n'
        assert run("info", "config", config) == expected
        assert run("info", "config", folder) == expected  # a run folder
        config.write_text("")
        assert run("info", "config", config) == "# every key is at its default\n"
        config.unlink()
        assert "holds no config.toml" in run("info", "config", folder, code=2)
        assert "expected one run folder" in run("info", "config", code=2)


if __name__ == "__main__":
    sys.exit(cases.run(globals()))
