#!/usr/bin/env bash
# Tries the lab, the checker and the course in the root folder of the Containerfile, as an ordinary user
# without KVM, namespaces and privileges. Says how long it takes to the first number with nothing fetched
# or built before, and again. It needs root and mmdebstrap.
set -euo pipefail

cd "$(dirname "$0")/.."
cargo build --quiet --package lab --example container
container=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/examples/container

# In namespaces of its own, so that its mounts do not outlive it.
if [[ -z ${IN_NAMESPACE-} ]]; then
	IN_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child "$0" "$@"
fi
root=$(mktemp -d)
chmod 755 "$root"
trap 'umount -R "$root/dev" "$root/proc" 2>/dev/null; rm -rf --one-file-system "$root"' EXIT

packages=$(sed -n '/--no-install-recommends/,/&& \\$/p' Containerfile | sed '1d; s/&& \\$//; s/\\$//')
# shellcheck disable=SC2086
mmdebstrap --quiet --variant=minbase --include="$(echo $packages | tr ' ' ,)" trixie "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
cp /etc/resolv.conf "$root/etc/"
# A network with a proxy of its own has certificates of its own.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
chroot "$root" useradd --create-home student
install -d "$root/workspace"
git archive HEAD | tar -x -C "$root/workspace"
chroot "$root" chown -R student:student /workspace

as_student() {
	"$container" chroot "$root" setpriv --reuid student --regid student --init-groups --no-new-privs \
		env -i HOME=/home/student PATH=/usr/bin:/bin LAB_MIRROR="${LAB_MIRROR-}" \
		sh -c "cd /workspace && $1"
}
for state in 'nothing there' 'everything there'; do
	begun=$SECONDS
	as_student 'ACCEL=tcg ./scripts/lab.sh' | grep -E '^0x[0-9A-F]{8}$'
	printf 'first number with %s: %d s\n' "$state" $((SECONDS - begun))
done
as_student 'ACCEL=tcg ./scripts/check.sh --driver checker/submissions/drivers/correct-managed'
as_student 'mkdir -p my-course && cp -R course/steps/06-driver/solution my-course/06-driver &&
	ACCEL=tcg ./scripts/course.sh check 06-driver'
