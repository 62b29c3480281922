# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: where things are, and one way to talk.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
CALLER=$PWD
cd "$ROOT"

step() { printf '==> %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
# Prints the comment block at the top of the script, which is its help.
show_help() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$1"; }

# Parallel compilations: one per core, but LibTorch's headers cost about 2 GiB each.
build_jobs() {
  local cores memory
  cores=$(nproc 2>/dev/null || echo 2)
  memory=$(awk '/MemAvailable/ {print int($2 / 2097152)}' /proc/meminfo 2>/dev/null || echo 2)
  [ "${memory:-0}" -ge 1 ] || memory=1
  echo "${CMAKE_BUILD_PARALLEL_LEVEL:-$((cores < memory ? cores : memory))}"
}

# Sets PATH, PYTHON and TORCH_DIR for a machine that scripts/setup has prepared.
use_environment() {
  if [ -n "${MONOGRAPH_TORCH:-}" ]; then
    PYTHON=$MONOGRAPH_TORCH
    PATH=$(dirname "$MONOGRAPH_TORCH"):$PATH
  else
    PYTHON=$VENV/bin/python
    PATH=$VENV/bin:$PATH
  fi
  export PATH PYTHON
  TORCH_DIR=$("$PYTHON" -c 'import importlib.util as u
s = u.find_spec("torch")
print(s.submodule_search_locations[0] if s else "")')
  # A clone elsewhere shares the compiler cache: paths below the root count as relative.
  export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1
}

# configure PRESET [CMAKE ARGUMENTS]: once; ninja does it again by itself when files change.
configure() {
  local preset=$1
  shift
  local wanted="$TORCH_DIR $*" mark=$ROOT/build/$preset/.configured
  if [ -f "build/$preset/build.ninja" ] && [ "$(cat "$mark" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  step "Configuring build/$preset"
  cmake --preset "$preset" -DMONOGRAPH_TORCH_DIR="$TORCH_DIR" "$@"
  printf '%s\n' "$wanted" >"$mark"
}
