#!/usr/bin/env bash
# Runs every check and test of the project. The first run fetches about 450 MB of Debian packages
# to target/lab for the guests, and compiles a QEMU there. FUZZ_SECONDS=N lets each fuzz target run
# that long.
set -euo pipefail
cd "$(dirname "$0")/.."

skipped=()
section_name=
section_start=0

# Ends the section before and begins a new one.
section() {
	if [[ -n $section_name ]]; then
		printf -- '--- %s: ok, %d s\n' "$section_name" $((SECONDS - section_start))
	fi
	section_name=$1
	section_start=$SECONDS
	if [[ -n $section_name ]]; then
		printf '\n=== %s\n' "$section_name"
	fi
}

report_failure() {
	local status=$?
	if ((status)); then
		printf '\nFAILED: %s, after %d s\n' "${section_name:-start}" $SECONDS >&2
	fi
}
trap report_failure EXIT

# Whether a program is there. Root installs it when it is not; others are told how.
have() {
	local program=$1 package=$2
	command -v "$program" >/dev/null && return
	if [[ $EUID == 0 ]] && command -v apt-get >/dev/null; then
		echo "installing a package on this system: $package"
		apt-get update -qq && apt-get install -y -qq "$package" >/dev/null && return
	fi
	echo "SKIPPED: $program is missing; install the package $package"
	skipped+=("$program")
	return 1
}

section 'Shell scripts: shellcheck'
mapfile -t scripts < <(git grep -lE '^#!/(usr/)?bin/(env )?(ba)?sh' -- . ':!*.rs')
if have shellcheck shellcheck; then
	shellcheck --external-sources "${scripts[@]}"
fi

section 'Kernel modules: line width and blanks'
if git grep -nE '[[:blank:]]+$|.{101,}' -- 'guest-driver/*.[ch]' 'tests/guest-modules/*.[ch]'; then
	echo 'these lines end in blanks or are longer than 100 characters' >&2
	exit 1
fi

section 'Rust: format'
if have cargo-fmt rustfmt; then
	cargo fmt --all --check
fi

section 'Rust: clippy'
if have cargo-clippy rust-clippy; then
	cargo clippy --workspace --all-targets -- -D warnings
fi

section 'Unit files: what systemd thinks of them'
if have systemd-analyze systemd; then
	./scripts/check-units.sh
fi

section 'Unit, protocol and property tests'
# One of the tests counts system calls with it.
have strace strace || echo 'system calls are not counted'
cargo test --workspace --exclude lab --exclude checker

section 'What the release build costs: system calls, memory, time'
cargo test --release --package my-rng-server --test daemon cost
# The aims are 1.15 and 0.9; this is to notice a step back, whatever else the machine is doing.
./scripts/bench.sh --check 1.5
./scripts/bench.sh fill --check 0.8
./scripts/bench.sh many --check 1.5
# A thousand times the classes, and the height of the sorted sets: three times the cost.
./scripts/bench.sh bandwidth --check 6

section 'Memory that is truncated, as the optimiser leaves it'
cargo test --release --package vfio-user-kit --lib dma::mapped

section 'QEMU with the device inside, to compare ours with: fetched and compiled the first time'
./scripts/build-qemu.sh

section 'Guests: the lab and its tests on stock QEMU'
cargo test --package lab

section 'Guests: the tests of the device, with the one inside QEMU'
MY_RNG=qemu cargo test --package lab --test guest -- device:: module:: several:: hotplug:: \
	a_paused_machine --skip virtio::

section 'The checker, with submissions of its own'
cargo test --package checker

section "Fuzz targets, ${FUZZ_SECONDS:=20} s each"
if have g++ g++; then
	./scripts/fuzz.sh "$FUZZ_SECONDS"
fi

section ''
printf '\nAll passed in %d s\n' $SECONDS
if ((${#skipped[@]})); then
	printf 'Not run, because these programs are missing: %s\n' "${skipped[*]}"
fi
