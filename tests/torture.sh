#!/bin/bash
# torture.sh N [SEED]: N random rounds. Each makes a trace, imports it while the fault shim kills the process or makes a call
# fail at a random step, and then expects what a user may: fsck finds nothing, a second import goes on to the end, the export
# is the trace, a rebuilt index lists the same, a flipped bit is found.
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
bad() { # WORDS: the round failed
	echo "not ok round $seed: $*"
	tail -n 3 last.txt | sed 's/^/#   /'
	return 1
}
archive() { "$atoll" -A a "$@" > last.txt 2>&1; }

faulty_import() {
	local modes=(kill torn after errno:EIO errno:ENOSPC short) mode steps step
	LD_PRELOAD=$shim ATOLL_FAULT=count:steps.txt ATOLL_FAULT_DIR=$scratch "$atoll" -A counting import -q t.pcap > last.txt 2>&1 ||
		{ bad "import without a fault: exit $?"; return 1; }
	steps=$(cat steps.txt)
	mode=${modes[$(below ${#modes[@]})]}
	step=$((1 + $(below "$steps")))
	what="$mode:$step of $steps"
	LD_PRELOAD=$shim ATOLL_FAULT=$mode:$step ATOLL_FAULT_DIR=$scratch "$atoll" -A a import -q t.pcap > last.txt 2>&1
}

round() {
	local packets what=none size file at
	RANDOM=$((seed % 32768))
	rm -rf a counting b ./*.pcap
	packets=$((1000 + $(below 150000)))
	"$gen" --packets $packets --seed "$seed" --hosts $((2 + $(below 2000))) --snaplen $((40 + $(below 200))) \
		--disorder $(below 3000) t.pcap || return 1
	"$atoll" init -q a > last.txt 2>&1 && "$atoll" init -q counting > last.txt 2>&1 || { bad init; return 1; }
	faulty_import
	archive fsck || { bad "fsck after $what"; return 1; }
	archive import -q t.pcap || grep -q -- --again last.txt || { bad "second import after $what"; return 1; }
	archive export -q --raw -o e.pcap || { bad "export after $what"; return 1; }
	archive ls segments --json && cp last.txt before.txt

	archive rebuild -q && archive ls segments --json && cmp -s last.txt before.txt || { bad "rebuild"; return 1; }

	[ "$(show t.pcap)" = "$(show e.pcap)" ] || { bad "export differs after $what"; return 1; }

	file=$(ls a/segments/*.seg | sort -R --random-source=t.pcap | head -n 1)
	size=$(stat -c %s "$file")
	at=$(below "$size")
	cp "$file" kept.seg
	printf "\\x$(printf %02x $((0x$(xxd_byte "$file" "$at") ^ 1 << $(below 8))))" |
		dd of="$file" bs=1 seek="$at" conv=notrunc status=none
	archive fsck && { bad "a flipped bit at byte $at of $file was not found"; return 1; }
	cp kept.seg "$file"
	archive fsck || { bad "fsck after the bit was flipped back"; return 1; }
	return 0
}

xxd_byte() { od -An -tx1 -j "$2" -N 1 "$1" | tr -d ' '; }
by_time() { python3 "$top/tests/sort_pcap.py" "$1" "$1.sorted"; }
show() { by_time "$1" && tcpdump -nn -tt --nano -e -xx -r "$1.sorted" 2>/dev/null | sha256sum; }

for ((i = 0; i < rounds; i++)); do
	if round; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	seed=$((seed + 1))
	[ $((i % 10)) = 9 ] && echo "$((i + 1)) of $rounds rounds"
done
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
