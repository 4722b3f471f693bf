#!/usr/bin/env python3
"""Monitors that mean harm, or are broken, against a served archive: parcels of others, names that are paths, gaps, forks, garbage
and bombs with a right signature, copies, floods, silence. Each is answered as docs/wire.md says; the archive stays up, takes
from an honest collector all the while, and its ingest process stays small. The bytes come from tests/collector.py."""
# waits
import base64
import importlib.util
import json
import resource
import socket
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
from kit import remote as r     # noqa: E402
from kit import traces as t     # noqa: E402
from kit.results import *       # noqa: E402,F403

if importlib.util.find_spec("nacl") is None and sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])  # Debian's PyNaCl is for Debian's Python

NOT_ENROLLED, REVOKED, QUARANTINED, WRONG_ARCHIVE, DAMAGED, OUT_OF_ORDER, TOO_LARGE, QUOTA = range(1, 9)
SILENT = 5000
YEARS = 10 * 365 * 86400 * t.NS
START = 1767600000 * t.NS


def frames(n=10, start=START, size=60):
    return [(start + i * 1000, size, os.urandom(size)) for i in range(n)]


class Monitor:
    """Enrolled, with a connection on which it says what it likes."""

    def __init__(self, site, name):
        self.name, self.folder = name, os.path.join(site.folder, "hostile-" + name)
        c.enrol(self.folder, f"atoll://127.0.0.1:{site.port}", site.code(name))
        self.id = c.load_identity(self.folder)
        self.connection = None

    def hello(self, clock=None):
        self.connection = c.Connection("127.0.0.1", self.id.fields["port"], self.id.secret, self.id.archive_key)
        self.connection.say(c.HELLO, c.text("hostile") + struct.pack("<QI", clock or time.time_ns(), 1))
        self.connection.expect(c.WELCOME)
        return self

    def close(self):
        if self.connection:
            self.connection.socket.close()
        self.connection = None

    def parcel(self, stream="s", block=None, key=None, count=10, name=None, signer=None, first=START, last=None, **fields):
        """One that is right, except for what is given."""
        if block is None:
            block, key = c.make_block(1, frames(count, first))
            last = last or first + (count - 1) * 1000
        signer = signer or self.id.signer
        name = stream.encode() if name is None else name
        values = dict.fromkeys(c.FIELDS, 0)
        values.update(magic=b"PRCL", version=1, kind=1, name_bytes=len(name), archive=self.id.archive, epoch=7,
                      monitor=bytes(signer.verify_key), sequence=1, previous=bytes(32), made_ns=time.time_ns(), records=count,
                      first_ns=first, last_ns=last or first, captured_bytes=count * 60, source=bytes(32), hash=c.blake(block),
                      block_bytes=len(block), sealed_key=c.SealedBox(c.PublicKey(self.id.ingest)).encrypt(key or bytes(32)))
        values.update(fields)
        front = c.HEADER.pack(*(values[f] for f in c.FIELDS)) + name
        return front + signer.sign(front).signature + block

    def answer(self, seconds=15):
        """("ack", sequence), ("refused", code, sequence), or ("closed",)."""
        try:
            while True:
                got = self.connection.hear(seconds)
                if got is None:
                    return ("silence",)
                kind, body = got
                if kind == c.ACK:
                    body.text()
                    return ("ack", body.number(8) and body.number(8))
                if kind == c.REFUSED:
                    code, _, _, sequence = body.number(1), body.text(), body.number(8), body.number(8)
                    return ("refused", code, sequence)
        except (c.Trouble, OSError):
            return ("closed",)

    def send(self, parcel):
        """A session of its own for this parcel."""
        self.close()
        self.hello()
        self.connection.say(c.PARCEL, parcel)
        got = self.answer()
        self.close()
        return got


class Honest(threading.Thread):
    """Pushes one case after the other until it is stopped."""

    def __init__(self, site):
        super().__init__()
        self.site, self.collector = site, r.Collector(site, "honest").enrol()
        self.cases, self.bad, self.slowest, self.over = 0, [], 0.0, threading.Event()

    def run(self):
        while not self.over.is_set():
            files = small.make(self.site.folder, self.cases + 1)
            began = time.monotonic()
            done = self.collector.push(*files)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.cases += 1
            for path in files:
                os.unlink(path)
            if done.code != 0:
                self.bad.append(repr(done))
            self.over.wait(0.1)

    def stop(self):
        self.over.set()
        self.join()
        ok("an_honest_collector_is_served_all_the_while", not self.bad and self.cases > 10 and self.slowest < 15,
           f"{self.cases} cases, slowest {self.slowest:.1f} s", self.bad[:3])
        words = r.difference(self.site.export("-s", "honest/s"), small.bag(*range(1, self.cases + 1)))
        ok("and_has_all_of_its_packets_there_once", not words, words)
        print(f"# {self.cases} cases, slowest {self.slowest:.2f} s")


def refused(name, got, *codes):
    ok(name, got[0] == "refused" and got[1] in codes, got, "wanted refusal", codes)


# --- parcels ---

def of_others(site):
    a, b = Monitor(site, "a"), Monitor(site, "b")
    refused("a_parcel_signed_by_another_monitor", a.send(b.parcel()), WRONG_ARCHIVE)
    refused("a_parcel_for_another_archive", a.send(a.parcel(archive=bytes(16))), WRONG_ARCHIVE)
    own = c.SigningKey.generate()
    refused("a_parcel_signed_by_a_key_of_nobody", a.send(a.parcel(signer=own)), WRONG_ARCHIVE)
    refused("a_parcel_with_another_signature", a.send(a.parcel(signer=own, monitor=bytes(a.id.signer.verify_key))), DAMAGED)
    refused("a_key_that_is_sealed_for_another", a.send(a.parcel(sealed_key=os.urandom(80))), WRONG_ARCHIVE, DAMAGED)
    same("nothing_of_it_is_stored", sum(site.export("-s", "a/*").values()) if has_stream(site, "a/") else 0, 0)
    same("a_right_one_is_still_taken", a.send(a.parcel()), ("ack", 1))


def has_stream(site, start):
    return [s["name"] for s in json_of(site, "ls", "streams").get("streams", []) if s["name"].startswith(start)]


def json_of(site, *arguments):
    return json.loads(site.verb(*arguments, "--json").text or "{}")


def names(site):
    until = time.monotonic() + 60  # the honest collector's stream is there from its first parcel on
    while not has_stream(site, "honest/") and time.monotonic() < until:
        time.sleep(0.1)
    before = set(has_stream(site, ""))
    bad = []
    hostile = [b"../../etc/x", b"a/b", b"honest/s", b"/", b"", b".", b"..", b".hidden", b"a\0b", b"\x1b[2J", b"a\nb", b"\xff\xfe",
               b"x" * 120, "\u202estream".encode(), b"a b", b"-rf", b"%s%n"]
    for i, name in enumerate(hostile):
        m = Monitor(site, f"n{i}")  # too many broken parcels and a monitor is quarantined
        got = m.send(m.parcel(name=name))
        if not (got == ("closed",) or (got[0] == "refused" and got[1] in (DAMAGED, TOO_LARGE))) and name != b"-rf":
            bad.append((name, got))
    ok("names_of_streams_that_are_paths_or_worse_are_refused", not bad, bad)
    new = set(has_stream(site, "")) - before
    strange = [n for n in new if not re.fullmatch(r"n\d+/[A-Za-z0-9_:@+-][A-Za-z0-9._:@+-]*", n)]
    ok("no_stream_of_such_a_name_comes_to_be", not strange, strange)
    ok("nor_one_of_another_monitor", not [n for n in new if n.startswith("honest")], new)


def places(site):
    m = Monitor(site, "places")
    refused("a_gap_in_the_sequence", m.send(m.parcel(sequence=3, previous=os.urandom(32))), OUT_OF_ORDER)
    first = m.parcel()
    same("the_first_is_taken", m.send(first), ("ack", 1))
    same("the_same_again_is_acknowledged_without_effect", m.send(first), ("ack", 1))
    same("and_is_there_once", sum(site.export("-s", "places/s").values()), 10)
    refused("a_smaller_epoch", m.send(m.parcel(epoch=6)), OUT_OF_ORDER)
    refused("sequence_0", m.send(m.parcel(sequence=0)), DAMAGED, OUT_OF_ORDER)
    same("a_larger_epoch_starts_anew", m.send(m.parcel(epoch=8)), ("ack", 1))
    m = Monitor(site, "fork")
    m.send(m.parcel())
    refused("another_parcel_at_the_same_place", m.send(m.parcel()), QUARANTINED)
    same("quarantines_the_monitor", site.monitors()["fork"]["state"], "quarantined")
    ok("with_a_reason", "copied" in (site.monitors()["fork"]["reason"] or ""), site.monitors()["fork"])
    try:
        m.hello()
        ok("a_quarantined_monitor_is_told_so", False)
    except c.Refused as e:
        ok("a_quarantined_monitor_is_told_so", "quarantined" in str(e), e)
    m = Monitor(site, "chain")
    m.send(m.parcel())
    refused("a_next_one_with_another_past", m.send(m.parcel(sequence=2, previous=os.urandom(32))), QUARANTINED)


def bomb_chunk():
    """256 MiB of zeros as one stored stream of a column: 8 KiB."""
    packed = run("sh", "-c", "head -c 268435456 /dev/zero | zstd -q -19 -c").out
    return b"\2" + c.varint(268435456) + c.varint(len(packed)) + packed


def bomb_lying():
    """The same, which says that it is 60 bytes."""
    packed = run("sh", "-c", "head -c 268435456 /dev/zero | zstd -q -19 -c").out
    return b"\2" + c.varint(600) + c.varint(len(packed)) + packed


def block_with(changed):
    """A sealed block whose chunks went through changed()."""
    original = c.simplest_chunks

    def chunks(linktype, some):
        made = original(linktype, some)
        changed(made)
        return made
    c.simplest_chunks = chunks
    try:
        return c.make_block(1, frames())
    finally:
        c.simplest_chunks = original


def garbage(site):
    cases = {"garbage_for_a_block": (os.urandom(5000), os.urandom(32)), "an_empty_block": (b"", bytes(32))}
    block, key = c.make_block(1, frames())
    cases["a_block_cut_short"] = (block[:-1], key)
    cases["a_block_with_more_behind"] = (block + b"\0", key)
    flipped = bytearray(block)
    flipped[len(block) // 2] ^= 1
    cases["a_block_with_a_bit_flipped_before_it_was_signed"] = (bytes(flipped), key)
    cases["another_key"] = (block, os.urandom(32))
    for column in (0, 2, 3, 4, 11):
        cases[f"a_bomb_in_column_{column}"] = block_with(lambda made, n=column: made.update({n: bomb_chunk() + made[n]}))
        cases[f"a_bomb_that_lies_in_column_{column}"] = block_with(lambda made, n=column: made.update({n: bomb_lying() + made[n]}))
    cases["a_column_that_is_missing"] = block_with(lambda made: made.pop(3))
    cases["random_columns"] = block_with(lambda made: made.update({n: os.urandom(len(made[n])) for n in made}))
    bad = {}
    for i, (words, (some, its_key)) in enumerate(cases.items()):
        m = Monitor(site, f"g{i}")
        got = m.send(m.parcel(block=some, key=its_key, last=START + 9000))
        if not (got == ("closed",) or (got[0] == "refused" and got[1] in (DAMAGED, WRONG_ARCHIVE, TOO_LARGE))):
            bad[words] = got
    ok("garbage_and_bombs_that_are_signed_are_refused", not bad, bad)
    bad = {}
    for i, (field, value) in enumerate({"records": 11, "first_ns": START - 1, "last_ns": START + 9001, "captured_bytes": 1,
                                        "kind": 9, "version": 200, "block_bytes": 1 << 31, "hash": bytes(32)}.items()):
        m = Monitor(site, f"l{i}")
        got = m.send(m.parcel(**{field: value}))
        if got[0] == "ack":
            bad[field] = got
    ok("headers_that_lie_are_refused", not bad, bad)
    m = Monitor(site, "stubborn")
    for i in range(40):
        if m.send(m.parcel(hash=bytes(32))) == ("closed",):
            break
        if site.monitors()["stubborn"]["state"] != "enrolled":
            break
    same("who_sends_nothing_but_garbage_is_quarantined", site.monitors()["stubborn"]["state"], "quarantined")


def sizes(site):
    m = Monitor(site, "sizes")
    big = [(START + i, 1500, os.urandom(1500)) for i in range(11000)]
    block, key = c.make_block(1, big)
    got = m.send(m.parcel(block=block, key=key, count=len(big), first=START, last=START + len(big) - 1, captured_bytes=1500 * len(big)))
    same("the_largest_block_is_taken", got, ("ack", 1))
    m.hello()
    m.connection.say(c.PARCEL, bytes(18874368 + 1))
    got = m.answer()
    ok("a_larger_parcel_is_refused", got[0] == "closed" or got[1] == TOO_LARGE, got)
    m.close()
    m.hello()
    for n in range(1000):
        m.connection.say(c.FEED_ASK, c.text(f"stream{n}"))
    got = m.answer()
    ok("a_thousand_streams_are_too_many", got == ("closed",) or (got[0] == "refused" and got[1] == TOO_LARGE), got)
    m.close()
    got, bad = None, []
    for n in range(0, 300):
        if n % 50 == 0:
            m.close()
            m.hello()
        m.connection.say(c.PARCEL, m.parcel(stream=f"stream{n}"))
        got = m.answer()
        if got != ("ack", 1):
            bad.append((n, got))
            m.close()
            m.hello()
    m.close()
    ok("of_300_streams_in_six_sessions_256_are_taken", all(n >= 250 for n, _ in bad) and bad, bad[:3], len(bad))


def clocks(site):
    m = Monitor(site, "clock")
    for i, off in enumerate((YEARS, -YEARS)):
        m.close()
        m.hello(clock=time.time_ns() + off)
        m.connection.say(c.PARCEL, m.parcel(epoch=10 + i, first=START + off, made_ns=time.time_ns() + off))
        same(f"records_of_ten_years_{'hence' if off > 0 else 'ago'}_are_kept", m.answer(), ("ack", 1))
        shown_off = site.monitors()["clock"]["clock_offset_seconds"]
        ok("and_the_offset_of_the_clock_is_shown", shown_off is not None and abs(shown_off - off / t.NS) < 60, shown_off)
    m.close()
    times = {p.ts // YEARS for p in site.export("-s", "clock/s")}
    same("both_are_there", len(times), 2)


# --- who may come in ---

def revoked(site):
    m = Monitor(site, "gone").hello()
    began = time.monotonic()
    site.verb("revoke", "gone")
    got = m.answer(10)
    took = time.monotonic() - began
    ok("a_revoked_monitor_is_cut_within_5_s", got[0] != "silence" and took < 5, got, f"{took:.1f} s")
    try:
        m.hello()
        ok("and_does_not_come_in_again", False)
    except c.Refused as e:
        ok("and_does_not_come_in_again", "revoked" in str(e), e)


def cloned(site):
    """Two machines with a copy of one folder."""
    one = r.Collector(site, "original").enrol()
    files = small.make(site.folder, 501), small.make(site.folder, 502), small.make(site.folder, 503)
    done = one.push(*files[0])
    shutil.copytree(one.folder, one.folder + "-copy")
    two = r.Collector(site, "original", folder=one.folder + "-copy")
    second = one.push(*files[1]), two.push(*files[2], timeout=90)
    ok("a_copy_is_not_taken_for_the_original", done.code == 0 and second[0].code == 0 and second[1].code != 0, done, second)
    state = site.monitors()["original"]
    ok("the_copy_says_why", re.search("copied|copy|quarantined", second[1].said), second[1], state)
    # a copy whose spool has parcels at the same places
    one = r.Collector(site, "original2").enrol()
    site.verb("ls")
    shutil.copytree(one.folder, one.folder + "-copy")
    two = r.Collector(site, "original2", folder=one.folder + "-copy")
    one.push(*files[1])
    got = two.push(*files[2], timeout=90)
    state = site.monitors()["original2"]
    words = r.difference(site.export("-s", "original2/s"), small.bag(502))
    # both began an epoch of their own, the later one is the larger: then nothing tells them apart but the older one's return
    back = one.push(*small.make(site.folder, 504), timeout=90)
    state = site.monitors()["original2"]
    ok("two_copies_from_the_start_do_not_both_go_on", not (got.code == 0 and back.code == 0), got, back, state, words)


def codes(site):
    def enrol(code, name="late"):
        return r.Collector(site, name, folder=os.path.join(site.folder, f"late{time.monotonic_ns()}")).command(
            "enroll", f"atoll://127.0.0.1:{site.port}", code)
    used = site.code("late")
    must("a_code_is_good_once", run(*enrol(used)))
    got = run(*enrol(used))
    ok("and_not_twice", got.code == 4, got)
    short = site.code("late2", "--ttl", "1s")
    time.sleep(1.3)
    got = run(*enrol(short))
    ok("an_expired_code_is_refused", got.code == 4, got)
    secret, key = c.read_code(used)
    wrong = os.urandom(16) + key
    wrong = base64.b32encode(wrong + c.blake(wrong)[:4]).decode().lower().rstrip("=")
    got = run(*enrol(wrong))
    ok("a_code_of_nobody_is_refused", got.code == 4, got)
    other = secret + os.urandom(32)
    other = base64.b32encode(other + c.blake(other)[:4]).decode().lower().rstrip("=")
    got = run(*enrol(other), timeout=60)
    ok("a_code_of_another_archive_finds_nobody", got.code not in (0, "timeout"), got)
    voided = site.code("late3")
    site.code("late3")
    got = run(*enrol(voided))
    ok("a_newer_code_voids_the_older", got.code == 4, got)


# --- floods ---

def silence(site):
    """Thousands of connections from another address that say nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(SILENT + 200, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    made, opened = [], 0
    before = honest.cases
    kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]  # select() wants small numbers
    for i in range(most - 200):
        s = socket.socket()
        s.settimeout(2)
        try:
            s.bind((f"127.0.{1 + i // 1000}.2", 0))
            s.connect(("127.0.0.1", site.port))
            opened += 1
            made.append(s)
        except OSError:
            s.close()
    for fd in kept:
        os.close(fd)
    time.sleep(2)
    m = Monitor(site, "amid")
    same("a_parcel_gets_in_amid_thousands_of_silent_connections", m.send(m.parcel()), ("ack", 1))
    print(f"# {opened} connections")
    time.sleep(9)  # no handshake in ten seconds
    left = 0
    for s in made:
        s.setblocking(False)
        try:
            while s.recv(4096):
                pass
        except BlockingIOError:
            left += 1
        except OSError:
            pass
        s.close()
    ok("silent_connections_are_closed_after_ten_seconds", left < len(made) // 10, f"{left} of {len(made)} are open")
    ok("the_honest_one_went_on_meanwhile", honest.cases > before + 2, honest.cases - before)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def slow(site):
    """Handshakes at a byte in half a second, a hundred at once."""
    made = []
    for _ in range(100):
        s = socket.create_connection(("127.0.0.1", site.port), timeout=5)
        made.append(s)
    began, gone = time.monotonic(), 0
    data = b"ATOLLWIR\1\0\1\0" + struct.pack("<H", 96) + os.urandom(96)
    for i in range(26):
        gone = 0
        for s in made:
            try:
                s.send(data[i:i + 1])
            except OSError:
                gone += 1
        if gone == len(made):
            break
        time.sleep(0.5)
    for s in made:
        s.close()
    took = time.monotonic() - began
    ok("slow_handshakes_end_after_ten_seconds", gone == len(made) and took < 13, f"{gone} of {len(made)} ended after {took:.1f} s")


def main():
    global honest, small
    folder = fast_folder("hostile")
    small = r.Traces(os.path.join(folder, "traces"), packets=60, files=2)
    site = r.Site(os.path.join(folder, "site"), r.CONFIG + "[limits]\nconnections = 1024\n")
    site.start()
    ingest, store = site.pid("ingest"), site.pid("store")
    honest = Honest(site)
    honest.start()
    for part in of_others, names, places, garbage, sizes, clocks, revoked, cloned, codes, slow, silence:
        try:
            part(site)
        except Exception as e:  # the others are to be tried as well
            ok(f"{part.__name__}_runs", False, type(e).__name__, e)
            import traceback
            traceback.print_exc()
    honest.stop()
    same("no_process_died", (site.pid("ingest"), site.pid("store")), (ingest, store))
    peak = r.peak_bytes(site.pid("ingest"))
    ok("the_ingest_process_stayed_below_256_mib", peak < 256 << 20, f"{peak >> 20} MiB")
    print(f"# ingest {peak >> 20} MiB, store {r.peak_bytes(site.pid('store')) >> 20} MiB at most")
    same("the_server_stops_in_order", site.stop(), 0)
    words = site.fsck()
    ok("fsck_finds_nothing", not words, words)


scratch()
honest = small = None
if importlib.util.find_spec("nacl") is None:
    skip("all_of_it", "no PyNaCl (Debian: python3-nacl)")
elif r.ready("all_of_it"):
    spec = importlib.util.spec_from_file_location("collector", os.path.join(TOP, "tests", "collector.py"))
    c = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(c)
    main()
finish()
