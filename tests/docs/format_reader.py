"""Reads the packets of an Atoll archive as docs/format.md says, with nothing of the project's code: if this can not read what
`atoll import` wrote, either the program or the page is wrong.

    for ts_ns, wire_len, data, linktype, iface in packets("DIR"): ...
"""
import ctypes
import ctypes.util
import glob
import os
import struct

SODIUM = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")
ZSTD = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
ZSTD.ZSTD_decompress.restype = ctypes.c_size_t
SODIUM.sodium_init()

RAW, IP4, IP6 = range(3)
NONE, TCP, UDP, SCTP, ICMP, ICMP6 = range(6)
M32 = 0xffffffff


class Damage(Exception):
    pass


def need(good, words):
    if not good:
        raise Damage(words)


# --- primitives ---

def blake2b(data, n=32, key=b""):
    out = ctypes.create_string_buffer(n)
    SODIUM.crypto_generichash(out, ctypes.c_size_t(n), data, ctypes.c_ulonglong(len(data)), key, ctypes.c_size_t(len(key)))
    return out.raw


def unseal(function, key, nonce, data, ad):
    out, got = ctypes.create_string_buffer(max(1, len(data) - 16)), ctypes.c_ulonglong()
    result = function(out, ctypes.byref(got), None, data, ctypes.c_ulonglong(len(data)), ad, ctypes.c_ulonglong(len(ad)),
                      nonce, key)
    need(result == 0, "not authentic")
    return out.raw[:got.value]


def unzstd(data, n):
    out = ctypes.create_string_buffer(n)
    need(ZSTD.ZSTD_decompress(out, ctypes.c_size_t(n), data, ctypes.c_size_t(len(data))) == n, "zstd")
    return out.raw


def unzigzag(v):
    return (v >> 1) ^ (M32 if v & 1 else 0)


class Cursor:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, n):
        need(n <= len(self.data) - self.at, "ends early")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), "little")

    def varint(self):
        v = shift = 0
        while True:
            byte = self.number(1)
            v |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return v

    def done(self):
        return self.at == len(self.data)


PIECE = 16384


# --- keys ---

def owner_key(path):
    with open(path, encoding="ascii") as f:
        word, ident, key, check = f.read().split()
    need(word == "atoll-owner-key-1", "owner key")
    ident, key = bytes.fromhex(ident), bytes.fromhex(key)
    need(blake2b(ident + key, 16) == bytes.fromhex(check), "owner key's check")
    return ident, key


def segment_key(keystore, ident, owner, slot, segment):
    need(keystore[:8] == b"ATOLLKEY" and keystore[16:32] == ident, "keystore")
    need(blake2b(keystore[:32], 32, owner) == keystore[32:64], "keystore's proof")
    entry = keystore[512 + 128 * slot:512 + 128 * (slot + 1)]
    need(int.from_bytes(entry[:8], "little") == segment, "keystore slot")
    ad = ident + struct.pack("<IQ", slot, segment)
    return unseal(SODIUM.crypto_aead_xchacha20poly1305_ietf_decrypt, blake2b(b"segment keys", 32, owner), entry[8:32],
                  entry[32:80], ad)


# --- a segment ---

class Segment:
    def __init__(self, data, key_of):
        header, trailer = data[:48], data[-104:]
        need(blake2b(header[:40])[:8] == header[40:] and header[:4] == b"ASEG", "header")
        need(blake2b(trailer[:96])[:8] == trailer[96:] and trailer[:4] == b"AEND", "trailer")
        need(data[-208:-104] == trailer and trailer[4:24] == header[4:24] and trailer[48:64] == header[24:40], "copies")
        version, number, slot, stream = struct.unpack_from("<IQII", header, 4)
        need(version == 3, "version")
        self.data = data
        self.ad = header[24:40] + struct.pack("<QII", number, slot, stream)
        self.key = key_of(slot, number)
        footer_at, main_at, main_bytes, blocks = struct.unpack_from("<QQII", trailer, 24)
        mains = data[main_at:-208]
        main = Cursor(self.open(mains[:main_bytes], 0))
        need(main.data == self.open(mains[main_bytes:], 0xffffffff), "second main page")
        self.totals = struct.unpack("<6Q", main.take(48))
        self.stream = main.take(main.number(2)).decode()
        self.blocks, leaves = [], []
        for _ in range(blocks):
            at, stored = struct.unpack_from("<QI", main.take(53))
            leaves.append(main.take(32))
            need(blake2b(data[at:at + stored]) == leaves[-1], "a block's hash")
            self.blocks.append((data[at:at + stored], main.take(32)))
        self.tables = self.read_tables(main)
        leaves.append(blake2b(data[footer_at:-208]))
        need(tree(leaves) == trailer[64:96], "root")

    def open(self, data, page):
        return unseal(SODIUM.crypto_aead_chacha20poly1305_ietf_decrypt, self.key, struct.pack("<III", page, 0, 0), data, self.ad)

    def read_tables(self, main):
        tables, page = [], 0
        for _ in range(4):
            table = {}
            for _ in range(main.number(4)):
                _, _, at, sealed, entries = struct.unpack("<QQQII", main.take(32))
                page += 1
                table.update(read_page(self.open(self.data[at:at + sealed], page), entries))
            tables.append(table)
        need(main.done(), "main page")
        return tables


def tree(leaves):
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return blake2b(b"\1" + tree(leaves[:k]) + tree(leaves[k:]))


def read_page(data, entries):
    cursor, page, key = Cursor(data), {}, 0
    planes = [read_stream(cursor) for _ in range(24)]
    need(cursor.done() and all(len(p) == entries for p in planes), "index page")
    for row in zip(*planes):
        key += int.from_bytes(bytes(row[:16]), "little")
        page[key] = int.from_bytes(bytes(row[16:]), "little")
    return page


def read_stream(cursor):
    form, n = cursor.number(1), cursor.varint()
    if form == 0:
        return cursor.take(n)
    if form == 1:
        return cursor.take(1) * n
    if form == 2:
        return unzstd(cursor.take(cursor.varint()), n)
    need(form == 3 and n <= 4 * PIECE, "form of a stream")
    raw = [min(PIECE, n - at) for at in range(0, n, PIECE)]
    return b"".join(read_piece(cursor.take(size), m) for size, m in [(cursor.number(2), m) for m in raw])


def read_piece(data, n):
    return data if len(data) == n else data * n if len(data) == 1 else unzstd(data, n)


# --- a block's streams: chunk, then (name, planes) in order ---

STREAMS = [
    "KINDS KIND:2 ROWS:2 LINK_META LINK_BYTES PATHS PATH:2 IP4:4 IP6 SRC:3 DST:3 SPORT:2 DPORT:2 EXTRA",
    "STEP BACK:2", "TIME:4 TIME_HEAD TIME_JUMP TIME_AT", "WIRE:4", "SHAPES SHAPE SHAPE_WIDE:2 SHAPE_WIDE_AT", "TCP_FLAGS",
    "STRING_LENGTHS STRING_BYTES",
    "IP_ID:2 TTL TOS FRAG:2 LABEL:3 IP_LEN:2 IP_SUM:2 IP_STRING:3",
    "SEQ:4 ACK:4 WIN:2 URG:2 TCP_STRING:3 TSVAL_STEP TSVAL:4 TSECR:4 SACK:4 UDP_LEN:2 REST:4 CAP:4",
    "SUM", "BYTES", "RAW_LEN:4 RAW_BYTES",
]
SHAPE = [("DIR", 1), ("CAP", 2), ("IP_ID", 2), ("FRAG", 1), ("TOS", 1), ("TTL", 1), ("IP_SUM", 1), ("IP_LEN", 1),
         ("IP_STRING", 1), ("SUM", 3), ("SEQ", 1), ("ACK", 2), ("WIN", 1), ("URG", 1), ("TCP_STRING", 1), ("TSVAL", 2),
         ("TSECR", 2), ("SACKS", 3)]


def shape_of(word):
    fields = {}
    for name, bits in SHAPE:
        fields[name] = word & ((1 << bits) - 1)
        word >>= bits
    return fields


class Block:
    def __init__(self, segment, number):
        data, key = segment.blocks[number]
        magic, version, kind, chunks, self.records, stored, sampled, _ = struct.unpack_from("<4sBBHIIII", data)
        need(magic == b"BLK1" and version == 3 and kind == 1 and stored == len(data) and sampled > 0, "block header")
        self.values, at = {}, 24 + 8 * chunks
        there = {}
        for i in range(chunks):
            chunk, sealed = struct.unpack_from("<II", data, 24 + 8 * i)
            there[chunk] = unseal(SODIUM.crypto_aead_chacha20poly1305_ietf_decrypt, key, struct.pack("<III", chunk, 0, 0),
                                  data[at:at + sealed], data[:24])
            at += sealed
        for chunk, names in enumerate(STREAMS):
            cursor = Cursor(there[chunk]) if chunk in there else None
            for name in names.split():
                self.add(name, cursor)
            need(cursor is None or cursor.done(), "chunk")
        self.taken = dict.fromkeys(self.values, 0)

    def add(self, name, cursor):
        name, _, planes = name.partition(":")
        parts = [read_stream(cursor) if cursor else b"" for _ in range(int(planes or 1))]
        need(len({len(p) for p in parts}) == 1, "planes of " + name)
        self.values[name] = [int.from_bytes(bytes(v), "little") for v in zip(*parts)] if planes else parts[0]

    def take(self, name):
        i = self.taken[name]
        self.taken[name] = i + 1
        return self.values[name][i]

    def take_bytes(self, name, n):
        i = self.taken[name]
        self.taken[name] = i + n
        return self.values[name][i:i + n]

    def all_taken(self):
        named = ("IP_ID TTL TOS FRAG LABEL IP_LEN IP_SUM IP_STRING SEQ ACK WIN URG TCP_STRING TSVAL_STEP TSVAL TSECR SACK UDP_LEN "
                 "REST CAP SUM BYTES RAW_LEN RAW_BYTES TCP_FLAGS SHAPE_WIDE")
        for name in named.split():
            need(self.taken[name] == len(self.values[name]), f"{name}: values left over")


# --- conversations, order, times ---

ANSWERS = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
ANSWERS6 = {128: 129, 129: 128}


class Flow:
    pass


def read_links(b):
    links, at = [], 0
    for linktype, iface, n in struct.iter_unpack("<HHB", b.values["LINK_META"]):
        links.append((linktype, iface, b.values["LINK_BYTES"][at:at + n]))
        at += n
    return links


def read_addresses(b):
    ip4, address = [], 0
    for step in b.values["IP4"]:
        address += step
        ip4.append(struct.pack(">I", address))
    six = b.values["IP6"]
    return ip4, [six[i:i + 16] for i in range(0, len(six), 16)]


def read_conversations(b):
    """For each conversation the flows of both directions, and its number of rows."""
    links, (ip4, ip6) = read_links(b), read_addresses(b)
    conversations = []
    for kind, path, rows in zip(b.values["KIND"], b.values["PATH"], b.values["ROWS"]):
        f, g = Flow(), Flow()
        f.net, f.transport, f.proto, f.first_proto, f.flags = b.values["KINDS"][5 * kind:5 * kind + 5]
        f.src = f.dst = b""
        f.sport = f.dport = 0
        if f.net != RAW:
            addresses = ip4 if f.net == IP4 else ip6
            f.src, f.dst = addresses[b.take("SRC")], addresses[b.take("DST")]
        if f.transport != NONE:
            f.sport, f.dport = b.take("SPORT"), b.take("DPORT")
        g.__dict__.update(f.__dict__)
        g.src, g.dst = f.dst, f.src
        if f.transport in (ICMP, ICMP6):
            g.sport = (ANSWERS if f.transport == ICMP else ANSWERS6).get(f.sport, f.sport)
        else:
            g.sport, g.dport = f.dport, f.sport
        pair = struct.unpack_from("<HH", b.values["PATHS"], 4 * path)
        f.link, g.link = links[pair[0]], links[pair[1]]
        conversations.append((f, g, rows + 1))
    return conversations


def read_order(b, conversations):
    """The row of each record in capture order."""
    starts, row = [], 0
    for _, _, rows in conversations:
        starts.append(row)
        row += rows
    last = before_last = opened = 0
    follower, order = {}, []
    for step in b.values["STEP"]:
        now = opened if step == 3 else last if step == 0 else follower[last] if step == 1 else \
            before_last if step == 2 else opened - 1 - b.take("BACK")
        opened += step == 3
        order.append(starts[now])
        starts[now] += 1
        follower[last] = now
        before_last, last = last, now
    return order


def read_times(b):
    signed, unit, now = struct.unpack("<BIQ", b.values["TIME_HEAD"])
    jumps = dict(struct.iter_unpack("<IQ", b.values["TIME_JUMP"]))
    times, marks = [], []
    for i, v in enumerate(b.values["TIME"]):
        if i > 0 and i % PIECE == 0:
            marks.append(now)
        step = ((v >> 1) ^ -(v & 1)) if signed else v
        now = jumps.get(i, (now + step * unit) % 2**64)
        times.append(now)
    need(b.values["TIME_AT"] == struct.pack(f"<{len(marks)}Q", *marks), "TIME_AT")
    return times


# --- checksums ---

def fold(s):
    while s > 0xffff:
        s = (s & 0xffff) + (s >> 16)
    return s


def words(data):
    return sum(struct.unpack(f"<{len(data) // 2}H", data[:len(data) & ~1])) + (data[-1] if len(data) & 1 else 0)


def checksum(s):
    return ~fold(s) & 0xffff


# --- rows ---

class Side:
    def __init__(self):
        self.seen = False
        for name in "tos ttl ip_id ip_step frag label win ip_string tcp_string next next_before ack tsval tsecr rest payload".split():
            setattr(self, name, 0)


def find_options(options):
    """Where the first time stamp's values and the first SACK option's edges are."""
    stamp = sack = None
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        if len(options) - at < 2 or options[at + 1] < 2 or options[at + 1] > len(options) - at:
            break
        kind, n = options[at], options[at + 1]
        if kind == 8 and n == 10 and stamp is None:
            stamp = at + 2
        elif kind == 5 and n in (10, 18, 26, 34) and sack is None:
            sack = at + 2
        at += n
    return stamp, sack


class Rows:
    def __init__(self, b):
        self.b, self.strings, at = b, [], 0
        for n in b.values["STRING_LENGTHS"]:
            self.strings.append(b.values["STRING_BYTES"][at:at + n])
            at += n
        self.shapes = [shape_of(word) for word, in struct.iter_unpack("<I", b.values["SHAPES"])]
        self.row = 0

    def conversation(self, flows):
        sides = Side(), Side()
        for _ in range(flows[2]):
            yield self.frame(flows, sides)
            self.row += 1

    def frame(self, flows, sides):
        b = self.b
        number = b.values["SHAPE"][self.row]
        shape = self.shapes[number if number < 255 else 255 + b.take("SHAPE_WIDE")]
        wire = b.values["WIRE"][self.row]
        f, s, o = flows[shape["DIR"]], sides[shape["DIR"]], sides[1 - shape["DIR"]]
        linktype, iface, link = f.link
        if f.net == RAW:
            data = link + b.take_bytes("RAW_BYTES", b.take("RAW_LEN"))
            return wire, data, linktype, iface
        if shape["IP_STRING"]:
            s.ip_string = b.take("IP_STRING")
        ip_string, tcp_string = self.strings[s.ip_string], b""
        if f.transport == TCP:
            if shape["TCP_STRING"]:
                s.tcp_string = b.take("TCP_STRING")
            tcp_string = self.strings[s.tcp_string]
        ip_bytes = (20 if f.net == IP4 else 40) + len(ip_string)
        l4_bytes = len(tcp_string) + 19 if f.transport == TCP else {NONE: 0, SCTP: 12}.get(f.transport, 8)
        end = len(link) + ip_bytes + l4_bytes
        ip, length = self.ip(f, s, shape, ip_string, wire, len(link), end)
        payload = max(0, length - ip_bytes)
        l4, sum_at, covers = self.transport(f, s, o, shape, tcp_string, l4_bytes, payload)
        s.seen = True
        cap = end if shape["CAP"] == 0 else wire if shape["CAP"] == 1 else b.take("CAP")
        behind = b.take_bytes("BYTES", cap - end)
        if sum_at:
            self.put_checksum(f, s, shape, l4, sum_at, covers, behind)
        return wire, link + ip + bytes(l4) + behind, linktype, iface

    def ip(self, f, s, shape, string, wire, link_bytes, end):
        b = self.b
        wrong_sum = None
        if f.net == IP4:
            step = (1, 0, s.ip_step)[shape["IP_ID"]] if shape["IP_ID"] < 3 else b.take("IP_ID")
            s.ip_id, s.ip_step = (s.ip_id + step) & 0xffff, step
            if shape["FRAG"]:
                s.frag = b.take("FRAG")
            if shape["IP_SUM"]:
                wrong_sum = b.take("IP_SUM")
        elif shape["FRAG"]:
            s.label = b.take("LABEL")
        if shape["TOS"]:
            s.tos = b.take("TOS")
        if shape["TTL"]:
            s.ttl = b.take("TTL")
        if shape["IP_LEN"]:
            length = b.take("IP_LEN") + (40 if f.net == IP6 else 0)
        else:
            length = end - link_bytes if end <= wire <= 60 else (wire - link_bytes) & M32
        if f.net == IP6:
            return (struct.pack(">IHBB", 6 << 28 | s.tos << 20 | s.label, (length - 40) & 0xffff, f.first_proto, s.ttl) +
                    f.src + f.dst + string), length
        head = bytearray(struct.pack(">BBHHHBBH", 0x40 | (20 + len(string)) // 4, s.tos, length & 0xffff, s.ip_id, s.frag, s.ttl,
                                     f.proto, 0) + f.src + f.dst + string)
        struct.pack_into("<H", head, 10, checksum(words(bytes(head))) if wrong_sum is None else wrong_sum)
        return bytes(head), length

    def transport(self, f, s, o, shape, string, l4_bytes, payload):
        """The header with a checksum of zero, where that is (0: none), and the length that it covers."""
        b = self.b
        ports = struct.pack(">HH", f.sport, f.dport)
        if f.transport == TCP:
            return self.tcp(f, s, o, shape, string, l4_bytes, payload), 16, payload
        if f.transport == UDP:
            length = b.take("UDP_LEN") if shape["SEQ"] else payload & 0xffff
            return bytearray(ports + struct.pack(">HH", length, 0)), 6, length
        if f.transport == NONE:
            return bytearray(), 0, 0
        s.rest = (s.rest, (s.rest + 1) & M32, o.rest)[shape["ACK"]] if shape["ACK"] < 3 else b.take("REST")
        if f.transport == SCTP:
            return bytearray(ports + struct.pack(">I", s.rest) + b.take_bytes("SUM", 4)), 0, 0
        return bytearray(struct.pack(">BBHI", f.sport, f.dport, 0, s.rest)), 2, payload

    def tcp(self, f, s, o, shape, string, l4_bytes, payload):
        b = self.b
        flags = b.take("TCP_FLAGS")
        seq = s.next if s.seen else o.ack
        if shape["SEQ"]:
            seq = (seq + unzigzag(b.take("SEQ"))) & M32
        after = (seq + max(0, payload - l4_bytes) + (flags >> 1 & 1) + (flags & 1)) & M32
        if not s.seen or 0 < (after - s.next) & M32 < 1 << 31:
            s.next_before, s.next = s.next, after
        if shape["ACK"] == 3:
            ack = ((s.ack if s.seen else o.next) + unzigzag(b.take("ACK"))) & M32
        else:
            ack = (o.next, s.ack, o.next_before)[shape["ACK"]]
        s.ack = ack
        if shape["WIN"]:
            s.win = (s.win + b.take("WIN")) & 0xffff
        urgent = b.take("URG") if shape["URG"] else 0
        head = bytearray(struct.pack(">HHIIBBHHH", f.sport, f.dport, seq, ack, string[0], flags, s.win, 0, urgent) + string[1:])
        stamp, sack = find_options(string[1:])
        for i in range(2 * shape["SACKS"]):
            struct.pack_into(">I", head, 20 + sack + 4 * i, (ack + b.take("SACK")) & M32)
        if stamp is not None:
            if shape["TSVAL"]:
                s.tsval = (s.tsval + (b.take("TSVAL_STEP") if shape["TSVAL"] == 1 else unzigzag(b.take("TSVAL")))) & M32
            s.tsecr = (o.tsval, s.tsecr)[shape["TSECR"]] if shape["TSECR"] < 2 else \
                (s.tsecr + unzigzag(b.take("TSECR"))) & M32
            struct.pack_into(">II", head, 20 + stamp, s.tsval, s.tsecr)
        return head

    def put_checksum(self, f, s, shape, l4, sum_at, covers, behind):
        proto = {TCP: 6, UDP: 17, ICMP6: 58}.get(f.transport)
        pseudo = words(f.src + f.dst + struct.pack(">IHH", covers, 0, proto)) if proto else 0
        headers = words(bytes(l4)) + pseudo
        how = shape["SUM"]
        if how == 0:
            field = int.from_bytes(self.b.take_bytes("SUM", 2), "little")
        elif how == 1:
            field = checksum(headers + words(behind[:covers - len(l4)]))
            if f.transport == UDP and field == 0:
                field = 0xffff
        else:
            field = (fold(pseudo), checksum(headers + s.payload), 0)[how - 2]
        s.payload = fold((~field & 0xffff) + checksum(headers))
        struct.pack_into("<H", l4, sum_at, field)


def block_packets(segment, number):
    b = Block(segment, number)
    conversations = read_conversations(b)
    order, times, rows = read_order(b, conversations), read_times(b), Rows(b)
    frames = [frame for flows in conversations for frame in rows.conversation(flows)]
    b.all_taken()
    need(len(order) == len(times) == len(frames) == b.records and sorted(order) == list(range(b.records)), "records")
    for ts, row in zip(times, order):
        yield (ts,) + frames[row]


def segments(folder):
    with open(os.path.join(folder, "format"), encoding="ascii") as f:
        need(f.read().split()[:2] == ["atoll-archive", "1"], "format")
    ident, owner = owner_key(os.path.join(folder, "owner.key"))
    with open(os.path.join(folder, "keystore"), "rb") as f:
        keystore = f.read()
    for path in sorted(glob.glob(os.path.join(folder, "segments", "*.seg"))):
        with open(path, "rb") as f:
            yield Segment(f.read(), lambda slot, number: segment_key(keystore, ident, owner, slot, number))


def packets(folder):
    for segment in segments(folder):
        for number in range(len(segment.blocks)):
            yield from block_packets(segment, number)
