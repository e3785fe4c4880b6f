#!/usr/bin/env python3
"""Every sentence of an error stands in launch/messages.md, with its exit code and who provokes it.

    messages_test.py                  exit 0 if the page is that of the sources, 1 if not
    messages_test.py RECORD           the same, and that this record holds who provokes a sentence
    messages_test.py --write RECORD   writes the page anew, after a run of all tests

RECORD is build/Testing/messages: a line for each exception that a test, or a program that it
started, has thrown (tests/support/record_messages.cpp). A sentence counts as provoked where its
longest piece of fixed text stands in a line. Its exit code is that of the type that was thrown.
Without SCORENET_WHOLE_RUN, which launch/run_tests sets where it runs all tests, the record is
passed over: of a part of the tests it says nothing. A new sentence needs a test, and its row: run
all tests, then --write.
"""

import os
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "launch" / "messages.md"
GAP = "…"  # what a sentence says of the case: a path, a number

CODES = {
    "ConfigError": 2,
    "ShapeError": 2,
    "DataError": 3,
    "NotFiniteError": 4,
    "CommError": 5,
    "CheckpointError": 6,
    "FileError": 6,
    "StopRequested": 75,
}  # framework/core/error.hpp

# Sentences that a whole run need not provoke: which rank tells of a lost one first, and what a CPU
# or a library lacks, differ from machine to machine.
MAY_BE_MISSED = 5

HEAD = (Path(__file__).parent / "messages_head.md").read_text()

# What no test provokes, and why not: (file, a part of the text, the reason). Also what is printed
# and not thrown, with the test that looks for it.
UNPROVOKED = [
    line.split("\t")
    for line in (Path(__file__).parent / "unprovoked_messages.tsv").read_text().splitlines()
    if line and not line.startswith("#")
]

TOKEN = re.compile(
    r'R"\((?P<raw>.*?)\)"|"(?P<text>(?:\\.|[^"\\])*)"|\'(?:\\.|[^\'\\])+\'|(?P<mark>\S)|\s+', re.S
)
THROW = re.compile(r"\bthrow\s+([\w:]+)\s*[({]")
# Functions that end in a throw, or collect sentences for one.
CALL = re.compile(
    r"(?<![\w:])(?:\w+\.|\w+::|\w+->)*"
    r"(fail\w*|refuse\w*|reject\w*|checked|end_process|too_late|wrong_shape)\s*\("
)
COLLECT = re.compile(r"\b(?:out|problems|sentences|warnings)\.(push_back|emplace_back)\s*\(")
# Written to standard error as they stand, where nobody is left to catch an exception.
PRINTED = re.compile(r"std::(?:snprintf|fprintf)\s*\(|std::cerr\s*(?=<<)")
PRINTING = ("framework/comm/", "launch/run_main.cpp")
FAILURE = re.compile(r"return \{(ExitCode)::\w+,")
# Lists of texts that are no sentences: help, names, what a table prints.
NO_RULES = {
    f"framework/config/{name}.cpp"
    for name in ("data_fields", "model_fields", "training_fields", "run_fields", "field_text")
}


def without_comments(source):
    """Comments become spaces, so that places stay."""
    return re.sub(
        r'R"\(.*?\)"|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'|//[^\n]*|/\*.*?\*/',
        lambda m: re.sub(r"[^\n]", " ", m[0]) if m[0].startswith("/") else m[0],
        source,
        flags=re.S,
    )


def end_of_call(source, start):
    if source[start] not in "([{":
        return source.index(";", start)
    depth = 0
    for token in TOKEN.finditer(source, start):
        mark = token["mark"]
        if mark and mark in "([{":
            depth += 1
        elif mark and mark in ")]}":
            depth -= 1
            if depth == 0:
                return token.start()
    raise ValueError("a bracket is not closed")


def pieces_of(arguments):
    """Fixed texts in order, None between them for all else."""
    pieces = []
    for token in TOKEN.finditer(arguments):
        if token["raw"] is None and token["text"] is None:
            if token["mark"] or token[0].startswith("'"):
                if not pieces or pieces[-1] is not None:
                    pieces.append(None)
            continue
        text = token["raw"]
        if text is None:
            text = re.sub(r"\\(.)", lambda m: {"n": "\n", "t": " "}.get(m[1], m[1]), token["text"])
        if pieces and pieces[-1] is not None:
            pieces[-1] += text
        else:
            pieces.append(text)
    return pieces


def parts_of_format(piece):
    """ "%d of %d" as two gaps and what stands between."""
    if piece is None:
        return [None]
    parts = re.split(r"%[-.\d]*l*[a-z]", piece)
    return [part for pair in zip(parts, [None] * len(parts)) for part in pair][:-1]


class Sentence:
    def __init__(self, file, arguments, printed):
        pieces = pieces_of(arguments)
        if printed:
            pieces = [part for piece in pieces for part in parts_of_format(piece)]
        self.file = file
        self.text = re.sub(r"\s*\n\s*", " ", "".join(GAP if p is None else p for p in pieces))
        fixed = sorted((p for p in pieces if p), key=len, reverse=True)
        # Of a choice (a ? b : c) only one piece appears.
        self.needed = [p.replace("\n", "\\n") for p in fixed[: 1 if "?" in arguments else 2]]
        self.code, self.by = "-", ""

    def key(self):
        return (self.file, self.text)

    def is_in(self, line):
        return all(piece in line for piece in self.needed)


def sentences():
    found, seen = [], set()
    for path in sorted(
        p for folder in ("framework", "models", "launch") for p in (ROOT / folder).rglob("*.[ch]pp")
    ):
        file = str(path.relative_to(ROOT))
        source = without_comments(path.read_text())
        heads = [m for pattern in (THROW, CALL, FAILURE) for m in pattern.finditer(source)]
        if file not in NO_RULES:
            heads += COLLECT.finditer(source)
        if file.startswith(PRINTING):
            heads += PRINTED.finditer(source)
        inside = 0
        for head in sorted(heads, key=lambda m: m.start()):
            if head.start() < inside:
                continue
            if head.re is PRINTED and head[0][-1] != "(":
                opens = head.end()
            else:
                opens = source.rindex("{" if head.re is FAILURE else head[0][-1], 0, head.end())
            end = end_of_call(source, opens)
            sentence = Sentence(file, source[opens + 1 : end], head.re is PRINTED)
            words = max(sentence.needed, key=len, default="")
            if len(words) < 6 or " " not in words.strip():
                continue
            inside = end
            if sentence.key() not in seen:
                seen.add(sentence.key())
                found.append(sentence)
    return found


def recorded(path):
    """Lines of the record, those that say the same once: (test, program, type, text)."""
    lines = set()
    with open(path, errors="replace") as record:
        for line in record:
            parts = line.rstrip("\n").split("\t", 3)
            if len(parts) == 4:
                lines.add(tuple(parts))
    return sorted(lines)


def by_of(test, program):
    return f"`scorenet` in `{test}`" if program.startswith("scorenet") else f"`{test}`"


def by_chance(by):
    """Tests of damaged files: what they provoke changes with each new file."""
    return "hostile_" in by or "replay_" in by


def add_evidence(all_sentences, lines):
    """Who provokes each: the real program before a library's test."""
    evidence = defaultdict(Counter)
    for sentence in all_sentences:
        for test, program, kind, text in lines:
            if sentence.is_in(text):
                evidence[sentence.key()][(by_of(test, program), kind.split("::")[-1])] += 1
    return evidence


def reason_for(sentence):
    for file, part, reason in UNPROVOKED:
        if file == sentence.file and part in sentence.text:
            return reason
    return ""


def write_page(all_sentences, evidence, old):
    for sentence in all_sentences:
        found = evidence.get(sentence.key())
        own = {k: n for k, n in (found or {}).items() if k[1] in CODES}
        reason = reason_for(sentence)
        if found:
            by, kind = min(
                own or found, key=lambda k: (not k[0].startswith("`scorenet`"), by_chance(k[0]), k)
            )
            sentence.by, sentence.code = by, str(CODES.get(kind, "-"))
        elif reason:
            sentence.by = reason
        elif sentence.key() in old:
            sentence.code, sentence.by = old[sentence.key()]
        else:
            sentence.by = "nobody"
    PAGE.write_text(page_of(all_sentences))


def counts_of(all_sentences):
    program = sum(s.by.startswith("`scorenet`") for s in all_sentences)
    library = sum(s.by.startswith("`") and not s.by.startswith("`scorenet`") for s in all_sentences)
    other = len(all_sentences) - program - library
    return (
        f"Of {len(all_sentences)} sentences {program} are provoked by the real program, "
        f"{library} by tests of the library alone, and {other} by neither: each of these says why."
    )


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;").strip()


def page_of(all_sentences):
    out = [HEAD.replace("{counts}", counts_of(all_sentences)).rstrip()]
    file = None
    for sentence in all_sentences:
        if sentence.file != file:
            file = sentence.file
            out += ["", f"## {file}", "", "| code | message | provoked by |", "| --- | --- | --- |"]
        out.append(f"| {sentence.code} | {cell(sentence.text)} | {sentence.by} |")
    return "\n".join(out) + "\n"


def rows_of_page():
    """(file, text as the page has it) -> (code, by)."""
    rows, file = {}, None
    for line in PAGE.read_text().splitlines() if PAGE.exists() else []:
        if line.startswith("## "):
            file = line[3:]
        elif file and re.match(r"\| [-\d]+ \| ", line):
            code, text, by = re.split(r"(?<!\\) \| ", line[2:-2])
            rows[(file, text)] = (code, by)
    return rows


def check(all_sentences, lines):
    faults = []
    rows = rows_of_page()
    for sentence in all_sentences:
        row = rows.get((sentence.file, cell(sentence.text)))
        if row is None:
            faults.append(
                f'{sentence.file}: "{sentence.text}" does not stand in launch/messages.md'
            )
        else:
            sentence.code, sentence.by = row
            if sentence.by in ("", "nobody"):
                faults.append(f'{sentence.file}: "{sentence.text}" is provoked by no test')
    if not faults and PAGE.read_text() != page_of(all_sentences):
        faults.append("launch/messages.md holds what the sources do not")
    if lines is not None:
        missed = unprovoked(all_sentences, lines)
        if len(missed) > MAY_BE_MISSED:
            faults += missed
        else:
            print(*missed, sep="\n", end="\n" if missed else "")
    for fault in faults:
        print(fault)
    if faults:
        print(
            f"{len(faults)} faults. Write the test, run all tests, then: "
            "tests/launch/messages_test.py --write build/Testing/messages"
        )
    else:
        print(counts_of(all_sentences))
    return 1 if faults else 0


def unprovoked(all_sentences, lines):
    """Of the tests that this record holds: what they should have provoked, with its code."""
    evidence = add_evidence(all_sentences, lines)
    ran = {test for test, *_ in lines}
    faults = []
    for sentence in all_sentences:
        test = re.match(r"(?:`scorenet` in )?`(\w+)`$", sentence.by)
        if not test or test[1] not in ran:
            continue
        # By whichever test: which one loses a race between ranks differs.
        codes = {str(CODES.get(kind, "-")) for _, kind in evidence.get(sentence.key(), {})}
        if sentence.code not in codes:
            faults.append(
                f'{sentence.file}: "{sentence.text}" was not provoked by {sentence.by} '
                f"with code {sentence.code}"
            )
    return faults


def main(arguments):
    write = arguments[:1] == ["--write"]
    record = arguments[1:] if write else arguments
    if len(record) > 1 or (write and not record):
        print(__doc__)
        return 2
    all_sentences = sentences()
    meant = write or "SCORENET_WHOLE_RUN" in os.environ
    lines = recorded(record[0]) if meant and record and Path(record[0]).exists() else None
    if not write:
        return check(all_sentences, lines)
    old = {}
    for (file, text), row in rows_of_page().items():
        for sentence in all_sentences:
            if sentence.file == file and cell(sentence.text) == text:
                old[sentence.key()] = row
    write_page(all_sentences, add_evidence(all_sentences, lines or []), old)
    print(counts_of(all_sentences))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
