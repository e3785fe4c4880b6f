"""results.jsonl, a line a measurement or a start of the program, and the table that it makes."""

import json
import os
import statistics


class Results:
    def __init__(self, folder, resume):
        self.path = folder / "results.jsonl"
        self.heads, self.lines = [], []
        if resume and self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                self.keep(json.loads(line))

    def keep(self, line):
        (self.heads if "head" in line else self.lines).append(line)

    def add(self, line):
        self.keep(line)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def add_head(self, head):
        """Refuses to put figures of two machines or limits into one table: returns why."""
        for name in ("CPU", "limit"):
            before = [one["head"][name] for one in self.heads if one["head"][name] != head[name]]
            if before:
                return f"{self.path} was measured with {name}: {before[0]}; now: {head[name]}"
        self.add({"head": head})
        return None

    def count(self, what, side):
        return sum(one["what"] == what and one["side"] == side for one in self.measured())

    def measured(self):
        return [one for one in self.lines if "failed" not in one]

    def failed(self):
        """Sides of which nothing is known but why."""
        known = {(one["what"], one["side"]) for one in self.measured()}
        return [
            one
            for one in {(one["what"], one["side"]): one for one in self.lines}.values()
            if (one["what"], one["side"]) not in known
        ]


def median_of(lines, name):
    values = [one[name] for one in lines if name in one]
    return statistics.median(values) if values else None


def written(value, pattern):
    return "" if value is None else pattern.format(value)


def row(*cells):
    return f"| {' | '.join(cells)} |"


def grouped(lines):
    """{(what, side): lines}, in the order of their first."""
    groups = {}
    for one in lines:
        groups.setdefault((one["what"], one["side"]), []).append(one)
    return groups


def head_lines(heads):
    first = heads[0]["head"]
    lines = [f"- {name}: {value}" for name, value in first.items()]
    for one in heads[1:]:
        later = one["head"]
        changed = [f"{name}: {later[name]}" for name in later if later[name] != first[name]]
        lines.append(f"- continued with {'; '.join(changed)}")
    return lines


def rates(groups):
    """A row a side, with ours over it: each of our precisions by its own median."""
    ours = list(dict.fromkeys(s for _, s in groups if s.startswith("ours")))
    over = [f"{side} over it" for side in ours]
    rate = "images/s: median (least to most)"
    rows = [row("what", "side", rate, *over, "memory, MiB", "first step, s")]
    rows += ["| --- | --- |" + " ---: |" * (len(ours) + 3)]
    for (what, side), lines in groups.items():
        values = [one["images_per_s"] for one in lines]
        median = statistics.median(values)
        ratios = []
        for own in ours:
            rate = median_of(groups.get((what, own), []), "images_per_s")
            ratios.append("" if rate is None or side == own else f"{rate / median:.2f}")
        rows.append(
            row(
                what,
                side,
                f"{median:.1f} ({min(values):.1f} to {max(values):.1f})",
                *ratios,
                written(median_of(lines, "peak_mib"), "{:.0f}"),
                written(median_of(lines, "first_step_s"), "{:.2f}"),
            )
        )
    return rows


def parts(groups):
    rows = [
        "Of our step, the share outside forward, backward and update, and that of waiting for the "
        "other rank:",
        "",
        "| what | side | outside | communication |",
        "| --- | --- | ---: | ---: |",
    ]
    for (what, side), lines in groups.items():
        outside = median_of(lines, "outside_share")
        if outside is None:
            continue
        communication = median_of(lines, "communication_share")
        rows.append(row(what, side, f"{outside:.1%}", f"{communication:.1%}"))
    return rows if len(rows) > 4 else []


def scaling(groups):
    """what: "scaling-small", side: "ours bf16, 1 rank"."""
    rows = [
        "Two ranks over twice one, each pinned to a core:",
        "",
        "| what | side | 1 rank, images/s | 2 ranks | ratio |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for (what, side), lines in groups.items():
        one_side = side.replace("2 ranks", "1 rank")
        one = median_of(groups.get((what, one_side), []), "images_per_s")
        if side == one_side or one is None:
            continue
        two = median_of(lines, "images_per_s")
        name = side.removesuffix(", 2 ranks")
        rows.append(row(what, name, f"{one:.1f}", f"{two:.1f}", f"{two / (2 * one):.3f}"))
    return rows if len(rows) > 4 else []


def table(results):
    groups = grouped(results.measured())
    compared = {key: v for key, v in groups.items() if not key[0].startswith("scaling")}
    pinned = {key: v for key, v in groups.items() if key[0].startswith("scaling")}
    failures = [f"- {one['what']}, {one['side']}: {one['failed']}" for one in results.failed()]
    sections = [
        head_lines(results.heads),
        rates(compared) if compared else [],
        parts(groups),
        scaling(pinned),
        ["Not measured:", "", *failures] if failures else [],
    ]
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def write(results, folder):
    """So that a reader never finds half a table."""
    text = table(results)
    beside = folder / "table.md.new"
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, folder / "table.md")
    return text
