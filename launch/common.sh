# Shared by the scripts of this folder: one voice, pinned versions, one way to run as root. Source
# it, do not run it.
# shellcheck shell=bash disable=SC2034,SC2154
torch_version=2.13.0
clang_format_version=19.1.7
clang_tidy_version=22.1.8 # from 22 on it passes over LibTorch's headers: 15 s a file, not 50

say() { echo "[$(basename "$0")] $*"; }
die() { local code=$1; shift; echo "$(basename "$0"): $*" >&2; exit "$code"; }

# Open MPI refuses to run as root unless told twice; in a container root is usual.
allow_root_mpi() {
  [ "$(id -u)" = 0 ] || return 0
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  say "running as root: OMPI_ALLOW_RUN_AS_ROOT and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM set"
}

# The program of the folder that launch/ lies in: a checkout, or share/scorenet of an installation.
program_of() { # FOLDER
  if [ -x "$1/../../bin/scorenet" ] && [ ! -e "$1/CMakeLists.txt" ]; then
    (cd "$1/../../bin" && echo "$PWD/scorenet")
  else
    echo "$1/build/bin/scorenet"
  fi
}

# Every source of the project, one a line; in a copy without git those of the folders that have any.
all_sources() {
  local file
  { git -C "$root" ls-files --cached --others --exclude-standard -- \
    '*.cpp' '*.hpp' '*.cu' '*.cuh' 2>/dev/null ||
    (cd "$root" && find framework models launch tests benchmarks \
      \( -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh' \)); } |
    while read -r file; do if [ -f "$root/$file" ]; then echo "$root/$file"; fi; done
}

# Every script of the project, one a line; none in a copy without git.
all_scripts() {
  local file
  git -C "$root" ls-files -- '*.py' '*.sh' '*.sbatch' .ci/run 'configs/*/run' launch 2>/dev/null |
    grep -vE '\.(cpp|hpp|md|txt|cmake|in)$' |
    while read -r file; do if [ -f "$root/$file" ]; then echo "$root/$file"; fi; done
}

# Prints the path of a tool of LLVM in exactly this version: one that is installed, else PyPI's
# wheel, which is fetched into .deps/ on first use.
llvm_tool() { # NAME VERSION
  local name=$1 version=$2 tool
  local wheel=$root/.deps/$name-$version
  for tool in "$name" "$name-${version%%.*}" "$wheel/${name/-/_}/data/bin/$name"; do
    case "$("$tool" --version 2>/dev/null)" in *" $version"*) echo "$tool"; return ;; esac
  done
  say "fetching $name $version into .deps/" >&2
  mkdir -p "$root/.deps"
  python3 -m pip install -q --no-deps --only-binary=:all: --disable-pip-version-check \
    --target "$wheel" "$name==$version" >&2 ||
    die 2 "could not fetch $name $version: check the network and python3 -m pip, or install it"
  echo "$tool"
}

# Configure (once) and build into $root/build. $1: the targets, default all.
build_scorenet() {
  # shellcheck source=/dev/null
  source "$root/.deps/env.sh"
  local unity=()
  [ -e "$root/build/CMakeCache.txt" ] || unity=(-DSCORENET_UNITY=ON) # keep a developer's choice
  cmake -S "$root" -B "$root/build" -G Ninja -DLIBTORCH_DIR="$SCORENET_LIBTORCH" \
    -DSCORENET_CUDA="$SCORENET_CUDA" "${unity[@]}" >"$root/.deps/cmake.log" 2>&1 ||
    { tail -20 "$root/.deps/cmake.log" >&2
      die 1 "cmake failed; the whole log is .deps/cmake.log"; }
  cmake --build "$root/build" --target "${1:-all}"
}
