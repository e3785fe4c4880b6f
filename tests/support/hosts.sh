# Two hosts that are namespaces of this machine, for Open MPI's remote start. Source it, do not run
# it.
# shellcheck shell=bash
#
#   hosts_start FOLDER   exports OMPI_MCA_plm_rsh_agent, a stand-in for ssh; FOLDER/file is a
#                        hostfile of the hosts first and second, two slots each; fails where
#                        namespaces are not allowed
#   hosts_kill NAME      ends every process there; the host no longer answers
#   hosts_heal NAME      it answers again
#
# Names end in this process's number, or in $hosts_suffix, so that two tests do not share segments
# in /dev/shm.
hosts_suffix=${hosts_suffix:-$$}

hosts_start() {
  hosts_folder=$1
  mkdir -p "$hosts_folder"
  local isolate="unshare --uts"
  $isolate true 2>/dev/null || isolate="unshare --user --map-root-user --uts"
  $isolate hostname somewhere 2>/dev/null || return 1
  printf '%s slots=2\n' "first$hosts_suffix" "second$hosts_suffix" >"$hosts_folder/file"
  cat >"$hosts_folder/agent" <<AGENT
#!/bin/sh
# As ssh: [OPTIONS] HOST COMMAND...
while [ "\$1" = -o ]; do shift 2; done
name=\$1; shift
[ ! -e "$hosts_folder/lost-\$name" ] || { echo "no route to host \$name" >&2; exit 255; }
exec env SCORENET_HOST="\$name" $isolate sh -c 'hostname "\$0"; exec sh -c "\$*"' "\$name" "\$@"
AGENT
  chmod +x "$hosts_folder/agent"
  export OMPI_MCA_plm_rsh_agent=$hosts_folder/agent
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # root in its own namespace
}

hosts_kill() {
  touch "$hosts_folder/lost-$1$hosts_suffix"
  # shellcheck disable=SC2046 # several processes
  kill -9 $(grep -lszxF "SCORENET_HOST=$1$hosts_suffix" /proc/[0-9]*/environ | cut -d/ -f3)
}

hosts_heal() { rm -f "$hosts_folder/lost-$1$hosts_suffix"; }
