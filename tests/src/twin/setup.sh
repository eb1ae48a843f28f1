#!/bin/sh
# Called by mmdebstrap before it fetches package lists. $1: the folder being made.
# Adds the suite's source packages, so that what is built is the QEMU of the same release as the
# tools it is built with.
set -eu
root=$1
lists=$root/etc/apt/sources.list
sed -n 's/^deb /deb-src /p' "$lists" >"$root/etc/apt/sources.list.d/source.list"
[ -s "$root/etc/apt/sources.list.d/source.list" ] ||
	{ echo "mmdebstrap wrote no $lists to derive source packages from" >&2; exit 1; }

# What the maintainer scripts, which are not run, would have made.
for name in bin sbin lib lib64; do
	mkdir -p "$root/usr/$name"
	ln -s "usr/$name" "$root/$name"
done
mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/mnt"
