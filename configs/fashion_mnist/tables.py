"""Tables and figures of configs/fashion_mnist/run, from the reports of `scorenet evaluate`.

python3 tables.py REPORTS FIGURES      prints Markdown; writes FIGURES/*.png. Needs matplotlib
                                       (Debian: python3-matplotlib).
"""

import json
import math
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

reports, figures = map(pathlib.Path, sys.argv[1:3])
LOG2 = math.log(2)


def report(name):
    path = reports / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def bits(nats, dims):
    return nats / (dims * LOG2)


def likelihood_rows(name, note=""):
    found = report(name)
    for metric, m in (found["metrics"].items() if found else ()):
        error = bits(m["nats_stderr"], found["dims"])
        seconds = m["seconds"] / m["n"]
        yield (
            f"| `{metric}`{note} | {m['kind']} | {m['bits_per_dim']:.4f} ± {error:.4f} | {m['n']} "
            f"| {m['nfe']:.0f} | "
            f"{seconds:.3f} |"
        )


def print_likelihoods():
    print(
        "| evaluator | kind | bits/dim | images | network passes an image | seconds an image "
        "|\n|---|---|---|---|---|---|"
    )
    for name, note in (
        ("bounds", ""),
        ("ode", " (uniform dequantisation)"),
        ("ode_tn", " (truncated normal)"),
        ("ode_20_steps", " (20 steps)"),
    ):
        for row in likelihood_rows(name, note):
            print(row)


def print_wkb():
    found = report("wkb")
    if not found:
        return
    m, dims = found["metrics"]["wkb"], found["dims"]
    print("\n| wkb, bits/dim | mean | median | 5 % | 95 % |\n|---|---|---|---|---|")
    for term in ("nll0", "nll1"):
        mean, error, *rest = (
            bits(m[f"{term}_{q}"], dims) for q in ("mean", "stderr", "median", "q05", "q95")
        )
        print(
            f"| {term} | {mean:.3f} ± {error:.3f} | "
            + " | ".join(f"{value:.3f}" for value in rest)
            + " |"
        )
    print(
        f"\n{m['n']} images, {m['failed']} failed, {m['nfe']:.0f} network evaluations and "
        f"{m['seconds'] / m['n']:.1f} seconds an image."
    )


def draw_profile():
    found = report("wkb_profile")
    if not found:
        return
    profile, dims = found["metrics"]["wkb"]["profile"], found["dims"]
    edges = profile["log_snr"]
    width = [abs(b - a) for a, b in zip(edges, edges[1:])]
    middle = [(a + b) / 2 for a, b in zip(edges, edges[1:])]
    share, error = ([bits(v, dims) for v in profile[key]] for key in ("nll1_mean", "nll1_stderr"))
    print(
        "\n| log-SNR | "
        + " | ".join(f"{a:.1f} to {b:.1f}" for a, b in zip(edges, edges[1:]))
        + " |\n|---|"
        + "---|" * len(share)
    )
    print(
        "| share of nll1, bits/dim | "
        + " | ".join(f"{v:.2f} ± {e:.2f}" for v, e in zip(share, error))
        + " |"
    )
    figure, axes = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
    axes.bar(middle, share, [0.9 * w for w in width], yerr=error, capsize=3)
    axes.axhline(0, color="black", lw=0.7)
    axes.set(xlabel="log-SNR (right: near the data)", ylabel="share of nll1, bits/dim")
    figure.savefig(figures / "when_noise_helps.png", dpi=110)


def print_hbar():
    both = report("hbar")
    if not both:
        return
    dims = both["dims"]
    elbo, importance = both["metrics"]["hbar-elbo"], both["metrics"]["hbar-iw"]
    print("\n| h | ELBO_h, bits/dim | IW-ELBO_h, bits/dim |\n|---|---|---|")
    for e, i in zip(elbo["per_hbar"], importance["per_hbar"]):
        print(
            f"| {e['hbar']:g} | "
            + " | ".join(
                f"{bits(x['nats_mean'], dims):.4f} ± {bits(x['nats_stderr'], dims):.4f}"
                for x in (e, i)
            )
            + " |"
        )
    for name, m in (("ELBO_h", elbo), ("IW-ELBO_h", importance)):
        best = m["best_hbar"]
        print(
            f"\nBest {name}: h = {best['hbar']:g}, {bits(best['gain'], dims):.4f} ± "
            f"{bits(best['gain_stderr'], dims):.4f} "
            f"bits/dim below h = {best['reference_hbar']:g} (paired over {best['compared']} "
            f"images); h from {best['hbar_low']:g} to "
            f"{best['hbar_high']:g} is as good within two standard errors."
        )
    many = report("hbar_iw_32")
    if many:
        m = many["metrics"]["hbar-iw"]
        low, high = (row["nats_mean"] for row in m["per_hbar"])
        best = m["best_hbar"]
        print(
            f"\nIW-ELBO with 32 paths, {best['compared']} images: h = 0.01 less h = 0 is "
            f"{bits(high - low, dims):+.4f} bits/dim; best h = "
            f"{best['hbar']:g}, {bits(best['gain'], dims):.4f} ± "
            f"{bits(best['gain_stderr'], dims):.4f} below h = 0 (paired)."
        )
    draw_hbar(elbo, importance, dims)


def draw_hbar(elbo, importance, dims):
    """Against h = 0 on the same images: the images themselves differ by fifty times more."""
    figure, axes = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    for m, label in ((elbo, "-ELBO$_h$"), (importance, "-IW-ELBO$_h$, 2 paths")):
        rows = m["per_hbar"]
        gap = [bits(r["nats_mean"] - rows[0]["nats_mean"], dims) for r in rows]
        axes.plot([r["hbar"] for r in rows], gap, marker="o", label=label)
    axes.set(xlabel="h", ylabel="less that at h = 0, bits/dim")
    axes.set_xscale("symlog", linthresh=0.01)
    axes.legend()
    figure.savefig(figures / "nll_of_h.png", dpi=110)


def quality():
    rows = {}
    for path in sorted(reports.glob("quality_*_*.json")):
        _, steps, hbar = path.stem.split("_")
        rows.setdefault(int(steps), {})[float(hbar)] = json.loads(path.read_text())["metrics"]
    return rows


def print_quality():
    rows = quality()
    if not rows:
        return
    hbars = sorted({h for row in rows.values() for h in row})
    for metric, title in (("fd", "Frechet distance"), ("kid", "kernel distance")):
        print(
            f"\n| {title}, steps | "
            + " | ".join(f"h = {h:g}" for h in hbars)
            + " |\n|---|"
            + "---|" * len(hbars)
        )
        for steps in sorted(rows):
            cells = []
            for h in hbars:
                m = rows[steps].get(h, {}).get(metric)
                error = f" ± {m['kid_stderr']:.3f}" if m and metric == "kid" else ""
                cells.append(f"{m[metric]:.3f}{error}" if m else "")
            print(f"| {steps} | " + " | ".join(cells) + " |")
    draw_quality(rows, hbars)


def draw_quality(rows, hbars):
    figure, axes = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    for steps in sorted(rows):
        points = [(h, rows[steps][h]["kid"]) for h in hbars if h in rows[steps]]
        axes.errorbar(
            [h for h, _ in points],
            [m["kid"] for _, m in points],
            [m["kid_stderr"] for _, m in points],
            marker="o",
            capsize=3,
            label=f"{steps} steps",
        )
    axes.set(xlabel="h", ylabel="kernel distance")
    axes.set_yscale("log")
    axes.set_yticks([0.03, 0.05, 0.1, 0.2, 0.4], ["0.03", "0.05", "0.1", "0.2", "0.4"])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(figures / "quality_of_h.png", dpi=110)


print_likelihoods()
print_wkb()
draw_profile()
print_hbar()
print_quality()
