#!/usr/bin/env bash
# Boots a guest on stock QEMU with the my_rng device. `scripts/lab.sh --help` says more.
# This script only sees to a Rust compiler and a C linker; the lab itself is in tests/.
set -euo pipefail

# Relative paths are meant from where the user is; a QEMU without a slash is looked for in PATH.
[[ ${QEMU-} != [!/]*/* ]] || export QEMU=$PWD/$QEMU
[[ ${LAB_DIR-} != [!/]* ]] || export LAB_DIR=$PWD/$LAB_DIR
cd "$(dirname "$0")/.."

# shellcheck source=scripts/prerequisites.sh
source scripts/prerequisites.sh
see_to_prerequisites "$@"

if ! cargo build --package lab; then
	echo 'lab: cargo could not build the lab; without a network it needs the crates of an earlier build' >&2
	exit 1
fi
# On Unix, `cargo run` becomes the program: signals and exit status are the lab's own.
exec cargo run --quiet --package lab -- "$@"
