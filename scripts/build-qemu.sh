#!/usr/bin/env bash
# Builds the QEMU that has the my_rng device inside, as virtualisation courses have it, out of
# qemu-patches and Debian's source package. Guest tests compare our device with it; they build it by
# themselves when it is missing. The first time fetches about 150 MB to target/lab and compiles for
# some minutes; later only what has changed.
set -euo pipefail
exec "$(dirname "$0")/lab.sh" --build-qemu
