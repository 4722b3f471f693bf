#!/usr/bin/env python3
"""docs/format.md is enough to write another reader: tests/docs/format_reader.py is one, and reads every packet and every index
table of an archive as they were imported. The manifest's lines and the keys are checked by it, too."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs"))
import format_reader as reader  # noqa: E402
from kit import traces as t     # noqa: E402
from kit.results import *       # noqa: E402,F403


def same_packets(name, archive, trace):
    """Blocks of one stream come in the order of the file."""
    wrong = n = 0
    found = reader.packets(archive)
    for n, p in enumerate(t.pcap(t.unpacked(trace)), 1):
        ts, wire, data, link, _ = next(found, (None,) * 5)
        if (ts, wire, data, link) != (p.ts, p.wire, p.data, p.link):
            wrong += 1
            first = first_difference(p, ts, wire, data) if wrong == 1 else first
    more = sum(1 for _ in found)
    ok(name, n > 0 and wrong == 0 and more == 0, f"{wrong} of {n} packets differ, {more} too many", wrong and first)


def first_difference(p, ts, wire, data):
    at = next((i for i, (a, b) in enumerate(zip(p.data, data or b"")) if a != b), None)
    return f"time {p.ts} {ts}, wire {p.wire} {wire}, {len(p.data)} {data and len(data)} bytes, first other byte {at}"


def table_addresses(archive):
    """Every address of an untagged IPv4 packet is in the tables of its segment, for its block."""
    missing = looked = 0
    for segment in reader.segments(archive):
        ip4, _, ports, protos = segment.tables
        for number in range(len(segment.blocks)):
            for _, _, data, link, _ in reader.block_packets(segment, number):
                if link != 1 or data[12:14] != b"\x08\x00" or len(data) < 34:
                    continue
                looked += 1
                for at in 26, 30:
                    missing += not ip4[int.from_bytes(data[at:at + 4], "big")] >> number & 1
                missing += not protos[data[23]] >> number & 1
                if data[14] == 0x45 and data[23] == 17 and int.from_bytes(data[20:22], "big") & 0x1fff == 0 and len(data) >= 42:
                    missing += not ports[int.from_bytes(data[34:36], "big")] >> number & 1
    ok("its_tables_have_every_address_port_and_protocol", looked > 0 and missing == 0, f"{missing} missing of {looked}")


def manifest_lines(archive):
    ident, owner = reader.owner_key(os.path.join(archive, "owner.key"))
    key = reader.blake2b(b"manifest", 32, owner)
    with open(os.path.join(archive, "manifest"), "rb") as f:
        lines = f.read().split(b"\n")
    fields = dict(word.split(b"=") for word in lines[0].split() if b"=" in word)
    number = bytes.fromhex(fields[b"id"].decode())
    good = fields[b"archive"].decode() == ident.hex() and lines[-1] == b""
    for line in lines[:-1]:
        good = good and reader.blake2b(number + line[:-16], 16, key)[:8].hex() == line[-16:].decode()
    ok("its_manifest_lines_have_the_macs_that_the_page_says", good, f"{len(lines) - 1} lines")


def main():
    scratch()
    gen("whole.pcap", "--packets", "30000", "--seed", "11")
    gen("short.pcap", "--packets", "80000", "--seed", "12", "--snaplen", "96")
    for trace in "whole", "short":
        a = init(trace)
        must(f"imports_{trace}", atoll(a, "import", "-q", f"{trace}.pcap"))
        same_packets(f"another_reader_reads_every_packet_of_{trace}", trace, f"{trace}.pcap")
    table_addresses("short")
    manifest_lines("short")
    finish()


main()
