#!/usr/bin/env bash
# Runs each fuzz target for so many seconds (60 by default), side by side: the device kit's in
# server/vfio-user/fuzz, the devices' in server/fuzz. What is found is in `artifacts` there, and the
# exit status is not 0.
#
# The compiler's flags are those of cargo-fuzz, which works in these folders, too: `cargo fuzz run
# session`. Stable Rust hides them; RUSTC_BOOTSTRAP shows them.
# SANITIZER=none builds quicker and finds panics and hangs only; so does a Rust without the address
# sanitizer's runtime, such as Debian's.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly seconds=${1:-60}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

sanitizer=address
if ! compgen -G "$(rustc --print sysroot)/lib/rustlib/*/lib/librustc*asan*" >/dev/null; then
	sanitizer=none
fi
sanitizer=${SANITIZER:-$sanitizer}

flags='-Cpasses=sancov-module -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing'
for option in level=4 inline-8bit-counters pc-table trace-compares; do
	flags+=" -Cllvm-args=-sanitizer-coverage-$option"
done
flags+=' -Cllvm-args=-simplifycfg-branch-fold-threshold=0'
if [[ $sanitizer != none ]]; then
	flags+=" -Zsanitizer=$sanitizer"
fi

for folder in server/vfio-user/fuzz server/fuzz; do
	echo "fuzz.sh: building the targets of $folder"
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=$flags cargo build --quiet --release --locked \
		--manifest-path "$folder/Cargo.toml" --target "$host" --target-dir "$target"
done

# Runs one target in its folder.
run() {
	local folder=$1/fuzz name=$2
	cd "$folder"
	mkdir -p "corpus/$name" "artifacts/$name"
	ASAN_OPTIONS=detect_odr_violation=0 exec "$target/$host/release/$name" \
		-artifact_prefix="artifacts/$name/" -max_total_time="$seconds" -max_len=4096 \
		-print_final_stats=1 -verbosity=0 "corpus/$name" "seeds/$name"
}

failed=0
# Processes in the background do not hear Ctrl-C.
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
declare -A running
for target_of in server/vfio-user:session server/vfio-user:config_space server:virtio_rng; do
	name=${target_of#*:}
	echo "fuzz.sh: $name for $seconds s"
	run "${target_of%:*}" "$name" &
	running[$name]=$!
done
for name in "${!running[@]}"; do
	wait "${running[$name]}" || {
		echo "fuzz.sh: $name FAILED" >&2
		failed=1
	}
done
exit $failed
