#!/usr/bin/env bash
# Boots a guest on stock QEMU with the my_rng device. `scripts/lab.sh --help` says more.
# This script only sees to a Rust compiler and a C linker; the lab itself is in lab/.
set -euo pipefail

# The user's paths are meant from where the user is, so this does not go to the checkout.
root=$(dirname "$(dirname "$(realpath "$0")")")
# shellcheck source=scripts/prerequisites.sh
source "$root/scripts/prerequisites.sh"
see_to_prerequisites "$@"

build_quietly lab lab lab || exit 1
# On Unix, `cargo run` becomes the program: signals and exit status are the lab's own.
exec cargo run --quiet --manifest-path "$root/Cargo.toml" --package lab -- "$@"
