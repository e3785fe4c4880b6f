#!/usr/bin/env bash
# launch/train_mpirun.sh and launch/setup, as a user calls them.
#
#   scripts_test.sh PROGRAM      exit 0 if all hold, 1 if not
# shellcheck disable=SC2317,SC2016 # functions called through check and wait_until
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
export SCORENET=${1:?usage: scripts_test.sh PROGRAM} OMP_NUM_THREADS=1
source "$root/tests/support/tiny_run.sh"

own_folder scripts
sed 's/^steps = .*/steps = 1000000/; s/^every = 20/every = 10000000/' tiny.toml >endless.toml

script=$root/launch/train_mpirun.sh

check "two ranks train" exits 0 "$script" --ranks 2 --config tiny.toml --outdir two -- \
  --train.steps 10
check "and leave a run folder" [ -s two/stats.jsonl ] &&
  check "of two ranks" grep -q '^ranks *2 ' two/log.txt
echo "localhost slots=4" >hosts
check "four ranks of a hostfile train" exits 0 "$script" --ranks 4 --hostfile hosts \
  --config tiny.toml --outdir four -- --train.steps 10
check "of four ranks" grep -q '^ranks *4 ' four/log.txt

gone() { ! kill -0 "$1" 2>/dev/null; }
stopped_by() { # SIGNAL RANKS: exit 75, a checkpoint, and no rank left
  local code=0 job
  set -m # a process group of its own, as in a terminal
  "$script" --ranks "$2" --config endless.toml --outdir "$1" >"$1.log" 2>&1 &
  set +m
  job=$!
  wait_until 60 [ -s "$1/stats.jsonl" ] || { cat "$1.log"; return 1; }
  if [ "$1" = INT ]; then kill -INT "-$job"; else kill "-$1" "$job"; fi \
    # Ctrl-C goes to the whole group
  wait_until 60 gone "$job" || { echo "still there 60 s after $1"; tail -n 20 "$1.log"; return 1; }
  wait "$job" || code=$?
  [ "$code" = 75 ] && [ -s "$1/checkpoints/latest" ] &&
    ! pgrep -f "train endless.toml --outdir $1" && return
  echo "exit code $code"; tail -n 20 "$1.log"; return 1
}
check "USR1 saves and exits with 75" stopped_by USR1 2
check "TERM does the same" stopped_by TERM 4
check "Ctrl-C does the same" stopped_by INT 2
check "and the same command resumes" exits 0 "$script" --ranks 2 --config endless.toml \
  --outdir USR1 -- \
  --train.steps $((10#$(cat USR1/checkpoints/latest) + 5))
check "from the saved step" grep -q 'resumed at step' out

check "an unknown option is refused" exits 2 "$script" --rank 2
check "by its name" says "--rank'"
check "an option without its value is refused" exits 2 "$script" --ranks
check "by its name" says "--ranks"
check "a rank count that is none is refused" exits 2 "$script" --ranks two --config tiny.toml \
  --outdir x
check "by its value" says "two"
check "a missing config is refused" exits 2 "$script" --outdir x
check "a missing program is refused" exits 2 env SCORENET=/nonexistent "$script" \
  --config tiny.toml --outdir x
check "a folder is no program" exits 2 env SCORENET=/ "$script" --config tiny.toml --outdir x
check "--help explains" exits 0 "$script" --help && check "the options" grep -q -- '--hostfile' out
check "an error of the program keeps its code" exits 2 "$script" --config tiny.toml --outdir x -- \
  --train.step 1

# Every script that a user starts: it explains itself, and says in a sentence what is missing.
for name in quickstart run_tests long_test setup format tidy train_mpirun.sh train.sbatch \
  evaluate.sbatch; do
  check "$name explains itself" exits 0 bash "$root/launch/$name" --help
  check "with its own name" grep -q "$name" out
  check "$name refuses an unknown option" exits 2 env -u SLURM_JOB_ID bash "$root/launch/$name" \
    --no-such-option
  check "in one line" [ "$(wc -l <err)" = 1 ]
done
for name in train.sbatch evaluate.sbatch; do
  check "$name wants its arguments" exits 2 env -u SLURM_JOB_ID -u SLURM_SUBMIT_DIR bash \
    "$root/launch/$name"
  check "and says which" says "usage: sbatch launch/$name"
  check "$name wants a job" exits 2 env -u SLURM_JOB_ID -u SLURM_SUBMIT_DIR bash \
    "$root/launch/$name" a b c
  check "and says so" says "no Slurm job"
done
check "train_mpirun.sh wants its arguments" exits 2 "$script"
check "and says which" says "--config FILE"

check "setup refuses an unknown option" exits 2 "$root/launch/setup" --unknown
check "by its name" says "--unknown"
check "setup refuses a folder that is no LibTorch" exits 2 "$root/launch/setup" \
  --libtorch /nonexistent
check "by its name" says "/nonexistent"
# As setup writes down what it found; cmake by hand then needs no option.
torch="$PWD/found/a folder/torch"
mkdir -p "$torch/lib" "$torch/include/torch/csrc/api/include/torch" found/.deps
touch "$torch"/lib/lib{torch_cpu,c10}.so "$torch/include/torch/csrc/api/include/torch/torch.h"
printf 'export SCORENET_LIBTORCH=%q SCORENET_CUDA=OFF\n' "$torch" >found/.deps/env.sh
cat >found/CMakeLists.txt <<EOF
cmake_minimum_required(VERSION 3.22)
project(found NONE)
list(PREPEND CMAKE_MODULE_PATH "$root/launch/cmake")
find_package(LibTorch REQUIRED)
message(STATUS "it is \${LibTorch_DIR_FOUND}.")
EOF
check "a build by hand finds setup's LibTorch" exits 0 env -u LIBTORCH_DIR cmake -S found -B found/b
check "in a folder with a blank" grep -q "it is $torch\." out
check "setup --help explains" exits 0 "$root/launch/setup" --help &&
  check "its options" grep -q -- '--libtorch' out

# The format check: each line below is right or wrong in one way.
format=$root/launch/format
long=$(printf 'é%.0s' {1..92})
printf 'int main() { return 0; }\n// %s %s\n' "$long" 1234 >right.cpp
check "a formatted file passes, characters counted, not bytes" exits 0 "$format" --check right.cpp
printf '// https://%s\n' "$long$long" >address.cpp
check "an address may be longer" exits 0 "$format" --check address.cpp
printf '// %s %s\n' "$long" 123456 >wide.cpp
check "a comment of 102 columns is refused" exits 1 "$format" --check wide.cpp
check "by its place" says "wide.cpp:1: over 100"
printf '\nint main() {return 0;}\n' >other.cpp
check "code of another format is refused" exits 1 "$format" --check other.cpp
check "by its place" says "other.cpp:2: not as clang-format"
check "and written anew" exits 0 "$format" other.cpp &&
  check "as it should be" exits 0 "$format" --check other.cpp
check "a file that is not there is refused" exits 2 "$format" --check nothing.cpp
exit $((failures > 0))
