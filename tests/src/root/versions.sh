#!/bin/sh
# Called by mmdebstrap when the packages are unpacked. $1: the folder being made.
# Writes down what apt chose, and fetches the source package LAB_ROOT_SOURCE, if one is wanted.
set -eu
root=$1
# apt names files PACKAGE_VERSION_ARCHITECTURE.deb, with %3a for the colon in a version.
printf '%s\n' "$root"/var/cache/apt/archives/*.deb |
	sed -n 's/%3a/:/; s|.*/\(.*\)_\(.*\)_\(.*\)\.deb$|\1 \2 \3|p' >"$root/.lab-versions"

if [ -n "$LAB_ROOT_SOURCE" ]; then
	mkdir -p "$root/usr/src"
	cd "$root/usr/src"
	APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get source -qq --download-only "$LAB_ROOT_SOURCE" >&2
fi
