#!/usr/bin/env python3
"""An operator's first five minutes: serve, enroll, a collector that pushes a trace, monitors, /metrics, revoke; each as typed."""
# also: sanitized
import json
import sys
import time
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
from kit.results import *    # noqa: E402,F403

COLLECT = os.path.join(os.path.dirname(ATOLL), "atoll-collect")


def until(seconds, what):
    """What what() gives as soon as it is true, or the last it gave."""
    end = time.monotonic() + seconds * (5 if SANITIZED else 1)
    while True:
        value = what()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.05)


def fetch(path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, ""
    except OSError:
        return 0, ""


def collect(folder, *arguments):
    return run(COLLECT, "-C", folder, *arguments)


def monitor(name="roof"):
    found = [m for m in json.loads(atoll("a", "monitors", "--json").text)["monitors"] if m["name"] == name]
    return found[0] if found else None


def enrolled(name, folder):
    code = atoll("a", "enroll", name, "-q").text.strip()
    return code, collect(folder, "enroll", f"atoll://127.0.0.1:{port}", code)


scratch()
os.umask(0o077)
gen("t.pcap", "--packets", "5000", "--seed", "3")
run(ATOLL, "init", "-q", "a")
port, metrics_port = free_port(), free_port()
log = open("serve.log", "wb")
server = subprocess.Popen([ATOLL, "-A", "a", "serve", "--listen", f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{metrics_port}",
                           "--user", "root" if os.getuid() == 0 else os.environ.get("USER", "me")], stderr=log, stdout=log)


def stop():
    if server.poll() is None:
        server.kill()
    server.wait()


atexit.register(stop)
ok("the_server_is_up", until(20, lambda: fetch("/healthz") == (200, "ok\n")), open("serve.log", encoding="utf-8").read())

code, r = enrolled("roof", "c")
must("a_collector_enrols_with_the_code", r, 0, "roof")
key = json.loads(atoll("a", "enroll", "other", "--json").text)["archive_key"]
ok("and_shows_the_key_that_enroll_showed", key in r.said, key, r)
must("the_code_is_used_up", collect("c2", "enroll", f"atoll://127.0.0.1:{port}", code), 4)
same("the_monitor_is_listed_as_enrolled", [monitor()["state"], monitor()["stored_records"]], ["enrolled", 0])
must("it_can_not_be_enrolled_twice", atoll("a", "enroll", "roof"), 1, "atoll revoke roof first")

must("it_pushes_a_trace", collect("c", "push", "t.pcap"), 0)
packets = int(json.loads(atoll("a", "query", "--count", "--json").text)["packets"])
ok("which_is_in_the_archive", packets >= 5000, packets)
m = until(5, lambda: monitor() if monitor()["stored_records"] == packets else None)
ok("and_in_the_list_of_monitors", m and m["records"] == packets and m["last_seen"] and m["lost_kernel"] == 0, m or monitor())
stored = f'atoll_monitor_stored_records{{monitor="roof"}} {packets}\n'
until(5, lambda: stored in fetch("/metrics")[1])
status, text = fetch("/metrics")
ok("and_in_the_metrics", status == 200 and stored in text, text[-3000:])
ok("which_count_packets_once", f'atoll_monitor_records_total{{monitor="roof"}} {packets}\n' in text, text[-3000:])
ok("and_are_well_formed", all(re.fullmatch(r'# (HELP|TYPE) .*|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z]+="[a-z]+")*\})? -?\d+(\.\d+)?', line)
                              for line in text.splitlines()))
must("the_table_has_it_too", atoll("a", "monitors"), 0, rf"roof +(enrolled|connected) .*{packets:,}")
with open(os.path.join(os.environ.get("TOP", "."), "docs", "json.md"), encoding="utf-8") as f:
    same("its_members_are_as_documented", list(monitor()), re.findall(r"^\| monitors\[\]\.(\w+) \|", f.read(), re.M))

must("revoke_asks_the_server", atoll("a", "revoke", "roof"), 0, "its session ends now")
same("the_monitor_is_revoked", monitor()["state"], "revoked")
gen("u.pcap", "--packets", "3000", "--seed", "4")
r = run(COLLECT, "-C", "c", "push", "u.pcap", timeout=60)
ok("and_nothing_more_is_taken_from_it", r.code not in (0, "timeout"), r)
same("not_a_packet", int(json.loads(atoll("a", "query", "--count", "--json").text)["packets"]), packets)
code, r = enrolled("roof", "c3")
must("it_comes_back_with_new_keys", r, 0)
must("and_pushes", collect("c3", "push", "u.pcap"), 0)
ok("under_its_old_name", until(5, lambda: monitor()["stored_records"] > packets) and monitor()["state"] == "enrolled", monitor())
must("what_changes_the_archive_waits", atoll("a", "import", "t.pcap"), 1)

server.terminate()
same("the_server_stops_when_asked", until(20, lambda: server.poll() is not None) and server.returncode, 0,
     open("serve.log", encoding="utf-8").read()[-1500:])
must("without_it_monitors_opens_the_archive", atoll("a", "monitors"), 0, "roof +enrolled", "no server is running")
must("which_is_in_order", atoll("a", "fsck"), 0)
finish()
