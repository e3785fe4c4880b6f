# Training that goes on by itself: ranks that were lost are started again from the last checkpoint.
# Source it, do not run it; train_mpirun.sh and train.sbatch do.
#
# A script that sources it sets outdir, restarts and ranks, and has these functions:
#   start_ranks      starts $ranks ranks: launch LAUNCHER... sh -c "$begin_rank" sh "$job_name" ...
#   clean_hosts      runs "$clean_host" with $job_name and a folder to remove on every host
#   choose_hosts     sets ranks to what the hosts carry that answered clean_hosts, and missing to
#                    the names of the others; 1 if none answered
# It calls train_until_ended, which sets $status.
# shellcheck shell=bash disable=SC2154,SC2034

# When process $1 began, in ticks: with its number it is one process and no other. Empty: none.
began() {
  local line=''
  read -r line 2>/dev/null <"/proc/$1/stat" || return 0
  # shellcheck disable=SC2086 # words are wanted: what follows the name, which may have spaces
  set -- ${line##*) }
  echo "${20}"
}

# The job's name begins with what the process number at its end belongs to.
job_here=scorenet-job-$(hostname)-$(readlink /proc/self/ns/pid | tr -dc 0-9)
job_name=$job_here-$(began $$)-$$
temporary=${TMPDIR:-/tmp}
job_folder=$temporary/$job_name # this script's own files
remnants=$job_folder.mpi        # Open MPI's session folders, on every host
said=$job_folder/said # what launcher and ranks wrote to standard error

# How a rank begins under any launcher: marked with the job's name, and with a folder of the job's
# own for Open MPI's shared memory. mpirun, when it is killed, removes neither ranks nor segments.
# shellcheck disable=SC2016 # expanded by the rank's shell
begin_rank='export SCORENET_JOB=$1; shift
if mkdir -p -m 700 "/dev/shm/$SCORENET_JOB" 2>/dev/null && [ -O "/dev/shm/$SCORENET_JOB" ]; then
  export OMPI_MCA_btl_vader_backing_directory=/dev/shm/$SCORENET_JOB
  export OMPI_MCA_btl_sm_backing_directory=/dev/shm/$SCORENET_JOB # its name from Open MPI 5 on
fi
exec "$@"'

# On one host: ends what is left of job $1 and waits for it, removes its shared memory and folder
# $2, and prints the number of cores: the host answers. Also removes the shared memory of this
# user's jobs of an hour ago that were killed on this host with nobody left to clean up.
# shellcheck disable=SC2016 # expanded by the host's shell
clean_host='processes_of() { grep -lszxF "SCORENET_JOB=$1" /proc/[0-9]*/environ | cut -d/ -f3; }
for turn in 1 2 3 4 5 6 7 8 9 10; do
  left=$(processes_of "$1")
  [ -n "$left" ] || break
  kill -KILL $left 2>/dev/null
  sleep 0.1
done
rm -rf "/dev/shm/$1" "$2"
find /dev/shm -maxdepth 1 -user "$(id -u)" -name "scorenet-job-*" -mmin +60 2>/dev/null |
  while read -r old; do [ -n "$(processes_of "${old##*/}")" ] || rm -rf "$old"; done
[ -z "$left" ] && nproc'

# What scripts left that were killed themselves: folders of this user whose script, launcher and
# ranks are gone. Numbers of processes come again, in a container this script's too.
remove_abandoned() {
  local folder name number
  for folder in "$temporary/$job_here"-* "/dev/shm/$job_here"-*; do
    name=$(basename "$folder" .mpi)
    [ -O "$folder" ] || continue
    number=${name##*-}
    if [ "$name" != "$job_name" ] && [ "$name" = "$job_here-$(began "$number")-$number" ]; then
      continue
    fi
    grep -qszxF "SCORENET_JOB=$name" /proc/[0-9]*/environ || rm -rf "$folder"
  done
}

# Starts the launcher in the background: process $job. What it says is shown, and kept in $said.
launch() {
  local words
  exec {words}> >(trap '' TERM USR1 HUP INT; exec tee "$said" >&2)
  teller=$!
  "$@" 2>&"$words" {words}>&- &
  job=$!
  exec {words}>&-
}

# --- How far the run is.

latest() { cat "$outdir/checkpoints/latest" 2>/dev/null || echo none; }

latest_step() {
  local step
  step=$(latest)
  if [[ "$step" =~ ^[0-9]+$ ]]; then echo $((10#$step)); else echo 0; fi
}

# The last step that the log tells of.
seen_step() {
  tail -n 100 "$outdir/log.txt" 2>/dev/null | grep -oP '^step \K\d+(?=  kimg)' | tail -n 1 |
    grep . || latest_step
}

# Where the ranks of this start took up the run; fails until they have.
taken_up_at() {
  local line
  line=$(tail -c "+$((log_before + 1))" "$outdir/log.txt" 2>/dev/null | grep -m 1 '^duration ') ||
    return 1
  if [[ "$line" =~ resumed\ at\ step\ ([0-9]+) ]]; then echo "${BASH_REMATCH[1]}"; else echo 0; fi
}

# --- Stop signals.

stopped=0
stop() { stopped=1; }

# Before the launcher catches USR1 (or blocks it, as srun does) it would end by it, and before it
# has ranks it passes it to nobody: so this is called again and again.
tell_ranks_to_stop() {
  local name signals withstands=0
  while read -r name signals; do
    case "$name" in SigBlk: | SigCgt:) ((withstands |= 16#$signals >> 9 & 1)) || : ;; esac
  done 2>/dev/null <"/proc/$job/status" || :
  [ "$withstands" = 0 ] || kill -USR1 "$job" 2>/dev/null || :
}

# Without a process a time. A signal ends it early.
nap() { read -rt 0.2 -u "$nothing" || :; }

# --- A launcher that was stopped (SIGSTOP) passes nothing on and starts nobody again. Its ranks go
# on, until their words fill its pipe.

frozen_limit_s=${SCORENET_FROZEN_LAUNCHER_S:-60}

launcher_is_stopped() {
  local key state=''
  while read -r key state _; do [ "$key" != State: ] || break; done 2>/dev/null <"/proc/$job/status"
  [ "$state" = T ]
}

# To be called every 0.2 s. A script that is stopped itself, as the whole job may be, counts on
# where it was.
end_frozen_launcher() {
  if [ "$restarts" = 0 ] || ! launcher_is_stopped; then naps_frozen=0; return; fi
  ((++naps_frozen >= 5 * frozen_limit_s)) || return 0
  frozen=1
  kill -KILL "$job" 2>/dev/null || :
}

# --- The loop.

# Waits for the launcher's end and sets status. After a restart it says when the ranks train again.
wait_for_ranks() {
  local naps=0 naps_frozen=0
  frozen=0
  while kill -0 "$job" 2>/dev/null; do
    if [ "$stopped" = 1 ]; then
      [ $((naps++ % 10)) != 0 ] || tell_ranks_to_stop
      nap
    elif [ -n "$lost" ]; then
      tell_of_restart || nap
    elif [ "$restarts" = 0 ]; then
      wait "$job" || : # a trapped signal ends it early
    else
      nap
    fi
    end_frozen_launcher
  done
  status=0
  wait "$job" || status=$?
  for ((naps = 0; naps < 10; ++naps)); do kill -0 "$teller" 2>/dev/null || break; nap; done
  [ -z "$lost" ] || tell_of_restart || say "restart $restart: $lost; it did not come to training"
  lost=
}

tell_of_restart() {
  local from
  from=$(taken_up_at) || return 1
  say "restart $restart: $lost; from step $from on $ranks ranks train again" \
    "${missing:+without $missing, }after $(awk -v now="$EPOCHREALTIME" -v then="$ended" \
      'BEGIN { printf "%.1f", now - then }') s"
  lost=
}

# Patterns of what is said first when something is lost, each with what to say of it.
words_of_loss='
s/^(\[rank [^]]*\] )?(rank [0-9]+ on [^ ]+) is (frozen or unreachable).*/\2 is \3/p
s/^mpirun noticed that process (rank [0-9]+) .* on node ([^ ]+) exited on (signal [0-9]+).*/'\
'\1 on \2 was lost (\3)/p
s/^srun: error: Node failure on (.*)/node \1 was lost/p
s/^srun: error: ([^: ]+): tasks? ([0-9,-]+): (.*)/rank \2 on \1 was lost (\3)/p'

who_was_lost() {
  local who
  who=$(sed -nE "$words_of_loss" "$said" 2>/dev/null | head -n 1) || :
  [ "$frozen" = 0 ] || who='the launcher was frozen'
  if [ -z "$who" ] && [ "$status" -gt 128 ]; then
    who="the launcher was lost (signal $((status - 128)))"
  fi
  echo "${who:-the ranks were lost (exit code $status)}"
}

# 2, 3, 4 and 6 are the program's own errors, 126 and 127 a program that cannot be started: they
# would come again. 0 and 75 are no failures.
is_worth_a_restart() {
  [ "$restarts" -gt 0 ] && [ "$stopped" = 0 ] &&
    ! [[ "$status" =~ ^(0|2|3|4|6|75|126|127)$ ]]
}

# Longer with every restart that gained nothing: 0, 1, 3, 7, ... s, at most 60. 1 if there is none.
back_off() {
  local pause=$(((1 << (without_gain < 6 ? without_gain : 6)) - 1))
  local end=$((SECONDS + (pause < 60 ? pause : 60)))
  while [ "$SECONDS" -lt "$end" ] && [ "$stopped" = 0 ]; do nap; done
  [ "$pause" -gt 0 ]
}

# The largest divisor of the first rank count that $1 places hold: what that count divides (the
# batch, comm.virtual_shards), a divisor divides too.
ranks_that_fit() {
  local fitting=$((first_ranks < $1 ? first_ranks : $1))
  while ((first_ranks % fitting != 0)); do ((--fitting)); done
  echo "$fitting"
}

# Sets ranks for the next start; fails if there is to be none.
prepare_restart() {
  while [ "$without_gain" -lt "$restarts" ]; do
    restart=$((restart + 1))
    if back_off; then clean_hosts; fi
    without_gain=$((without_gain + 1))
    if [ "$stopped" = 1 ]; then status=75; return 1; fi # what stands is the last checkpoint
    choose_hosts && return
    say "restart $restart: $lost; no host answers"
  done
  say "$lost; ended, because $restarts restarts in a row gained no checkpoint" >&2
  return 1
}

train_until_ended() {
  local first_ranks=$ranks restart=0 without_gain=0 lost='' missing='' ended
  local checkpoint_before log_before frozen nothing
  exec {nothing}<> <(:) # says nothing, and never ends
  while :; do
    checkpoint_before=$(latest_step)
    log_before=$(stat -c %s "$outdir/log.txt" 2>/dev/null || echo 0)
    start_ranks
    wait_for_ranks
    ended=$EPOCHREALTIME
    is_worth_a_restart || break
    clean_hosts
    [ "$(latest_step)" -le "$checkpoint_before" ] || without_gain=0
    lost="$(who_was_lost) at step $(seen_step)"
    prepare_restart || return 0
  done
  clean_hosts
}
