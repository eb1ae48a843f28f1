#!/usr/bin/env bash
# Runs the guest tests that take too long for every day, one after the other, or only those whose
# names have one of the words given: `scripts/soak.sh dieharder`. All take about 20 minutes. Some
# need programs that test.sh does not, such as dieharder, and fail without them.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo test --package lab --test guest -- --ignored --nocapture --test-threads 1 "$@"
