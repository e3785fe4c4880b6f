#!/usr/bin/env bash
# What a start takes for itself (precision), what it keeps (a run's own config) and what it refuses
# (names, configs).
#
#   defaults_test.sh PROGRAM      exit 0 if all hold, 1 if not
# shellcheck disable=SC2317,SC2016 # functions called through check
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
export SCORENET=${1:?usage: defaults_test.sh PROGRAM} OMP_NUM_THREADS=1
source "$root/tests/support/tiny_run.sh"

own_folder defaults
shown() { grep -q -- "$1" out || { cat out; return 1; }; }
count() { [ "$(grep -c -- "$2" "$3")" = "$1" ] || { grep -- "$2" "$3"; return 1; }; }

# ---- precision. Images of 8x8 in numpy's format, and a network for them.
{ printf '\x93NUMPY\x01\x00v\x00%-117s\n' \
  "{'descr': '|u1', 'fortran_order': False, 'shape': (40, 1, 8, 8), }"
  for i in $(seq 2560); do printf '%b' "\\x$(printf %02x $((i * 7 % 251)))"; done; } >images.npy
check "images" exits 0 "$SCORENET" data convert --npy images.npy --validation 8 --test 8 \
  --out images.h5
cat >images.toml <<TOML
[data]
path = "images.h5"
[model]
channels = [8, 8]
norm_groups = 4
[train]
batch_size = 8
steps = 2
[ema]
decays = [0.9]
[eval]
every = 0
[run]
threads = 1
TOML
train=("$SCORENET" train images.toml --outdir)
native=fp32; grep -qE '^flags.* (avx512_bf16|amx_bf16)( |$)' /proc/cpuinfo && native=bf16
check "auto is the default" exits 0 "${train[@]}" auto
check "and takes what the CPU has" shown "^precision  *$native (auto; "
check "it stands in the saved config" grep -q '^precision = "auto"' auto/config.toml
check "and what it took in the checkpoint" grep -q "\"precision\": \"$native\"" \
  auto/checkpoints/0000002/state.json
check "and in the snapshot" grep -qa "scorenet.precision\":\"$native\"" \
  auto/snapshots/network-0000002-ema0.9.safetensors
check "fp32 where LibTorch may not use bf16" exits 0 env ONEDNN_MAX_CPU_ISA=AVX2 "${train[@]}" avx2
check "by auto" shown '^precision  *fp32 (auto; '
limit=(env ATEN_CPU_CAPABILITY=avx2 "$SCORENET")
check "fp32 within LibTorch's own limit" exits 0 "${limit[@]}" train images.toml --outdir within
check "by auto, which names it" shown \
  '^precision  *fp32 (auto; .* within ATEN_CPU_CAPABILITY=avx2, ONEDNN_MAX_CPU_ISA=AVX2)'
check "another precision trains there" exits 0 "${limit[@]}" train images.toml --outdir within16 \
  --train.precision bf16
check "at a cost" count 1 'precision  *bf16; imitated.* within ATEN_CPU_CAPABILITY=avx2.*fp32' out
check "an imitated precision trains" exits 0 env ONEDNN_MAX_CPU_ISA=AVX2 "${train[@]}" bf16 \
  --train.precision bf16
check "and one line says its cost" count 1 \
  'precision  *bf16; imitated.*slower than fp32.*auto takes fp32' out
check "fp16 likewise" exits 0 env ONEDNN_MAX_CPU_ISA=AVX2 "${train[@]}" fp16 --train.precision fp16
check "with its cost" count 1 'precision  *fp16; imitated.*slower than fp32' out
check "fp32 costs nothing" exits 0 "${train[@]}" fp32 --train.precision fp32
check "and says so" count 0 imitated out
check "a points network is not lowered" exits 0 "$SCORENET" train tiny.toml --outdir points \
  --train.steps 2
check "by auto" shown '^precision  *fp32 (auto; '

# A run goes on in another precision: on another machine, or because the user says so.
for next in bf16 fp16 fp32 auto; do
  step=$((10#$(cat bf16/checkpoints/latest)))
  was=$(grep -o '^precision = .*' <bf16/checkpoints/"$(cat bf16/checkpoints/latest)"/config.toml |
    cut -d' ' -f3)
  check "a run goes on in $next" exits 0 env ONEDNN_MAX_CPU_ISA=AVX2 "${train[@]}" bf16 \
    --train.precision $next --train.steps $((step + 2))
  check "from its step" shown "resumed at step $step"
  [ "$was" = "\"$next\"" ] || check "and says what changed" shown \
    "changed  *train.precision = \"$next\", was $was"
done
check "auto on another machine says both" grep -q 'precision  *fp32 (auto; .*' bf16/log.txt

network=(--network bf16/snapshots/network-0000002-ema0.9.safetensors --data images.h5 --n 2)
check "an old snapshot is evaluated as it says" exits 0 env ONEDNN_MAX_CPU_ISA=AVX2 "$SCORENET" \
  evaluate "${network[@]}"
check "with a note of the cost" says 'note: .*bf16.*slower than fp32.*--precision fp32'
check "or in another precision" exits 0 "$SCORENET" evaluate "${network[@]}" --precision fp32
check "without one" [ ! -s err ]
network=(--network auto/snapshots/network-0000002-ema0.9.safetensors --data images.h5 --n 2)
check "auto evaluates" exits 0 "$SCORENET" evaluate "${network[@]}" &&
  grep -o 'elbo [^,]*' out >first
check "in fp32" exits 0 "$SCORENET" evaluate "${network[@]}" --precision fp32 &&
  check "to all digits" grep -qF "$(cat first)" out
check "doctor tells what is native" exits 0 "$SCORENET" doctor
check "of the CPU at hand" shown \
  "precision  *on the CPU fp32 native, bf16 .*auto takes $native on cpu"
check "without a limit" count 0 '^limit ' out
check "doctor tells of a limit" exits 0 "${limit[@]}" doctor
check "and what it leaves" shown '^limit .*ATEN_CPU_CAPABILITY=avx2.*: vectors up to AVX2, no bf16'
check "which is taken" shown 'U-Nets .*fp32 by .*, in bf16 by LibTorch'
check "doctor tells of another limit" exits 0 env ATEN_CPU_CAPABILITY=default "$SCORENET" doctor
check "which leaves LibTorch alone" shown 'U-Nets .*fp32 by LibTorch'

# ---- a run's own config
mkdir own && { echo "# mine"; cat tiny.toml; } >own/config.toml && cp own/config.toml kept.toml
run_own() { exits 0 "$SCORENET" train own/config.toml --outdir own --train.steps "$@"; }
check "a config in the run's own folder trains" run_own 10
check "and is left as it is" cmp own/config.toml kept.toml
check "what differed is kept beside it" grep -q '^# train.steps = 10, was 60' \
  own/config-0000000.toml
check "a changed key resumes" run_own 12 --train.learning_rate 5e-4
check "and is logged with both values" grep -q 'changed  *train.learning_rate = 5e-04, was 0.001' \
  own/log.txt
check "each of them" grep -q 'changed  *train.steps = 12, was 10' own/log.txt
check "and kept" grep -q '^learning_rate = 5e-04' own/config-0000010.toml
check "the same again" run_own 12 --train.learning_rate 5e-4
check "is no change" count 1 'changed  *train.learning_rate' own/log.txt
check "back again" run_own 14
check "is one" grep -q 'changed  *train.learning_rate = 0.001, was 5e-04' own/log.txt
check "the user's file is still as it was" cmp own/config.toml kept.toml
check "a kept config starts the run too" exits 0 "$SCORENET" train own/config-0000010.toml \
  --outdir own --run.tick 7
check "and is left as it is" grep -q '^tick = 5' own/config-0000010.toml
check "the first start's is never rewritten" exits 0 "$SCORENET" train tiny.toml --outdir fresh \
  --train.steps 4
cp fresh/config.toml kept.toml
check "on resume" exits 0 "$SCORENET" train tiny.toml --outdir fresh --train.steps 6 --run.tick 3
check "whatever changed" cmp fresh/config.toml kept.toml

# ---- names that no config, report or log can hold
for name in $'donn\xe9es.h5' $'a\rb.h5' $'a\nb.h5' $'a\tb.h5' $'a\x7fb.h5' $'\xc0\xaf'; do
  for command in "train tiny.toml --outdir o --data.path" "train tiny.toml --outdir" \
    "evaluate ${network[*]} --json" \
    "evaluate --network auto/snapshots/network-0000002-ema0.9.safetensors --data" \
      "sample --network" "data info" "info" \
    "train --outdir o"; do
    # shellcheck disable=SC2086
    check "$command with such a name" exits 2 "$SCORENET" $command "$name"
    check "is told by its place" says ' place '
  done
done
check "nothing was made" [ ! -e o ]
printf '[data]\npath = "a\\rb.h5"\n[train]\nsteps = 2\n' >cr.toml
check "the same within a config" exits 2 "$SCORENET" train cr.toml --outdir o
check "is told by its place" says 'data.path.*0x0D at place 2'
cp images.h5 "donnée 日本 \"x\".h5"
check "UTF-8, spaces and quotes are names" exits 0 "${train[@]}" "läuft 1" \
  --data.path "donnée 日本 \"x\".h5"
check "a run with them resumes" exits 0 "${train[@]}" "läuft 1" --data.path "donnée 日本 \"x\".h5" \
  --train.steps 3
check "from its step" shown 'resumed at step 2'
check "and evaluates" exits 0 "$SCORENET" evaluate \
  --network "läuft 1/snapshots/network-0000002-ema0.9.safetensors" \
  --data "donnée 日本 \"x\".h5" --n 2 --json "é.json"
check "with its name in the report" grep -q '日本' "é.json"

# ---- what is no config, no folder, no name
mkfifo pipe.toml
head -c 100000000 /dev/zero | tr '\0' '#' >huge.toml
{ printf 'x = '; head -c 200000 /dev/zero | tr '\0' '['; } >deep.toml
: >empty.toml
for config in pipe.toml . huge.toml deep.toml missing.toml; do
  for verb in "train --outdir o" "plan"; do
    # shellcheck disable=SC2086
    check "$verb $config is refused" exits 2 "$SCORENET" $verb "$config"
    check "in a sentence" one_line
  done
done
check "an empty config is one of defaults" exits 0 "$SCORENET" train empty.toml --outdir o \
  --dry-run --data.path images.h5 --train.steps 1
check "an empty --outdir is refused" exits 2 "$SCORENET" train tiny.toml --outdir ""
check "by its name" grep -q -- '--outdir' err
check "an unknown metric" exits 2 "$SCORENET" evaluate "${network[@]}" --metrics elbos
check "has a hint" says "Did you mean 'elbo'"
check "an unknown sampler" exits 2 "$SCORENET" sample \
  --network auto/snapshots/network-0000002-ema0.9.safetensors --sampler ddpm --outdir o
check "has a hint" grep -q "Did you mean 'ancestral'" err
check "an unknown schedule" exits 2 "$SCORENET" train tiny.toml --outdir o \
  --diffusion.schedule cosine
check "has a hint" says "Did you mean 'vp_cosine'"

[ "$failures" = 0 ] || { echo "$failures failed"; exit 1; }
