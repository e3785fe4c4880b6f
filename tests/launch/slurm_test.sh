#!/usr/bin/env bash
# launch/train.sbatch and launch/evaluate.sbatch on a real Slurm of two nodes
# (tests/support/slurm_cluster.sh).
#
#   slurm_test.sh PROGRAM      exit 0 if all hold, 1 if not, 77 (skipped) without root or where
#                              Slurm cannot be had
# shellcheck disable=SC2317,SC2016 # functions called through check and wait_until
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
export SCORENET=${1:?usage: slurm_test.sh PROGRAM}
source "$root/tests/support/tiny_run.sh"
source "$root/tests/support/slurm_cluster.sh"

[ "$(id -u)" = 0 ] || { echo "skipped: a Slurm of one's own needs root"; exit 77; }
slurm_install || { echo "skipped: no Slurm, and it cannot be installed"; exit 77; }
unshare --mount --uts true 2>/dev/null || { echo "skipped: namespaces are not allowed here"; exit \
  77; }

own_folder slurm
chmod 755 "$folder" # munged wants a socket that all may reach
trap 'slurm_stop "$folder/slurm"; rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
slurm_start "$folder/slurm" || { echo "FAILED: two Slurm nodes did not become idle"; exit 1; }
for name in killed stopped cancelled; do sed 's/^steps = .*/steps = 1000000/' tiny.toml \
  >$name.toml; done

submit() { sbatch --parsable "$@"; }
train() { # NAME: one rank on each node, saving only when told to stop
  submit --ntasks-per-node=1 --output="$1.log" "$root/launch/train.sbatch" "$1.toml" "$1" \
    --checkpoint.every 10000000
}
field() { scontrol show job "$1" | grep -oP "(?<![A-Za-z])$2=\K\S+"; }
in_state() { [[ "$(field "$1" JobState)" =~ ^($2)$ ]]; }
ended() { in_state "$1" 'COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL'; }
trains() { [ -s "$1/stats.jsonl" ]; }
step_of() { cat "$1/checkpoints/latest" 2>/dev/null; }
requeued() { in_state "$1" 'PENDING|REQUEUED' && [ "$(field "$1" Restarts)" = "$2" ]; }
logs() { [ "$failures" = 0 ] || tail -n 15 ./*.log; }

# One rank killed: without restarts the job must end, on both nodes, and must not come back.
killed=$(SCORENET_RESTARTS=0 train killed)
check "a job over two nodes trains" wait_until 60 trains killed
check "it runs on both nodes" grep -q '2 (1 on this host)' killed.log
kill -9 "$(pgrep -f "^$SCORENET train killed.toml" | tail -1)"
check "a killed rank ends the job" wait_until 30 ended "$killed"
check "and fails it" in_state "$killed" FAILED
check "and leaves no rank" wait_until 5 eval '! pgrep -f "^$SCORENET train killed.toml" >/dev/null'

# With them it goes on, also when its second node is drained and lost. On a fast machine the steps
# must last until that happens.
steps=2400
check "an undisturbed run ends" exits 0 "$SCORENET" train tiny.toml --outdir alone \
  --comm.canonical true --train.steps "$steps"
lost=$(submit --ntasks-per-node=1 --output=lost.log "$root/launch/train.sbatch" tiny.toml lost \
  --comm.canonical true --comm.heartbeat_limit_s 4 --train.steps "$steps")
reaches() { [[ "$(step_of lost)" =~ ^[0-9]+$ ]] && [ "$((10#$(step_of lost)))" -ge "$1" ]; }
check "another job saves" wait_until 60 reaches 40
kill -9 "$(pgrep -f "^$SCORENET train tiny.toml --outdir lost" | tail -1)"
check "a killed rank is started again" wait_until 60 grep -q 'restart 1: rank . on node' lost.log
saved=$((10#$(step_of lost)))
check "and the job saves again" wait_until 60 reaches $((saved + 20))
scontrol update nodename=node2 state=drain reason=test
slurm_kill_node "$folder/slurm" node2
check "a lost node is left out" wait_until 90 \
  grep -q 'on 1 ranks train again without node2' lost.log
# As Slurm does after SlurmdTimeout; until then an ended job waits for the node.
scontrol update nodename=node2 state=down reason=test
check "the job ends" wait_until 120 ended "$lost"
check "completed" in_state "$lost" COMPLETED
check "never queued again" [ "$(field "$lost" Restarts)" = 0 ]
for file in model ema optimizer; do
  check "with the bits of the undisturbed run: $file" \
    cmp {alone,lost}/checkpoints/"$(printf %07d "$steps")/$file.safetensors"
done
check "and nothing left in shared memory" eval '! ls -d /dev/shm/scorenet-job-node* 2>/dev/null'
_slurm_start_node "$folder/slurm" node2
scontrol update nodename=node2 state=resume
check "the node comes back" wait_until 60 eval '[ "$(sinfo -h -N -t idle -o %N | wc -l)" = 2 ]'

# USR1, as at the time limit: saved, requeued, resumed, completed.
stopped=$(train stopped)
check "the next job trains" wait_until 60 trains stopped
cancelled=$(train cancelled)
scancel --batch --signal=USR1 "$stopped"
check "USR1 requeues the job" wait_until 30 requeued "$stopped" 1
check "with a checkpoint" [ -n "$(step_of stopped)" ]
# The script reads the config at each start: let the second one end soon.
sed -i "s/^steps = .*/steps = $((10#$(step_of stopped) + 10))/" stopped.toml

# TERM, from a plain scancel: saved, and ended for good.
check "the job to cancel trains" wait_until 60 trains cancelled
scancel "$cancelled"
check "scancel ends the job" wait_until 30 ended "$cancelled"
check "with a checkpoint, too" [ -n "$(step_of cancelled)" ]

check "the requeued job ends" wait_until 60 ended "$stopped"
check "completed" in_state "$stopped" COMPLETED
check "having resumed" grep -q 'resumed at step' stopped.log
check "the cancelled job stays cancelled, not requeued" \
  [ "$(field "$cancelled" JobState) $(field "$cancelled" Restarts)" = "CANCELLED 0" ]

# Task 1 of an array: the second of the snapshots, one saved at the stop and one at the end.
snapshots=(stopped/snapshots/network-*.safetensors)
check "two snapshots stand there" [ ${#snapshots[@]} = 2 ]
[ "$failures" = 0 ] || { logs; exit 1; }
evaluation=$(submit --array=1-1 --output=evaluation.log "$root/launch/evaluate.sbatch" data.h5 \
  elbo "${snapshots[@]}")
check "an evaluation ends" wait_until 60 ended "$evaluation"
check "completed" in_state "$evaluation" COMPLETED
check "with its report beside the snapshot, by two ranks" grep -Eq '"world_size": *2' \
  "${snapshots[1]%.safetensors}.elbo.json"
logs
exit $((failures > 0))
