#!/usr/bin/env bash
# Does with the archive for Gradescope what Gradescope does: in a fresh container of root without
# privileges, setup.sh has a network, and run_autograder has none. A right submission and a broken one
# are graded. Takes as long as a first build; needs root, mmdebstrap and unzip.
set -euo pipefail

cd "$(dirname "$0")/.."
# In namespaces of its own, so that its mounts do not outlive it.
if [[ -z ${IN_NAMESPACE-} ]]; then
	cargo build --quiet --package lab --example container
	IN_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child "$0" "$@"
fi
container=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/examples/container
root=$(mktemp -d)
chmod 755 "$root"
trap 'umount -R "$root/dev" "$root/proc" 2>/dev/null; rm -rf --one-file-system "$root"' EXIT

mmdebstrap --quiet --variant=minbase --include=ca-certificates trixie "$root" ${LAB_MIRROR:+"$LAB_MIRROR"}
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
cp /etc/resolv.conf "$root/etc/"
# A network with a proxy of its own has certificates of its own.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"

autograder=$root/autograder
mkdir -p "$autograder"/{source,submission,results}
./scripts/course.sh pack gradescope --require driver,app --output "$autograder/autograder.zip"
unzip -q "$autograder/autograder.zip" -d "$autograder/source"
cp "$autograder/source/run_autograder" "$autograder/"

# What Docker leaves to root, and no more.
inside() {
	local network=()
	[[ $1 != without-network ]] || { network=(unshare --net); shift; }
	"${network[@]}" "$container" chroot "$root" \
		env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LAB_MIRROR="${LAB_MIRROR-}" "$@"
}
begun=$SECONDS
inside /autograder/source/setup.sh
printf 'setup.sh: %d s, %s\n' $((SECONDS - begun)) "$(du -sh "$root" | cut -f1)"

# Grades what lies in the folder for it, and shows the results.
grade() {
	local begun=$SECONDS
	rm -f "$autograder/results/results.json"
	inside without-network /autograder/run_autograder
	printf 'run_autograder, %s: %d s\n' "$1" $((SECONDS - begun))
	cat "$autograder/results/results.json"
}
# Ends with an error unless the results have this score.
expect_score() {
	grep -Eq "\"score\": $1,?\$" <(sed -n '/^  "score"/p' "$autograder/results/results.json")
}
cp -r checker/submissions/drivers/correct-pci-misc "$autograder/submission/driver"
cp checker/submissions/apps/correct-decimal/main.c "$autograder/submission/app.c"
grade 'a right submission'
expect_score 100.0
rm -r "$autograder/submission/driver"
echo 'int main(void) { return x; }' >"$autograder/submission/app.c"
grade 'a broken one without its driver'
expect_score 0.0
grep -q 'app.c:1:25: error:' "$autograder/results/results.json"
