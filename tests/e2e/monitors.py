#!/usr/bin/env python3
"""The verbs enroll, monitors, revoke and config at the command line, with no server running."""
# also: sanitized
import base64
import fcntl
import hashlib
import json
import sys

sys.dont_write_bytecode = True
from kit.results import *    # noqa: E402,F403


def opened(code):
    """(secret, key of the archive) of a code, whose check is right."""
    raw = base64.b32decode(code.upper() + "=" * (-len(code) % 8))
    same("a_code_has_52_bytes", len(raw), 52)
    same("the_last_four_of_a_code_are_its_check", raw[48:], hashlib.blake2b(raw[:48], digest_size=32).digest()[:4])
    return raw[:16], raw[16:48]


def enrolling():
    r = atoll("a", "enroll", "roof", "--host", "archive.example")
    must("enroll_prints_the_command_to_paste", r, 0,
             r"  atoll-collect enroll atoll://archive\.example:7713 [a-z2-7]{84}\n", r"archive key  [a-z2-7]{52}\n")
    first = opened(re.search("[a-z2-7]{84}", r.text).group())
    shape = json.loads(atoll("a", "enroll", "roof", "--json", "--ttl", "2h", "--host", "::1").text)
    second = opened(shape["code"])
    ok("each_code_is_another", first[0] != second[0])
    same("and_the_archives_key_is_the_same", first[1], second[1])
    same("which_is_shown", shape["archive_key"], base64.b32encode(second[1]).decode().rstrip("=").lower())
    same("an_ipv6_address_gets_brackets", shape["url"], "atoll://[::1]:7713")
    same("a_port_with_the_host_counts", json.loads(atoll("a", "enroll", "r", "--json", "--host", "h:99").text)["url"], "atoll://h:99")
    same("quiet_prints_the_code_alone", bool(re.fullmatch("[a-z2-7]{84}\n", atoll("a", "enroll", "roof", "-q").text)), True)
    with open("port.conf", "w", encoding="ascii") as f:
        f.write("[server]\nlisten = 0.0.0.0:4444\n")
    shape = json.loads(atoll("a", "enroll", "r", "--json", "--host", "h", "--config", "port.conf").text)
    same("otherwise_the_port_of_the_configuration", shape["url"], "atoll://h:4444")
    for name in ("a/b", "a b", "-", ".x", "x" * 64, ""):
        word = name[:3].replace("/", "_").replace(" ", "_")
        must(f"a_name_that_is_none_is_refused_{word}", atoll("a", "enroll", "--", name), 2, "a-z A-Z 0-9")
    for ttl in ("0", "5", "soon", "31d", "-1s"):
        must(f"a_time_that_is_none_is_refused_{ttl}", atoll("a", "enroll", "x", "--ttl", ttl), 2, "--ttl")
    must("a_host_with_a_blank_is_refused", atoll("a", "enroll", "x", "--host", "a b"), 2, "--host")
    must("a_host_that_a_shell_would_run_is_refused", atoll("a", "enroll", "x", "--host", "$(id)"), 2, "--host")
    must("an_unknown_option_names_the_near_one", atoll("a", "enroll", "x", "--tll", "5m"), 2, "did you mean --ttl")


def listing():
    r = atoll("a", "monitors")
    must("monitors_of_codes", r, 0, "monitor +state +last seen")
    ok("says_that_no_server_is_running", "no server is running" in r.err, r)
    found = {m["name"]: (m["state"], m["code_expires"] is not None) for m in json.loads(atoll("a", "monitors", "--json").text)["monitors"]}
    same("in_json_who_has_a_code_alone_is_invited", found, {"r": ("invited", True), "roof": ("invited", True)})
    must("the_table_says_until_when", r, 0, "roof +invited", r"roof: a code waits until 20\S+Z; atoll revoke roof withdraws it\n")
    must("revoke_of_an_unknown_one", atoll("a", "revoke", "cellar"), 5, 'no monitor "cellar"')
    must("revoke_of_one_that_has_a_code_only", atoll("a", "revoke", "roof"), 0, "the code for roof is withdrawn")
    must("voids_it", atoll("a", "revoke", "roof"), 5)
    same("in_json_as_well", json.loads(atoll("a", "revoke", "r", "--json").text), {"version": 1, "monitor": "r", "state": "withdrawn"})
    same("then_nobody_is_left", json.loads(atoll("a", "monitors", "--json").text),
         {"version": 1, "server": False, "clock_doubtful": False, "monitors": []})
    atoll("a", "enroll", "roof", "-q")
    r = atoll("a", "rebuild")
    must("a_rebuild_says_that_codes_are_void", r, 0)
    ok("how_many", "codes for enrolment are void now" in r.text + r.err, r)
    must("the_archive_is_in_order_then", atoll("a", "fsck"), 0)


def busy():
    with open("a/keystore", "r+b") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        must("beside_a_writer_that_is_no_server_enroll_says_so", atoll("a", "enroll", "x"), 1)
        must("revoke_too", atoll("a", "revoke", "x"), 1)
        must("and_monitors_works", atoll("a", "monitors"), 0)


def configuration():
    must("config_wants_to_know_what", run(ATOLL, "config"), 2, "check|show")
    must("a_near_name_is_suggested", run(ATOLL, "config", "shw"), 2, "did you mean show")
    must("config_show", run(ATOLL, "config", "show", "--config", "port.conf"), 0, r"server +listen +0\.0\.0\.0:4444 +port\.conf:2\n")
    must("config_show_of_the_environment",
         run(ATOLL, "config", "show", "--config", "port.conf", env={"ATOLL_MERGE_AGE": "5m"}), 0,
         r"merge +age +5m +environment ATOLL_MERGE_AGE\n")
    must("config_check", run(ATOLL, "config", "check", "--config", "port.conf"), 0, "in order")
    must("a_file_that_is_not_there", run(ATOLL, "config", "check", "--config", "no.conf"), 5, r"no\.conf")
    with open("bad.conf", "w", encoding="ascii") as f:
        f.write("[server]\nlissten = x\n[limits]\nconnections = many\n")
    r = run(ATOLL, "config", "check", "--config", "bad.conf")
    must("config_check_of_mistakes", r, 2, "2 mistakes")
    ok("tells_each_with_its_line", "bad.conf:2: there is no lissten in [server]; did you mean listen?" in r.err and
       "bad.conf:4: connections: " in r.err, r)
    must("a_verb_that_needs_it_tells_the_first", atoll("a", "enroll", "x", "--config", "bad.conf"), 2,
         r"bad\.conf:2: .* \(and 1 more: atoll config check\)")


scratch()
run(ATOLL, "init", "-q", "a")
enrolling()
listing()
busy()
configuration()
finish()
