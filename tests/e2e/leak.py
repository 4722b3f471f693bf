#!/usr/bin/env python3
"""No captured address leaves the archive: captures full of addresses of their own (tests/canary) are imported, shown under each
policy in each format, and asked about; then all that was written or said is searched for each of them: as bytes in both orders, dotted,
with colons, hex. What 4 bytes are by chance they are not twice: there are two archives, with other keys, and what is found in
one of them only is none."""
import ipaddress
import re
import sys

sys.dont_write_bytecode = True
from kit.results import *  # noqa: E402,F403

CANARY = os.path.join(OUT, "canary")
POLICIES = ["counts-only", "open", "research", "internal"]
ARCHIVES = ["one", "two"]
ROUNDS = 3
# link types that are not understood are left out rather than refused
DROP_UNKNOWN = re.compile(r"(?m)^unknown *=.*")


class Canaries:
    def __init__(self, text):
        self.bytes, self.hex, self.words = {}, {}, {}
        for line in text.split():
            raw = bytes.fromhex(line)
            for form in (raw, raw[::-1]):
                self.bytes[form] = line
                self.hex[form.hex().encode()] = line
            word = str(ipaddress.ip_address(raw)) if len(raw) != 6 else ":".join(f"{b:02x}" for b in raw)
            self.words[word.encode()] = line
        self.count = len(set(self.words))

    def find(self, data):
        found = set()
        for size in (4, 6, 16):
            known = {k: v for k, v in self.bytes.items() if len(k) == size}
            starts = re.compile(b"(?=[" + b"".join(re.escape(bytes([b])) for b in sorted({k[0] for k in known})) + b"])", re.S)
            for match in starts.finditer(data):
                at = match.start()
                name = known.get(data[at:at + size])
                if name:
                    found.add(name)
        for word in re.findall(rb"[0-9a-fA-F:.]{7,}", data):
            for part in re.split(rb"[.:]{2,}$|\.$|:$", word.lower()):
                if part in self.words:
                    found.add(self.words[part])
        for word in re.findall(rb"[0-9a-fA-F]{8,}", data):
            word = word.lower()
            for size in (8, 12, 32):
                for at in range(len(word) - size + 1):
                    if word[at:at + size] in self.hex:
                        found.add(self.hex[word[at:at + size]])
        return found


def atoll(archive, *arguments, **keys):
    return run(ATOLL, *arguments[:1], "-A", archive, *arguments[1:], **keys)


def make(archive):
    must(f"{archive}_is_made", run(ATOLL, "init", archive), 0)
    must(f"{archive}_has_all_link_types", atoll(archive, "import", "-s", "all", "all.pcapng"), 0)
    must(f"{archive}_has_ethernet", atoll(archive, "import", "-s", "ethernet", "ethernet.pcap"), 0)


def policies():
    for name in POLICIES:
        text = run(ATOLL, "policy", "show", name).text
        text = DROP_UNKNOWN.sub("unknown = drop", text)
        with open(f"{name}.policy", "w", encoding="utf-8") as f:
            f.write(re.sub(r"(?m)^bytes *=.*", "bytes = 0", text))


def show(archive, name):
    """All that is said and written about an archive under a policy."""
    to = ["--policy", f"./{name}.policy", "--dataset", "a"]
    shared = re.search(r"(?m)^shared *= *yes", open(f"{name}.policy", encoding="utf-8").read())
    to += [] if shared else ["--recipient", "somebody"]
    shown, said = [], []
    for form, stream in (("pcapng", "all"), ("pcap", "ethernet"), ("pcapng", "ethernet")):
        path = f"{archive}-{name}-{stream}.{form}"
        said.append(atoll(archive, "export", *to, "-s", stream, "-o", path))
        same(f"{archive}_{name}_{stream}_{form}_is_exported", said[-1].code, 0, said[-1].said)
        shown.append(open(path, "rb").read() if os.path.exists(path) else b"")
        ok(f"{archive}_{name}_{stream}_{form}_has_packets", len(shown[-1]) > 1 << 16, len(shown[-1]))
    for arguments in (("query", *to, "-s", "ethernet"), ("query", *to, "--json"), ("query", *to, "-f", "net 32.0.0.0/3", "--explain"),
                      ("query", *to, "-f", "host 1.2.3.4"), ("export", *to, "-f", "net 1.2.3.4/16", "-o", "no.pcap"),
                      ("export", *to, "-s", "all", "-o", f"{archive}-{name}-mixed.pcap")):
        said.append(atoll(archive, *arguments))
    return b"\n".join(shown + [r.out + r.err.encode() for r in said])


def plain_files(archive):
    parts = []
    for folder, _, names in os.walk(archive):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                data = f.read()
            parts.append(name.encode() + b"\n" + data.replace(bytes(4096), b""))
    return b"\n".join(parts)


def about(archive):
    runs = [atoll(archive, verb) for verb in ("ls", "stat", "fsck")]
    return b"\n".join(r.out + r.err.encode() for r in runs)


scratch()
if not os.path.exists(CANARY):
    skip("leaks", f"no {CANARY}: make unit")
    finish()
made = run(CANARY, ROUNDS, "all.pcapng", "ethernet.pcap")
canaries = Canaries(made.text)
same("the_captures_are_made", made.code, 0, made.err)
ok("a_few_thousand_addresses_are_planted", canaries.count > 3000, canaries.count)
if "--policy" not in run(ATOLL, "export", "--help").said:
    skip("leaks", "export knows no policies")
    finish()
for archive in ARCHIVES:
    make(archive)
policies()
raw = atoll("one", "export", "--raw", "-s", "all", "-o", "raw.pcapng")
same("the_scanner_finds_all_of_them_in_what_was_captured", len(canaries.find(open("raw.pcapng", "rb").read())), canaries.count)
for name in POLICIES:
    leaked = set.intersection(*(canaries.find(show(archive, name)) for archive in ARCHIVES))
    same(f"{name}_shows_none", sorted(leaked), [])
same("the_archive_has_none_in_the_clear", sorted(set.intersection(*(canaries.find(plain_files(a)) for a in ARCHIVES))), [])
same("nothing_is_said_about_them", sorted(set.intersection(*(canaries.find(about(a)) for a in ARCHIVES))), [])
finish()
