#!/bin/sh
# Runs each fuzz target of the device kit for so many seconds (60 by default). What is found is in
# server/vfio-user/fuzz/artifacts, and the exit status is not 0.
#
# cargo-fuzz is installed into target/tools if it is missing, which takes some minutes once.
# libFuzzer needs compiler flags that stable Rust hides; RUSTC_BOOTSTRAP shows them.
# SANITIZER=none makes it faster and finds panics only.
set -eu

seconds=${1:-60}
root=$(cd "$(dirname "$0")/.." && pwd)
fuzz=$root/server/vfio-user/fuzz
target=${CARGO_TARGET_DIR:-$root/target}

if ! PATH=$root/target/tools/bin:$PATH command -v cargo-fuzz > /dev/null; then
    echo "fuzz.sh: installing cargo-fuzz into $root/target/tools"
    cargo install cargo-fuzz --locked --root "$root/target/tools"
fi
PATH=$root/target/tools/bin:$PATH
export PATH RUSTC_BOOTSTRAP=1

cd "$fuzz"
for name in session config_space; do
    echo "fuzz.sh: $name for $seconds s"
    mkdir -p "corpus/$name"
    cargo fuzz run --target-dir "$target/fuzz" --sanitizer "${SANITIZER:-address}" "$name" \
        "corpus/$name" "seeds/$name" \
        -- -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 -verbosity=0
done
