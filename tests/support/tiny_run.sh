# A run of seconds for the tests of the launch scripts, and how such a test reports. Source it, do not run it.
# shellcheck shell=bash
#
#   tiny_run FOLDER     writes FOLDER/data.h5 (points of the plane) and FOLDER/tiny.toml (a small mlp); reads $SCORENET
#   check NAME CMD...   "ok NAME" if the command succeeds, else "FAILED NAME"; $failures counts
#   wait_until S CMD... polls the command for up to S seconds
failures=0

tiny_run() {
  "$SCORENET" data synthesize --kind swiss-roll --train 64 --validation 16 --test 16 --out "$1/data.h5" >/dev/null || return 1
  cat >"$1/tiny.toml" <<TOML
[data]
path = "$1/data.h5"
[model]
type = "mlp"
[diffusion]
schedule = "vp_linear"
prediction = "eps"
loss = "simple"
[train]
batch_size = 16
steps = 60
warmup_steps = 4
learning_rate = 1e-3
[ema]
decays = [0.9]
[checkpoint]
every = 20
[eval]
every = 0
[run]
tick = 5
threads = 1
TOML
}

check() {
  local name=$1; shift
  if "$@"; then echo "ok $name"; else echo "FAILED $name: $*"; failures=$((failures + 1)); fi
}

wait_until() {
  local limit=$((SECONDS + $1)); shift
  until "$@"; do [ "$SECONDS" -lt "$limit" ] || return 1; sleep 0.2; done
}
