#!/bin/bash
# The traffic generator: the same bytes for the same options, other bytes for another seed, and packets that a program which
# is not ours reads without complaint.
set -u

check() { # NAME CONDITION...
	local name=$1
	shift
	if "$@"; then echo "ok $name"; else echo "not ok $name"; fi
}
sum() { sha256sum < "$1" | cut -d' ' -f1; }

"$GEN" --packets 60000 --seed 7 --hosts 500 a.pcap
"$GEN" --packets 60000 --seed 7 --hosts 500 - > b.pcap
"$GEN" --packets 60000 --seed 8 --hosts 500 c.pcap
"$GEN" --packets 60000 --seed 7 --hosts 500 --format pcapng a.pcapng
"$GEN" --packets 60000 --seed 7 --hosts 500 --snaplen 96 short.pcap
check same_seed_gives_the_same_bytes [ "$(sum a.pcap)" = "$(sum b.pcap)" ]
check another_seed_gives_other_bytes [ "$(sum a.pcap)" != "$(sum c.pcap)" ]

# what tcpdump shows of the packets does not depend on the format
tcpdump -q -nn -tt --nano -r a.pcap > a.txt 2>/dev/null
tcpdump -q -nn -tt --nano -r a.pcapng > ng.txt 2>/dev/null
check pcapng_holds_the_same_packets cmp -s a.txt ng.txt
count=$(tcpdump --count -r a.pcap 2>/dev/null | cut -d' ' -f1)
check as_many_packets_as_asked [ "$count" -ge 60000 ]
check no_more_than_a_few_too_many [ "$count" -lt 60012 ]
check snaplen_cuts [ "$(stat -c %s short.pcap)" -lt $((60012 * 112 + 24)) ]

if ! command -v tshark >/dev/null; then
	echo "skip tshark_finds_nothing_malformed no tshark here"
	exit 0
fi
malformed=$(tshark -n -r a.pcap -Y _ws.malformed 2>/dev/null | wc -l)
check tshark_finds_nothing_malformed [ "$malformed" -le 1 ] # its guesses at payload by port are wrong now and then
tshark -n -r a.pcap -T fields -e frame.protocols 2>/dev/null | tr ':' '\n' | sort -u > protocols.txt
for protocol in arp icmp icmpv6 vlan ieee8021ad mpls gre vxlan stp lldp dns ntp tcp udp ip ipv6 igmp sctp tls http; do
	check "holds_$protocol" grep -qx "$protocol" protocols.txt
done
for expression in 'icmp[0] == 8' 'icmp[0] == 3' 'tcp[13] & 4 != 0' 'tcp[13] & 2 != 0' 'ip[6] & 0x20 != 0' 'udp[6:2] == 0' \
	'ip proto 4' 'ip proto 41' 'ip6 proto 44' 'ip[0] & 15 > 5' 'less 60' 'greater 9000'; do
	count=$(tcpdump --count -r a.pcap "$expression" 2>/dev/null | cut -d' ' -f1)
	check "holds_${expression//[^a-z0-9]/_}" [ "${count:-0}" -gt 0 ]
done
