#!/usr/bin/env python3
"""kill -9 of the collector, the ingest process, the store process and the parent, at each step that changes a file, sends or makes a
process (tests/fault/shim.c) and at random moments, while a collector pushes. Afterwards, with everything started again by who
does that in life (the parent its children, this script the parent and the collector): the spool is empty, the archive has
exactly the packets that the files had, and fsck finds nothing.

Many small sites at once, because most of the time is spent waiting for a connection to be made again.

    REMOTE_KILLS=N    so many random cases more (make torture)
    REMOTE_SEED=N     other ones
"""
import itertools
import queue
import random
import shutil
import sys
import threading
import time

sys.dont_write_bytecode = True
from kit import remote as r     # noqa: E402
from kit.results import *       # noqa: E402,F403

LANES = 20
RANDOM_CASES = 300 + int(os.environ.get("REMOTE_KILLS", "0"))
SEED = int(os.environ.get("REMOTE_SEED", "1"))
POINTS_MIN = 1000
STEPS_MAX = 400
MERGING = r.CONFIG + "[merge]\nage = 1s\n"
LIVES = 3  # kills of one server's processes before it is started anew: its pauses grow


class Lane:
    """One archive, one monitor."""

    def __init__(self, folder, number):
        self.site = r.Site(os.path.join(folder, f"lane{number}"))
        self.collector = r.Collector(self.site, "m")
        self.case, self.lives = 0, 0
        self.site.start()
        self.collector.enrol()
        self.site.stop()
        for path in (self.site.archive, self.collector.folder):
            shutil.copytree(path, path + ".fresh")

    def reset(self):
        """As after the enrolment."""
        self.site.kill()
        self.lives = 0
        for path in (self.site.archive, self.collector.folder):
            shutil.rmtree(path)
            shutil.copytree(path + ".fresh", path)

    def up(self):
        if not self.site.running():
            self.site.start()
            self.lives = 0
        elif self.lives >= LIVES:
            self.site.kill()
            self.site.start()
            self.lives = 0

    def files(self):
        self.case += 1
        return traces.make(self.site.folder, self.case)

    def check(self, files):
        """Pushes what is not pushed yet; words about what is wrong then, or None."""
        done = self.collector.push(*files, timeout=90)
        for path in files:
            os.unlink(path)
        if done.code != 0:
            return f"push ends with {done}; server: {self.site.tail(4)}"
        left = self.collector.parcels_left()
        if left:
            return f"{left} parcels are still in the spool"
        words = r.difference(self.site.export(*traces.range(self.case)), traces.bag(self.case))
        return words or self.site.fsck()


# --- cases: each gives words about what went wrong, or None ---

def collector_dies(lane, kind, n):
    """The collector at its step n. A fresh one each time, so that the steps are the same."""
    if lane.case % 20 == 0:
        lane.reset()
    lane.up()
    files = lane.files()
    lane.collector.start_push(*files, env=r.shim(f"{kind}:{n}", below=lane.collector.folder, sends=True))
    code = lane.collector.process.wait(60)
    if code not in (-9, 0):
        return f"ended with {code}: {lane.collector.tail(3)}"
    return lane.check(files)


def wait_for_merge(lane, once):
    """Until what landed is in a segment, or the store died while it was at it and did it again."""
    folder = os.path.join(lane.site.archive, "segments")
    r.wait_until(lambda: [name for name in os.listdir(folder) if name.endswith(".seg")], 10, 0.03)
    r.wait_until(lambda: os.path.exists(once), 0.3, 0.03)


def server_dies(lane, process, below, kind, n, merging=False):
    """A process of the server at its step n, once."""
    lane.reset()
    lane.site.configure(MERGING if merging else r.CONFIG)
    once = os.path.join(lane.site.folder, "once")
    if os.path.exists(once):
        os.unlink(once)
    env = r.shim(f"{kind}:{n}", once=once, process=process, below=lane.site.archive if below else None, sends=not below)
    files = lane.files()
    for _ in range(2):  # one that dies before it was up ends the server
        if lane.site.start(env=env, sandbox=False):
            break
    words = lane.check(files)
    if merging and not words:
        wait_for_merge(lane, once)
    died = os.path.exists(once)
    code = lane.site.stop()
    if words or code != 0:
        return words or f"the server stops with {code}: {lane.site.tail(4)}"
    counted["merging" if merging else process] += died
    return lane.site.fsck() or r.difference(lane.site.export(), traces.bag(lane.case))


def parents_life(lane, env, files):
    """All that a parent does, as far as it lives: starts its processes, starts those again that die, and stops in order."""
    if not lane.site.start(env=env, sandbox=False):
        return
    lane.collector.start_push(*files)
    for role in "ingest", "store":
        pid = r.wait_until(lambda: lane.site.pid(role) or not lane.site.running(), 5)
        if pid and pid is not True:
            r.kill(pid)
            r.wait_until(lambda: lane.site.pid(role) not in (None, pid) or not lane.site.running(), 5)
    lane.site.stop()


def parent_dies(lane, kind, n):
    """The parent at its step n."""
    lane.reset()
    once = os.path.join(lane.site.folder, "once")
    if os.path.exists(once):
        os.unlink(once)
    files = lane.files()
    parents_life(lane, r.shim(f"{kind}:{n}", once=once, process="atoll", sends=True), files)
    counted["parent"] += os.path.exists(once)
    lane.site.kill()
    lane.site.start()
    code = lane.collector.process.wait(90) if lane.collector.process else 0
    words = f"push ends with {code}: {lane.collector.tail(3)}" if code not in (0, -9) else lane.check(files)
    code = lane.site.stop()
    return words or (f"the server stops with {code}: {lane.site.tail(4)}" if code != 0 else None)


def anybody_dies(lane, seed):
    """One to three of the four at random moments."""
    chance = random.Random(seed)
    if lane.case % 20 == 0:
        lane.reset()
    lane.up()
    files = lane.files()
    lane.collector.start_push(*files)
    for _ in range(chance.choice((1, 1, 2, 3))):
        time.sleep(chance.random() ** 2 * 0.4)
        role = chance.choice(("collector", "ingest", "store", "parent"))
        counted["random"] += 1
        if role == "collector":
            lane.collector.kill()
            lane.collector.start_push(*files)
        elif role == "parent":
            lane.site.kill()
            if not lane.site.start():
                return f"the server does not start again: {lane.site.tail()}"
            lane.lives = 0
        else:
            lane.lives += 1
            pid = lane.site.pid(role)
            if pid:
                r.kill(pid)
    code = lane.collector.process.wait(90)
    if code != 0:
        return f"push ends with {code}: {lane.collector.tail(3)}"
    return lane.check(files)


# --- all of them ---

def steps_of(lane, who):
    """How many steps a push takes when nothing happens."""
    lane.reset()
    log = os.path.join(lane.site.folder, "steps.log")
    if os.path.exists(log):
        os.unlink(log)
    lane.site.configure(MERGING if who["merging"] else r.CONFIG)
    files = lane.files()
    env = r.shim("kill:1000000", log=log, **who["shim"](lane))
    if who["collector"]:
        lane.site.start()
        words = lane.collector.push(*files, env=env)
    else:
        lane.site.start(env=env, sandbox=False)
        words = lane.collector.push(*files)
    if who["merging"]:
        wait_for_merge(lane, log + ".none")
    lane.site.stop()
    lane.site.configure(r.CONFIG)
    if words.code != 0:
        raise r.Trouble(f"a push without a fault: {words}; {lane.site.tail()}")
    with open(log, encoding="utf-8") as f:
        return min(STEPS_MAX, max(int(line.split()[0]) for line in f))


def steps_of_parent(lane):
    lane.reset()
    log = os.path.join(lane.site.folder, "steps.log")
    if os.path.exists(log):
        os.unlink(log)
    parents_life(lane, r.shim("kill:1000000", log=log, process="atoll", sends=True), lane.files())
    lane.collector.kill()
    with open(log, encoding="utf-8") as f:
        return min(STEPS_MAX, max(int(line.split()[0]) for line in f))


WHO = {
    "collector": {"collector": True, "merging": False, "shim": lambda lane: {"below": lane.collector.folder, "sends": True}},
    "store": {"collector": False, "merging": False,
              "shim": lambda lane: {"below": lane.site.archive, "process": "atoll-store"}},
    "merging": {"collector": False, "merging": True,
                "shim": lambda lane: {"below": lane.site.archive, "process": "atoll-store"}},
    "ingest": {"collector": False, "merging": False, "shim": lambda lane: {"sends": True, "process": "atoll-ingest"}},
}


def cases(lane):
    """(group, function of a lane)"""
    steps = {name: steps_of(lane, who) for name, who in WHO.items()}
    steps["parent"] = steps_of_parent(lane)
    print("# steps:", steps)
    made = []
    for kind in ("kill", "torn", "after"):
        for n in range(1, steps["collector"] + 1):
            made.append(("collector", lambda l, k=kind, n=n: collector_dies(l, k, n), f"{kind}:{n}"))
        for n in range(1, steps["store"] + 1):
            made.append(("store", lambda l, k=kind, n=n: server_dies(l, "atoll-store", True, k, n), f"{kind}:{n}"))
        for n in range(steps["store"] - 5, steps["merging"] + 1):
            made.append(("merging", lambda l, k=kind, n=n: server_dies(l, "atoll-store", True, k, n, True), f"{kind}:{n}"))
    for kind in ("kill", "after"):
        for n in range(1, steps["ingest"] + 1):
            made.append(("ingest", lambda l, k=kind, n=n: server_dies(l, "atoll-ingest", False, k, n), f"{kind}:{n}"))
        for n in range(1, steps["parent"] + 1):
            made.append(("parent", lambda l, k=kind, n=n: parent_dies(l, k, n), f"{kind}:{n}"))
    for i in range(RANDOM_CASES):
        made.append(("anybody", lambda l, i=i: anybody_dies(l, SEED * 1000000 + i), f"seed {SEED * 1000000 + i}"))
    random.Random(SEED).shuffle(made)
    return made


def points():
    return len(seconds["collector"]) + sum(counted.values())


def work(lane):
    while True:
        try:
            group, case, label = todo.get_nowait()
        except queue.Empty:
            if points() >= POINTS_MIN:
                lane.site.stop()
                return
            n = next(more)  # how many steps there are depends on how the work falls into groups
            group, case, label = "anybody", lambda l: anybody_dies(l, SEED * 1000000 + n), f"seed {SEED * 1000000 + n}"
        began = time.monotonic()
        try:
            words = case(lane)
        except Exception as e:  # a lane that ends would leave its cases undone
            words = f"{type(e).__name__}: {e}"
        seconds[group].append(time.monotonic() - began)
        if words:
            bad[group].append(f"{label}: {shown(words)}")
            lane.reset()


def main():
    folder = fast_folder("kills")
    global traces
    traces = r.Traces(os.path.join(folder, "traces"), packets=200, files=3)
    lanes = [Lane(folder, i) for i in range(LANES)]
    made = cases(lanes[0])
    for case in made:
        todo.put(case)
    threads = [threading.Thread(target=work, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for group in bad:
        took = sorted(seconds[group])
        print(f"# {group}: {len(took)} cases, median {took[len(took) // 2]:.2f} s, longest {took[-1]:.2f} s")
        ok(f"whoever_dies_nothing_is_lost_or_twice_{group}", not bad[group], f"{len(bad[group])} of {len(took)};", bad[group][:6])
    ok("at_least_a_thousand_kills", points() >= POINTS_MIN, points())
    print(f"# {points()} kills:", dict(counted))


scratch()
traces = None
todo = queue.Queue()
more = itertools.count(RANDOM_CASES)
counted = r.Counter()
bad = {g: [] for g in ("collector", "store", "merging", "ingest", "parent", "anybody")}
seconds = {g: [] for g in bad}
if r.ready("all_of_it"):
    main()
finish()
