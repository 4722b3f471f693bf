#!/usr/bin/env python3
"""Finding packets: time ranges, filters, limits, rows in each form, counts and plans, against tcpdump, tshark and our own reader
of trace files."""
# also: sanitized
import csv
import io
import json
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

N = 9000 if SANITIZED else 70000  # packets of one trace: more than a block
EVERY = 60 if SANITIZED else 8    # of the expressions


def count(archive, *selectors):
    """Packets and bytes; (0, 0) when there are none."""
    r = atoll(archive, "query", "--count", "--json", *selectors)
    if r.code not in (0, 5):
        return r
    found = json.loads(r.text)
    return found["packets"], found["wire_bytes"]


def sum_of(found):
    return len(found), sum(p.wire for p in found)


def rfc3339(ns, hours=0):
    zone = timezone(timedelta(hours=hours))
    text = datetime.fromtimestamp(ns // t.NS, zone).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ns % t.NS:09}" + ("Z" if hours == 0 else f"{hours:+03}:00")


def epoch(ns):
    return f"{ns // t.NS}.{ns % t.NS:09}"


def make_archive():
    """Stream a: three traces an hour apart, stream b: one beside the second, with other hosts. Returns their packets."""
    a = init("a")
    packets = {}
    for i, (stream, start, seed) in enumerate((("a", 1767600000, 1), ("a", 1767603600, 2), ("a", 1767607200, 3),
                                                ("b", 1767603600, 4))):
        gen(f"t{i}.pcap", "--packets", str(N), "--seed", str(seed), "--hosts", "400", "--start", str(start), "--snaplen", "200",
            "--disorder", "2000")
        must(f"imports_trace_{i}", atoll(a, "import", "-q", "--stream", stream, f"t{i}.pcap"))
        packets.setdefault(stream, []).extend(t.whole(f"t{i}.pcap"))
    return a, packets


# --- time ---

def time_ranges(a, packets):
    found = packets["a"]
    times = sorted(p.ts for p in found)
    for name, i, k in ("inside_a_block", 100, 200), ("over_blocks", N // 3, 2 * N // 3), ("over_segments", N // 2, 2 * N + 5), \
            ("at_both_ends", 0, len(times) - 1):
        first, last = times[i], times[k]
        inside = [p for p in found if first <= p.ts < last]
        for form, write in ("rfc3339", rfc3339), ("epoch_seconds", epoch):
            same(f"{form}_range_{name}", count(a, "-s", "a", "--from", write(first), "--until", write(last)), sum_of(inside))
        outside = [p for p in found if p.ts >= last]
        same(f"from_is_inside_{name}", count(a, "-s", "a", "--from", epoch(last)), sum_of(outside))
        outside = [p for p in found if p.ts > last]
        same(f"one_nanosecond_later_it_is_not_{name}", count(a, "-s", "a", "--from", epoch(last + 1)), sum_of(outside))
    same("a_range_of_one_nanosecond", count(a, "-s", "a", "--from", epoch(times[77]), "--until", epoch(times[77] + 1)),
         sum_of([p for p in found if p.ts == times[77]]))
    same("an_offset_is_taken_off", count(a, "-s", "a", "--from", rfc3339(times[N], -8), "--until", rfc3339(times[2 * N], 5)),
         sum_of([p for p in found if times[N] <= p.ts < times[2 * N]]))
    same("a_day_is_utc", count(a, "--from", "2026-01-05", "--until", "2026-01-06"), sum_of(found + packets["b"]))
    must("and_nothing_on_the_day_before", atoll(a, "query", "--count", "--from", "2026-01-04", "--until", "2026-01-05"), 5)
    r = atoll(a, "query", "--count", "--from", "1767603600.5", "--until", "2026-01-05T09:00:01+00:00")
    must("the_resolved_range_is_echoed_in_utc", r, 0, r"range \[2026-01-05T09:00:00.500000000Z, 2026-01-05T09:00:01.000000000Z\)")
    if have("tshark"):
        first, last = times[N // 2], times[N // 2 + 999]
        r = run("tshark", "-n", "-r", "t0.pcap", "-Y", f"frame.time_epoch >= {epoch(first)} && frame.time_epoch < {epoch(last)}",
                "-T", "fields", "-e", "frame.number")
        same("as_many_as_tshark_finds", count(a, "-s", "a", "--from", epoch(first), "--until", epoch(last))[0],
             len(r.text.splitlines()), r.err)
    r = atoll(a, "export", "--raw", "-q", "-s", "a", "--from", epoch(times[N // 2]), "--until", epoch(times[N]), "-o", "range.pcap")
    if must("exports_a_range", r):
        wanted = [p for p in found if times[N // 2] <= p.ts < times[N]]
        difference = t.first_difference(t.whole("range.pcap"), wanted)
        ok("just_the_packets_of_the_range", difference is None, difference)
    for name, *times_ in ("backwards", "2026-01-06", "2026-01-05"), ("empty", "2026-01-06", "2026-01-06"), \
            ("not_a_date", "2026-02-30", "2026-03-01"), ("with_a_zone_name", "2026-01-05T00:00:00 CET", "2026-01-06"), \
            ("too_fine", "1767603600.0000000001", "2026-01-06"), ("before_1970", "1969-12-31", "2026-01-06"):
        r = atoll(a, "query", "--count", "--from", times_[0], "--until", times_[1])
        must(f"a_range_{name}_is_a_usage_error", r, 2)
        ok(f"and_said_in_one_sentence_{name}", len(r.err.splitlines()) == 1, r)


def relative_times():
    a = init("now")
    gen("now.pcap", "--packets", "2000", "--start", str(int(time.time()) - 3600))
    must("imports_a_trace_of_an_hour_ago", atoll(a, "import", "-q", "now.pcap"))
    wanted = sum_of(t.whole("now.pcap"))
    same("now_minus_two_hours_finds_it", count(a, "--from", "now-2h"), wanted)
    same("up_to_now_minus_30_minutes", count(a, "--until", "now-30m"), wanted)
    same("and_all_of_it_in_between", count(a, "--from", "now-1d", "--until", "now"), wanted)
    must("now_minus_30_minutes_finds_nothing", atoll(a, "query", "--count", "--from", "now-30m"), 5)
    must("nor_from_now_on", atoll(a, "query", "--count", "--from", "now"), 5)


# --- filters ---

def expressions():
    with open(os.path.join(TOP, "tests", "filters", "expressions.txt"), encoding="utf-8") as f:
        lines = [line.strip() for line in f]
    return [line.lstrip("!?").strip() for line in lines if line and not line.startswith("#")][::EVERY]


def filters(a):
    bad, refused, matched = [], 0, 0
    asked = expressions()
    for text in asked:
        theirs = run("tcpdump", "--count", "-r", "t0.pcap", text)
        ours = count(a, "-s", "a", "--until", "2026-01-05T08:30:00Z", "-f", text)
        if theirs.code != 0:
            refused += 1
            if not isinstance(ours, Run) or ours.code != 2:
                bad.append((text, "tcpdump refuses it", ours))
            continue
        wanted = int(theirs.text.split()[0])
        matched += wanted > 0
        if isinstance(ours, Run) or ours[0] != wanted:
            bad.append((text, ours, wanted))
    ok("counts_are_those_of_tcpdump", not bad, bad)
    ok("for_many_expressions_that_match", matched >= len(asked) // 4 and refused < len(asked) // 2, matched, refused, len(asked))
    # one that is answered from columns, one from libpcap's program, together with times and streams
    found = [p for i in range(2) for p in t.whole(f"t{i}.pcap")]
    times = sorted(p.ts for p in found)
    for name, text in ("in_columns", "tcp port 443"), ("in_bpf", "ip[8] > 60 and len > 100"):
        r = run("tcpdump", "-r", "t1.pcap", "-w", "some.pcap", "--time-stamp-precision=nano", text)
        wanted = t.whole("some.pcap") if r.code == 0 else []
        selectors = ("-s", "a", "-f", text, "--from", "2026-01-05T08:30:00Z", "--until", "2026-01-05T09:30:00Z")
        same(f"filter_and_range_together_{name}", count(a, *selectors), sum_of(wanted))
        for jobs in "1", "3":
            r = atoll(a, "export", "--raw", "-q", "-o", "found.pcap", "-j", jobs, *selectors)
            difference = t.first_difference(t.whole("found.pcap"), wanted) if r.code == 0 else r
            ok(f"exports_what_tcpdump_selects_{name}_with_{jobs}_threads", difference is None, difference)
        middle = times[N + N // 2]
        inside = [p for p in wanted if p.ts >= middle]
        same(f"a_filter_in_half_a_segment_{name}", count(a, *selectors[:4], "--from", epoch(middle), "--until", "2026-01-05T09:30:00Z"),
             sum_of(inside))


def bad_filters(a):
    for text, column, word in (("host 10.0.0.1 and and tcp", 19, ""), ("net 10/8", 5, "10.0.0.0/8"), ("tcp prot 80", 5, "port"),
                               ("(tcp or udp", 1, "parenthesis"), ("port 99999", 6, "65535"), ("ip[0", 5, ""),
                               ("udp and hots 10.0.0.1", 9, "host")):
        r = atoll(a, "query", "--count", "-f", text)
        name = "".join(c if c.isalnum() else "_" for c in text)
        must(f"bad_filter_names_the_place_{name}", r, 2, rf"column {column}\b", re.escape(word))
        ok(f"in_one_line_{name}", len(r.err.splitlines()) == 1 and not r.text, r)
    must("a_filter_of_too_many_terms_is_told", atoll(a, "query", "--count", "-f", " or ".join(["host 10.0.0.1"] * 300)), 2,
         "more than 256 terms")


def refused_filters():
    """A filter that is not for the link type of what is there, whatever else it asks of the index: tcpdump refuses it as well."""
    gen("ether.pcap", "--packets", "3000", "--seed", "11", "--snaplen", "96")
    found = [p for p in t.whole("ether.pcap") if p.data[12:14] == b"\x08\x00"]
    bare = [p._replace(data=p.data[14:], wire=p.wire - 14) for p in found]
    t.write_pcap("bare.pcap", bare, link=101)
    for name in "ether", "bare":
        init(name)
        must(f"imports_{name}", atoll(name, "import", "-q", f"{name}.pcap"))
    there = ".".join(str(b) for b in bare[0].data[12:16])
    for text in "ether host 2:0:0:0:0:1", f"ether host 2:0:0:0:0:1 and host {there}", "ether host 2:0:0:0:0:1 and host 203.0.113.77", \
                "vlan 3 and host 203.0.113.77", "host 203.0.113.77", f"vlan 3 and host {there} and port 65000":
        for name in "ether", "bare":
            theirs = run("tcpdump", "--count", "-r", f"{name}.pcap", text)
            for verb in ["query", "--count"], ["query"], ["export", "--raw", "-o", "none.pcap"]:
                r = atoll(name, *verb, "-q", "-f", text)
                same(f"{name}_{verb[0]}{len(verb)}_{text.replace(' ', '_')}", r.code, 2 if theirs.code else 5, r, theirs)
    must("it_is_said_why", atoll("bare", "query", "-f", "ether host 2:0:0:0:0:1 and host 203.0.113.77"), 2,
         "not for records of link type RAW")


# --- rows ---

TSHARK_FIELDS = ("frame.time_epoch frame.len frame.cap_len eth.src eth.dst ip.version ip.src ip.dst ipv6.src ipv6.dst ip.proto "
                 "tcp.srcport tcp.dstport udp.srcport udp.dstport icmp.type icmp.code ip.dsfield ip.ttl ip.len ip.id ip.flags.df "
                 "tcp.flags tcp.seq_raw tcp.ack_raw tcp.window_size_value ieee8021ad.id vlan.id ipv6.hlim").split()


def tshark_rows(path):
    command = ["tshark", "-n", "-r", path, "-T", "fields", "-E", "occurrence=f", "-E", "separator=;", "-o", "ip.defragment:FALSE",
               "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "ipv6.defragment:FALSE"]
    for field in TSHARK_FIELDS:
        command += ["-e", field]
    r = run(*command)
    return [dict(zip(TSHARK_FIELDS, line.split(";"))) for line in r.text.splitlines()]


def row_agrees(row, theirs):
    """Names of the columns of one NDJSON row that tshark sees otherwise. Tunnels show their outer header here."""
    wrong = []

    def expect(column, value):
        if value != "" and row.get(column) != value:
            wrong.append(f"{column} {row.get(column)} {value}")

    def number(field):
        return int(theirs[field], 0) if theirs[field] else ""
    seconds, fraction = theirs["frame.time_epoch"].split(".")
    expect("ts", rfc3339(int(seconds) * t.NS + int(fraction)))
    expect("wire_len", number("frame.len"))
    expect("cap_len", number("frame.cap_len"))
    expect("eth_src", theirs["eth.src"])
    expect("eth_dst", theirs["eth.dst"])
    expect("vlan", number("ieee8021ad.id") or number("vlan.id"))
    if row.get("proto") is None:
        return wrong
    if ":" in row["src"]:
        expect("src", theirs["ipv6.src"])
        expect("dst", theirs["ipv6.dst"])
        expect("ttl", number("ipv6.hlim"))
    else:
        expect("src", theirs["ip.src"])
        expect("dst", theirs["ip.dst"])
        expect("proto", number("ip.proto"))
        expect("tos", number("ip.dsfield"))
        expect("ttl", number("ip.ttl"))
        expect("ip_len", number("ip.len"))
        expect("ip_id", number("ip.id"))
        if theirs["ip.flags.df"] and bool(row["ip_frag"] & 0x4000) != bool(number("ip.flags.df")):
            wrong.append("ip_frag")
    if row["proto"] == 6 and "sport" in row:
        for column, field in ("sport", "tcp.srcport"), ("dport", "tcp.dstport"), ("tcp_seq", "tcp.seq_raw"), \
                ("tcp_ack", "tcp.ack_raw"), ("tcp_win", "tcp.window_size_value"):
            expect(column, number(field))
        expect("tcp_flags", number("tcp.flags") & 255)
    if row["proto"] == 17 and "sport" in row:
        expect("sport", number("udp.srcport"))
        expect("dport", number("udp.dstport"))
    if row["proto"] == 1 and "sport" in row:
        expect("sport", number("icmp.type"))
        expect("dport", number("icmp.code"))
    return wrong


def rows(a):
    limit = 3000 if SANITIZED else 15000
    r = atoll(a, "query", "-q", "-s", "a", "-o", "ndjson", "--limit", str(limit))
    must("lists_rows_as_ndjson", r)
    ndjson = [json.loads(line) for line in r.text.splitlines()]
    same("as_many_as_the_limit", len(ndjson), limit)
    if have("tshark"):
        subprocess.run(["tcpdump", "-r", "t0.pcap", "-c", str(limit), "-w", "first.pcap", "--time-stamp-precision=nano"],
                       stderr=subprocess.DEVNULL, check=True)
        theirs = tshark_rows("first.pcap")
        wrong = [(i, w) for i, (row, b) in enumerate(zip(ndjson, theirs)) for w in [row_agrees(row, b)] if w]
        ok("the_rows_are_what_tshark_sees", len(theirs) == limit and not wrong, len(wrong), wrong[:5])
        protocols = {row.get("proto") for row in ndjson}
        ok("of_many_protocols", {1, 6, 17, 47, 58, None} <= protocols, protocols)
    else:
        skip("the_rows_are_what_tshark_sees", "no tshark here")
    r = atoll(a, "query", "-q", "-s", "a", "--json", "--limit", str(limit))
    same("json_means_ndjson", [json.loads(line) for line in r.text.splitlines()], ndjson)
    r = atoll(a, "query", "-q", "-s", "a", "-o", "csv", "--limit", str(limit))
    table = list(csv.DictReader(io.StringIO(r.text)))
    text = [{k: str(v) for k, v in row.items()} for row in ndjson]
    same("csv_says_the_same", [{k: v for k, v in row.items() if v != ""} for row in table], text)
    r = atoll(a, "query", "-q", "-s", "a", "-o", "table", "--limit", str(limit))
    lines = r.text.splitlines()
    ok("a_table_has_a_head_and_as_many_rows", len(lines) == limit + 1 and lines[0].split()[:3] == ["time", "stream", "source"],
       lines[:2])
    ok("with_the_same_times_and_lengths", all(row["ts"] in line and str(row["wire_len"]) in line.split()
                                              for row, line in zip(ndjson, lines[1:])), lines[1:3])
    r = atoll(a, "query", "-s", "a", "--limit", "3")
    must("says_that_it_stopped_at_the_limit", r, 0, r"stopped at 3 packets \(--limit\)")
    r = atoll(a, "query", "-s", "a", "-f", "host 203.0.113.77 and port 1", "--limit", "3")
    must("nothing_found_is_exit_5", r, 5, "no packets there")
    r = atoll(a, "export", "--raw", "-q", "-s", "a", "--limit", "12", "-o", "-")
    with open("twelve.pcap", "wb") as f:
        f.write(r.out)
    same("export_has_a_limit_and_writes_to_standard_output", t.first_difference(t.whole("twelve.pcap"), t.whole("t0.pcap")[:12]), None)
    r = run("sh", "-c", f"'{ATOLL}' -A a query -o csv | head -n 2")
    must("a_reader_that_goes_away_is_no_crash", r, 0)
    with open("/dev/full", "wb") as full:
        child = subprocess.run([ATOLL, "-A", a, "query", "-o", "csv", "-q"], stdout=full, stderr=subprocess.PIPE)
    ok("rows_that_could_not_be_written_are_an_error", child.returncode == 1 and b"No space left" in child.stderr, child)


# --- plans ---

def explain(a, *selectors):
    r = atoll(a, "query", "--explain", "--json", *selectors)
    return json.loads(r.text) if r.code == 0 else {}


def plans(a, packets):
    all_ = explain(a)
    same("without_selectors_all_segments_are_looked_at",
         (all_.get("segments"), all_.get("segments_skipped_by_time"), all_.get("packets_to_look_at")), (4, 0, 4 * N if not SANITIZED
         else sum(len(p) for p in packets.values())))
    same("without_a_filter_it_is_null", all_.get("filter", ""), None)
    if not SANITIZED:
        same("and_all_blocks", (all_["blocks"], all_["blocks_to_read"]), (8, 8))
    counted = explain(a, "--count")
    same("to_count_them_nothing_is_read", (counted.get("blocks_to_read"), counted.get("bytes_to_read")), (0, 0))
    early = explain(a, "--until", "2026-01-05T08:30:00Z")
    same("a_range_skips_segments", early.get("segments_skipped_by_time"), 3)
    times = sorted(p.ts for p in t.whole("t0.pcap"))
    if not SANITIZED:
        one = explain(a, "--until", epoch(times[100]))
        same("a_range_skips_blocks", (one.get("blocks_skipped_by_time"), one.get("blocks_to_read")), (1, 1))
    strange = explain(a, "-f", "host 203.0.113.77")
    ok("an_address_that_is_nowhere_skips_segments", strange.get("segments_skipped_by_address", 0) >= 3, strange)
    both = explain(a, "-f", "udp port 1")
    ok("a_port_that_is_nowhere_skips_blocks", both.get("blocks_skipped_by_index", 0) > 0, both)
    narrow, wide = explain(a, "-f", "tcp port 443", "--count"), explain(a, "-f", "tcp port 443")
    ok("counting_reads_less_than_listing", 0 < narrow.get("bytes_to_read", 0) < wide.get("bytes_to_read", 0), narrow, wide)
    must("explain_for_people_says_what_is_skipped_and_why", atoll(a, "query", "--explain", "-f", "tcp port 443", "--from", "2026-01-05"), 0,
         "filter +tcp port 443", r"segments +4: 0 skipped by time, 0 by address, 4 opened", "blocks", "to read")
    r = atoll(a, "query", "--count", "--json", "-f", "tcp port 443")
    ok("a_count_says_what_it_read", 0 < json.loads(r.text).get("bytes_read", 0) <= 2 * narrow["bytes_to_read"], r, narrow)


scratch()
if not have("tcpdump"):
    skip("all_of_it", "no tcpdump here")
    finish()
archive, streams = make_archive()
time_ranges(archive, streams)
relative_times()
filters(archive)
bad_filters(archive)
refused_filters()
rows(archive)
plans(archive, streams)
finish()
