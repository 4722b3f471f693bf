"""Results as TAP (`ok NAME`, `not ok NAME reason`, `skip NAME reason`) and the program under test, run with a time limit and
its exit code, output and peak memory. Names are sentences with underscores.

A script works in a scratch folder (the runner's, or one of its own that is removed at the end) and ends with finish().
"""
import atexit
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

TOP = os.environ.get("TOP") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
OUT = os.environ.get("OUT") or os.path.join(TOP, "build", "gcc")
ATOLL = os.environ.get("ATOLL") or os.path.join(OUT, "atoll")
GEN = os.environ.get("GEN") or os.path.join(OUT, "gen")
SHIM = os.environ.get("SHIM") or os.path.join(OUT, "shim.so")
SHARED = os.environ.get("ATOLL_SHARED") or os.path.join(TOP, "..", "shared")
MEMORY_BOUND = 256 << 20
SHOWN_MAX = 300  # characters of a value in a reason

failures = 0
for name in ("ATOLL_ARCHIVE", "ATOLL_KEY_FILE", "ATOLL_FAULT", "ATOLL_FAULT_DIR"):
    os.environ.pop(name, None)
os.environ["LC_ALL"] = "C.UTF-8"
with open(ATOLL, "rb") as f:
    SANITIZED = b"__asan_init" in f.read()  # needs much more memory, and does not go with a preloaded shim


def scratch():
    """Changes into the scratch folder."""
    folder = os.environ.get("SCRATCH")
    if not folder:
        folder = tempfile.mkdtemp(prefix="atoll-e2e-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.chdir(folder)
    os.environ["TMPDIR"] = folder
    return folder


def fast_folder(name):
    """A folder in memory where there is one: for tests that commit hundreds of times and are not about the disk."""
    if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 1 << 30:
        folder = tempfile.mkdtemp(prefix=f"atoll-e2e-{name}-", dir="/dev/shm")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder
    os.makedirs(name)
    return os.path.abspath(name)


def shown(value):
    text = value if isinstance(value, str) else repr(value)
    text = text.replace("\n", " | ").strip()
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + " ..."


def ok(name, good, *why):
    global failures
    if good:
        print(f"ok {name}", flush=True)
    else:
        failures += 1
        print(f"not ok {name} " + " ".join(shown(w) for w in why), flush=True)
    return bool(good)


def same(name, got, wanted, *why):
    return ok(name, got == wanted, "got", got, "wanted", wanted, *why)


def skip(name, reason):
    print(f"skip {name} {reason}", flush=True)


def finish():
    sys.exit(1 if failures else 0)


def have(*programs):
    return all(shutil.which(p) for p in programs)


def shared(path):
    """A path below the folder of real data, or None."""
    full = os.path.join(SHARED, "data", path)
    return full if os.path.exists(full) else None


class Run:
    """What a program came to. rss is its peak in bytes when that was asked for; code is -N when signal N ended it, "timeout"
    when it hung."""

    def __init__(self, code, out, err, rss):
        self.code, self.out, self.err, self.rss = code, out, err, rss
        self.text = out.decode("utf-8", "replace")
        self.said = self.text + err

    def __repr__(self):
        return f"exit {self.code}: {self.said}"


# A child begins with the peak of the process it was forked from: this small one stands in between.
MEASURE = """
import os, sys
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(pid, 0)
with open(sys.argv[1], "w") as f:
    f.write(str(used.ru_maxrss))
code = os.waitstatus_to_exitcode(status)
sys.exit(code) if code >= 0 else os.kill(os.getpid(), -code)
"""


def run(*command, stdin=None, env=None, timeout=120, cwd=None, address_space=None, peak=False):
    """stdin: bytes, an open file, or None for nothing."""
    environment = dict(os.environ, **(env or {}))
    before = []
    if peak:
        before += [sys.executable, "-IS", "-c", MEASURE, os.path.abspath("peak.txt")]
    if address_space and not SANITIZED:
        before += ["prlimit", f"--as={address_space}"]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        if isinstance(stdin, bytes):
            given.write(stdin)
            given.seek(0)
        child = subprocess.Popen(before + [str(c) for c in command], stdout=out, stderr=err, env=environment, cwd=cwd,
                                 stdin=given if stdin is None or isinstance(stdin, bytes) else stdin, start_new_session=True)
        late = threading.Event()

        def kill():
            late.set()
            os.killpg(child.pid, signal.SIGKILL)
        timer = threading.Timer(timeout, kill)
        timer.start()
        child.wait()
        timer.cancel()
        out.seek(0)
        err.seek(0)
        code = "timeout" if late.is_set() else child.returncode
        rss = None
        if peak:
            with open("peak.txt", encoding="ascii") as f:
                rss = int(f.read()) * 1024
        return Run(code, out.read(), err.read().decode("utf-8", "replace"), rss)


def free_port():
    """One below those that outgoing connections get: it is still free after a restart of who listens there."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass  # taken


def start(*command, env=None, **more):
    """A child that goes on while the test does something else."""
    return subprocess.Popen([str(c) for c in command], env=dict(os.environ, **(env or {})), start_new_session=True, **more)


def atoll(archive, *arguments, **more):
    return run(ATOLL, "-A", archive, *arguments, **more)


def init(archive, *arguments):
    shutil.rmtree(archive, ignore_errors=True)
    r = run(ATOLL, "init", "-q", archive, *arguments)
    if r.code != 0:
        ok("init_makes_an_archive", False, r)
        finish()
    return archive


def fresh(copy, of):
    """A copy of this archive, instead of what was there."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(of, copy)


def exported_records(archive):
    """As they stand in a pcap file, or the run that failed."""
    r = atoll(archive, "export", "--raw", "-q", "-o", "out.pcap")
    if r.code == 5:
        return b""
    if r.code != 0:
        return r
    with open("out.pcap", "rb") as f:
        return f.read()[24:]


def bounded(name, r):
    """For a run whose peak was asked for."""
    ok(f"in_bounded_memory_{name}", SANITIZED or r.rss <= MEMORY_BOUND, f"{r.rss >> 20} MiB")


def must(name, run_, code=0, *words):
    """ok when the exit code is this one and all words (regular expressions) are in the output; nothing is printed by a
    program that crashed that could pass for success."""
    missing = [w for w in words if not re.search(w, run_.said)]
    return ok(name, run_.code == code and not missing, f"wanted exit {code}", *(f"and /{w}/" for w in missing), run_)


def gen(path, *options):
    r = run(GEN, *options, path)
    if r.code != 0:
        ok("the_generator_runs", False, r)
        finish()
    return path


def unpack(archive, into):
    subprocess.run(["tar", "--zstd", "-xf", archive, "-C", into], check=True)
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(into) for name in names)
