#!/usr/bin/env python3
"""rm --stream S --until T: exactly the packets from T on remain (editcap and tcpdump agree), the keys of what went are destroyed, no
copy of a segment file opens again, and nothing brings it back."""
# also: sanitized
import ctypes
import json
import struct
import sys
from datetime import datetime, timezone

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

N = 3000 if SANITIZED else 70000  # more than a block


def epoch(ns):
    return f"{ns // t.NS}.{ns % t.NS:09}"


def exported(archive, stream):
    r = atoll(archive, "export", "--raw", "-q", "-s", stream, "-o", "out.pcap")
    return t.whole("out.pcap") if r.code == 0 else [] if r.code == 5 else r


def make(archive):
    init(archive)
    found = []
    for i in range(3):
        gen(f"t{i}.pcap", "--packets", str(N if i == 1 else 3000), "--seed", str(i), "--snaplen", "96", "--disorder", "5000", "--start",
            str(1767600000 + 3600 * i))
        must(f"imports_part_{i}", atoll(archive, "import", "-q", "--stream", "s", f"t{i}.pcap"))
        found += t.whole(f"t{i}.pcap")
    must("imports_another_stream_of_the_same_time", atoll(archive, "import", "-q", "--again", "--stream", "other", "t1.pcap"))
    return found


def straddling(found):
    a, times = "a", sorted(p.ts for p in t.whole("t1.pcap"))
    until = times[2 * len(times) // 3]
    wanted = [p for p in found if p.ts >= until]
    other = t.whole("t1.pcap")
    shutil.copytree(a, "before")
    before = set(os.listdir("a/segments"))
    r = atoll(a, "rm", "-s", "s", "--until", epoch(until), "--dry-run", "--json")
    plan = json.loads(r.text)
    ok("a_dry_run_tells_what_would_go", r.code == 0 and plan["dry_run"] and plan["segments"] == 1 and plan["rewritten_segments"] == 1, r)
    ok("and_removes_nothing", exported(a, "s") == found)
    r = atoll(a, "rm", "-s", "s", "--until", epoch(until), "--json")
    done = json.loads(r.text) if r.code == 0 else {}
    ok("rm_tells_what_went", r.code == 0 and not done["dry_run"] and done["segments"] == plan["segments"] and
       done["rewritten_segments"] == 1, r)
    same("and_how_many_packets_in_all", (plan["packets"], done.get("packets")), (len(found) - len(wanted),) * 2)
    got = exported(a, "s")
    same("exactly_the_packets_from_t_on_remain", t.first_difference(got, wanted) if isinstance(got, list) else got, None)
    same("another_stream_is_untouched", t.first_difference(exported(a, "other"), other), None)
    if have("mergecap", "editcap"):
        run("mergecap", "-a", "-F", "nsecpcap", "-w", "all.pcap", *(f"t{i}.pcap" for i in range(3)))
        moment = datetime.fromtimestamp(until // t.NS, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        r = run("editcap", "-F", "nsecpcap", "-A", f"{moment}.{until % t.NS:09}", "all.pcap", "late.pcap", env={"TZ": "UTC"})
        theirs = t.whole("late.pcap") if r.code == 0 else []
        same("editcap_keeps_the_same", len(theirs), len(wanted), r)
    if have("tcpdump"):
        t.write_pcap("rest.pcap", wanted)
        count = run("tcpdump", "--count", "-r", "rest.pcap", "tcp").text.split()
        counted = atoll(a, "query", "--count", "--json", "-s", "s", "-f", "tcp")
        same("tcpdump_counts_the_same_of_a_filter", json.loads(counted.text)["packets"], int(count[0]))
    must("fsck_finds_nothing_after_a_removal", atoll(a, "fsck", "-q"))
    stat = json.loads(atoll(a, "stat", "--json").text)
    same("stat_counts_what_remains", stat["packets"], len(wanted) + len(other))
    same("rm_again_does_nothing", [json.loads(atoll(a, "rm", "-s", "s", "--until", epoch(until), "--json").text)[k] for k in
                                   ("segments", "packets", "rewritten_segments")], [0, 0, 0])
    same("and_leaves_the_same", t.first_difference(exported(a, "s"), wanted), None)

    removed = sorted(before - set(os.listdir("a/segments")))
    same("two_segment_files_are_gone", len(removed), 2)
    resurrection(a, removed, wanted)
    must("the_same_file_can_be_imported_again_only_on_purpose", atoll(a, "import", "-q", "--stream", "s", "t0.pcap"), 1, "--again",
         r"what that stream had before 20\S+Z was removed on 20\S+Z")
    must("also_among_several", atoll(a, "import", "--stream", "s", "t0.pcap", "t2.pcap"), 0,
         r"t0.pcap: already imported .* was removed on 20")


def resurrection(a, removed, wanted):
    """What was removed comes back neither with its file nor with an older index or manifest."""
    for name in removed:
        shutil.copy(f"before/segments/{name}", f"{a}/segments/{name}")
    same("an_old_segment_file_changes_no_answer", t.first_difference(exported(a, "s"), wanted), None)
    atoll(a, "rebuild", "-q")
    same("rebuild_does_not_take_it_in", t.first_difference(exported(a, "s"), wanted), None)
    same("nor_does_it_lie_there_as_a_segment", [n for n in os.listdir(f"{a}/segments") if n in removed], [])
    for part in "index", "manifest":
        for name in removed:
            shutil.copy(f"before/segments/{name}", f"{a}/segments/{name}")
        shutil.copytree(a, "old")
        if part == "index":
            shutil.rmtree("old/index")
            shutil.copytree("before/index", "old/index")
        else:
            shutil.copy("before/manifest", "old/manifest")
        for verb in [], ["fsck", "--repair"], ["rebuild"]:
            if verb:
                atoll("old", *verb)
            r = atoll("old", "export", "--raw", "-q", "-s", "s", "-o", "out.pcap")
            got = t.whole("out.pcap") if r.code in (0, 3) else []
            early = [p for p in got if p.ts < wanted[0].ts and p not in wanted]
            ok(f"an_older_{part}_brings_nothing_back_{'_'.join(verb).replace('-', '')}", not early and (got or r.code), r, len(early))
        shutil.rmtree("old")
        for name in removed:
            if os.path.exists(f"{a}/segments/{name}"):
                os.unlink(f"{a}/segments/{name}")
    must("fsck_finds_nothing_after_all_attempts", atoll(a, "fsck", "-q"))


def edges(found):
    """Nothing before T; T in a gap; all of it; a range that ends at T to the nanosecond; the stream remains."""
    make("b")
    times = sorted(p.ts for p in found)
    r = atoll("b", "rm", "-s", "s", "--until", epoch(times[0]), "--json")
    same("until_the_first_packet_nothing_goes", (r.code, len(exported("b", "s"))), (0, len(found)))
    atoll("b", "rm", "-q", "-s", "s", "--until", epoch(times[0] + 1))
    wanted = [p for p in found if p.ts > times[0]]
    same("one_nanosecond_later_the_first_one_goes", t.first_difference(exported("b", "s"), wanted), None)
    atoll("b", "rm", "-q", "-s", "s", "--until", "2026-01-05T08:30:00Z")
    wanted = [p for p in found if p.ts >= 1767601800 * t.NS]
    same("in_a_gap_whole_segments_go", t.first_difference(exported("b", "s"), wanted), None)
    for step in 3, 5, 7:
        until = sorted(p.ts for p in t.whole("t1.pcap"))[N * step // 10]
        atoll("b", "rm", "-q", "-s", "s", "--until", epoch(until))
        wanted = [p for p in found if p.ts >= until]
        same(f"again_and_again_{step}", t.first_difference(exported("b", "s"), wanted), None)
    must("all_of_it_goes_with_until_now", atoll("b", "rm", "-q", "-s", "s", "--until", "2554-01-01"))
    same("then_the_stream_is_empty", exported("b", "s"), [])
    streams = json.loads(atoll("b", "ls", "--json").text)["streams"]
    same("and_listed_as_such", [(s["packets"], s["segments"], s["from"]) for s in streams if s["name"] == "s"], [(0, 0, None)])
    must("what_was_removed_does_not_come_back_by_chance", atoll("b", "import", "-q", "--stream", "s", "t0.pcap"), 1, "--again",
         r"all of that stream was removed on 20\S+Z \(rm --until 2554-01-01T00:00:00.000000000Z\)")
    must("it_can_be_filled_again", atoll("b", "import", "-q", "--again", "--stream", "s", "t0.pcap"))
    same("with_the_new_packets_only", t.first_difference(exported("b", "s"), t.whole("t0.pcap")), None)
    must("fsck_finds_nothing_at_the_end", atoll("b", "fsck", "-q"))
    names = sorted(os.listdir("b/segments"))
    same("just_the_living_segments_have_files", len(names), 2)


def end_of_time():
    """The last nanosecond that a packet can have is before no time."""
    last = (1 << 64) - 1
    with open("last.pcapng", "wb") as f:
        f.write(struct.pack("<IIIHHqI", 0x0a0d0d0a, 28, 0x1a2b3c4d, 1, 0, -1, 28))
        f.write(struct.pack("<IIHHIHHBxxxHHI", 1, 32, 1, 0, 0, 9, 1, 9, 0, 0, 32))
        for ts in last - 1, last:
            f.write(struct.pack("<IIIIIII60sI", 6, 92, 0, ts >> 32, ts & 0xffffffff, 60, 60, bytes(60), 92))
    init("last")
    must("imports_the_last_nanosecond", atoll("last", "import", "-q", "--stream", "s", "last.pcapng"))
    must("until_end_is_all_of_it", atoll("last", "rm", "-s", "s", "--until", "end", "--dry-run"), 0, "would remove from s: 2 packets")
    must("and_removes_it", atoll("last", "rm", "-s", "s", "--until", "end"), 0, r"removed from s: 2 packets \(1 segments")
    must("nothing_is_left", atoll("last", "query", "--count"), 5)
    must("and_that_is_told", atoll("last", "import", "-q", "last.pcapng"), 1, r"\(rm --until end\)")
    must("fsck_finds_nothing_at_the_end_of_time", atoll("last", "fsck", "-q"))


def fill(path):
    """Takes what the disk has left, to the last byte."""
    with open(path, "ab", buffering=0) as f:
        for size in 65536, 4096, 512, 1:
            try:
                while True:
                    f.write(bytes(size))
            except OSError:
                pass


def full_disk():
    """Removal goes with no byte free, whether other files took the room, or an import that stopped in the middle of its commit."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(0x00020000) != 0 or run("mount", "--make-rprivate", "/").code != 0:
        return skip("removal_goes_on_a_full_disk", "not allowed to mount here")
    parts = [gen(f"p{i}.pcap", "--packets", "300", "--seed", str(i), "--start", str(1767600000 + 60 * i)) for i in range(120)]
    gen("late.pcap", "--packets", "40000", "--seed", "7", "--start", str(1767600000 + 60 * 119))
    for kind, size in ("tmpfs", 12), ("ext4", 16):
        os.mkdir("small")
        if kind == "ext4":
            os.truncate(os.open("image", os.O_RDWR | os.O_CREAT), size << 20)
            r = run("sh", "-c", "mkfs.ext4 -q -m 0 image && mount -o loop image small")
        else:
            r = run("mount", "-t", kind, "-o", f"size={size}m", "none", "small")
        if r.code != 0:
            skip(f"removal_goes_on_a_full_disk_{kind}", "no such file system here")
            os.rmdir("small")
            continue
        a = init("small/a")
        must(f"many_segments_{kind}", atoll(a, "import", "-q", "--stream", "s", *parts, timeout=300))
        n = json.loads(atoll(a, "stat", "--json").text)["packets"]
        fill("small/filler")
        must(f"nothing_can_be_imported_on_a_full_disk_{kind}", atoll(a, "import", "-q", "--stream", "s", "late.pcap"), 1, "No space left")
        r = atoll(a, "rm", "-s", "s", "--until", "2026-01-05T08:30:00Z", "--json")
        done = json.loads(r.text) if r.code == 0 else {}
        ok(f"removal_goes_on_a_full_disk_{kind}", r.code == 0 and done["segments"] == 30 and 0 < done["packets"] < n, r)
        must(f"fsck_finds_nothing_then_{kind}", atoll(a, "fsck", "-q"))
        for left in range(0, 30, 3):  # the next import stops anywhere: in its blocks, at its manifest line, in the index
            fill("small/filler")
            os.truncate("small/filler", max(0, os.path.getsize("small/filler") - left * 4096))
            atoll(a, "import", "-q", "--stream", "t", "--again", parts[left])
            fill("small/filler")
            r = atoll(a, "rm", "-q", "-s", "s", "--until", f"2026-01-05T0{8 + (30 + left) // 60}:{(30 + left) % 60:02}:30Z")
            if not ok(f"removal_goes_behind_an_import_that_found_{left}_pages_{kind}", r.code == 0 or (r.code == 1 and
                      "the same command goes on then" in r.err), r):
                break
            must(f"and_the_archive_is_sound_{left}_{kind}", atoll(a, "fsck", "-q"))
        fill("small/filler")
        must(f"in_the_end_all_goes_{kind}", atoll(a, "rm", "-q", "-s", "s", "--until", "end"))
        os.unlink("small/filler")
        must(f"and_there_is_room_again_{kind}", atoll(a, "import", "-q", "--again", "--stream", "s", parts[0]))
        must(f"in_a_sound_archive_{kind}", atoll(a, "fsck", "-q"))
        run("umount", "small")
        os.rmdir("small")


scratch()
os.chdir(fast_folder("removal"))
everything = make("a")
straddling(everything)
edges(everything)
end_of_time()
if not SANITIZED:
    full_disk()
finish()
