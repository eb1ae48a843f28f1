#!/usr/bin/env bash
# Runs what takes too long for every day.
#
#   ./scripts/soak.sh                  everything, about an hour
#   ./scripts/soak.sh guests [WORD...] guest tests that take long, those with a WORD in their names
#   ./scripts/soak.sh loaded [ROUNDS]  what measures time, five times in a row, beside a process that
#                                      spins on each processor
#   ./scripts/soak.sh faults           each fault that outside material has shown, tried again
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

faults() {
	local kit=(cargo test --package vfio-user-kit --lib --test protocol --test panics --)
	local server=(cargo test --package my-rng-server --lib --bins --tests --)
	local guest=(cargo test --package lab --test guest --)
	local wrongly=echo-seed,wide-seed,says-warning,correct-named-random,constant,eight-bytes
	wrongly+=,no-seed,draws,warm-up,logs-each-call,hand-ins

	section 'Guest memory that is not shared despite its file' "${guest[@]}" private_memory
	section 'The server ends under a guest' "${guest[@]}" server_end
	section 'A reload under connected guests' "${server[@]}" in_place:: reload::
	section 'A guest after loadvm and -incoming' "${guest[@]}" snapshot::
	section 'What one client leaves to the next' "${server[@]}" cloud_hypervisor:: clients::
	section 'Linux and uneven completions' "${server[@]}" linux entropy:: odd_pieces
	section 'Sockets, locks and listeners' "${kit[@]}" socket_file:: servers::
	section 'Sockets that are passed, a full backlog' "${server[@]}" passed:: backlog
	section 'Descriptors without end' "${server[@]}" descriptors::
	section 'Logs without end' "${server[@]}" log::
	section 'DMA messages, unmaps, long copies' "${kit[@]}" dma::
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
		env ZOO="$wrongly" cargo test --package checker --test zoo
}

case ${1-} in
'')
	guests "$@"
	loaded "$@"
	faults
	;;
guests | loaded | faults) "$@" ;;
*)
	sed -n '/^#   /s/^# *//p' "$0" >&2
	exit 2
	;;
esac
report
