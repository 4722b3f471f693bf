#!/usr/bin/env python3
"""The power fails. init, import, rm and rebuild are recorded call by call (tests/fault/record.c); from the record come the states that
the disk may then be in, at every moment: what was made durable is there, and of the rest each write and each name may be there or
not, whatever their order. In each state the archive opens, fsck finds nothing, what a command had reported is there whole, what it
was about is there wholly or not at all, and the same command completes it.

The model is stricter than ext4: fsync of a file does not keep its name, only fsync of its folder does; writes are lost or kept one
by one, whole or cut at a sector; names, too. At each moment these subsets of what is not durable yet are tried: none, all, each one
missing, each one alone, each prefix, all names without data, all data without names, each longer write cut in the middle.

POWERLOSS_SECONDS bounds the time (default 45; the states are then a sample, the same each time), POWERLOSS_RANDOM=N adds N random
subsets at each moment."""
import hashlib
import random
import sys
import time

sys.dont_write_bytecode = True
from kit.results import *  # noqa: E402,F403

RECORD = os.path.join(OUT, "record.so")
SECONDS = float(os.environ.get("POWERLOSS_SECONDS", "45"))
RANDOM = int(os.environ.get("POWERLOSS_RANDOM", "0"))
SECTOR = 512


TWO = "rename", "exchange", "link"


def moved(path, one, other, both):
    """The path after one was renamed to other (both: exchanged), files below included; None: it was replaced."""
    for a, b in ((one, other), (other, one if both else None)):
        if path == a or path.startswith(a + "/"):
            return b + path[len(a):] if b else None
    return path


def move(names, one, other, both):
    """The same for the keys of a dict."""
    changed = [(moved(path, one, other, both), value) for path, value in names.items()]
    names.clear()
    names.update((path, value) for path, value in changed if path)


class Op:
    """One recorded call. durable_at: number of the call from which on it can not be lost any more (None: never made so)."""

    def __init__(self, number, words):
        self.number, self.kind, self.path = number, words[0], words[1]
        self.durable_at = None
        self.file = None  # the identity of what it is about
        if self.kind in ("write", "dsync"):
            self.at, self.data = int(words[2]), bytes.fromhex(words[3])
        elif self.kind == "size":
            self.at = int(words[2])
        elif self.kind in TWO:
            self.to = words[2]

    def is_data(self):
        return self.kind in ("write", "dsync", "size")

    def folders(self):
        """That must be made durable for it, when it is about names."""
        return {os.path.dirname(p) for p in [self.path] + ([self.to] if self.kind in TWO else [])}


def parsed(record, without):
    """The calls without those that only sync; each knows when it became durable. without: as if these calls had not been made."""
    ops, names, pending, files = [], {}, [], 0  # names: path -> identity; of what was there before, its path
    with open(record, encoding="ascii") as f:
        lines = [line for line in f.read().splitlines() if not (without and re.search(without, line))]
    for number, line in enumerate(lines):
        words = line.split(" ")
        if words[0] == "sync":
            rest = []
            for op in pending:
                if op.is_data():
                    done = names.setdefault(words[1], words[1]) == op.file
                else:
                    op.left.discard(words[1])
                    done = not op.left
                if done:
                    op.durable_at = number
                else:
                    rest.append(op)
            pending = rest
            continue
        op = Op(number, words)
        if op.kind in ("create", "mkdir"):
            files += 1
            names[op.path] = files
        op.file = names.setdefault(op.path, op.path)
        if op.kind in ("rename", "exchange"):
            move(names, op.path, op.to, op.kind == "exchange")
            for other in pending:
                if not other.is_data():
                    other.left = {moved(p, op.path, op.to, op.kind == "exchange") or p for p in other.left}
        elif op.kind == "link":
            names[op.to] = op.file
        elif op.kind == "remove":
            names.pop(op.path, None)
        if op.kind == "dsync":
            op.durable_at = number
        else:
            op.left = set() if op.is_data() else op.folders()
            pending.append(op)
        ops.append(op)
    return ops, len(lines)


def overwrite(data, at, new):
    if len(data) < at:
        data.extend(bytes(at - len(data)))
    data[at:at + len(new)] = new


def state_of(base, ops, chosen, cut):
    """{path: bytes, or None for a folder}: base with the chosen calls done; of the one numbered cut only the first half."""
    names = {path: path for path in base}  # path -> identity
    data = {path: None if content is None else bytearray(content) for path, content in base.items()}
    for op in ops:
        if op.number not in chosen:
            continue
        key = op.file
        if op.kind in ("create", "mkdir"):
            if os.path.dirname(op.path) in names or os.path.dirname(op.path) == ROOT:
                names[op.path] = key
                data.setdefault(key, None if op.kind == "mkdir" else bytearray())
        elif op.is_data():
            content = data.setdefault(key, bytearray())
            if op.kind == "size":
                del content[op.at:]
                overwrite(content, op.at, b"")
            else:
                n = len(op.data)
                if op.number == cut:
                    n = max(0, (op.at + n // 2) // SECTOR * SECTOR - op.at)
                overwrite(content, op.at, op.data[:n])
        elif op.kind in ("rename", "exchange"):
            if op.path not in names and (os.path.dirname(op.to) in names or os.path.dirname(op.to) == ROOT) and op.kind == "rename":
                names[op.path] = key  # its first name was not kept, the second is
                data.setdefault(key, bytearray())
            if names.get(op.path) == key:
                move(names, op.path, op.to, op.kind == "exchange")
        elif op.kind == "remove":
            if names.get(op.path) == key:
                del names[op.path]
    return {path: None if data[key] is None else bytes(data[key]) for path, key in names.items()}


def subsets(waiting, dice):
    """(what of it is done, what is cut)"""
    numbers = [op.number for op in waiting]
    everything = set(numbers)
    yield set(), None
    yield everything, None
    for n in numbers:
        yield everything - {n}, None
        yield {n}, None
    for i in range(1, len(numbers)):
        yield set(numbers[:i]), None
    yield {op.number for op in waiting if op.is_data()}, None
    yield {op.number for op in waiting if not op.is_data()}, None
    for _ in range(RANDOM if len(waiting) > 2 else 0):
        yield {n for n in numbers if dice.random() < 0.5}, dice.choice(numbers)
    for op in waiting:
        if op.kind == "write" and len(op.data) > SECTOR:
            yield everything, op.number
            yield {op.number}, op.number


def states(base, record, without=None):
    """Each state of the disk that can be, once, with whether the command had ended and the number of the call before which the power
    failed."""
    ops, end = parsed(record, without)
    seen, dice = set(), random.Random(7)
    for crash in range(end, -1, -1):  # what can be after its end is told of there
        done = [op for op in ops if op.number < crash]
        kept = {op.number for op in done if op.durable_at is not None and op.durable_at < crash}
        for chosen, cut in subsets([op for op in done if op.number not in kept], dice):
            state = state_of(base, done, kept | chosen, cut)
            print_ = hashlib.sha256(repr(sorted(state.items())).encode()).digest()
            if print_ not in seen:
                seen.add(print_)
                yield crash == end, crash, state


def snapshot():
    found = {}
    for folder, folders, names in os.walk(ROOT):
        found.update({os.path.join(folder, f): None for f in folders})
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                found[os.path.join(folder, name)] = f.read()
    return found


def lay_out(state):
    shutil.rmtree(ROOT, ignore_errors=True)
    os.mkdir(ROOT)
    for path in sorted(state):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if state[path] is None:
            os.makedirs(path, exist_ok=True)
        else:
            with open(path, "wb") as f:
                f.write(state[path])
            os.chmod(path, 0o600)


def verdict(command, allowed, after):
    """What is wrong with the archive as it lies there; allowed: what may be in it."""
    r = atoll(A, "fsck", "-q")
    if r.code != 0:
        return f"fsck: {r}"
    got = exported_records(A)
    if isinstance(got, Run):
        return f"export: {got}"
    if got not in allowed:
        return f"{len(got)} bytes of records, allowed {[len(a) for a in allowed]}"
    r = run(*command)
    if r.code != 0 and "already imported" not in r.err:
        return f"the same again: {r}"
    got = exported_records(A)
    return None if got == after else f"after the same again: {len(got) if isinstance(got, bytes) else got} instead of {len(after)} bytes"


def verdict_of_lost(state, after):
    lay_out(state)
    return None if exported_records(A) == after else "lost"


def walk(name, command, seconds):
    """Runs the command on what lies there, and then looks at the disk as it may be after any moment of it."""
    base, before = snapshot(), exported_records(A)
    with open("record", "wb"):
        pass
    r = run(*command, env={"LD_PRELOAD": RECORD, "ATOLL_RECORD": os.path.abspath("record"), "ATOLL_RECORD_DIR": ROOT})
    if r.code != 0:
        return ok(f"{name}_works", False, r)
    result, after = snapshot(), exported_records(A)
    allowed = [before, after] + [a for a in BETWEEN.get(name, [])]
    found = list(states(base, "record"))
    random.Random(1).shuffle(found)
    began, tried, bad = time.monotonic(), 0, []
    for ended, crash, state in sorted(found, key=lambda f: not f[0]):  # first those after its end: it had reported success
        if time.monotonic() - began > seconds and tried > 20:
            break
        tried += 1
        lay_out(state)
        words = verdict(command, [after] if ended else allowed, after)
        if ended and state.get(f"{A}/keystore") != result[f"{A}/keystore"]:
            words = "the keys on the disk are not those that were made or destroyed"
        if words:
            bad.append(f"before call {crash}: {shown(words)}")
    if name.startswith("an_import"):
        lost = [verdict_of_lost(s, after) for e, _, s in states(base, "record", "sync .*/segments$") if e]
        ok(f"a_missing_fsync_of_{name}_would_be_found", any(lost))
    lay_out(result)
    print(f"# {name}: {tried} of {len(found)} states")
    return ok(f"a_power_failure_at_any_moment_of_{name}_harms_nothing", not bad and found, f"{len(bad)} of {tried};", *bad[:5])


def verdict_of_init(command, again):
    r = run(*command)
    if r.code == 0:
        return again()
    return again() if "already an archive" in r.err else f"the same again: {r}"


def walk_init(seconds):
    """Before its end there is an archive, or the same command makes one."""
    command = (ATOLL, "init", "-q", A)
    with open("record", "wb"):
        pass
    r = run(*command, env={"LD_PRELOAD": RECORD, "ATOLL_RECORD": os.path.abspath("record"), "ATOLL_RECORD_DIR": ROOT})
    result, found = snapshot(), list(states({}, "record"))
    random.Random(1).shuffle(found)
    began, tried, bad = time.monotonic(), 0, []

    def works():
        r = atoll(A, "import", "-q", "a.pcap")
        return f"import: {r}" if r.code != 0 else None if atoll(A, "fsck", "-q").code == 0 else "fsck finds something"
    for ended, crash, state in sorted(found, key=lambda f: not f[0]):
        if time.monotonic() - began > seconds:
            break
        tried += 1
        lay_out(state)
        words = works() if ended else verdict_of_init(command, works)
        if words:
            bad.append(f"before call {crash}: {shown(words)}; {sorted(os.path.relpath(p, ROOT) for p in state)}")
    lay_out(result)
    print(f"# init: {tried} of {len(found)} states")
    ok("a_power_failure_at_any_moment_of_init_harms_nothing", r.code == 0 and not bad, f"{len(bad)} of {tried};", *bad[:5])


scratch()
if SANITIZED or not os.path.exists(RECORD):
    skip("all_of_it", "no shim, or a sanitized program, which it does not go with")
    finish()
os.chdir(fast_folder("powerloss"))
ROOT = os.path.abspath("disk")
A = os.path.join(ROOT, "A")
BETWEEN = {}
os.mkdir(ROOT)
for i, letter in enumerate("abc"):
    gen(f"{letter}.pcap", "--packets", "300", "--seed", str(i + 1), "--snaplen", "96", "--start", str(1767600000 + 100 * i))
walk_init(SECONDS * 0.15)
walk("an_import", (ATOLL, "-A", A, "import", "-q", "-j", "1", "--stream", "s", "a.pcap"), SECONDS * 0.25)
records = {}
for letter in "abc":
    with open(f"{letter}.pcap", "rb") as f:
        records[letter] = f.read()[24:]
BETWEEN["an_import_of_two_files"] = [records["a"] + records["b"]]
walk("an_import_of_two_files", (ATOLL, "-A", A, "import", "-q", "-j", "1", "--stream", "s", "b.pcap", "c.pcap"), SECONDS * 0.25)
ok("all_of_it_is_there", exported_records(A) == b"".join(records.values()))
walk("an_rm_of_whole_segments", (ATOLL, "-A", A, "rm", "-q", "-s", "s", "--until", "1767600050"), SECONDS * 0.1)
walk("an_rm_of_parts", (ATOLL, "-A", A, "rm", "-q", "-s", "s", "--until", "1767600100.01"), SECONDS * 0.15)
ok("what_was_removed_is_gone", records["a"] not in exported_records(A) and exported_records(A).endswith(records["c"]))
walk("a_rebuild", (ATOLL, "-A", A, "rebuild", "-q"), SECONDS * 0.1)
finish()
