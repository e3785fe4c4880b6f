# A real Slurm of two nodes on this machine, for tests; as root, without systemd and cgroups. Source
# it, do not run it.
# shellcheck shell=bash
#
#   slurm_install          Debian packages, where they are missing; fails if they cannot be had
#   slurm_start FOLDER     munged, slurmctld and two slurmd, all files in FOLDER; exports SLURM_CONF
#   slurm_kill_node FOLDER NODE    ends its slurmd and all that runs there, as a power cut would
#   slurm_stop FOLDER      ends all of them and the jobs; safe to call twice or after a failed start
#
# Both nodes share the loopback interface. Each slurmd lives in a mount and UTS namespace of its
# own: it needs its own host name, and srun --mpi=pmix fails on the second of two nodes that share
# TmpFS.
PATH=$PATH:/usr/sbin:/sbin

slurm_install() {
  local tool missing=0
  for tool in slurmctld slurmd srun munged unshare; do command -v "$tool" >/dev/null ||
    missing=1; done
  [ "$missing" = 1 ] || return 0
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=60)
  { "${apt[@]}" update && "${apt[@]}" install -y \
    --no-install-recommends slurm-wlm slurm-client munge; } >/dev/null 2>&1
}

_slurm_write_config() {
  local folder=$1 port=$2
  cat >"$folder/slurm.conf" <<CONF
ClusterName=scorenet-test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
AuthType=auth/munge
# A requeued job may not start before its first credential has expired: 120 s by default.
AuthInfo=socket=$folder/munge.sock,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
TmpFS=$folder/tmp
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# A node may claim more CPUs than the machine has.
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=2
KillWait=5
ReturnToService=2
NodeName=node1 NodeHostname=node1 NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=4 RealMemory=1000
NodeName=node2 NodeHostname=node2 NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=4 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES DefaultTime=10 State=UP
CONF
  printf '127.0.0.1 localhost node1 node2 %s\n' "$(hostname -s)" >"$folder/hosts"
}

_slurm_start_node() {
  local folder=$1 node=$2
  mkdir -p "$folder/spool/$node" "$folder/tmp-$node"
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare --mount --uts --propagation private sh -c '
    mount --bind "$1/tmp-$2" "$1/tmp" && mount --bind "$1/hosts" /etc/hosts && hostname "$2" &&
    exec slurmd -f "$1/slurm.conf" -N "$2"' sh "$folder" "$node"
}

slurm_start() {
  local folder=$1
  mkdir -p "$folder"/{state,spool,tmp}
  chmod 755 "$folder"
  (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
  _slurm_write_config "$folder" $((20000 + $$ % 10000)) # so that two clusters do not meet
  export SLURM_CONF=$folder/slurm.conf
  munged --key-file="$folder/munge.key" --socket="$folder/munge.sock" \
    --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" || return 1
  slurmctld -c -f "$SLURM_CONF" || return 1
  _slurm_start_node "$folder" node1 && _slurm_start_node "$folder" node2 || return 1
  local try
  for ((try = 0; try < 100; ++try)); do
    [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | wc -l)" = 2 ] && return 0
    sleep 0.2
  done
  tail -n 5 "$folder"/*.log >&2
  return 1
}

slurm_kill_node() {
  local host process there=()
  host=$(readlink "/proc/$(cat "$1/$2.pid")/ns/uts") || return 1
  for process in /proc/[0-9]*; do
    [ "$(readlink "$process/ns/uts" 2>/dev/null)" = "$host" ] && there+=("${process#/proc/}")
  done
  kill -9 "${there[@]}"
}

slurm_stop() {
  local folder=$1 file pid try
  [ -d "$folder" ] || return 0
  if [ -e "$folder/slurmctld.pid" ]; then
    SLURM_CONF=$folder/slurm.conf timeout 10 scancel --full --signal=KILL --state=RUNNING \
      2>/dev/null
    SLURM_CONF=$folder/slurm.conf timeout 10 scancel --user=root 2>/dev/null
    for ((try = 0; try < 40; ++try)); do
      [ -z "$(SLURM_CONF=$folder/slurm.conf timeout 5 squeue -h 2>/dev/null)" ] && break
      sleep 0.2
    done
  fi
  for file in "$folder"/{node1,node2,slurmctld,munged}.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    grep -qs -- "$folder" "/proc/$pid/cmdline" || continue # a stale pid file: not ours
    kill "$pid" 2>/dev/null
    for ((try = 0; try < 50; ++try)); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null
  done
  return 0
}
