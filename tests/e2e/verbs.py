#!/usr/bin/env python3
"""What others script against: exit codes, JSON keys, standard input and output, packed input, the same file twice, permissions,
messages. jq reads the JSON; gzip, zstd, xz and lz4 pack the input."""
# also: sanitized
import json
import pty
import re
import select
import signal
import stat
import subprocess
import sys

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

STAT_KEYS = ["version", "packets", "wire_bytes", "captured_bytes", "stored_bytes", "index_bytes", "bytes_per_packet",
             "missing_packets", "sampled", "landed_records",
             "landed_bytes", "segments", "streams", "from", "until"]


def jq(text, expression):
    r = run("jq", "-ce", expression, stdin=text.encode()) if have("jq") else None
    if r is None:
        return None
    return r.text.strip() if r.code in (0, 1) else r


def making():
    must("init_makes_an_archive_and_says_where_the_key_is", run(ATOLL, "init", "a"), 0, "a is an archive now", "owner key: a/owner.key")
    same("the_owner_key_is_for_its_owner_only", stat.S_IMODE(os.stat("a/owner.key").st_mode), 0o600)
    same("the_keystore_too", stat.S_IMODE(os.stat("a/keystore").st_mode), 0o600)
    must("init_refuses_an_archive", run(ATOLL, "init", "a"), 1, "a")
    os.mkdir("full")
    with open("full/file", "w", encoding="ascii"):
        pass
    must("init_refuses_a_folder_with_something_in_it", run(ATOLL, "init", "full"), 1, "full")
    same("and_leaves_it_as_it_was", os.listdir("full"), ["file"])
    init("outer")
    for place in "outer/segments", "outer/new", "outer/segments/deep":
        must(f"init_refuses_a_place_in_an_archive_{place.replace('/', '_')}", run(ATOLL, "init", place), 2, "lies in the archive .*outer")
    os.rename("outer/format", "kept")
    must("without_its_format_file_an_archive_is_told", atoll("outer", "stat"), 5, "without its file \"format\"", "echo atoll-archive 1")
    must("init_tells_it_as_well", run(ATOLL, "init", "outer"), 1, "without its file \"format\"")
    run("sh", "-c", re.search("echo .*", atoll("outer", "stat").err).group(0))
    must("and_what_it_says_helps", atoll("outer", "fsck", "-q"))
    same("byte_for_byte", open("outer/format").read(), open("kept").read())
    os.mkdir("empty")
    must("init_takes_an_empty_folder", run(ATOLL, "init", "empty", "--json"), 0, '"archive": "empty"')
    must("the_archive_can_come_from_the_environment", run(ATOLL, "stat", env={"ATOLL_ARCHIVE": "empty"}), 0, r"packets +0")
    must("the_command_line_goes_before_the_environment", run(ATOLL, "-A", "nowhere", "stat", env={"ATOLL_ARCHIVE": "empty"}), 5)


def exit_codes():
    gen("t.pcap", "--packets", "3000", "--seed", "9")
    must("exit_0_when_all_went_well", atoll("a", "import", "t.pcap"), 0, r't\.pcap: 3,0\d\d packets into stream "t"')
    must("exit_1_on_an_error", atoll("a", "import", "t.pcap"), 1, "--again", r"t\.pcap")
    must("exit_5_when_the_folder_of_the_output_is_not_there", atoll("a", "export", "--raw", "-o", "/nowhere/at/all.pcap"), 5, "/nowhere/at")
    must("exit_2_for_a_verb_without_its_argument", atoll("a", "import"), 2, "wants FILE")
    must("exit_2_for_an_export_without_raw", atoll("a", "export", "-o", "x.pcap"), 2, "--raw")
    must("exit_2_for_an_export_to_nowhere", atoll("a", "export", "--raw"), 2, "-o FILE")
    must("exit_2_for_a_count_that_is_none", atoll("a", "query", "--limit", "many"), 2, "--limit")
    must("exit_2_for_an_unknown_form", atoll("a", "query", "-o", "xml"), 2, "table, csv and ndjson")
    must("exit_2_for_an_unknown_format", atoll("a", "export", "--raw", "-o", "x", "--format", "erf"), 2, "pcap and pcapng")
    must("exit_2_for_a_count_with_a_limit", atoll("a", "query", "--count", "--limit", "3"), 2, "--count")
    must("exit_2_for_a_limit_of_nothing", atoll("a", "export", "--raw", "-o", "x", "--limit", "0"), 2, "--limit")
    must("exit_2_for_an_output_inside_the_archive", atoll("a", "export", "--raw", "-o", "a/owner.key"), 2, "archive")
    must("exit_2_for_an_option_given_twice", atoll("a", "query", "--from", "now", "--from", "now"), 2, "twice")
    must("exit_2_for_an_argument_too_many", atoll("a", "stat", "please"), 2, "please")
    must("exit_2_for_a_folder_as_a_trace", atoll("a", "import", "full"), 2, "full")
    with open("t.pcap", "rb") as f, open("cut.pcap", "wb") as g:
        g.write(f.read()[:50001])
    must("exit_3_when_a_file_is_damaged", atoll("a", "import", "cut.pcap"), 3, r"cut\.pcap: byte \d+")
    must("exit_3_when_one_of_two_files_is_not_there", atoll("a", "import", "--again", "t.pcap", "missing.pcap"), 3, r"missing\.pcap")
    run(ATOLL, "init", "-q", "--key-file", "far.key", "denied")
    run(ATOLL, "init", "-q", "--key-file", "other.key", "other")
    must("exit_4_for_the_wrong_owner_key", atoll("denied", "stat", "--key-file", "other.key"), 4)
    must("exit_5_when_there_is_no_archive", atoll("nowhere", "stat"), 5, "nowhere")
    must("exit_5_when_there_is_no_such_file", atoll("a", "import", "missing.pcap"), 5, r"missing\.pcap")
    atoll("a", "import", "-q", "--stream", "backbone", "cut.pcap", "--again")
    must("exit_5_when_there_is_no_such_stream", atoll("a", "query", "-s", "bacbone"), 5, 'did you mean "backbone"')
    must("exit_5_when_rm_names_no_stream", atoll("a", "rm", "-s", "backbones", "--until", "now"), 5, "did you mean .?backbone")
    must("exit_2_when_rm_has_no_until", atoll("a", "rm", "-s", "t"), 2, "--until")
    for arguments in (["qurey"], ["query", "--fitler", "x"], ["export", "--raw", "--otput", "x"], ["import", "--steam", "s", "x"],
                      ["ls", "stream"], ["fsck", "--repiar"], ["rebulid"]):
        r = atoll("a", *arguments)
        must(f"a_near_name_is_suggested_for_{'_'.join(arguments).replace('-', '')}", r, 2, "did you mean")
        ok(f"in_one_sentence_{'_'.join(arguments).replace('-', '')}", len(r.err.splitlines()) == 1 and not r.text, r)


def the_same_files():
    """Of several files those that are there are passed over; alone, elsewhere or otherwise they are refused."""
    a = init("same")
    for i in 1, 2, 3:
        gen(f"s{i}.pcap", "--packets", "500", "--seed", str(40 + i))
    packets = {f"s{i}.pcap": len(t.whole(f"s{i}.pcap")) for i in (1, 2, 3)}
    must("imports_the_first_two", atoll(a, "import", "--stream", "s", "s1.pcap", "s2.pcap"), 0)
    r = atoll(a, "import", "--stream", "s", "s1.pcap", "s2.pcap", "s3.pcap")
    must("of_several_files_those_that_are_there_are_passed_over", r, 0,
         f's1.pcap: already imported on .* into stream "s" .{packets["s1.pcap"]} records',
         "s2.pcap: already imported", f'{packets["s3.pcap"]} packets into stream "s"')
    r = atoll(a, "import", "--json", "--stream", "s", "s1.pcap", "s2.pcap", "s3.pcap")
    ok("also_when_all_are_there", r.code == 0 and [(i["passed_over"], i["packets"], i["packets_before"], i["error"])
       for i in json.loads(r.text)["imports"]] == [(True, 0, n, None) for n in packets.values()], r)
    same("nothing_was_stored_twice", json.loads(atoll(a, "stat", "--json").text)["packets"], sum(packets.values()))
    must("alone_it_is_refused", atoll(a, "import", "--stream", "s", "s1.pcap"), 1, "s1.pcap: already imported on", 'into stream "s"',
         "--again")
    r = atoll(a, "import", "--stream", "other", "s1.pcap", "s2.pcap")
    must("and_for_another_stream_also_among_several", r, 1, "s1.pcap: already imported", "s2.pcap: already imported", 'into stream "s"')
    must("and_with_headers_only", atoll(a, "import", "--headers-only", "--stream", "s", "s1.pcap", "s2.pcap"), 1, "already imported")
    same("no_stream_was_made_for_these", json.loads(atoll(a, "stat", "--json").text)["streams"], 1)
    gen("large.pcap", "--packets", "10000", "--seed", "50")
    must("imports_a_file_that_is_sampled", atoll(a, "import", "-q", "large.pcap"))
    must("whose_refusal_says_what_was_compared", atoll(a, "import", "large.pcap"), 1,
         "its size, both ends and samples between are the same")
    ok("a_small_one_was_compared_whole", "places" not in atoll(a, "import", "s1.pcap").err)
    again_interrupted(a)


def again_interrupted(a):
    """The same command would import the first file yet again: the message says with what to go on."""
    os.mkfifo("never")
    child = start(ATOLL, "-A", a, "import", "-q", "--again", "--stream", "s", "s1.pcap", "never", stderr=subprocess.PIPE)
    with open("never", "wb", buffering=0):
        select.select([], [], [], 0.3)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    ok("an_interrupted_again_says_with_what_to_go_on", child.returncode == 130 and b"--again with never and what follows" in err,
       child.returncode, err)


def interrupt():
    """A pipe that gives nothing more: the import waits, SIGINT ends it, and what was read is kept."""
    with open("t.pcap", "rb") as f:
        data = f.read()
    os.mkfifo("pipe")
    for name, number in ("sigint", signal.SIGINT), ("sigterm", signal.SIGTERM):
        a = init(f"a-{name}")
        child = start(ATOLL, "-A", a, "import", "-q", "--stream", "s", "pipe", stderr=subprocess.PIPE)
        with open("pipe", "wb", buffering=0) as f:
            f.write(data[:30000])
            select.select([], [], [], 0.3)
            child.send_signal(number)
            try:
                _, err = child.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                _, err = child.communicate()
        ok(f"{name}_ends_an_import_that_waits_for_its_pipe", child.returncode == 130, child.returncode, err)


def json_shapes():
    r = atoll("a", "stat", "--json")
    keys = list(json.loads(r.text))
    same("stat_has_just_the_stable_keys", keys, STAT_KEYS)
    if have("jq"):
        same("jq_reads_them", jq(r.text, ".bytes_per_packet == (.stored_bytes + .index_bytes) / .packets"), "true")
    r = atoll("empty", "stat", "--json")
    same("also_of_an_empty_archive", json.loads(r.text), {
        "version": 1, "packets": 0, "wire_bytes": 0, "captured_bytes": 0, "stored_bytes": 0,
        "index_bytes": json.loads(r.text)["index_bytes"],
        "bytes_per_packet": None, "missing_packets": 0, "sampled": False,
        "landed_records": 0, "landed_bytes": 0, "segments": 0, "streams": 0, "from": None, "until": None})
    found = t.whole("t.pcap")
    b = init("b")
    must("imports_into_a_named_stream", atoll(b, "import", "-q", "--stream", "eth 0", "t.pcap"))
    stat_ = json.loads(atoll(b, "stat", "--json").text)
    same("stat_counts_right", (stat_["packets"], stat_["wire_bytes"], stat_["captured_bytes"], stat_["streams"], stat_["segments"]),
         (len(found), sum(p.wire for p in found), sum(len(p.data) for p in found), 1, 1))
    stored = sum(os.path.getsize(f"{b}/segments/{n}") for n in os.listdir(f"{b}/segments"))
    same("stored_bytes_is_what_the_files_take", stat_["stored_bytes"], stored)
    first, last = min(p.ts for p in found), max(p.ts for p in found)
    ok("from_and_until_hold_the_packets", stat_["from"].endswith(f".{first % t.NS:09}Z") and
       stat_["until"].endswith(f".{(last + 1) % t.NS:09}Z"), stat_, first, last)
    outputs = {
        "import": atoll(b, "import", "--json", "--again", "t.pcap"), "ls": atoll(b, "ls", "--json"),
        "ls_segments": atoll(b, "ls", "segments", "--json"), "count": atoll(b, "query", "--count", "--json"),
        "explain": atoll(b, "query", "--explain", "--json"), "export": atoll(b, "export", "--raw", "-o", "x.pcap", "--json"),
        "rm": atoll(b, "rm", "-s", "eth 0", "--until", "1970-01-02", "--json"), "fsck": atoll(b, "fsck", "--json"),
        "rebuild": atoll(b, "rebuild", "--json"),
    }
    for name, r in outputs.items():
        try:
            good = r.code == 0 and isinstance(json.loads(r.text).get("version"), int)
        except ValueError:
            good = False
        ok(f"{name}_gives_json_with_a_version", good, r)
        if have("jq"):
            ok(f"jq_reads_the_json_of_{name}", jq(r.text, ".version >= 1") == "true", r)
    i = json.loads(outputs["import"].text)["imports"][0]
    same("import_tells_what_it_did", (i["file"], i["packets"], i["damage"], i["error"]), ("t.pcap", len(found), None, None))
    s = json.loads(outputs["ls"].text)["streams"]
    same("ls_names_both_streams", sorted(x["name"] for x in s), ["eth 0", "t"])
    r = atoll(b, "import", "--json", "cut.pcap", "missing.pcap", "t.pcap")
    imports = json.loads(r.text)["imports"]
    ok("json_tells_of_damage_and_errors", r.code == 3 and [bool(x["damage"]) for x in imports] == [True, False, False] and
       [bool(x["error"]) for x in imports] == [False, True, False] and [x["passed_over"] for x in imports] == [False, False, True], r)
    r = atoll(b, "import", "--json", "--stream", 'quo"te\\ and \u00e9', "--again", "t.pcap")
    ok("names_are_escaped_in_json", json.loads(r.text)["imports"][0]["stream"] == 'quo"te\\ and \u00e9', r)
    for name, stream in ("control_characters", b"x\x1b[31m"), ("latin_1", b"caf\xe9"), ("a_c1_control", b"x\xc2\x9b31m"), \
            ("half_a_character", b"x\xe2\x82"), ("a_surrogate", b"\xed\xa0\x80"), ("nothing", b""):
        r = atoll(b, "import", "--again", "--stream", os.fsdecode(stream), "t.pcap")
        ok(f"a_stream_name_with_{name}_is_refused_in_one_sentence", r.code == 2 and len(r.err.splitlines()) == 1, r)
    shutil.copy("t.pcap", os.fsdecode(b"caf\xe9.pcap"))
    r = atoll(b, "import", "--again", "--json", os.fsdecode(b"caf\xe9.pcap"))
    ok("a_file_with_such_a_name_gives_a_question_mark", r.code == 0 and json.loads(r.text)["imports"][0]["stream"] == "caf?", r)
    r = atoll(b, "query", "-s", "x\x1b[31m")
    ok("and_not_shown_raw_in_a_message", r.code == 5 and "\x1b" not in r.said, r)
    shutil.copy("cut.pcap", "x\x1b[31m\n.pcap")
    r = atoll(b, "import", "--again", "--stream", "x", "x\x1b[31m\n.pcap")
    ok("nor_a_file_name", r.code == 3 and "\x1b" not in r.said and len(r.err.splitlines()) == 2, r)


PACKERS = ("gzip", "-c"), ("zstd", "-qc"), ("xz", "-c"), ("lz4", "-qcB4")


def packed():
    found = t.whole("t.pcap")
    with open("t.pcap", "rb") as f:
        plain = f.read()
    gen("t.pcapng", "--packets", "3000", "--seed", "9", "--format", "pcapng")
    for command in (("cat",),) + PACKERS:
        if not have(command[0]):
            skip(f"reads_{command[0]}", f"no {command[0]} here")
            continue
        packed_ = run(*command, stdin=plain).out if len(command) > 1 else plain
        a = init("packed")
        r = atoll(a, "import", "-q", "--stream", "s", "-", stdin=packed_)
        must(f"reads_{command[0]}_from_standard_input", r)
        with open(f"p.{command[0]}", "wb") as f:
            f.write(packed_)
        must(f"reads_a_file_of_{command[0]}_whatever_its_name", atoll(a, "import", "-q", "--again", "--stream", "u", f"p.{command[0]}"))
        for stream in "su":
            r = atoll(a, "export", "--raw", "-q", "-s", stream, "-o", "out.pcap")
            difference = t.first_difference(t.whole("out.pcap"), found) if r.code == 0 else r
            ok(f"{command[0]}_gives_the_same_packets_{stream}", difference is None, difference)
        # packed pcapng through a real pipe, and packed data cut in the middle
        r = run("sh", "-c", f"{' '.join(command)} < t.pcapng | '{ATOLL}' -A packed import -q --stream ng -")
        must(f"reads_pcapng_through_a_pipe_from_{command[0]}", r)
        with open("half", "wb") as f:
            f.write(packed_[:len(packed_) // 2])
        r = atoll(a, "import", "--stream", "half", "half")
        must(f"half_of_{command[0]}_is_damage_and_the_rest_is_kept", r, 3, r"half: .*byte \d+", "packets into stream")
        r = atoll(a, "export", "--raw", "-q", "-s", "half", "-o", "out.pcap")
        got = t.whole("out.pcap") if r.code == 0 else []
        ok(f"the_rest_is_what_comes_before_the_cut_of_{command[0]}", 0 < len(got) < len(found) and got == found[:len(got)], r)
    must("what_was_imported_packed_is_another_trace_unpacked", atoll("packed", "import", "-q", "--stream", "s", "-", stdin=plain))


def twice():
    a, found = init("twice"), t.whole("t.pcap")
    must("imports_once", atoll(a, "import", "-q", "t.pcap"))
    must("the_same_file_is_refused", atoll(a, "import", "-q", "t.pcap"), 1, "--again")
    shutil.copy("t.pcap", "copy.pcap")
    must("its_copy_by_another_name_too", atoll(a, "import", "-q", "--stream", "other", "copy.pcap"), 1, r"t\.pcap", "--again")
    same("and_makes_no_stream", [x["name"] for x in json.loads(atoll(a, "ls", "--json").text)["streams"]], ["t"])
    same("nothing_is_there_twice", json.loads(atoll(a, "stat", "--json").text)["packets"], len(found))
    must("again_imports_it_again", atoll(a, "import", "-q", "--again", "--stream", "other", "copy.pcap"))
    same("then_it_is", json.loads(atoll(a, "stat", "--json").text)["packets"], 2 * len(found))
    r = atoll(a, "import", "-q", "--stream", "new", "t.pcap", "cut.pcap")
    must("beside_a_refused_file_others_are_imported", r, 3, "--again")
    must("the_damaged_one_was_read_to_its_end_and_is_refused_now", atoll(a, "import", "-q", "--stream", "new", "cut.pcap"), 1, "--again")


def output_files():
    a = "twice"
    r = atoll(a, "export", "--raw", "-o", "made.pcap", "-s", "t")
    must("export_says_what_it_wrote", r, 0, r"made\.pcap: 3,0\d\d packets")
    same("raw_packets_are_for_their_owner_only", stat.S_IMODE(os.stat("made.pcap").st_mode), 0o600)
    os.chmod("made.pcap", 0o640)
    must("export_replaces_a_file", atoll(a, "export", "--raw", "-o", "made.pcap", "-s", "t"), 0)
    same("which_keeps_its_mode", stat.S_IMODE(os.stat("made.pcap").st_mode), 0o640)
    os.mkdir("away")
    for link, target in ("to-old", "made.pcap"), ("to-new", "away/new.pcap"), ("to-link", "to-new"):
        os.symlink(target, link)
    for link, target in ("to-old", "made.pcap"), ("to-new", "away/new.pcap"), ("to-link", "away/new.pcap"):
        if os.path.exists("away/new.pcap"):
            os.unlink("away/new.pcap")
        r = atoll(a, "export", "--raw", "-q", "-o", link, "-s", "t", "--limit", "3")
        ok(f"export_writes_what_a_link_names_{link}", r.code == 0 and os.path.islink(link) and len(t.whole(target)) == 3, r)
    os.symlink("circle", "circle")
    must("links_in_a_circle_are_an_error", atoll(a, "export", "--raw", "-o", "circle"), 2, "circle")
    os.symlink(f"{a}/owner.key", "to-key")
    os.symlink(f"{a}/new", "to-archive")
    for link in "to-key", "to-archive":
        must(f"a_link_into_the_archive_is_refused_{link}", atoll(a, "export", "--raw", "-o", link), 2, "in the archive itself")
    before = os.listdir(".")
    atoll(a, "export", "--raw", "-o", "never.pcap", "-s", "t", "-f", "host 203.0.113.77")
    r = atoll(a, "export", "--raw", "-o", "never.pcap", "-s", "nothere")
    ok("a_failed_export_leaves_nothing", r.code == 5 and not [n for n in os.listdir(".") if n.startswith(".atoll")], r, before)
    with open("/dev/full", "wb") as full:
        child = subprocess.run([ATOLL, "-A", a, "export", "--raw", "-q", "-o", "-"], stdout=full, stderr=subprocess.PIPE)
    ok("a_full_standard_output_is_an_error", child.returncode == 1, child)
    if have("tcpdump"):
        r = run("sh", "-c", f"'{ATOLL}' -A {a} export --raw -q -s t -o - | tcpdump -nr - --count")
        must("export_goes_into_tcpdump", r, 0, f"^{len(t.whole('t.pcap'))} packets")
        r = run("sh", "-c", f"'{ATOLL}' -A {a} export --raw -q -s t --format pcapng -o - | tcpdump -nr - --count")
        must("also_as_pcapng", r, 0, f"^{len(t.whole('t.pcap'))} packets")


def closed_streams():
    """Without standard input, output or error, nothing is written into the archive's files instead."""
    for closed in ("1>&-",), ("2>&-",), ("1>&-", "2>&-"), ("0<&-", "1>&-", "2>&-"):
        name = f"without_{'_'.join(c[0] for c in closed)}"
        a = init("closed")
        for verb in "import cut.pcap t.pcap t.pcap", "query", "export --raw -o closed.pcap", "rm -s nothere --until now", "stat":
            run("sh", "-c", f"'{ATOLL}' -A {a} {verb} {' '.join(closed)}")
        must(f"the_archive_is_whole_{name}", atoll(a, "fsck", "-q"))
        same(f"all_packets_are_there_{name}", json.loads(atoll(a, "query", "--count", "--json", "-s", "t").text)["packets"],
             len(t.whole("t.pcap")))
        r = run("sh", "-c", f"'{ATOLL}' -A {a} stat {' '.join(closed)}")
        ok(f"output_that_goes_nowhere_is_an_error_{name}", r.code == (1 if "1>&-" in closed else 0), r)


def on_a_terminal(*command, env=None):
    """What a program writes to a terminal."""
    environment = dict(os.environ, TERM="xterm", **(env or {}))
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(command[0], list(command), environment)
    text = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    os.waitpid(pid, 0)
    os.close(fd)
    return text.decode("utf-8", "replace")


def terminal():
    colour = re.compile("\x1b\\[[0-9;]*m")
    for env in ({"NO_COLOR": "1"}, {"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}):
        for command in (["stat"], ["ls"], ["query", "--limit", "3"], ["help"], ["query", "-f", "(("]):
            text = on_a_terminal(ATOLL, "-A", "twice", *command, env=env)
            ok(f"no_colour_with_NO_COLOR_{'_'.join(command[:1])}_{len(command)}_{len(env)}", text and not colour.search(text), text)
    for command in ["stat"], ["ls"], ["query", "--limit", "3"], ["fsck"], ["import", "--again", "t.pcap"]:
        r = atoll("twice", *command)
        ok(f"no_escapes_outside_a_terminal_{command[0]}", "\x1b" not in r.said and "\r" not in r.said, r)
    r = atoll("twice", "import", "-q", "--again", "t.pcap")
    same("quiet_says_nothing", r.said, "")


scratch()
making()
exit_codes()
the_same_files()
interrupt()
json_shapes()
packed()
twice()
output_files()
closed_streams()
terminal()
finish()
