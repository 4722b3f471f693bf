#!/usr/bin/env python3
"""A live capture in two network namespaces with a veth pair between them: numbered frames are sent through a raw socket in one, and
captured in the other. Every frame arrives exactly once; the link goes down and up; the archive is away for longer than the
spool can hold, with either policy: what is stored and what is counted as lost are together what was sent. 30 % loss,
repeated and reordered packets between collector and archive.
"""
# waits

import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from kit import badlink         # noqa: E402
from kit import remote as r     # noqa: E402
from kit import traces as t     # noqa: E402
from kit.results import *       # noqa: E402,F403

# the sender runs in its namespace: NAME COUNT FIRST PER_SECOND BYTES
SENDER = """
import os, socket, struct, sys, time
name, count, first, rate, size = sys.argv[1], *map(int, sys.argv[2:6])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((name, 0))
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
began, sent, refused = time.monotonic(), 0, 0
while sent + refused < count:
    for _ in range(min(50, count - sent - refused)):
        n = first + sent + refused
        frame = (b"\\x02\\0\\0\\0\\0\\x02\\x02\\0\\0\\0\\0\\x01\\x08\\0\\x45\\0" + struct.pack(">HH", 28 + size, n & 65535) +
                 b"\\0\\0\\x40\\x11\\0\\0\\x0a\\0\\0\\x01\\x0a\\0\\0\\x02" + struct.pack(">IHH", n, 8 + size, 0) + os.urandom(size))
        try:
            s.send(frame)
            sent += 1
        except OSError:
            refused += 1
    ahead = (sent + refused) / rate - (time.monotonic() - began)
    if ahead > 0:
        time.sleep(ahead)
print(sent, refused)
"""


def ip(*words):
    got = run("ip", *words)
    if got.code != 0:
        raise r.Trouble(f"ip {' '.join(words)}: {got}")


class Wire:
    """Namespaces `near` (frames are sent there, and the archive serves) and `far` (the collector), linked twice: cap0-cap1 for what is
    captured, ctl0-ctl1 for the session."""

    def __init__(self):
        self.near, self.far = f"atoll-near-{os.getpid()}", f"atoll-far-{os.getpid()}"

    def __enter__(self):
        for name in self.near, self.far:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        for kind in "cap", "ctl":
            ip("-n", self.near, "link", "add", f"{kind}0", "type", "veth", "peer", "name", f"{kind}1", "netns", self.far)
            for space, end in (self.near, f"{kind}0"), (self.far, f"{kind}1"):
                run("ip", "netns", "exec", space, "sysctl", "-qw", f"net.ipv6.conf.{end}.disable_ipv6=1")
                ip("-n", space, "link", "set", end, "up")
        ip("-n", self.near, "addr", "add", "10.99.0.1/24", "dev", "ctl0")
        ip("-n", self.far, "addr", "add", "10.99.0.2/24", "dev", "ctl1")
        return self

    def __exit__(self, *_):
        for name in self.near, self.far:
            run("ip", "netns", "del", name)

    def inside(self, name, *command, **more):
        return run("ip", "netns", "exec", name, *command, **more)

    def start(self, count, first=0, rate=5000, size=20):
        return subprocess.Popen(["ip", "netns", "exec", self.near, sys.executable, "-c", SENDER, "cap0", str(count), str(first), str(rate),
                                 str(size)], stdout=subprocess.PIPE, text=True, start_new_session=True)

    def send(self, *arguments, **more):
        out, _ = self.start(*arguments, **more).communicate(timeout=120)
        return tuple(int(n) for n in out.split())


def numbered(packets):
    return [(p, n) for p, n in packets.items() if len(p.data) >= 38 and p.data[12:14] == b"\x08\0"]


def seen(site, name):
    """{number: how often}"""
    found = r.Counter()
    for p, n in numbered(site.export("-s", f"{name}/cap1")):
        found[struct.unpack_from(">I", p.data, 34)[0]] += n
    return found


def captures(wire, collector, *options):
    """A running capture; waits until it is at work."""
    run("chown", "-R", "nobody:", collector.folder)  # what it becomes
    process = collector.start("run", "-i", "cap1", "--promisc", "--user", "nobody", *options)
    time.sleep(1)
    if process.poll() is not None:
        raise r.Trouble(f"the capture ends with {process.returncode}: {collector.tail()}")
    return process


def drained(collector, seconds=40):
    try:
        return r.wait_until(lambda: collector.parcels_left() == 0, seconds, 0.2)
    except r.Trouble:
        return False


def monitor(wire, site, name):
    collector = r.Collector(site, name)
    collector.wrapper = ("ip", "netns", "exec", wire.far)
    return collector.enrol()


def every_frame(wire, site):
    collector = monitor(wire, site, "live")
    captures(wire, collector)
    sent, refused = wire.send(30000, 0, 10000)
    last = time.monotonic()
    while len(seen(site, "live")) < 30000 and time.monotonic() - last < 30:
        time.sleep(0.1)
    print(f"# all could be queried {time.monotonic() - last:.1f} s after the last")  # how soon is for the benchmark to say
    same("frames_can_be_queried_soon_after_the_last", len(seen(site, "live")), 30000, refused)
    code = collector.stop()
    same("a_capture_ends_in_order", code, 0, collector.tail())
    found = seen(site, "live")
    ok("every_frame_is_there_exactly_once", len(found) == sent == 30000 and set(found.values()) == {1}, len(found), sent,
       collector.status())


def link_down(wire, site):
    """Of the session, while frames come; then of the capture."""
    collector = monitor(wire, site, "shaky")
    captures(wire, collector)
    sender = wire.start(40000, 0, 5000)
    for _ in range(2):
        time.sleep(1)
        ip("-n", wire.far, "link", "set", "ctl1", "down")
        time.sleep(1.5)
        ip("-n", wire.far, "link", "set", "ctl1", "up")
    sent = int(sender.communicate(timeout=60)[0].split()[0])
    time.sleep(1.5)
    ok("the_spool_empties_after_a_link_that_came_and_went", drained(collector), collector.tail())
    ip("-n", wire.far, "link", "set", "cap1", "down")
    time.sleep(1)
    ip("-n", wire.far, "link", "set", "cap1", "up")
    time.sleep(1)
    more, _ = wire.send(2000, 40000, 2000)
    time.sleep(1.5)
    same("a_capture_goes_on_when_its_link_is_back", collector.stop(), 0, collector.tail())
    found = seen(site, "shaky")
    ok("every_frame_is_there_exactly_once_in_spite_of_the_links", len(found) == sent + more and set(found.values()) == {1},
       len(found), sent,
       more, collector.status())


def killed(wire, site):
    """The server's processes are killed while frames come."""
    collector = monitor(wire, site, "amid")
    captures(wire, collector)
    sender = wire.start(30000, 0, 5000)
    for role in "ingest", "store", "parent":
        time.sleep(1.2)
        if role == "parent":
            site.kill()
            site.start()
        else:
            r.kill(site.pid(role))
    sent = int(sender.communicate(timeout=60)[0].split()[0])
    time.sleep(1.5)
    ok("the_spool_empties_after_kills", drained(collector), collector.tail())
    same("the_capture_ends_in_order_after_kills", collector.stop(), 0, collector.tail())
    found = seen(site, "amid")
    ok("every_frame_is_there_exactly_once_in_spite_of_kills", len(found) == sent and set(found.values()) == {1}, len(found), sent,
       collector.status())


def spool_full(wire, site, policy):
    """More frames than the spool holds while the archive is away."""
    collector = monitor(wire, site, policy)
    captures(wire, collector, "--full", "--spool-bytes", "1 MiB", "--spool-full", policy)
    wire.send(500, 0, 500, size=400)
    drained(collector)
    site.stop()
    sent, _ = wire.send(6000, 500, 800, size=400)  # a parcel a second, of a third of the spool
    time.sleep(2)
    site.start()
    ok(f"the_spool_empties_with_policy_{policy}", drained(collector, 90), collector.tail())
    more = 0
    for _ in range(20):  # losses travel with the next parcel that finds room
        n, _ = wire.send(100, 6500 + more, 500, size=400)
        more += n
        time.sleep(1.5)
        drained(collector)
        told = site.monitors()[policy]["lost_spool"]
        if told and told == collector.status()["streams"][0]["lost"]["spool"]:
            break
    same(f"the_capture_ends_in_order_with_policy_{policy}", collector.stop(), 0, collector.tail())
    found, status = seen(site, policy), collector.status()["streams"][0]
    lost = sum(status["lost"].values())
    there = sum(found.values())
    same(f"stored_and_lost_are_what_was_sent_{policy}", there + lost, 500 + sent + more, there, status)
    ok(f"something_was_lost_{policy}", status["lost"]["spool"] > 0 and set(found.values()) == {1}, status)
    kept = sum(1 for n in found if 500 <= n < 3500) - sum(1 for n in found if 3500 <= n < 6500)
    ok(f"the_right_ones_were_lost_{policy}", kept > 0 if policy == "stop" else kept < 0, kept)
    m = site.monitors()[policy]
    same(f"the_archive_knows_it_{policy}", m["lost_spool"], status["lost"]["spool"], m)
    ok(f"the_gap_is_recorded_{policy}", m["gaps"] > 0, m)


def stop(wire, site):
    spool_full(wire, site, "stop")


def oldest(wire, site):
    spool_full(wire, site, "oldest")


def lossy(wire, site):
    """30 % of the packets between collector and archive are lost, others come twice or out of order."""
    if not os.path.exists("/dev/net/tun"):
        return skip("30_percent_loss", "this kernel has no TUN devices")
    with badlink.BadLink(wire.near, wire.far, loss=0.3) as link:
        ip("-n", wire.far, "route", "add", f"{site.host}/32", "via", badlink.NEAR)
        collector = monitor(wire, site, "lossy")
        captures(wire, collector, "--full")
        sent, _ = wire.send(20000, 0, 4000)
        ok("the_spool_empties_over_a_lossy_link", drained(collector, 120), collector.tail())
        same("a_capture_over_a_lossy_link_ends_in_order", collector.stop(60), 0, collector.tail())
        ip("-n", wire.far, "route", "del", f"{site.host}/32")
    print(f"# {link.lost} of {link.lost + link.passed} packets were lost; {collector.tail(100).count('trying again')} connections")
    found = seen(site, "lossy")
    ok("every_frame_is_there_exactly_once_in_spite_of_losses", len(found) == sent and set(found.values()) == {1}, len(found), sent)


def main():
    with Wire() as wire:
        site = r.Site("site")
        site.host, site.wrapper = "10.99.0.1", ("ip", "netns", "exec", wire.near)
        site.start()
        for part in every_frame, link_down, killed, stop, oldest, lossy:
            try:
                part(wire, site)
            except Exception as e:  # the others are to be tried as well
                ok(f"{part.__name__}_runs", False, type(e).__name__, e)
            if not site.running():
                site.start()
        same("the_server_stops_in_order", site.stop(), 0)
        words = site.fsck()
        ok("fsck_finds_nothing", not words, words)


scratch()
if not r.ROOT or not have("ip"):
    skip("all_of_it", "network namespaces want root and iproute2")
elif run("ip", "netns", "add", f"atoll-try-{os.getpid()}").code != 0:
    skip("all_of_it", "this system does not let us make network namespaces")
elif r.ready("all_of_it"):
    run("ip", "netns", "del", f"atoll-try-{os.getpid()}")
    os.chdir(fast_folder("live"))
    os.chmod(".", 0o755)
    main()
finish()
