"""Where the device's time goes in a trace that gpu_step_benchmark or train_step.py wrote with
--profile: each kernel's count, time and share, and how much of the span the device was busy at all.

    python3 kernel_shares.py FILE [--top 30] [--steps 3]"""

import argparse
import collections
import gzip
import json
import re
import sys

ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}


def shortened(name, width=110):
    """Without return type, template arguments beyond the second level, and arguments: what tells
    two kernels apart."""
    if name.startswith("Mem"):  # Memcpy HtoD (Pinned -> Device)
        return name
    name = re.sub(r"^void ", "", name)
    name = re.sub(
        r"\(anonymous namespace\)::|at::native::|cutlass::|\b(?:unsigned |long |int\b)", "", name
    )
    kept, depth = [], 0
    for character in name:
        if character == "(" and depth == 0:
            break
        depth += character == "<"
        if depth < 3:
            kept.append(character)
        depth -= character == ">"
    text = re.sub(r"\s+", " ", "".join(kept)).strip()
    return text if len(text) <= width else text[: width - 1] + "~"


def busy_us(events):
    """The length of the union of all events: kernels of several streams may overlap."""
    total, end = 0.0, float("-inf")
    for begin, stop in sorted((e["ts"], e["ts"] + e["dur"]) for e in events):
        total += max(0.0, stop - max(begin, end))
        end = max(end, stop)
    return total


def read_events(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    return [e for e in events if e.get("ph") == "X" and e.get("cat") in ON_DEVICE]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file")
    parser.add_argument("--top", type=int, default=30, help="kernels to list")
    parser.add_argument(
        "--steps",
        type=int,
        default=3,
        help="steps in the trace: counts and times are given for one",
    )
    options = parser.parse_args()
    events = read_events(options.file)
    if not events:
        sys.exit(
            f"{options.file}: no kernel, copy or fill of a device in it. Trace a run on a GPU."
        )

    count, time = collections.Counter(), collections.Counter()
    for event in events:
        name = shortened(event["name"])
        count[name] += 1
        time[name] += event["dur"]
    total = sum(time.values())
    span = max(e["ts"] + e["dur"] for e in events) - min(e["ts"] for e in events)
    busy = busy_us(events)
    print(
        f"device busy {busy:.0f} of {span:.0f} us, {busy / span:.1%}; a step of {options.steps}: "
        f"{busy / options.steps:.0f} us busy, {len(events) / options.steps:.0f} launches, "
        f"{len(time)} names"
    )
    print(f"{'us/step':>10} {'share':>6} {'count/step':>10}  name")
    for name, us in time.most_common(options.top):
        print(
            f"{us / options.steps:10.1f} {us / total:6.1%} {count[name] / options.steps:10.1f}  "
            f"{name}"
        )
    rest = len(time) - options.top
    if rest > 0:
        listed = sum(us for _, us in time.most_common(options.top))
        print(
            f"{(total - listed) / options.steps:10.1f} {1 - listed / total:6.1%} {'':10}  {rest} "
            f"others"
        )


if __name__ == "__main__":
    main()
