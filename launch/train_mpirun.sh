#!/usr/bin/env bash
# Train under mpirun, on this machine or on the machines of a hostfile.
#
#   launch/train_mpirun.sh --ranks 4 --config configs/fashion_mnist.toml --outdir runs/a
#     [--hostfile FILE] [-- KEYS...]
#
# --ranks N          ranks in all
# --config FILE      the experiment
# --outdir DIR       the run folder; the same again resumes
# --hostfile FILE    lines "host slots=N", as mpirun reads them
# -- KEYS          passed on: --train.steps 1000 ...
#
# A job manager that ends the job with SIGTERM gives mpirun's ranks one second: too short to save.
# So TERM, USR1, HUP and INT (Ctrl-C) here become USR1 for mpirun, which passes it to all ranks;
# they finish the step, save, and exit with 75.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/launch/common.sh"

ranks=2 config='' outdir='' hostfile=()
while [ $# -gt 0 ]; do
  case "$1" in --ranks | --config | --outdir | --hostfile) [ $# -ge 2 ] ||
    die 2 "$1: needs a value; see --help" ;; esac
  case "$1" in
    --ranks) ranks=$2; shift 2 ;;
    --config) config=$2; shift 2 ;;
    --outdir) outdir=$2; shift 2 ;;
    --hostfile) hostfile=(--hostfile "$2"); shift 2 ;;
    --) shift; break ;;
    -h | --help) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die 2 "unknown option '$1'; see --help" ;;
  esac
done
[[ "$ranks" =~ ^[1-9][0-9]*$ ]] || die 2 "--ranks $ranks: expected a whole number above zero"
[[ -n "$config" && -n "$outdir" ]] || die 2 "needs --config FILE and --outdir DIR; see --help"
scorenet=${SCORENET:-$root/build/bin/scorenet}
[ -x "$scorenet" ] ||
  die 2 "$scorenet: not built. Run ./launch/quickstart, or ./launch/setup and cmake --build build"

allow_root_mpi
oversubscribe=()
[ ${#hostfile[@]} -gt 0 ] || [ "$ranks" -le "$(nproc)" ] || oversubscribe=(--oversubscribe)
# Unbound, a rank computes on its share of all cores; mpirun would bind up to two ranks to a core
# each. In a session of its own: Ctrl-C in a terminal reaches a whole process group, and mpirun
# would end its ranks unsaved.
setsid mpirun -n "$ranks" --bind-to none "${hostfile[@]}" "${oversubscribe[@]}" "$scorenet" train \
  "$config" --outdir "$outdir" "$@" &
job=$!
trap 'kill -USR1 $job 2>/dev/null || :' TERM USR1 HUP INT
while kill -0 $job 2>/dev/null; do wait $job || :; done # a trapped signal ends wait early
status=0
wait $job || status=$?
exit $status
