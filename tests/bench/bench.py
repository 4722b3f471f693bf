#!/usr/bin/env python3
"""Atoll beside its peers on the same data, in the same run: `make bench`.

Prints a table and writes build/bench.json: a list of {name, value, unit, peer, peer_value, ratio, peak_rss_bytes}. A ratio
above 1 says that Atoll is that many times faster or smaller than the peer.

Data: the real corpus in $ATOLL_SHARED (default ../shared) and the trace of 10 million packets that its recipe builds; when
there is none, two generated traces. Both are made once, in build/bench. Variables: BENCH_PACKETS (length of the long trace),
BENCH_ROWS (only rows whose name holds this word), BENCH_FAST=1 (no xz and no zstd -19, no archive ten times larger).
tests/bench/bench_*.c are run too, as PROGRAM REAL.pcap LONG.pcap; each prints one JSON object per row. Remote collection is in
collect.py: rows push, live (as root, with network namespaces), collectors.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import collect

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("BUILD") or "build")
DATA = os.path.join(BUILD, "bench")
ATOLL = os.environ.get("ATOLL") or os.path.join(BUILD, "gcc", "atoll")
GEN = os.path.join(TOP, os.environ.get("GEN") or os.path.join(BUILD, "gcc", "gen"))
PACKETS = int(os.environ.get("BENCH_PACKETS", "10000000"))
ONLY = os.environ.get("BENCH_ROWS", "")
FAST = bool(os.environ.get("BENCH_FAST"))
REAL_PACKETS = 774520
SHORT_SECONDS = 3.0  # a run shorter than this is repeated and the best one counts
REPEATS = 3

rows = []


class Failed(Exception):
    pass


def measured_once(command, stdout=None):
    """(wall seconds, peak resident bytes, output) of one process; stdout: a file for the output."""
    with open(stdout, "w+b") if stdout else tempfile.TemporaryFile() as sink, tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        sink.seek(0)
        if child.returncode != 0:
            said = errors.read().decode("utf-8", "replace").strip()[-300:]
            raise Failed(f"{' '.join(command)}: exit {child.returncode}: {said}")
        return wall, usage.ru_maxrss * 1024, b"" if stdout else sink.read()


def measured(command, prepare=None):
    best = None
    for _ in range(REPEATS):
        if prepare:
            prepare()
        run = measured_once(command)
        if best is None or run[0] < best[0]:
            best = run
        if run[0] > SHORT_SECONDS:
            break
    return best


def add(name, value, unit, peer=None, peer_value=None, peak=None, aim=None):
    smaller = unit.startswith("bytes") or unit in ("s", "ms", "ns/packet", "packets", "MiB")
    ratio = None
    if value and peer_value:
        ratio = peer_value / value if smaller else value / peer_value
    rows.append({"name": name, "value": value, "unit": unit, "peer": peer, "peer_value": peer_value, "ratio": ratio,
                 "peak_rss_bytes": peak})
    shown = [f"{name:44}", number(value, unit), f"{peer or '':28}", number(peer_value, unit) if peer else " " * 21,
             f"{ratio:8.2f} x" if ratio else " " * 10, f"{peak / 1048576:6.0f} MiB" if peak else " " * 10,
             f"  aim {aim}" if aim else ""]
    print("  ".join(shown).rstrip(), flush=True)


def number(value, unit):
    if unit == "packets/s":
        return f"{value / 1e6:8.2f} {'Mpackets/s':12}"
    return f"{value:8.2f} {unit:12}" if value < 1000 else f"{value:8.0f} {unit:12}"


def wanted(name):
    return ONLY in name


def shared():
    folder = os.environ.get("ATOLL_SHARED") or os.path.join(TOP, "..", "shared")
    return folder if os.path.isdir(os.path.join(folder, "data", "pcap")) else None


def made(path, make):
    """Makes a file once; a broken run leaves nothing that looks finished."""
    if not os.path.exists(path):
        print(f"making {os.path.relpath(path, TOP)}", flush=True)
        make(path + ".part")
        os.rename(path + ".part", path)
    return path


def data():
    """[(label, path, packets)] of the corpus and of the long trace."""
    os.makedirs(DATA, exist_ok=True)
    source = shared()
    if source:
        pcap = os.path.join(source, "data", "pcap", "real-mix-hdr.pcap.zst")
        recipe = os.path.join(source, "data", "recipe", "make-loop")
        real = made(os.path.join(DATA, "real.pcap"), lambda p: subprocess.check_call(["zstd", "-qdf", pcap, "-o", p]))
        loop = made(os.path.join(DATA, f"loop-{PACKETS}.pcap"),
                    lambda p: subprocess.check_call(["bash", recipe, p, str(PACKETS)], stdout=subprocess.DEVNULL))
        label = "real corpus"
    else:
        print("no real data (ATOLL_SHARED, default ../shared): generated traces instead")
        real = made(os.path.join(DATA, "gen-real.pcap"), lambda p: subprocess.check_call(
            [GEN, "--packets", str(REAL_PACKETS), "--hosts", "15000", "--snaplen", "96", p]))
        loop = made(os.path.join(DATA, f"gen-{PACKETS}.pcap"), lambda p: subprocess.check_call(
            [GEN, "--packets", str(PACKETS), "--hosts", "113000", "--snaplen", "96", p]))
        label = "generated"
    return [(label, real, count(real)), (f"{PACKETS / 1e6:g} M packets", loop, count(loop))]


def count(path):
    """Packets of a pcap file, cached beside it."""
    note = path + ".count"
    if not os.path.exists(note):
        out = subprocess.run(["tcpdump", "--count", "-r", path], check=True, capture_output=True).stdout
        with open(note, "w", encoding="ascii") as f:
            f.write(out.split()[0].decode())
    with open(note, encoding="ascii") as f:
        return int(f.read())


def warm(path):
    with open(path, "rb") as f:
        while f.read(1 << 22):
            pass


def archive(name):
    return os.path.join(DATA, f"archive-{name}")


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    measured_once([ATOLL, "init", folder])


def emptied(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)


def bench_import(label, path, packets, folder):
    warm(path)
    command = [ATOLL, "-A", folder, "import", "--quiet", "--headers-only", "--stream", "bench", path]
    wall, peak, _ = measured(command, prepare=lambda: fresh(folder))
    flows = os.path.join(DATA, "nfcapd")
    try:
        peer_wall, _, _ = measured(["nfpcapd", "-r", path, "-w", flows], prepare=lambda: emptied(flows))
        peer = packets / peer_wall
    except (Failed, OSError) as e:
        print(f"  nfpcapd: {e}")
        peer = None
    finally:
        shutil.rmtree(flows, ignore_errors=True)
    add(f"import, {label}", packets / wall, "packets/s", "nfpcapd" if peer else None, peer, peak, "5 M")


def compressed(command, path):
    """Bytes that a compressor reading path writes to stdout."""
    out = os.path.join(DATA, "compressed")
    measured_once(command + [path], stdout=out)
    size = os.path.getsize(out)
    os.unlink(out)
    return size


def bench_size(label, packets, folder, aim, slow):
    """Peers compress what the archive holds: the headers, as a pcap file."""
    stat = json.loads(measured_once([ATOLL, "-A", folder, "stat", "--json"])[2])
    if stat["packets"] != packets:
        raise Failed(f"{label}: {stat['packets']} packets in the archive, {packets} in the file")
    ours = stat["bytes_per_packet"]
    peers = [["gzip", "-6", "-c"], ["zstd", "-1", "-T1", "-qc"], ["zstd", "-3", "-T1", "-qc"]]
    if slow and not FAST:
        peers += [["zstd", "-19", "-T1", "-qc"], ["xz", "-9", "-T1", "-c"]]
    headers = os.path.join(DATA, "headers.pcap")
    measured_once([ATOLL, "-A", folder, "export", "--quiet", "--raw", "-o", headers])
    for command in peers:
        size = compressed(command, headers)
        add(f"size, {label}", ours, "bytes/packet", f"{command[0]} {command[1]}", size / packets, None, aim)
    os.unlink(headers)


def bench_export(label, path, packets, folder):
    ours, theirs = os.path.join(DATA, "export.pcap"), os.path.join(DATA, "copy.pcap")
    wall, peak, _ = measured([ATOLL, "-A", folder, "export", "--quiet", "--raw", "-o", ours],
                                prepare=lambda: os.path.exists(ours) and os.unlink(ours))
    peer_wall, _, _ = measured(["tcpdump", "-r", path, "-w", theirs])
    for f in (ours, theirs):
        os.unlink(f)
    add(f"raw export, {label}", packets / wall, "packets/s", "tcpdump -w", packets / peer_wall, peak, "5 M")


def counted(out):
    return int(re.search(rb"\d+", out).group())


def bench_count(label, path, packets, folder, expression):
    wall, peak, out = measured([ATOLL, "-A", folder, "query", "--quiet", "--json", "--count", "--jobs", "1",
                                   "--filter", expression])
    peer_wall, _, peer_out = measured(["tcpdump", "--count", "-r", path, expression])
    mine = json.loads(out)["packets"]
    if mine != counted(peer_out):
        raise Failed(f"count {expression}: {mine}, tcpdump says {counted(peer_out)}")
    add(f"count {expression}, one core, {label}", packets / wall, "packets/s", "tcpdump --count", packets / peer_wall, peak,
        "60 M")


def some_host(path):
    """An address of the long trace that has few packets: the tenth rarest of those that occur 5 to 20 times in a sample."""
    note = path + ".host"
    if not os.path.exists(note):
        out = subprocess.run(["tcpdump", "-nn", "-q", "-t", "-c", "300000", "-r", path, "ip and (tcp or udp)"], check=True,
                             capture_output=True).stdout.decode("ascii", "replace")
        seen = {}
        for a in re.findall(r"^IP (\d+\.\d+\.\d+\.\d+)\.\d+ >", out, re.M):
            seen[a] = seen.get(a, 0) + 1
        few = sorted((n, a) for a, n in seen.items() if 5 <= n <= 20)
        with open(note, "w", encoding="ascii") as f:
            f.write(few[min(10, len(few) - 1)][1])
    with open(note, encoding="ascii") as f:
        return f.read()


def bench_host(label, path, folder, large):
    host = some_host(path)
    out, peer_out = os.path.join(DATA, "host.pcap"), os.path.join(DATA, "host-peer.pcap")

    def find(where):
        return measured([ATOLL, "-A", where, "export", "--quiet", "--raw", "--filter", f"host {host}", "-o", out],
                        prepare=lambda: os.path.exists(out) and os.unlink(out))
    wall, peak, _ = find(folder)
    peer_wall, _, _ = measured(["tcpdump", "-r", path, "-w", peer_out, "host", host])
    if count_now(out) != count_now(peer_out):
        raise Failed(f"host {host}: {count_now(out)} packets, tcpdump finds {count_now(peer_out)}")
    add(f"one host, {label}", wall * 1000, "ms", "tcpdump -w host", peer_wall * 1000, peak, "100 x")
    if large:
        wall_large, peak, _ = find(large)
        add("one host, archive ten times larger", wall_large * 1000, "ms", "the archive as it was", wall * 1000, peak,
            "> 0.5 x")


def count_now(path):
    return counted(subprocess.run(["tcpdump", "--count", "-r", path], check=True, capture_output=True).stdout)


def larger(path):
    """An archive with the long trace and nine generated ones of the same length; kept between runs of one program."""
    folder = archive("large")
    fresh(folder)
    measured_once([ATOLL, "-A", folder, "import", "--quiet", "--headers-only", "--stream", "bench", path])
    for seed in range(9):
        print(f"  importing {seed + 2} of 10", flush=True)
        gen = subprocess.Popen([GEN, "--packets", str(PACKETS), "--seed", str(seed + 2), "--hosts", "113000", "--snaplen", "96",
                                "--start", str(1767600000 + seed * 86400), "-"], stdout=subprocess.PIPE)
        subprocess.run([ATOLL, "-A", folder, "import", "--quiet", "--headers-only", "--stream", f"gen{seed}", "-"],
                       stdin=gen.stdout, check=True)
        gen.stdout.close()
        gen.wait()
    return folder


def bench_programs(real, long, anonymize):
    for program in os.environ.get("BENCH_PROGRAMS", "").split():
        if os.path.basename(program) == collect.DRIVER or (os.path.basename(program) == "bench_anonymize") != anonymize:
            continue
        _, peak, out = measured_once([os.path.join(TOP, program), real, long])
        for line in out.splitlines():
            row = json.loads(line)
            add(row["name"], row["value"], row["unit"], row.get("peer"), row.get("peer_value"),
                row.get("peak_rss_bytes", peak), row.get("aim"))


def attempt(name, function, *args):
    if not wanted(name):
        return
    try:
        function(*args)
    except (Failed, OSError, ValueError, KeyError, subprocess.CalledProcessError) as e:
        print(f"  no row for {name}: {e}", flush=True)
        attempt.failed += 1


attempt.failed = 0


def main():
    sets = data()
    (real_label, real, real_packets), (long_label, long, long_packets) = sets
    print(f"{'what':44}  {'atoll':>21}  {'peer':28}  {'':21}  {'ratio':>10}  {'peak':>10}")
    folders = [archive("real"), archive("long")]
    for (label, path, packets), folder in zip(sets, folders):
        attempt("import", bench_import, label, path, packets, folder)
    attempt("size", bench_size, real_label, real_packets, folders[0], "6.3, better 5.5", True)
    attempt("size", bench_size, long_label, long_packets, folders[1], "9.8", False)
    attempt("encode", bench_programs, real, long, False)
    attempt("anonymize", bench_programs, real, long, True)
    warm(long)
    attempt("count", bench_count, long_label, long, long_packets, folders[1], "tcp port 443")
    attempt("export", bench_export, long_label, long, long_packets, folders[1])
    if wanted("host"):
        large = None
        if not FAST:
            try:
                large = larger(long)
            except (Failed, OSError, subprocess.CalledProcessError) as e:
                print(f"  no larger archive: {e}")
        attempt("host", bench_host, long_label, long, folders[1], large)
        shutil.rmtree(archive("large"), ignore_errors=True)
    collect.bench_all(sys.modules[__name__], long_label, real, long, long_packets)
    with open(os.path.join(BUILD, "bench.json"), "w", encoding="ascii") as f:
        json.dump(rows, f, indent=1)
        f.write("\n")
    peaks = [r["peak_rss_bytes"] for r in rows if r["peak_rss_bytes"]]
    if peaks:
        print(f"largest peak {max(peaks) / 1048576:.0f} MiB (at most 256)")
    print(f"wrote {os.path.relpath(os.path.join(BUILD, 'bench.json'), TOP)}")
    return 1 if attempt.failed else 0


if __name__ == "__main__":
    sys.exit(main())
