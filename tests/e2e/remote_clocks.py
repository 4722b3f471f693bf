#!/usr/bin/env python3
"""Clocks that are ten years off, on either side, from the start or while both are at work (tests/fault/skew.c): everything that was
pushed is stored once, `monitors` shows the offset, fsck finds nothing, and nothing is removed for its age because of it. The archive
removes what is older than 30 days, and merges after a second. The times of files are those of the true clock.
"""
# waits
import itertools
import json
import signal
import struct
import sys
import time

sys.dont_write_bytecode = True
from kit import remote as r     # noqa: E402
from kit.proxy import *         # noqa: E402,F403
from kit.results import *       # noqa: E402,F403

YEARS = 10 * 365 * 86400
CONFIG = r.CONFIG + "age = 30d\n[merge]\nage = 1s\n"
SLOW = 10000  # bytes a second, so that there is time for jumps, on a machine under load, too
JUMPS = (YEARS, -YEARS, 0, -YEARS, YEARS, 0)
numbers = itertools.count()


class Clock:
    """Of one side."""

    def __init__(self, folder, name):
        self.path = os.path.join(folder, name)
        self.set(0)
        self.env = {"LD_PRELOAD": os.path.join(os.path.dirname(SHIM), "skew.so"), "ATOLL_SKEW": self.path}

    def set(self, seconds):
        with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as f:
            f.write(struct.pack("<q", seconds))


def stored(site, name):
    words = r.difference(site.export(), small.bag(*range(pushed)))
    ok(f"everything_is_there_once_{name}", not words, words, site.tail(3))


def push(site, collector, clock, jumps=()):
    """One more case; words about what is wrong."""
    global pushed
    files = small.make(site.folder, next(numbers))
    process = collector.start_push(*files, env=clock.env)
    late = 0
    for which, seconds in jumps:
        time.sleep(0.15)
        late += process.poll() is not None
        which.set(seconds)
    code = process.wait(60)
    pushed += 1
    if late > 1:
        return f"{late} of {len(jumps)} jumps came too late"
    for path in files:
        os.unlink(path)
    return None if code == 0 else f"push ends with {code}: {collector.tail(4)}"


def apart(site, collector, ours, theirs):
    """The server runs with one clock, the collector with another."""
    for server, monitor in ((0, 0), (0, YEARS), (0, -YEARS), (YEARS, 0), (-YEARS, 0), (YEARS, -YEARS), (-YEARS, YEARS), (0, 0)):
        name = f"server_{server // YEARS * 10:+}_years_monitor_{monitor // YEARS * 10:+}_years"
        ours.set(server)
        theirs.set(monitor)
        site.start(env=ours.env)
        words = push(site, collector, theirs)
        m = site.monitors()["m"]
        ok(f"a_push_comes_through_{name}", not words, words)
        ok(f"the_monitor_is_not_blamed_{name}", m["state"] == "enrolled", m)
        offset = m["clock_offset_seconds"]
        ok(f"the_offset_is_shown_{name}", abs(offset - (monitor - server)) < 60, m)
        time.sleep(2)  # merging and retention look once a second
        stored(site, name)
        doubtful = json.loads(site.verb("monitors", "--json").text)["clock_doubtful"]
        same(f"the_clock_is_doubted_when_it_is_ahead_{name}", doubtful, server > 0)
        ok(f"the_server_stops_in_order_{name}", site.stop() == 0, site.tail(3))


def jumping(site, collector, proxy, ours, theirs):
    """Both ways while a push is under way: the collector's clock, the server's, both."""
    proxy.plan = lambda number: Way(rate=SLOW)
    for name, clocks in (("collector", (theirs,)), ("server", (ours,)), ("both", (ours, theirs))):
        site.start(env=ours.env)
        words = push(site, collector, theirs, [(c, s) for s in JUMPS for c in clocks])
        ok(f"a_push_comes_through_while_the_clock_jumps_{name}", not words, words, site.tail(3))
        ok(f"no_monitor_is_blamed_for_jumps_{name}", site.monitors()["m"]["state"] == "enrolled")
        time.sleep(2)
        stored(site, f"after_jumps_{name}")
        ok(f"the_server_stops_in_order_after_jumps_{name}", site.stop() == 0, site.tail(3))
    words = site.fsck()
    ok("fsck_finds_nothing_after_jumps", not words, words)


def believed(site, ours):
    """The guard is what kept it: the operator's word removes it all."""
    ours.set(YEARS)
    site.start(env=ours.env)
    time.sleep(2)
    stored(site, "with_a_clock_that_nobody_confirms")
    ok("the_log_says_what_is_the_matter", "believed last" in site.tail(100), site.tail())
    site.server.send_signal(signal.SIGHUP)
    gone = r.wait_until(lambda: json.loads(site.verb("stat", "--json").text)["packets"] == 0, 20, 0.2)
    ok("what_the_operator_confirms_is_removed", gone and not site.export(), site.tail())
    site.stop()
    words = site.fsck()
    ok("fsck_finds_nothing_after_the_removal", not words, words)


def main():
    global small
    folder = fast_folder("clocks")
    small = r.Traces(os.path.join(folder, "traces"), packets=2000, files=2)
    site = r.Site(os.path.join(folder, "site"), CONFIG)
    ours, theirs = Clock(folder, "ours"), Clock(folder, "theirs")
    site.start()
    with Proxy(site.port) as proxy:
        collector = r.Collector(site, "m", port=proxy.port).enrol()
        site.stop()
        apart(site, collector, ours, theirs)
        words = site.fsck()
        ok("fsck_finds_nothing", not words, words)
        jumping(site, collector, proxy, ours, theirs)
    believed(site, ours)


scratch()
small, pushed = None, 0
if r.ready("all_of_it"):
    main()
finish()
