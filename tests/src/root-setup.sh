#!/bin/sh
# Called by mmdebstrap before it fetches package lists. $1: the folder being made.
# Adds to the suite mmdebstrap was asked for (trixie): its backports, for a QEMU with vfio-user-pci
# and the newest kernel, and the release before it, for its kernel's headers.
set -eu
root=$1
lists=$root/etc/apt/sources.list
[ -s "$lists" ] || { echo "mmdebstrap wrote no $lists to derive backports from" >&2; exit 1; }
sed -n 's/ trixie main/ trixie-backports main/p' "$lists" >"$root/etc/apt/sources.list.d/backports.list"
sed -n 's/ trixie main/ bookworm main/p' "$lists" >"$root/etc/apt/sources.list.d/bookworm.list"

# The whole of backports at the priority of the release: with a part of it only, QEMU's own
# dependencies cannot be met.
cat >"$root/etc/apt/preferences.d/lab" <<PREFERENCES
Package: *
Pin: release n=trixie-backports
Pin-Priority: 500

Package: *
Pin: release n=bookworm
Pin-Priority: 400
PREFERENCES

# What the maintainer scripts, which are not run, would have made.
for name in bin sbin lib lib64; do
	mkdir -p "$root/usr/$name"
	ln -s "usr/$name" "$root/$name"
done
mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/mnt"
ln -s mawk "$root/usr/bin/awk"
