# A run of seconds for the tests of the launch scripts, and how such a test reports. Source it, do
# not run it.
# shellcheck shell=bash
#
#   tiny_run FOLDER     writes FOLDER/data.h5 (points of the plane) and FOLDER/tiny.toml (a small
#                       mlp); reads $SCORENET
#   check NAME CMD...   "ok NAME" if the command succeeds, else "FAILED NAME"; $failures counts
#   wait_until S CMD... polls the command for up to S seconds
#   exits CODE CMD...   whether the command ends so within three minutes; its output in the files
#                       out and err
#   says TEXT           whether err is one line, and holds TEXT
#   one_line            whether err is one line
#   own_folder NAME     makes a folder of the test's own and goes there; it is removed at the end
failures=0

tiny_run() {
  "$SCORENET" data synthesize --kind swiss-roll --train 64 --validation 16 --test 16 \
    --out "$1/data.h5" >/dev/null || return 1
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

exits() {
  local expected=$1 code=0; shift
  timeout 180 "$@" >out 2>err || code=$?
  [ "$code" = "$expected" ] || { echo "exit code $code, expected $expected: $(tail -n 5 out err)"; \
    return 1; }
}
one_line() { [ "$(wc -l <err)" = 1 ] || { cat err; return 1; }; }
says() { grep -q -- "$1" err && one_line; }

own_folder() {
  folder=$(mktemp -d "${TMPDIR:-/tmp}/scorenet_$1_XXXXXX") || exit 1
  trap 'for job in $(jobs -p); do kill -INT "$job"; done; rm -rf "$folder"' EXIT
  cd "$folder" || exit 1
  tiny_run "$folder" || { echo "FAILED: $SCORENET data synthesize"; exit 1; }
}
