#!/usr/bin/env bash
# Walks a student through the course. `scripts/course.sh --help` says more.
# This script only sees to a Rust compiler and a C linker; the course itself is in course/.
set -euo pipefail

# The user's paths are meant from where the user is, so this does not go to the checkout.
root=$(dirname "$(dirname "$(realpath "$0")")")
# shellcheck source=scripts/prerequisites.sh
source "$root/scripts/prerequisites.sh"
see_to_prerequisites "$@" || exit 2

build_quietly course course course || exit 2
# On Unix, `cargo run` becomes the program: signals and exit status are the course's own.
exec cargo run --quiet --manifest-path "$root/Cargo.toml" --package course -- "$@"
