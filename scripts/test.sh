#!/usr/bin/env bash
# Runs every check and test of the project, and lists what failed with the command that repeats it.
# The first run fetches about 800 MB of Debian packages to target/lab for the guests, and compiles a
# QEMU there.
#
#   ./scripts/test.sh           everything
#   ./scripts/test.sh --quick   checks of the source, unit tests and one guest
#
# FUZZ_SECONDS=N lets each fuzz target run that long (20 by default).
set -euo pipefail
cd "$(dirname "$0")/.."

quick=false
case ${1-} in
'') ;;
--quick) quick=true ;;
*)
	sed -n '/^#   /s/^# *//p' "$0" >&2
	exit 2
	;;
esac

# shellcheck source=scripts/sections.sh
source scripts/sections.sh
# Tests that need what Debian's archive lacks today write a line to it.
LAB_SKIPPED=$(realpath -m "${CARGO_TARGET_DIR:-target}")/skipped-tests
export LAB_SKIPPED
mkdir -p "${LAB_SKIPPED%/*}"
: >"$LAB_SKIPPED"

mapfile -t scripts < <(git grep -lE '^#!/(usr/)?bin/(env )?(ba)?sh' -- . ':!*.rs')
have shellcheck shellcheck &&
	section 'Shell scripts: shellcheck' shellcheck --external-sources "${scripts[@]}"
section 'Kernel modules: no blanks at ends of lines, no line over 100 characters' bash -c \
	'! git grep -nE "[[:blank:]]+$|.{101,}" -- "guest-driver/*.[ch]" "tests/guest-modules/*.[ch]"'
have cargo-fmt rustfmt &&
	section 'Rust: format' cargo fmt --all --check
have cargo-clippy rust-clippy &&
	section 'Rust: clippy' cargo clippy --workspace --all-targets -- -D warnings
# One of the tests counts system calls with it.
have strace strace || echo 'system calls are not counted'
section 'Unit, protocol and property tests' \
	cargo test --no-fail-fast --workspace --exclude lab --exclude checker

if $quick; then
	section 'One guest: the demonstration' ./scripts/lab.sh
else
	have systemd-analyze systemd &&
		section 'Unit files: what systemd thinks of them' ./scripts/check-units.sh
	section 'The release build: system calls, memory' \
		cargo test --release --package my-rng-server --test daemon cost
	section 'Memory that is truncated, as the optimiser leaves it' \
		cargo test --release --package vfio-user-kit --lib dma::mapped
	# The aims are 1.15 and 0.9; this is to notice a step back, whatever else the machine is doing.
	section 'Benchmark: a register read' ./scripts/bench.sh --check 1.5
	section 'Benchmark: entropy alone' ./scripts/bench.sh fill --check 0.8
	section 'Benchmark: a thousand guests' ./scripts/bench.sh many --check 1.5
	# A thousand times the classes, and the height of the sorted sets: three times the cost.
	section 'Benchmark: decisions about bandwidth' ./scripts/bench.sh bandwidth --check 6
	section 'Debian packages: a mirror that moves' \
		cargo test --package lab --lib --bins --test roots
	section 'QEMU with the device inside, to compare ours with' ./scripts/build-qemu.sh
	section 'Guests: the lab and its tests on stock QEMU' \
		cargo test --no-fail-fast --package lab --test guest --test teaching
	section 'Guests: the tests of the device, with the one inside QEMU' \
		env MY_RNG=qemu cargo test --package lab --test guest -- device:: module:: several:: \
		hotplug:: a_paused_machine --skip virtio::
	section 'The checker, with submissions of its own' cargo test --no-fail-fast --package checker
	have g++ g++ &&
		section 'Fuzz targets' ./scripts/fuzz.sh "${FUZZ_SECONDS:-20}"
fi

report
