#!/usr/bin/env python3
"""What was imported comes out again: every packet byte for byte, with nanoseconds, lengths, link types, in order. The oracle is
a reader of our own for pcap and pcapng (kit/traces.py), and tcpdump for the pseudo-headers that a byte order changes."""
# also: sanitized
import os
import struct
import sys

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

SWAPPED_PSEUDO_HEADERS = (113, 189, 220, 239)  # libpcap, and we, bring them to little-endian


def compare(name, archive, wanted, *selectors):
    """The export of an archive against packets."""
    r = atoll(archive, "export", "--raw", "-q", "-o", "out.pcapng", *selectors)
    if r.code != 0:
        return ok(name, False, r)
    difference = t.first_difference(t.whole("out.pcapng"), wanted)
    return ok(name, difference is None, difference)


# --- captures that others made ---

def expected_of(path):
    """The packets of a file as they must come out, and whether it is one to be refused in part."""
    found, damage = t.packets(path)
    data = t.unpacked(path)
    order, _ = t.order_of(data)
    if order == ">" and any(p.link in SWAPPED_PSEUDO_HEADERS for p in found):
        r = run("tcpdump", "-r", path, "-w", "swapped.pcap", "--time-stamp-precision=nano")
        swapped = t.whole("swapped.pcap") if r.code == 0 else []
        ok("tcpdump_reads_a_swapped_pseudo_header", len(swapped) == len(found), path, r)
        found = [p._replace(data=s.data) for p, s in zip(found, swapped)]
    return found, damage


def import_captures(archive, files):
    """Imports in as few runs as fit a command line; all output."""
    said = ""
    for i in range(0, len(files), 1000):
        r = atoll(archive, "import", "-q", "--again", "--stream", "captures", *files[i:i + 1000], timeout=300)
        if r.code not in (0, 3):
            ok("imports_captures", False, r)
        said += r.err
    return said


def real_captures():
    where = shared("pcap/originals-le64k.tar.zst")
    if not where:
        skip("every_real_capture_comes_out_as_it_went_in", "no folder of real captures")
        return
    os.mkdir("real")
    files = unpack(where, "real")
    if SANITIZED:
        files = files[::8]
    folder = fast_folder("real")
    a = init(f"{folder}/a")
    said = import_captures(a, files)
    traces, refused = [], []
    for path in files:
        found, damage = expected_of(path)
        traces.append(found)
        if damage:
            refused.append(path)
    # Each of these small files is one segment, and the segments of a stream come in the order of their earliest packets.
    wanted = [p for found in sorted(filter(None, traces), key=lambda found: min(p.ts for p in found)) for p in found]
    compare("every_real_capture_comes_out_as_it_went_in", a, wanted)
    ok("many_real_captures_were_there", SANITIZED or len(wanted) > 100000, len(wanted))
    links = len({p.link for p in wanted})
    ok("of_many_link_types", SANITIZED or links > 20, links)
    named = [line.split(": ")[1] for line in said.splitlines() if line.startswith("atoll import: real/")]
    same("just_the_files_that_are_no_whole_trace_are_named", sorted(set(named)), sorted(refused))
    ok("each_with_a_place_and_a_reason", all(": byte " in line or " at byte " in line for line in said.splitlines()
                                             if line.startswith("atoll import: real/")), said)
    one_link = [p for p in wanted if p.link == 1 and p.ts < (t.NS << 32)]
    r = atoll(a, "export", "--raw", "-q", "-o", "ether.pcap", "--stream", "captures", timeout=300)
    must("a_pcap_file_for_several_link_types_is_refused_with_advice", r, 2, "pcapng")
    ok("and_not_left_behind", not os.path.exists("ether.pcap"))
    b = init(f"{folder}/b")
    t.write_pcap("ethernet.pcap", one_link)
    must("imports_all_ethernet_packets_again", atoll(b, "import", "-q", "ethernet.pcap"))
    r = atoll(b, "export", "--raw", "-q", "-o", "ether.pcap")
    if must("exports_them_as_pcap", r):
        with open("ether.pcap", "rb") as f, open("ethernet.pcap", "rb") as g:
            ok("the_pcap_file_is_the_same_byte_for_byte", f.read() == g.read())
    count = run("tcpdump", "-r", "ether.pcap", "--count").text.split()
    ok("tcpdump_counts_as_many", count and int(count[0]) == len(one_link), count, len(one_link))
    must("fsck_finds_nothing", atoll(a, "fsck", "-q", timeout=300))


# --- each form of a trace file ---

def some(n=400, link=1):
    """Packets of a few conversations, and some that no one understands; nanoseconds, lengths above what was captured."""
    found, ts = [], 1700000000 * t.NS + 123456789
    for i in range(n):
        ts += 1 + i * 7919 % 100003
        if i % 5 == 0:
            data = t.udp("10.0.0.1", "198.51.100.9", 5000 + i % 3, 53, bytes([i % 256]) * (i % 90), i)
        elif i % 7 == 0:
            data = bytes((i * k) % 256 for k in range(i % 60))
        else:
            data = t.tcp("10.0.0.2", "198.51.100.7", 40000 + i % 4, 443, i * 1000, i * 77, 0x18, b"x" * (i % 33), i)
        found.append(t.packet(ts, data, len(data) + (1000 if i % 11 == 0 else 0), link))
    return found


def micro(found):
    return [p._replace(ts=p.ts // 1000 * 1000) for p in found]


def forms_of_pcap():
    found = some()
    for order, order_name in ("<", "little"), (">", "big"):
        for unit, unit_name in (1, "nanosecond"), (1000, "microsecond"):
            name = f"{order_name}_endian_{unit_name}_pcap"
            a = init(name)
            t.write_pcap(f"{name}.pcap", found, order, unit)
            must(f"imports_a_{name}", atoll(a, "import", "-q", "--stream", "s", f"{name}.pcap"))
            compare(f"gives_back_a_{name}", a, micro(found) if unit == 1000 else found)
    with open("modified.pcap", "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2cd34, 2, 4, 0, 0, 65535, 1))
        for p in found:
            f.write(struct.pack("<IIII", p.ts // t.NS, p.ts % t.NS // 1000, len(p.data), p.wire) + bytes(8) + p.data)
    a = init("modified")
    must("imports_a_pcap_of_the_kuznetzov_form", atoll(a, "import", "-q", "modified.pcap"))
    compare("gives_back_a_pcap_of_the_kuznetzov_form", a, micro(found))
    a = init("links")
    wanted = []
    for link in 0, 1, 9, 12, 50, 101, 104, 105, 108, 113, 119, 127, 147, 189, 192, 195, 220, 228, 229, 239, 249, 276, 65535:
        t.write_pcap(f"link{link}.pcap", some(40, link), link=link)
        wanted += some(40, link)
        r = atoll(a, "import", "-q", "--stream", "s", f"link{link}.pcap")
        if r.code != 0:
            ok("imports_a_link_type", False, link, r)
    compare("keeps_every_link_type", a, wanted)


def forms_of_pcapng():
    found = some(60)
    data, wanted = b"", []
    for order in "<>":
        data += t.section(order)
        data += t.interface(order, 1, name=b"eth0")                             # microseconds when not told
        data += t.interface(order, 101, 0, 9)
        data += t.interface(order, 113, 96, 6)
        data += t.interface(order, 1, 0, 12)                                    # finer than ns: rounded down
        data += t.interface(order, 1, 0, 0x80 | 20)
        data += t.interface(order, 1, 0, 9, 1000000)
        data += t.interface(order, 1, 0, 3)
        for i, p in enumerate(found):
            number = i % 7
            units, wired = {
                0: (p.ts // 1000, p.ts // 1000 * 1000),
                1: (p.ts, p.ts),
                2: (p.ts // 1000, p.ts // 1000 * 1000),
                3: (i * 1000000 + 1501, i * 1000 + 1),
                4: ((p.ts // t.NS << 20) + 12345, p.ts // t.NS * t.NS + (12345 * t.NS >> 20)),
                5: (p.ts, p.ts + 1000000 * t.NS),
                6: (p.ts // 1000000, p.ts // 1000000 * 1000000),
            }[number]
            link = 101 if number == 1 else 113 if number == 2 else 1
            body = p.data[14:] if link == 101 else p.data
            if i % 3 == 0:
                data += t.obsolete(order, number, units, body, p.wire)
            else:
                data += t.enhanced(order, number, units, body, p.wire, t.option(order, 2, b"\0\0\0\1"))
            wanted.append(t.Packet(wired, p.wire, body, link))
            if i % 10 == 0:                                                     # blocks that hold no packet
                data += t.block(order, 5, bytes(range(40))) + t.block(order, 0x80001234, b"z" * (i * 100))
        data += t.section(order) + t.interface(order, 1, 50)                    # numbers begin again; a snapshot length
        for i, p in enumerate(found[:9]):
            body = (p.data + bytes(60))[:60 if i % 2 else 30]
            data += t.simple(order, body[:50], len(body))
            wanted.append(t.Packet(0, len(body), body[:50], 1))
    with open("forms.pcapng", "wb") as f:
        f.write(data)
    wanted_again, damage = t.packets("forms.pcapng")
    difference = damage or t.first_difference(wanted_again, wanted)
    ok("our_own_reader_agrees_about_every_form", difference is None, difference)
    a = init("forms")
    r = atoll(a, "import", "--json", "--stream", "s", "forms.pcapng")
    must("imports_every_form_of_pcapng_block", r, 0, '"skipped_blocks": 24')
    r = atoll(a, "export", "--raw", "-q", "-o", "out.pcapng")
    got = t.whole("out.pcapng") if r.code == 0 else []
    difference = t.first_difference(got, wanted)
    ok("every_form_of_pcapng_block_comes_out", difference is None, difference, r)
    if have("capinfos"):
        r = run("capinfos", "-Mc", "out.pcapng")
        must("capinfos_counts_as_many", r, 0, rf"Number of packets:\s+{len(wanted)}\b")


# --- what a packet may be ---

def odd_packets():
    """Extremes of time, length and content."""
    last = (1 << 32) * t.NS - 1
    found = [
        t.packet(0, b""), t.packet(0, b"", 60), t.packet(1, b"\0"), t.packet(last, b"\xff" * 14),
        t.packet(5, t.udp("10.0.0.1", "10.0.0.2", 1, 2, b"x" * 100)[:41], 142),
        t.packet(5, t.udp("10.0.0.1", "10.0.0.2", 1, 2, b"x" * 100)[:42], 142),
        t.packet(4, t.udp("10.0.0.1", "10.0.0.2", 1, 2, b"x" * 100)[:43], 142),
        t.packet(3, t.tcp("0.0.0.0", "255.255.255.255", 0, 65535, 0xffffffff, 0, 0xff), 0),
        t.packet(3, t.tcp("0.0.0.0", "255.255.255.255", 0, 65535, 0, 0xffffffff, 0), 0xffffffff),
        t.packet(7, bytes(262144)), t.packet(6, os.urandom(262144)), t.packet(8, b"\x45" * 65549),
    ]
    a = init("odd")
    t.write_pcap("odd.pcap", found)
    must("imports_odd_packets", atoll(a, "import", "-q", "odd.pcap"))
    compare("odd_packets_come_out_as_they_went_in", a, found)
    r = atoll(a, "export", "--raw", "-q", "-o", "odd-out.pcap")
    with open("odd.pcap", "rb") as f, open("odd-out.pcap", "rb") as g:
        ok("also_as_pcap", r.code == 0 and f.read() == g.read(), r)
    a = init("late")
    late = [t.packet(n, t.udp("10.0.0.1", "10.0.0.2", 1, 2, b"")) for n in ((1 << 64) - 1, (1 << 63), 1 << 62)]
    with open("late.pcapng", "wb") as f:
        f.write(t.section("<") + t.interface("<", 1, 0, 9) + b"".join(t.enhanced("<", 0, p.ts, p.data) for p in late))
    must("imports_times_up_to_the_last_nanosecond", atoll(a, "import", "-q", "late.pcapng"))
    compare("times_up_to_the_last_nanosecond_come_out", a, late)
    compare("near_the_largest_time_there_is_one", a, late[:1], "--from", "2554-07-21T23:34:33.709551614Z")
    r = atoll(a, "export", "--raw", "-q", "-o", "late.pcap")
    must("a_time_that_pcap_does_not_hold_is_refused_with_advice", r, 2, "pcapng")
    a = init("none")
    t.write_pcap("none.pcap", [])
    must("imports_a_trace_without_packets", atoll(a, "import", "-q", "none.pcap"))
    r = atoll(a, "export", "--raw", "-q", "-o", "none-out.pcap")
    must("exports_nothing_with_exit_5", r, 5)


def blocks_and_segments():
    """More than a block, in several traces of disorder; one conversation and very many."""
    for name, options in ("disorder", ("--disorder", "200000")), ("hosts", ("--hosts", "100000", "--snaplen", "70")), \
            ("whole_frames", ("--hosts", "20",)):
        n = 20000 if SANITIZED else 140000
        gen("g.pcap", "--packets", str(n), "--seed", "5", *options)
        a = init("g")
        must(f"imports_generated_{name}", atoll(a, "import", "-q", "g.pcap"))
        r = atoll(a, "export", "--raw", "-q", "-o", "g-out.pcap")
        with open("g.pcap", "rb") as f, open("g-out.pcap", "rb") as g:
            difference = None if f.read()[24:] == g.read()[24:] else t.first_difference(t.whole("g-out.pcap"), t.whole("g.pcap"))
        ok(f"generated_{name}_comes_out_as_it_went_in", r.code == 0 and difference is None, difference, r)
    one = t.udp("10.0.0.1", "10.0.0.2", 1000, 2000, b"")
    found = [t.packet(1600000000 * t.NS + i * i % 1000, one) for i in range(66000)]
    a = init("one")
    t.write_pcap("one.pcap", found)
    must("imports_one_conversation_longer_than_a_block", atoll(a, "import", "-q", "one.pcap"))
    compare("one_conversation_longer_than_a_block_comes_out", a, found)


# --- --headers-only ---

CANARY = b"CANARY-4711-do-not-keep-this"


def headers_only():
    pad, found = CANARY * 4, []
    ts = 1700000000 * t.NS
    for i in range(3000):
        ts += 1234567
        inner = t.udp("172.16.0.1", "172.16.0.2", 7000 + i % 5, 53, pad, i)
        frames = {
            0: t.tcp("10.0.0.1", "192.0.2.5", 1024 + i % 50, 80, i, i, 0x18, pad, i),
            1: t.udp("10.0.0.3", "192.0.2.5", 5353, 53, pad, i),
            2: t.ethernet(t.ipv4("10.0.0.4", "192.0.2.6", 1, b"\x08\0\0\0\0\1\0\2" + pad, i)),
            3: t.ethernet(t.ipv4("10.0.0.4", "192.0.2.6", 47, struct.pack(">HH", 0, 0x0800) + inner[14:], i)),
            4: t.udp("10.0.0.3", "192.0.2.9", 5000, 4789, struct.pack(">II", 0x08000000, 77 << 8) + inner, i),
            5: t.ethernet(b"\x60\0\0\0" + struct.pack(">HBB", 8 + len(pad), 17, 9) + bytes(range(32)) +
                          struct.pack(">HHHH", 1, 2, 8 + len(pad), 0) + pad, 0x86dd),
            6: t.ethernet(struct.pack(">HH", 5, 0x0800) + t.udp("10.0.0.3", "192.0.2.5", 9, 9, pad, i)[14:], 0x8100),
            7: t.ethernet(t.ipv4("10.0.0.8", "192.0.2.6", 132, struct.pack(">HHII", 1, 2, 3, 4) + pad, i)),
        }
        found.append(t.packet(ts, frames[i % 8]))
    t.write_pcap("canary.pcap", found)
    a = init("headers")
    must("imports_headers_only", atoll(a, "import", "-q", "--headers-only", "canary.pcap"))
    must("exports_headers", atoll(a, "export", "--raw", "-q", "-o", "headers.pcap"))
    got = t.whole("headers.pcap")
    same("as_many_packets_without_payload", len(got), len(found))
    ok("each_is_a_prefix_with_its_time_and_length", all(
        w.data.startswith(g.data) and g.ts == w.ts and g.wire == w.wire for g, w in zip(got, found)))
    ends = [next(i for i, (g, w) in enumerate(zip(got, found)) if i % 8 == k and len(g.data) >= w.data.index(CANARY))
            for k in range(8) if any(len(g.data) > w.data.index(CANARY) for i, (g, w) in enumerate(zip(got, found)) if i % 8 == k)]
    same("nothing_is_kept_behind_the_innermost_transport_header", ends, [])
    short = [k for k in range(8) if any(len(g.data) < w.data.index(CANARY) for i, (g, w) in enumerate(zip(got, found))
                                        if i % 8 == k)]
    same("and_nothing_is_cut_before_it", short, [])
    with open("headers.pcap", "rb") as f:
        exported = f.read()
    ok("the_payload_is_nowhere_in_the_export", CANARY[:8] not in exported)
    hits = []
    for folder, _, names in os.walk(a):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                if CANARY[:8] in f.read():
                    hits.append(name)
    same("nor_in_any_file_of_the_archive", hits, [])
    stat = atoll(a, "stat", "--json")
    must("what_was_captured_is_counted_without_payload", stat, 0,
         rf'"captured_bytes": {sum(len(g.data) for g in got)},', rf'"wire_bytes": {sum(w.wire for w in found)},')


scratch()
forms_of_pcap()
forms_of_pcapng()
odd_packets()
blocks_and_segments()
headers_only()
real_captures()
finish()
