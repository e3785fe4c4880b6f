#!/usr/bin/env python3
"""Commands that must fail, and what the program then says.

    provoked_test.py PROGRAM      exit 0 if each ends with its code and its sentences, 1 if not

A command of scorenet, the files beside it, the exit code, and a part of each sentence that must
stand on standard error. Other tests look at most messages for their own reasons; here stand those
that had nobody. launch/messages.md lists all.
"""

import gzip
import json
import math
import os
import shlex
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# A config, whose problems are all told at once, as `train x.toml --dry-run` has it.
CONFIGS = [
    (
        """
[data]
levels = 1
missing = "abc"
sample_axes = []
arrays = []
window = ["a"]
reshape = [-1, -1]
labels = true
[model]
padding = []
channels = []
residual_resampling = [true]
[diffusion]
schedule = "vdm_linear"
learn_ends = true
gamma_min = 9.0
P_mean = 0.5
t_min = 0.9
t_max = 0.1
[train]
lr_schedule = "cosine"
warmup_steps = 900
lr_rampup_kimg = 100.0
steps = 10
shard_optimizer = true
[comm]
canonical = true
compression = "powersgd"
[ema]
decays = []
[condition."a b"]
array = "x"
""",
        [
            "one level holds no information",
            'must be "nan" or the number',
            "expected at least the axis that numbers",
            "expected the name of at least one data set",
            "is no range",
            "expected sizes >= 1, and -1 at most once",
            "set model.num_classes to the number of classes",
            "expected one name for all axes",
            "model.channels = []: expected at least one level",
            "model.residual_resampling has 1 flags",
            "only vdm_learned can learn its ends",
            "only log_normal draws times by it",
            "gamma_min = 9: must be below diffusion.gamma_max = 5",
            "must be below diffusion.t_max",
            "needs fewer warm-up steps",
            "both say how long the warm-up is",
            "sharded sums depend on the rank count",
            "only whole all-reduces are compressed",
            "run.threads = 0",
            "are all empty",
            "expected a name of letters",
        ],
    ),
    (
        """
[data]
path = "a.h5"
levels = 2
missing = "nan"
sample_axes = [1, 1]
transforms = ["log(1)"]
[model]
type = "mlp"
padding = "periodic"
hidden = []
num_classes = 3
[diffusion]
schedule = "vdm_learned"
loss = "simple"
learn_ends = true
time_sampling = "log_normal"
train_steps = 5
""",
        [
            "an axis is named twice",
            "discrete data are scaled to [-1, 1]",
            "only continuous data may have missing values",
            "points have no axes",
            "model.hidden = []",
            "set data.labels = true",
            "the loss must be the bound",
            "only the bound's end terms",
            "learns itself where times are drawn",
            "the T-step bound depends",
        ],
    ),
    (
        """
[data]
path = "a.h5"
channel_axis = 0
missing = "nan"
augment = 0.12
[model]
type = "classifier"
[diffusion]
schedule = "vdm_learned"
divergence_weight = 0.1
[train]
batch_size = 7
[comm]
canonical = true
[run]
threads = 1
""",
        [
            "names that axis too",
            "is trained on its cross-entropy",
            "Fill the values in the data",
            "only unet and dit are told how an image was augmented",
            "what is missing cannot be resampled",
            "a classifier learns no schedule",
            "set it to the number of classes",
            "comm.canonical cuts the batch into equal shards",
        ],
    ),
    (
        """
[data]
path = "a.h5"
transforms = ["divide(e)"]
[model]
type = "gaussian_mixture"
[diffusion]
schedule = "ve"
sigma_min = 90.0
loss = "hybrid"
""",
        [
            "needs an HDF5 file with weights",
            "divides by a vector condition",
            "sigma_min = 90: must be below diffusion.sigma_max = 80",
            "learns the reverse variance of a step",
        ],
    ),
    (
        """
[data]
path = "a.h5"
[model]
channels = [4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]
[diffusion]
train_steps = 5
time_sampling = "log_normal"
divergence_weight = 0.1
""",
        [
            "17 levels: expected at most 16",
            "this rule draws continuous times",
            "it needs continuous time and a loss other",
        ],
    ),
    (
        """
[data]
path = "a.h5"
transforms = ["divide(e)"]
splits = { train = [], validation = ["0:2", "b.h5"] }
augment = 0.5
[model]
type = "mlp"
[condition.e]
array = "x"
[condition.f]
array = "x"
steps = [-1]
[condition.g]
array = "x"
kind = "field"
steps = [1]
[condition.h]
[condition.i]
kind = "field"
steps = [-1]
""",
        [
            "is empty. Give a range such as",
            "holds both ranges and files",
            "earlier samples are fields",
            "expected different whole numbers below 0",
            "array is empty. Name the data set",
            "points have no grid for a field",
            "the field would stay where the image moves",
            "divide by a condition that earlier samples do not have",
        ],
    ),
    (
        """
[condition]
x = 1
""",
        ["expected a section [condition.NAME]"],
    ),
    (
        f"""
[data]
path = "a.h5"
[model]
type = "mlp"
hidden = {[1] * 1001}
""",
        ["1001 layers: expected at most"],
    ),
]

# Networks of tests/fuzz/corpus/snapshot, as NAME.safetensors; points.h5: points of two dimensions;
# e.toml: an empty config; file.txt: some text; else what write_files makes. COMMAND, code, part of
# what is said.
SHORT = {
    "DRAW": "sample --outdir o --seeds 0 --network",
    "EVALUATE_ALL": "evaluate --split all --network",
    "EVALUATE": "evaluate --data points.h5 --network",
    "STACK": "train stacked.toml --outdir r --train.steps 1 --data.arrays",
    "TRAIN": "train told.toml --outdir",
}
FOREIGN = "train e.toml --outdir r --train.steps 1 --data.path points.h5 --model.type torchscript"
FOREIGN += " --model.convention edm"
COMMANDS = [
    (FOREIGN, 2, "model.file is empty"),
    (FOREIGN + " --model.file a.pt --model.dropout 0.1", 2, "is what its file says"),
    (FOREIGN + " --model.file a.pt --diffusion.loss hybrid", 2, "returns no reverse variance"),
    (
        "train told.toml --outdir r --model.type torchscript --model.convention edm "
        "--model.file a.pt --model.num_classes 3 --data.labels true",
        2,
        "is told one thing",
    ),
    ("train e.toml --outdir ''", 2, "--outdir: is empty"),
    ("train e.toml --outdir r --train.steps 1", 3, "data.path is empty"),
    (
        "train e.toml --outdir r --train.steps 1 --data.path points.h5 "
        "--model.type gaussian_mixture --model.file points.h5",
        2,
        "an analytic model has no weights to train",
    ),
    ("plan e.toml", 2, "data.path is empty, so the shape"),
    ("plan e.toml --shape 2 --model.type mlp --ranks 2", 2, "one rank has no link to measure"),
    ("data info", 2, "no file is given"),
    ("data info e.toml", 3, "e.toml"),
    ("data synthesize --kind gaussian --out x.h5", 2, "no split asked for"),
    ("data synthesize --kind cmd --samples 2 --out x.h5", 2, "expected NAME.npy for --kind cmd"),
    ("data synthesize --kind calo --samples 2 --shape 0 --out x.h5", 2, "sizes >= 1 for --kind"),
    ("data synthesize --kind calo --train 2 --out x.h5", 2, "has no groups of splits"),
    ("data convert --zip file.txt --out x.h5", 3, "cannot be read as a zip file"),
    ("data convert --zip bare.zip --out x.h5", 3, "dataset.json: no such file in the archive"),
    ("data convert --idx . --test 2 --out x.h5", 2, "the source has its own test file"),
    ("convert to-diffusers mlp.safetensors --outdir foreign", 6, "has no counterpart in diffusers"),
    ("convert to-diffusers unet_nan.safetensors --outdir foreign", 4, "values are not finite"),
    ("ema reconstruct mlp.safetensors --out x.safetensors", 6, "not a power average"),
    ("sample --network mlp.safetensors --steps 2", 2, "no output: give --outdir DIR"),
    ("sample --network mlp.safetensors --out x.h5", 2, "needs --like FILE"),
    ("sample --network mlp.safetensors --like points.h5", 2, "needs --out OUT.h5"),
    (
        "sample --network mlp.safetensors --like points.h5 --out x.h5 --outdir o",
        2,
        "these are two forms of output",
    ),
    (
        "sample --network mlp.safetensors --like points.h5 --out x.npy",
        2,
        "only one of them is a .npy file",
    ),
    (
        "sample --network mlp.safetensors --like points.h5 --out x.h5 --save-h5",
        2,
        "cannot be used with --grid",
    ),
    ("sample --network mlp.safetensors --outdir o --seeds ''", 2, "--seeds is empty"),
    ("sample --outdir o --seeds 0-99999999999 --network mlp.safetensors", 2, "more than"),
    ("sample --network mlp.safetensors --outdir o --grid a", 2, "expected COLUMNSxROWS"),
    ("sample --network mlp.safetensors --outdir o --grid 1x1 --seeds 0", 2, "are not pictures"),
    (
        "DRAW mlp.safetensors --class 3",
        2,
        "the model knows 0 classes",
    ),
    (
        "DRAW mlp_classes.safetensors --class 7",
        2,
        "the model knows 2 classes",
    ),
    ("DRAW mlp.safetensors --class random", 2, "the model knows no classes"),
    ("DRAW mlp_classes.safetensors --class 0-1,b", 2, "'b' is no class or range"),
    ("DRAW mlp.safetensors --rho 5", 2, "only spacing edm has it"),
    (
        "DRAW mlp.safetensors --guidance 2",
        2,
        "needs --class or conditions",
    ),
    (
        "DRAW mlp.safetensors --guidance-interval 0 1",
        2,
        "there is no guidance",
    ),
    (
        "DRAW mlp.safetensors --classifier classifier.safetensors --weak-network "
        "mlp.safetensors --class 1",
        2,
        "two rules of guidance",
    ),
    (
        "DRAW mlp.safetensors --classifier classifier.safetensors",
        2,
        "needs --class, 0 to",
    ),
    (
        "DRAW mlp.safetensors --classifier classifier.safetensors --class 9",
        2,
        "the classifier knows 3 classes",
    ),
    (
        "DRAW mlp.safetensors --classifier mlp.safetensors --class 1",
        2,
        "is no classifier",
    ),
    (
        "DRAW unet.safetensors --classifier classifier.safetensors --class 1",
        2,
        "classifies examples of shape",
    ),
    (
        "DRAW classifier.safetensors",
        2,
        "has no score to evaluate or sample",
    ),
    (
        "DRAW mlp.safetensors --spacing trained-steps --sampler ddim",
        2,
        "no numbered steps",
    ),
    (
        "DRAW mlp.safetensors --corrector-norms batch",
        2,
        "only pc has a corrector",
    ),
    (
        "DRAW mlp.safetensors --hbar-schedule abc",
        3,
        "Give t:value pairs such as",
    ),
    ("DRAW mlp.safetensors --condition.x 1", 2, "condition.x"),
    ("sample --config e.toml --outdir o --seeds 0", 2, "has no weights in a config file"),
    ("evaluate --network mlp.safetensors", 2, "evaluate: no data"),
    (
        "EVALUATE mlp.safetensors --wkb-profile 2",
        2,
        "wkb is not asked for",
    ),
    (
        "EVALUATE mlp.safetensors --hbar-schedule 0:1",
        2,
        "has a noise knob",
    ),
    ("EVALUATE mlp.safetensors --solver adams", 2, "of ode, which is not asked for"),
    (
        "EVALUATE mlp.safetensors --best-hbar",
        2,
        "no metric over --hbar is asked for",
    ),
    (
        "EVALUATE mlp.safetensors --metrics fd",
        2,
        "and none are given. Give --features",
    ),
    (
        "EVALUATE mlp.safetensors --metrics fd --features file.txt",
        2,
        "expected pixels, a classifier",
    ),
    (
        "EVALUATE mlp.safetensors --metrics fd --features file.pt",
        6,
        "cannot be read as a TorchScript module",
    ),
    (
        "EVALUATE unet.safetensors --metrics fd --features pixels",
        3,
        "points.h5",
    ),
    (
        "EVALUATE_ALL unet.safetensors --data grey.npy --metrics fd "
        "--features classifier.safetensors",
        2,
        "Give one that was trained on such data",
    ),
    (
        "EVALUATE mlp.safetensors --dequantise uniform",
        2,
        "the data is continuous",
    ),
    (
        "EVALUATE mlp.safetensors --metrics hbar-iw --exact",
        2,
        "has no exact form",
    ),
    ("evaluate --config e.toml --data points.h5", 2, "has no weights in a config file"),
    ("info step.safetensors", 6, "expected a whole number >= 0"),
    ("info unet_wide.safetensors", 6, "describes a network of at least"),
    ("info shape.safetensors", 6, "expected sizes such as 1,28,28"),
    (
        "DRAW integers.safetensors",
        6,
        "weights are floating-point ones",
    ),
    ("DRAW wider.safetensors", 6, "by its own config"),
    ("DRAW more.safetensors", 6, "the model of its config has"),
    ("data convert --folder two_validations --out x.h5", 3, "a second folder for the split"),
    (
        "data convert --folder other_name --layout splits --out x.h5",
        3,
        "is not the name of a split",
    ),
    ("info schedule --diffusion.schedule vp_linear --diffusion.t_min 0", 2, "diffusion.t_min"),
    (
        "info schedule --diffusion.schedule vdm_learned --diffusion.t_min 0.1",
        2,
        "which pins that end",
    ),
    (
        "info schedule --diffusion.schedule vdm_learned --diffusion.t_max 0.9",
        2,
        "which pins that end",
    ),
    ("data info cut.npy", 3, "cut.npy"),
    ("data info header.npy", 3, "a header of 2000000 bytes"),
    ("data info packed.npy", 0, ""),  # says on standard output why it cannot be read
    ("data convert --folder splits_in_a_class --out x.h5", 3, "holds splits inside a class"),
    (
        "data convert --folder one_split_sorted --layout splits --out x.h5",
        3,
        "lie in no class folder",
    ),
    ("data convert --folder loop --out x.h5", 3, "folders deep"),
    ("data convert --folder not_utf8 --out x.h5", 3, "is not UTF-8"),
    (
        "data convert --folder no_class --layout classes --out x.h5",
        3,
        "no folder with pictures, so no class",
    ),
    ("data convert --folder webp --out x.h5", 3, "libwebp: damaged header"),
    ("data info chunks.h5", 3, "chunks of shape"),
    (
        "STACK '[\"dimensions/time\", \"t0_fields/tracer\"]'",
        3,
        "may differ only in their channels",
    ),
    (
        "STACK '[\"dimensions/time\", \"boundary_conditions/x_periodic/mask\"]'",
        3,
        "must be all bytes, or all real numbers",
    ),
    ("info schedule --diffusion.schedule ve --diffusion.t_min -0.5", 2, ">= 0 for schedule ve"),
    ("evaluate --config law.toml --data wide.npy --split all", 2, "Give data of as many"),
    ("sample --config offset.toml --outdir o --seeds 0", 2, "has 3 numbers, the mixture needs 2"),
    (
        "sample --config divided.toml --outdir o --seeds 0",
        2,
        "needs the condition e of each sample",
    ),
    (
        "sample --config divided.toml --outdir o --condition e.npy",
        2,
        "holds one array, but the model has the conditions e, f, g",
    ),
    (
        "evaluate --config divided.toml --data law.h5 --condition.e 3",
        2,
        "the data file gives the conditions here",
    ),
    (
        "sample --config divided.toml --outdir o --seeds 0 --condition.g 1",
        2,
        "is a field, which needs more than one value",
    ),
    (
        "EVALUATE_ALL unet.safetensors --data grey.npy --metrics wkb-published",
        2,
        "have 64 dimensions, and its cost",
    ),
    ("EVALUATE_ALL mlp_holes.safetensors --data holes.npy", 3, "all values of sample 0 are"),
    (
        "EVALUATE mlp_holes.safetensors --metrics w2",
        2,
        "compares whole examples",
    ),
    (
        "EVALUATE_ALL mlp.safetensors --data many.npy --n 10001 --metrics w2",
        2,
        "at most 10000 fit into memory",
    ),
    (
        "EVALUATE_ALL unet_log.safetensors --data grey.npy",
        2,
        "levels, which are scaled to [-1, 1]",
    ),
    (
        "sample --network unet.safetensors --like points.h5 --out x.h5 --seeds 0",
        3,
        "samples of shape",
    ),
    (
        "DRAW unet_ve.safetensors --spacing trained-steps --sampler ddim",
        2,
        "numbered steps preserve the variance",
    ),
    (
        "ema reconstruct average.safetensors other_seed.safetensors --out x.safetensors",
        6,
        "of another network, batch size or seed",
    ),
    ("plan told.toml --shape 2", 2, "shape is not known without the data"),
    ("plan too_many_told.toml --shape 2", 2, "whose product is below 2^31"),
    ("train too_many_told.toml --outdir r", 2, "e.npy has (1) for each sample"),
    ("TRAIN r --checkpoint.replica file.txt/r", 6, "Give a folder that can be written"),
    ("TRAIN run", 0, ""),
    (
        "DRAW run/snapshots/network-0000001-ema0.5.safetensors --condition wide.npy",
        3,
        "but the network expects (1)",
    ),
    (
        "TRAIN run --data.path wide.npy --data.changed true --train.steps 2",
        6,
        "'hidden.0.weight' has shape",
    ),
    (
        "TRAIN large --data.path large.npy",
        4,
        "the weights are those of the step before",
    ),
    (
        "TRAIN skips --data.path large.npy --train.steps 9 --train.on_nonfinite skip "
        "--train.max_skipped 2",
        4,
        "2 steps in a row were left out",
    ),
]
CORPUS = Path(__file__).resolve().parents[1] / "fuzz" / "corpus"


def safetensors(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def parts_of(data):
    """Header without digests, as a file of an older version has it, and the tensors' bytes."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    for key in ("scorenet.digest", "scorenet.tensor_digests"):
        del header["__metadata__"][key]
    return header, data[8 + length :]


# New name, network of the corpus, what its metadata and its config say instead.
CHANGED = [
    ("step", "mlp", {"scorenet.step": "x"}, {}),
    ("shape", "mlp", {"scorenet.example_shape": "a"}, {}),
    ("unet_wide", "unet", {"scorenet.example_shape": "200000000,8,1"}, {}),
    ("average", "mlp", {"scorenet.weights": "emastd0.1"}, {}),
    (
        "other_seed",
        "mlp",
        {"scorenet.weights": "emastd0.05"},
        {"seed = 0\nlearning": "seed = 1\nlearning"},
    ),
    ("mlp_holes", "mlp", {}, {'missing = ""': 'missing = "nan"'}),
    ("unet_log", "unet", {}, {"transforms = []": 'transforms = ["log(1)"]'}),
    ("unet_ve", "unet", {}, {'schedule = "vp_linear"': 'schedule = "ve"'}),
    ("unet_f", "unet", {}, {'prediction = "eps"': 'prediction = "F"'}),
]
LAW = """
[data]
path = "law.h5"
[model]
type = "gaussian_mixture"
file = "law.h5"
"""
TOLD = """
[data]
path = "points.npy"
splits = { train = ":", validation = ":" }
[model]
type = "mlp"
hidden = [4]
[condition.e]
array = "e.npy"
[train]
batch_size = 2
steps = 1
warmup_steps = 0
[ema]
decays = [0.5]
[eval]
every = 0
"""
TOMLS = {
    "law": LAW,
    "offset": LAW + "score_offset = [1.0, 2.0, 3.0]\n",
    "divided": LAW.replace("[model]", 'transforms = ["divide(e)"]\n[model]')
    + """
[condition]
e.array = "e"
f.array = "f"
g = { array = "g", kind = "field" }
""",
    "told": TOLD,
    "too_many_told": TOLD.replace('"e.npy"', '"e.npy"\nshape = [100000, 100000]'),
    "stacked": """
[data]
path = "flow.h5"
channel_axis = "none"
splits = { train = ":1", validation = ":1" }
[model]
type = "mlp"
""",
}


def write_changed(folder):
    for name, of, metadata, changes in CHANGED:
        header, data = parts_of((CORPUS / "snapshot" / of).read_bytes())
        header["__metadata__"].update(metadata)
        for old, new in changes.items():
            config = header["__metadata__"]["scorenet.config"]
            assert config.count(old) == 1, (name, old)
            header["__metadata__"]["scorenet.config"] = config.replace(old, new)
        (folder / f"{name}.safetensors").write_bytes(safetensors(header, data))


def npy(shape, values, kind="d"):
    """Values of struct's kind; a single one is that of all."""
    count = math.prod(shape)
    values = list(values) * (count if len(values) == 1 else 1)
    text = {"d": "<f8", "B": "|u1"}[kind]
    header = f"{{'descr': '{text}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", len(header))
        + header.encode()
        + struct.pack(f"<{count}{kind}", *values)
    )


def write_data(folder, program):
    for name, array in {
        "points": npy((4, 2), range(8)),
        "wide": npy((4, 3), range(12)),
        "large": npy((4, 2), [1e30]),
        "holes": npy((4, 2), [float("nan")]),
        "many": npy((10001, 2), [0.0]),
        "grey": npy((2, 1, 8, 8), range(128), "B"),
        "e": npy((4, 1), range(4)),
    }.items():
        (folder / f"{name}.npy").write_bytes(array)
    for command in (
        "--kind weather --samples 2 --shape 1 1 2 --out law.h5",
        "--kind well --samples 1 --shape 2 2 2 --out flow.h5",
        "--kind gaussian --train 8 --chunk 2 --out chunks.h5",
    ):
        run(program, folder, "data synthesize " + command)
    # Chunks of as many axes as the array and one of a value's bytes: one axis too few.
    whole = (folder / "chunks.h5").read_bytes()
    layout = struct.pack("<3I", 2, 2, 8)
    assert whole.count(layout) == 1
    at = whole.index(layout) - 9
    assert whole[at] == 3
    (folder / "chunks.h5").write_bytes(whole[:at] + b"\x02" + whole[at + 1 :])
    webp = bytearray((CORPUS / "picture" / "webp_lossy").read_bytes())
    webp[16] = 27  # the size of its first chunk
    (folder / "webp/a").mkdir(parents=True)
    (folder / "webp/a/x.webp").write_bytes(webp)


def write_files(folder, program):
    for path in (CORPUS / "snapshot").iterdir():
        (folder / f"{path.name}.safetensors").write_bytes(path.read_bytes())
    (folder / "e.toml").write_text("")
    for name in ("file.txt", "file.pt"):
        (folder / name).write_text("some text")
    run(
        program,
        folder,
        "data synthesize --kind gaussian --train 16 --validation 4 --test 4 --out points.h5",
    )
    write_changed(folder)
    write_data(folder, program)
    for name, text in TOMLS.items():
        (folder / f"{name}.toml").write_text(text)
    whole = (CORPUS / "snapshot" / "mlp").read_bytes()
    header, data = parts_of(whole)
    last = max(
        (name for name in header if name != "__metadata__"),
        key=lambda name: header[name]["data_offsets"],
    )
    (folder / "integers.safetensors").write_bytes(
        safetensors({**header, last: {**header[last], "dtype": "I32"}}, data)
    )
    begin, end = header[last]["data_offsets"]
    wider = {**header, last: {**header[last], "shape": [1] + header[last]["shape"]}}
    (folder / "wider.safetensors").write_bytes(safetensors(wider, data))
    more = {
        **header,
        "more": {
            "dtype": "F32",
            "shape": [end // 4 - begin // 4],
            "data_offsets": [len(data), len(data) + end - begin],
        },
    }
    (folder / "more.safetensors").write_bytes(safetensors(more, data + data[begin:end]))
    header, data = parts_of((CORPUS / "snapshot" / "unet").read_bytes())
    nan = struct.pack("<f", float("nan"))
    (folder / "unet_nan.safetensors").write_bytes(safetensors(header, nan + data[4:]))
    picture = (CORPUS / "picture" / "png_grey").read_bytes()
    with zipfile.ZipFile(folder / "bare.zip", "w") as archive:
        archive.writestr("x.png", picture)
    for place in (
        "two_validations/train/a",
        "two_validations/val/a",
        "two_validations/valid/a",
        "other_name/train/a",
        "other_name/mine/a",
        "no_class",
        "splits_in_a_class/a/train/b",
        "splits_in_a_class/a/val/b",
        "splits_in_a_class/c",
        "one_split_sorted/train/a",
        "one_split_sorted/val",
        "loop/a",
        "not_utf8/" + os.fsdecode(b"\xff"),
    ):
        (folder / place).mkdir(parents=True)
        (folder / place / "x.png").write_bytes(picture)
    (folder / "loop/a/again").symlink_to("..")
    whole = (CORPUS / "npy" / "reals").read_bytes()
    (folder / "cut.npy").write_bytes(whole[:-8])
    (folder / "packed.npy").write_bytes(gzip.compress(whole))
    long = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2000000) + b" " * 2000000
    (folder / "header.npy").write_bytes(long)


def config_cases():
    for number, (text, parts) in enumerate(CONFIGS):
        yield {"x.toml": text}, "train x.toml --outdir run --dry-run", 2, parts
    for command, code, part in COMMANDS:
        yield {}, command, code, [part]


def run(program, folder, command, output=subprocess.PIPE):
    for short, whole in SHORT.items():
        command = command.replace(short, whole)
    return subprocess.run(
        [program, *shlex.split(command)],
        cwd=folder,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",  # a message may hold a name that is not UTF-8
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
    )


def try_one(program, folder, case):
    files, command, code, parts = case
    for file, text in files.items():
        (folder / file).write_text(text)
    return faults_of(run(program, folder, command), command, code, parts)


def try_full_output(program, folder):
    command = "info schedule"
    with open("/dev/full", "w") as full:
        return faults_of(run(program, folder, command, full), command, 6, ["standard output: not"])


def faults_of(done, command, code, parts):
    missing = [part for part in parts if part not in done.stderr]
    if done.returncode == code and not missing:
        return 0
    print(
        f"{command}: code {done.returncode}, expected {code}; lacks {missing}:",
        done.stderr[:1000],
        flush=True,
    )
    return 1


def main(program):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, program)
        faults = sum(try_one(program, folder, case) for case in config_cases())
        faults += try_full_output(program, folder)
    print(f"{len(CONFIGS) + len(COMMANDS)} commands, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(str(Path(sys.argv[1]).resolve())))
