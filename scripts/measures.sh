#!/usr/bin/env bash
# Prints the size of each crate, tests apart: the lengths of its functions, `unsafe` blocks, direct
# dependencies, lines of code; functions and files that are too long; files that depend on each other;
# and code that stands twice, if jscpd (npm) is installed. It measures, and fails nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo run --quiet --package measures
if command -v jscpd >/dev/null; then
	jscpd --silent --min-lines 10 --format rust \
		--ignore '**/target/**,**/tests/**,**/tests.rs,**/benches/**,checker/submissions/**' .
fi
