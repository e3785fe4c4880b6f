"""What sizes measures, and the files that it makes of its figures: a CSV, a table and a plot."""

import csv
import dataclasses
import shutil
import statistics
import subprocess

import results


@dataclasses.dataclass(frozen=True)
class Size:
    channels: tuple[int, int, int] = (32, 64, 64)
    pixels: int = 28  # of a row and of a column
    batch: int = 32  # images a rank
    ranks: int = 2

    def name(self):
        return f"{self.channel_text()} {self.pixels}x{self.pixels} {self.batch}x{self.ranks}"

    def channel_text(self):
        return "-".join(map(str, self.channels))

    def shape(self):
        return (1, self.pixels, self.pixels)


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    axis: str  # its label
    field: str  # of Size
    values: tuple
    ticks: str  # gnuplot's, as the range
    range: str
    logarithmic: bool = True

    @property
    def sizes(self):
        return [dataclasses.replace(Size(), **{self.field: value}) for value in self.values]


PANELS = (
    Panel(
        "Width of the network",
        "channels of the three levels",
        "channels",
        ((32, 64, 64), (64, 128, 128), (128, 256, 256)),
        '("32-64-64" 32, "64-128-128" 64, "128-256-256" 128)',
        "[26:160]",
    ),
    Panel(
        "Size of the images",
        "pixels of a row (1 channel)",
        "pixels",
        (28, 16, 32, 64),
        "(16, 28, 32, 64)",
        "[14:73]",
    ),
    Panel(
        "Batch",
        "images a rank",
        "batch",
        (32, 2, 8, 64),
        "(2, 8, 32, 64)",
        "[1.6:80]",
    ),
    Panel(
        "Ranks",
        "ranks, one thread each",
        "ranks",
        (2, 1),
        "(1, 2)",
        "[0.7:2.3]",
        logarithmic=False,
    ),
)
BASE_TEXT = "unless said: 32-64-64 channels, images 28x28x1, 32 images a rank, 2 ranks"
# 1, 2, 5, 10, ...: the axis covers less than two powers of ten.
YTICS = ", ".join(f"{one * 10**power:g}" for power in range(-1, 6) for one in (1, 2, 5))
LOGARITHMIC = f"set logscale xy; set ytics ({YTICS})"
KEY = "set key at screen 0.3,0.135 left top vertical Left reverse samplen 3 spacing 1.3"
COLUMNS = "channels,pixels,images_a_rank,ranks,side,images_per_s,least,most,rounds".split(",")
# Colours that colour-blind readers tell apart (Okabe and Ito), ours warm; point shapes of gnuplot.
STYLES = (("#d55e00", 7), ("#e69f00", 5), ("#0072b2", 9), ("#56b4e9", 11), ("#009e73", 13))


def figures(done):
    """{(size, side): rates}, in the order of the panels."""
    by_name = {size.name(): size for panel in PANELS for size in panel.sizes}
    rates = {}
    for line in done.measured():
        key = (by_name[line["what"]], line["side"])
        rates.setdefault(key, []).append(line["images_per_s"])
    return rates


def sides_of(rates):
    return list(dict.fromkeys(side for _, side in rates))


def write_csv(rates, path):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for (size, side), values in rates.items():
            numbers = (statistics.median(values), min(values), max(values))
            row = (size.channel_text(), size.pixels, size.batch, size.ranks, side)
            writer.writerow((*row, *(f"{number:.1f}" for number in numbers), len(values)))


def table(rates, heads):
    """A row a size; in brackets the least and the most of several rounds."""
    sides = sides_of(rates)
    ours, peers = ([s for s in sides if s.startswith(name)] for name in ("ours", "peer"))
    cells = ("channels", "image", "images a rank", "ranks", *sides, "best over best")
    rows = [results.row(*cells), "| --- | --- |" + " ---: |" * (len(cells) - 2)]
    for size in dict.fromkeys(size for size, _ in rates):
        medians = {s: statistics.median(rates[size, s]) for s in sides if (size, s) in rates}
        best = [max((medians[s] for s in of if s in medians), default=0) for of in (ours, peers)]
        ratio = f"{best[0] / best[1]:.2f}" if all(best) else ""
        image = f"{size.pixels}x{size.pixels}"
        own = [spread(rates.get((size, side), [])) for side in sides]
        rows.append(
            results.row(size.channel_text(), image, str(size.batch), str(size.ranks), *own, ratio)
        )
    head = [*results.head_lines(heads), "", "Images/s of a training step:", ""]
    return "\n".join([*head, *rows, ""])


def spread(values):
    if not values:
        return ""
    median = f"{statistics.median(values):.1f}"
    return median if len(values) == 1 else f"{median} ({min(values):.1f} to {max(values):.1f})"


def named(side):
    """As the plot's key says it."""
    own, mode = side.split(" ", 1)
    if own == "ours":
        return f"scorenet, {mode}"
    precision = "bf16" if "bf16" in mode else "fp32"
    ways = [
        text
        for word, text in (
            ("compile", "compiled"),
            ("bmm", "attention by two products"),
            ("channels-last", "channels last"),
        )
        if word in mode
    ]
    return ", ".join(["PyTorch and diffusers", precision, *(ways or ["eager"])])


def panel_script(panel, rates, place, key):
    """gnuplot's commands for one panel; the numbers stand in them."""
    blocks, curves = [], []
    shown = [v for (size, _), values in rates.items() if size in panel.sizes for v in values]
    ends = f"[{0.7 * min(shown)}:{1.4 * max(shown)}]" if panel.logarithmic and shown else "[0:*]"
    for number, side in enumerate(sides_of(rates)):
        found = [(size, rates[size, side]) for size in panel.sizes if (size, side) in rates]
        if not found:
            continue
        block = f"$of_{place}_{number}"
        points = sorted((abscissa(panel, size), values) for size, values in found)
        lines = [f"{x} {statistics.median(v)} {min(v)} {max(v)}" for x, v in points]
        blocks.append("\n".join([f"{block} << EOD", *lines, "EOD"]))
        colour, shape = STYLES[number % len(STYLES)]
        look = f"lw 2 lc rgb '{colour}' pt {shape} ps 0.8"
        title = f"title '{named(side)}'" if key else "notitle"
        curves.append(f"{block} using 1:2 with linespoints {look} {title}")
        curves.append(f"{block} using 1:2:3:4 with yerrorbars {look} notitle")
    return [
        *blocks,
        "unset logscale; set autoscale; set ytics autofreq",
        f"set title '{panel.title}'; set xlabel '{panel.axis}'; set xtics {panel.ticks}",
        LOGARITHMIC if panel.logarithmic else "",
        f"set xrange {panel.range}; set yrange {ends}",
        f"plot {', '.join(curves)}" if curves else "",
    ]


def abscissa(panel, size):
    value = getattr(size, panel.field)
    return value[0] if panel.field == "channels" else value


def script(rates, heads, path):
    machine = heads[0]["head"]["CPU"].replace("'", "")
    limit = "" if heads[0]["head"]["limit"] == "none" else f", {heads[0]['head']['limit']}"
    lines = [
        "set terminal svg size 1000,900 font 'sans-serif,14' background '#ffffff'",
        f"set output '{path}'",
        "set grid lc rgb '#dddddd' lw 1; set border 3; set tics nomirror; unset mxtics",
        "set ylabel 'images per second'; set format y '%g'",
        "set multiplot layout 2,2 margins 0.09,0.98,0.23,0.87 spacing 0.11,0.15 "
        f"title \"Training step of a U-Net on a CPU: {machine}{limit}\\n{BASE_TEXT}\"",
    ]
    for place, panel in enumerate(PANELS):
        last = place == len(PANELS) - 1  # its key is that of all
        lines.append(KEY if last else "unset key")
        lines += panel_script(panel, rates, place, key=last)
    return "\n".join([*lines, "unset multiplot", "unset output", ""])


def draw(rates, heads, path):
    """False where there is no gnuplot."""
    if shutil.which("gnuplot") is None:
        return False
    subprocess.run(["gnuplot"], input=script(rates, heads, path), text=True, check=True)
    return True


def write(done, folder):
    rates = figures(done)
    text = table(rates, done.heads)
    (folder / "sizes.md").write_text(text, encoding="utf-8")
    write_csv(rates, folder / "sizes.csv")
    if rates and not draw(rates, done.heads, folder / "speed_against_size.svg"):
        text += "No plot: gnuplot is not installed.\n"
    return text
