#!/usr/bin/env python3
# also: sanitized
"""atoll serve as a daemon: what it says when it can not start, who its processes are and what they may, that each of them comes
back when it is killed, new settings while it runs, revocation, and its end. Whether packets survive all that is looked at in
remote_kills.py; here one collector pushes now and then, and in the end all is there once."""
import signal
import stat
import subprocess
import sys
import time
import urllib.request

sys.dont_write_bytecode = True
from kit import remote as r      # noqa: E402
from kit.results import *        # noqa: E402,F403

PACKETS = 3000


def serve(*options, archive="site/archive", before=(), timeout=20):
    """A server that is to fail at once."""
    return run(*before, ATOLL, "-A", archive, "serve", "--metrics", "none", "--config", "site/atoll.conf", *options, timeout=timeout)


def one_sentence(name, got, code, *words):
    lines = [line for line in got.err.splitlines() if line.startswith("atoll serve: ")]
    ok(name, got.code == code and len(lines) == 1 and all(re.search(w, lines[0]) for w in words), got)


# --- what it says ---

def refusals(site):
    """Every sentence names the thing and what to do."""
    here = f"127.0.0.1:{site.port}"
    one_sentence("an_address_in_use_is_said_with_the_way_out", serve("--listen", here), 1, str(site.port), "in use", "--listen", "ss -ltnp")
    one_sentence("an_archive_with_a_server_is_held", serve("--listen", f"127.0.0.1:{r.free_port()}"), 1, "archive", "another|is writing")
    one_sentence("no_archive_there", serve("--listen", f"127.0.0.1:{r.free_port()}", archive="nowhere"), 5, "nowhere")
    one_sentence("an_address_of_another_machine", serve("--listen", "192.0.2.1:7713"), 2, "no interface", "--listen")
    for text in ("7713", "host:", "127.0.0.1:99999", "::1:7713", "[::1]", "x:-1"):
        one_sentence(f"not_an_address_{text}", serve("--listen", text), 2, "HOST:PORT|port")
    one_sentence("a_user_that_is_not_there", serve("--listen", f"127.0.0.1:{r.free_port()}", "--user", "nobody-here"),
                 5 if r.ROOT else 4, "nobody-here")
    if not r.ROOT or not have("setpriv"):
        return skip("ports_and_folders_of_others", "needs root and setpriv")
    unprivileged = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all")
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as f:
        first = int(f.read())
    reachable = run(*unprivileged, ATOLL, "--version").code == 0 and run(*unprivileged, "ls", "site").code == 0
    if first > 81 and reachable:
        one_sentence("a_port_of_root", serve("--listen", "127.0.0.1:81", before=unprivileged), 4, "1024", "--listen")
    else:
        skip("a_port_of_root", "no port needs privilege here, or the folder is closed to others")
    one_sentence("a_folder_of_another_user", serve("--listen", f"127.0.0.1:{r.free_port()}", "--user", "nobody"), 4,
                 "belongs to root", "chown", "--user root")
    same("the_server_that_was_there_runs_on", site.running(), True)


# --- who they are ---

def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def processes(site):
    pids = {role: site.pid(role) for role in ("parent", "store", "ingest")}
    ok("there_are_a_parent_a_store_and_an_ingest_process", all(pids.values()) and len(set(pids.values())) == 3, pids)
    if not SANITIZED:
        for role in ("store", "ingest"):
            s = status_of(pids[role])
            same(f"{role}_has_no_new_privileges_and_a_filter_of_system_calls", (s["NoNewPrivs"], s["Seccomp"]), ("1", "2"))
            if r.ROOT:  # the server was told to stay root
                wanted = ({"0"}, 0b1010) if role == "store" else ({"65534"}, 0)
                same(f"{role}_keeps_of_root_what_it_needs", (set(s["Uid"].split()), int(s["CapPrm"], 16)), wanted)
    for role in ("store", "ingest"):
        links = [os.readlink(f"/proc/{pids[role]}/fd/{fd}") for fd in os.listdir(f"/proc/{pids[role]}/fd")]
        files = [x for x in links if x.startswith("/") and not x.startswith(("/dev/null", site.log))]
        ok(f"{role}_has_open_what_it_needs", all(x.startswith(site.archive) for x in files) and (role == "store" or not files), files)
    ok("the_control_socket_is_for_its_user_only",
       stat.S_IMODE(os.stat(f"{site.archive}/control.sock").st_mode) == 0o600)


# --- killed ---

def kill_each(site, collector, pushed):
    for i, role in enumerate(["store", "ingest"] * 2):
        before = site.pid(role)
        r.kill(before)
        back = r.wait_until(lambda: site.pid(role) not in (None, before), 10)
        ok(f"{role}_comes_back_{i}", back, site.tail())
        pushed += 1
        got = collector.push(gen(f"p{pushed}.pcap", "--packets", PACKETS, "--seed", 50 + pushed, "--start", 1767600000 + 3600 * pushed),
                             options=("--wait",))
        must(f"and_the_collector_goes_on_{i}", got)
    ok("the_log_says_who_was_killed_and_that_it_starts_again",
       re.search(r"error: store was killed by signal 9 .*starts again in \d+ ms", site.tail(200)), site.tail(200))
    return pushed


def kill_parent(site, collector, pushed):
    children = r.children_of(site.server.pid)
    r.kill(site.server.pid)
    site.server.wait()
    ok("the_children_go_with_the_parent", r.wait_until(lambda: not any(r.alive(c) for c in children.values()), 5), children)
    ok("and_it_starts_again", site.start(), site.tail())
    pushed += 1
    must("and_takes_packets", collector.push(gen(f"p{pushed}.pcap", "--packets", PACKETS, "--seed", 50 + pushed, "--start",
                                                 1767600000 + 3600 * pushed), options=("--wait",)))
    return pushed


# --- settings ---

def reload(site):
    site.configure("[retention]\nfree_bytes = 0\nstop_bytes = 0\n[limits]\nconnections = 77\n")
    site.server.send_signal(signal.SIGHUP)
    ok("sighup_reads_the_settings_again", r.wait_until(lambda: "settings read again" in site.tail(), 5), site.tail())
    site.configure("[limits]\nconnections = many\n")
    site.server.send_signal(signal.SIGHUP)
    ok("broken_settings_are_said_and_change_nothing",
       r.wait_until(lambda: re.search("settings stay as they are: .*atoll.conf:2", site.tail()), 5), site.tail())
    site.configure(r.CONFIG)


# --- metrics ---

def metrics():
    site = r.Site("metrics")
    port = r.free_port()
    command = [ATOLL, "-A", site.archive, "serve", "--config", site.config, "--listen", f"127.0.0.1:{site.port}", "--metrics",
               f"127.0.0.1:{port}", *(["--user", "root"] if r.ROOT else [])]
    with open(site.log, "ab") as log:
        site.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def fetch():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=3) as f:
                return f.read().decode()
        except OSError:
            return ""
    ok("the_metrics_are_there", r.wait_until(lambda: "atoll_restarts_total 0" in fetch(), 10), site.tail())
    for role in ("http", "store"):
        before = site.pid(role)
        r.kill(before)
        ok(f"{role}_comes_back_too", r.wait_until(lambda: site.pid(role) not in (None, before), 10), site.tail())
    ok("and_the_metrics_count_it", r.wait_until(lambda: "atoll_restarts_total 2" in fetch(), 10), fetch()[:300])
    same("a_server_with_metrics_stops_in_order", site.stop(), 0)


# --- revoked ---

def revoked(site):
    other = r.Collector(site, "guest").enrol()
    log = open(other.log, "ab")
    child = subprocess.Popen(other.command("push", "--stream", "live", "-"), stdin=subprocess.PIPE, stdout=log, stderr=log,
                             start_new_session=True)
    with open(gen("live.pcap", "--packets", "200", "--seed", "3"), "rb") as f:
        data = f.read()
    with child.stdin as f:
        f.write(data)
        f.flush()
        connected = r.wait_until(lambda: site.monitors()["guest"]["connected"], 10, 0.1)
        if not ok("a_guest_is_connected", connected, other.tail(), site.tail()):
            r.kill(child.pid)
            return
        began = time.monotonic()
        must("it_is_revoked", site.verb("revoke", "guest"))
        cut = r.wait_until(lambda: "session of guest at 127.0.0.1 is cut" in site.tail(20), 6)
        ok("its_session_is_cut_within_5_s", cut and time.monotonic() - began < 5, site.tail(20))
    r.wait_until(lambda: child.poll() is not None, 20)
    ok("the_collector_knows", "revoked" in other.tail(20), child.returncode, other.tail(20))
    r.kill(child.pid)
    child.wait()
    log.close()


# --- many streams ---

def many_streams(site):
    """A folder of files, each its own stream, in one session."""
    many = r.Collector(site, "many").enrol()
    files = [gen(f"m{i}.pcap", "--packets", "5", "--seed", str(i)) for i in range(70)]
    got = run(*many.command("push", "--wait", *files), timeout=60)
    must("seventy_files_make_seventy_streams", got)
    listed = [line for line in site.verb("ls").text.splitlines() if line.startswith("many/")]
    same("and_all_of_them_arrive", len(listed), 70, many.tail())


scratch()
os.chmod(".", 0o755)
main_site = r.Site("site")
ok("it_starts_and_says_that_it_is_up", main_site.start(), main_site.tail())
refusals(main_site)
processes(main_site)
monitor = r.Collector(main_site, "roof").enrol()
must("a_collector_pushes", monitor.push(gen("p0.pcap", "--packets", PACKETS, "--seed", "50"), options=("--wait",)))
count = kill_each(main_site, monitor, 0)
count = kill_parent(main_site, monitor, count)
reload(main_site)
revoked(main_site)
many_streams(main_site)
same("it_stops_in_order_when_asked", main_site.stop(), 0)
ok("and_leaves_no_socket", not os.path.exists(f"{main_site.archive}/control.sock"))
files = [f"p{i}.pcap" for i in range(count + 1)]
want = init("reference")
must("the_same_files_imported", atoll(want, "import", "-q", "--headers-only", "--stream", "roof/s", *files))
must("what_was_imported_comes_out", atoll(want, "export", "--raw", "-q", "-o", "want.pcap"))
must("what_was_sent_comes_out", main_site.verb("export", "--raw", "-q", "-s", "roof/s", "-o", "got.pcap"))
got, wanted = r.t.whole("got.pcap"), r.t.whole("want.pcap")
ok("all_is_there_once", r.Counter(got) == r.Counter(wanted), len(got), len(wanted))
ok("fsck_finds_nothing", main_site.fsck() is None, main_site.fsck())
metrics()
finish()
