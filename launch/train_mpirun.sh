#!/usr/bin/env bash
# Train under mpirun, on this machine or on the machines of a hostfile.
#
#   launch/train_mpirun.sh --ranks 4 --config configs/fashion_mnist.toml --outdir runs/a
#     [--hostfile FILE] [--restarts N] [-- KEYS...]
#
# --ranks N          ranks in all
# --config FILE      the experiment
# --outdir DIR       the run folder; the same again resumes
# --hostfile FILE    lines "host slots=N", as mpirun reads them
# --restarts N       go on after a lost rank, host or mpirun and after a hang; default 0: end
# -- KEYS          passed on: --train.steps 1000 ...
# $SCORENET          the program; default: of this checkout's build, or of this installation
#
# With --restarts the ranks are started again from the last checkpoint, on the hosts that answer; if
# their slots are too few, with fewer ranks (a divisor of --ranks). Each restart prints a line: who
# was lost, at which step, how long it took. The job ends when N restarts in a row gained no
# checkpoint; between two of these it waits 1, 3, 7, ... 60 s. Errors of the program itself (exit
# codes 2, 3, 4, 6) and stop signals end it as ever. An mpirun that was stopped (SIGSTOP) for
# SCORENET_FROZEN_LAUNCHER_S (60) seconds is killed and counts as lost. Other hosts are asked
# through ssh, or OMPI_MCA_plm_rsh_agent.
#
# A job manager that ends the job with SIGTERM gives mpirun's ranks one second: too short to save.
# So TERM, USR1, HUP and INT (Ctrl-C) here become USR1 for mpirun, which passes it to all ranks;
# they finish the step, save, and exit with 75. So they do if this script is killed.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/launch/common.sh"
source "$root/launch/restart.sh"

ranks=2 config='' outdir='' hostfile='' restarts=0
while [ $# -gt 0 ]; do
  case "$1" in --ranks | --config | --outdir | --hostfile | --restarts) [ $# -ge 2 ] ||
    die 2 "$1: needs a value; see --help" ;; esac
  case "$1" in
    --ranks) ranks=$2; shift 2 ;;
    --config) config=$2; shift 2 ;;
    --outdir) outdir=$2; shift 2 ;;
    --hostfile) hostfile=$2; shift 2 ;;
    --restarts) restarts=$2; shift 2 ;;
    --) shift; break ;;
    -h | --help) sed -n '2,25s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die 2 "unknown option '$1'; see --help" ;;
  esac
done
[[ "$ranks" =~ ^[1-9][0-9]{0,8}$ ]] || die 2 "--ranks $ranks: expected a whole number above zero"
[[ "$restarts" =~ ^(0|[1-9][0-9]{0,8})$ ]] || die 2 "--restarts $restarts: expected a whole number"
[[ -n "$config" && -n "$outdir" ]] || die 2 "needs --config FILE and --outdir DIR; see --help"
[ -z "$hostfile" ] || [ -r "$hostfile" ] || die 2 "--hostfile $hostfile: cannot be read"
scorenet=${SCORENET:-$(program_of "$root")}
[ -f "$scorenet" ] && [ -x "$scorenet" ] ||
  die 2 "$scorenet: not built. Run ./launch/quickstart, or ./launch/setup and cmake --build build"
keys=("$@")

# --- Hosts.

hosts=(localhost)
on_hosts=() # what mpirun is told of them
if [ -n "$hostfile" ]; then
  mapfile -t hosts < <(awk '!/^[ \t]*(#|$)/ && !seen[$1]++ { print $1 }' "$hostfile")
  on_hosts=(--hostfile "$hostfile")
fi
agent=${OMPI_MCA_plm_rsh_agent:-ssh -o BatchMode=yes -o ConnectTimeout=10}
agent=${agent%% : *} # "ssh : rsh": the first one

is_this_machine() { # HOST
  local names
  names=" localhost 127.0.0.1 ::1 $(hostname) $(hostname -s) $(hostname -f 2>/dev/null)"
  [[ "$names $(hostname -I 2>/dev/null) " == *" $1 "* ]]
}

# Prints the host's number of cores if it answers.
clean() { # HOST
  # shellcheck disable=SC2086 # the agent has options
  if is_this_machine "$1"; then
    timeout 30 sh -c "$clean_host" sh "$job_name" "$remnants"
  else
    timeout 30 $agent "$1" "sh -s -- '$job_name' '$remnants'" <<<"$clean_host"
  fi 2>/dev/null
}

clean_hosts() {
  local host cleaning=()
  for host in "${hosts[@]}"; do
    clean "$host" >"$job_folder/cores-$host" &
    cleaning+=($!)
  done
  wait "${cleaning[@]}" || :
}

# Of a hostfile, the lines of hosts that answered. Without slots=N mpirun takes a host's cores.
choose_hosts() {
  [ -n "$hostfile" ] || return 0
  local host rest slots=0 answered
  missing=''
  : >"$job_folder/hosts"
  while read -r host rest; do
    [[ -n "$host" && "$host" != \#* ]] || continue
    answered=$(cat "$job_folder/cores-$host" 2>/dev/null)
    if [ -z "$answered" ]; then missing+="${missing:+ }$host"; continue; fi
    echo "$host $rest" >>"$job_folder/hosts"
    if [[ "$rest" =~ slots\ *=\ *([0-9]+) ]]; then answered=${BASH_REMATCH[1]}; fi
    slots=$((slots + answered))
  done < <(cat "$hostfile"; echo)
  [ "$slots" -gt 0 ] || return 1
  on_hosts=(--hostfile "$job_folder/hosts")
  ranks=$(ranks_that_fit "$slots")
}

# --- Ranks.

# If this script is killed, mpirun gets USR1.
tied=()
if setpriv --pdeathsig USR1 true 2>/dev/null; then tied=(setpriv --pdeathsig USR1); fi

# Unbound, a rank computes on its share of all cores; mpirun would bind up to two ranks to a core
# each. In a session of its own: Ctrl-C in a terminal reaches a whole process group, and mpirun
# would end its ranks unsaved.
start_ranks() {
  local oversubscribe=()
  [ -n "$hostfile" ] || [ "$ranks" -le "$(nproc)" ] || oversubscribe=(--oversubscribe)
  launch env SCORENET_JOB="$job_name" setsid "${tied[@]}" mpirun -n "$ranks" --bind-to none \
    --mca orte_tmpdir_base "$remnants" "${on_hosts[@]}" "${oversubscribe[@]}" \
    sh -c "$begin_rank" sh "$job_name" "$scorenet" train "$config" --outdir "$outdir" "${keys[@]}"
}

allow_root_mpi
remove_abandoned
mkdir "$job_folder" || die 6 "$job_folder: cannot be made. Set TMPDIR to a folder you may write to"
trap 'rm -rf "$job_folder" "$remnants"' EXIT
trap stop TERM USR1 HUP INT
train_until_ended
exit "$status"
