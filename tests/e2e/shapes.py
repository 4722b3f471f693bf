#!/usr/bin/env python3
"""What --json prints has just the members that docs/json.md lists, in that order, of those types, for each verb and for good and bad
outcomes."""
import json
import re
import sys

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
TYPES = {
    "count": lambda v: type(v) is int and 0 <= v < 1 << 64,
    "bytes": lambda v: type(v) is int and 0 <= v < 1 << 64,
    "number": lambda v: type(v) in (int, float),
    "text": lambda v: type(v) is str,
    "time": lambda v: type(v) is str and bool(TIME.fullmatch(v)),
    "hash": lambda v: type(v) is str and bool(re.fullmatch("[0-9a-f]{64}", v)),
    "bool": lambda v: type(v) is bool,
    "list": lambda v: type(v) is list,
    "object": lambda v: type(v) is dict,
    "null": lambda v: v is None,
}


def documented():
    """{verb: {member: types}} from the tables."""
    shapes, verb = {}, None
    with open(os.path.join(os.environ.get("TOP", "."), "docs", "json.md"), encoding="utf-8") as f:
        for line in f:
            if line.startswith("## "):
                verb = line[3:].strip()
                shapes[verb] = {}
            row = re.match(r"\| ([a-z_.\[\]]+) \| ([a-z ]+) \|", line)
            if row and row.group(1) != "member":
                shapes[verb][row.group(1)] = row.group(2).split(" or ")
    return shapes


def members(document):
    """[(member, value)] with those of objects and of the objects in lists, as the tables name them."""
    for key, value in document.items():
        yield key, value
        if isinstance(value, dict):
            for inner, v in value.items():
                yield f"{key}.{inner}", v
        if isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    for inner, v in item.items():
                        yield f"{key}[].{inner}", v


def words_of_difference(document, shape, optional):
    found = list(members(document))
    names = list(dict.fromkeys(name for name, _ in found))
    known = [n for n in shape if n in names or not optional]
    if any("[]." in n for n in shape) and not any("[]." in n for n in names):
        known = [n for n in known if "[]." not in n]  # an empty list
    if names != known:
        return f"members {names}, documented {known}"
    bad = [(name, value) for name, value in found if not any(TYPES[kind](value) for kind in shape[name])]
    return f"types: {bad[:3]}" if bad else None


SHAPES = documented()
SEEN = set()


def shaped(name, verb, r, optional=False):
    """The run's output is a document of that verb."""
    SEEN.add(verb)
    try:
        words = words_of_difference(json.loads(r.text), SHAPES[verb], optional)
    except (ValueError, KeyError) as e:
        words = repr(e)
    ok(f"{name}_as_documented", words is None, words, r)


scratch()
gen("t.pcap", "--packets", "3000", "--seed", "1")
with open("t.pcap", "rb") as f, open("cut.pcap", "wb") as g:
    g.write(f.read()[:50001])
t.write_pcap("odd.pcap", [t.packet(1767600000 * t.NS, b"\x01" * 14 + b"odd"), t.packet(1767600001 * t.NS, b"")])
shaped("init", "init", run(ATOLL, "init", "--json", "a"))
shaped("init_with_its_key_elsewhere", "init", run(ATOLL, "init", "--json", "b", "--key-file", "b.key"))
shaped("stat_of_nothing", "stat", atoll("a", "stat", "--json"))
shaped("ls_of_nothing", "ls", atoll("a", "ls", "--json"))
shaped("ls_segments_of_nothing", "ls segments", atoll("a", "ls", "segments", "--json"))
shaped("ls_gaps_of_nothing", "ls gaps", atoll("a", "ls", "gaps", "--json"))
shaped("import", "import", atoll("a", "import", "--json", "t.pcap"))
shaped("import_with_damage_and_errors", "import", atoll("a", "import", "--json", "t.pcap", "cut.pcap", "nowhere.pcap", "odd.pcap"))
shaped("stat", "stat", atoll("a", "stat", "--json"))
shaped("ls", "ls", atoll("a", "ls", "--json"))
shaped("ls_segments", "ls segments", atoll("a", "ls", "segments", "--json"))
shaped("count", "query --count", atoll("a", "query", "--count", "--json", "-f", "tcp"))
shaped("count_of_a_range", "query --count", atoll("a", "query", "--count", "--json", "--from", "2026-01-01", "--until", "2026-02-01"))
shaped("explain", "query --explain", atoll("a", "query", "--explain", "--json", "-f", "host 10.0.0.1"))
shaped("explain_without_a_filter", "query --explain", atoll("a", "query", "--explain", "--json"))
shaped("export", "export", atoll("a", "export", "--raw", "--json", "-o", "x.pcap"))
packets = [json.loads(line) for line in atoll("a", "query", "--json").text.splitlines()]
words = [w for w in (words_of_difference(p, SHAPES["query"], True) for p in packets) if w]
ok("packets_as_documented", len(packets) > 3000 and not words, len(packets), words[:3])
same("each_documented_member_of_a_packet_occurs", [n for n in SHAPES["query"] if not any(n in p for p in packets)], [])
SEEN.add("query")
shaped("rm_that_is_tried", "rm", atoll("a", "rm", "--json", "--dry-run", "-s", "t", "--until", "now"))
shaped("rm", "rm", atoll("a", "rm", "--json", "-s", "cut", "--until", "now"))
shaped("fsck", "fsck", atoll("a", "fsck", "--json"))
shaped("rebuild", "rebuild", atoll("a", "rebuild", "--json"))
segment = f"a/segments/{sorted(os.listdir('a/segments'))[0]}"
with open(segment, "r+b") as f:
    f.seek(20000)
    f.write(b"damage")
r = atoll("a", "fsck", "--json")
shaped("fsck_with_faults", "fsck", r)
ok("which_it_lists", json.loads(r.text)["fault_count"] == len(json.loads(r.text)["faults"]) > 0, r)
shaped("count_with_damage", "query --count", atoll("a", "query", "--count", "--json", "-f", "len > 100"))
os.unlink(segment)
atoll("a", "rebuild", "-q")
shaped("ls_segments_with_a_lost_one", "ls segments", atoll("a", "ls", "segments", "--json"))
shaped("stat_with_a_lost_one", "stat", atoll("a", "stat", "--json"))
shaped("enroll", "enroll", atoll("a", "enroll", "roof", "--json"))
shaped("monitors", "monitors", atoll("a", "monitors", "--json"))
shaped("revoke", "revoke", atoll("a", "revoke", "roof", "--json"))
shaped("config_check", "config check", run(ATOLL, "config", "check", "--json"))
shaped("config_show", "config show", run(ATOLL, "config", "show", "--json"))
with open("bad.conf", "w", encoding="ascii") as f:
    f.write("[server]\nlissten = x\n")
shaped("config_check_with_faults", "config check", run(ATOLL, "config", "check", "--json", "--config", "bad.conf"))
shaped("policy_ls", "policy ls", run(ATOLL, "policy", "ls", "--json"))
shaped("policy_show", "policy show", run(ATOLL, "policy", "show", "open", "--json"))
shaped("policy_diff", "policy diff", run(ATOLL, "policy", "diff", "open", "research", "--json"))
shaped("policy_diff_of_the_same", "policy diff", run(ATOLL, "policy", "diff", "open", "open", "--json"))
shaped("policy_check", "policy check", run(ATOLL, "policy", "check", "open", "--json"))
with open("bad.policy", "w", encoding="ascii") as f:
    f.write("[policy]\nversion = 1\n[adresses]\n")
shaped("policy_check_with_faults", "policy check", run(ATOLL, "policy", "check", "./bad.policy", "--json"))
same("every_section_was_looked_at", set(SHAPES) - SEEN, set())
finish()
