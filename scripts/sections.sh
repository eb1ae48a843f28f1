# shellcheck shell=bash
# Sourced by test.sh and soak.sh: runs commands one after the other, and tells in the end how each
# went.

rows=() failures=() missing=()
# Sections in the background: their names, process ids, logs and commands.
names=() processes=() logs=() commands=()

# Runs the command of a section. One that fails does not hide the sections behind it.
section() {
	local name=$1 begun=$SECONDS result=ok
	shift
	printf '\n=== %s\n' "$name"
	"$@" || {
		result=FAILED
		failures+=("$name: $(printf '%q ' "$@")")
	}
	printf -- '--- %s: %s\n' "$name" "$result"
	rows+=("$(printf '%-70s %6d s  %s' "$name" $((SECONDS - begun)) "$result")")
}

# Begins a section in the background, beside those that follow. What it says comes with `finish`.
begin() {
	local name=$1 begun=$SECONDS log
	shift
	log=$(mktemp)
	printf '\n=== %s: begins beside the next ones\n' "$name"
	# In a process group of its own, to end it with all that it started.
	set -m
	(
		result=ok
		"$@" || result=FAILED
		printf '%s %s\n' $((SECONDS - begun)) "$result" >"$log.end"
	) >"$log" 2>&1 </dev/null &
	set +m
	names+=("$name") processes+=($!) logs+=("$log") commands+=("$(printf '%q ' "$@")")
}

# Waits for the sections in the background.
finish() {
	local at took result
	for at in "${!names[@]}"; do
		wait "${processes[at]}" || true
		printf '\n=== %s\n' "${names[at]}"
		cat "${logs[at]}"
		took=0 result=FAILED
		read -r took result <"${logs[at]}.end" || true
		[[ $result == ok ]] || failures+=("${names[at]}: ${commands[at]}")
		printf -- '--- %s: %s\n' "${names[at]}" "$result"
		rows+=("$(printf '%-70s %6d s  %s, beside others' "${names[at]}" "$took" "$result")")
		rm -f "${logs[at]}" "${logs[at]}.end"
	done
	names=() processes=() logs=() commands=()
}

# Ends the sections in the background, which do not hear Ctrl-C.
abandon() {
	local process
	for process in "${processes[@]}"; do
		kill -- -"$process" 2>/dev/null || true
	done
	rm -f "${logs[@]}"
}

# Whether a program is there. Root installs it when it is not; others are told how.
have() {
	local program=$1 package=$2
	command -v "$program" >/dev/null && return
	if [[ $EUID == 0 ]] && command -v apt-get >/dev/null; then
		echo "installing a package on this system: $package"
		apt-get update -qq && apt-get install -y -qq "$package" >/dev/null && return
	fi
	echo "SKIPPED: $program is missing; install the package $package"
	missing+=("$program")
	return 1
}

# Prints the table, what was not run, and how to repeat what failed; fails if something did.
report() {
	local skipped=${#missing[@]}
	printf '\n'
	printf '%s\n' "${rows[@]}"
	if ((${#missing[@]})); then
		printf '\nNot run, because these programs are missing: %s\n' "${missing[*]}"
	fi
	if [[ -s ${LAB_SKIPPED-} ]]; then
		printf '\nNot run, because the Debian archive lacks something today:\n'
		cat "$LAB_SKIPPED"
		skipped=$((skipped + $(wc -l <"$LAB_SKIPPED")))
	fi
	if ((${#failures[@]})); then
		printf '\nFAILED; to repeat:\n'
		printf '  %s\n' "${failures[@]}"
	fi
	printf '\nSections in %d s:\n%d passed, %d failed, %d skipped\n' $SECONDS \
		$((${#rows[@]} - ${#failures[@]})) ${#failures[@]} "$skipped"
	((${#failures[@]} == 0))
}
