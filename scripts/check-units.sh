#!/usr/bin/env bash
# Asks systemd what it thinks of the unit files: whether they are right, and how exposed the services
# are. The daemon is built for it, because systemd looks whether it is there.
set -euo pipefail
cd "$(dirname "$0")/.."

# Exposure from 0.0 to 10.0, times 10; systemd calls up to 2.0 "OK".
most_exposed=20

cargo build --quiet --package my-rng-server
binary=$(realpath "${CARGO_TARGET_DIR:-target}/debug/my-rng-server")
units=$(mktemp -d)
trap 'rm -rf "$units"' EXIT
for unit in server/systemd/*; do
	sed "s|/usr/bin/my-rng-server|$binary|" "$unit" >"$units/${unit##*/}"
done

# Templates are looked at as an instance.
ln -s my-rng-server@.service "$units/my-rng-server@web1.service"
ln -s my-rng-server@.socket "$units/my-rng-server@web1.socket"
for unit in my-rng-server.service my-rng-server@web1.service my-rng-server@web1.socket; do
	complaints=$(systemd-analyze verify --man=no "$units/$unit" 2>&1)
	if [[ -n $complaints ]]; then
		printf '%s: systemd-analyze verify says:\n%s\n' "$unit" "$complaints" >&2
		exit 1
	fi
done
for unit in my-rng-server.service my-rng-server@.service; do
	systemd-analyze security --offline=yes --no-pager --threshold="$most_exposed" "$units/$unit" |
		tail -n 1
done
