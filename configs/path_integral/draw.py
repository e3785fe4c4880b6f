"""Tables and figures of the path-integral experiments from what `run` left in its folder.

    python3 draw.py --runs OUT --seeds "1 2 3" --figures DIR

Needs numpy, h5py and matplotlib. Prints the tables in Markdown and writes PNG files to DIR.
"""

import argparse
import json
from pathlib import Path

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import gaussian

NAMES = {
    "swiss_roll_simple": "swiss roll, SIMPLE",
    "swiss_roll_cosine": "swiss roll, COSINE",
    "gaussians25_simple": "25 Gaussians, SIMPLE",
    "gaussians25_cosine": "25 Gaussians, COSINE",
}
# Table 1 of 2403.11262 as quoted in our notes: nll0, nll1 at tolerance 1e-3.
PAPER = {
    "swiss_roll_simple": ("1.39 ± 0.05", "-0.31 ± 0.21"),
    "swiss_roll_cosine": ("1.42 ± 0.02", "-1.59 ± 0.57"),
    "gaussians25_simple": ("-1.22 ± 0.01", "-3.64 ± 0.49"),
    "gaussians25_cosine": ("-1.71 ± 0.02", "-17.57 ± 5.56"),
}
BLUE, ORANGE, GREY = "#1f6fb4", "#d9651f", "#777777"


def metric(path, name):
    return json.loads(Path(path).read_text())["metrics"][name]


def exact_score_nll(runs, name, n):
    """Mean and standard error of -log p at t_min of the first n test points, the score being exact
    and the prior p(t_max)."""
    with h5py.File(runs / "data" / f"{name.rsplit('_', 1)[0]}.h5") as f:
        x = f["test/images"][:n]
    if name.endswith("simple"):
        alpha2 = np.exp(-10 * 0.01**2)
    else:
        alpha2 = np.cos(np.pi / 2 * 0.01) ** 2
    if name.startswith("swiss"):  # 4000 midpoints along the roll
        t = 1.5 * np.pi * (1 + 2 * (np.arange(4000) + 0.5) / 4000)
        means, spread = np.stack([t * np.cos(t), t * np.sin(t)], 1) / 6.865, 0.5 / 6.865
    else:
        grid = (np.arange(5) - 2) * 2 / 2.828
        means, spread = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2), 0.05 / 2.828
    variance = alpha2 * spread**2 + 1 - alpha2
    values = []
    for part in np.array_split(x, max(1, n // 250)):
        logs = -((part[:, None] - np.sqrt(alpha2) * means[None]) ** 2).sum(-1) / (2 * variance)
        top = logs.max(1)
        values.append(
            np.log(2 * np.pi * variance) - top - np.log(np.exp(logs - top[:, None]).mean(1))
        )
    values = np.concatenate(values)
    return values.mean(), values.std() / np.sqrt(n)


def table_of_seeds(runs, seeds):
    """Two tables: nll0 and nll1, with the values of the single seeds in brackets."""
    mean = lambda rows, key: np.mean([row[key] for row in rows])
    each = lambda rows, key, form: ', '.join(format(row[key], form) for row in rows)
    nll0, nll1 = [], []
    for name, title in NAMES.items():
        wkb = [metric(runs / name / f"wkb-{s}.json", "wkb") for s in seeds]
        ode = [metric(runs / name / f"ode-{s}.json", "ode") for s in seeds]
        few, many = exact_score_nll(runs, name, 1000), exact_score_nll(runs, name, 10000)
        nll0.append(
            f"| {title} | {PAPER[name][0]} "
            f"| **{mean(wkb, 'nll0_mean'):.3f}** ± {mean(wkb, 'nats_stderr'):.3f} "
            f"({each(wkb, 'nll0_mean', '.3f')}) "
            f"| {mean(ode, 'nats_mean'):.3f} ± {mean(ode, 'nats_stderr'):.3f} "
            f"| {few[0]:.3f} / {many[0]:.3f} |"
        )
        nll1.append(
            f"| {title} | {PAPER[name][1]} "
            f"| {mean(wkb, 'nll1_mean'):.2f} ({each(wkb, 'nll1_mean', '.2f')}) "
            f"| {mean(wkb, 'nll1_median'):.2f} "
            f"[{mean(wkb, 'nll1_q05'):.1f}, {mean(wkb, 'nll1_q95'):.1f}] "
            f"| {sum(w['failed'] for w in wkb)} |"
        )
    print(
        "| data / SDE | paper nll0 | nll0, 1000 points | nll0, 10,000 points "
        "| exact score, same 1000 / 10,000 |\n|---|---|---|---|---|",
        *nll0,
        "\n| data / SDE | paper nll1 | nll1 mean | nll1 median [5 %, 95 %] | failed |",
        "|---|---|---|---|---|",
        *nll1,
        sep="\n",
    )


def table_of_best_hbar(runs, seeds):
    print(
        "\n| data / SDE | seed | best h | its IW value | gain on h = 0 | as good within 2 s.e. | "
        "examples compared, failed |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, title in NAMES.items():
        for seed in seeds:
            best = metric(runs / name / f"iw-{seed}.json", "hbar-iw")["best_hbar"]
            print(
                f"| {title} | {seed} | {best['hbar']:g} | {best['nats_mean']:.3f} ± "
                f"{best['nats_stderr']:.3f} "
                f"| {best['gain']:.4f} ± {best['gain_stderr']:.4f} | {best['hbar_low']:g} to "
                f"{best['hbar_high']:g} "
                f"| {best['compared']}, {best['failed']} |"
            )


def mean_and_error(values):
    return np.mean(values), (
        np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    )


def distances(runs, name):
    """h -> W2 squared of every (training seed, sample set), the same order at every h."""
    by_hbar = {}
    for path in sorted((runs / name).glob("w2-*.json")):
        hbar = float(path.stem.split("-")[2])
        by_hbar.setdefault(hbar, []).append(metric(path, "w2")["w2_squared"])
    return {h: np.array(by_hbar[h]) for h in sorted(by_hbar)}


def table_of_distances(runs):
    """A row for each h, a column for each experiment."""
    columns = []
    for name in NAMES:
        found = distances(runs, name)
        rows = {f"h = {h:g}": values for h, values in found.items()}
        rows |= {"0.2 less 0": found[0.2] - found[0], "1 less 0": found[1] - found[0]}
        columns.append(rows)
    print("\n| W2 squared | " + " | ".join(NAMES.values()) + " |")
    print("|---|" + "---|" * len(columns))
    for row in columns[0]:
        cells = ["{:.4f} ± {:.4f}".format(*mean_and_error(rows[row])) for rows in columns]
        print(f"| {row} | " + " | ".join(cells) + " |")


def panels(height=2.6):
    figure, axes = plt.subplots(1, 4, figsize=(12, height), constrained_layout=True)
    for axis, title in zip(axes, NAMES.values()):
        axis.set_title(title, fontsize=9)
    return figure, dict(zip(NAMES, axes))


def save(figure, path, dpi=80):
    figure.savefig(path, dpi=dpi)
    plt.close(figure)


def draw_nll(runs, seeds, figures):
    """NLL(h) - NLL(0), paired by example, over the seeds: the spread of the examples themselves is
    twenty times larger."""
    figure, axes = panels()
    line = np.array([0, 0.01, 0.02, 0.05])
    for name, axis in axes.items():
        for file, key, colour, label in [
            ("elbo", "hbar-elbo", GREY, "-ELBO_h"),
            ("iw", "hbar-iw", BLUE, "-IW-ELBO_h, 8 paths"),
        ]:
            gaps = []
            for seed in seeds:
                with h5py.File(runs / name / f"{file}-{seed}.h5") as f:
                    hbars, nats = f[f"{key}_hbars"][:], f[key][:]
                gaps.append(nats - nats[0])
                axis.plot(hbars, np.nanmean(gaps[-1], 1), color=colour, lw=0.5, alpha=0.5)
            gap = np.concatenate(gaps, 1)
            axis.errorbar(
                hbars,
                np.nanmean(gap, 1),
                np.nanstd(gap, 1) / np.sqrt(gap.shape[1]),
                color=colour,
                marker=".",
                label=label,
                capsize=2,
                lw=1,
            )
        slopes = []
        for seed in seeds:  # on the points of the others
            with h5py.File(runs / name / f"wkb-{seed}.h5") as f:
                slopes.append(np.nanmean(f["wkb_nll1"][: nats.shape[1]]))
        axis.plot(line, line * np.mean(slopes), color=ORANGE, lw=1, label="h nll1")
        axis.axhline(0, color=GREY, lw=0.5)
        axis.set_xscale("symlog", linthresh=0.01)
        axis.set_xlim(-0.001, 1.2)
        axis.set_xlabel("h")
    axes["swiss_roll_simple"].set_ylabel("NLL(h) - NLL(0), nats")
    axes["swiss_roll_simple"].legend(fontsize=7)
    save(figure, figures / "nll.png")


def draw_distances(runs, figures):
    figure, axes = panels()
    for name, axis in axes.items():
        found = distances(runs, name)
        mean, error = zip(*(mean_and_error(v) for v in found.values()))
        axis.errorbar(list(found), mean, error, color=BLUE, marker=".", capsize=2, lw=1)
        axis.set_ylim(bottom=0)
        axis.set_xscale("symlog", linthresh=0.1)
        axis.set_xlabel("h")
    axes["swiss_roll_simple"].set_ylabel("W2 squared")
    save(figure, figures / "w2.png")


def draw_profile(runs, seeds, figures):
    figure, axes = panels()
    for name, axis in axes.items():
        for seed in seeds:
            profile = metric(runs / name / f"wkb-{seed}.json", "wkb")["profile"]
            edges = np.array(profile["log_snr"])
            width = -np.diff(edges)
            middle = (edges[1:] + edges[:-1]) / 2
            mean, error = (
                np.array(profile["nll1_mean"]) / width,
                np.array(profile["nll1_stderr"]) / width,
            )
            line = axis.plot(middle, mean, lw=1, label=f"seed {seed}")[0]
            axis.fill_between(
                middle, mean - error, mean + error, color=line.get_color(), alpha=0.25, lw=0
            )
        axis.axhline(0, color=GREY, lw=0.5)
        axis.invert_xaxis()
        axis.set_xlabel("log-SNR  (data left, noise right)", fontsize=8)
    axes["swiss_roll_simple"].set_ylabel("d nll1 / d log-SNR")
    axes["swiss_roll_simple"].legend(fontsize=7)
    save(figure, figures / "when_noise_helps.png")


def draw_densities(runs, figures):
    figure, axes = plt.subplots(3, 4, figsize=(10, 7.6), constrained_layout=True)
    for column, (name, title) in enumerate(NAMES.items()):
        with h5py.File(runs / "data" / f"{name.rsplit('_', 1)[0]}.h5") as f:
            clouds = [("test data", f["test/images"][:])]
        for hbar in (0, 1):
            with h5py.File(runs / name / f"samples-{hbar}" / "samples.h5") as f:
                clouds.append((f"h = {hbar}", f["samples"][:]))
        for row, (label, cloud) in enumerate(clouds):
            axis = axes[row, column]
            counts = np.histogram2d(cloud[:, 0], cloud[:, 1], 80, [[-2.2, 2.2]] * 2)[0]
            axis.imshow(
                np.sqrt(counts.T), origin="lower", cmap="magma", extent=[-2.2, 2.2, -2.2, 2.2]
            )
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(f"{title}: {label}", fontsize=8)
    save(figure, figures / "densities.png", dpi=60)


def draw_paths(runs, figures):
    figure, axes = plt.subplots(2, 4, figsize=(12, 4.6), constrained_layout=True, sharex=True)
    for column, (name, title) in enumerate(NAMES.items()):
        for row, hbar in enumerate((0, 1)):
            with h5py.File(runs / name / f"paths-{hbar}" / "samples.h5") as f:
                t, path = f["path_t"][:], f["path"][:]
            axes[row, column].plot(t, path[:, :, 0].T, lw=0.6)
            axes[row, column].set_title(
                f"{title}: {'ODE, h = 0' if hbar == 0 else 'SDE, h = 1'}", fontsize=8
            )
        axes[1, column].set_xlabel("t")
    axes[0, 0].invert_xaxis()
    axes[0, 0].set_ylabel("first coordinate")
    save(figure, figures / "paths.png", dpi=65)


def draw_gaussian(runs, figures):
    folder = runs / "gaussian"
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    fine = np.linspace(0, 1, 101)
    worst = 0.0
    for eps, colour in zip(
        gaussian.ERRORS, plt.cm.coolwarm(np.linspace(0, 1, len(gaussian.ERRORS)))
    ):
        label = f"eps = {eps:+g}"
        left.plot(fine, [gaussian.nll(h, eps) for h in fine], color=colour, lw=1, label=label)
        rows = metric(folder / f"iw-{eps:g}.json", "hbar-iw")["per_hbar"]
        left.plot(
            [r["hbar"] for r in rows], [r["nats_mean"] for r in rows], "o", ms=3, color=colour
        )
        wkb = metric(folder / f"nll-{eps:g}.json", "wkb")
        slope = (gaussian.nll(1e-6, eps) - gaussian.nll(-1e-6, eps)) / 2e-6
        print(
            f"| {eps:+g} | {wkb['nll0_mean']:.6f} | {gaussian.nll(0, eps):.6f} | "
            f"{wkb['nll1_mean']:.5f} | {slope:.5f} |"
        )
        short = np.array([0, 0.1])
        left.plot(short, wkb["nll0_mean"] + short * wkb["nll1_mean"], color="black", lw=0.7, ls=":")
        worst = max(worst, *(abs(r["nats_mean"] - gaussian.nll(r["hbar"], eps)) for r in rows))
        right.plot(
            fine, [gaussian.w2_squared(h, eps) for h in fine], color=colour, lw=1, label=label
        )
        for hbar in (0, 0.1, 0.2, 0.5, 1):
            with h5py.File(folder / f"samples-{eps:g}-{hbar:g}" / "samples.h5") as f:
                samples = np.sort(f["samples"][:, 0])
            quantile = np.sqrt(gaussian.V0) * np.array(
                [
                    gaussian.NormalDist().inv_cdf((i + 0.5) / len(samples))
                    for i in range(len(samples))
                ]
            )
            right.plot(
                hbar, np.mean((samples - quantile) ** 2), "o", ms=3, color=colour
            )  # on a line: sorted to sorted
    print(f"\nlargest |IW value - closed form| over all eps and h: {worst:.4f} nats")
    left.set_xlabel("h"), right.set_xlabel("h")
    left.set_ylabel("NLL, nats"), right.set_ylabel("W2 squared")
    right.set_yscale("log"), right.set_ylim(1e-6, 1)
    left.set_ylim(0.9, 3)
    left.legend(fontsize=7)
    save(figure, figures / "gaussian.png")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", default="1 2 3")
    parser.add_argument("--figures", type=Path, required=True)
    a = parser.parse_args()
    seeds = [int(s) for s in a.seeds.split()]
    a.figures.mkdir(parents=True, exist_ok=True)
    table_of_seeds(a.runs, seeds)
    table_of_best_hbar(a.runs, seeds)
    table_of_distances(a.runs)
    draw_nll(a.runs, seeds, a.figures)
    draw_distances(a.runs, a.figures)
    draw_profile(a.runs, seeds, a.figures)
    draw_densities(a.runs, a.figures)
    draw_paths(a.runs, a.figures)
    print("\n| eps | nll0 | closed form | nll1 | closed form |\n|---|---|---|---|---|")
    draw_gaussian(a.runs, a.figures)


if __name__ == "__main__":
    main()
