#!/bin/sh
# Builds libqemu_device.a in the folder FOLDER, and copies the device kit KIT to
# libvfio_user_device.a there. The C compiler is $CC, or cc.
# The library itself has no sanitizers, so that it goes with devices that have them and without.
# Neither has debug information: a crash report has the device's own lines, and comes soon.
# The kit becomes a single object with what its functions need: most of the time from saving a device
# until it runs would be the linker's, looking through the Rust library.
set -eu
if [ $# -ne 2 ]; then
	echo "usage: $0 FOLDER KIT" >&2
	exit 2
fi
here=$(dirname "$(realpath "$0")")
mkdir -p "$1"
out=$(realpath "$1")
kit=$(realpath "$2")
objects=$(mktemp -d "$out/objects.XXXXXX")
trap 'rm -rf "$objects"' EXIT
(
	cd "$objects"
	strip --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd -o kit.a "$kit"
	# shellcheck disable=SC2046
	ld -r --gc-sections $(nm --defined-only --format=just-symbols kit.a 2>/dev/null |
		sed -n '/^vfio_user_/s/^/-u /p') -o kit.o kit.a
	objcopy --wildcard --keep-global-symbol='vfio_user_*' kit.o
	ar rcs libvfio_user_device.a kit.o
	rm kit.a kit.o
	# shellcheck disable=SC2046
	"${CC:-cc}" $(cat "$here/cflags") -g0 -O2 -Wextra -Wno-unused-parameter \
		-Wno-missing-field-initializers -Wno-sign-compare -I"$here/include" \
		-I"$here/../crates/vfio-user-device-c/include" -c "$here"/src/*.c
)
# Renamed into place: others may be linking with the old one.
ar rcs "$objects/libqemu_device.a" "$objects"/*.o
mv "$objects"/*.a "$out/"
