"""A TCP proxy that does to a connection what a bad network, or somebody in it, does: cuts it, holds it, chops, delays, flips
bits, records. One thread with an event loop; all of its methods may be called from any other.

    with Proxy(port) as p:      # listens on p.port, goes on to 127.0.0.1:port
            p.plan = ...        # for connections from now on

A plan is called for each new connection with its number (0, 1, ...) and gives a Way, or None to close it at once.
"""
import asyncio
import random
import threading

UP, DOWN = 0, 1  # collector to archive, and back
CHUNK = 65536


class Way:
    """What happens on one connection. Offsets count the bytes of one direction.

    flips          {(direction, offset): bit}
    cut            {direction: offset}: both sides are closed when so many bytes went through
    hold           {direction: offset}: nothing goes on any more, nobody is told (half-open)
    chop           a chance for each chunk to be cut in pieces that go one after the other with pauses
    delay          the longest of these pauses, seconds
    rate           bytes per second in each direction; 0: no limit
    """

    def __init__(self, flips=None, cut=None, hold=None, chop=0.0, delay=0.02, rate=0, seed=0):
        self.flips, self.cut, self.hold = flips or {}, cut or {}, hold or {}
        self.chop, self.delay, self.rate = chop, delay, rate
        self.random = random.Random(seed)
        self.held = False
        self.recorded = [bytearray(), bytearray()]
        self.record = False

    def stop_at(self, direction):
        return min(self.cut.get(direction, 1 << 62), self.hold.get(direction, 1 << 62))


class Proxy:
    def __init__(self, to, plan=None, record=False):
        self.to, self.plan, self.record = to, plan or (lambda number: Way()), record
        self.ways, self.writers = [], set()
        self.port = None
        self.accepting = True
        self.loop = asyncio.new_event_loop()
        self.up = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        self.up.wait()
        return self

    def __exit__(self, *_):
        self.call(self.finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.listen())
        self.loop.run_forever()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    async def listen(self):
        self.server = await asyncio.start_server(self.connected, "127.0.0.1", 0, limit=CHUNK)
        self.port = self.server.sockets[0].getsockname()[1]
        self.up.set()

    async def finish(self):
        self.server.close()
        await self.drop()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drop(self):
        for writer in list(self.writers):
            writer.transport.abort()

    def cut_all(self):
        """Every connection is reset."""
        self.call(self.drop())

    def hold_all(self):
        """Every connection that there is goes silent, both ways, and stays open."""
        for way in self.ways:
            way.held = True

    async def connected(self, reader, writer):
        way = self.plan(len(self.ways)) if self.accepting else None
        if way is None:
            writer.transport.abort()
            return
        way.record = self.record
        self.ways.append(way)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to, limit=CHUNK)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, far_writer)
        self.writers.update(both)
        try:
            await asyncio.gather(self.pump(way, UP, reader, far_writer, both), self.pump(way, DOWN, far_reader, writer, both))
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            for w in both:
                self.writers.discard(w)
                w.close()

    async def pump(self, way, direction, reader, writer, both):
        at, stop = 0, way.stop_at(direction)
        try:
            while True:
                data = await reader.read(CHUNK)
                if not data:
                    writer.write_eof()
                    return
                while way.held:
                    await asyncio.sleep(3600)
                if way.flips:
                    data = self.flipped(way, direction, at, data)
                part = data[:max(0, stop - at)]
                at += len(data)
                if way.record:
                    way.recorded[direction] += part
                await self.send(way, writer, part)
                if at >= stop and direction in way.hold:
                    way.held = True
                elif at >= stop:
                    for w in both:
                        w.transport.abort()
                    return
        except (ConnectionError, OSError):
            for w in both:
                w.transport.abort()

    @staticmethod
    def flipped(way, direction, at, data):
        changed = bytearray(data)
        for (d, offset), bit in way.flips.items():
            if d == direction and at <= offset < at + len(data):
                changed[offset - at] ^= 1 << bit
        return bytes(changed)

    @staticmethod
    async def send(way, writer, data):
        while data:
            n = len(data)
            if way.random.random() < way.chop:
                n = way.random.randint(1, min(n, 1400))
                await asyncio.sleep(way.random.random() * way.delay)
            if way.rate:  # the last byte comes when the time for all of them is over
                n = min(n, max(1, way.rate // 20))
                await asyncio.sleep(n / way.rate)
            writer.write(data[:n])
            await writer.drain()
            data = data[n:]
