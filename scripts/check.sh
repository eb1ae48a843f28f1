#!/usr/bin/env bash
# Checks a student's driver, application or device. `scripts/check.sh --help` says more.
# This script only sees to a Rust compiler and a C linker; the checker itself is in checker/.
set -euo pipefail

# The user's paths are meant from where the user is, so this does not go to the checkout.
root=$(dirname "$(dirname "$(realpath "$0")")")
# shellcheck source=scripts/prerequisites.sh
source "$root/scripts/prerequisites.sh"
# 2: it is not the submission that failed.
see_to_prerequisites "$@" || exit 2

build_quietly check checker check || exit 2
# On Unix, `cargo run` becomes the program: signals and exit status are the checker's own.
exec cargo run --quiet --manifest-path "$root/Cargo.toml" --package checker --bin check -- "$@"
