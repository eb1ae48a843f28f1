#!/usr/bin/env bash
# Runs what takes too long for every day.
#
#   ./scripts/soak.sh                  everything, about two hours
#   ./scripts/soak.sh guests [WORD...] guest tests that take long, those with a WORD in their names
#   ./scripts/soak.sh loaded [ROUNDS]  what measures time, five times in a row, beside a process that
#                                      spins on each processor
#   ./scripts/soak.sh submissions      the checker with all of its submissions
#   ./scripts/soak.sh class [COUNT]    a class of 200, with the time and the memory that it takes
#   ./scripts/soak.sh ports            arm64: guests and submissions, and the crates' tests on an emulated
#                                      processor; riscv64: whether they compile
#   ./scripts/soak.sh viewers          recordings in Wireshark and in a browser; fetches 200 MB
#   ./scripts/soak.sh gradescope       the archive for Gradescope in a container as Gradescope has one
#   ./scripts/soak.sh faults           each fault that outside material has shown, tried again
#   ./scripts/soak.sh packages         Debian packages: made, installed, upgraded, removed, and what
#                                      lintian says
#   ./scripts/soak.sh supply           licences, advisories and a bill of materials (CycloneDX)
#
# Some guest tests need programs that test.sh does not, such as dieharder, and fail without them.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/sections.sh
source scripts/sections.sh

guests() {
	section 'Guest tests that take long' cargo test --package lab --test guest -- \
		--ignored --nocapture --test-threads 1 "$@"
}

loaded() {
	local rounds=${1:-5} round processor
	local spinners=()
	for ((processor = 0; processor < $(nproc); processor++)); do
		(while :; do :; done) &
		spinners+=($!)
	done
	trap 'kill "${spinners[@]}" 2>/dev/null || true' EXIT
	for ((round = 1; round <= rounds; round++)); do
		section "Loaded, round $round: system calls, memory" \
			cargo test --release --package my-rng-server --test daemon cost
		section "Loaded, round $round: a register read" ./scripts/bench.sh --check 1.5
		section "Loaded, round $round: entropy alone" ./scripts/bench.sh fill --check 0.8
		section "Loaded, round $round: a thousand guests" ./scripts/bench.sh many --check 1.5
		section "Loaded, round $round: decisions about bandwidth" \
			./scripts/bench.sh bandwidth --check 6
		section "Loaded, round $round: limits and shares in guests" \
			cargo test --package lab --test guest -- virtio::limits virtio::sharing \
			virtio::waiting virtio::uneven
	done
	kill "${spinners[@]}"
	trap - EXIT
}

submissions() {
	section 'The checker, with all of its submissions' cargo test --package checker --test submissions
}

ports() {
	local crates=(--package vfio-user-device --package vfio-user-client --package virtio-device
		--package entropy --package my-rng-model --package my-rng-server)
	local cross=(cargo run --quiet --package lab --bin cross-cargo --) size
	# Programs that a test starts are not emulated, and the emulator's root knows no localhost. The emulator
	# does not say what of memory is dumped, maps no huge pages, and hangs when a message brings more
	# descriptors than there is room for.
	local unable=(--skip left_out_of_core_dumps --skip each_address_of_a_name --skip huge_pages
		--skip surplus_descriptors)

	section 'arm64: guests' env LAB_ARCH=arm64 cargo test --no-fail-fast --package lab --test guest
	section 'arm64: submissions' env LAB_ARCH=arm64 cargo test --package checker --test submissions
	section 'arm64: tests of the kit and the server' \
		"${cross[@]}" --arch arm64 test --no-fail-fast "${crates[@]}" --lib --bins --test virtio -- \
		"${unable[@]}"
	for size in 16384 65536; do
		section "arm64: tests of the kit, with pages of $size bytes" \
			"${cross[@]}" --arch arm64 --page-size "$size" \
			test --package vfio-user-device --lib -- "${unable[@]}"
	done
	section 'riscv64: the kit and the server compile' \
		"${cross[@]}" --check riscv64 "${crates[@]}"
}

viewers() {
	section 'Recordings in Wireshark and in a browser' \
		cargo test --package lab --test viewers -- --nocapture
}

gradescope() {
	section 'The archive for Gradescope, without a network at run time' ./scripts/check-gradescope.sh
}

faults() {
	local kit=(cargo test --package vfio-user-device --lib --test protocol --test panics --)
	local server=(cargo test --package my-rng-server --lib --bins --tests --)
	local entropy=(cargo test --package entropy --)
	local guest=(cargo test --package lab --test guest --)
	local wrongly=echo-seed,wide-seed,says-warning,correct-named-random,constant,eight-bytes
	wrongly+=,no-seed,draws,warm-up,logs-each-call,hand-ins

	section 'Guest memory that is not shared despite its file' "${guest[@]}" private_memory
	section 'The server ends under a guest' "${guest[@]}" server_end
	section 'A server that is killed a hundred times' cargo test --package my-rng-server --test keeper
	section 'A thousand guests that are exchanged' \
		cargo test --package my-rng-server --test exchange -- --ignored --nocapture
	section 'A reload under connected guests' "${server[@]}" in_place:: reload::
	section 'A guest after loadvm and -incoming' "${guest[@]}" snapshot::
	section 'What one client leaves to the next' "${server[@]}" cloud_hypervisor:: clients::
	section 'Linux and uneven completions' "${server[@]}" linux odd_pieces
	section 'Completions that Linux can count' "${entropy[@]}" service:: limiter::
	section 'Sockets, locks and listeners' "${kit[@]}" socket_file:: servers::
	section 'Sockets that are passed, a full backlog' "${server[@]}" passed:: backlog
	section 'Descriptors without end' "${server[@]}" descriptors::
	section 'Logs without end' "${server[@]}" log::
	section 'DMA messages, unmaps, long copies' "${kit[@]}" dma:: memory::
	section 'Long reads without shared memory in a guest' "${guest[@]}" long_reader
	section 'A device that panics' "${kit[@]}" panic
	section 'What released clients send' "${kit[@]}" interrupts:: every_released_form
	section 'Interrupts without a cause' "${kit[@]}" unmask:: pin::
	section 'edu: interrupts and timers' "${guest[@]}" edu::
	section 'Negotiation, windows, MSI-X, twin socket' "${kit[@]}" negotiat window:: msix twin
	section 'vhost-user: slots, sizes, monitors' "${server[@]}" daemon:: hostile:: requests::
	section 'Definitions of libvirt' "${server[@]}" libvirt
	section 'The driver: modes, kernels' "${guest[@]}" module::
	section 'The lab: own drivers, exit status, debugger' "${guest[@]}" own_driver:: watch:: lab_program::
	section 'Submissions that were judged wrongly' \
		env SUBMISSIONS="$wrongly" cargo test --package checker --test submissions
}

# The memory of a process and its descendants, in MiB. What they share is counted for each.
family_memory() {
	ps -e -o pid=,ppid=,rss= | awk -v top="$1" '
		{ parent[$1] = $2; memory[$1] = $3 }
		END {
			for (one in memory) {
				for (at = one; at in parent && at != top; at = parent[at]);
				if (at == top) sum += memory[one]
			}
			print int(sum / 1024)
		}'
}

# Checks as many submissions as a class has: the checker's own, over and over, two at once.
check_class() {
	local count=$1 folder number=0 submission begun most=0 now status=0
	local all
	# The test makes those that are a change of another one, all of them each time.
	SUBMISSIONS=apps/correct-decimal cargo test --package checker --test submissions
	mapfile -t all < <(dirname {checker,target/lab}/submissions/{drivers,apps}/*/*.c | sort -u)
	./scripts/check.sh --prepare
	folder=$(mktemp -d)
	mkdir "$folder/class"
	for ((number = 0; number < count; number++)); do
		submission=${all[number % ${#all[@]}]}
		cp -r "$submission" "$folder/class/$number-$(basename "$submission")"
	done
	begun=$SECONDS
	./scripts/check.sh --submissions "$folder/class" --jobs 2 --reports "$folder/reports" \
		>"$folder/table" &
	while kill -0 $! 2>/dev/null; do
		now=$(family_memory $!)
		((now <= most)) || most=$now
		sleep 1
	done
	wait $! || status=$?
	printf '%d submissions in %d s, %d MiB at most\n' "$count" $((SECONDS - begun)) "$most"
	rm -rf "$folder"
	# 1 is a submission that failed a check: most of these do.
	((status < 2))
}

class() {
	section 'A class, two submissions at once' check_class "${1:-200}"
}

# Whether a program of cargo's is there; it is compiled when it is not, which takes minutes.
have_cargo() {
	command -v "cargo-$1" >/dev/null || cargo install --locked "cargo-$1"
}

packages() {
	local folder=target/debian
	have_cargo deb || return
	section 'Packages: made' ./scripts/package.sh "$folder"
	section 'Packages: under a real systemd' env \
		MY_RNG_DEB="$(realpath "$folder"/my-rng-server_*.deb)" \
		cargo test --package lab --test guest -- --ignored systemd::
	section 'The container, as an ordinary user without privileges' ./scripts/check-container.sh
	section 'Packages: lintian, install, upgrade, purge' ./scripts/check-packages.sh "$folder"
}

supply() {
	have_cargo deny && section 'Licences and advisories' cargo deny check
	have_cargo cyclonedx &&
		section 'Bill of materials' cargo cyclonedx --format json --manifest-path server/Cargo.toml
}

case ${1-} in
'')
	guests "$@"
	loaded "$@"
	submissions
	class 200
	ports
	viewers
	gradescope
	faults
	packages
	supply
	;;
guests | loaded | submissions | class | ports | viewers | gradescope | faults | packages | supply) "$@" ;;
*)
	sed -n '/^#   /s/^# *//p' "$0" >&2
	exit 2
	;;
esac
report
