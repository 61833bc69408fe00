# Shared by the scripts beside it; to be sourced, not run.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Everything that is installed, built or written lies here, never in the clone.
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/packhorse
tools=$cache/tools   # installed programs
parts=$cache/parts   # what belongs to running parts: sockets, pid files, data, env
logs=$cache/logs

# Outside the clone, so that dependencies are compiled once per machine.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}

# Paths that other scripts may rely on.
debian13=$tools/debian-13                # private root with Docker Engine 26
pack_bin=$tools/bin/pack                 # pack 0.40.2
lifecycle_tgz=$tools/lifecycle.tgz       # lifecycle 0.21.0, as `pack builder create` takes it
lifecycle_dir=$tools/lifecycle/lifecycle # its programs
docker26=$tools/bin/docker26             # CLI (with buildx) of the newer engine
docker20=$tools/bin/docker20             # CLI of the older engine
moto_bin=$tools/moto/bin/moto_server
dynamodb_lib=$tools/dynamodb/lib
addons_tar=$tools/addons                 # folder with the root file systems of the add-on images
parts_env=$parts/env

mkdir -p "$tools/bin" "$parts" "$logs"

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need PROGRAM HINT: ends with the hint when the program is not on the PATH.
need() { command -v "$1" >/dev/null || die "$1 is not installed: $2"; }

need_root() { [ "$(id -u)" = 0 ] || die "$1 must be run as root"; }

# version_at_least WANTED FOUND
version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | sed -n 1p)" = "$1" ]; }

# key OF: the digest of what is on stdin.
key() { sha256sum | cut -c1-64; }

# step NAME RESULT WORDS FUNCTION [FILE...]: runs FUNCTION once per content of its recipe, which is the function's text and the
# files it reads. A finished step leaves a stamp; without the stamp or without RESULT it runs (again), with its output in a log.
step() {
  local name=$1 result=$2 words=$3 function=$4 stamp want log start
  shift 4
  stamp=$tools/.stamp-$name
  want=$({ declare -f "$function"; if [ $# -gt 0 ]; then cat "$@"; fi; } | key)
  if [ -e "$result" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then return; fi
  say "$words"
  log=$logs/provision-$name.log
  start=$SECONDS
  rm -f "$stamp"
  # A subshell of its own, outside any `||`, or `set -e` would not hold inside.
  set +e
  (set -euo pipefail; "$function") >"$log" 2>&1
  local status=$?
  set -e
  if [ $status -ne 0 ]; then
    tail -n 30 "$log" >&2
    die "$name failed (status $status); the whole log: $log"
  fi
  printf '%s\n' "$want" >"$stamp"
  say "  done in $((SECONDS - start)) s"
}

# wait_for SECONDS WHAT COMMAND...: asks until the command succeeds.
wait_for() {
  local limit=$1 what=$2 end
  shift 2
  end=$((SECONDS + limit))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
  : "$what"
}
