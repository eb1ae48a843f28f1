# shellcheck shell=bash
# Sourced by the scripts that start the lab or the checker: a Rust compiler and a C linker have to
# be there. Root gets them installed, after being told; others are told what to install.

readonly need_major=1 need_minor=85

# Whether a Rust "X.Y.Z" is new enough.
new_enough() {
	local major minor rest
	IFS=. read -r major minor rest <<<"$1."
	((major > need_major || (major == need_major && minor >= need_minor)))
}

# Whether this may install packages: as root, and not only to report.
may_install() {
	[[ $EUID == 0 && " $* " != *" --doctor "* ]] && command -v apt-get >/dev/null
}

# The Rust that apt would install, as X.Y.Z; nothing when there is none.
rust_in_apt() {
	# Without a network an old list has to do; what cannot be fetched then is said later.
	apt-get update -qq >&2 || true
	apt-cache policy rustc | sed -n 's/^ *Candidate: \([0-9][0-9.]*\).*/\1/p'
}

# Sees to all of it; takes the script's arguments.
see_to_prerequisites() {
	local packages=() problems=() rust
	# A fresh rustup is not in PATH before the next login.
	PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
	rust=$(rustc --version 2>/dev/null | cut -d' ' -f2) || rust=
	if ! command -v cargo >/dev/null || ! new_enough "${rust:-0}"; then
		if [[ -z $rust ]] && may_install "$@" && new_enough "$(rust_in_apt)"; then
			packages+=(cargo rustc)
		else
			problems+=("Rust $need_major.$need_minor or newer with cargo (here: ${rust:-none}): install it with rustup, see https://rustup.rs, or on Debian 13 the packages cargo and rustc")
		fi
	fi
	if ! command -v cc >/dev/null || [[ ! -e $(cc -print-file-name=libc.a) ]]; then
		if may_install "$@"; then
			packages+=(gcc libc6-dev)
		else
			problems+=("a C linker and the static C library: install the packages gcc and libc6-dev")
		fi
	fi
	if ! command -v setpriv >/dev/null || ! command -v unshare >/dev/null; then
		problems+=("setpriv and unshare: install util-linux 2.33 or newer")
	fi

	if ((${#problems[@]})); then
		printf 'lab: missing: %s\n' "${problems[@]}" >&2
		return 1
	fi
	if ((${#packages[@]})); then
		printf 'lab: installing packages on this system: %s\n' "${packages[*]}" >&2
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
	fi
}

# Builds a package's programs and says so when that takes long: for the first time. Cargo's own words
# are shown with LAB_VERBOSE=1. Takes the script's name, the package, and a program of it.
build_quietly() {
	local script=$1 package=$2 program=$3 quiet=--quiet
	# What cargo calls by itself is another program: a variable reaches it, too.
	[[ -z ${LAB_VERBOSE-} ]] || quiet=
	if [[ ! -e ${CARGO_TARGET_DIR:-$root/target}/debug/$program ]]; then
		echo "$script: compiling $package, once; this takes a minute or two" >&2
	fi
	if ! cargo build ${quiet:+"$quiet"} --manifest-path "$root/Cargo.toml" --package "$package"; then
		echo "$script: cargo could not build $package; without a network it needs the crates of an earlier build" >&2
		return 1
	fi
}
