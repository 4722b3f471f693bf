#!/usr/bin/env python3
"""Memory runs out at each call that asks for some (tests/fault/nomem.c), once and for good, in every verb: an error in one sentence with
exit 1 or the same result as ever, never a crash, a wrong answer or half a state, and afterwards the archive is as it should be."""
import os
import sys

sys.dont_write_bytecode = True
from kit.results import *  # noqa: E402,F403

NOMEM = os.path.join(OUT, "nomem.so")
THOROUGH = bool(os.environ.get("THOROUGH"))  # each call, not only those that stand for the others with the same callers


def starved(call, *command):
    return run(*command, env={"LD_PRELOAD": NOMEM, "ATOLL_NOMEM": call}, timeout=30)


def calls_of(*command):
    """How many there are, and those that are to fail."""
    r = starved(f"count:{os.path.abspath('calls.txt')}", *command)
    if r.code != 0:
        ok("the_command_works_with_memory", False, command, r)
        return 0, []
    with open("calls.txt", encoding="ascii") as f:
        count, tried = int(f.readline()), sorted(int(n) for n in f.readline().split())
    return count, list(range(1, count + 1)) if THOROUGH else tried


def words_of(r, wanted, codes):
    """What is wrong with a run; wanted: its output when all goes well, None: any."""
    if r.code == 0:
        return f"another result: {r}" if wanted is not None and r.out != wanted else None
    if r.code not in codes:
        return r
    lines = r.err.splitlines()
    if not any(re.match(r"atoll( \w+)?: \S", line) for line in lines) or len(lines) > 3:
        return f"no sentence: {r}"
    return None if "memory" in r.err.lower() else f"no word of memory: {r}"


def scanners(command, call, r):
    """Whether this call is one of libpcap's scanner: without memory it ends the process with exit 2 and its own words, or crashes when it
    is made, which is the call before the first of those. Nothing that we can do about; real programs have more than one call left."""
    if r.code == 2 and re.fullmatch(r"out of dynamic memory in yy\w+\(\)\s*", r.err):
        return True
    return r.code == -11 and call.isdigit() and "yy_scan_bytes" in starved(str(int(call) + 1), *command).err


def walk(name, archive, verb, wanted=None, before=None, after=None, codes=(1,)):
    """before() makes the archive ready, after(r) looks what became of it."""
    command = (ATOLL, "-A", archive, *verb)
    if before:
        before()
    calls, tried = calls_of(*command)
    bad, failed = [], 0
    tried = [f"{n}" for n in tried] + [f"{n}+" for n in tried[::1 if THOROUGH else 3]]
    print(f"# {name}: {calls} calls, {len(tried)} runs")
    for call in tried:
        if before:
            before()
        r = starved(call, *command)
        failed += r.code != 0
        if "-f" in verb and scanners(command, call, r):
            continue
        words = words_of(r, wanted, codes) or (after(r) if after else None)
        if words:
            bad.append(f"call {call}: {shown(words)}")
    ok(f"{name}_survives_a_lack_of_memory_at_each_call", not bad and failed > len(tried) / 4,
       f"{len(bad)} of {len(tried)} runs, {failed} failed;", *bad[:6])


def readers():
    made = {}
    for name, verb in {
            "count": ("query", "--count", "-f", "tcp port 443"), "rows": ("query", "--limit", "3", "-f", "host 10.0.0.5"),
            "bpf": ("query", "--count", "-f", "tcp[4:4] > 3 or ip6 host ::1"), "explain": ("query", "--explain", "-f", "net 10.0.0.0/8"),
            "merge": ("query", "-o", "ndjson", "--limit", "1500"), "ls": ("ls",), "segments": ("ls", "segments", "--json"),
            "stat": ("stat", "--json"), "fsck": ("fsck", "-q")}.items():
        made[name] = atoll("full", *verb)
        walk(name, "full", verb, made[name].out if name not in ("fsck", "explain") else None)
    atoll("full", "export", "--raw", "-q", "-o", "wanted.pcapng")
    with open("wanted.pcapng", "rb") as f:
        wanted = f.read()

    def gone():
        if os.path.exists("out.pcapng"):
            os.unlink("out.pcapng")

    def exported(r):
        left = [n for n in os.listdir(".") if "out.pcapng" in n or n.startswith(".atoll")]
        if r.code != 0:
            return f"left: {left}" if left else None
        with open("out.pcapng", "rb") as f:
            return None if f.read() == wanted else "another export"
    walk("export", "full", ("export", "--raw", "-q", "-o", "out.pcapng"), None, gone, exported)
    must("fsck_finds_nothing_after_all_that", atoll("full", "fsck"), 0, "clean")


def writers():
    listing = atoll("full", "ls", "segments", "--json").text
    count = ("query", "--count", "--json", "-s", "s")
    whole = atoll("full", *count).text

    def imported(r):
        words = sound(r)
        if words:
            return words
        again = atoll("A", "import", "-q", "--stream", "s", "a.pcap", "b.pcap")
        return f"the same again: {again}" if again.code != 0 else None if atoll("A", *count).text.split("bytes_read")[0] == \
            whole.split("bytes_read")[0] else "the same again did not complete it"

    def sound(_):
        r = atoll("A", "fsck", "-q")
        return f"fsck: {r}" if r.code != 0 else None

    def rebuilt(r):
        words = sound(r)
        return words or (None if atoll("A", "ls", "segments", "--json").text == listing else "another listing")

    def removed(r):
        words = sound(r)
        left = atoll("A", "query", "--count", "-s", "s")
        return words or (f"not removed: {left}" if r.code == 0 and left.code != 5 else None)
    walk("import", "A", ("import", "-q", "--stream", "s", "a.pcap", "b.pcap"), None, lambda: fresh("A", "empty"), imported, (1, 3))
    walk("rebuild", "A", ("rebuild", "-q"), None, lambda: fresh("A", "full"), rebuilt)
    walk("rm", "A", ("rm", "-q", "-s", "s", "--until", "2500-01-01"), None, lambda: fresh("A", "full"), removed)
    walk("rm_of_a_part", "A", ("rm", "-q", "-s", "s", "--until", "2026-01-05T08:00:00.05Z"), None, lambda: fresh("A", "full"), sound)
    walk("init", "I", ("init", "-q", "I"), None, lambda: shutil.rmtree("I", ignore_errors=True),
         lambda r: None if r.code == 0 or not os.path.exists("I") else f"left: {os.listdir('I')}")


scratch()
if SANITIZED or not os.path.exists(NOMEM):
    skip("all_of_it", "no shim, or a sanitized program, which it does not go with")
    finish()
os.chdir(fast_folder("nomem"))
gen("a.pcap", "--packets", "1000", "--seed", "1", "--snaplen", "96")
gen("b.pcap", "--packets", "1000", "--seed", "2", "--snaplen", "96")
init("empty")
init("full")
must("the_archive_is_made", atoll("full", "import", "-q", "--stream", "s", "a.pcap", "b.pcap"))
must("with_two_streams", atoll("full", "import", "-q", "--again", "--stream", "t", "b.pcap"))
readers()
writers()
finish()
