#!/usr/bin/env bash
# The course of benchmarks/peers/gpu/run, with stand-ins for the peer and for our programs: the
# longest search is first and alone, one that was ended goes on in the next call, results add up.
# shellcheck disable=SC2016 # variables of the stand-ins
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "gpu_run_test: $1" >&2; sed 's/^/  /' "$work/calls" >&2; exit 1; }

# A peer that compiles for NAP seconds.
cat >"$work/python" <<'PEER'
#!/usr/bin/env bash
case $1 in *train_step.py) ;; *) exec python3 "$@" ;; esac
mode=$(sed 's/.*--mode \([a-z-]*\).*/\1/' <<<"$*")
cache=${TORCHINDUCTOR_CACHE_DIR:-}
echo "begin $mode, ${TORCHINDUCTOR_COMPILE_THREADS:-no} threads, cache ${cache##*/}" >>"$CALLS"
[ "$mode" = eager ] || { echo part >"$cache/new.so"; sleep "$NAP" & wait $!; }
echo "end $mode" >>"$CALLS"
printf '{"what": "train", "network": "large", "precision": "bf16", "mode": "%s", ' "$mode"
echo "\"images_per_s\": ${#mode}}"
PEER
mkdir -p "$work/build/benchmarks" "$work/cache/large-max-autotune"
for program in gpu_step_benchmark evaluation_benchmark; do
  printf '#!/bin/sh\necho "ours" >>"$CALLS"\n' >"$work/build/benchmarks/$program"
done
chmod +x "$work/python" "$work"/build/benchmarks/*
touch -d '5 minutes ago' "$work/cache/large-max-autotune/old.so"
run() {
  : >"$work/calls"
  env CALLS="$work/calls" PYTHON="$work/python" BUILD="$work/build" CACHE="$work/cache" TESTS=0 \
    TURNS=1 "$@" "$root/benchmarks/peers/gpu/run" "$work/out" >"$work/log" 2>&1
}

run PARTS=autotune AUTOTUNE_LIMIT=1 NAP=20
[ "$(cat "$work/calls")" = "begin max-autotune, $(nproc) threads, cache large-max-autotune" ] ||
  fail "a search that is ended was more or less than that"
grep -q 'large-max-autotune did not come to an end' "$work/log" ||
  fail "nobody says that it was ended"
[ ! -e "$work/cache/large-max-autotune/new.so" ] || fail "a half-written library stays in the cache"
[ -e "$work/cache/large-max-autotune/old.so" ] || fail "a whole library left the cache"

run NAP=0.2
[ "$(sed -n 2p "$work/calls")" = "end max-autotune" ] || fail "something ran beside the search"
[ "$(grep -c 'begin reduce-overhead, no threads' "$work/calls")" = 4 ] ||
  fail "not four compilations beside one another"
[ "$(grep -c ours "$work/calls")" = 10 ] || fail "not ten measurements of ours"
last_compiled=$(grep -n 'end reduce' "$work/calls" | tail -1 | cut -d: -f1)
[ "$(grep -n ours "$work/calls" | head -1 | cut -d: -f1)" -gt "$last_compiled" ] ||
  fail "ours was measured while the peer compiled"
run PARTS=autotune AUTOTUNE="small ode" NAP=0.1
[ "$(grep -c max-autotune "$work/out/results.jsonl")" = 3 ] || fail "results of calls do not add up"
grep -q 'train  large    bf16 .*(reduce-overhead)' "$work/out/table.txt" || fail "no table"
run PARTS=autotune AUTOTUNE=huge NAP=0
grep -q 'no work huge' "$work/log" || fail "an unknown work is taken"
echo "gpu_run_test: all hold"
