#!/usr/bin/env bash
# A user's project finds what `cmake --install` leaves, and computes with it.
#
#   consumer_test.sh BUILD LIBTORCH      exit 0 if all hold
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:?usage: consumer_test.sh BUILD LIBTORCH}
export LIBTORCH_DIR=${2:?usage: consumer_test.sh BUILD LIBTORCH}
fails() { echo "FAILED: $*"; exit 1; }

folder=$build/tests/consumer
rm -rf "$folder"
cmake --install "$build" --prefix "$folder/installed" >"$build/tests/install.log" ||
  { cat "$build/tests/install.log"; exit 1; }
"$folder/installed/bin/scorenet" info schedule >/dev/null ||
  fails "the installed program does not run"
if grep -rnF -e "$root/" -e "$build/" "$folder/installed/lib/cmake"; then
  fails "the package names the folders that it was built in"
fi

# Only what is asked for is looked for: a machine without MPI or HDF5 can compute scores.
launcher=$(command -v ccache || true)
cmake -S "$root/tests/consumer" -B "$folder/build" -DCMAKE_PREFIX_PATH="$folder/installed" \
  --no-warn-unused-cli ${launcher:+-DCMAKE_CXX_COMPILER_LAUNCHER="$launcher"} \
    -DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON -DCMAKE_DISABLE_FIND_PACKAGE_HDF5=ON
cmake --build "$folder/build"
"$folder/build/mixture_check"
