#!/usr/bin/python3
"""A second collector, written from docs/wire.md and docs/format.md alone: proof that they are enough. Python's standard library
and PyNaCl (Debian: python3-nacl). It stores every frame whole and keeps its spool as one file for each parcel.

    collector.py FOLDER enrol URL CODE              makes keys in FOLDER and enrols
    collector.py FOLDER push STREAM FILE.pcap       puts the frames of FILE into parcels, sends all that is in the spool
    collector.py FOLDER spool STREAM FILE.pcap      only the first half of that
    collector.py FOLDER send STREAM                 only the second
    collector.py FOLDER drop STREAM COUNT           drops the COUNT oldest parcels of the spool, as a loss
    collector.py FOLDER lose STREAM COUNT           counts COUNT packets as dropped by the kernel
Options (before FOLDER): --records N in a block; --sample N: one in N frames, at random; --stop-after N: end without goodbye after
N parcels of this run were sent.
Exit codes: 0 ok, 1 error, 4 refused."""
import argparse
import array
import base64
import hashlib
import hmac
import json
import os
import random
import select
import socket
import struct
import sys
import time

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox
from nacl.signing import SigningKey

VERSION, PORT = 1, 7713
FRAME_MAX, SMALL_FRAME_MAX, SMALL_BODY_MAX = 65535, 4096, 2048
RECORDS_MAX, BLOCK_BYTES_MAX = 65536, 16 << 20
REKEY_S, PING_S, SILENCE_S, HANDSHAKE_S = 120, 30, 60, 10
REKEY_BYTES = int(os.environ.get("COLLECTOR_REKEY_BYTES", 1 << 30))  # tests make it small
WINDOW_BYTES = 10 << 20  # sent and not acknowledged
ENROL, HELLO, FEED_ASK, PARCEL, REPORT, BYE = 1, 2, 3, 4, 5, 6
ENROLLED, WELCOME, MARK, ACK, WAIT, GO, REFUSED, PING, REKEY = 65, 66, 67, 68, 69, 70, 71, 129, 130
REFUSALS = ["", "not enrolled", "revoked", "quarantined", "wrong archive", "damaged", "out of order", "too large", "quota", "version"]
SOFTWARE = "collector.py 1"


class Trouble(Exception):
    pass


class Refused(Trouble):
    pass


def need(ok, words):
    if not ok:
        raise Trouble(words)


def blake(data, n=32):
    return hashlib.blake2b(data, digest_size=n).digest()


# --- Noise_IK_25519_ChaChaPoly_BLAKE2b, the initiator ---

class Cipher:
    def __init__(self, key):
        self.key, self.counter = key, 0

    def nonce(self):
        self.counter += 1
        return bytes(4) + struct.pack("<Q", self.counter - 1)

    def encrypt(self, data, ad=b""):
        return bindings.crypto_aead_chacha20poly1305_ietf_encrypt(data, ad, self.nonce(), self.key)

    def decrypt(self, data, ad=b""):
        return bindings.crypto_aead_chacha20poly1305_ietf_decrypt(data, ad, self.nonce(), self.key)

    def rekey(self):
        self.key = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(bytes(32), b"", bytes(4) + b"\xff" * 8, self.key)[:32]


class Handshake:
    def __init__(self, prologue, secret, archive):
        self.hash = self.chain = b"Noise_IK_25519_ChaChaPoly_BLAKE2b".ljust(64, b"\0")
        self.secret, self.archive, self.cipher = secret, archive, None
        self.mix_hash(prologue)
        self.mix_hash(archive)

    def mix_hash(self, data):
        self.hash = blake(self.hash + data, 64)

    def derive(self, data):
        temporary = hmac.digest(self.chain, data, "blake2b")
        first = hmac.digest(temporary, b"\1", "blake2b")
        return first, hmac.digest(temporary, first + b"\2", "blake2b")

    def mix_dh(self, secret, public):
        shared = bindings.crypto_scalarmult(secret, public)
        need(shared != bytes(32), "a key of small order")
        self.chain, key = self.derive(shared)
        self.cipher = Cipher(key[:32])

    def encrypt(self, data):
        sealed = self.cipher.encrypt(data, self.hash)
        self.mix_hash(sealed)
        return sealed

    def first(self):
        self.ephemeral = os.urandom(32)
        e = bindings.crypto_scalarmult_base(self.ephemeral)
        self.mix_hash(e)
        self.mix_dh(self.ephemeral, self.archive)
        s = self.encrypt(bindings.crypto_scalarmult_base(self.secret))
        self.mix_dh(self.secret, self.archive)
        return e + s + self.encrypt(b"")

    def second(self, message):
        """Reads the archive's message; the ciphers for sending and receiving."""
        need(len(message) == 48, "a handshake message of another length")
        e = message[:32]
        self.mix_hash(e)
        self.mix_dh(self.ephemeral, e)
        self.mix_dh(self.secret, e)
        need(self.cipher.decrypt(message[32:], self.hash) == b"", "a payload in the handshake")
        send, receive = self.derive(b"")
        return Cipher(send[:32]), Cipher(receive[:32])


# --- a connection: frames, messages ---

def text(words):
    data = words.encode()
    return bytes([len(data)]) + data


class Body:
    """Reads fields off a message's body."""
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(n <= len(self.data) - self.at, "a message that is too short")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), "little")

    def text(self):
        return self.take(self.number(1)).decode("utf-8", "replace")

    def end(self):
        need(self.at == len(self.data), "a message that is too long")


class Connection:
    def __init__(self, host, port, secret, archive):
        try:
            self.socket = socket.create_connection((host, port), timeout=HANDSHAKE_S)
        except OSError as e:
            raise Trouble(f"{host}:{port}: {e}") from e
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.content = b""
        mine = b"ATOLLWIR" + struct.pack("<HH", VERSION, VERSION)
        self.socket.sendall(mine)
        theirs = self.bytes(12)
        lowest, highest = struct.unpack_from("<HH", theirs, 8)
        need(theirs[:8] == b"ATOLLWIR", "whoever answers does not speak this protocol")
        need(lowest <= VERSION <= highest, f"the archive speaks versions {lowest} to {highest}")
        handshake = Handshake(mine + theirs, secret, archive)
        first = handshake.first()
        self.socket.sendall(struct.pack("<H", len(first)) + first)
        self.sender, self.receiver = handshake.second(self.bytes(*struct.unpack("<H", self.bytes(2))))
        self.rekeyed = self.said = self.heard = time.monotonic()
        self.sent_bytes = 0
        self.socket.settimeout(None)

    def bytes(self, n):
        """n bytes of the handshake."""
        while len(self.input) < n:
            data = self.socket.recv(65536)
            need(data, "the archive closed the connection")
            self.input += data
        data, self.input = self.input[:n], self.input[n:]
        return data

    def frame(self, content):
        sealed = self.sender.encrypt(content)
        self.sent_bytes += len(content)
        self.said = time.monotonic()
        try:
            self.socket.sendall(struct.pack("<H", len(sealed)) + sealed)
        except OSError:
            pass  # what it said before it closed is still to be read

    def say(self, kind, body=b""):
        if self.sent_bytes >= REKEY_BYTES or time.monotonic() - self.rekeyed >= REKEY_S:
            self.frame(struct.pack("<IB", 0, REKEY))
            self.sender.rekey()
            self.sent_bytes, self.rekeyed = 0, time.monotonic()
        data = struct.pack("<IB", len(body), kind) + body
        for at in range(0, len(data), FRAME_MAX - 16):
            self.frame(data[at:at + FRAME_MAX - 16])

    def hear(self, seconds):
        """The next message within this time: (type, body), or None."""
        until = time.monotonic() + seconds
        while True:
            message = self.message()
            if message:
                return message
            now = time.monotonic()
            need(now - self.heard < SILENCE_S, "nothing was heard for a minute")
            if now - self.said >= PING_S:
                self.say(PING)
            left = min(until - now, self.said + PING_S - now, 1)
            if now >= until:
                return None
            if select.select([self.socket], [], [], max(left, 0))[0]:
                data = self.socket.recv(65536)
                need(data, "the archive closed the connection")
                self.input += data
                self.heard = time.monotonic()

    def message(self):
        """A message that has been received whole, or None. PING and REKEY are dealt with here."""
        while True:
            if len(self.content) >= 5:
                n, kind = struct.unpack_from("<IB", self.content)
                need(n <= SMALL_BODY_MAX, "a message that is too long")
                if len(self.content) >= 5 + n:
                    body, self.content = self.content[5:5 + n], self.content[5 + n:]
                    if kind == REKEY:
                        need(not self.content, "REKEY that is not the last of its frame")
                        self.receiver.rekey()
                    elif kind != PING:
                        return kind, Body(body)
                    continue
            if len(self.input) < 2:
                return None
            n, = struct.unpack_from("<H", self.input)
            need(17 <= n <= SMALL_FRAME_MAX, "a frame of a length that is not allowed")
            if len(self.input) < 2 + n:
                return None
            sealed, self.input = self.input[2:2 + n], self.input[2 + n:]
            self.content += self.receiver.decrypt(sealed)

    def expect(self, wanted, stream=None):
        while True:
            got = self.hear(SILENCE_S)
            need(got, "no answer")
            kind, body = got
            if kind == wanted:
                return body
            if kind == REFUSED:
                code, name, _, _, sentence = body.number(1), body.text(), body.number(8), body.number(8), body.text()
                if stream is None or name != stream:
                    raise Refused(f"{REFUSALS[code]}: {sentence}")
            else:
                need(stream is not None and kind in (ACK, WAIT, GO), f"message {kind} where {wanted} was expected")


# --- what is kept in the folder ---

def write_durably(path, data):
    with open(path + ".new", "wb", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    os.rename(path + ".new", path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


class Identity:
    """The keys of this monitor, and the archive that they are for."""
    def __init__(self, folder, fields):
        self.folder, self.fields = folder, fields
        self.secret = bytes.fromhex(fields["noise"])
        self.signer = SigningKey(bytes.fromhex(fields["sign"]))
        self.archive_key = bytes.fromhex(fields["archive_key"])
        self.archive = bytes.fromhex(fields.get("archive", ""))
        self.ingest = bytes.fromhex(fields.get("ingest", ""))

    def save(self):
        self.fields.update(archive=self.archive.hex(), ingest=self.ingest.hex())
        write_durably(os.path.join(self.folder, "identity"), json.dumps(self.fields).encode())

    def connect(self):
        return Connection(self.fields["host"], self.fields["port"], self.secret, self.archive_key)


def load_identity(folder):
    try:
        with open(os.path.join(folder, "identity"), encoding="ascii") as f:
            return Identity(folder, json.load(f))
    except OSError as e:
        raise Trouble(f"{folder}: not enrolled ({e})") from e


def read_code(code):
    need(len(code) == 84, "an enrolment code has 84 characters")
    data = base64.b32decode(code.upper() + "====")
    need(blake(data[:48])[:4] == data[48:], "a typing error in the enrolment code")
    return data[:16], data[16:48]


def read_url(url):
    need(url.startswith("atoll://"), "the URL is atoll://HOST or atoll://HOST:PORT")
    place = url[len("atoll://"):].rstrip("/")
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        port = port[1:]
    else:
        host, _, port = place.partition(":")
    return host, int(port or PORT)


def enrol(folder, url, code):
    secret, archive_key = read_code(code)
    host, port = read_url(url)
    os.makedirs(folder, exist_ok=True)
    identity = Identity(folder, {"noise": os.urandom(32).hex(), "sign": os.urandom(32).hex(), "archive_key": archive_key.hex(),
                                 "host": host, "port": port})
    c = identity.connect()
    c.say(ENROL, secret + bytes(identity.signer.verify_key) + text(SOFTWARE))
    body = c.expect(ENROLLED)
    identity.archive, identity.ingest, name = body.take(16), body.take(32), body.text()
    body.end()
    identity.fields["name"] = name
    identity.save()
    print(f"enrolled as {name}")


# --- trace files and blocks ---

def read_pcap(path):
    """(linktype, [(ns, wire length, bytes)])"""
    with open(path, "rb") as f:
        data = f.read()
    orders = {b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000),
              b"\x4d\x3c\xb2\xa1": ("<", 1), b"\xa1\xb2\x3c\x4d": (">", 1)}
    need(data[:4] in orders, f"{path}: not a pcap file")
    order, unit = orders[data[:4]]
    linktype = struct.unpack_from(order + "I", data, 20)[0] & 0xffff
    frames, at = [], 24
    while at + 16 <= len(data):
        seconds, fraction, captured, wire = struct.unpack_from(order + "IIII", data, at)
        if captured > len(data) - at - 16:
            break
        frames.append((seconds * 10**9 + fraction * unit, wire, data[at + 16:at + 16 + captured]))
        at += 16 + captured
    return linktype, frames


def varint(v):
    out = bytearray()
    while v > 127:
        out.append(v & 127 | 128)
        v >>= 7
    return bytes(out) + bytes([v])


def stored(data):
    return b"\0" + varint(len(data)) + data


def planes(values, count):
    data = array.array("I", values).tobytes()
    return b"".join(stored(data[i::4]) for i in range(count))


def simplest_chunks(linktype, frames):
    n, nothing = len(frames), stored(b"")
    captured = [len(data) for _, _, data in frames]
    steps, jumps, marks, before = [], b"", b"", frames[0][0]
    for i, (ns, _, _) in enumerate(frames):
        if i > 0 and i % 16384 == 0:
            marks += struct.pack("<Q", before)
        step = ns - before
        if not 0 <= step < 1 << 32:
            jumps += struct.pack("<IQ", i, ns)
            step = 0
        steps.append(step)
        before = ns
    return {
        0: (stored(bytes(5)) + planes([0], 2) + planes([n - 1], 2) + stored(struct.pack("<HHB", linktype, 0, 0)) + nothing +
            stored(bytes(4)) + planes([0], 2) + nothing * (4 + 1 + 3 + 3 + 2 + 2) + stored(varint(sum(captured)))),
        1: stored(b"\3" + bytes(n - 1)) + nothing * 2,
        2: planes(steps, 4) + stored(struct.pack("<BIQ", 0, 1, frames[0][0])) + stored(jumps) + stored(marks),
        3: planes([wire for _, wire, _ in frames], 4),
        4: stored(bytes(4)) + stored(bytes(n)) + nothing * 2 + stored(bytes(4 * ((n - 1) // 16384))),
        6: stored(bytes(1)) + nothing,
        11: planes(captured, 4) + stored(b"".join(data for _, _, data in frames)),
    }


def make_block(linktype, frames, rate=1):
    """The sealed block and its key. rate: these were chosen at random, one in so many."""
    key, chunks = os.urandom(32), simplest_chunks(linktype, frames)
    size = 24 + sum(8 + len(data) + 16 for data in chunks.values())
    header = struct.pack("<4sBBHIIII", b"BLK1", 3, 1, len(chunks), len(frames), size, rate, 2 if rate > 1 else 0)
    table = b"".join(struct.pack("<II", number, len(data) + 16) for number, data in chunks.items())
    seal = bindings.crypto_aead_chacha20poly1305_ietf_encrypt
    sealed = b"".join(seal(data, header, struct.pack("<III", number, 0, 0), key) for number, data in chunks.items())
    return header + table + sealed, key


def blocks_of(frames, records):
    block, size = [], 0
    for frame in frames:
        if block and (len(block) == records or size + len(frame[2]) > BLOCK_BYTES_MAX):
            yield block
            block, size = [], 0
        block.append(frame)
        size += len(frame[2])
    if block:
        yield block


# --- parcels and the spool ---

HEADER = struct.Struct("<4sBBH16s32sQQ32sQQQQQQQQQ32sQQ32sI80s")
FIELDS = ("magic version kind name_bytes archive monitor epoch sequence previous made_ns records first_ns last_ns captured_bytes "
          "lost_kernel lost_interface lost_spool lost_policy source source_records from_sequence hash block_bytes sealed_key").split()


def read_header(data):
    return dict(zip(FIELDS, HEADER.unpack_from(data)))


def parcel_hash(data):
    return blake(data[:HEADER.size + read_header(data)["name_bytes"] + 64])


class Spool:
    """One folder for a stream: a file for each parcel, and `chain`, which knows where it ends."""
    def __init__(self, identity, stream):
        self.identity, self.stream = identity, stream
        self.folder = os.path.join(identity.folder, "spool." + stream)
        os.makedirs(self.folder, exist_ok=True)
        try:
            with open(os.path.join(self.folder, "chain"), encoding="ascii") as f:
                self.chain = json.load(f)
        except OSError:
            self.begin(time.time_ns())

    def begin(self, epoch):
        self.chain = {"epoch": epoch, "sequence": 0, "previous": bytes(32).hex(), "packets": 0, "lost": 0, "kernel": 0, "policy": 0}
        self.save()

    def save(self):
        write_durably(os.path.join(self.folder, "chain"), json.dumps(self.chain).encode())

    def numbers(self):
        """Sequences in the spool, and forgets files that the chain does not know (a crash came between)."""
        there = sorted(int(name) for name in os.listdir(self.folder) if name.isdigit())
        for late in [n for n in there if n > self.chain["sequence"]]:
            os.unlink(self.path(late))
            there.remove(late)
        return there

    def path(self, sequence):
        return os.path.join(self.folder, f"{sequence:020d}")

    def read(self, sequence):
        with open(self.path(sequence), "rb") as f:
            return f.read()

    def sign(self, fields, block=b""):
        c = self.chain
        name = self.stream.encode()
        values = dict.fromkeys(FIELDS, 0)
        values.update(magic=b"PRCL", version=1, name_bytes=len(name), archive=self.identity.archive, epoch=c["epoch"],
                      monitor=bytes(self.identity.signer.verify_key), made_ns=time.time_ns(), lost_spool=c["lost"],
                      lost_kernel=c["kernel"], lost_policy=c["policy"], source=bytes(32), sealed_key=bytes(80), block_bytes=len(block))
        values.update(fields)
        front = HEADER.pack(*(values[f] for f in FIELDS)) + name
        return front + self.identity.signer.sign(front).signature + block

    def add(self, linktype, frames, rate=1):
        """Durable before anybody may send it; the chain after the parcel: one without the other is made anew."""
        block, key = make_block(linktype, frames, rate)
        times = [f[0] for f in frames]
        c = self.chain
        parcel = self.sign({"kind": 1, "sequence": c["sequence"] + 1, "previous": bytes.fromhex(c["previous"]), "records": len(frames),
                            "first_ns": min(times), "last_ns": max(times), "captured_bytes": sum(len(f[2]) for f in frames),
                            "hash": blake(block), "sealed_key": SealedBox(PublicKey(self.identity.ingest)).encrypt(key)}, block)
        write_durably(self.path(c["sequence"] + 1), parcel)
        self.chain = dict(c, sequence=c["sequence"] + 1, previous=parcel_hash(parcel).hex(), packets=c["packets"] + len(frames))
        self.save()

    def drop(self, count):
        """The oldest parcels become one of kind loss."""
        numbers = self.numbers()[:count]
        need(numbers, "nothing in the spool to drop")
        heads = [read_header(self.read(n)) for n in numbers]
        self.chain["lost"] += sum(h["records"] for h in heads if h["kind"] == 1)
        last = self.read(numbers[-1])
        loss = self.sign({"kind": 2, "sequence": numbers[-1], "previous": heads[0]["previous"],
                          "from_sequence": heads[0]["from_sequence"] or numbers[0], "records": sum(h["records"] for h in heads),
                          "first_ns": min(h["first_ns"] for h in heads), "last_ns": max(h["last_ns"] for h in heads),
                          "captured_bytes": sum(h["captured_bytes"] for h in heads),
                          "hash": heads[-1]["hash"] if heads[-1]["kind"] == 2 else parcel_hash(last)})
        self.save()
        write_durably(self.path(numbers[-1]), loss)
        for n in numbers[:-1]:
            os.unlink(self.path(n))

    def forget(self, until):
        for n in self.numbers():
            if n <= until:
                os.unlink(self.path(n))

    def resume(self, epoch, sequence, chain):
        """The first sequence to send after this mark."""
        mine, numbers = self.chain["epoch"], self.numbers()
        if epoch < mine:
            return 1
        if epoch == mine and sequence == self.chain["sequence"] and chain.hex() == self.chain["previous"]:
            return sequence + 1
        if epoch == mine and sequence + 1 in numbers and read_header(self.read(sequence + 1))["previous"] == chain:
            return sequence + 1
        for n in numbers if epoch == mine else []:  # a loss that covers the place
            h = read_header(self.read(n))
            if h["kind"] == 2 and h["from_sequence"] <= sequence + 1 <= n:
                return n
        raise Trouble("the archive's mark is not one of this spool: were the keys copied to another machine? Begin a new epoch")


def send(identity, stream, stop_after):
    spool = Spool(identity, stream)
    c = identity.connect()
    c.say(HELLO, text(SOFTWARE) + struct.pack("<QI", time.time_ns(), 1))
    welcome = c.expect(WELCOME)
    archive, ingest = welcome.take(16), welcome.take(32)
    need(archive == identity.archive, "another archive behind the same key")
    if ingest != identity.ingest:
        identity.ingest = ingest
        identity.save()
    sent = acknowledged = 0
    at, flight, wait_until = ask(c, spool), {}, 0
    marked = at
    while True:
        numbers = [n for n in spool.numbers() if n >= at]
        if not numbers and not flight:
            break
        if numbers and sum(flight.values()) < WINDOW_BYTES and time.monotonic() >= wait_until:
            data = spool.read(numbers[0])
            c.say(PARCEL, data)
            flight[numbers[0]] = len(data)
            at, sent = numbers[0] + 1, sent + 1
            if sent == stop_after:
                c.socket.close()
                print(f"stopped after {sent} parcels")
                return
        ready = numbers and sum(flight.values()) < WINDOW_BYTES and time.monotonic() >= wait_until
        got = c.hear(0 if ready else 1)
        if not got:
            continue
        kind, body = got
        if kind == ACK:
            name, epoch, sequence = body.text(), body.number(8), body.number(8)
            need(name == stream and epoch == spool.chain["epoch"], "an acknowledgement of something else")
            acknowledged += len([n for n in flight if n <= sequence])
            flight = {n: size for n, size in flight.items() if n > sequence}
            spool.forget(sequence)
        elif kind == WAIT:
            wait_until = time.monotonic() + body.number(4) / 1000
        elif kind == GO:
            wait_until = 0
        elif kind == REFUSED:
            code, name, epoch, sequence, sentence = body.number(1), body.text(), body.number(8), body.number(8), body.text()
            if name == stream and code == 6:
                if sequence in flight:
                    at, flight = ask(c, spool), {}
                    wait_until = time.monotonic() + 1 if at == marked else 0
                    marked = at
                continue
            if name == stream and code == 8:
                print(f"quota: {sentence}", file=sys.stderr)
                wait_until = time.monotonic() + 1
                at, flight = ask(c, spool), {}
                continue
            raise Refused(f"{REFUSALS[code]}: {sentence}")
        else:
            raise Trouble(f"message {kind} where it does not belong")
    chain = spool.chain
    c.say(REPORT, text(stream) + struct.pack("<QQQQQQQQI", time.time_ns(), 0, 0, chain["packets"], chain["kernel"], 0, chain["lost"],
                                              chain["policy"], 1))
    c.say(BYE)
    try:
        while c.hear(10):
            pass
    except (Trouble, OSError):
        pass  # the archive closes
    print(f"{sent} parcels sent, {acknowledged} acknowledged")


def ask(c, spool):
    """Where to go on."""
    c.say(FEED_ASK, text(spool.stream))
    mark = c.expect(MARK, spool.stream)
    name, epoch, sequence, chain = mark.text(), mark.number(8), mark.number(8), mark.take(32)
    mark.end()
    need(name == spool.stream, "a mark of another stream")
    at = spool.resume(epoch, sequence, chain)
    if epoch == spool.chain["epoch"]:
        spool.forget(sequence)
    return at


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--records", type=int, default=RECORDS_MAX)
    p.add_argument("--stop-after", type=int, default=0)
    p.add_argument("--sample", type=int, default=1)
    p.add_argument("folder")
    p.add_argument("verb", choices=["enrol", "push", "spool", "send", "drop", "lose"])
    p.add_argument("rest", nargs="*")
    a = p.parse_args()
    if a.verb == "enrol":
        enrol(a.folder, *a.rest)
        return
    identity = load_identity(a.folder)
    if a.verb in ("push", "spool"):
        linktype, frames = read_pcap(a.rest[1])
        spool = Spool(identity, a.rest[0])
        chosen = [f for f in frames if a.sample == 1 or random.randrange(a.sample) == 0]
        spool.chain["policy"] += len(frames) - len(chosen)
        for block in blocks_of(chosen, a.records):
            spool.add(linktype, block, a.sample)
        print(f"{len(chosen)} frames in the spool, {len(spool.numbers())} parcels")
    if a.verb == "drop":
        Spool(identity, a.rest[0]).drop(int(a.rest[1]))
    if a.verb == "lose":
        spool = Spool(identity, a.rest[0])
        spool.chain["kernel"] += int(a.rest[1])
        spool.save()
    if a.verb in ("push", "send"):
        send(identity, a.rest[0], a.stop_after)


if __name__ == "__main__":
    try:
        main()
    except Refused as e:
        sys.exit(print(f"collector.py: refused: {e}", file=sys.stderr) or 4)
    except (Trouble, OSError, CryptoError) as e:
        sys.exit(print(f"collector.py: {e}", file=sys.stderr) or 1)
