#!/usr/bin/env python3
"""sort_pcap.py [--from SECONDS.NANOSECONDS] OUT IN...: the packets of little-endian nanosecond pcap files in the order of
time, equal times as they were; with --from only those that are not earlier. --median IN prints the time in the middle."""
import struct
import sys


def packets_of(path):
    with open(path, "rb") as f:
        data = f.read()
    at = 24
    while at < len(data):
        seconds, fraction, cap_len = struct.unpack_from("<III", data, at)
        yield seconds * 1000000000 + fraction, data[at:at + 16 + cap_len]
        at += 16 + cap_len


def main():
    arguments = sys.argv[1:]
    if arguments[0] == "--median":
        times = sorted(ns for ns, _ in packets_of(arguments[1]))
        ns = times[len(times) // 2]
        print(f"{ns // 1000000000}.{ns % 1000000000:09}")
        return
    least = 0
    if arguments[0] == "--from":
        seconds, fraction = arguments[1].split(".")
        least = int(seconds) * 1000000000 + int(fraction)
        arguments = arguments[2:]
    packets = [p for path in arguments[1:] for p in packets_of(path) if p[0] >= least]
    packets.sort(key=lambda p: p[0])
    with open(arguments[1], "rb") as f:
        head = f.read(24)
    with open(arguments[0], "wb") as f:
        f.write(head + b"".join(p[1] for p in packets))


main()
