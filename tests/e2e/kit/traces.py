"""Trace files, read and written by the letter of draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng, with nothing of the
project's own code: what the program exports is compared with what these see in its input."""
import gzip
import hashlib
import struct
from collections import namedtuple

Packet = namedtuple("Packet", "ts wire data link")

NS = 1000000000


class Damage(Exception):
    """Where and why a trace can not be read on."""


def unpacked(path):
    with open(path, "rb") as f:
        data = f.read()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def order_of(data):
    """'<', '>' or None (no trace), and whether it is pcapng."""
    for order in "<>":
        if len(data) >= 24 and struct.unpack_from(order + "I", data)[0] in (0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34):
            return order, False
        if data[:4] == b"\x0a\x0d\x0d\x0a" and len(data) >= 12 and data[8:12] == struct.pack(order + "I", 0x1a2b3c4d):
            return order, True
    return None, False


def pcap(data):
    order = order_of(data)[0]
    magic, major, minor, _, _, snaplen, link = struct.unpack_from(order + "IHHiIII", data)
    unit = 1 if magic == 0xa1b23c4d else 1000
    head = 24 if magic == 0xa1b2cd34 else 16
    at, link = 24, link & 0xffff
    while at < len(data):
        if len(data) - at < head:
            raise Damage(f"ends inside a record header at {at}")
        seconds, fraction, cap, wire = struct.unpack_from(order + "IIII", data, at)
        if (major, minor) < (2, 3) or major == 543 or ((major, minor) == (2, 3) and cap > wire):
            cap, wire = wire, cap
        if cap > len(data) - at - head:
            raise Damage(f"ends inside a record at {at}")
        yield Packet(seconds * NS + fraction * unit, wire, data[at + head:at + head + cap], link)
        at += head + cap


class Interface:
    def __init__(self, order, body):
        self.link, _, self.snaplen = struct.unpack_from(order + "HHI", body)
        self.resolution, self.offset = 6, 0
        at = 8
        while at + 4 <= len(body):
            code, size = struct.unpack_from(order + "HH", body, at)
            if code == 0:
                break
            if code == 9:
                self.resolution = body[at + 4]
            if code == 14:
                self.offset = struct.unpack_from(order + "q", body, at + 4)[0]
            at += 4 + (size + 3 & ~3)

    def time(self, units):
        if self.resolution & 0x80:
            ns = units * NS >> (self.resolution & 0x7f)
        else:
            ns = units * NS // 10 ** self.resolution
        ns += self.offset * NS
        if not 0 <= ns < 1 << 64:
            raise Damage(f"time {ns} ns does not fit 64 bits")
        return ns


def pcapng(data):
    at, order, interfaces = 0, "<", []
    while at < len(data):
        if len(data) - at < 12:
            raise Damage(f"ends inside a block at {at}")
        if data[at:at + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if data[at + 8:at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, total = struct.unpack_from(order + "II", data, at)
        if total < 12 or total % 4 or total > len(data) - at:
            raise Damage(f"block length {total} at {at}")
        body = data[at + 8:at + total - 4]
        if data[at + total - 4:at + total] != data[at + 4:at + 8]:
            raise Damage(f"lengths differ at {at}")
        at += total
        if kind == 1:
            interfaces.append(Interface(order, body))
        elif kind in (2, 6):
            if kind == 6:
                number, high, low, cap, wire = struct.unpack_from(order + "IIIII", body)
            else:
                number, _, high, low, cap, wire = struct.unpack_from(order + "HHIIII", body)
            if number >= len(interfaces) or cap > len(body) - 20:
                raise Damage(f"packet block before {at}")
            i = interfaces[number]
            yield Packet(i.time(high << 32 | low), wire, body[20:20 + cap], i.link)
        elif kind == 3:
            wire = struct.unpack_from(order + "I", body)[0]
            if not interfaces:
                raise Damage(f"simple packet without interface before {at}")
            i = interfaces[0]
            cap = min(wire, i.snaplen or wire)
            if cap > len(body) - 4:
                raise Damage(f"simple packet block before {at}")
            yield Packet(i.time(0), wire, body[4:4 + cap], i.link)


def packets(path):
    """The packets before the damage, if there is any, and the damage (None: a whole trace; no packets and damage: none)."""
    data = unpacked(path)
    order, ng = order_of(data)
    if order is None:
        return [], "not a trace"
    found = []
    try:
        for p in pcapng(data) if ng else pcap(data):
            found.append(p)
    except (Damage, struct.error) as e:
        return found, str(e)
    return found, None


def whole(path):
    found, damage = packets(path)
    if damage:
        raise Damage(f"{path}: {damage}")
    return found


def digest(found):
    h = hashlib.sha256()
    for p in found:
        h.update(struct.pack("<QIIH", p.ts, p.wire, len(p.data), p.link))
        h.update(p.data)
    return h.hexdigest()


def first_difference(got, wanted):
    """None, or words about the first packet that differs."""
    for i, (g, w) in enumerate(zip(got, wanted)):
        if g != w:
            what = [n for n in Packet._fields if getattr(g, n) != getattr(w, n)]
            return f"packet {i} of {len(wanted)} differs in {' '.join(what)}: {g} instead of {w}"
    if len(got) != len(wanted):
        return f"{len(got)} packets instead of {len(wanted)}"
    return None


# --- writing ---

def write_pcap(path, found, order="<", unit=1, link=1, snaplen=262144):
    """unit: 1 for nanoseconds, 1000 for microseconds."""
    with open(path, "wb") as f:
        f.write(struct.pack(order + "IHHiIII", 0xa1b23c4d if unit == 1 else 0xa1b2c3d4, 2, 4, 0, 0, snaplen, link))
        for p in found:
            f.write(struct.pack(order + "IIII", p.ts // NS, p.ts % NS // unit, len(p.data), p.wire) + p.data)
    return path


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def section(order):
    return block(order, 0x0a0d0d0a, struct.pack(order + "IHHq", 0x1a2b3c4d, 1, 0, -1))


def option(order, code, value):
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(order, link, snaplen=0, resolution=None, offset=None, name=None):
    body = struct.pack(order + "HHI", link, 0, snaplen)
    if name:
        body += option(order, 2, name)
    if resolution is not None:
        body += option(order, 9, bytes([resolution]))
    if offset is not None:
        body += option(order, 14, struct.pack(order + "q", offset))
    return block(order, 1, body + struct.pack(order + "HH", 0, 0))


def enhanced(order, number, units, data, wire=None, options=b""):
    return block(order, 6, struct.pack(order + "IIIII", number, units >> 32, units & 0xffffffff, len(data),
                                       len(data) if wire is None else wire) + data + bytes(-len(data) % 4) + options)


def obsolete(order, number, units, data, wire=None):
    return block(order, 2, struct.pack(order + "HHIIII", number, 0xffff, units >> 32, units & 0xffffffff, len(data),
                                       len(data) if wire is None else wire) + data)


def simple(order, data, wire=None):
    return block(order, 3, struct.pack(order + "I", len(data) if wire is None else wire) + data)


# --- packets ---

def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def address(text):
    return bytes(int(n) for n in text.split("."))


def ipv4(src, dst, proto, payload, number=1, ttl=64):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), number, 0, ttl, proto, 0, address(src), address(dst))
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ethernet(payload, kind=0x0800):
    return b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01" + struct.pack(">H", kind) + payload


def udp(src, dst, sport, dport, payload, number=1):
    head = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0)
    pseudo = address(src) + address(dst) + struct.pack(">BBH", 0, 17, 8 + len(payload))
    head = head[:6] + struct.pack(">H", checksum(pseudo + head + payload) or 0xffff)
    return ethernet(ipv4(src, dst, 17, head + payload, number))


def tcp(src, dst, sport, dport, seq, ack, flags, payload=b"", number=1, window=512):
    head = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, window, 0, 0)
    pseudo = address(src) + address(dst) + struct.pack(">BBH", 0, 6, 20 + len(payload))
    head = head[:16] + struct.pack(">H", checksum(pseudo + head + payload)) + head[18:]
    return ethernet(ipv4(src, dst, 6, head + payload, number))


def packet(ts, data, wire=None, link=1):
    return Packet(ts, len(data) if wire is None else wire, data, link)
