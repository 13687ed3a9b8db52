#!/bin/sh
# Makes a tarball of the daemon with its systemd unit, a Dockerfile and the licence, and the tarball's checksum.
set -eu

version=$1
target=${CARGO_TARGET_DIR:?}
name="trapjaw-$version-$(uname -m)-linux"
root=$(cd "$(dirname "$0")/.." && pwd)

cargo build --locked --profile dist -p trapjaw
out="$target/dist-out"
rm -rf "$out/$name"
mkdir -p "$out/$name"
cp "$target/dist/trapjaw" "$root/LICENSE" "$root/README.md" "$root/CHANGELOG.md" "$out/$name/"
cp "$root/docs/deploy/trapjaw.service" "$root/docs/deploy/Dockerfile" "$out/$name/"
"$out/$name/trapjaw" completions bash > "$out/$name/trapjaw.bash"
# The same input gives the same tarball: no times, no names of whoever built it.
tar -C "$out" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -czf "$out/$name.tar.gz" "$name"
(cd "$out" && sha256sum "$name.tar.gz" > "$name.tar.gz.sha256" && cat "$name.tar.gz.sha256")
echo "$out/$name.tar.gz"
