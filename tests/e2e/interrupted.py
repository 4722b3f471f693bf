#!/usr/bin/env python3
"""Imports that are interrupted, run out of disk, read from a failing disk, or run beside others: the archive stays readable, the
same command goes on where it stopped, nothing is there twice, and a reader sees a prefix."""
import ctypes
import json
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

PACKETS = 1000000


def records(path):
    with open(path, "rb") as f:
        f.seek(24)
        return f.read()


def exported(archive, *selectors):
    r = atoll(archive, "export", "--raw", "-q", "-o", "out.pcap", *selectors)
    return records("out.pcap") if r.code == 0 else b"" if r.code == 5 else r


def packets_in(archive):
    r = atoll(archive, "stat", "--json")
    return json.loads(r.text)["packets"] if r.code == 0 else r


# --- SIGINT ---

def interrupted(whole):
    """Interrupts the import at later and later moments until it is through."""
    a, seen, rounds, delay = init("sig"), [0], 0, 0.02
    while rounds < 60:
        rounds += 1
        child = start(ATOLL, "-A", a, "import", "-q", "big.pcap", stderr=subprocess.PIPE)
        time.sleep(delay)
        child.send_signal(signal.SIGTERM if rounds % 2 else signal.SIGINT)
        _, err = child.communicate(timeout=60)
        code = child.returncode
        if code == -15 or code == -2:  # before it could watch for signals
            delay += 0.01
            continue
        if code not in (0, 130):
            return ok("an_interrupted_import_ends_with_130", False, code, err)
        r = atoll(a, "fsck", "--quick", "-q")
        if r.code != 0:
            return ok("fsck_finds_nothing_after_an_interrupt", False, r)
        seen.append(packets_in(a))
        if code == 0:
            break
        if b"goes on" not in err:
            return ok("an_interrupt_says_how_to_go_on", False, err)
        delay *= 1.3
    ok("an_interrupted_import_ends_with_130_and_says_how_to_go_on", len(seen) >= 3, seen)
    ok("each_run_goes_on_where_the_last_one_stopped", seen == sorted(seen) and code == 0, seen)
    same("in_the_end_all_packets_are_there_once", packets_in(a), PACKETS)
    ok("and_come_out_as_they_went_in", exported(a) == whole)
    must("then_the_import_is_complete", atoll(a, "import", "-q", "big.pcap"), 1, "--again")
    must("fsck_finds_nothing_after_many_interrupts", atoll(a, "fsck", "-q"))
    for delay in 0.05, 0.15:  # killed for good
        child = start(ATOLL, "-A", a, "import", "-q", "--again", "--stream", "twice", "big.pcap")
        time.sleep(delay)
        child.kill()
        child.wait()
        must(f"fsck_finds_nothing_after_a_kill_at_{int(delay * 1000)}_ms", atoll(a, "fsck", "-q", "--quick"))
    child = start(ATOLL, "-A", a, "export", "--raw", "-q", "-o", "never.pcap", stderr=subprocess.DEVNULL)
    time.sleep(0.03)
    child.send_signal(signal.SIGINT)
    child.wait()
    left = [n for n in os.listdir(".") if n.startswith(".atoll-export") or n == "never.pcap"]
    ok("an_interrupted_export_leaves_nothing", child.returncode in (130, -2) and (child.returncode == -2 or not left) or
       child.returncode == 0, child.returncode, left)


def continued_otherwise():
    """An interrupted import goes on only as it began: into its stream, with or without payload."""
    for delay in (0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5):
        a = init("otherwise")
        child = start(ATOLL, "-A", a, "import", "-q", "--headers-only", "--stream", "s", "big.pcap", stderr=subprocess.DEVNULL)
        time.sleep(delay)
        child.send_signal(signal.SIGTERM)
        if child.wait(timeout=60) == 130 and packets_in(a) > 0:
            break
    else:
        return skip("an_interrupted_import_goes_on_only_as_it_began", "could not interrupt it in time")
    before = packets_in(a)
    must("an_interrupted_import_goes_on_only_in_its_stream", atoll(a, "import", "-q", "--headers-only", "--stream", "t", "big.pcap"),
         2, "--stream s")
    must("and_only_with_or_without_payload_as_it_began", atoll(a, "import", "-q", "--stream", "s", "big.pcap"), 2, "--headers-only")
    same("nothing_was_added_by_these", packets_in(a), before)
    must("as_it_began_it_goes_on", atoll(a, "import", "-q", "--headers-only", "--stream", "s", "big.pcap"))
    same("to_the_end", packets_in(a), PACKETS)


# --- a full disk ---

def own_mounts():
    """A mount namespace of our own, so that nothing stays mounted; False: not allowed here."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(0x00020000) != 0:
        return False
    return run("mount", "--make-rprivate", "/").code == 0


def full_disk(whole):
    if not own_mounts():
        return skip("a_full_disk_stops_an_import_and_nothing_else", "not allowed to mount here")
    os.mkdir("small")
    if run("mount", "-t", "tmpfs", "-o", "size=12m", "none", "small").code != 0:
        return skip("a_full_disk_stops_an_import_and_nothing_else", "no tmpfs here")
    a = init("small/a")
    gen("first.pcap", "--packets", "20000", "--seed", "8", "--snaplen", "100", "--start", "1760000000")
    must("imports_while_there_is_room", atoll(a, "import", "-q", "--stream", "s", "first.pcap"))
    before = records("first.pcap")
    r = atoll(a, "import", "-q", "--stream", "s", "big.pcap")
    must("a_full_disk_stops_an_import", r, 1, "No space left", "goes on from here")
    ok("in_one_sentence", len(r.err.splitlines()) == 1, r)
    ok("what_was_there_is_readable", exported(a, "-s", "s", "--until", "2025-12-01") == before)
    must("and_can_be_counted", atoll(a, "query", "--count", "-s", "s", "-f", "tcp"))
    must("fsck_finds_nothing_on_a_full_disk", atoll(a, "fsck", "-q"))
    os.unlink(f"{a}/index/lock.mdb") # as in a restored backup
    with open("small/filler", "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(4096))
        except OSError:
            pass
    must("without_a_byte_free_a_lock_file_can_not_be_made", atoll(a, "query", "--count"), 1, "lock.mdb: No space left")
    must("nor_an_index_by_rebuild", atoll(a, "rebuild", "-q"), 1, "lock.mdb: No space left")
    must("nor_by_fsck", atoll(a, "fsck", "-q"), 1, "lock.mdb: No space left")
    os.truncate("small/filler", os.path.getsize("small/filler") - 3 * 4096)
    must("a_few_blocks_are_enough_for_reading", atoll(a, "query", "--count"))
    with open("small/filler", "ab", buffering=0) as f:
        f.write(bytes(4096))
    must("reads_go_on_without_a_byte_free", atoll(a, "query", "--count", "-s", "s"))
    r = atoll(a, "import", "-q", "--stream", "s", "big.pcap")
    must("a_full_disk_stops_it_again", r, 1, "No space left")
    r = atoll(a, "export", "--raw", "-q", "-o", "small/out.pcap")
    ok("an_export_to_a_full_disk_fails_and_leaves_nothing", r.code == 1 and "No space left" in r.err and
       sorted(os.listdir("small")) == ["a", "filler"], r, os.listdir("small"))
    os.unlink("small/filler")
    run("mount", "-o", "remount,size=200m", "small")
    must("with_room_again_the_same_command_completes", atoll(a, "import", "-q", "--stream", "s", "big.pcap"))
    got = exported(a)
    ok("all_is_there_once", got == before + whole, len(got) if isinstance(got, bytes) else got)
    must("fsck_finds_nothing_after_a_full_disk", atoll(a, "fsck", "-q"))
    names = os.listdir(f"{a}/segments")
    ok("no_unfinished_file_is_left", all(n.endswith(".seg") for n in names), names)
    run("umount", "small")


# --- a failing disk below the trace ---

def failing_reads(whole):
    a = init("eio")
    must("a_trace_that_can_not_be_read_is_an_error", atoll(a, "import", "--stream", "s", "/proc/self/mem"), 1,
         "/proc/self/mem: .*byte 0: Input/output error")
    probe = run("strace", "-f", "-qq", "-o", "trace.txt", "-e", "trace=close", "true") if have("strace") else None
    if not probe or probe.code != 0:
        return skip("what_was_read_before_a_read_error_is_kept", "no strace here, or not allowed")
    r = run("strace", "-f", "-qq", "-o", "trace.txt", "-P", "big.pcap", "-e", "trace=read,pread64", "-e",
            "inject=read,pread64:error=EIO:when=320+", ATOLL, "-A", a, "import", "--stream", "s", "-j", "1", "big.pcap")
    must("a_read_error_half_way_names_file_place_and_reason", r, 3, r"big\.pcap: .*byte \d+: Input/output error")
    got = exported(a)
    ok("what_was_read_before_a_read_error_is_kept", isinstance(got, bytes) and got and whole.startswith(got), len(got))
    must("and_the_same_command_completes_it", atoll(a, "import", "-q", "--stream", "s", "big.pcap"))
    ok("with_all_packets_once", exported(a) == whole)


# --- several processes ---

def two_writers():
    a = init("busy")
    must("imports_something_first", atoll(a, "import", "-q", "--stream", "s", "small.pcap"))
    before = packets_in(a)
    os.mkfifo("pipe")
    child = start(ATOLL, "-A", a, "import", "-q", "--stream", "slow", "pipe")
    gen("slow.pcap", "--packets", "3000", "--seed", "10")
    with open("slow.pcap", "rb") as f:
        data = f.read()
    with open("pipe", "wb", buffering=0) as f:
        f.write(data[:60000])
        time.sleep(0.3)
        for verb in (["import", "big.pcap"], ["rm", "-s", "s", "--until", "now"], ["rebuild"]):
            r = atoll(a, *verb, timeout=20)
            must(f"beside_a_writer_{verb[0]}_is_refused", r, 1, "another|writer|busy")
            ok(f"in_one_sentence_{verb[0]}", len(r.err.splitlines()) == 1, r)
        same("readers_go_on_beside_a_writer", packets_in(a), before)
        must("fsck_looks_on_beside_a_writer", atoll(a, "fsck", "-q"))
        f.write(data[60000:])
    same("the_writer_ends_well", child.wait(timeout=60), 0)
    same("and_its_packets_are_there", packets_in(a), 2 * before)
    must("then_another_may_write", atoll(a, "rm", "-q", "-s", "slow", "--until", "now"))


def readers_beside_an_import():
    a, files, total, sums, parts = init("beside"), [], 0, [0], []
    for i in range(20):
        files.append(gen(f"part{i:02}.pcap", "--packets", "4000", "--seed", str(i), "--snaplen", "80", "--start",
                         str(1767600000 + 100 * i)))
        parts.append(records(files[-1]))
        total += len(t.whole(files[-1]))
        sums.append(total)
    child = start(ATOLL, "-A", a, "import", "-q", "--stream", "s", *files)
    counts, exports, bad = [], 0, []
    whole = b"".join(parts)
    ends = [sum(len(p) for p in parts[:i]) for i in range(len(parts) + 1)]
    while child.poll() is None:
        r = atoll(a, "query", "--count", "--json")
        counts.append(json.loads(r.text)["packets"] if r.code in (0, 5) and r.text else 0 if "no stream" in r.err else r)
        got = exported(a)
        exports += 1
        if not isinstance(got, bytes) or not whole.startswith(got) or len(got) not in ends:
            bad.append(got if not isinstance(got, bytes) else len(got))
    same("an_import_beside_readers_ends_well", child.returncode, 0)
    ok("a_reader_counts_what_was_committed", all(c in sums for c in counts) and counts == sorted(counts), counts)
    ok("a_reader_exports_a_prefix", not bad, bad)
    ok("there_were_readers", exports >= 1, exports)
    ok("afterwards_all_is_there", exported(a) == whole)
    # removals beside readers: what is younger than all of them is always there
    child = start("sh", "-c", "".join(f"'{ATOLL}' -A {a} rm -q -s s --until {1767600000 + 100 * i + 50}\n" for i in range(10)))
    bad, rest = [], b"".join(parts[10:])
    while child.poll() is None:
        r = atoll(a, "export", "--raw", "-q", "-o", "out.pcap")
        if r.code not in (0, 3) or not records("out.pcap").endswith(rest) or (r.code == 3 and "missing" not in r.err):
            bad.append(r)
    ok("a_reader_beside_removals_gets_the_rest_or_is_told", not bad, bad)
    ok("after_the_removals_just_the_rest_is_there", exported(a) == rest)
    must("fsck_finds_nothing_after_all_that", atoll(a, "fsck", "-q"))


# --- too few descriptors, too little memory ---

def exhausted():
    """Every limit gives an error in one sentence and harms nothing."""
    a, bad, failed = init("exhausted"), [], 0
    must("imports_without_limits", atoll(a, "import", "-q", "--stream", "s", "small.pcap"))
    wanted = records("small.pcap")
    for limit in [f"--nofile={n}" for n in range(4, 14)] + [f"--as={n << 20}" for n in (12, 24, 48, 96, 150, 200, 300, 400, 500)]:
        for verb in ["query", "--count", "-f", "tcp"], ["export", "--raw", "-q", "-o", "limited.pcap"], ["rebuild", "-q"], \
                ["import", "-q", "--again", "--stream", "t", "small.pcap"], ["rm", "-q", "-s", "t", "--until", "now"]:
            r = run("prlimit", limit, ATOLL, "-A", a, *verb)
            failed += r.code != 0
            if r.code not in (0, 1, 5) or (r.code and len(r.err.splitlines()) > 2):
                bad.append((limit, verb[0], r))
        r = atoll(a, "fsck", "-q")
        if r.code != 0 or exported(a, "-s", "s") != wanted:
            bad.append((limit, "fsck or export", r))
    ok("too_few_descriptors_or_too_little_memory_harms_nothing", not bad and failed > 20, failed, bad[:3])


scratch()
if SANITIZED:
    skip("all_of_it", "it is about time and room, which a sanitized program changes")
    finish()
gen("big.pcap", "--packets", str(PACKETS), "--seed", "5", "--hosts", "2000", "--snaplen", "100")
gen("small.pcap", "--packets", "3000", "--seed", "6")
everything = records("big.pcap")
PACKETS = int(run("tcpdump", "--count", "-r", "big.pcap").text.split()[0]) if have("tcpdump") else PACKETS
interrupted(everything)
continued_otherwise()
failing_reads(everything)
two_writers()
exhausted()
readers_beside_an_import()
full_disk(everything)
finish()
