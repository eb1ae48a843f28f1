#!/usr/bin/env bash
# Looks at the packages in a folder with lintian, and installs, upgrades and purges them in a fresh
# Debian 13, in which nothing may be left:
#
#   check-packages.sh FOLDER
#
# It needs mmdebstrap, and root or a system that lets users make namespaces.
set -euo pipefail

if [[ $# -ne 1 || $1 == -* ]]; then
	sed -n '/^#   /s/^# *//p' "$0" >&2
	exit 2
fi
folder=$(realpath "$1")
inside=$(mktemp)
trap 'rm -f "$inside"' EXIT
cat >"$inside" <<'END'
set -eu
export DEBIAN_FRONTEND=noninteractive
cd /packages
# What a package leaves in lists of packages, caches and logs is not the package's.
files() {
	find / -xdev \( -path /proc -o -path /packages -o -path /var/lib/apt -o -path /var/cache \
		-o -path /var/log -o -path /var/lib/dpkg -o -path /tmp -o -path '/etc/*-' \) -prune \
		-o -print | sort
	cat /etc/passwd /etc/group
}
# What the packages need comes first, to be there before and after.
apt-get install -y -qq --no-install-recommends ./*.deb >/dev/null
apt-get purge -y -qq my-rng-server my-rng-lab libvfio-user-device0 libvfio-user-device-dev >/dev/null
files >/tmp/before

mkdir /tmp/old
for package in *.deb; do
	dpkg-deb -R "$package" /tmp/old/tree
	sed -i 's/^Version: .*/Version: 0.0.1/' /tmp/old/tree/DEBIAN/control
	sed -i 's/(= [^)]*)/(= 0.0.1)/' /tmp/old/tree/DEBIAN/control
	dpkg-deb --root-owner-group -b /tmp/old/tree "/tmp/old/$package" >/dev/null
	rm -r /tmp/old/tree
done
dpkg -i /tmp/old/*.deb >/dev/null
dpkg -i ./*.deb >/dev/null
my-rng-server --version
# What an administrator adds.
: >/etc/my-rng-server.toml
: >/etc/my-rng-server/vm.conf
printf '#include <vfio_user_device.h>\nint main(void) { return 0; }\n' >/tmp/use.c
cc /tmp/use.c $(sed -n 's/^Libs: //p' /usr/lib/pkgconfig/vfio-user-device.pc |
	sed 's|${prefix}|/usr|g') -o /tmp/use
/tmp/use
dpkg --purge my-rng-server my-rng-lab libvfio-user-device-dev libvfio-user-device0 >/dev/null
files >/tmp/after
diff /tmp/before /tmp/after
echo 'nothing is left'
lintian --allow-root --tag-display-limit 0 --fail-on error ./*.deb
END

packages=lintian,gcc,libc6-dev,systemd,passwd,ca-certificates
mmdebstrap --variant=apt --include="$packages" --aptopt='APT::Install-Recommends "false"' \
	--customize-hook="copy-in $folder /" \
	--customize-hook="mv \"\$1/${folder##*/}\" \"\$1/packages\"" \
	--customize-hook="copy-in $inside /tmp" \
	--customize-hook="chroot \"\$1\" sh /tmp/${inside##*/}" \
	trixie /dev/null
