"""What `run` measured, a row for each kind of work: ours, the peer's best mode, and their ratio.

    python3 table.py results.jsonl"""

import json
import sys
from pathlib import Path

OURS = {"cifar10_ddpm": "large", "network": "small", "dit_s2": "dit"}


def kind_of(line):
    """(work, network, precision): what makes two lines comparable."""
    if line.get("program") == "scorenet":
        network = OURS.get(Path(line["config"]).stem, line["config"])
        return line.get("what", "train"), network, line["precision"]
    return line["what"], line["network"], line["precision"]


def best(lines):
    return max(lines, key=lambda line: line["images_per_s"], default=None)


def rows_of(lines):
    kinds = {}
    for line in lines:
        if "images_per_s" in line:
            of = "ours" if line.get("program") == "scorenet" else "peer"
            kinds.setdefault(kind_of(line), {"ours": [], "peer": []})[of].append(line)
    for kind, sides in sorted(kinds.items()):
        ours, peer = best(sides["ours"]), best(sides["peer"])
        yield (
            *kind,
            f"{ours['images_per_s']:.0f}" if ours else "",
            f"{peer['images_per_s']:.0f} ({peer['mode']})" if peer else "",
            f"{ours['images_per_s'] / peer['images_per_s']:.2f}" if ours and peer else "",
        )


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines() if line]
    rows = [("work", "network", "precision", "ours", "peer", "ratio"), *rows_of(lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


if __name__ == "__main__":
    main()
