#!/usr/bin/env bash
# Installs the server programs that the tests need from Debian's packages, unless they are installed.
# Prints nothing if nothing is missing.
set -euo pipefail

missing=()

# need PACKAGE PROGRAM...: mark the package as missing unless all of its programs are installed.
need() {
  local package=$1 program
  shift
  for program in "$@"; do
    is_installed "$program" || { missing+=("$package"); return; }
  done
}

# Debian installs PostgreSQL's programs outside of the PATH, in one directory per version.
is_installed() {
  command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null
}

fail() {
  printf 'The tests need %s: %s\n' "${missing[*]}" "$1" >&2
  exit 1
}

install_missing() {
  local as_root=()
  command -v apt-get >/dev/null || fail "apt-get was not found; please install the packages by other means."
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "installing requires root, and sudo was not found: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  printf 'installing %s\n' "${missing[*]}"
  quietly "${as_root[@]}" apt-get update
  quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=120 install --yes --no-install-recommends "${missing[@]}"
}

# Run a command and print its output only if it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || { printf '%s\n' "$output" >&2; fail "\`$*\` failed."; }
}

need curl curl
need postgresql initdb postgres
need redis-server redis-server

[ ${#missing[@]} -eq 0 ] || install_missing
