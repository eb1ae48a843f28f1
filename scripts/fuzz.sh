#!/usr/bin/env bash
# Runs each fuzz target for so many seconds (60 by default): the device kit's in
# server/vfio-user/fuzz, the devices' in server/fuzz. What is found is in `artifacts` there, and the
# exit status is not 0.
#
# cargo-fuzz is installed into target/tools if it is missing, which takes a minute or two once; this
# version builds with every Rust that the project does.
# libFuzzer needs compiler flags that stable Rust hides; RUSTC_BOOTSTRAP shows them.
# SANITIZER=none builds quicker and finds panics and hangs only; so does a Rust without the address
# sanitizer's runtime, such as Debian's.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly seconds=${1:-60} tools=$PWD/target/tools
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

PATH=$tools/bin:$PATH
if ! command -v cargo-fuzz >/dev/null; then
	echo "fuzz.sh: installing cargo-fuzz into target/tools"
	CARGO_TARGET_DIR=$target/tools-build cargo install --quiet --locked \
		cargo-fuzz@0.12.0 --root "$tools"
fi

sanitizer=address
if ! compgen -G "$(rustc --print sysroot)/lib/rustlib/*/lib/librustc*asan*" >/dev/null; then
	sanitizer=none
fi

export RUSTC_BOOTSTRAP=1
for target_of in server/vfio-user:session server/vfio-user:config_space server:virtio_rng; do
	name=${target_of#*:}
	echo "fuzz.sh: $name for $seconds s"
	(
		cd "${target_of%:*}/fuzz"
		mkdir -p "corpus/$name"
		cargo fuzz run --target-dir "$target/fuzz" --sanitizer "${SANITIZER:-$sanitizer}" "$name" \
			"corpus/$name" "seeds/$name" \
			-- -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 -verbosity=0
	)
done
