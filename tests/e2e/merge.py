#!/usr/bin/env python3
"""Several streams come out merged in the order of time, in bounded memory, as mergecap merges their files; each stream alone as it
was captured."""
# also: sanitized
import filecmp
import itertools
import sys

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

UDP = t.udp("10.0.0.1", "10.0.0.2", 1, 2, b"")


def export(archive, *selectors, timeout=120):
    return atoll(archive, "export", "--raw", "-q", "-o", "out.pcap", *selectors, timeout=timeout, peak=True)


def by_instant(path):
    """The packets of each instant, in no order: mergecap has another one for equal times."""
    for ts, found in itertools.groupby(t.pcap(t.unpacked(path)), key=lambda p: p.ts):
        yield ts, sorted(found)


def merged_by_mergecap(name, files):
    r = run("mergecap", "-F", "nsecpcap", "-w", "theirs.pcap", *files)
    if r.code != 0:
        return ok(name, False, r)
    difference = next((pair for pair in itertools.zip_longest(by_instant("out.pcap"), by_instant("theirs.pcap"))
                       if pair[0] != pair[1]), None)
    return ok(name, difference is None, difference)


def two_streams():
    a = init("two")
    gen("x.pcap", "--packets", "30000", "--seed", "1")
    gen("y.pcap", "--packets", "30000", "--seed", "2")
    for stream in "xy":
        must(f"imports_stream_{stream}", atoll(a, "import", "-q", f"{stream}.pcap"))
    must("exports_two_streams", export(a))
    if have("mergecap"):
        merged_by_mergecap("two_streams_come_out_as_mergecap_merges_them", ["x.pcap", "y.pcap"])
    must("streams_can_be_named", export(a, "-s", "y", "-s", "x"))
    both = sorted(t.whole("x.pcap") + t.whole("y.pcap"), key=lambda p: p.ts)
    times = [p.ts for p in t.whole("out.pcap")]
    same("then_the_times_are_the_same", times, [p.ts for p in both])
    for limit in 1, 29999, 40000:
        r = export(a, "--limit", str(limit))
        same(f"a_limit_of_{limit}_gives_the_first", t.first_difference(t.whole("out.pcap"), both[:limit]) if r.code == 0 else r, None)
    half = both[len(both) // 2].ts
    r = export(a, "--from", f"{half // t.NS}.{half % t.NS:09}", "-f", "tcp")
    if have("tcpdump"):
        t.write_pcap("half.pcap", [p for p in both if p.ts >= half])
        run("tcpdump", "-r", "half.pcap", "-w", "tcp.pcap", "--time-stamp-precision=nano", "tcp")
        same("with_a_range_and_a_filter", t.first_difference(t.whole("out.pcap"), t.whole("tcp.pcap")) if r.code == 0 else r, None)


def disorder_and_ties():
    """Within a stream packets of equal time keep their order, across streams that of the streams."""
    a = init("ties")
    for name, seed in ("one", 7), ("two", 11), ("three", 13):
        found = [t.packet(1700000000 * t.NS + i * seed * 7919 % 400 * 1000000, UDP + bytes([seed]) + i.to_bytes(2, "big"))
                 for i in range(3000)]
        t.write_pcap(f"{name}.pcap", found)
        must(f"imports_disorder_{name}", atoll(a, "import", "-q", f"{name}.pcap"))
    wanted = [p for name in ("one", "two", "three") for p in t.whole(f"{name}.pcap")]
    must("exports_disorder", export(a))
    same("merges_by_time_then_stream_then_capture", t.first_difference(t.whole("out.pcap"), sorted(wanted, key=lambda p: p.ts)), None)
    must("exports_one_stream_of_disorder", export(a, "-s", "two"))
    same("one_stream_comes_as_captured", t.first_difference(t.whole("out.pcap"), t.whole("two.pcap")), None)
    r = atoll(a, "query", "-q", "-o", "ndjson")
    times = [line.split('"ts":"')[1].split('"')[0] for line in r.text.splitlines()]
    ok("query_merges_too", len(times) == len(wanted) and times == sorted(times))


def far_times():
    """Gaps of years, the ends of time, and streams that do not overlap."""
    a = init("far")
    last = (1 << 64) - 2
    moments = {"p": [0, 1, 10 ** 18, 10 ** 18 + 1, last], "q": [0, 5 * 10 ** 17, 10 ** 18, last - 1], "r": [2, 3], "s": [last] * 5}
    for name, times in moments.items():
        with open(f"{name}.pcapng", "wb") as f:
            f.write(t.section("<") + t.interface("<", 1, 0, 9) + b"".join(t.enhanced("<", 0, n, UDP + name.encode()) for n in times))
        must(f"imports_far_times_{name}", atoll(a, "import", "-q", f"{name}.pcapng"))
    wanted = sorted([t.packet(n, UDP + name.encode()) for name, times in moments.items() for n in times], key=lambda p: p.ts)
    r = atoll(a, "export", "--raw", "-q", "-o", "out.pcapng", timeout=30)
    same("merges_over_all_of_time", t.first_difference(t.whole("out.pcapng"), wanted) if r.code == 0 else r, None)


def thirty_streams():
    count = 1000 if SANITIZED else 30000
    a = init(f"{fast_folder('thirty')}/a")
    files = [gen(f"s{i:02}.pcap", "--packets", str(count), "--seed", str(i), "--snaplen", "96", "--hosts", "3000") for i in range(30)]
    must("imports_thirty_streams", atoll(a, "import", "-q", *files))
    for jobs in "1", "2":
        r = export(a, "-j", jobs)
        must(f"exports_thirty_overlapping_streams_with_{jobs}_threads", r)
        if jobs == "1":
            shutil.copy("out.pcap", "one.pcap")
        bounded(f"thirty_streams_{jobs}", r)
    ok("the_same_with_one_thread_and_two", filecmp.cmp("one.pcap", "out.pcap", shallow=False))
    if have("mergecap"):
        merged_by_mergecap("as_mergecap_merges_them", files)


def more_than_a_window():
    """More packets in one nanosecond, and larger ones, than a window of the merge holds at once."""
    a, n = init(f"{fast_folder('window')}/a"), 300000
    for k, name in enumerate("mn"):
        found = [t.packet(1700000000 * t.NS + (i >= n), UDP + bytes([k, i & 255])) for i in range(-3, n + 3)]
        found[:3] = [p._replace(ts=p.ts - 1 - k) for p in found[:3]]
        t.write_pcap(f"{name}.pcap", found)
        must(f"imports_many_packets_of_one_instant_{name}", atoll(a, "import", "-q", f"{name}.pcap"))
    r = export(a)
    if must("exports_more_packets_of_one_instant_than_a_window_holds", r):
        wanted = sorted(t.whole("m.pcap") + t.whole("n.pcap"), key=lambda p: p.ts)
        same("in_order", t.first_difference(t.whole("out.pcap"), wanted), None)
    bounded("one_instant", r)
    a = init(f"{fast_folder('large')}/a")
    for k, name in enumerate("vw"):
        t.write_pcap(f"{name}.pcap", [t.packet(1700000000 * t.NS + i * 2 + k, bytes([i % 256]) * 262144) for i in range(200)])
        must(f"imports_large_packets_{name}", atoll(a, "import", "-q", f"{name}.pcap"))
    r = export(a)
    if must("exports_more_bytes_than_a_window_holds", r):
        wanted = sorted(t.whole("v.pcap") + t.whole("w.pcap"), key=lambda p: p.ts)
        same("in_their_order", t.first_difference(t.whole("out.pcap"), wanted), None)
    bounded("large_packets", r)


scratch()
two_streams()
disorder_and_ties()
far_times()
thirty_streams()
if not SANITIZED:
    more_than_a_window()
finish()
