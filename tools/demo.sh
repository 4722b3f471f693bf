#!/usr/bin/env bash
# A tour in a scratch folder: makes a trace, an archive, imports, looks, finds one host, exports its packets, and lets tcpdump
# say whether they are the same.
set -euo pipefail
cd "$(dirname "$0")/.."
atoll=$PWD/atoll
gen=$PWD/${GEN:-build/gcc/gen}

scratch=$(mktemp -d "${TMPDIR:-/tmp}/atoll-demo.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

bold= plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
run() {
	local word line='$'
	for word in "$@"; do
		case $word in
		"$atoll") line+=" atoll" ;;
		*' '*) line+=" '$word'" ;;
		*) line+=" $word" ;;
		esac
	done
	echo "$line"
	"$@"
}

say "1. A trace: 300,000 packets that the test generator makes up, cut at 96 bytes as a monitor of headers would"
"$gen" --packets 300000 --hosts 3000 --seed 2026 --snaplen 96 trace.pcap
ls -l trace.pcap | awk '{ printf "trace.pcap: %.1f MB\n", $5 / 1e6 }'

say "2. An archive, and the trace in it"
export ATOLL_ARCHIVE=$scratch/traces
run "$atoll" init traces
run "$atoll" import --stream eth0 trace.pcap

say "3. What is in it"
run "$atoll" ls
run "$atoll" stat

# a host with some hundred packets
host=$(tcpdump -nn -q -t -r trace.pcap 'ip and (tcp or udp)' 2>/dev/null | sed -n 's/^IP \([0-9.]*\)\.[0-9]* >.*/\1/p' |
	sort | uniq -c | sort -k1,1n -k2 | awk '$1 >= 200 { print $2; exit }')
say "4. The packets of one host, $host"
run "$atoll" query --filter "host $host" --count
run "$atoll" query --filter "host $host" --limit 5

say "5. Exported again, byte for byte, and read by tcpdump"
run "$atoll" export --raw --filter "host $host" -o found.pcap
tcpdump --nano -r trace.pcap -w wanted.pcap "host $host" 2>/dev/null
run tcpdump -nn -q -t -c 5 -r found.pcap 2>/dev/null

show() { tcpdump -nn -tt --nano -e -xx -r "$1" 2>/dev/null; }
if cmp -s <(show wanted.pcap) <(show found.pcap); then
	packets=$(tcpdump --count -r found.pcap 2>/dev/null | cut -d' ' -f1)
	say "Same: tcpdump prints the same times, headers and bytes for the $packets packets of $host" \
		"from the trace and from the archive."
else
	say "NOT the same: tcpdump sees a difference between the trace and the export"
	diff <(show wanted.pcap) <(show found.pcap) | head -n 20 || true
	exit 1
fi
