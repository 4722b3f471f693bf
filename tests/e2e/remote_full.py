#!/usr/bin/env python3
"""Disks that are full: the archive's (collectors wait, queries go on, it goes on by itself when there is room, nothing is lost) and
the spool's (files that are pushed wait; what a capture loses is counted: remote_live.py)."""
# waits
import json
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from kit import remote as r     # noqa: E402
from kit import traces as t     # noqa: E402
from kit.results import *       # noqa: E402,F403

MOUNTED = []


def small_disk(path, megabytes):
    """A file system of its own, or None."""
    os.makedirs(path, exist_ok=True)
    if not r.ROOT or run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path).code != 0:
        return None
    MOUNTED.append(path)
    return path


def trace(path, packets, seed, start):
    return gen(path, "--packets", packets, "--seed", seed, "--snaplen", 96, "--start", start)


def reference(path):
    """What an import of the file gives back, as a bag."""
    if not os.path.exists("reference"):
        init("reference")
    name = os.path.basename(path)
    run(ATOLL, "-A", "reference", "import", "-q", "--again", "--headers-only", "--stream", name, path)
    run(ATOLL, "-A", "reference", "export", "--raw", "-q", "-s", name, "-o", "reference.pcap")
    return r.Counter(t.whole("reference.pcap"))


# --- the archive's disk ---

def archive_full():
    disk = small_disk(os.path.abspath("disk"), 96)
    if disk is None:
        return skip("a_full_disk_of_the_archive", "a small file system can only be mounted by root")
    site = r.Site("site", r.CONFIG, archive=os.path.join(disk, "archive"))
    site.start()
    collector = r.Collector(site, "m").enrol()
    first = trace("first.pcap", 5000, 1, 1767600000)
    must("a_first_trace_is_taken", collector.push(first), 0)
    ballast = os.path.join(disk, "ballast")
    with open(ballast, "wb") as f:
        try:
            while True:
                f.write(bytes(1 << 16))
                f.flush()
        except OSError:
            pass
    second = [trace(f"second{i}.pcap", 60000, 10 + i, 1767700000 + 4000 * i) for i in range(3)]
    push = collector.start_push(*second, options=("--wait",))
    time.sleep(6)
    same("the_collector_waits", push.poll(), None)
    ok("and_keeps_what_is_not_stored", collector.parcels_left() > 0, collector.tail())
    same("queries_go_on", json.loads(site.verb("query", "--count", "--json").text)["packets"] >= 5000, True)
    ok("exports_too", sum(site.export("--until", "1767690000").values()) == 5000)
    must("monitors_are_listed", site.verb("monitors"), 0)
    same("the_server_lives", site.running(), True)
    os.unlink(ballast)
    try:
        code = push.wait(90)
    except subprocess.TimeoutExpired:
        code = "timeout"
    same("it_goes_on_by_itself_when_there_is_room", code, 0, collector.tail(), site.tail())
    wanted = sum((reference(p) for p in (first, *second)), r.Counter())
    words = r.difference(site.export(), wanted)
    ok("nothing_is_lost_or_twice", not words, words)
    same("the_server_stops_in_order", site.stop(), 0)
    words = site.fsck()
    ok("fsck_finds_nothing_after_a_full_disk", not words, words)


def shim_full():
    """The same without root: every write below the archive fails from some step on, then the server is started anew."""
    site = r.Site("shimmed")
    site.start()
    collector = r.Collector(site, "m").enrol()
    site.stop()
    first = trace("third.pcap", 3000, 5, 1767600000)
    wanted = reference(first)
    for step in 3, 8, 14, 20, 27:
        if not site.start(env=r.shim(f"errno:ENOSPC:{step}+", below=site.archive, process="atoll-store"), sandbox=False):
            site.start(sandbox=False)
        push = collector.start_push(first, options=("--again", "--wait"))
        time.sleep(1.5)
        site.kill()
        site.start()
        try:
            code = push.wait(60)
        except subprocess.TimeoutExpired:
            code = "timeout"
            push.kill()
        site.stop()
        same(f"goes_on_after_a_disk_that_was_full_from_step_{step}", code, 0, collector.tail(), site.tail())
    got = site.export()
    ok("each_packet_is_there_once_for_each_push", got == r.Counter({p: 5 * n for p, n in wanted.items()}),
       sum(got.values()), sum(wanted.values()))
    words = site.fsck()
    ok("fsck_finds_nothing_after_failing_writes", not words, words)


# --- the spool's disk ---

def stored(site, name):
    return sum(site.export("-s", f"{name}/s").values())


def spool_full(site):
    """No archive to be reached while three times the spool is pushed: files wait, whatever the policy."""
    collector = r.Collector(site, "waits", options=("--spool-bytes", "1 MiB", "--spool-full", "oldest")).enrol()
    site.stop()
    files = [trace(f"waits{i}.pcap", 12000, 50 + i, 1767800000 + 4000 * i) for i in range(24)]
    push = collector.start_push(*files, options=("--wait",))
    time.sleep(4)
    same("with_a_full_spool_a_push_waits", push.poll(), None, collector.tail())
    site.start()
    try:
        code = push.wait(120)
    except subprocess.TimeoutExpired:
        code = "timeout"
    same("and_goes_on_when_the_archive_is_back", code, 0, collector.tail())
    same("nothing_is_lost_of_it", collector.status()["streams"][0]["lost"]["spool"], 0)
    wanted = sum((reference(p) for p in files), r.Counter())
    words = r.difference(site.export("-s", "waits/s"), wanted)
    ok("all_of_it_is_there_once", not words, words)


def spool_disk_full(site):
    """The disk below the spool has no room, not the spool's own limit."""
    disk = small_disk(os.path.abspath("spooldisk"), 2)
    if disk is None:
        return skip("a_full_disk_of_the_spool", "a small file system can only be mounted by root")
    collector = r.Collector(site, "tight", folder=os.path.join(disk, "c")).enrol()
    site.stop()
    files = [trace(f"tight{i}.pcap", 60000, 70 + i, 1767900000 + 4000 * i) for i in range(6)]
    push = collector.start_push(*files, options=("--wait",))
    time.sleep(5)
    same("with_a_full_disk_a_push_waits", push.poll(), None, collector.tail())
    site.start()
    try:
        code = push.wait(120)
    except subprocess.TimeoutExpired:
        code = "timeout"
    same("and_goes_on_when_the_archive_took_some", code, 0, collector.tail())
    same("with_all_of_it", stored(site, "tight"), 6 * 60000, collector.status()["streams"])


def main():
    archive_full()
    shim_full()
    site = r.Site("spools")
    site.start()
    spool_full(site)
    spool_disk_full(site)
    site.stop()
    words = site.fsck()
    ok("fsck_finds_nothing_at_the_end", not words, words)


scratch()
try:
    if r.ready("all_of_it"):
        os.chdir(fast_folder("full"))
        main()
finally:
    r.end_all()
    for place in MOUNTED:
        subprocess.run(["umount", "-l", place], check=False)
finish()
