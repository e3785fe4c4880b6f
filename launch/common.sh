# Shared by the scripts of this folder: one voice, pinned versions, one way to run as root. Source it, do not run it.
# shellcheck shell=bash disable=SC2034,SC2154
torch_version=2.13.0
clang_format_version=19.1.7

say() { echo "[$(basename "$0")] $*"; }
die() { local code=$1; shift; echo "$(basename "$0"): $*" >&2; exit "$code"; }

# Open MPI refuses to run as root unless told twice; in a container root is usual.
allow_root_mpi() {
  [ "$(id -u)" = 0 ] || return 0
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  say "running as root: OMPI_ALLOW_RUN_AS_ROOT and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM set"
}

# Every source of the project, one a line; in a copy without git those of the folders that have any.
all_sources() {
  local file
  { git -C "$root" ls-files --cached --others --exclude-standard -- '*.cpp' '*.hpp' 2>/dev/null ||
    (cd "$root" && find framework models launch tests benchmarks -name '*.[ch]pp'); } |
    while read -r file; do if [ -f "$root/$file" ]; then echo "$root/$file"; fi; done
}

# Configure (once) and build into $root/build. $1: the targets, default all.
build_scorenet() {
  # shellcheck source=/dev/null
  source "$root/.deps/env.sh"
  cmake -S "$root" -B "$root/build" -G Ninja -DLIBTORCH_DIR="$SCORENET_LIBTORCH" \
    -DSCORENET_CUDA="$SCORENET_CUDA" >"$root/.deps/cmake.log" 2>&1 ||
    { tail -20 "$root/.deps/cmake.log" >&2; die 1 "cmake failed; the whole log is .deps/cmake.log"; }
  cmake --build "$root/build" --target "${1:-all}"
}
