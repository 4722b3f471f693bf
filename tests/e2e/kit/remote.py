"""A served archive and collectors on 127.0.0.1, and what was sent held against what is stored.

A Site is one archive with its server, in a folder of its own; a Collector is one monitor of it. Servers that are still there
at the end of a script are killed.
"""
import atexit
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter

from kit import traces as t
from kit.results import ATOLL, OUT, SHIM, free_port, gen, run

COLLECT = os.environ.get("COLLECT") or os.path.join(OUT, "atoll-collect")
ROOT = os.geteuid() == 0
UP_SECONDS = 20
HOUR = 3600 * t.NS
CONFIG = "[retention]\nfree_bytes = 0\nstop_bytes = 0\n"  # the scratch disk may be nearly full

sites = []


class Trouble(Exception):
    """Something that should have worked did not; the words are for the reason of the failed test."""


def wait_until(condition, seconds, pause=0.01):
    """The first true value of condition(), or the last one."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(pause)


def children_of(pid):
    """{name: pid} of the processes of a server."""
    found = {}
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            for child in f.read().split():
                with open(f"/proc/{child}/comm", encoding="ascii") as c:
                    found[c.read().strip().removeprefix("atoll-")] = int(child)
    except OSError:
        pass
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def peak_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


class Logged:
    """What writes its words to the file self.log."""

    def tail(self, lines=8):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""


class Site(Logged):
    """folder/archive, folder/atoll.conf, folder/server.log."""

    def __init__(self, folder, config=CONFIG, archive=None, port=None):
        self.folder = os.path.abspath(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.archive = archive or os.path.join(self.folder, "archive")
        self.config = os.path.join(self.folder, "atoll.conf")
        self.log = os.path.join(self.folder, "server.log")
        self.port = port or free_port()
        self.host = "127.0.0.1"
        self.wrapper = ()  # put before the command: ip netns exec NAME
        self.server = None
        self.configure(config)
        if not os.path.exists(self.archive):
            r = run(ATOLL, "init", "-q", self.archive)
            if r.code != 0:
                raise Trouble(f"init: {r}")
        sites.append(self)

    def configure(self, text):
        with open(self.config, "w", encoding="ascii") as f:
            f.write(text)

    def start(self, env=None, sandbox=True, wait=True):
        """Starts the server; env: for a shim, which does not go with the sandbox. wait: until it says that all is up; False when
        it ended before that."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = os.path.join(tempfile.gettempdir(), f"atoll-up-{os.getpid()}-{self.port}")  # abstract names stay in a namespace
        if os.path.exists(path):
            os.unlink(path)
        listener.bind(path)
        environment = dict(os.environ, NOTIFY_SOCKET=path, **(env or {}))
        command = [*self.wrapper, ATOLL, "-A", self.archive, "serve", "--config", self.config, "--listen",
                   f"{self.host}:{self.port}", "--metrics", "none", *(["--user", "root"] if ROOT else []),
                   *([] if sandbox else ["--no-sandbox"])]
        with open(self.log, "ab") as log:
            self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                           start_new_session=True)
        try:
            up = self.wait_up(listener) if wait else True
            if not up and not env:  # with a shim it may
                raise Trouble(f"the server does not start: {self.tail(3)}")
            return up
        finally:
            listener.close()
            os.unlink(path)

    def wait_up(self, listener):
        listener.settimeout(0.2)
        end = time.monotonic() + UP_SECONDS
        while time.monotonic() < end:
            try:
                if b"READY=1" in listener.recv(4096):
                    return True
            except TimeoutError:
                if self.server.poll() is not None:
                    return False
        raise Trouble(f"the server is not up after {UP_SECONDS} s: {self.tail()}")

    def pid(self, role):
        """Of "parent", "store", "ingest"; None: it is not there."""
        if self.server is None:
            return None
        return self.server.pid if role == "parent" else children_of(self.server.pid).get(role)

    def running(self):
        return self.server is not None and self.server.poll() is None

    def stop(self, seconds=15):
        """In order; gives the exit code."""
        if not self.running():
            return self.server.returncode if self.server else None
        self.server.send_signal(signal.SIGTERM)
        try:
            return self.server.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Trouble(f"the server did not stop within {seconds} s: {self.tail()}") from None

    def kill(self):
        """All of it; what the parent leaves has to go with it."""
        if self.server is None:
            return
        children = children_of(self.server.pid)
        kill(self.server.pid)
        self.server.wait()
        left = wait_until(lambda: not [c for c in children.values() if alive(c)], 5, 0.002)
        if not left:
            for c in children.values():
                kill(c)
            raise Trouble("a process of the server outlived its parent for 5 s")

    # --- what is in it ---

    def verb(self, *arguments, **more):
        return run(ATOLL, "-A", self.archive, *arguments, **more)

    def code(self, name, *options):
        r = self.verb("enroll", name, "--json", "--config", self.config, *options)
        if r.code != 0:
            raise Trouble(f"enroll: {r}")
        return json.loads(r.text)["code"]

    def monitors(self):
        r = self.verb("monitors", "--json")
        if r.code != 0:
            raise Trouble(f"monitors: {r}")
        return {m["name"]: m for m in json.loads(r.text)["monitors"]}

    def export(self, *options):
        """The packets, as a bag."""
        path = os.path.join(self.folder, f"export-{threading.get_ident()}.pcap")
        r = self.verb("export", "--raw", "-q", "-o", path, *options)
        if r.code == 5:  # there is nothing
            return Counter()
        if r.code != 0:
            raise Trouble(f"export: {r}")
        found = Counter(t.whole(path))
        os.unlink(path)
        return found

    def fsck(self):
        """None, or what it found."""
        r = self.verb("fsck", "-q")
        return None if r.code == 0 else f"fsck: {r}"


class Collector(Logged):
    """One monitor: folder holds its identity and spool."""

    def __init__(self, site, name, folder=None, port=None, options=()):
        self.site, self.name = site, name
        self.folder = folder or os.path.join(site.folder, "collector-" + name)
        self.port = port or site.port  # of a proxy, if there is one
        self.options = options
        self.process = None
        self.wrapper = ()
        self.log = self.folder + ".log"

    def command(self, verb, *arguments):
        return [*self.wrapper, COLLECT, verb, "--dir", self.folder, *arguments]

    def enrol(self, code=None, host=None):
        r = run(*self.command("enroll", f"atoll://{host or self.site.host}:{self.port}", code or self.site.code(self.name)))
        if r.code != 0:
            raise Trouble(f"enroll: {r}")
        return self

    def push(self, *files, stream="s", env=None, timeout=60, options=()):
        """Ends when all is acknowledged."""
        return run(*self.command("push", "--stream", stream, *self.options, *options, *files), env=env, timeout=timeout)

    def start(self, verb, *arguments, env=None):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(verb, *arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, **(env or {})), start_new_session=True)
        return self.process

    def start_push(self, *files, stream="s", env=None, options=()):
        return self.start("push", "--stream", stream, *self.options, *options, *files, env=env)

    def stop(self, seconds=15):
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Trouble(f"the collector did not stop within {seconds} s: {self.tail()}") from None

    def kill(self):
        if self.process is not None:
            kill(self.process.pid)
            self.process.wait()

    def status(self):
        r = run(*self.command("status", "--json"))
        if r.code != 0:
            raise Trouble(f"status: {r}")
        return json.loads(r.text)

    def parcels_left(self):
        """That the archive did not acknowledge."""
        return sum(s["sequence"] - s["acknowledged"] for s in self.status()["streams"])


@atexit.register
def end_all():
    for site in sites:
        if site.running():
            site.kill()


# --- traces, and what the archive has to have of them ---

class Traces:
    """Files of few packets for the cases of a test: the same ones, each case an hour later. What the archive is to have of
    them comes from an import of the first into another archive, headers only as by the collector."""

    def __init__(self, folder, packets=240, files=3, start=1767600000, snaplen=300):
        self.start = start * t.NS
        self.parts, self.wanted, self.folder = [], [], folder
        os.makedirs(folder, exist_ok=True)
        reference = os.path.join(folder, "reference")
        run(ATOLL, "init", "-q", reference)
        for i in range(files):
            path = gen(os.path.join(folder, f"base{i}.pcap"), "--packets", packets, "--seed", 100 + i, "--snaplen", snaplen,
                       "--start", start + 60 * i)
            self.parts.append(t.whole(path))
            r = run(ATOLL, "-A", reference, "import", "-q", "--headers-only", "--stream", f"r{i}", path)
            if r.code != 0:
                raise Trouble(f"import: {r}")
            out = os.path.join(folder, "reference.pcap")
            run(ATOLL, "-A", reference, "export", "--raw", "-q", "-s", f"r{i}", "-o", out)
            self.wanted.append(t.whole(out))
            os.unlink(out)
        for part in self.parts:
            if max(p.ts for p in part) - self.start >= HOUR:
                raise Trouble("the generated packets take longer than an hour")

    def make(self, folder, case):
        """The files of this case; their names."""
        paths = []
        for i, part in enumerate(self.parts):
            path = os.path.join(folder, f"case{case}-{i}.pcap")
            t.write_pcap(path, [p._replace(ts=p.ts + case * HOUR) for p in part])
            paths.append(path)
        return paths

    def bag(self, *cases):
        return Counter(p._replace(ts=p.ts + case * HOUR) for case in cases for part in self.wanted for p in part)

    def range(self, case):
        """Options of an export of this case."""
        first = (self.start + case * HOUR) // t.NS
        return "--from", str(first), "--until", str(first + 3600)


def difference(got, wanted):
    """None, or words about two bags of packets."""
    if got == wanted:
        return None
    missing, more = wanted - got, got - wanted
    twice = sum((more & wanted).values())
    words = f"{sum(missing.values())} of {sum(wanted.values())} packets are missing, {sum(more.values())} too many"
    return words + (f", {twice} of them are there twice" if twice else "")


def shim(fault, once=None, below=None, process=None, sends=False, log=None):
    """The environment for tests/fault/shim.c."""
    env = {"LD_PRELOAD": SHIM, "ATOLL_FAULT": fault}
    if once:
        env["ATOLL_FAULT_ONCE"] = once
    if below:
        env["ATOLL_FAULT_DIR"] = below
    if process:
        env["ATOLL_FAULT_PROCESS"] = process
    if sends:
        env["ATOLL_FAULT_SEND"] = "1"
    if log:
        env["ATOLL_FAULT_LOG"] = log
    return env


def ready(name):
    """Whether the programs are there; prints the skip when not."""
    from kit.results import SANITIZED, skip
    if SANITIZED:
        skip(name, "a sanitized program is too slow for this, and does not go with a fault shim")
    elif not os.path.exists(COLLECT):
        skip(name, "no atoll-collect was built")
    else:
        return True
    return False
