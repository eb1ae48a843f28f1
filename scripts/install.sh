#!/usr/bin/env bash
# Installs what devices in C are built with into a folder:
#
#   install.sh --prefix DIR
#
# The device kit for C (libvfio_user_device, vfio_user_device.h), QEMU's device API on top of it
# (libqemu_device, include/qemu-device), pkg-config files for both, and examples. Nothing outside of
# DIR and of cargo's target folder is written.
set -euo pipefail

usage() {
	echo 'usage: install.sh --prefix DIR' >&2
	exit 2
}

prefix=
while [[ $# -gt 0 ]]; do
	case $1 in
	--prefix)
		[[ $# -ge 2 ]] || usage
		prefix=$2
		shift 2
		;;
	--prefix=*)
		prefix=${1#*=}
		shift
		;;
	*) usage ;;
	esac
done
[[ -n $prefix ]] || usage

root=$(dirname "$(dirname "$(realpath "$0")")")
kit=$root/crates/vfio-user-device-c
api=$root/qemu-device
cargo build --release --manifest-path "$root/Cargo.toml" --package vfio-user-device-c
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/release

lib=$prefix/lib
examples=$prefix/share/vfio-user-device/examples
install -d "$lib/pkgconfig" "$prefix/include/qemu-device" "$examples"
install -m 755 "$target/libvfio_user_device_c.so" "$lib/libvfio_user_device.so.0"
strip --strip-debug "$lib/libvfio_user_device.so.0"
ln -sf libvfio_user_device.so.0 "$lib/libvfio_user_device.so"
install -m 644 "$kit/include/vfio_user_device.h" "$prefix/include/"
"$api/build.sh" "$lib" "$target/libvfio_user_device_c.a"
cp -R "$api/include/." "$prefix/include/qemu-device/"
install -m 644 "$kit/examples/skeleton.c" "$api"/examples/*.c "$examples/"

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
for template in "$kit/vfio-user-device.pc.in" "$api/qemu-device.pc.in"; do
	name=$(basename "$template" .in)
	sed -e "s|@VERSION@|$version|" -e "s|@CFLAGS@|$(cat "$api/cflags")|" \
		-e "s|@SANITIZE@|$(cat "$api/sanitize")|" "$template" >"$lib/pkgconfig/$name"
done

cat <<END
installed into $prefix; to build a device:

  export PKG_CONFIG_PATH=$(realpath "$lib/pkgconfig")
  cc \$(pkg-config --cflags qemu-device) my-rng.c \$(pkg-config --libs qemu-device) -o my-rng
  ./my-rng --socket-path /tmp/my-rng.sock
END
