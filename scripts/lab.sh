#!/usr/bin/env bash
# Boots a guest on stock QEMU with the my_rng device. `scripts/lab.sh --help` says more.
# This script only sees to a Rust compiler and a C linker; the lab itself is in tests/.
set -euo pipefail

# The user's paths are meant from where the user is, so this does not go to the checkout.
root=$(dirname "$(dirname "$(realpath "$0")")")
# shellcheck source=scripts/prerequisites.sh
source "$root/scripts/prerequisites.sh"
see_to_prerequisites "$@"

if ! cargo build --manifest-path "$root/Cargo.toml" --package lab; then
	echo 'lab: cargo could not build the lab; without a network it needs the crates of an earlier build' >&2
	exit 1
fi
# On Unix, `cargo run` becomes the program: signals and exit status are the lab's own.
exec cargo run --quiet --manifest-path "$root/Cargo.toml" --package lab -- "$@"
