#!/usr/bin/env python3
"""5,000 silent connections from the address that an honest collector has, too, made again as soon as the archive closes them:
then some of them say who they are, and some send a first message that is none. The collector pushes as it does without them,
and takes not much longer.
"""
import random
import resource
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from kit import remote as r     # noqa: E402
from kit.results import *       # noqa: E402,F403

CONNECTIONS = 5000
AGAIN_PER_S = 1000  # of those that were closed
PUSHES = 12
RATIO_MAX = 5       # the flood needs half a processor of its own


def flood(port):
    """In a process of its own; "flooding" on its output when the first 5,000 are made. Ends when its input does."""
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, min(CONNECTIONS + 100, hard)), hard))
    chance = random.Random(1)
    preamble = b"ATOLLWIR\1\0\1\0"
    first = preamble + struct.pack("<H", 96)
    watch = selectors.DefaultSelector()
    watch.register(sys.stdin, selectors.EVENT_READ)
    due, made, began, told = CONNECTIONS, 0, time.monotonic(), False
    while True:
        allowed = CONNECTIONS + int((time.monotonic() - began) * AGAIN_PER_S)
        for _ in range(min(due, allowed - made, 100)):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", port))
            watch.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE)
            due -= 1
            made += 1
        if not told and made >= CONNECTIONS:
            told = True
            print("flooding", flush=True)
        for key, events in watch.select(0.01):
            if key.fileobj is sys.stdin:
                print(made)
                return
            s, gone = key.fileobj, False
            try:
                if events & selectors.EVENT_READ:
                    gone = not s.recv(4096)
                elif events & selectors.EVENT_WRITE:
                    if made > CONNECTIONS:
                        s.send(chance.choice((b"", b"", b"", preamble, first + chance.randbytes(96))))
                    watch.modify(s, selectors.EVENT_READ)
            except OSError:
                gone = True
            if gone:
                watch.unregister(s)
                s.close()
                due += 1


def pushes(collector, numbers):
    """Seconds of each push, and how many of them had to connect again."""
    took, again = [], 0
    for i in numbers:
        files = small.make(collector.site.folder, i)
        began = time.monotonic()
        done = collector.push(*files)
        took.append(time.monotonic() - began)
        for path in files:
            os.unlink(path)
        if done.code != 0:
            raise r.Trouble(f"push {i} ends with {done}")
        again += "trying again" in done.err
    return statistics.median(took), again


def main():
    global small
    folder = fast_folder("flood")
    small = r.Traces(os.path.join(folder, "traces"), packets=2000, files=2)
    site = r.Site(os.path.join(folder, "site"))
    site.start()
    collector = r.Collector(site, "m").enrol()
    pushes(collector, [0])
    alone, _ = pushes(collector, range(1, PUSHES + 1))
    flooder = subprocess.Popen([sys.executable, __file__, str(site.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        same("the_flood_is_there", flooder.stdout.readline(), b"flooding\n")
        amid, again = pushes(collector, range(PUSHES + 1, 2 * PUSHES + 1))
        one = r.Collector(site, "new").enrol()
        same("a_monitor_enrols_amid_it", one.push(*small.make(folder, 0)).code, 0)
    finally:
        made = flooder.communicate()[0].decode().strip()
    print(f"# {made} connections; a push takes {amid / alone:.2f} times as long as without them, {again} connected again")
    ok("a_push_amid_the_flood_takes_not_much_longer", amid <= RATIO_MAX * alone, f"{alone:.3f} s, {amid:.3f} s")
    ok("nearly_all_come_through_at_the_first_connection", again <= PUSHES // 4, f"{again} of {PUSHES} connected again")
    words = r.difference(site.export("-s", "m/s"), small.bag(*range(2 * PUSHES + 1)))
    ok("all_of_it_is_stored", not words, words)
    same("the_server_stops_in_order", site.stop(), 0)


if len(sys.argv) == 2 and sys.argv[1].isdigit():
    flood(int(sys.argv[1]))
    sys.exit(0)
scratch()
small = None
if r.ready("all_of_it"):
    main()
finish()
