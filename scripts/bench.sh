#!/usr/bin/env bash
# Measures a register read next to a bare ping-pong over the same kind of socket, in one run.
# With --check RATIO it fails when the ratio of their medians is larger.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo bench --quiet -p my-rng-server --bench register_read -- "$@"
