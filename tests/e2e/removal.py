#!/usr/bin/env python3
"""rm --stream S --until T: exactly the packets from T on remain (editcap and tcpdump agree), the keys of what went are destroyed, no
copy of a segment file opens again, and nothing brings it back."""
# also: sanitized
import json
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


scratch()
os.chdir(fast_folder("removal"))
everything = make("a")
straddling(everything)
edges(everything)
finish()
