#!/bin/sh
# Called by mmdebstrap when the packages are unpacked. $1: the folder being made.
# Adds the packages of LAB_ROOT_UNPACKED without what they depend on, fetches the source package
# LAB_ROOT_SOURCE, if one is wanted, and writes down what apt chose.
set -eu
root=$1
archives=$root/var/cache/apt/archives
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"

# A package and, if it has a kernel's headers, those packages of the kernel that these need: of this
# system's architecture if there are such.
with_kernel() {
	echo "$1"
	apt-cache show --no-all-versions "$1" | sed -n 's/^Depends: //p' | tr ',|' '\n' |
		sed -n 's/^ *\(linux-\(headers\|kbuild\)-[^ ]*\).*/\1/p' | while read -r part; do
		with_kernel "$part"
	done
}

if [ -n "$LAB_ROOT_UNPACKED" ]; then
	mkdir -p "$archives/unpacked"
	cd "$archives/unpacked"
	for package in $LAB_ROOT_UNPACKED; do
		with_kernel "$package"
	done | sort -u | xargs apt-get download -qq >&2
	for file in *.deb; do
		# The previous release's packages have files in /lib, which is a link to /usr/lib here.
		dpkg-deb --fsys-tarfile "$file" | tar -x --keep-directory-symlink -C "$root"
	done
	mv ./*.deb "$archives"
fi

# apt names files PACKAGE_VERSION_ARCHITECTURE.deb, with %3a for the colon in a version.
printf '%s\n' "$archives"/*.deb |
	sed -n 's/%3a/:/; s|.*/\(.*\)_\(.*\)_\(.*\)\.deb$|\1 \2 \3|p' >"$root/.lab-versions"

if [ -n "$LAB_ROOT_SOURCE" ]; then
	mkdir -p "$root/usr/src"
	cd "$root/usr/src"
	apt-get source -qq --download-only "$LAB_ROOT_SOURCE" >&2
fi
