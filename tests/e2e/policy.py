#!/usr/bin/env python3
"""Policies from the command line: those that come with the program, files of one's own, mistakes, differences, the hash with b2sum."""
# also: sanitized
import json
import re
import sys

sys.dont_write_bytecode = True
from kit.results import *  # noqa: E402,F403

TOP = os.environ.get("TOP", ".")
NAMES = ["counts-only", "open", "research", "internal"]


def policy(*arguments, **keys):
    return run(ATOLL, "policy", *arguments, **keys)


def write(name, text, mode="w"):
    with open(name, mode, **({} if "b" in mode else {"encoding": "utf-8"})) as f:
        f.write(text)


def shipped():
    r = policy("ls", "--json")
    found = json.loads(r.text)["policies"]
    same("ls_has_them_from_private_to_open", [p["name"] for p in found], NAMES)
    must("ls_for_people", policy("ls"), 0, r"^name +title +hash", *[f"(?m)^{n} " for n in NAMES])
    for p in found:
        name = p["name"]
        must(f"{name}_has_no_mistakes", policy("check", name), 0, f"policy in order, hash {p['hash']}")
        same(f"{name}_has_no_warnings", policy("check", name).err, "")
        same(f"{name}_is_the_file_that_is_installed",
             policy("check", os.path.join(TOP, "anonymize", "policies", f"{name}.policy")).text, policy("check", name).text)
        write("shown.policy", policy("show", name).text)
        must(f"{name}_as_shown_is_the_same_policy", policy("check", "./shown.policy"), 0, p["hash"])
        write("canonical.policy", policy("show", "--canonical", name).text)
        must(f"{name}_canonical_is_the_same_policy", policy("check", "canonical.policy"), 0, p["hash"])
        if have("b2sum"):
            same(f"{name}_has_the_hash_that_b2sum_gives", run("b2sum", "-l", "256", "canonical.policy").text.split()[0], p["hash"])
    directions = [policy("diff", a, b, "--json") for a, b in zip(NAMES[:2], NAMES[1:3])]
    shows = [[d["b_shows"] for d in json.loads(r.text)["differences"]] for r in directions]
    ok("each_shows_more_than_the_one_before", all(s.count("more") > s.count("less") for s in shows), shows)


def own():
    write("mine.policy", "# mine\n[policy]\nversion = 1\n[addresses]\nip4 = pfx\n[key]\nepoch = all\n[time]\nquantum = 2m\n")
    must("a_file_is_checked", policy("check", "mine.policy"), 0, "policy in order")
    must("also_from_a_pipe", policy("check", "/dev/stdin", stdin=b"[policy]\nversion = 1\n"), 0, "policy in order")
    same("quiet_says_nothing", policy("check", "-q", "mine.policy").said, "")
    shown = {(s["section"], s["key"]): s["value"] for s in json.loads(policy("show", "mine.policy", "--json").text)["settings"]}
    same("show_has_what_holds", [shown["addresses", "ip4"], shown["time", "quantum"], shown["ports", "ports"]], ["pfx", "2m", "zero"])
    must("diff_says_in_which_direction", policy("diff", "mine.policy", "open"), 0, r"time +quantum +2m +1us +shows more",
         r"\nopen shows more in \d+, less in \d+")
    same("of_the_same_nothing", json.loads(policy("diff", "open", "open", "--json").text)["differences"], [])
    write("example.policy", re.sub(r"(?m)^#(?=\w)", "", open(f"{TOP}/docs/example.policy", encoding="utf-8").read()))
    write("empty.policy", "[policy]\nversion = 1\n")
    same("the_example_is_the_defaults", policy("check", "example.policy").text, policy("check", "empty.policy").text)


def wrong():
    cases = {
        "a_near_name": ("[policy]\nversion = 1\n[adresses]\n",
                        r"x\.policy:3: there is no section \[adresses\]; did you mean \[addresses\]\?"),
        "a_value": ("[policy]\nversion = 1\n[link]\nmac = al\n", r'x\.policy:4: mac: "al" is none of zero\|permute\|keep'),
        "no_version": ("[link]\nmac = keep\n", r"x\.policy: \[policy\] version = 1 is not there"),
        "a_later_version": ("[policy]\nversion = 2\n", r"x\.policy:2: version: 2 is not known"),
        "a_contradiction": ("[policy]\nversion = 1\n[tcp]\ntimestamps = keep\n", r"x\.policy:4: timestamps are TCP options"),
    }
    for name, (text, sentence) in cases.items():
        write("x.policy", text)
        must(f"check_tells_{name}", policy("check", "x.policy"), 2, sentence, "1 mistake")
        must(f"show_refuses_{name}", policy("show", "x.policy"), 2, sentence)
        must(f"diff_refuses_{name}", policy("diff", "open", "x.policy"), 2, sentence)
    write("x.policy", "[policy]\nversion = 1\n[payload]\nbytes = 64\n")
    must("a_warning_is_no_mistake", policy("check", "x.policy"), 0, r"warning: x\.policy:4: payload is copied")
    write("x.policy", bytes(range(256)) * 10, "wb")
    r = policy("check", "x.policy")
    ok("garbage_is_told_line_by_line", r.code == 2 and "x.policy:1: " in r.err and not re.search(r"[^\n -~]", r.err), r)
    document = json.loads(policy("check", "x.policy", "--json").text)
    ok("also_as_json", document["told"] and not document["good"] and document["hash"] is None, document)
    write("x.policy", b"#" * 70000, "wb")
    must("a_long_file_is_refused", policy("check", "x.policy"), 1, r"x\.policy: longer than 65536 bytes")
    must("an_unknown_name_has_a_near_one", policy("show", "reserch"), 5, "did you mean research")
    must("a_missing_file_is_named", policy("show", "./reserch"), 5, r"\./reserch: No such file")
    must("an_unknown_act_has_a_near_one", policy("chek", "open"), 2, "did you mean check")
    must("an_argument_is_missing", policy("diff", "open"), 2, "atoll policy diff A B")
    must("canonical_is_for_show", policy("check", "--canonical", "open"), 2, "--canonical")


scratch()
shipped()
own()
wrong()
finish()
