#!/usr/bin/env bash
# launch/train_mpirun.sh --restarts: who may be lost, what ends the job, what is left.
#
#   restart_test.sh PROGRAM      exit 0 if all hold, 1 if not
# shellcheck disable=SC2317,SC2016 # functions called through check and wait_until
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
export SCORENET=${1:?usage: restart_test.sh PROGRAM} OMP_NUM_THREADS=1
source "$root/tests/support/tiny_run.sh"
source "$root/tests/support/hosts.sh"

own_folder restart
mkdir tmp
export TMPDIR=$folder/tmp SCORENET_FROZEN_LAUNCHER_S=3
script=$root/launch/train_mpirun.sh
keys=(--comm.canonical true --comm.heartbeat_limit_s 5 --comm.straggler_excess 0 --run.tick 1)

# --- Of the program itself.

step_of() { tail -n 1 "$1/stats.jsonl" 2>/dev/null | grep -oP '"step":\K\d+' | grep . || echo 0; }
reaches() { [ "$(step_of "$1")" -ge "$2" ]; }
ranks_of() { pgrep -f "^$SCORENET train tiny.toml --outdir $1 "; }
gone() { ! kill -0 "$1" 2>/dev/null; }
restarts_of() { grep -c '^\[train_mpirun.sh\] restart' "$1.log"; }
start() { # NAME OPTIONS -- KEYS
  local name=$1; shift
  "$script" --config tiny.toml --outdir "$name" "$@" "${keys[@]}" >"$name.log" 2>&1 &
  job=$!
}
ended_with() { # CODE NAME
  local code=0
  wait_until 90 gone "$job" || { echo "still there after 90 s"; tail -n 20 "$2.log"; return 1; }
  wait "$job" || code=$?
  [ "$code" = "$1" ] || { echo "exit code $code"; tail -n 20 "$2.log"; return 1; }
}
same_bits() { # NAME STEP: as the undisturbed run
  local file
  for file in model ema optimizer; do
    cmp "undisturbed/checkpoints/$2/$file.safetensors" "$1/checkpoints/$2/$file.safetensors" ||
      return 1
  done
}
nothing_left() { # NAME
  ! ranks_of "$1" && [ -z "$(ls tmp)" ] &&
    ! ls -d "/dev/shm/scorenet-job-$(hostname)-"*"-$job" 2>/dev/null
}

check "undisturbed, one rank trains" exits 0 "$SCORENET" train tiny.toml --outdir undisturbed \
  "${keys[@]}" --train.steps 2000
start lost --ranks 2 --restarts 2 -- --train.steps 2000
check "a run gets to work" wait_until 60 reaches lost 25
kill -9 "$(ranks_of lost | tail -n 1)"
check "goes on without its killed rank" wait_until 60 grep -q 'restart 1' lost.log
check "names it" grep -qE 'restart 1: rank [01] on .* was lost \(signal 9\) at step' lost.log
check "and tells from where, and after how long" \
  grep -qE 'from step [0-9]+ on 2 ranks train again after [0-9.]+ s' lost.log
check "gets further" wait_until 60 reaches lost 85
kill -9 "$(pgrep -f "^mpirun .*--outdir lost ")"
check "goes on without its mpirun" wait_until 60 grep -q 'restart 2' lost.log
check "and says so" grep -q 'restart 2: the launcher was lost (signal 9)' lost.log
check "gets further still" wait_until 60 reaches lost 145
kill -STOP "$(ranks_of lost | tail -n 1)"
check "goes on from a frozen rank" wait_until 60 grep -q 'restart 3' lost.log
check "and names it" grep -qE 'restart 3: rank [01] on .* is frozen or unreachable' lost.log
check "gets further again" wait_until 60 reaches lost 205
kill -STOP "$(pgrep -f "^mpirun .*--outdir lost ")"
check "goes on without its frozen mpirun" wait_until 60 grep -q 'restart 4' lost.log
check "and says so" grep -q 'restart 4: the launcher was frozen at step' lost.log
check "ends well" ended_with 0 lost
check "with the bits of the undisturbed run" same_bits lost 0002000
check "after four restarts, as each gained a checkpoint" [ "$(restarts_of lost)" = 4 ]
check "and leaves nothing behind" nothing_left lost

start script --ranks 2 --restarts 2 -- --train.steps 1000000
check "another gets to work" wait_until 60 reaches script 25
kill -9 "$job"
check "killed as a script it saves and ends, all the same" \
  wait_until 60 eval '! pgrep -f "train tiny.toml --outdir script " >/dev/null'
check "at the step it had reached" [ "$((10#$(cat script/checkpoints/latest)))" -ge 25 ]
check "the same command again goes on" exits 0 "$script" --config tiny.toml --outdir script \
  --ranks 1 -- "${keys[@]}" --train.steps $((10#$(cat script/checkpoints/latest) + 5))
check "and removes what the killed one left" nothing_left script

# --- Of stand-ins for program and mpirun, which takes two seconds to end. The program counts its
# starts in the file starts and ends with the code in the file code; as many starts as the file
# gains says gain a checkpoint.
mkdir bin
cat >bin/mpirun <<'SH'
#!/usr/bin/env bash
while [ "$1" != sh ]; do shift; done
exec "$@"
SH
chmod +x bin/mpirun
cat >stand_in <<'SH'
#!/usr/bin/env bash
folder=$(dirname "$0")
echo start >>"$folder/starts"
if [ "$(wc -l <"$folder/starts")" -le "$(cat "$folder/gains")" ]; then
  mkdir -p "$folder/x/checkpoints"
  printf '%07d\n' "$(wc -l <"$folder/starts")" >"$folder/x/checkpoints/latest"
fi
[ "$(cat "$folder/code")" != wait ] || { trap 'exit 5' USR1; while :; do sleep 0.1; done; }
exit "$(cat "$folder/code")"
#!/usr/bin/env bash
folder=$(dirname "$0")
echo start >>"$folder/starts"
if [ "$(wc -l <"$folder/starts")" -le "$(cat "$folder/gains")" ]; then
  mkdir -p "$folder/x/checkpoints"
  printf '%07d\n' "$(wc -l <"$folder/starts")" >"$folder/x/checkpoints/latest"
fi
[ "$(cat "$folder/code")" != wait ] || { trap 'exit 5' USR1; while :; do sleep 0.1; done; }
exit "$(cat "$folder/code")"
SH
chmod +x stand_in
of_stand_in() { # CODE GAINS OPTIONS: whether it ends with this code
  rm -rf x starts
  echo "$1" >code; echo "$2" >gains; shift 2
  SCORENET=$folder/stand_in PATH=$folder/bin:$PATH exits "$(cat code)" "$script" --config x \
    --outdir x --ranks 1 "$@"
}
starts() { [ "$(wc -l <starts)" = "$1" ] || { cat starts out err; return 1; }; }
for code in 0 2 3 4 6 75; do
  check "a run that ends with $code keeps its code" of_stand_in "$code" 0 --restarts 2
  check "and is not repeated" starts 1
done
for code in 1 5 139; do
  check "a run that ends with $code keeps its code" of_stand_in "$code" 0 --restarts 1
  check "and is repeated once" starts 2
done
check "the end is explained" grep -q 'because 1 restarts in a row gained no checkpoint' err
check "without --restarts it is not repeated" of_stand_in 5 0
check "at all" starts 1
check "a gain begins the count anew" of_stand_in 5 3 --restarts 1
check "so that three gains allow four starts" starts 4

standing() { # CODE RESTARTS: a run of the stand-in in the background
  rm -rf x starts
  echo "$1" >code; echo 0 >gains
  SCORENET=$folder/stand_in PATH=$folder/bin:$PATH "$script" --config x --outdir x --ranks 1 \
    --restarts "$2" >stand.log 2>&1 &
  job=$!
}
started() { [ -e starts ] && [ "$(wc -l <starts)" -ge "$1" ]; }
for signal in TERM USR1 HUP INT; do
  set -m # else INT is ignored in the background
  standing wait 2
  set +m
  wait_until 20 started 1
  kill -"$signal" "$job"
  check "a run that is lost after $signal ends" ended_with 5 stand
  check "and is not repeated" starts 1
done
standing 5 5
check "a run waits longer from restart to restart" wait_until 20 grep -q 'restart 2' stand.log
sleep 0.3
kill -TERM "$job"
check "a stop in the pause ends it" ended_with 75 stand
check "without another start" starts 3

# --- Ranks on fewer places: a divisor of the first count.
fits() { # FIRST PLACES RANKS
  bash -c 'source "$0"; first_ranks=$1; [ "$(ranks_that_fit "$2")" = "$3" ]' \
    "$root/launch/restart.sh" "$@"
}
check "24 ranks become 12 on 16 places" fits 24 16 12
check "four become two on three" fits 4 3 2
check "five become one on four" fits 5 4 1
check "four stay four on nine" fits 4 9 4

# --- What other jobs left, alive and dead.
sleep 1000 &
living=$!
here=scorenet-job-$(hostname)-$(readlink /proc/self/ns/pid | tr -dc 0-9)
begun=$(bash -c 'source "$0"; began "$1"' "$root/launch/restart.sh" "$living")
sh -c 'exit 0' & dead=$!
wait "$dead"
mkdir "tmp/$here-$begun-$living" "tmp/$here-7-$dead" "tmp/$here-7-$living.mpi" \
  "tmp/scorenet-job-elsewhere-1-7-$dead" "/dev/shm/$here-7-$dead"
check "a run starts beside others' folders" of_stand_in 0 0
check "and leaves those of a living job" [ -d "tmp/$here-$begun-$living" ]
check "and of another machine" [ -d "tmp/scorenet-job-elsewhere-1-7-$dead" ]
check "but not those of a dead one" [ ! -e "tmp/$here-7-$dead" ]
check "nor its shared memory" [ ! -e "/dev/shm/$here-7-$dead" ]
check "nor where another process has its number now" [ ! -e "tmp/$here-7-$living.mpi" ]
check "one of its own number is no hindrance" exits 0 env SCORENET="$folder/stand_in" \
  PATH="$folder/bin:$PATH" sh -c 'mkdir "$0-7-$$"; exec "$@"' "tmp/$here" "$script" --config x \
  --outdir x --ranks 1
kill "$living"
rm -rf "${folder:?}"/tmp/*

# --- Two hosts, of which one is lost.
if hosts_start "$folder/hosts"; then
  start hosts --ranks 4 --restarts 2 --hostfile "$folder/hosts/file" -- --train.steps 2000
  check "a run over two hosts gets to work" wait_until 60 reaches hosts 25
  check "four ranks" [ "$(ranks_of hosts | wc -l)" = 4 ]
  hosts_kill second
  check "goes on without the lost host" wait_until 60 \
    grep -q "on 2 ranks train again without second$$, after" hosts.log
  check "gets further" wait_until 60 reaches hosts 85
  hosts_heal second
  hosts_kill first
  check "goes on where the other is back" wait_until 60 grep -q 'restart 2' hosts.log
  check "ends well" ended_with 0 hosts
  check "with the bits of the undisturbed run" same_bits hosts 0002000
  check "and leaves nothing behind" nothing_left hosts
  check "not in shared memory" eval '! ls /dev/shm/vader_segment.*$$.* 2>/dev/null'
else
  echo "skipped: hosts of one's own need namespaces"
fi

check "--restarts wants a number" exits 2 "$script" --restarts two --ranks 1 --config x --outdir x
check "and says so" says "--restarts two"
check "a hostfile that is missing is refused" exits 2 "$script" --hostfile no --config x --outdir x
check "by its name" says "--hostfile no"
exit $((failures > 0))
