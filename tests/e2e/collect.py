#!/usr/bin/env python3
"""The collector against a sink: enrolment, push (exactly once over kills, cut connections, repetition), refusals, live capture on a
veth pair, sampling, shedding, memory."""
# also: sanitized
# waits
import json
import random
import signal
import socket
import stat
import struct
import sys
import time

sys.dont_write_bytecode = True
from kit.results import *     # noqa: E402,F403
from kit.collectors import *  # noqa: E402,F403

PACKETS = 400000
RSS_MAX = 64 << 20


def enrolled(folder, sink):
    r = collect(folder, "enroll", "-q", sink.url, sink.code)
    if r.code != 0:
        ok("enrolment_works", False, r)
        finish()
    return folder


def until(condition, seconds=15):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.05)
    return False


def right(name, seen, streams, packets):
    """Nothing forked, nothing missing, all there once."""
    ok(f"{name}_breaks_no_rule", seen["forks"] == 0 and seen["bad"] == 0 and seen["gaps"] == 0, seen)
    same(f"{name}_brings_each_packet_once", {n: s["records"] for n, s in seen["streams"].items()}, dict.fromkeys(streams, packets))


def linking():
    r = run("ldd", COLLECT)
    ok("it_links_neither_lmdb_nor_microhttpd", r.code == 0 and "lmdb" not in r.text and "microhttpd" not in r.text, r)
    headers = set()
    for folder in "base", "ingest", "archive":
        where = os.path.join(os.path.dirname(ATOLL), folder)
        for name in os.listdir(where):
            if name.endswith(".d"):
                with open(os.path.join(where, name), encoding="utf-8") as f:
                    headers.update(os.path.basename(word) for word in f.read().split())
    ok("it_compiles_without_their_headers", "parcel.h" in headers and not headers & {"lmdb.h", "microhttpd.h"})


def enrolment():
    sink = Sink()
    bad = sink.code[:-1] + ("a" if sink.code[-1] != "a" else "b")
    must("a_mistyped_code_is_told", collect("e", "enroll", sink.url, bad), 2)
    must("an_address_is_checked", collect("e", "enroll", "http://x", sink.code), 2, "atoll://")
    must("without_an_identity_nothing_runs", collect("e", "push", "x.pcap"), 5, "enroll")
    other = Sink(seed="other")
    must("another_archive_at_the_address_is_noticed", collect("e", "enroll", other.url, sink.code), 1, "another archive")
    other.end()
    must("the_same_command_goes_on", collect("e", "enroll", sink.url, sink.code), 0, "roof")
    mode = stat.S_IMODE(os.stat("e/identity").st_mode)
    same("the_identity_is_private", mode, 0o600)
    must("a_second_enrolment_is_refused", collect("e", "enroll", sink.url, sink.code), 1, "--again")
    must("unless_it_is_meant", collect("e", "enroll", "--again", sink.url, "-", stdin=sink.code.encode() + b"\n"), 0)
    same("the_sink_saw_two_enrolments", sink.end()["enrolled"], 2)
    os.chmod("e/identity", 0o644)
    must("an_identity_that_others_read_is_refused", collect("e", "status"), 4, "chmod")


def pushing():
    sink = Sink("--examine")
    enrolled("p", sink)
    r = collect("p", "push", "--json", "t.pcap", peak=True)
    must("a_push_ends_well", r)
    told = json.loads(r.text)
    same("it_tells_its_packets", (told["pushes"][0]["packets"], told["acknowledged"]), (PACKETS, True))
    ok("it_stays_below_64_MiB", SANITIZED or r.rss <= RSS_MAX, f"{r.rss >> 20} MiB")
    must("again_it_is_known", collect("p", "push", "t.pcap"), 0, "pushed before")
    must("from_a_pipe_it_is_new", collect("p", "push", "-s", "pipe", "-", stdin=open("t.pcap", "rb")), 0)
    must("damage_is_told_and_what_comes_before_is_kept", collect("p", "push", "cut.pcap"), 3, "cut.pcap")
    seen = sink.end()
    same("all_of_it_came", {n: s["records"] for n, s in seen["streams"].items() if n != "cut"}, {"t": PACKETS, "pipe": PACKETS})
    ok("no_rule_was_broken", seen["forks"] + seen["bad"] + seen["gaps"] == 0, seen)
    ok("no_payload_left", seen["streams"]["t"]["captured_bytes"] < os.path.getsize("t.pcap") - 16 * PACKETS - 24, seen)
    left = sorted(os.listdir("p/spool"))
    same("the_spool_is_empty", left, ["lock", "pushed", "state"])
    told = json.loads(collect("p", "status", "--json").text)
    same("status_tells_streams", sorted((s["name"], s["waiting_parcels"]) for s in told["streams"]),
         [("cut", 0), ("pipe", 0), ("t", 0)])
    same("status_tells_that_none_runs", told["running"], False)


def cut_connections():
    sink = Sink("--cut", "7")
    enrolled("c", sink)
    must("a_push_survives_cut_connections", collect("c", "push", "--wait", "t.pcap"))
    right("cutting", sink.end(), ["t"], PACKETS)


def killed():
    """Killed at random moments, by the collector's clock and the sink's: the sum is exact."""
    sink = Sink()
    enrolled("k", sink)
    chance = random.Random(5)
    deaths = 0
    for turn in range(60):
        child = start(COLLECT, "-C", "k", "push", "-q", "--wait", "--spool-bytes", "4MiB", "t.pcap", stderr=subprocess.DEVNULL)
        try:
            child.wait(chance.uniform(0.002, 0.012 + 0.002 * turn))  # the first never get far, on no machine
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL if turn % 3 else signal.SIGINT)
            child.wait()
        deaths += child.returncode == -signal.SIGKILL
        if child.returncode == 0:
            break
    must("after_all_kills_it_ends_well", collect("k", "push", "-q", "--wait", "t.pcap"))
    ok("there_were_kills", deaths >= 3, deaths)
    right("killing", sink.end(), ["t"], PACKETS)


def another_stream_is_told():
    sink = Sink("--mute")
    enrolled("o", sink)
    child = start(COLLECT, "-C", "o", "push", "-q", "--wait", "--spool-bytes", "1MiB", "t.pcap", stderr=subprocess.DEVNULL)
    ok("a_push_waits_for_room", until(lambda: sink.look()["parcels"] > 2))
    must("one_process_at_a_time", collect("o", "push", "t.pcap"), 1, "another atoll-collect")
    time.sleep(1.2)
    told = json.loads(collect("o", "status", "--json").text)
    same("status_tells_that_it_runs", (told["running"], told["phase"]), (True, "connected"))
    child.send_signal(signal.SIGTERM)
    same("sigterm_interrupts_it", child.wait(10), 130)
    must("it_goes_on_in_its_stream_only", collect("o", "push", "-s", "y", "t.pcap"), 2, "--stream t")
    sink.end()


def absent_archive():
    sink = Sink()
    enrolled("a", sink)
    port = sink.port
    sink.end()
    child = start(COLLECT, "-C", "a", "push", "-q", "--wait", "t.pcap", stderr=subprocess.DEVNULL)
    ok("without_an_archive_the_spool_fills", until(lambda: os.path.exists("a/spool/0000000000000001.parcels") and
                                                  os.path.getsize("a/spool/0000000000000001.parcels") > 1 << 20))
    sink = Sink(port=port)
    same("when_it_comes_back_all_is_sent", child.wait(40), 0)
    right("an_absent_archive", sink.end(), ["t"], PACKETS)


def refusals():
    for code, word in (1, "not enrolled"), (2, "revoked"), (3, "quarantined"):
        sink = Sink()
        folder = enrolled(f"r{code}", sink)
        port = sink.port
        sink.end()
        sink = Sink("--refuse", code, port=port)
        must(f"{word.replace(' ', '_')}_ends_it_with_exit_code_4", collect(folder, "push", "--wait", "s.pcap", timeout=30), 4, word)
        sink.end()
    for code, name in (7, "too_large"), (5, "damaged"):
        sink = Sink("--refuse-parcel", code)
        folder = enrolled(f"q{code}", sink)
        must(f"a_parcel_refused_as_{name}_does_not_stop_it", collect(folder, "push", "--wait", "t.pcap", timeout=60))
        seen = sink.end()
        t = seen["streams"]["t"]
        same(f"{name}_is_one_loss", (t["losses"], t["records"] + t["lost_records"], seen["forks"]), (1, PACKETS, 0))


def backups():
    sink = Sink("--forget", 2)
    enrolled("b", sink)
    must("a_first_push", collect("b", "push", "t.pcap"))
    must("a_push_to_an_archive_from_a_backup", collect("b", "push", "-s", "t", "s.pcap"))
    seen = sink.end()
    same("what_it_forgot_is_a_loss", (seen["streams"]["t"]["losses"], seen["forks"], seen["bad"]), (1, 0, 0))
    sink = Sink()
    enrolled("old", sink)
    collect("old", "push", "s.pcap")
    shutil.copytree("old", "copy")
    must("the_original_goes_on", collect("old", "push", "-s", "s", "t.pcap"))
    must("a_copy_of_the_folder_is_told", collect("copy", "push", "--wait", "-s", "s", "t2.pcap", timeout=30), 4, "copy")
    same("the_copy_did_no_harm", sink.end()["forks"], 0)


# --- live: in a network namespace of its own, as this very script ---

def frame(i):
    a, back = i % 200, i % 2
    one, two = (bytes([10, 0, 0, a]), 1000 + a), (bytes([10, 1, 0, a]), 80)
    src, dst = (two, one) if back else (one, two)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + 8 + 100, i & 0xffff, 0, 64, 17, 0, src[0], dst[0])
    return b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + ip + struct.pack(">HHHH", src[1], dst[1], 108, 0) + b"x" * 100


def flood(interface, count, begin=0):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((interface, 0))
        for i in range(begin, begin + count):
            s.send(frame(i))


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def up(name):
    with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w", encoding="ascii") as f:
        f.write("1")  # its announcements would be counted
    ip("link", "set", name, "up")


class Live:
    def __init__(self, folder, *options, sink=()):
        self.sink = Sink("--examine", *sink)
        self.folder = enrolled(folder, self.sink)
        self.log = open(f"{folder}.log", "wb")
        self.child = start(COLLECT, "-C", folder, "run", "--filter", "ip", *options, stderr=self.log)
        self.ready = until(lambda: b"connected to" in self.said())

    def said(self):
        with open(f"{self.folder}.log", "rb") as f:
            return f.read()

    def stream(self, name="far"):
        return self.sink.look()["streams"].get(name, {"records": 0, "lost_policy": 0, "lost_kernel": 0})

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        code = self.child.wait(15)
        self.log.close()
        return code, self.sink.end()


def live_plain():
    live = Live("l1", "-i", "far", "-i", "far2")
    ok("a_capture_starts", live.ready, live.said())
    quiet, took = 0, []
    while quiet < 9 and not (took and took[-1] < 2):  # a shared machine may stand still for a moment
        began = time.monotonic()
        flood("near", 3)
        quiet += 3
        if not until(lambda: live.stream()["records"] == quiet):
            break
        took.append(time.monotonic() - began)
    ok("a_quiet_link_is_there_within_2_seconds", took and took[-1] < 2, took, live.stream())
    flood("near", 20000)
    flood("near2", 500)
    ok("all_of_a_burst_arrives", until(lambda: live.stream()["records"] == 20000 + quiet), live.stream())
    ok("a_second_interface_is_a_second_stream", until(lambda: live.stream("far2")["records"] == 500), live.stream("far2"))
    with open(f"/proc/{live.child.pid}/status", encoding="ascii") as f:
        status = dict(line.split(":", 1) for line in f)
    ok("it_is_not_root", status["Uid"].split()[0] != "0" or os.geteuid() != 0, status["Uid"])
    same("it_has_no_capabilities", int(status["CapEff"], 16) | int(status["CapPrm"], 16) | int(status["CapAmb"], 16), 0)
    same("it_gets_no_new_privileges", status["NoNewPrivs"].strip(), "1")
    ok("it_stays_below_64_MiB_live", SANITIZED or int(status["VmHWM"].split()[0]) << 10 <= RSS_MAX, status["VmHWM"])
    ip("link", "set", "far", "down")
    time.sleep(1.5)
    up("far")
    time.sleep(0.5)
    flood("near", 100)
    ok("an_interface_that_was_down_goes_on", until(lambda: live.stream()["records"] == 20103), live.stream(), live.said())
    ok("and_that_is_said", b"went down" in live.said() and b"up again" in live.said(), live.said())
    flood("near", 777)
    time.sleep(0.1)
    code, seen = live.end()
    same("sigterm_ends_it_in_order", code, 0, live.said())
    same("what_was_captured_last_was_sent", seen["streams"]["far"]["records"], 20877 + quiet)
    same("nothing_was_lost", [seen["streams"]["far"][k] for k in ("lost_kernel", "lost_interface", "lost_spool", "lost_policy")],
         [0, 0, 0, 0])
    same("headers_only_left", seen["streams"]["far"]["captured_bytes"], 42 * (20877 + quiet))


def live_sampled():
    for how, least, most in ("every:10", 2000, 2000), ("random:10", 1787, 2213), ("flow:4", 0, 20000):
        kind = how.split(":", maxsplit=1)[0]
        live = Live(f"l_{kind}", "-i", "far", "--sample", how)
        flood("near", 20000)
        until(lambda: live.stream()["records"] + live.stream()["lost_policy"] >= 20000)
        code, seen = live.end()
        s = seen["streams"].get("far", {"records": 0, "lost_policy": 20000, "sampled_records": 0})
        same(f"{kind}_ends_in_order", code, 0)
        same(f"{kind}_counts_what_it_leaves_out", s["records"] + s["lost_policy"], 20000)
        ok(f"{kind}_keeps_its_share", least <= s["records"] <= most, s["records"])
        same(f"{kind}_says_the_rate", s["sampled_records"], s["records"] * int(how.split(":")[1]))
        if kind == "flow":  # 200 flows in all, of both directions: each is there as a whole or not at all
            same("flows_are_whole", s["records"] % 100, 0)


def live_shed():
    live = Live("l_shed", "-i", "far", "--shed")
    sent = 0
    live.child.send_signal(signal.SIGSTOP)
    while sent < 300000:  # the ring holds 32 MiB
        flood("near", 50000, sent)
        sent += 50000
    live.child.send_signal(signal.SIGCONT)
    ok("overload_raises_the_rate", until(lambda: b"keeping one in 2 " in live.said()), live.said())
    flood("near", 10000, sent)
    sent += 10000
    if not SANITIZED:
        ok("the_rate_falls_again", until(lambda: b"keeping one in 1 " in live.said(), 30), live.said())
    flood("near", 1000, sent)
    sent += 1000
    time.sleep(1.5)
    code, seen = live.end()
    s = seen["streams"]["far"]
    same("shedding_ends_in_order", code, 0)
    ok("the_kernel_dropped_some", s["lost_kernel"] > 0, s)
    ok("policy_left_some_out", s["lost_policy"] > 0, s)
    same("each_packet_is_told_once", s["records"] + s["lost_kernel"] + s["lost_policy"], sent)


def live_spool():
    """Without an archive and with a small spool: packets are counted as lost, by their cause."""
    for policy in "stop", "oldest":
        live = Live(f"l_{policy}", "-i", "far", "--spool-bytes", "1MiB", "--spool-full", policy, "--full", "--snaplen", "200")
        port = live.sink.port
        live.sink.end()
        sent = 0
        for _ in range(14):  # random bytes do not compress
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
                s.bind(("near", 0))
                for i in range(1500):
                    s.send(frame(i)[:42] + os.urandom(100))
            sent += 1500
            time.sleep(0.35)
        time.sleep(1.5)
        live.sink = Sink("--examine", port=port)
        ok(f"{policy}_goes_on_when_the_archive_is_back", until(lambda: live.stream()["records"] > 0, 40), live.said())
        flood("near", 100)
        until(lambda: live.stream()["records"] + live.stream().get("lost_spool", 0) >= sent + 100, 20)
        code, seen = live.end()
        s = seen["streams"]["far"]
        same(f"{policy}_ends_in_order", code, 0)
        ok(f"{policy}_breaks_no_rule", seen["forks"] + seen["bad"] == 0, seen)
        ok(f"{policy}_lost_some", s["lost_spool"] > 0, s)
        same(f"{policy}_counts_each_packet_once", s["records"] + s["lost_spool"] + s["lost_kernel"], sent + 100)
        same(f"{policy}_tells_gaps", s["losses"] > 0, policy == "oldest", s)


def inside():
    ip("link", "set", "lo", "up")
    for near, far in ("near", "far"), ("near2", "far2"):
        ip("link", "add", near, "type", "veth", "peer", "name", far)
        up(near)
        up(far)
    live_plain()
    live_sampled()
    live_shed()
    live_spool()


scratch()
if sys.argv[1:] == ["inside"]:
    inside()
    finish()
linking()
gen("t.pcap", "--packets", str(PACKETS), "--seed", "3")
gen("t2.pcap", "--packets", "1000", "--seed", "5")
gen("s.pcap", "--packets", "1000", "--seed", "4")
with open("t2.pcap", "rb") as whole, open("cut.pcap", "wb") as part:
    part.write(whole.read()[:20000])
enrolment()
pushing()
cut_connections()
killed()
another_stream_is_told()
absent_archive()
refusals()
backups()
if os.geteuid() == 0 and have("unshare", "ip") and run("unshare", "-n", "ip", "link", "add", "x", "type", "veth").code == 0:
    os.chmod(".", 0o755)  # who captures is not root in the end
    child = subprocess.run(["unshare", "-n", sys.executable, os.path.abspath(__file__), "inside"], check=False)
    ok("the_live_tests_end", child.returncode in (0, 1), child.returncode)
    finish() if child.returncode == 0 else sys.exit(1)
else:
    skip("live_captures", "needs root and a network namespace with a veth pair")
finish()
