"""Rows of remote collection, for tests/bench/bench.py: push over loopback, live capture over a veth pair, many collectors.

Everything is on this machine: both ends, and what stands for the network. The peers run on the same data, in the same run.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

COLLECT = "atoll-collect"
DRIVER = "bench_collectors"
RING_KIB = 28672              # tcpdump gets the ring that the collector has (CAPTURE_RING_BYTES)
RATES = (300000, 400000, 500000, 600000, 800000, 1000000)
BURST_S = 2.0
FLEET = 200
FLEET_S = 60
LOOK_S = 0.25                 # how often the fleet's records are asked for


def ticks(pid):
    """CPU seconds of a process, its dead children included; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(int(x) for x in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(x) for x in f.read().split()]
    except OSError:
        return []


def status_kib(pid, name):
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            found = re.search(rf"^{name}:\s+(\d+)", f.read(), re.M)
    except OSError:
        return 0
    return int(found.group(1)) if found else 0


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """`atoll serve` of a fresh archive."""

    def __init__(self, b, folder, prefix=()):
        self.b, self.folder, self.prefix = b, folder, list(prefix)
        self.archive = os.path.join(folder, "archive")
        self.port = free_port()
        self.child = self.log = None

    def __enter__(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder, 0o711)  # a collector gives up root
        self.b.measured_once([self.b.ATOLL, "init", self.archive])
        self.log = open(os.path.join(self.folder, "serve.log"), "w+b")
        user = ["--user", "root"] if os.getuid() == 0 else []
        self.child = subprocess.Popen(self.prefix + [self.b.ATOLL, "-A", self.archive, "serve", "--listen",
                                                     f"127.0.0.1:{self.port}", "--metrics", "none"] + user,
                                      stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.wait_for(b"all processes are up")
        return self

    def wait_for(self, words, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.child.poll() is None:
            if words in self.said():
                return
            time.sleep(0.02)
        raise self.b.Failed(f"atoll serve: {self.said()[-400:].decode('utf-8', 'replace')}")

    def said(self):
        with open(self.log.name, "rb") as f:
            return f.read()

    def __exit__(self, *_):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def pids(self):
        return [self.child.pid] + children(self.child.pid)

    def cpu(self):
        return sum(ticks(p) for p in self.pids())

    def peak(self):
        """The most that all its processes ever had resident; pages that they share count once for each."""
        return 1024 * sum(status_kib(p, "VmHWM") for p in self.pids())

    def ticket(self, name):
        out = self.b.measured_once([self.b.ATOLL, "-A", self.archive, "enroll", name, "--host", f"127.0.0.1:{self.port}",
                                    "--json"])[2]
        ticket = json.loads(out)
        return ticket["url"], ticket["code"]

    def packets(self):
        return json.loads(self.b.measured_once([self.b.ATOLL, "-A", self.archive, "stat", "--json"])[2])["packets"]


def program(b, name):
    """One of those built beside atoll."""
    return os.path.join(os.path.dirname(b.ATOLL), name)


def collector_dir(b, server, name):
    """The folder of a collector that is enrolled."""
    folder = os.path.join(server.folder, name)
    b.measured_once(server.prefix + [program(b, COLLECT), "-C", folder, "enroll", *server.ticket(name)])
    return folder


# --- push ---

def pushed(b, path, packets):
    with Server(b, os.path.join(b.DATA, "collect")) as server:
        folder = collector_dir(b, server, "push")
        b.warm(path)
        before = server.cpu()
        began = time.monotonic()
        child = subprocess.Popen([program(b, COLLECT), "-C", folder, "push", "-q", "--stream", "bench", path],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise b.Failed(f"push: exit {child.returncode}: {said[-300:].decode('utf-8', 'replace')}")
        time.sleep(0.2)
        run = {"wall": wall, "collector_cpu": usage.ru_utime + usage.ru_stime, "collector_peak": usage.ru_maxrss * 1024,
               "archive_cpu": server.cpu() - before, "archive_peak": server.peak()}
        if server.packets() != packets:
            raise b.Failed(f"push: {server.packets()} packets in the archive, {packets} in the file")
        return run


def piped(b, path):
    """What people do today: seconds until a compressed, encrypted copy is on the disk, and all CPU seconds of it."""
    out = os.path.join(b.DATA, "piped")
    command = (f"tcpdump -r '{path}' -w - 2>/dev/null | zstd -3 -T1 -qc | "
               f"openssl enc -aes-256-ctr -pbkdf2 -pass pass:bench | dd of='{out}' bs=1M conv=fsync status=none")
    before = os.times()
    began = time.monotonic()
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True, stdin=subprocess.DEVNULL)
    wall = time.monotonic() - began
    after = os.times()
    os.unlink(out)
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def bench_push(b, label, path, packets):
    runs = []
    for _ in range(b.REPEATS):
        runs.append(pushed(b, path, packets))
    run = min(runs, key=lambda r: r["wall"])
    b.warm(path)
    wall, peer_cpu = piped(b, path)
    b.add(f"push until durable, {label}", packets / run["wall"], "packets/s", "tcpdump|zstd -3|openssl|file", packets / wall,
          None, "4 M, better 7")
    b.add(f"push, CPU of both ends, {label}", (run["collector_cpu"] + run["archive_cpu"]) / packets * 1e9, "ns/packet",
          "tcpdump|zstd -3|openssl|file", peer_cpu / packets * 1e9)
    b.add(f"push, CPU of the archive, {label}", run["archive_cpu"] / packets * 1e9, "ns/packet", "the collector's",
          run["collector_cpu"] / packets * 1e9, max(r["archive_peak"] for r in runs), "3 x")
    b.add(f"push, memory of the collector, {label}", max(r["collector_peak"] for r in runs) / 1048576, "MiB", None, None,
          max(r["collector_peak"] for r in runs), "64 MiB")


# --- live ---

class Veth:
    """Two network namespaces with a cable between them."""

    def __init__(self):
        self.names = [f"atoll-bench-{os.getpid()}-{i}" for i in (0, 1)]
        self.interfaces = ["veth0", "veth1"]

    def run(self, *command):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")

    def inside(self, i):
        return ["ip", "netns", "exec", self.names[i]]

    def __enter__(self):
        try:
            for name in self.names:
                self.run("ip", "netns", "add", name)
            self.run("ip", "-n", self.names[0], "link", "add", self.interfaces[0], "type", "veth", "peer", "name",
                     self.interfaces[1], "netns", self.names[1])
            for i in (0, 1):
                # nobody but the generator is to say anything on the cable
                self.run(*self.inside(i), "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
                self.run("ip", "-n", self.names[i], "link", "set", "lo", "up")
                self.run("ip", "-n", self.names[i], "link", "set", self.interfaces[i], "arp", "off", "up")
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def replay(veth, path, rate):
    """Packets sent, and how many a second that were."""
    out = subprocess.run(veth.inside(0) + ["tcpreplay", "-q", "-i", veth.interfaces[0], "--preload-pcap", "--loop", "100",
                                           "--limit", str(int(rate * BURST_S)), "--pps", str(rate), path],
                         check=True, capture_output=True, text=True).stdout
    sent = int(re.search(r"Actual: (\d+) packets", out).group(1))
    return sent, float(re.search(r"([\d.]+) pps", out).group(1))


def tcpdump_lost(b, veth, path, rate):
    out = os.path.join(b.DATA, "live.pcap")
    child = subprocess.Popen(veth.inside(1) + ["tcpdump", "-i", veth.interfaces[1], "-n", "-s", "128", "-B", str(RING_KIB), "-Z",
                                               "root", "-w", out], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    child.stderr.readline()  # listening
    time.sleep(0.3)
    sent, actual = replay(veth, path, rate)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    lost = sent - b.count_now(out)
    os.unlink(out)
    return lost, actual


def collector_lost(b, veth, server, folder, path, rate):
    before = server.packets()
    log = os.path.join(server.folder, "collect.log")
    with open(log, "wb") as sink:
        child = subprocess.Popen(veth.inside(1) + [program(b, COLLECT), "-C", folder, "run", "-i", veth.interfaces[1], "--promisc"],
                                 stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    end = time.monotonic() + 10
    while b"capturing on" not in open(log, "rb").read():
        if time.monotonic() > end or child.poll() is not None:
            child.kill()
            raise b.Failed(f"atoll-collect run: {open(log, encoding='utf-8').read()[-300:]}")
        time.sleep(0.02)
    time.sleep(0.3)
    sent, actual = replay(veth, path, rate)
    time.sleep(1.5)
    child.terminate()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise b.Failed(f"atoll-collect run: {open(log, encoding='utf-8').read()[-300:]}")
    waited = time.monotonic() + 10
    while server.packets() - before < sent and time.monotonic() < waited and child.returncode != 0:
        time.sleep(0.1)
    return sent - (server.packets() - before), actual, usage.ru_maxrss * 1024


def highest(rates):
    """The last measured rate of [(lost, rate)] before the first loss."""
    good = 0.0
    for lost, rate in rates:
        if lost:
            break
        good = max(good, rate)
    return good


def search(measure):
    """[(lost, rate)] of rising rates until something is lost, or the generator does not get faster."""
    found = []
    for rate in RATES:
        lost, actual = measure(rate)[:2]
        found.append((lost, actual))
        if lost or actual < rate * 0.9:
            break
    return found


def bench_live(b, path):
    missing = [tool for tool in ("ip", "tcpreplay", "tcpdump") if not shutil.which(tool)]
    if os.getuid() != 0 or missing:
        print(f"  no rows for live: {'needs root' if os.getuid() else 'needs ' + ' '.join(missing)}")
        return
    try:
        veth = Veth().__enter__()
    except OSError as e:
        print(f"  no rows for live: no network namespaces here ({e})")
        return
    peak = 0
    with contextlib.ExitStack() as stack:
        stack.push(veth)
        server = stack.enter_context(Server(b, os.path.join(b.DATA, "collect"), veth.inside(1)))
        folder = collector_dir(b, server, "live")

        def ours(rate):
            nonlocal peak
            lost, actual, rss = collector_lost(b, veth, server, folder, path, rate)
            peak = max(peak, rss)
            return lost, actual
        mine = search(ours)
        theirs = search(lambda rate: tcpdump_lost(b, veth, path, rate))
    if mine[0][1] < RATES[0] * 0.95:
        print(f"  tcpreplay reached {mine[0][1]:,.0f} packets/s only, {RATES[0]:,} were wanted")
    b.add(f"live at {mine[0][1] / 1000:.0f},000/s, lost", mine[0][0], "packets", f"tcpdump -w at {theirs[0][1] / 1000:.0f},000/s",
          theirs[0][0], peak, "none at 300,000/s")
    for who, found in (("atoll-collect", mine), ("tcpdump", theirs)):
        if not any(lost for lost, _ in found):
            print(f"  {who} lost nothing at any rate: {highest(found):,.0f} packets/s is as fast as tcpreplay gets beside it")
    b.add("live, highest rate without loss", highest(mine), "packets/s", "tcpdump -w", highest(theirs), peak)


# --- many collectors ---

class Fleet:
    """What is known of the records: when each parcel's first packet was made, and when a query first showed it."""

    def __init__(self, b, server):
        self.b, self.server = b, server
        self.seen = {}         # ts_ns -> when
        self.stop = False
        self.peak = 0
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.stop:
            began = time.monotonic()
            since = time.time() - 5
            out = subprocess.run([self.b.ATOLL, "-A", self.server.archive, "query", "-q", "-o", "csv", "--from", f"{since:.3f}"],
                                 capture_output=True, text=True, check=False).stdout
            now = time.time_ns()
            for line in out.splitlines()[1:]:
                self.seen.setdefault(line.split(",", 2)[1], now)
            self.peak = max(self.peak, 1024 * sum(status_kib(p, "VmRSS") for p in self.server.pids()))
            time.sleep(max(0.0, LOOK_S - (time.monotonic() - began)))


def text_of(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"


def fleet_run(b, server, driver):
    log = os.path.join(server.folder, "fleet.log")
    codes = "".join("{} {}\n".format(*server.ticket(f"m{i}")) for i in range(FLEET))
    child = subprocess.Popen([driver, str(FLEET_S), log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
    child.stdin.write(codes)
    child.stdin.close()
    if not child.stdout.readline().startswith("connected"):
        raise b.Failed(f"{DRIVER}: {child.stderr.read().strip()}")
    fleet = Fleet(b, server)
    before, began = server.cpu(), time.monotonic()
    fleet.thread.start()
    last = child.stdout.read().split()
    cpu = (server.cpu() - before) / (time.monotonic() - began)
    time.sleep(2)
    fleet.stop = True
    fleet.thread.join()
    said = child.stderr.read().strip()
    if child.wait() != 0 or len(last) != 4 or last[1] != last[3]:
        raise b.Failed(f"{DRIVER}: {' '.join(last)} {said}")
    with open(log, encoding="ascii") as f:
        parcels = [tuple(int(x) for x in line.split()) for line in f]
    return fleet, parcels, cpu


def bench_fleet(b):
    driver = next((os.path.join(b.TOP, p) for p in os.environ.get("BENCH_PROGRAMS", "").split() if p.endswith(DRIVER)),
                  os.path.join(os.path.dirname(b.ATOLL), "bench", DRIVER))
    with Server(b, os.path.join(b.DATA, "collect")) as server:
        fleet, parcels, cpu = fleet_run(b, server, driver)
        peak = server.peak()
        stored = server.packets()
    unseen = sum(1 for made, _, _ in parcels if text_of(made) not in fleet.seen)
    if unseen:
        raise b.Failed(f"{unseen} of {len(parcels)} parcels were never seen by a query")
    if stored % len(parcels):
        raise b.Failed(f"{stored} packets of {len(parcels)} parcels in the archive")
    delays = sorted((fleet.seen[text_of(made)] - made) / 1e9 for made, _, _ in parcels)
    acks = sorted((acked - sent) / 1e9 for _, sent, acked in parcels)
    p99 = len(delays) * 99 // 100
    name = f"{FLEET} collectors for {FLEET_S} s"
    b.add(f"{name}: record to query, slowest", delays[-1], "s", None, None, None, "2 s")
    b.add(f"{name}: record to query, 99 of 100", delays[p99], "s")
    b.add(f"{name}: parcel to acknowledgement, slowest", acks[-1] * 1000, "ms")
    b.add(f"{name}: parcel to acknowledgement, 99 of 100", acks[p99] * 1000, "ms")
    b.add(f"{name}: CPU of the archive", cpu * 100, "% of a core")
    b.add(f"{name}: memory of the archive", peak / 1048576, "MiB", None, None, peak, "512 MiB")


def bench_all(b, label, real, path, packets):
    """All rows. b: the module bench."""
    if not os.path.exists(program(b, COLLECT)):
        print(f"  no rows for remote collection: no {COLLECT} beside {b.ATOLL}", file=sys.stderr)
        return
    b.attempt("push", bench_push, b, label, path, packets)
    b.attempt("live", bench_live, b, real)
    b.attempt("collectors", bench_fleet, b)
