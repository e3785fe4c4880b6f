#!/usr/bin/env bash
# What cpack packs runs wherever it is unpacked, with a LibTorch that it is told of.
#
#   archive_test.sh BUILD LIBTORCH      exit 0 if all hold
# shellcheck disable=SC2317 # functions called through check
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:?usage: archive_test.sh BUILD LIBTORCH}
libtorch=${2:?usage: archive_test.sh BUILD LIBTORCH}
export SCORENET=$build/bin/scorenet OMP_NUM_THREADS=1
source "$root/tests/support/tiny_run.sh"

own_folder archive
unset SCORENET LD_LIBRARY_PATH LIBTORCH_DIR # nothing says where it was built
check "cpack packs it" exits 0 cpack --config "$build/CPackConfig.cmake" -B packed
mkdir there && tar -xzf packed/scorenet-*.tar.gz -C there --strip-components=1
rm -rf packed
mv there elsewhere
program=$folder/elsewhere/bin/scorenet

nothing_of() { ! grep -rlF -e "$1" elsewhere; }
check "it names no folder of the build" nothing_of "$build/"
check "nor of the sources" nothing_of "$root/"
check "its run path begins where it lies" grep -qF "[\$ORIGIN/../../lib/scorenet]" \
  <(readelf -d elsewhere/libexec/scorenet/scorenet)

bare() { exits "$1" env -i PATH="$2" TMPDIR="$folder" "${@:3}"; }
usual=/usr/bin:/bin
mkdir no_python && for tool in sh bash dirname readlink sed ldd grep sort tr cat; do
  ln -s "$(command -v "$tool")" "no_python/$tool"
done
check "without LibTorch it ends" bare 2 "$folder/no_python" "$program" --version
check "and says how to get it" says "python3 -m pip install torch=="
check "a folder that is none is refused" bare 2 $usual SCORENET_LIBTORCH=/none "$program" --version
check "by its name" says "SCORENET_LIBTORCH = /none"
mkdir -p old/lib && touch old/lib/libtorch_cpu.so && echo "1.13.0+cpu" >old/build-version
check "another version is refused" bare 2 $usual SCORENET_LIBTORCH="$folder/old" "$program" \
  --version
check "with both" says "is version 1.13.0+cpu, expected"
check "with LibTorch it starts" bare 0 $usual SCORENET_LIBTORCH="$libtorch" "$program" --version
check "and tells its version" grep -q '^scorenet [0-9]' out
ln -s "$libtorch" elsewhere/libtorch
check "beside it, it is found" bare 0 $usual "$program" train tiny.toml --outdir one

script=elsewhere/share/scorenet/launch/train_mpirun.sh
check "its script trains two ranks" bare 0 $usual HOME="$folder" "$script" --ranks 2 \
  --config tiny.toml --outdir two
check "of two ranks" grep -q '^ranks *2 ' two/log.txt
check "its configs are there" [ -s elsewhere/share/scorenet/configs/quickstart.toml ]
exit $((failures > 0))
