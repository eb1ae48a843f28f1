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
	'! git grep -nE "[[:blank:]]+$|.{101,}" -- "guest-driver/*.[ch]" "lab/guest-modules/*.[ch]"'
have cargo-fmt rustfmt &&
	section 'Rust: format' cargo fmt --all --check
# `measures` wants features of its dependencies for which all would be compiled anew: it goes alone.
have cargo-clippy rust-clippy && {
	section 'Rust: clippy' \
		cargo clippy --workspace --exclude measures --all-targets -- -D warnings
	section 'Rust: clippy of the measures' \
		cargo clippy --package measures --all-targets -- -D warnings
}
# One of the tests counts system calls with it.
have strace strace || echo 'system calls are not counted'
section 'Unit, protocol and property tests' \
	cargo test --no-fail-fast --workspace --exclude lab --exclude checker --exclude course \
	--exclude project-tests --exclude measures
section 'Unit tests of the measures' cargo test --package measures
section 'Manual pages and completions have every option' \
	cargo test --package my-rng-server --features generate --bin my-rng-server generate

if $quick; then
	section 'One guest: the demonstration' ./scripts/lab.sh
else
	have systemd-analyze systemd &&
		section 'Unit files: what systemd thinks of them' ./scripts/check-units.sh
	section 'The release build: system calls, memory' \
		cargo test --release --package my-rng-server --test daemon cost
	section 'Memory that is truncated, as the optimiser leaves it' \
		cargo test --release --package vfio-user-device --lib memory::mapped
	# The aims are 1.15 and 0.9; this is to notice a step back, whatever else the machine is doing.
	section 'Benchmark: a register read' ./scripts/bench.sh --check 1.5
	section 'Benchmark: a register read of a device in C' ./scripts/bench.sh c --check 1.5
	section 'Benchmark: entropy alone' ./scripts/bench.sh fill --check 0.8
	section 'Benchmark: a thousand guests' ./scripts/bench.sh many --check 1.5
	# A thousand times the classes, and the height of the sorted sets: three times the cost.
	section 'Benchmark: decisions about bandwidth' ./scripts/bench.sh bandwidth --check 6
	# From here on nothing measures time next to nothing else: what leaves a processor idle now and
	# then runs side by side.
	trap abandon EXIT
	have g++ g++ &&
		begin 'Fuzz targets' ./scripts/fuzz.sh "${FUZZ_SECONDS:-20}"
	begin 'Debian packages: a mirror that moves' \
		cargo test --package lab --lib --bins --test roots
	section 'QEMU with the device inside, to compare ours with' ./scripts/build-qemu.sh
	# The folder in which it was built: LAB_DIR can be another user's.
	for lab in "${LAB_DIR:-target/lab}" target/lab; do
		[[ ! -d $lab/qemu-my_rng/source ]] || break
	done
	section 'Devices in C: those of QEMU, compiled from its source' \
		env QEMU_SOURCE="$(realpath -m "$lab/qemu-my_rng/source")" \
		cargo test --package vfio-user-device-c --test c qemu_source
	have pkg-config pkgconf &&
		section 'What is installed for devices in C' \
			cargo test --package project-tests --test install
	section 'Guests: the lab and its tests on stock QEMU' \
		cargo test --no-fail-fast --package lab --package project-tests \
		--test guest --test pages --test teaching --test today --test licences
	section 'Guests: both devices on arm64' env LAB_ARCH=arm64 \
		cargo test --package lab --test guest -- several::my_rng_and_virtio_rng
	section 'Guests: the tests of the device, with the one inside QEMU' \
		env MY_RNG=qemu cargo test --package lab --test guest -- device:: module:: several:: \
		hotplug:: a_paused_machine --skip virtio::
	section 'The course, with a scripted newcomer' cargo test --no-fail-fast --package course
	# `soak.sh submissions` runs them all.
	section 'The checker, with a submission for each check' \
		env SUBMISSIONS=each-check cargo test --no-fail-fast --package checker
	finish
fi

# A print, for those who compare: nothing fails because of the numbers.
section 'Measures: functions, files, unsafe blocks, dependencies' ./scripts/measures.sh

report
