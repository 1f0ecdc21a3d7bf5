#!/usr/bin/env bash
# Makes sure that the servers which the tests start for themselves are there. What is missing is installed from
# Debian's packages; it says nothing when nothing is missing.
set -euo pipefail

missing=()

# need PACKAGE PROGRAM...: the package, unless all of its programs are there.
need() {
  local package=$1 program
  shift
  for program in "$@"; do
    is_there "$program" || { missing+=("$package"); return; }
  done
}

# Debian keeps PostgreSQL's programs off the PATH, one directory for each version.
is_there() {
  command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null
}

fail() {
  printf 'The tests need %s: %s\n' "${missing[*]}" "$1" >&2
  exit 1
}

install_missing() {
  local as_root=()
  command -v apt-get >/dev/null || fail "there is no apt-get here, please install it by other means."
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "only root can install it, and there is no sudo: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  printf 'installing %s\n' "${missing[*]}"
  quietly "${as_root[@]}" apt-get update
  quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=120 install --yes --no-install-recommends "${missing[@]}"
}

# Runs a command whose output only matters when it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || { printf '%s\n' "$output" >&2; fail "\`$*\` failed."; }
}

need curl curl
need postgresql initdb postgres
need redis-server redis-server

[ ${#missing[@]} -eq 0 ] || install_missing
