#!/usr/bin/env python3
"""Memory stays below 256 MiB however large the trace: import, count, rows, export, fsck, rebuild and rm of two million packets, with
one thread and with two. The trace itself is larger than that."""
import json
import struct
import sys

sys.dont_write_bytecode = True
from kit.results import *    # noqa: E402,F403

PACKETS = 2000000


def within(name, *arguments, archive="a", **more):
    r = atoll(archive, *arguments, peak=True, timeout=200, **more)
    if must(f"{name}_works", r):
        ok(f"{name}_stays_below_256_MiB", r.rss <= MEMORY_BOUND, f"{r.rss >> 20} MiB")
    print(f"# {name}: {(r.rss or 0) >> 20} MiB", flush=True)
    return r


def hard_to_merge(streams=6, packets=100000, length=256):
    """Streams of the same time whose blocks do not fit into the pool of a merge together: random bytes, no two packets of a flow."""
    header, found = struct.pack("<IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 65535, 1), []
    for i in range(packets):
        noise = os.urandom(length - 14 - 20)
        ip = struct.pack(">BBHHHBBH", 0x45, 0, length - 14, i & 0xffff, 0, 64, 17, 0) + noise[:8]
        found.append(struct.pack("<IIII", 1700000000, i * 1000, length, length) + noise[:12] + b"\x08\x00" + ip + noise)
    with open("hard.pcap", "wb") as f:
        f.write(header + b"".join(found))
    init("hard")
    for i in range(streams):
        must(f"hard_stream_{i}", atoll("hard", "import", "-q", "--again", "--stream", f"s{i}", "hard.pcap"))
    within("export_of_streams_that_do_not_fit_together", "export", "--raw", "-q", "-o", "merged.pcap", archive="hard")
    with open("merged.pcap", "rb") as f:
        ok("they_come_out_in_order_of_time", f.read()[24:] == b"".join(p * streams for p in found))


def tcpdump_count(*expression):
    return int(run("tcpdump", "--count", "-r", "big.pcap", *expression).text.split()[0])


scratch()
if SANITIZED:
    skip("all_of_it", "a sanitized program takes more memory")
    finish()
gen("big.pcap", "--packets", str(PACKETS), "--seed", "1", "--hosts", "60000", "--snaplen", "200")
ok("the_trace_is_larger_than_the_bound", os.path.getsize("big.pcap") > MEMORY_BOUND, os.path.getsize("big.pcap"))
for jobs in "1", "2":
    init("a")
    within(f"import_with_{jobs}_threads", "import", "-q", "-j", jobs, "--stream", "s", "big.pcap")
    within(f"count_with_{jobs}_threads", "query", "--count", "-q", "-j", jobs)
    r = within(f"filtered_count_with_{jobs}_threads", "query", "--count", "--json", "-q", "-j", jobs, "-f", "tcp port 443")
    if have("tcpdump"):
        same(f"it_counts_what_tcpdump_counts_with_{jobs}_threads", json.loads(r.text)["packets"], tcpdump_count("tcp port 443"))
    within(f"bpf_count_with_{jobs}_threads", "query", "--count", "-q", "-j", jobs, "-f", "ip[8] > 60")
    within(f"export_with_{jobs}_threads", "export", "--raw", "-q", "-j", jobs, "-o", "out.pcap")
    with open("out.pcap", "rb") as f, open("big.pcap", "rb") as g:
        f.seek(24)
        g.seek(24)
        equal = True
        while equal:
            one, two = f.read(1 << 20), g.read(1 << 20)
            equal = one == two
            if not one:
                break
    ok(f"all_comes_out_with_{jobs}_threads", equal)
    os.unlink("out.pcap")
within("rows", "query", "-q", "-o", "csv", "--limit", "300000")
within("fsck", "fsck", "-q")
within("rebuild", "rebuild", "-q")
within("a_second_stream", "import", "-q", "--again", "--headers-only", "--stream", "u", "big.pcap")
within("merged_export", "export", "--raw", "-q", "-o", "/dev/null")
hard_to_merge()
within("rm_of_a_part", "rm", "-q", "-s", "s", "--until", "2026-01-05T08:00:50Z")
finish()
