#!/usr/bin/env python3
"""Damage of every part of an archive: it is found, named (segment, block, column) with what to do about it, and everything else
still reads. Bits are flipped in segments, index, manifest and keystore; files go missing; keys are wrong."""
# also: sanitized
import hashlib
import json
import random
import re
import sys

sys.dont_write_bytecode = True
from kit import traces as t  # noqa: E402
from kit.results import *    # noqa: E402,F403

BLOCK = 65536
STEP = 12 if SANITIZED else 1


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def flip(data, at, bit):
    broken = bytearray(data)
    broken[at] ^= 1 << bit
    return bytes(broken)


def records(found):
    """Packets as they stand in an exported pcap file."""
    import struct
    return b"".join(struct.pack("<IIII", p.ts // t.NS, p.ts % t.NS, len(p.data), p.wire) + p.data for p in found)


def export(archive, *selectors):
    if os.path.exists("out.pcap"):
        os.unlink("out.pcap")
    r = atoll(archive, "export", "--raw", "-q", "-o", "out.pcap", *selectors)
    return r, read("out.pcap")[24:] if os.path.exists("out.pcap") else b""


def make(second):
    """Segments 1, 2 of so many packets (more than BLOCK: two blocks), 3; all in stream s."""
    init("whole")
    found, segments = [], []
    for i, n in enumerate((3000, second, 1500)):
        gen(f"t{i}.pcap", "--packets", str(n), "--seed", str(i), "--hosts", "300", "--snaplen", "96", "--start",
            str(1767600000 + 3600 * i))
        must(f"imports_segment_{i}_of_{n}_packets", atoll("whole", "import", "-q", "--stream", "s", f"t{i}.pcap"))
        found.append(t.whole(f"t{i}.pcap"))
        segments.append([records(found[-1][k:k + BLOCK]) for k in range(0, len(found[-1]), BLOCK)])
    return found, segments


def segment_path(archive, number):
    return f"{archive}/segments/{number:016x}.seg"


# --- a flipped bit in a segment ---

def judge(r, got, number, parts):
    """Words when neither all came out (with a sentence that names what a copy made up for), nor all but whole blocks of this
    segment with a sentence that names it."""
    whole = b"".join(b for blocks in parts for b in blocks)
    if got == whole and r.code == 0:
        return None, "read past it"
    if r.code != 3:
        return f"{r}", ""
    if got == whole:
        part = re.search(rf"{number:016x}\.seg: the (header|first main page|second trailer) is damaged", r.err)
        return None if part else f"the part is not named: {r.err}", part.group(1) if part else ""
    before = b"".join(b for blocks in parts[:number - 1] for b in blocks)
    after = b"".join(b for blocks in parts[number:] for b in blocks)
    if not got.startswith(before) or not got.endswith(after):
        return "other segments do not read whole", ""
    middle = got[len(before):len(got) - len(after)]
    blocks = parts[number - 1]
    lost = [k for k in range(len(blocks)) if middle == b"".join(blocks[:k] + blocks[k + 1:])]
    if middle and not lost:
        return f"{len(middle)} bytes of the damaged segment are no whole blocks", ""
    if f"{number:016x}.seg" not in r.err:
        return f"the segment is not named: {r.err}", ""
    if middle and f"block {lost[0]}" not in r.err:
        return f"block {lost[0]} is not named: {r.err}", ""
    column = re.search(r"column (\w+)", r.err)
    return None, column.group(1) if column else "segment" if not middle else "block"


def flipped_segments(parts, *numbers):
    rng = random.Random(11)
    whole = b"".join(sum(parts, []))
    for number in numbers:
        fresh("a", "whole")
        path = segment_path("a", number)
        data = read(path)
        size = len(data)
        if number == 1:
            places = list(range(0, 130, 3)) + list(range(130, size - 2600, 700)) + list(range(size - 2600, size, 37)) + [size - 1]
        else:
            places = sorted(rng.sample(range(size), 40))
        bad, named, unseen = [], {}, []
        for at in places[::STEP]:
            write(path, flip(data, at, rng.randrange(8)))
            r, got = export("a")
            words, what = judge(r, got, number, parts)
            named[what] = named.get(what, 0) + 1
            footer_at = int.from_bytes(data[-80:-72], "little")
            if not words and got != whole and not 48 <= at < footer_at:
                words = "packets are missing for a bit outside the blocks"
            if words:
                bad.append((at, words))
            f = atoll("a", "fsck")
            if f.code != 1 or f"{number:016x}" not in f.text or "--repair" not in f.err:
                unseen.append((at, f.code, f.said))
        write(path, data)
        ok(f"a_flipped_bit_costs_no_more_than_its_block_in_segment_{number}", not bad, f"{len(bad)} of {len(places)}", bad[:3])
        ok(f"fsck_finds_and_names_every_flipped_bit_in_segment_{number}", not unseen, f"{len(unseen)} of {len(places)}", unseen[:3])
        copied = {"header", "first main page", "second trailer"}
        ok(f"parts_with_copies_are_named_in_segment_{number}", SANITIZED or number == 2 or copied <= set(named), named)
        columns = [c for c in named if c.isupper() or "_" in c]
        ok(f"columns_are_named_in_segment_{number}", len(columns) >= (2 if SANITIZED else 8 if number == 1 else 4), named)
        must(f"fsck_finds_nothing_when_segment_{number}_is_whole_again", atoll("a", "fsck", "-q"))


def copied_parts(parts):
    """Header, main page and trailer are there twice: nothing is lost, a repair says that it leaves them, a rebuild reads them."""
    whole = b"".join(sum(parts, []))
    data = read(segment_path("whole", 1))
    main_at, main_bytes = int.from_bytes(data[-72:-64], "little"), int.from_bytes(data[-64:-60], "little")
    for part, at, needed in (("header", 9, True), ("first main page", main_at, True), ("second main page", main_at + main_bytes, False),
                             ("first trailer", len(data) - 150, False), ("second trailer", len(data) - 50, True)):
        name = part.replace(" ", "_")
        fresh("a", "whole")
        write(segment_path("a", 1), flip(data, at, 5))
        r, got = export("a")
        ok(f"a_damaged_{name}_costs_nothing", got == whole and r.code == (3 if needed else 0) and (part in r.err) == needed, r)
        must(f"fsck_names_the_{name}", atoll("a", "fsck", "--quick"), 1, f"{1:016x}.seg: the {part} is damaged; its copy is whole")
        must(f"a_repair_leaves_the_{name}", atoll("a", "fsck", "--repair"), 3, "1 faults, 0 repaired; 0 segments and 0 blocks")
        ok(f"and_reads_on_with_a_damaged_{name}", read(segment_path("a", 1)) == flip(data, at, 5) and export("a")[1] == whole)
        os.unlink("a/manifest")
        shutil.rmtree("a/index")
        r = atoll("a", "rebuild")
        ok(f"a_rebuild_reads_past_a_damaged_{name}", r.code in (0, 3) and export("a")[1] == whole, r)


def cut_segments(parts):
    fresh("a", "whole")
    path, rng = segment_path("a", 2), random.Random(5)
    data, bad = read(path), []
    for n in [0, 1, 47, 48, 100, len(data) - 1] + rng.sample(range(len(data)), 10):
        write(path, data[:n])
        r, got = export("a")
        words, _ = judge(r, got, 2, parts)
        f = atoll("a", "fsck", "-q")
        if words or r.code != 3 or f.code != 1:
            bad.append((n, words, r, f))
    write(path, data + b"x")
    f = atoll("a", "fsck", "-q")
    ok("a_segment_that_is_cut_or_longer_is_found", not bad and f.code == 1, bad[:3], f)
    write(path, read(segment_path("a", 1)))
    r, got = export("a")
    words, _ = judge(r, got, 2, parts)
    ok("another_segment_in_its_place_is_found", words is None and r.code == 3, words, r)
    write(path, data)


def filters_on_damage():
    """What a filter or a count does not read does not harm it; what it reads is reported; a table of the index that is damaged
    costs time, not packets."""
    fresh("a", "whole")
    path = segment_path("a", 1)
    data, bad, tables = read(path), [], 0
    questions = [["-f", "tcp port 443"], ["-f", "host 10.32.0.17"], ["--until", "2026-01-05T08:00:00.01Z"], []]
    wholes = [json.loads(atoll("whole", "query", "--count", "--json", *q).text)["packets"] for q in questions]
    for at in range(0, len(data), len(data) // (8 if SANITIZED else 60)):
        write(path, flip(data, at, 3))
        in_table = " table: " in atoll("a", "fsck").text and "chunk table" not in atoll("a", "fsck").text
        tables += in_table
        for question, whole in zip(questions, wholes):
            r = atoll("a", "query", "--count", "--json", *question)
            packets = json.loads(r.text)["packets"] if r.code in (0, 3, 5) and r.text else -1
            good = packets == whole and r.code in (0, 5) or packets <= whole and r.code == 3 and f"{1:016x}.seg" in r.err
            if not good or (in_table and packets != whole):
                bad.append((at, question, packets, whole, r))
    write(path, data)
    ok("a_count_is_right_or_says_what_it_could_not_read", not bad, bad[:3])
    ok("some_of_it_was_in_tables_of_the_index", tables > 0 or SANITIZED, tables)


# --- missing parts ---

def missing_segment(found, parts):
    fresh("a", "whole")
    os.rename(segment_path("a", 2), "kept.seg")
    rest = b"".join(parts[0] + parts[2])
    r, got = export("a")
    ok("without_a_segment_the_rest_reads", r.code == 3 and got == rest and "missing" in r.err and "atoll fsck" in r.err, r)
    r = atoll("a", "query", "--count", "--json", "--until", "2026-01-05T08:30:00Z")
    ok("a_range_that_does_not_need_it_is_whole", r.code == 0 and json.loads(r.text)["packets"] == len(found[0]), r)
    must("fsck_names_a_missing_segment", atoll("a", "fsck"), 1, f"{2:016x}")
    must("repair_says_what_is_lost", atoll("a", "fsck", "--repair"), 3, r"lost")
    r, got = export("a")
    ok("after_the_repair_the_rest_reads_and_what_is_lost_is_said", r.code == 3 and got == rest, r)
    must("stat_says_it_too", atoll("a", "stat"), 3, "lost")
    os.rename("kept.seg", segment_path("a", 2))
    r = atoll("a", "rebuild", "-q")
    r2, got = export("a")
    ok("a_segment_that_comes_back_is_taken_in_by_rebuild", r.code == 0 and r2.code == 0 and got == b"".join(sum(parts, [])), r, r2)
    must("then_fsck_finds_nothing", atoll("a", "fsck", "-q"))


def logical(archive):
    """What is listed and exported."""
    return atoll(archive, "ls", "--json").text, atoll(archive, "ls", "segments", "--json").text, export(archive)[1]


def damaged_index():
    wanted = logical("whole")
    for name in "missing_folder", "missing_file", "empty_file", "garbage", "cut":
        fresh("a", "whole")
        if name == "missing_folder":
            shutil.rmtree("a/index")
        elif name == "missing_file":
            os.unlink("a/index/data.mdb")
        else:
            data = read("a/index/data.mdb")
            write("a/index/data.mdb", {"empty_file": b"", "garbage": bytes(b ^ 0x5a for b in data), "cut": data[:len(data) // 2]}[name])
        r = atoll("a", "query", "-q", "--count")
        same(f"an_index_with_{name}_tells_to_rebuild_or_is_harmless", (r.code in (1, 5), "atoll rebuild" in r.err, len(r.err.splitlines()))
             if logical("a") != wanted else (True, True, 1), (True, True, 1), r)
        must(f"fsck_names_an_index_with_{name}", atoll("a", "fsck"), 1, "index")
        must(f"rebuild_mends_an_index_with_{name}", atoll("a", "rebuild", "-q"))
        ok(f"then_everything_is_as_before_{name}", logical("a") == wanted)
        must(f"and_fsck_finds_nothing_{name}", atoll("a", "fsck", "-q"))
        must(f"and_a_file_that_was_imported_is_still_known_{name}", atoll("a", "import", "t0.pcap"), 1, "--again")
    rng, bad, told = random.Random(3), [], 0
    data = read("whole/index/data.mdb")
    sectors = list(range(0, len(data), 512))[::max(STEP, len(data) // 512 // 40)]
    for at in sectors:  # a torn or rotten sector: right answers, or a sentence that tells what to do
        fresh("a", "whole")
        write("a/index/data.mdb", data[:at] + rng.randbytes(512) + data[at + 512:])
        outputs = logical("a")
        if outputs != wanted:
            r = atoll("a", "query", "--count")
            told += 1
            if r.code not in (1, 3) or not re.search("atoll (rebuild|fsck)", r.err):
                bad.append((at, r))
        r = atoll("a", "rebuild", "-q")
        if r.code != 0 or logical("a") != wanted:
            bad.append((at, "rebuild", r))
    ok("every_rotten_sector_of_the_index_is_told_or_harmless_and_rebuilt", not bad, f"{len(bad)} of {len(sectors)}", bad[:3])
    ok("some_were_told", told > 0, told)


def damaged_manifest():
    wanted = logical("whole")
    data, rng = read("whole/manifest"), random.Random(9)
    bad = []
    for i in range(max(2, 30 // STEP)):
        fresh("a", "whole")
        write("a/manifest", flip(data, rng.randrange(len(data)), rng.randrange(8)) if i else data[:len(data) // 2])
        f = atoll("a", "fsck")
        if f.code != 1 or "manifest" not in f.said:
            bad.append(("fsck", f))
        r, got = export("a")
        if got != wanted[2] and (r.code != 1 or "fsck --repair" not in r.err):
            bad.append(("a reader gets something else", r))
        r = atoll("a", "fsck", "--repair", "-q")
        if r.code != 0 or logical("a") != wanted or atoll("a", "fsck", "-q").code != 0:
            bad.append(("repair", r, atoll("a", "fsck")))
    ok("a_damaged_manifest_is_found_and_mended", not bad, len(bad), bad[:2])
    fresh("a", "whole")
    os.unlink("a/manifest")
    must("a_missing_manifest_is_found", atoll("a", "fsck"), 1, "manifest")
    must("and_made_again", atoll("a", "fsck", "--repair", "-q"))
    ok("then_everything_is_as_before_without_manifest", logical("a") == wanted)
    fresh("a", "whole")
    os.unlink("a/manifest")
    shutil.rmtree("a/index")
    r = atoll("a", "rebuild")
    ok("from_segments_and_keys_alone_the_archive_is_made_again", r.code in (0, 3) and export("a")[1] == wanted[2], r)


# --- keys ---

def keys(parts):
    wanted = b"".join(sum(parts, []))
    fresh("a", "whole")
    os.rename("a/owner.key", "elsewhere.key")
    must("without_the_owner_key_it_says_where_to_give_one", atoll("a", "query", "--count"), 5, "owner key", "--key-file")
    must("the_owner_key_may_lie_elsewhere", atoll("a", "query", "--count", "--key-file", "elsewhere.key"))
    r = run(ATOLL, "-A", "a", "export", "--raw", "-q", "-o", "out.pcap", env={"ATOLL_KEY_FILE": "elsewhere.key"})
    ok("and_be_named_in_the_environment", r.code == 0 and read("out.pcap")[24:] == wanted, r)
    run(ATOLL, "init", "-q", "other")
    for verb in (["query", "--count"], ["export", "--raw", "-o", "x.pcap"], ["import", "t0.pcap"], ["fsck"], ["rebuild"], ["stat"],
                 ["rm", "-s", "s", "--until", "now"]):
        r = atoll("a", *verb, "--key-file", "other/owner.key")
        must(f"another_archives_key_is_denied_{verb[0]}", r, 4, "key")
        ok(f"in_one_sentence_with_the_wrong_key_{verb[0]}", len(r.err.splitlines()) <= 2, r)
    ok("a_denied_export_leaves_nothing", not os.path.exists("x.pcap"))
    shutil.copy("elsewhere.key", "a/owner.key")
    r, got = export("a")
    ok("afterwards_nothing_is_changed", r.code == 0 and got == wanted, r)
    data = read("elsewhere.key")
    for name, content in ("empty", b""), ("cut", data[:40]), ("garbage", b"\xff" * len(data)), ("flipped", flip(data, len(data) - 30, 1)):
        write("bad.key", content)
        r = atoll("a", "query", "--count", "--key-file", "bad.key")
        ok(f"a_key_file_that_is_{name}_is_named", r.code in (1, 4) and "bad.key" in r.err, r)
    run(ATOLL, "init", "-q", "--key-file", "apart.key", "apart")
    ok("init_can_put_the_key_elsewhere", sorted(os.listdir("apart")) == ["format", "index", "keystore", "manifest", "segments"],
       os.listdir("apart"))
    must("then_it_must_be_named", atoll("apart", "import", "t0.pcap"), 5, "--key-file")
    must("and_works", atoll("apart", "import", "-q", "--key-file", "apart.key", "t0.pcap"))


def damaged_keystore(parts):
    """Each key is sealed on its own: damage to one costs its segment."""
    data, rng, bad, all_lost = read("whole/keystore"), random.Random(2), [], 0
    whole = b"".join(sum(parts, []))
    for _ in range(max(2, 40 // STEP)):
        fresh("a", "whole")
        at = rng.randrange(len(data))
        write("a/keystore", flip(data, at, rng.randrange(8)))
        r, got = export("a")
        f = atoll("a", "fsck")
        if r.code == 0 and got == whole:
            continue
        subsets = [b"".join(b for blocks in parts[:i] + parts[i + 1:] for b in blocks) for i in range(3)]
        if r.code in (1, 3, 4) and "keystore" in r.err and not got:
            all_lost += 1
        elif not (r.code == 3 and got in subsets and re.search(r"[0-9a-f]{16}|key", r.err)):
            bad.append((at, r, len(got)))
        if f.code not in (1, 4):
            bad.append((at, "fsck", f))
    ok("damage_of_a_key_costs_its_segment_and_is_named", not bad, len(bad), bad[:3])
    ok("most_of_the_keystore_is_keys", all_lost <= (30 if not SANITIZED else 99), all_lost)


def versions():
    fresh("a", "whole")
    text = read("a/format")
    write("a/format", text.replace(b"atoll-archive 1 ", b"atoll-archive 7 "))
    for verb in ["query", "--count"], ["import", "t0.pcap"], ["fsck"], ["rebuild"], ["rm", "-s", "s", "--until", "now"]:
        must(f"an_archive_of_another_version_is_refused_{verb[0]}", atoll("a", *verb), 1, r"\b7\b")
    for name, content in ("cut", text[:10]), ("empty", b""), ("garbage", b"\xff\xfe" * 20):
        write("a/format", content)
        must(f"a_format_file_that_is_{name}_is_refused", atoll("a", "query", "--count"), 1, "a")
    write("a/format", text)
    path = segment_path("a", 1)
    data = read(path)
    head = data[:6] + b"\x09" + data[7:40]
    write(path, head + hashlib.blake2b(head, digest_size=32).digest()[:8] + data[48:])
    r = atoll("a", "query", "--count", "-f", "tcp")
    ok("a_segment_of_another_version_is_left_out_and_named", r.code == 3 and f"{1:016x}.seg" in r.err, r)
    write(path, data)
    must("all_is_well_again", atoll("a", "fsck", "-q"))


scratch()
os.chdir(fast_folder("damage"))
packets, blocks_of = make(BLOCK + 2000)
flipped_segments(blocks_of, 2)
cut_segments(blocks_of)
packets, blocks_of = make(2500)  # small, for what is looked at many times
flipped_segments(blocks_of, 1)
copied_parts(blocks_of)
filters_on_damage()
missing_segment(packets, blocks_of)
damaged_index()
damaged_manifest()
keys(blocks_of)
damaged_keystore(blocks_of)
versions()
finish()
