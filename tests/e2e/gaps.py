#!/usr/bin/env python3
"""What monitors lost, as the archive's owner sees it: reports count at once and once, what a spool drops is one gap, `ls gaps` lists
what `monitors` sums, queries and exports over a gap say so, and counts of sampled packets say what they stand for."""
import importlib.util
import json
import os
import sys

if importlib.util.find_spec("nacl") is None and sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])
sys.dont_write_bytecode = True
from kit import remote as r      # noqa: E402
from kit import traces as t      # noqa: E402
from kit.results import *        # noqa: E402,F403

CAUSES = ("kernel", "interface", "spool", "policy", "archive")
PY = os.path.join(TOP, "tests", "collector.py")


def collector(*arguments, options=()):
    """tests/collector.py, whose monitor is called py."""
    return run(sys.executable, PY, *options, "py", *arguments)


def gaps(site, *options):
    return json.loads(site.verb("ls", "gaps", "--json", *options).text)["gaps"]


def sums_agree(name, site):
    """The gaps are the monitors' losses, cause by cause, and fsck finds so, too."""
    for monitor, m in site.monitors().items():
        sums = dict.fromkeys(CAUSES, 0)
        for g in gaps(site):
            if g["stream"].startswith(monitor + "/"):
                sums[g["cause"]] += g["packets"]
        same(f"{name}_gaps_of_{monitor}_are_its_losses", sums, {c: m[f"lost_{c}"] for c in CAUSES})


def reports(site):
    """A loss after the last parcel."""
    url = json.loads(site.verb("enroll", "py", "--json", "--host", "h", "--config", site.config).text)["url"]
    same("a_code_names_the_port_of_the_running_server", url, f"atoll://h:{site.port}")
    same("and_makes_an_invited_monitor", [(m["name"], m["state"]) for m in site.monitors().values()], [("py", "invited")])
    must("the_second_collector_enrols", collector("enrol", f"atoll://127.0.0.1:{site.port}", site.code("py")), 0)
    must("it_pushes", collector("push", "s", "a.pcap"), 0)
    same("nothing_is_missing", gaps(site), [])
    silent = site.verb("query", "--count")
    ok("a_query_over_no_gap_says_nothing", silent.code == 0 and "gap" not in silent.err, silent)
    collector("lose", "s", 5)
    for again in ("a_report_alone", "the_same_report_again"):
        must(f"{again}_is_sent", collector("send", "s"), 0)
        ok(f"{again}_counts_once", r.wait_until(lambda: site.monitors()["py"]["lost_kernel"] == 5, 10), site.monitors()["py"])
    site.kill()
    site.start()
    found = gaps(site)
    same("it_outlives_the_server", [(g["stream"], g["cause"], g["packets"]) for g in found], [("py/s", "kernel", 5)])
    last = json.loads(site.verb("ls", "--json").text)["streams"][0]["until"]
    ok("from_the_last_packet_to_the_report", found[0]["from"] < last < found[0]["until"], found, last)
    must("a_parcel_that_tells_it_again", collector("push", "s", "b.pcap"), 0)
    same("adds_nothing", [g["packets"] for g in gaps(site)], [5])
    sums_agree("after_a_report", site)


def drops(site):
    """What a spool drops stands in the loss and in every later counter."""
    collector("spool", "s", "c.pcap", options=("--records", "1000"))
    must("parcels_are_dropped", collector("drop", "s", 2), 0)
    must("what_is_left_is_sent", collector("send", "s"), 0)
    same("each_dropped_packet_is_missing_once", [g["packets"] for g in gaps(site) if g["cause"] == "spool"], [2000])
    sums_agree("after_a_drop", site)


def answers(site):
    """Whoever asks over a gap is told, and the exit code stays."""
    words = "atoll {}: warning: 2 gaps in the range: 2,005 packets lost (kernel 5, spool 2,000); `atoll ls gaps{}` lists them\n"
    count = site.verb("query", "--count")
    ok("a_count_warns", count.code == 0 and words.format("query", "") in count.err, count)
    rows = site.verb("query", "-s", "py/s", "--limit", "1")
    ok("rows_do_with_the_stream_that_was_named", rows.code == 0 and words.format("query", " -s py/s") in rows.err, rows)
    trace = site.verb("export", "--raw", "-q", "-o", "x.pcap")
    ok("an_export_does_even_when_quiet", trace.code == 0 and words.format("export", "") in trace.err, trace)
    wanted = {"count": 2, "packets": 2005, "kernel": 5, "interface": 0, "spool": 2000, "policy": 0, "archive": 0}
    for name, arguments in (("count", ("query", "--count")), ("explain", ("query", "--explain")),
                            ("export", ("export", "--raw", "-o", "y.pcap"))):
        same(f"json_of_{name}_has_them", json.loads(site.verb(*arguments, "--json").text)["gaps"], wanted)
    spool = [g for g in gaps(site) if g["cause"] == "spool"][0]
    narrow = site.verb("query", "--count", "--json", "--until", spool["from"])
    same("a_range_restricts_them", json.loads(narrow.text)["gaps"]["spool"], 0)
    ok("and_is_in_the_command_that_lists_them", f"`atoll ls gaps --until {spool['from']}` lists" in narrow.err, narrow)
    same("ls_gaps_takes_the_same_range", [g["cause"] for g in gaps(site, "--until", spool["from"])],
         [g["cause"] for g in gaps(site) if g["from"] < spool["from"]])
    must("a_table_of_them", site.verb("ls", "gaps"), 0, r"stream +from +until +cause +packets\n",
         r"py/s +2026-\S+Z +2026-\S+Z +spool +2,000\n")
    must("of_a_stream_that_is_not_there", site.verb("ls", "gaps", "-s", "py/t"), 5, "py/t")
    must("ranges_are_for_gaps", site.verb("ls", "--from", "now-1d"), 2, "ls gaps")
    must("an_unknown_list", site.verb("ls", "gasp"), 2, "did you mean gaps")


def sampling(site):
    """One in four at random: the count says about how many there were."""
    total = len(t.whole("big.pcap"))
    must("a_sample_is_pushed", collector("push", "u", "big.pcap", options=("--sample", "4")), 0)
    count = site.verb("query", "--count", "--json", "-s", "py/u")
    found = json.loads(count.text)
    same("what_was_left_out_is_a_gap", (found["gaps"]["policy"], found["gaps"]["packets"]), (total - found["packets"],) * 2)
    same("each_packet_stands_for_four", (found["sampled_packets"], found["estimated_packets"], found["estimated_bytes"]),
         (found["packets"], 4 * found["packets"], 4 * found["wire_bytes"]))
    ok("the_estimate_is_near", abs(found["estimated_packets"] - total) < 3 * found["estimated_packets_error"], found, total)
    must("in_words_too", site.verb("query", "--count", "-s", "py/u"), 0,
         r"sampled: these stand for about \d+ packets \(\+-\d+\), \d+ bytes\n")
    plain = json.loads(site.verb("query", "--count", "--json", "-s", "py/s").text)
    same("what_is_not_sampled_stands_for_itself", (plain["sampled_packets"], plain["estimated_packets"], plain["estimated_packets_error"]),
         (0, plain["packets"], 0))
    streams = {s["name"]: s["sampled"] for s in json.loads(site.verb("ls", "--json").text)["streams"]}
    same("ls_says_which_are_sampled", streams, {"py/s": False, "py/u": True})
    same("and_stat_that_some_are", json.loads(site.verb("stat", "--json").text)["sampled"], True)
    must("both_in_words", site.verb("stat"), 0, r"missing +[0-9,]+ packets that monitors lost or left out, sampling: atoll ls gaps\n")
    sums_agree("after_sampling", site)


def main():
    for name, count in (("a", 3000), ("b", 3000), ("c", 5000), ("big", 40000)):
        gen(f"{name}.pcap", "--packets", count, "--seed", count, "--start", 1767600000 + 100000 * (ord(name[0]) - ord("a")))
    site = r.Site("site")
    site.start()
    for part in reports, drops, answers, sampling:
        part(site)
    same("the_server_stops_in_order", site.stop(), 0)
    same("fsck_finds_nothing", site.fsck(), None)


scratch()
if importlib.util.find_spec("nacl") is None:
    skip("all_of_it", "no PyNaCl (Debian: python3-nacl)")
elif r.ready("all_of_it"):
    main()
finish()
