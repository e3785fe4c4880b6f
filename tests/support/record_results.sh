#!/usr/bin/env bash
# What a program computes, as files that can be compared: for changes that must not change a number.
#
#   tests/support/record_results.sh PROGRAM FOLDER      into FOLDER, which must not exist
#   diff -r FOLDER_BEFORE FOLDER_AFTER                  silent: the same bits
#
# A training of 20 steps in fp32 at 1 and 2 ranks, sharded and canonical, of a U-Net on images and
# an mlp on points; every likelihood and sampler on their snapshots. Wall-clock times are taken out.
# Needs h5py: PYTHON names a python3 that has it.
set -euo pipefail
program=$(realpath "$1")
[ ! -e "$2" ] || { echo "$2 exists: give a new folder" >&2; exit 2; }
mkdir -p "$2" && cd "$2"
export OMP_NUM_THREADS=1
python=${PYTHON:-python3}

run() {
  "$program" "$@" >>../record.log 2>&1 ||
    { echo "failed: $*" >&2; tail -5 ../record.log >&2; exit 1; }
}
ranks() { local n=$1; shift; mpirun --oversubscribe -n "$n" "$program" "$@" >>../record.log 2>&1 ||
  { echo "failed at $n ranks: $*" >&2; tail -5 ../record.log >&2; exit 1; }; }
untimed() { "$python" - "$@" <<'PY'
import json, sys
def strip(value):
    if isinstance(value, dict):
        return {k: strip(v) for k, v in value.items()
                if 'second' not in k and 'sec' not in k.split('_')}
    return [strip(v) for v in value] if isinstance(value, list) else value
for path in sys.argv[1:]:
    with open(path) as f: report = json.load(f)
    with open(path, 'w') as f: json.dump(strip(report), f, indent=1)
PY
}

# An HDF5 file holds times of its own: what is compared are its arrays, by name, type and bytes.
arrays() { "$python" - "$1" <<'PY'
import hashlib, sys, h5py
def show(name, item):
    if isinstance(item, h5py.Dataset):
        value = item[()]
        data = value.tobytes() if hasattr(value, 'tobytes') else repr(value).encode()
        print(name, item.dtype, item.shape, hashlib.sha256(data).hexdigest())
with h5py.File(sys.argv[1]) as f: f.visititems(show)
PY
}

run data synthesize --kind swiss-roll --train 128 --validation 32 --test 32 --out points.h5
"$python" - <<'PY'
import struct
# Images 1 x 8 x 8 of a fixed arithmetic pattern, and labels: an .npy needs no library.
def npy(path, kind, shape, values):
    head = repr({'descr': kind, 'fortran_order': False, 'shape': shape})
    head += ' ' * (63 - (10 + len(head)) % 64) + '\n'
    length = struct.pack('<H', len(head))
    with open(path, 'wb') as f:
        f.write(b'\x93NUMPY\x01\x00' + length + head.encode() + bytes(values))
npy('x.npy', '|u1', (96, 1, 8, 8), [(7 * i * i + 31 * i + i // 64) % 256 for i in range(96 * 64)])
npy('y.npy', '|u1', (96,), [i % 3 for i in range(96)])
PY
run data convert --npy x.npy --labels y.npy --validation 16 --test 16 --out images.h5

cat >points.toml <<'TOML'
[data]
path = "points.h5"
[model]
type = "mlp"
hidden = [32, 32]
[train]
batch_size = 16
steps = 20
warmup_steps = 4
precision = "fp32"
[checkpoint]
every = 10
[eval]
every = 20
n = 16
[run]
threads = 1
TOML
sed -e 's/^path = .*/path = "images.h5"\nlabels = true/; /^hidden/d' \
  -e 's/^type = .*/type = "unet"\nchannels = [8, 16]\nnorm_groups = 4\nnum_classes = 3/' \
  points.toml >images.toml
for kind in points images; do
  for way in plain:1: plain:2: sharded:2:--train.shard_optimizer=true \
    canonical:2:--comm.canonical=true; do
    IFS=: read -r name n option <<<"$way"
    ranks "$n" train "$kind.toml" --outdir "$kind-$name-$n" ${option:+$option}
    (cd "$kind-$name-$n/snapshots" && sha256sum *.safetensors) >"$kind-$name-$n.sha256"
    "$python" -c "
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
for row in rows:
    if 'sec' not in row['name'] and 'gb' not in row['name']: print(row)
" "$kind-$name-$n/metrics.csv" >"$kind-$name-$n.metrics"
  done
  newest=$(ls "$kind"-plain-1/snapshots/*.safetensors | tail -1)
  cp "$newest" "$kind.safetensors"
done
rm -rf ./*-plain-? ./*-sharded-? ./*-canonical-?

evaluate() {
  local name=$1
  shift
  run evaluate "$@" --json "$name.json" --per-example "$name.h5" --n 8 --batch 4
  untimed "$name.json"
}
evaluate points-all --network points.safetensors --data points.h5 --steps 20 --hbar 0,0.5,1 \
  --best-hbar --wkb-profile 2 \
  --metrics elbo,elbo-50,ode,mcallester,immse,wkb,wkb-published,hbar-elbo,hbar-iw,w2
"$python" - <<'PY'
import h5py, numpy as np
with h5py.File('mixture.h5', 'w') as f:
    f['weights'], f['means'] = [0.25, 0.75], [[-1.0], [0.5]]
    f['covariances'] = [[[0.05]], [[0.2]]]
with h5py.File('line.h5', 'w') as f: f['test/images'] = np.linspace(-1.5, 1.5, 8).reshape(8, 1)
PY
printf '[model]\ntype = "gaussian_mixture"\nfile = "mixture.h5"\n' >mixture.toml
evaluate mixture-exact --config mixture.toml --data line.h5 --hbar 0 --exact \
  --metrics elbo,elbo-20,mcallester,immse,ode,wkb,hbar-elbo
evaluate images-all --network images.safetensors --data images.h5 --steps 10 \
  --metrics elbo,elbo-20,mcallester,ode,hbar-elbo,w2,kid --features pixels
evaluate images-2ranks --network images.safetensors --data images.h5 --metrics elbo,ode --steps 10

for kind in points images; do
  for sampler in ancestral ddim euler-maruyama heun dpmpp-2m dpmpp-2m-sde exponential pc ode; do
    run sample --network $kind.safetensors --sampler $sampler --steps 6 --seeds 0-3 --save-h5 \
      --outdir $kind-$sampler
    sha256sum $kind-$sampler/*.png >$kind-$sampler.sha256 2>/dev/null || true
    arrays $kind-$sampler/samples.h5 >$kind-$sampler.txt
    rm -r $kind-$sampler
  done
done
run sample --network images.safetensors --class 1 --guidance 2 --steps 6 --seeds 0-3 --save-h5 \
  --outdir guided
arrays guided/samples.h5 >guided.txt
rm -r guided
for file in *.h5; do arrays "$file" >"$file.txt"; rm "$file"; done
