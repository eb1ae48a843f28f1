#!/bin/sh
# Called by mmdebstrap before it fetches package lists. $1: the folder being made.
# LAB_ROOT_BASE: the release mmdebstrap was asked for; LAB_ROOT_BESIDE: a suite that adds to it, or
# nothing; LAB_ROOT_SOURCE: a source package that is wanted, or nothing.
set -eu
root=$1
lists=$root/etc/apt/sources.list
[ -s "$lists" ] || { echo "mmdebstrap wrote no $lists to derive other suites from" >&2; exit 1; }
more=$root/etc/apt/sources.list.d

if [ -n "$LAB_ROOT_BESIDE" ]; then
	sed -n "s/ $LAB_ROOT_BASE main/ $LAB_ROOT_BESIDE main/p" "$lists" >"$more/beside.list"
	# At the priority of the release: with a part of the suite only, QEMU's own dependencies cannot
	# be met.
	cat >"$root/etc/apt/preferences.d/lab" <<-PREFERENCES
		Package: *
		Pin: release n=$LAB_ROOT_BESIDE
		Pin-Priority: 500
	PREFERENCES
fi
if [ -n "$LAB_ROOT_SOURCE" ]; then
	sed -n 's/^deb /deb-src /p' "$lists" >"$more/source.list"
fi

# What the maintainer scripts, which are not run, would have made.
for name in bin sbin lib lib64; do
	mkdir -p "$root/usr/$name"
	ln -s "usr/$name" "$root/$name"
done
mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/mnt"
ln -s mawk "$root/usr/bin/awk"
