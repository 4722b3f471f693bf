#!/usr/bin/env python3
"""A bad network between collector and archive (kit/proxy.py), and somebody in it: connections cut at any byte, held without
a word, chopped and delayed, slow; a flipped bit in each of the first bytes of either direction and at random; every
connection made twice; recorded connections played again to the archive and to a collector. The collector must come through
without help, with everything stored once; nobody who replays must have any effect.
"""
# waits
import queue
import random
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
from kit import remote as r     # noqa: E402
from kit import traces as t     # noqa: E402
from kit.proxy import *         # noqa: E402,F403
from kit.results import *       # noqa: E402,F403

LANES = 32
FLIPPED = 300     # each of the first bytes, both ways
CASE_SECONDS = 150


class Lane:
    """A monitor of the one site, behind a proxy of its own."""

    def __init__(self, site, number):
        self.site = site
        self.proxy = Proxy(site.port)
        self.proxy.__enter__()
        self.name = f"m{number}"
        self.collector = r.Collector(site, self.name, port=self.proxy.port).enrol()
        self.cases = []

    def case(self, number, first, later=None):
        """Pushes one case; the first connection goes this way, later ones that. Words, or None."""
        self.proxy.ways.clear()
        self.proxy.plan = lambda i: first if i == 0 else later(i) if later else Way()
        files = small.make(self.site.folder, number)
        done = self.collector.push(*files, timeout=CASE_SECONDS, options=("--wait",))
        for path in files:
            os.unlink(path)
        if done.code != 0:
            return f"push ends with {done}"
        self.cases.append(number)
        return r.difference(self.site.export("-s", f"{self.name}/s", *small.range(number)), small.bag(number))


def run_cases(lanes, made):
    """made: (group, label, way of the first connection, ways of later ones or None)."""
    todo, bad, took = queue.Queue(), {}, {}
    for i, case in enumerate(made):
        todo.put((i, case))
        bad.setdefault(case[0], [])
        took.setdefault(case[0], [])

    def work(lane):
        while True:
            try:
                number, (group, label, first, later) = todo.get_nowait()
            except queue.Empty:
                return
            began = time.monotonic()
            try:
                words = lane.case(number, first, later)
            except Exception as e:  # the other cases of this lane are to go on
                words = f"{type(e).__name__}: {e}"
            took[group].append((time.monotonic() - began, label))
            if words:
                bad[group].append(f"{label}: {shown(words)}")
    threads = [threading.Thread(target=work, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for group in bad:
        seconds = sorted(took[group])
        print(f"# {group}: {len(seconds)} cases, median {seconds[len(seconds) // 2][0]:.1f} s, longest "
              f"{seconds[-1][0]:.1f} s ({seconds[-1][1]})")
        ok(f"comes_through_{group}", not bad[group], f"{len(bad[group])} of {len(seconds)};", bad[group][:6])


def session_bytes(lane):
    """How many bytes a session of one case has, each way."""
    way = Way()
    words = lane.case(900, way)
    if words:
        raise r.Trouble(words)
    return len(way.recorded[UP]), len(way.recorded[DOWN])


def cases(up, down):
    chance = random.Random(4)
    print(f"# a session has {up} bytes up, {down} down")
    # the slow ones first: a held connection is given up after a minute of silence
    made = [("half_open", f"held {d} at {at}", Way(hold={d: at}), None)
            for d, at in ((UP, up // 2), (DOWN, down * 3 // 4), (UP, 50), (DOWN, 20))]
    for d, whole in (UP, up), (DOWN, down):
        name = "up" if d == UP else "down"
        for at in range(min(FLIPPED, whole)):
            made.append((f"a_flipped_bit_{name}", f"byte {at}", Way(flips={(d, at): chance.randrange(8)}), None))
        for _ in range(30):
            at = chance.randrange(whole)
            made.append((f"a_flipped_bit_at_random_{name}", f"byte {at}", Way(flips={(d, at): chance.randrange(8)}), None))
        for _ in range(30):
            at = chance.randrange(whole)
            made.append((f"a_cut_{name}", f"at {at}", Way(cut={d: at}), None))
    for seed in range(20):
        made.append(("chopped_and_delayed", f"seed {seed}", Way(chop=0.3, delay=0.05, seed=seed), None))
        made.append(("byte_by_byte", f"seed {seed}", Way(chop=0.95, delay=0.002, seed=seed), None))
    for rate in 3000, 20000:
        made.append(("slow", f"{rate} bytes/s", Way(rate=rate), None))
    for seed in range(6):  # the second connection is bad as well
        made.append(("cut_twice", f"seed {seed}", Way(cut={UP: 100 + 40 * seed}),
                     lambda i, s=seed: Way(cut={DOWN: 60 + 20 * s}) if i == 1 else Way()))
    # a length that was changed makes its reader wait, so these take long, too
    made.sort(key=lambda case: case[0] != "half_open" and case[1] not in ("byte 62", "byte 63", "byte 165", "byte 166", "byte 167"))
    return made


# --- replays ---

def played(port, data, pause=0.0):
    """What a server answers to these bytes."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as s:
        try:
            for at in range(0, len(data), 16384):
                s.sendall(data[at:at + 16384])
                time.sleep(pause)
            s.shutdown(socket.SHUT_WR)
            while more := s.recv(65536):
                answer += more
        except OSError:
            pass  # it has had enough
    return answer


def replays(lane, site):
    lane.proxy.record = True
    way = Way()
    words = lane.case(901, way)
    lane.proxy.record = False
    ok("a_session_is_recorded", not words and way.recorded[UP], words)
    before, monitors = site.export(), site.monitors()
    up = bytes(way.recorded[UP])
    sizes = {n: len(played(site.port, up[:n])) for n in (12, 110, 300, len(up))}
    for _ in range(20):
        played(site.port, up)
    same("a_session_that_is_played_again_stores_nothing", sum(site.export().values()), sum(before.values()))
    after = site.monitors()
    same("nor_does_it_change_how_its_monitor_stands", [(m, x["state"], x["records"], x["parcels"]) for m, x in after.items()],
         [(m, x["state"], x["records"], x["parcels"]) for m, x in monitors.items()])
    ok("it_gets_no_more_than_the_handshake", max(sizes.values()) <= 12 + 50, sizes)
    # all of it changed a little
    chance = random.Random(7)
    for _ in range(60):
        bad = bytearray(up)
        for _ in range(chance.choice((1, 1, 3, 20))):
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        played(site.port, bytes(bad[:chance.randrange(12, len(bad))]))
    same("nor_does_one_with_other_bytes", sum(site.export().values()), sum(before.values()))
    return way


def false_archive(lane, way):
    """A collector that is answered with what the archive said to it once: acknowledgements too."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.2)
    over = threading.Event()

    def answer():
        while not over.is_set():
            try:
                s, _ = server.accept()
            except TimeoutError:
                continue
            with s:
                s.settimeout(2)
                try:
                    s.sendall(way.recorded[DOWN])
                    while s.recv(65536):
                        pass
                except OSError:
                    pass
    thread = threading.Thread(target=answer)
    thread.start()
    kept, lane.proxy.to = lane.proxy.to, server.getsockname()[1]
    lane.proxy.plan = lambda i: Way()
    files = small.make(lane.site.folder, 902)
    process = lane.collector.start_push(*files, options=("--wait",))
    time.sleep(4)
    ok("a_collector_does_not_believe_a_recorded_archive", process.poll() is None and lane.collector.parcels_left() > 0,
       process.poll(), lane.collector.tail())
    lane.proxy.to = kept
    over.set()
    thread.join()
    server.close()
    lane.proxy.cut_all()
    code = process.wait(CASE_SECONDS)
    words = r.difference(lane.site.export("-s", f"{lane.name}/s", *small.range(902)), small.bag(902))
    ok("and_sends_to_the_right_one_afterwards", code == 0 and not words, code, words, lane.collector.tail())


class Doubled(Proxy):
    """Whatever a collector sends goes to the archive over two connections at once; the answers of one are thrown away."""

    async def pump(self, way, direction, reader, writer, both):
        if direction == DOWN:
            return await super().pump(way, direction, reader, writer, both)
        twin_reader, twin = await asyncio.open_connection("127.0.0.1", self.to)
        drain = asyncio.ensure_future(self.swallow(twin_reader))
        try:
            while data := await reader.read(CHUNK):
                for w in (twin, writer):
                    if not w.transport.is_closing():
                        w.write(data)
                await writer.drain()
            writer.write_eof()
        except (ConnectionError, OSError):
            pass
        finally:
            twin.transport.abort()
            drain.cancel()

    @staticmethod
    async def swallow(reader):
        try:
            while await reader.read(CHUNK):
                pass
        except (ConnectionError, OSError):
            pass


def doubled(site):
    with Doubled(site.port) as proxy:
        lane = Lane.__new__(Lane)
        lane.site, lane.proxy, lane.name, lane.cases = site, proxy, "twice", []
        lane.collector = r.Collector(site, "twice", port=proxy.port)
        try:
            lane.collector.enrol()
        except r.Trouble as e:
            ok("enrols_over_two_connections_at_once", False, e)
            return
        words = [w for n in range(903, 909) if (w := lane.case(n, Way()))]
        ok("every_connection_is_made_twice", not words, words)


def main():
    folder = fast_folder("link")
    global small
    small = r.Traces(os.path.join(folder, "traces"), packets=60, files=2)
    site = r.Site(os.path.join(folder, "site"))
    site.start()
    lanes = [Lane(site, i) for i in range(LANES)]
    lanes[0].proxy.record = True
    up, down = session_bytes(lanes[0])
    lanes[0].proxy.record = False
    run_cases(lanes, cases(up, down))
    way = replays(lanes[1], site)
    false_archive(lanes[1], way)
    doubled(site)
    states = {m: x["state"] for m, x in site.monitors().items() if x["state"] != "enrolled"}
    ok("no_monitor_is_blamed_for_the_network", not states, states)
    ok("no_process_died", "killed" not in site.tail(100000), site.tail())
    ok("the_server_stops_in_order", site.stop() == 0, site.tail())
    words = site.fsck()
    ok("fsck_finds_nothing", not words, words)
    for lane in lanes:
        lane.proxy.__exit__()


scratch()
small = None
if r.ready("all_of_it"):
    main()
finish()
