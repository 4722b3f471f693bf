#!/usr/bin/env python3
"""An archive that can not be written to: by its mode for an ordinary user, and on a file system that is mounted read-only. Everything
that only reads works there, gives the same answers, and leaves no trace; what writes says why it can not."""
import hashlib
import json
import signal
import stat
import sys
import time

sys.dont_write_bytecode = True
from kit.results import *  # noqa: E402,F403

NOBODY = 65534
READS = [("ls",), ("ls", "segments"), ("stat",), ("query", "--count", "-f", "tcp"), ("query", "--limit", "5", "-o", "ndjson"),
         ("query", "--explain", "-f", "host 10.32.0.2"), ("export", "--raw", "-q", "-o", "-"), ("fsck", "--quick"), ("fsck",)]


def tree(top):
    """Everything below: names, modes, contents."""
    found = {}
    for folder, _, names in os.walk(top):
        found[folder] = stat.S_IMODE(os.stat(folder).st_mode)
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as f:
                found[path] = (stat.S_IMODE(os.stat(path).st_mode), hashlib.sha256(f.read()).hexdigest())
    return found


def without_lock(found):
    return {k: v for k, v in found.items() if not k.endswith("lock.mdb")}


def modes(top, remove, add):
    for folder, _, names in os.walk(top):
        for path in [folder] + [os.path.join(folder, n) for n in names]:
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & ~remove | add)


def as_ordinary():
    """What goes before a command so that modes count: root passes over them."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if have("setpriv") else None


def reads(what, before, folder):
    answers = {r: atoll("a", *r) for r in READS}
    wanted = tree("a")
    for r in READS:
        got = run(*before, ATOLL, "-A", folder, *r)
        good = got.code == 0 and (got.out == answers[r].out if r[0] != "fsck" else "clean" in got.text and "can not be written" in got.text)
        ok(f"{'_'.join(w for w in r if w.isalpha())}_works_{what}", good, got, "on a writable one", answers[r])
    r = run(*before, ATOLL, "-A", folder, "fsck", "--json")
    ok(f"fsck_says_so_in_json_{what}", r.code == 0 and json.loads(r.text)["read_only"] is True, r)
    same(f"nothing_was_changed_{what}", tree("a"), wanted)
    for verb in (("import", "t.pcap", "--again"), ("rm", "--stream", "x", "--until", "now"), ("rebuild",)):
        r = run(*before, ATOLL, "-A", folder, *verb)
        ok(f"{verb[0]}_says_why_it_can_not_{what}", r.code in (1, 4) and ("Permission denied" in r.err or "Read-only" in r.err), r)
    same(f"and_changed_nothing_either_{what}", without_lock(tree("a")), without_lock(wanted))


def by_mode():
    before = as_ordinary()
    if before is None:
        return skip("an_archive_without_write_permission", "no setpriv here")
    if before:
        for folder, _, names in os.walk("a"):
            for path in [folder] + [os.path.join(folder, n) for n in names]:
                os.chown(path, NOBODY, NOBODY)
        os.chmod(".", 0o755)
    modes("a", 0o222, 0)
    os.mkdir("temp")
    os.chmod("temp", 0o777)
    os.environ["TMPDIR"] = os.path.abspath("temp")
    reads("without_write_permission", before, "a")
    damaged(before)
    blocks_writers(before)
    modes("a", 0, 0o200)
    os.chmod("a", 0o500)
    r = run(*before, ATOLL, "-A", "a", "fsck")
    must("fsck_works_in_a_folder_that_takes_no_new_files", r, 0, "clean", "can not be written to")
    os.chmod("a", 0o700)
    # the reader before may not have left anything that a later writer trips over
    must("the_archive_can_be_written_to_afterwards", atoll("a", "import", "t.pcap", "--again", "--stream", "y"), 0)
    must("and_is_clean", atoll("a", "fsck"), 0, "clean")
    unfinished(before)
    same("no_temporary_index_is_left", os.listdir("temp"), [])


def unfinished(before):
    """A writer that was killed between its line in the manifest and the index."""
    if not os.environ.get("SHIM"):
        return skip("what_a_killed_writer_left", "no shim here")
    seen = []
    for step in range(10, 40):
        run("rm", "-rf", "u")
        init("u")
        r = atoll("u", "import", "-q", "t.pcap", env={"LD_PRELOAD": os.environ["SHIM"], "ATOLL_FAULT": f"kill:{step}"})
        if r.code == 0 or (True in seen and False in seen):
            break
        if before:
            run("chown", "-R", str(NOBODY), "u")
        modes("u", 0o222, 0)
        r = run(*before, ATOLL, "-A", "u", "fsck", "--json")
        modes("u", 0, 0o200)
        if r.code != 0 or not json.loads(r.text)["read_only"]:
            return ok("fsck_reads_what_a_killed_writer_left", False, f"killed at {step}", r)
        seen.append(json.loads(r.text)["unfinished"])
    return ok("fsck_says_when_a_killed_writers_commit_waits_for_the_next", True in seen and False in seen, seen)


def damaged(before):
    """fsck finds the same faults there."""
    run("cp", "-a", "a", "b")
    segment = [n for n in os.listdir("b/segments") if n.endswith(".seg")][0]
    os.chmod(f"b/segments/{segment}", 0o600)
    with open(f"b/segments/{segment}", "r+b") as f:
        f.seek(100000)
        byte = f.read(1)
        f.seek(100000)
        f.write(bytes([byte[0] ^ 1]))
    os.chmod(f"b/segments/{segment}", 0o400)
    r = run(*before, ATOLL, "-A", "b", "fsck")
    must("fsck_names_damage_in_a_read_only_archive", r, 1, f"{segment}: block ", "can not be written to")
    os.chmod("b/index", 0o700)
    os.chmod("b/index/data.mdb", 0o600)
    os.truncate("b/index/data.mdb", 8192)
    os.chmod("b/index/data.mdb", 0o400)
    os.chmod("b/index", 0o500)
    must("fsck_reads_the_segments_when_the_index_is_damaged_too", run(*before, ATOLL, "-A", "b", "fsck"), 1, "index", f"{segment}: block ")
    must("fsck_repair_says_that_it_can_not_write", run(*before, ATOLL, "-A", "b", "fsck", "--repair"), 4, "Permission denied")
    modes("b", 0, 0o200)
    run("rm", "-rf", "b")


def blocks_writers(before):
    """Such a reader is unseen by LMDB's writer, so they keep each other out, and say so."""
    reader = start(*before, ATOLL, "-A", "a", "export", "--raw", "-q", "-o", "-", stdout=subprocess.PIPE)
    reader.stdout.read(10)  # it has the archive open, and waits for room in the pipe
    modes("a", 0, 0o200)
    must("a_writer_is_told_of_a_reader_that_it_can_not_see", atoll("a", "import", "t.pcap", "--again"), 1, f"process {reader.pid} reads",
         "lock file")
    modes("a", 0o222, 0)
    must("other_readers_are_let_in", run(*before, ATOLL, "-A", "a", "stat"), 0)
    os.killpg(reader.pid, signal.SIGKILL)
    reader.wait()
    reader.stdout.close()
    modes("a", 0, 0o200)
    os.mkfifo("pipe")
    writer = start(ATOLL, "-A", "a", "import", "-q", "--stream", "p", "pipe", stderr=subprocess.DEVNULL)
    with open("pipe", "wb") as f, open("t.pcap", "rb") as trace:
        f.write(trace.read(100000))
        f.flush()
        time.sleep(0.3)
        modes("a", 0o222, 0)
        r = run(*before, ATOLL, "-A", "a", "stat")
        must("and_it_is_told_of_a_writer", r, 1, f"process {writer.pid} is writing")
        os.killpg(writer.pid, signal.SIGKILL)
        writer.wait()
    must("it_reads_when_the_writer_is_gone", run(*before, ATOLL, "-A", "a", "query", "--count"), 0)
    must("fsck_also_then", run(*before, ATOLL, "-A", "a", "fsck"), 0, "clean")


def by_mount():
    """A read-only bind mount in a mount namespace of its own."""
    os.mkdir("mounted")
    before = ["unshare", "--mount", "sh", "-c", 'mount --bind a mounted && mount -o remount,ro,bind mounted && exec "$@"', "sh"]
    if not have("unshare") or run(*before, "true").code != 0:
        return skip("an_archive_on_a_read_only_file_system", "no leave to mount")
    reads("on_a_read_only_file_system", before, "mounted")


scratch()
init("a")
gen("t.pcap", "--packets", "60000", "--hosts", "200", "--seed", "3")
must("the_archive_is_made", atoll("a", "import", "-q", "--stream", "x", "t.pcap"))
by_mount()
by_mode()
finish()
