#!/bin/bash
# torture.sh N [SEED]: N random rounds. Each makes two traces, imports them while the fault shim kills the process or makes a
# call fail at a random step, and then expects what a user may: fsck finds nothing, a second import goes on to the end, the
# export is the traces, a rebuilt index lists the same, a flipped bit is found, a removal (killed half-way, too) leaves
# exactly the later packets.
# At the end tests/e2e/powerloss.py runs with N random states of the disk at each moment, and tests/e2e/remote_kills.py with N
# random cases more.
# The seed of a round that fails is printed: torture.sh 1 SEED runs it again.
set -u
rounds=${1:-100}
seed=${2:-$(($(date +%s) % 1000000 * 1000))}
top=$(cd "$(dirname "$0")/.." && pwd)
case ${OUT:=build/gcc} in /*) ;; *) OUT=$top/$OUT ;; esac
atoll=${ATOLL:-$OUT/atoll}
gen=$OUT/gen
shim=$OUT/shim.so

scratch=$(mktemp -d "${TMPDIR:-/tmp}/atoll-torture.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
passed=0 failed=0

below() { echo $((RANDOM * 32768 + RANDOM)) | awk -v n="$1" '{ print $1 % n }'; }
sorted() { python3 "$top/tests/sort_pcap.py" "$@"; }
show() { tcpdump -nn -tt --nano -e -xx -r "$1" 2>/dev/null | sha256sum; }
bad() { # WORDS: the round failed
	echo "not ok round $seed: $*"
	tail -n 3 last.txt | sed 's/^/#   /'
	return 1
}
archive() { "$atoll" -A a "$@" > last.txt 2>&1; }

# faulty COMMAND...: runs it on a copy of the archive to count the steps, then on the archive with a fault at one of them
faulty() {
	local modes=(kill torn after errno:EIO errno:ENOSPC short) steps step mode
	rm -rf copy
	cp -r a copy
	LD_PRELOAD=$shim ATOLL_FAULT=count:$scratch/steps.txt ATOLL_FAULT_DIR=$scratch/copy "$atoll" -A copy "$@" > last.txt 2>&1 ||
		{ bad "$1 without a fault: exit $?"; return 1; }
	steps=$(cat steps.txt)
	mode=${modes[$(below ${#modes[@]})]}
	step=$((1 + $(below "$steps")))
	what="$1, $mode:$step of $steps"
	{ LD_PRELOAD=$shim ATOLL_FAULT=$mode:$step ATOLL_FAULT_DIR=$scratch/a "$atoll" -A a "$@" > last.txt 2>&1; } 2> /dev/null
	return 0
}

# exported OUT: everything in the archive, sorted by time
exported() { archive export -q --raw -o e.pcap && sorted "$1" e.pcap; }

flip() { # FILE AT: one bit
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
	# shellcheck disable=SC2059
	printf "\\x$(printf %02x $((byte ^ 1 << $(below 8))))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

damage() {
	local file at
	file=$(ls a/segments/*.seg | sort -R --random-source=t.pcap | head -n 1)
	at=$(below "$(stat -c %s "$file")")
	cp "$file" kept.seg
	flip "$file" "$at"
	archive fsck -q && { bad "a flipped bit at byte $at of $file was not found"; return 1; }
	cp kept.seg "$file"
	archive fsck -q || bad "fsck after the bit was flipped back"
}

round() {
	local what=none until options
	RANDOM=$((seed % 32768))
	rm -rf a ./*.pcap
	options="--hosts $((2 + $(below 2000))) --snaplen $((40 + $(below 200))) --disorder $(below 3000)"
	# shellcheck disable=SC2086
	"$gen" --packets $((1000 + $(below 150000))) --seed "$seed" $options t.pcap || return 1
	# shellcheck disable=SC2086
	"$gen" --packets $((1 + $(below 80000))) --seed $((seed + 1)) --start 1767700000 $options u.pcap || return 1
	sorted wanted.pcap t.pcap u.pcap
	"$atoll" init -q a > last.txt 2>&1 || { bad init; return 1; }

	faulty import -q --stream s t.pcap u.pcap || return 1
	archive fsck -q || { bad "fsck after $what"; return 1; }
	for file in t.pcap u.pcap; do
		archive import -q --stream s $file || grep -q -- --again last.txt || { bad "second import of $file after $what"; return 1; }
	done
	exported got.pcap || { bad "export after $what"; return 1; }
	[ "$(show wanted.pcap)" = "$(show got.pcap)" ] || { bad "export differs after $what"; return 1; }

	archive ls segments --json && cp last.txt before.txt
	archive rebuild -q && archive ls segments --json && cmp -s last.txt before.txt ||
		{ bad "rebuild lists other segments"; return 1; }
	damage || return 1

	until=$(sorted --median t.pcap)
	faulty rm -q --stream s --until "$until" || return 1
	archive fsck -q || { bad "fsck after $what"; return 1; }
	archive rm -q --stream s --until "$until" || { bad "second rm after $what"; return 1; }
	sorted --from "$until" wanted.pcap t.pcap u.pcap
	exported got.pcap || { bad "export after $what"; return 1; }
	[ "$(show wanted.pcap)" = "$(show got.pcap)" ] || bad "export differs after $what"
}

for ((i = 0; i < rounds; i++)); do
	if round; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	seed=$((seed + 1))
	[ $((i % 10)) = 9 ] && echo "$((i + 1)) of $rounds rounds"
done
# power failures, with random subsets of what was not durable (a single round is one to look at again)
if [ "$rounds" -gt 1 ]; then
	found=$(ATOLL=$atoll GEN=$gen OUT=$OUT POWERLOSS_RANDOM=$rounds POWERLOSS_SECONDS=$((3 * rounds)) \
		python3 "$top/tests/e2e/powerloss.py")
	grep -v '^ok' <<< "$found"
	passed=$((passed + $(grep -c '^ok' <<< "$found")))
	failed=$((failed + $(grep -c '^not ok' <<< "$found")))
fi
# processes of a served archive and its collectors, killed at N random moments more
if [ "$rounds" -gt 1 ]; then
	found=$(ATOLL=$atoll GEN=$gen OUT=$OUT REMOTE_KILLS=$rounds REMOTE_SEED=$((seed % 1000000)) \
		python3 "$top/tests/e2e/remote_kills.py")
	grep -v '^ok' <<< "$found"
	passed=$((passed + $(grep -c '^ok' <<< "$found")))
	failed=$((failed + $(grep -c '^not ok' <<< "$found")))
fi
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
