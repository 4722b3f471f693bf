#!/usr/bin/env python3
"""Kills, failing, short and torn calls at every step of init, import, rm and rebuild (tests/fault/shim.c). Whatever happens at
whichever step: the archive opens, fsck finds nothing, what a command reported as done is there whole, the rest is there up to
its last commit, and the same command again completes it."""
import json
import sys

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

# "after" a step the disk is as it is before a kill at the next one, so it is not walked
KINDS = "kill", "torn", "errno:EIO", "errno:ENOSPC", "short"
FULL = "errno:ENOSPC+"    # that step and all later ones
PARTS_OF = "torn", "short"  # of what is written: at the steps that write
PARTS = ["format", "index", "keystore", "manifest", "owner.key", "segments"]
KILLED = ("kill", "torn")


def faulty(fault, below, *command):
    return run(*command, env={"LD_PRELOAD": SHIM, "ATOLL_FAULT": fault, "ATOLL_FAULT_DIR": os.path.abspath(below)}, timeout=30)


def steps_of(below, *command):
    """The calls that its steps are."""
    r = run(*command, env={"LD_PRELOAD": SHIM, "ATOLL_FAULT_LOG": "steps.txt", "ATOLL_FAULT_DIR": os.path.abspath(below)})
    if r.code != 0:
        ok("the_command_works_without_a_fault", False, command, r)
        return []
    with open("steps.txt", encoding="utf-8") as f:
        calls = [line.split()[1] for line in f]
    os.unlink("steps.txt")
    return calls


def walk(name, steps, case, kinds=KINDS):
    """case(kind, fault) gives the words of what went wrong, or None."""
    for kind in kinds:
        bad = []
        tried = [n for n, call in enumerate(steps, 1) if kind not in PARTS_OF or "write" in call]
        if kind == "errno:ENOSPC":
            tried = tried[::2]  # the way of EIO, which comes everywhere
        for n in tried:
            words = case(kind, f"{kind[:-1]}:{n}+" if kind == FULL else f"{kind}:{n}")
            if words:
                bad.append(f"step {n}: {shown(words)}")
        title = kind.replace(":", "_").replace("+", "_from_there_on")
        print(f"# {name}, {kind}: {len(tried)} of {len(steps)} steps")
        ok(f"{name}_survives_{title}_at_each_step", not bad, f"{len(bad)} of {len(tried)};", bad[:4])


def sound(archive, *allowed):
    """fsck finds nothing, and afterwards nothing lies about."""
    r = atoll(archive, "fsck", "-q")
    if r.code != 0:
        return f"fsck: {r}"
    left = sorted(set(os.listdir(archive)) - {"reserve", *allowed})
    return None if left == PARTS else f"left over: {left}"


# --- import ---

def import_case(wholes):
    both = b"".join(wholes)
    command = (ATOLL, "-A", "A", "import", "--stream", "s", "a.pcap", "b.pcap")

    def case(kind, fault):
        fresh("A", "fresh")
        r = faulty(fault, "A", *command)
        if kind in KILLED and r.code != -9:
            return f"was not killed: {r}"
        if r.code not in (-9, 0, 1, 3):
            return r
        acknowledged = sum(len(w) for name, w in zip(("a", "b"), wholes) if f"{name}.pcap: 3,0" in r.text)
        if r.code == 0 and acknowledged != len(both):
            return f"success without saying so: {r}"
        words = sound("A")
        if words:
            return words
        got = exported_records("A")
        if isinstance(got, Run):
            return got
        if not both.startswith(got) or len(got) not in (0, len(wholes[0]), len(both)):
            return f"{len(got)} bytes are no prefix up to a commit"
        if len(got) < acknowledged:
            return f"{acknowledged} bytes were acknowledged, {len(got)} are there"
        r = run(*command)
        if r.code != 0:
            return f"the same again: {r}"
        if exported_records("A") != both:
            return "the same again did not complete it"
        return sound("A")
    return case


def imports():
    init("fresh")
    gen("a.pcap", "--packets", "3000", "--seed", "1", "--snaplen", "96")
    gen("b.pcap", "--packets", "3000", "--seed", "2", "--snaplen", "96", "--start", "1767603600")
    wholes = []
    for name in "ab":
        with open(f"{name}.pcap", "rb") as f:
            wholes.append(f.read()[24:])
    fresh("A", "fresh")
    steps = steps_of("A", ATOLL, "-A", "A", "import", "--stream", "s", "a.pcap", "b.pcap")
    ok("an_import_has_many_steps", len(steps) >= 40, len(steps))
    walk("import", steps, import_case(wholes), KINDS + (FULL,))


# --- rm ---

def removals():
    init("full")
    run(ATOLL, "-A", "full", "import", "-q", "--stream", "s", "a.pcap", "b.pcap")
    gen("c.pcap", "--packets", "2000", "--seed", "3", "--snaplen", "96", "--start", "1767607200")
    run(ATOLL, "-A", "full", "import", "-q", "--stream", "s", "c.pcap")
    run(ATOLL, "-A", "full", "import", "-q", "--again", "--stream", "other", "a.pcap")
    found = [p for name in "abc" for p in t.whole(f"{name}.pcap")]
    times = sorted(p.ts for p in t.whole("b.pcap"))
    until = times[len(times) // 3]
    late = [p for p in found if p.ts >= until]
    command = (ATOLL, "-A", "A", "rm", "-q", "--stream", "s", "--until", f"{until // t.NS}.{until % t.NS:09}")

    def exported():
        r = atoll("A", "export", "--raw", "-q", "-s", "s", "-o", "out.pcap")
        return t.whole("out.pcap") if r.code == 0 else r

    def case(kind, fault):
        fresh("A", "full")
        r = faulty(fault, "A", *command)
        if kind in KILLED and r.code != -9:
            return f"was not killed: {r}"
        if r.code not in (-9, 0, 1):
            return r
        words = sound("A")
        if words:
            return words
        got = exported()
        if isinstance(got, Run):
            return got
        if [p for p in got if p.ts >= until] != late:
            return "a later packet is gone"
        if r.code == 0 and len(got) != len(late):
            return "earlier packets are there after success"
        if len(got) not in (len(found), len(late)):
            return f"{len(got)} packets: a removal half done is visible"
        before = len(got)
        r = run(*command)
        if r.code != 0 or exported() != late:
            return f"the same again ({before} packets before): {r}"
        r = atoll("A", "rebuild", "-q")
        if r.code != 0 or exported() != late:
            return f"after a rebuild: {r}"
        if len(os.listdir("A/segments")) != 3:
            return f"left over: {os.listdir('A/segments')}"
        return sound("A")
    fresh("A", "full")
    steps = steps_of("A", *command)
    ok("a_removal_has_many_steps", len(steps) >= 25, len(steps))
    walk("rm", steps, case)
    same("another_stream_is_untouched", json.loads(atoll("A", "query", "--count", "--json", "-s", "other").text)["packets"],
         len(t.whole("a.pcap")))


# --- rebuild, fsck --repair, init ---

def rebuilds():
    listing = atoll("full", "ls", "segments", "--json").text
    wanted = exported_records("full")
    shutil.copytree("full", "bare")
    shutil.rmtree("bare/index")
    for name, source, *verb in ("rebuild", "full", "rebuild"), ("rebuild_without_an_index", "bare", "rebuild"), \
            ("repair_without_an_index", "bare", "fsck", "--repair"):
        def case(kind, fault, source=source, verb=verb):
            fresh("A", source)
            r = faulty(fault, "A", ATOLL, "-A", "A", *verb)
            if kind in KILLED and r.code != -9:
                return f"was not killed: {r}"
            if r.code not in (-9, 0, 1, 3):
                return r
            # what a killed rebuild leaves is the next one's to remove
            words = sound("A", *["index.new"] * (kind in KILLED)) if source == "full" or r.code == 0 else None
            if words:
                return words
            r = atoll("A", "rebuild", "-q")
            if r.code != 0:
                return f"the same again: {r}"
            if atoll("A", "ls", "segments", "--json").text != listing or exported_records("A") != wanted:
                return "something else is listed or exported"
            return sound("A")
        fresh("A", source)
        steps = steps_of("A", ATOLL, "-A", "A", *verb)
        walk(name, steps, case, KINDS if source == "full" else ("kill", "torn", "errno:EIO"))


def inits(name, *where):
    """where: the owner key's place, when it is not in the archive."""
    command = (ATOLL, "init", "-q", "I/A", *where)

    def clear():
        shutil.rmtree("I", ignore_errors=True)
        os.mkdir("I")

    def again():
        r = run(*command)
        if r.code != 0:
            return f"the same again: {r}; {os.listdir('I')} {os.listdir('I/A') if os.path.exists('I/A') else ''}"
        return works()

    def works():
        r = atoll("I/A", "import", "-q", "a.pcap", *where)
        if r.code != 0:
            return f"nothing can be imported: {r}"
        r = atoll("I/A", "fsck", "-q", *where)
        left = sorted(set(os.listdir("I/A") + os.listdir("I")) - {"reserve"})
        wanted = sorted(["A"] + [p for p in PARTS if p != "owner.key" or not where] + ["key"] * bool(where))
        return f"fsck: {r}" if r.code != 0 else None if left == wanted else f"left over: {left}"

    def case(kind, fault):
        clear()
        r = faulty(fault, "I", *command)
        if kind in KILLED and r.code != -9:
            return f"was not killed: {r}"
        if r.code not in (-9, 0, 1):
            return r
        there = atoll("I/A", "stat", *where).code == 0
        if r.code == 0 and not there:
            return f"success, but no archive: {os.listdir('I/A')}"
        if r.code == 1 and not there and os.listdir("I"):
            return f"left over by a failure: {os.listdir('I')}"
        return works() if there else again()

    def killed_again(first, second):
        clear()
        for n in first, second:
            r = faulty(f"kill:{n}", "I", *command)
            if r.code != -9:
                return None if n == second else r  # done before step n, or it was there
        return works() if os.path.exists("I/A/format") else again()

    clear()
    steps = steps_of("I", *command)
    walk(name, steps, case)
    pairs = [(a, b) for a in range(2, len(steps), 3) for b in range(1 + a % 2, len(steps) + 20, 4)]
    bad = [f"{p}: {words}" for p in pairs if (words := killed_again(*p))]
    ok(f"{name}_that_was_killed_twice_can_be_done_again", not bad, f"{len(bad)} of {len(pairs)};", bad[:4])


scratch()
if SANITIZED or not os.path.exists(SHIM):
    skip("all_of_it", "no fault shim, or a sanitized program, which it does not go with")
    finish()
os.chdir(fast_folder("faultwalk"))
imports()
removals()
rebuilds()
inits("init")
inits("init_with_its_key_elsewhere", "--key-file", "I/key")
finish()
