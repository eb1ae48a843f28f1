#!/usr/bin/env bash
# Runs the fuzz targets side by side: the device kit's in crates/vfio-user-device/fuzz, the devices' in
# server/fuzz. What is found is in `artifacts` there, and the exit status is not 0.
#
#   ./scripts/fuzz.sh [SECONDS]        each target for so many seconds (60)
#   ./scripts/fuzz.sh --until COUNT    rounds of ten minutes, until all targets together have been
#                                      executed so often, in all runs in this checkout
#   ./scripts/fuzz.sh --count          prints how often each has been
#
# What inputs have shown stays in `corpus` in those folders, the counts in target/fuzz-executions.
#
# The compiler's flags are those of cargo-fuzz, which works in these folders, too: `cargo fuzz run
# session`. Stable Rust hides them; RUSTC_BOOTSTRAP shows them.
# SANITIZER=none builds quicker and executes several times as often. It finds panics and hangs only, and
# what was compared does not lead it to new inputs; so it is for a corpus that has grown, and for a
# Rust without the address sanitizer's runtime, such as Debian's.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60} until=0
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
counts=$target-executions
mkdir -p "${counts%/*}"
touch "$counts"

# The executions of all targets.
total() {
	awk '{ sum += $2 } END { printf "%d\n", sum }' "$counts"
}

case $seconds in
--until)
	seconds=600
	until=${2:?COUNT is missing}
	;;
--count)
	sort "$counts"
	echo "all $(total)"
	exit
	;;
esac
host=$(rustc -vV | sed -n 's/^host: //p')

sanitizer=address
if ! compgen -G "$(rustc --print sysroot)/lib/rustlib/*/lib/librustc*asan*" >/dev/null; then
	sanitizer=none
fi
sanitizer=${SANITIZER:-$sanitizer}

flags='-Cpasses=sancov-module -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing'
flags+=' -Cllvm-args=-simplifycfg-branch-fold-threshold=0'
coverage=(level=4 inline-8bit-counters pc-table)
if [[ $sanitizer != none ]]; then
	flags+=" -Zsanitizer=$sanitizer"
	# A half of the time of some targets.
	coverage+=(trace-compares)
fi
for option in "${coverage[@]}"; do
	flags+=" -Cllvm-args=-sanitizer-coverage-$option"
done

readonly kit=crates/vfio-user-device
for folder in $kit/fuzz server/fuzz; do
	echo "fuzz.sh: building the targets of $folder"
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=$flags cargo build --quiet --release --locked \
		--manifest-path "$folder/Cargo.toml" --target "$host" --target-dir "$target"
done

# Runs one target in its folder, with inputs of so many bytes at most.
run() {
	local folder=$1/fuzz name=$2 length=$3
	cd "$folder"
	mkdir -p "corpus/$name" "artifacts/$name"
	ASAN_OPTIONS=detect_odr_violation=0 exec "$target/$host/release/$name" \
		-artifact_prefix="artifacts/$name/" -max_total_time="$seconds" -max_len="$length" \
		-print_final_stats=1 -verbosity=0 "corpus/$name" "seeds/$name"
}

# Adds what a run has executed to a target's count.
count() {
	local name=$1 log=$2 executed
	executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	awk -v name="$name" -v more="${executed:-0}" \
		'$1 != name { print; next } { more += $2 } END { printf "%s %d\n", name, more }' \
		"$counts" >"$counts.new"
	mv "$counts.new" "$counts"
}

# Folder, name, longest input in bytes.
readonly targets=(
	"$kit session 4096"
	"$kit config_space 512"
	"server virtio_rng 4096"
	"server state 4096"
	"server recording 16384"
)

# Runs all of them. Fails if one does.
round() {
	local folder name length result=0
	local -A running=()
	while read -r folder name length; do
		echo "fuzz.sh: $name for $seconds s"
		run "$folder" "$name" "$length" >"$logs/$name" 2>&1 &
		running[$name]=$!
	done < <(printf '%s\n' "${targets[@]}")
	for name in "${!running[@]}"; do
		wait "${running[$name]}" || {
			result=1
			cat "$logs/$name" >&2
			echo "fuzz.sh: $name FAILED" >&2
		}
		count "$name" "$logs/$name"
	done
	echo "fuzz.sh: executed so far: $(sort "$counts" | paste -sd ' '), all $(total)"
	return $result
}

logs=$(mktemp -d)
# Processes in the background do not hear Ctrl-C.
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$logs"' EXIT
round
while (($(total) < until)); do
	round
done
