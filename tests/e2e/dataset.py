#!/usr/bin/env python3
"""What is shown under a policy: queries, exports and datasets, told by programs that we did not write (tshark, capinfos, tcpdump,
sha256sum, minisign, zstd) and by readers of our own."""
# also: sanitized
import struct
import sys

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

DAY = 86400
START = 1767225600  # 2026-01-01


def policy(name, **settings):
    """Writes NAME.policy: section_key = value."""
    text = "[policy]\nversion = 1\n"
    for key, value in {"key_shared": "yes", "key_epoch": "all", "time_shift": "none", "time_quantum": "1ns", "addresses_ip4": "pfx",
                       "addresses_ip6": "pfx", "ports_ports": "keep", "link_unknown": "drop", **settings}.items():
        section, key = key.split("_", 1)
        text += f"[{section}]\n{key} = {value}\n"
    with open(f"{name}.policy", "w", encoding="ascii") as f:
        f.write(text)
    return f"./{name}.policy"


def shown(archive, policy_, *more):
    return atoll(archive, "query", "--policy", policy_, "--dataset", "d", "-q", "-o", "csv", *more)


def columns(text):
    lines = text.splitlines()
    heads = lines[0].split(",")
    return [dict(zip(heads, line.split(","))) for line in lines[1:]]


# --- who has to say what ---

def requests(archive):
    export = ("export", "-q", "-o", "x.pcap")
    must("an_export_says_what_may_be_seen", atoll(archive, *export), 2, "--policy P", "--raw")
    must("not_both", atoll(archive, *export, "--raw", "--policy", "open"), 2, "exclude")
    must("a_dataset_has_a_name", atoll(archive, *export, "--policy", "open"), 2, "--dataset NAME")
    must("a_recipient_too", atoll(archive, *export, "--policy", "research", "--dataset", "d"), 2, "--recipient NAME")
    must("but_not_where_all_share", atoll(archive, *export, "--policy", "open", "--dataset", "d", "--recipient", "r"), 2, "shared")
    must("names_are_names", atoll(archive, *export, "--policy", "open", "--dataset", "a b"), 2, "not a name")
    must("names_of_nothing", atoll(archive, *export, "--raw", "--dataset", "d"), 2, "--policy")
    own = policy("named", key_dataset="mine")
    must("a_policy_that_names_it", atoll(archive, "query", "--policy", own, "-n", "1", "-q"), 0)
    must("and_is_contradicted", atoll(archive, "query", "--policy", own, "--dataset", "yours", "-n", "1", "-q"), 2, "mine")
    for name, words, settings in (("det", "room", {"addresses_ip4": "det"}), ("ndx", "room", {"addresses_ip6": "ndx"}),
                                  ("hosts", "prefix_hosts", {"guards_prefix_hosts": "4"}),
                                  ("scanners", "scanners", {"guards_scanners": "drop"})):
        r = atoll(archive, *export, "--policy", policy(name, **settings), "--dataset", "d")
        ok(f"{name}_is_refused_before_anything_is_written", r.code in (1, 2) and words in r.err, r)
    must("so_is_a_count_of_few", atoll(archive, "query", "--policy", "open", "--dataset", "d", "-c"), 1, "minimum_group")
    ok("nothing_was_written", not os.path.exists("x.pcap") and not [n for n in os.listdir() if n.startswith(".atoll")])


def unknown_links(archive):
    """A link type that nobody understands is the stream's, not a file's."""
    data = struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 147) + struct.pack("<IIII", START, 0, 20, 20) + bytes(range(20))
    with open("private.pcap", "wb") as f:
        f.write(data)
    must("it_is_imported", atoll(archive, "import", "-q", "--stream", "odd", "private.pcap"), 0)
    strict = policy("strict", link_unknown="refuse")
    r = atoll(archive, "export", "-q", "--policy", strict, "--dataset", "d", "-s", "odd", "-o", "x.pcap")
    must("an_unknown_link_type_is_refused", r, 2, "stream odd: packets of link type 147", "unknown = drop")
    ok("by_its_stream", ".seg" not in r.err and not os.path.exists("x.pcap"), r)
    must("or_left_out", atoll(archive, "query", "-q", "--policy", policy("lax"), "--dataset", "d", "-s", "odd"), 5)


# --- what is seen ---

def times_and_filters(archive):
    coarse = policy("coarse", time_quantum="1m")
    times = [r["ts"] for r in columns(shown(archive, coarse).text)]
    ok("times_are_rounded_down", times and all(ts.endswith(":00.000000000Z") for ts in times), times[:3])
    same("and_in_order_over_streams", times, sorted(times))
    at = sorted(set(times))[1]
    part = [r["ts"] for r in columns(shown(archive, coarse, "--from", at, "--until", at.replace(":00.000000000Z", ":01Z")).text)]
    same("a_range_is_of_the_times_that_are_shown", part, [ts for ts in times if ts == at])
    secret = policy("secret", time_shift="secret")
    raw = columns(atoll(archive, "query", "-q", "-o", "csv").text)
    moved = columns(shown(archive, secret).text)
    ok("a_secret_shift_moves_all_alike", len(raw) == len(moved) and raw[0]["ts"] != moved[0]["ts"], raw[0], moved[0])
    part = columns(shown(archive, secret, "--from", moved[100]["ts"], "--until", moved[200]["ts"]).text)
    same("and_ranges_with_them", part, [r for r in moved if moved[100]["ts"] <= r["ts"] < moved[200]["ts"]])
    pairs = sorted({(a["src"], b["src"]) for a, b in zip(raw, moved) if "." in a["src"]})
    hidden = sorted({a for a, _ in pairs} - {b for _, b in pairs})
    for a, b in pairs[:3]:
        found = columns(shown(archive, secret, "-f", f"src host {b}").text)
        same("a_filter_speaks_of_the_view", found, [r for r in moved if r["src"] == b], a, b)
    must("a_raw_address_finds_nothing", shown(archive, secret, "-f", f"host {hidden[0]}"), 5)
    r = shown(archive, secret, "--explain", "-f", f"host {pairs[0][1]}")
    ok("an_explanation_has_no_raw_address", r.code == 0 and not [a for a, _ in pairs if a in r.said and a != pairs[0][1]], r)


def epochs(archive):
    """Keys that change at midnight UTC."""
    daily = policy("daily", key_epoch="day")
    raw = columns(atoll(archive, "query", "-q", "-o", "csv").text)
    view = columns(shown(archive, daily).text)
    same("every_packet_is_there_once", [r["wire_len"] for r in view], [r["wire_len"] for r in raw])
    by_day = {}
    for a, b in zip(raw, view):
        if "." in a["src"]:
            by_day.setdefault(a["ts"][:10], {}).setdefault(a["src"], set()).add(b["src"])
    ok("one_pseudonym_a_day", len(by_day) > 1 and all(len(s) == 1 for day in by_day.values() for s in day.values()))
    first, second = (by_day[d] for d in sorted(by_day)[:2])
    both = sorted(set(first) & set(second))
    ok("another_one_the_next_day", both and sum(first[a] == second[a] for a in both) <= len(both) // 8, len(both))
    monthly = columns(shown(archive, policy("monthly", key_epoch="month")).text)
    days = {}
    for a, b in zip(raw, monthly):
        days.setdefault(a["src"], set()).add(b["src"])
    ok("the_same_within_a_month", all(len(s) == 1 for s in days.values()))
    a = sorted(first)[0]
    found = columns(shown(archive, daily, "-f", f"src host {min(first[a])}").text)
    same("a_filter_is_of_each_day", found, [r for r in view if r["src"] == min(first[a])])
    same("limits_reach_over_days", len(columns(shown(archive, daily, "-n", len(raw) - 5).text)), len(raw) - 5)
    must("counts_too", atoll(archive, "query", "-q", "--policy", daily, "--dataset", "d", "-c"), 0, f"{len(raw)} packets")
    must("and_explanations", atoll(archive, "query", "-q", "--policy", daily, "--dataset", "d", "--explain"), 0, "packets to look at")
    wild = policy("wild", key_epoch="day", time_shift="secret")
    must("no_range_where_days_are_moved_apart", shown(archive, wild, "--from", "2026-01-01"), 2, "epoch = all")
    same("but_all_of_it", len(columns(shown(archive, wild).text)), len(raw))


def main():
    scratch()
    archive = init("a")
    for i, start in enumerate((DAY - 200, DAY - 100, DAY + 50)):  # the same hosts on two days
        for seed in (1, 2):
            gen("t.pcap", "--packets", 700 + i, "--seed", seed, "--hosts", "40", "--start", START + start, "--snaplen", "100")
            must("a_trace_is_imported", atoll(archive, "import", "-q", "--stream", f"s{seed}", "t.pcap"), 0)
    requests(archive)
    times_and_filters(archive)
    epochs(archive)
    unknown_links(archive)
    finish()


if __name__ == "__main__":
    main()
