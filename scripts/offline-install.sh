#!/usr/bin/env bash
# Unpacks pad-ft-offline.tar.xz, which lies beside this script, and builds the addon against the PyTorch found here.
# Needs no network, no npm and no Node. Made by scripts/offline-bundle.mjs; see docs/offline.md.
#
#   bash install.sh [--into DIR] [--tests]
#
#   --into DIR   where the folder pad-ft/ is made (default: the current folder)
#   --tests      also build and run the core's own tests (needs a bundle made with --with-tests)
#
# LIBTORCH=<folder with include/ and lib/> names a libtorch; else the PyTorch of PYTHON (default: python3) is taken.
# CMAKE_BUILD_PARALLEL_LEVEL limits the compiler processes.
set -euo pipefail

into=$PWD
tests=no
while [ $# -gt 0 ]; do
  case $1 in
    --into) into=${2:?--into needs a folder}; shift 2 ;;
    --tests) tests=yes; shift ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; [ "$1" = --help ] && exit 0; echo "install: unknown option $1" >&2; exit 2 ;;
  esac
done

here=$(cd "$(dirname "$0")" && pwd)
archive=$here/pad-ft-offline.tar.xz
PYTHON=${PYTHON:-python3}

now() { date +%s%3N; }
started=$(now)
# step NAME COMMAND...: runs it and prints how long it took; ends the whole script when it fails.
step() {
  local name=$1 from status=0
  shift
  from=$(now)
  "$@" || status=$?
  awk -v name="$name" -v ms="$(($(now) - from))" -v status="$status" \
    'BEGIN { printf "install: %-34s %8.1f s%s\n", name, ms / 1000, status == 0 ? "" : "  FAILED" }'
  [ "$status" -eq 0 ] || exit "$status"
}
need() {
  for tool in "$@"; do
    command -v "$tool" >/dev/null && return
  done
  echo "install: none of these is on PATH: $*" >&2
  exit 3
}

unpack() {
  mkdir -p "$into"
  if command -v xz >/dev/null; then
    tar -C "$into" -xJf "$archive"
  else
    "$PYTHON" -m tarfile -e "$archive" "$into"
  fi
}

unpack_node() {
  if command -v xz >/dev/null; then
    xz -dc bin/node.xz >bin/node.new
  else
    "$PYTHON" -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], "wb"), 1 << 20)' \
      bin/node.xz bin/node.new
  fi
  chmod 755 bin/node.new
  mv -f bin/node.new bin/node
  printf 'export PATH="%s/bin:$PATH"\n' "$PWD" >env.sh
  bin/node --version
}

find_torch() {
  if [ -z "${LIBTORCH:-}" ]; then
    LIBTORCH=$("$PYTHON" -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")') ||
      LIBTORCH=
  fi
  if [ -z "$LIBTORCH" ]; then
    echo "install: $PYTHON has no torch: set LIBTORCH=<folder with include/ and lib/> or PYTHON=<one that has it>" >&2
    return 3
  fi
  export LIBTORCH
  echo "install: libtorch is $LIBTORCH"
}

[ -f "$archive" ] || { echo "install: $archive is missing: it belongs beside this script" >&2; exit 3; }
need cmake
need ninja make
need "${CXX:-c++}" g++ clang++
need xz "$PYTHON"

step 'unpack the archive' unpack
cd "$into/pad-ft"
step 'unpack node' unpack_node
export PATH="$PWD/bin:$PATH"
step 'find libtorch' find_torch
step 'configure, compile, load the addon' node scripts/setup.mjs --cmake --native-only
if [ "$tests" = yes ]; then
  step "build the core's tests" node scripts/setup.mjs --cmake --native-only --tests
  core=$(node -p 'JSON.parse(fs.readFileSync("build/addon.json", "utf8")).tests.binary')
  step "run the core's tests" "$core"
fi
awk -v ms="$(($(now) - started))" 'BEGIN { printf "install: %-34s %8.1f s\n", "all together", ms / 1000 }'

cat <<END
install: done, in $PWD. Next:
  . $PWD/env.sh && cd $PWD     # puts node on PATH
  node dist/cli/main.js doctor        # what was found, and a trial step on every device
  node dist/cli/main.js --help
END
