#!/usr/bin/env bash
# Makes Debian packages in a folder:
#
#   package.sh FOLDER
#
# my-rng-server; the device kit for C (libvfio-user-device0, libvfio-user-device-dev); my-rng-lab with
# the lab, the checker and the course. It needs cargo-deb (`cargo install cargo-deb`).
set -euo pipefail

if [[ $# -ne 1 || $1 == -* ]]; then
	sed -n '/^#   /s/^# *//p' "$0" >&2
	exit 2
fi
folder=$(realpath -m "$1")
cd "$(dirname "$0")/.."
if ! cargo deb --version >/dev/null 2>&1; then
	echo 'package.sh: cargo-deb is missing: cargo install cargo-deb' >&2
	exit 1
fi

# What the packages' lists of files name.
stage=$(realpath -m "${CARGO_TARGET_DIR:-target}")/packages
rm -rf "$stage"
mkdir -p "$folder" "$stage"
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
date=$(git log -1 --format=%cD)
changelog() {
	printf '%s (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' \
		"$1" "$version-1" "$maintainer" "$date" >"$stage/$1.changelog"
}
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' server/Cargo.toml)

cargo run --quiet --package my-rng-server --features generate -- generate "$stage/share"
scripts/install.sh --prefix "$stage/kit" >/dev/null
# The lab builds what goes into a guest, so its package has the source.
mkdir -p "$stage/lab"
git archive HEAD | tar -x -C "$stage/lab" --exclude 'fuzz' --exclude '.github' --exclude 'docs/*.svg'
git rev-parse --short=12 HEAD >"$stage/lab/COMMIT"

for package in my-rng-server libvfio-user-device0 libvfio-user-device-dev my-rng-lab; do
	changelog "$package"
done
cargo build --release --package my-rng-server
strip -o "$stage/my-rng-server" "$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/my-rng-server"
# dpkg packs again what cargo-deb makes: dpkg of Debian 13 wants a newer form of tar headers than some
# versions of cargo-deb write.
deb() {
	local made library
	rm -rf "$stage/made" "$stage/tree"
	cargo deb --quiet --no-build --no-strip --output "$stage/made/" "$@" >/dev/null
	made=("$stage"/made/*.deb)
	dpkg-deb -R "${made[0]}" "$stage/tree"
	library=$stage/tree/usr/lib/libvfio_user_device.so
	# cargo-deb follows links.
	[[ ! -e $library ]] || ln -sf libvfio_user_device.so.0 "$library"
	if [[ -e $library.0 ]]; then
		strip --strip-unneeded "$library.0"
		echo 'libvfio_user_device 0 libvfio-user-device0' >"$stage/tree/DEBIAN/shlibs"
	fi
	dpkg-deb --root-owner-group -b "$stage/tree" "$folder/${made[0]##*/}" >/dev/null
	printf '%s\n' "$folder/${made[0]##*/}"
}
deb --package my-rng-server
deb --package vfio-user-device-c --variant library
deb --package vfio-user-device-c
deb --package lab
