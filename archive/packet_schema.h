/* The record kind "packet": its logical columns, once. SQL, CSV, JSON, the filter's column pushdown, the anonymizer's
 * defaults and docs/format.md are made from this table.
 *
 *   F(id, name, type, unit, meaning, description)
 *
 * type: u8 u16 u32 u64 addr mac bytes. meaning: time, length, address, mac, port, protocol, counter, flags, tag,
 * checksum, opaque: what the anonymizer and the modules take it for.
 */
#ifndef ARCHIVE_PACKET_SCHEMA_H
#define ARCHIVE_PACKET_SCHEMA_H

#define PACKET_COLUMNS(F)                                                                                    \
	F(TS, ts, u64, "ns", time, "capture time, since 1970-01-01 UTC")                                     \
	F(WIRE_LEN, wire_len, u32, "bytes", length, "length on the wire")                                    \
	F(CAP_LEN, cap_len, u32, "bytes", length, "bytes stored of it")                                      \
	F(LINKTYPE, linktype, u16, "", tag, "LINKTYPE_ value of the interface")                              \
	F(IFACE, iface, u16, "", tag, "interface number within the stream")                                  \
	F(ETHERTYPE, ethertype, u16, "", protocol, "type of the layer under the link header, after VLAN tags and MPLS; 0 when none") \
	F(VLAN, vlan, u16, "", tag, "outer VLAN identifier; 0 when untagged")                                \
	F(ETH_SRC, eth_src, mac, "", mac, "Ethernet source")                                                 \
	F(ETH_DST, eth_dst, mac, "", mac, "Ethernet destination")                                            \
	F(SRC, src, addr, "", address, "source address of the outermost IP header")                          \
	F(DST, dst, addr, "", address, "destination address of the outermost IP header")                     \
	F(PROTO, proto, u8, "", protocol, "IP protocol after IPv6 extension headers")                        \
	F(SPORT, sport, u16, "", port, "source port (TCP, UDP, SCTP); ICMP type")                            \
	F(DPORT, dport, u16, "", port, "destination port (TCP, UDP, SCTP); ICMP code")                       \
	F(TOS, tos, u8, "", flags, "IPv4 TOS or IPv6 traffic class")                                         \
	F(TTL, ttl, u8, "hops", counter, "IPv4 TTL or IPv6 hop limit")                                       \
	F(IP_LEN, ip_len, u32, "bytes", length, "IPv4 total length, or IPv6 payload length + 40")            \
	F(IP_ID, ip_id, u16, "", counter, "IPv4 identification")                                             \
	F(IP_FRAG, ip_frag, u16, "", flags, "IPv4 flags and fragment offset as on the wire")                 \
	F(TCP_FLAGS, tcp_flags, u8, "", flags, "CWR ECE URG ACK PSH RST SYN FIN")                            \
	F(TCP_SEQ, tcp_seq, u32, "", counter, "sequence number")                                             \
	F(TCP_ACK, tcp_ack, u32, "", counter, "acknowledgement number")                                      \
	F(TCP_WIN, tcp_win, u16, "bytes", counter, "window as on the wire, unscaled")                        \
	F(BYTES, bytes, bytes, "", opaque, "the captured bytes themselves")

enum packet_column {
#define F(id, name, type, unit, meaning, description) PACKET_##id,
	PACKET_COLUMNS(F)
#undef F
	PACKET_COLUMN_COUNT
};

#endif
