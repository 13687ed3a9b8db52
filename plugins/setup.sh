#!/bin/sh
# Installs one thing that the plugins' builds need, and says so; it never asks, and does nothing when the thing is there.
set -eu

say() { echo "plugins: $*" >&2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

apt_missing() {
  missing=""
  for package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
  done
  echo "$missing"
}

apt_install() {
  missing=$(apt_missing "$@")
  [ -n "$missing" ] || return 0
  say "installing the Debian packages$missing"
  as_root apt-get update -qq
  # shellcheck disable=SC2086 -- a list of names.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
}

kind=$1
shift
case $kind in
  apt)
    apt_install "$@"
    ;;
  js)
    command -v npm >/dev/null || apt_install nodejs npm
    say "installing $2 into $1"
    mkdir -p "$1"
    npm install --silent --no-fund --no-audit --prefix "$1" "$2"
    ;;
  py)
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
    say "installing $2 into $1"
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check "$2"
    ;;
  *)
    say "unknown kind: $kind"
    exit 2
    ;;
esac
