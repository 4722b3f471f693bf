#!/usr/bin/env python3
"""Traces from standard input: what is in the archive already is noticed, whether it came as a file or through a pipe; an import that
was interrupted goes on either way; --again stores once more."""
import json
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

PACKETS = 400000


def packets_in(archive):
    return json.loads(atoll(archive, "stat", "--json").text)["packets"]


def piped(archive, data, *options):
    """Through a pipe, not a redirected file."""
    child = start(ATOLL, "-A", archive, "import", "-q", *options, "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        child.stdin.write(data)
    except BrokenPipeError:
        pass
    _, err = child.communicate(timeout=120)
    return child.returncode, err.decode()


def refused(name, got, *words):
    ok(name, got[0] == 1 and all(w in got[1] for w in ("already imported on", "--again imports it once more", *words)),
       got)


def both_ways(data, size):
    a = init(f"{size}-ways")
    same(f"a_{size}_trace_comes_through_a_pipe", piped(a, data, "-s", "s"), (0, ""))
    n = packets_in(a)
    refused(f"the_same_{size}_trace_through_a_pipe_is_refused", piped(a, data, "-s", "s"), "standard input")
    refused(f"also_into_another_stream_{size}", piped(a, data, "-s", "t"), 'into stream "s"')
    must(f"as_a_file_too_{size}", atoll(a, "import", "-q", f"{size}.pcap"), 1, 'already imported on .* as "standard input"', "--again")
    same(f"nothing_was_stored_by_these_{size}", packets_in(a), n)
    r = atoll(a, "ls", "streams", "--json")
    same(f"no_stream_was_made_for_them_{size}", [s["name"] for s in json.loads(r.text)["streams"]], ["s"])
    same(f"again_stores_it_once_more_{size}", (piped(a, data, "-s", "s", "--again"), packets_in(a)), ((0, ""), 2 * n))
    b = init(f"{size}-back")
    must(f"a_{size}_file_is_imported", atoll(b, "import", "-q", f"{size}.pcap"))
    refused(f"and_is_refused_through_a_pipe_{size}", piped(b, data), f"{size}.pcap")
    with open(f"{size}.pcap", "rb") as f:
        must(f"and_redirected_{size}", atoll(b, "import", "-q", "-", stdin=f), 1, "already imported")
    must(f"fsck_finds_nothing_{size}", atoll(a, "fsck", "-q"))
    must(f"nor_after_a_rebuild_{size}", atoll(a, "rebuild", "-q"))
    refused(f"a_rebuilt_archive_knows_it_{size}", piped(a, data, "-s", "s"))


def packed(size):
    for command in ["gzip", "-1"], ["zstd", "-1"]:
        if not have(command[0]):
            skip(f"{command[0]}_through_a_pipe", "not here")
            continue
        name = f"{size}.pcap.{command[0]}"
        with open(name, "wb") as f:
            f.write(run(*command, "-c", f"{size}.pcap").out)
        with open(name, "rb") as f:
            data = f.read()
        a = init(f"{size}-{command[0]}")
        same(f"{command[0]}_comes_through_a_pipe_{size}", (piped(a, data, "-s", "s"), packets_in(a) > 0), ((0, ""), True))
        refused(f"and_is_known_again_{command[0]}_{size}", piped(a, data, "-s", "s"))
        must(f"as_a_file_too_{command[0]}_{size}", atoll(a, "import", "-q", name), 1, "already imported")


def interrupted(data):
    """The pipe stays open after a part of the trace, then comes a signal: what came by then is stored."""
    a = init("cut")
    child = start(ATOLL, "-A", a, "import", "-q", "-s", "s", "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdin.write(data[:len(data) // 3])
    child.stdin.flush()
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    time.sleep(0.2)
    _, err = child.communicate(timeout=60)
    first = packets_in(a)
    ok("an_interrupt_stores_what_came_through_the_pipe", child.returncode == 130 and PACKETS // 4 < first < PACKETS // 2, first, err)
    ok("in_another_stream_it_does_not_go_on", piped(a, data, "-s", "t")[0] == 2)
    same("the_same_through_a_pipe_goes_on", (piped(a, data, "-s", "s"), packets_in(a)), ((0, ""), PACKETS))
    refused("and_is_complete_then", piped(a, data, "-s", "s"))
    must("for_a_file_too", atoll(a, "import", "-q", "-s", "s", "big.pcap"), 1, "already imported")
    r = atoll(a, "export", "--raw", "-q", "-o", "out.pcap")
    same("all_of_it_is_there_once", t.first_difference(t.whole("out.pcap"), t.whole("big.pcap")) if r.code == 0 else r, None)
    b = init("cut-file")
    child = start(ATOLL, "-A", b, "import", "-q", "-s", "s", "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdin.write(data[:len(data) // 3])
    child.stdin.flush()
    time.sleep(0.5)
    child.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    child.communicate(timeout=60)
    must("it_goes_on_with_the_file", atoll(b, "import", "-s", "s", "big.pcap"), 0, "went on behind")
    same("to_the_end", packets_in(b), PACKETS)


def others(data):
    """A trace that only begins alike: as a file it is another one, through a pipe it needs --again."""
    a = init("alike")
    with open("part.pcap", "wb") as f:
        f.write(data[:2 * len(data) // 3])
    must("a_trace_that_was_cut_off_is_stored_to_the_cut", atoll(a, "import", "-q", "-s", "s", "part.pcap"), 3, "inside a record")
    n = packets_in(a)
    refused("a_pipe_that_begins_like_it_is_refused", piped(a, data, "-s", "s"), "its first MiB is the same")
    must("as_a_file_it_is_another", atoll(a, "import", "-q", "-s", "s", "big.pcap"))
    same("and_stored", packets_in(a), n + PACKETS)
    b = init("damaged")
    bad = data[:len(data) // 2] + bytes([255] * 64) + data[len(data) // 2 + 64:]
    same("damage_in_a_pipe_is_told", piped(b, bad, "-s", "s")[0], 3)
    n = packets_in(b)
    refused("and_it_is_known_again", piped(b, bad, "-s", "s"), "its first MiB is the same")
    with open("bad.pcap", "wb") as f:
        f.write(bad)
    must("as_a_file_too", atoll(b, "import", "-q", "-s", "s", "bad.pcap"), 1, "its first MiB is the same")
    ok("with_its_packets_there_once", packets_in(b) == n > 0)


gen("small.pcap", "--packets", "2000", "--seed", "3", "--snaplen", "96")
gen("big.pcap", "--packets", str(PACKETS), "--seed", "4", "--snaplen", "96")
with open("big.pcap", "rb") as f:
    big = f.read()
with open("small.pcap", "rb") as f:
    both_ways(f.read(), "small")
both_ways(big, "big")
packed("small")
packed("big")
interrupted(big)
others(big)
finish()
