#!/usr/bin/env bash
# Measures something of ours next to what it has to bear comparison with, in one run:
#
#   bench.sh [read]   a register read; a bare ping-pong over the same kind of socket; with
#                     EARLIER_SERVER=PROGRAM, a read from that build of the server, too
#   bench.sh c        a register read of a device in C; of the same in Rust
#   bench.sh record   a register read that is recorded; one that is not
#   bench.sh fill     bytes from a virtio-rng device; the same generator alone
#   bench.sh many     1,000 idle guests of one server: their memory, and a busy guest's register read
#                     beside them, and beside one that misbehaves; with a single guest
#   bench.sh guest    /dev/hwrng of a guest with our virtio-rng; with QEMU's own; with
#                     vhost-device-rng, and with ours over vhost-user as that is; the former is
#                     installed into target/tools if it is missing
#   bench.sh bandwidth
#                     a decision about bandwidth among 10,000 classes; among 10
#   bench.sh reload   a change of the device or the kernel module, from saving it until a running
#                     guest sees it; one of the device inside QEMU, which is rebuilt and rebooted
#   bench.sh all      all of them
#
# With --check RATIO one of them fails when its ratio is worse: more time for a read, a decision or a
# change than that, or less speed for the others.
set -euo pipefail
cd "$(dirname "$0")/.."

bench() {
	cargo bench --quiet -p "$1" --bench "$2" -- "${@:3}"
}

install_vhost_device_rng() {
	local target
	target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
	if [[ ! -x target/tools/bin/vhost-device-rng ]]; then
		echo "bench.sh: installing vhost-device-rng into target/tools"
		CARGO_TARGET_DIR=$target/tools-build cargo install --quiet --locked \
			vhost-device-rng@0.1.0 --root target/tools
	fi
}

what='read'
if [[ ${1:---} != --* ]]; then
	what=$1
	shift
fi
case $what in
read) bench my-rng-server register_read "$@" ;;
c) bench lab c_device "$@" ;;
record) bench my-rng-server recorded_read "$@" ;;
fill) bench my-rng-server entropy_fill "$@" ;;
many) bench my-rng-server many_guests "$@" ;;
bandwidth) bench entropy bandwidth "$@" ;;
guest)
	install_vhost_device_rng
	bench lab entropy "$@"
	;;
reload) bench lab reload "$@" ;;
all)
	for what in read c record fill many bandwidth guest reload; do
		./scripts/bench.sh "$what"
		echo
	done
	;;
*)
	echo "bench.sh: no benchmark $what; there are read, c, record, fill, many, bandwidth, guest, reload and all" >&2
	exit 2
	;;
esac
