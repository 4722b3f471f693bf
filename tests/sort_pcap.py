#!/usr/bin/env python3
"""sort_pcap.py IN OUT: a little-endian pcap with its packets in the order of time, equal times as they were."""
import struct
import sys


def main():
    with open(sys.argv[1], "rb") as f:
        data = f.read()
    packets, at = [], 24
    while at < len(data):
        seconds, fraction, cap_len = struct.unpack_from("<III", data, at)
        packets.append((seconds, fraction, len(packets), data[at:at + 16 + cap_len]))
        at += 16 + cap_len
    packets.sort(key=lambda p: p[:3])
    with open(sys.argv[2], "wb") as f:
        f.write(data[:24] + b"".join(p[3] for p in packets))


main()
