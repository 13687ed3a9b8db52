#!/bin/sh
# Installs what building and testing need: says what it installs, never asks, and does nothing when all is there.
set -eu

say() { echo "setup: $*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

command -v cargo >/dev/null || { say "cargo is missing: install Rust with rustup"; exit 1; }

# They build the TLS library, SQLite and the allocator.
missing=""
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
need cc build-essential
need cmake cmake
need make make
need pkg-config pkg-config
if [ -n "$missing" ]; then
  say "installing the Debian packages$missing"
  as_root apt-get update -qq
  # shellcheck disable=SC2086 -- a list of names.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
fi
