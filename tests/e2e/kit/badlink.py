"""A link between two network namespaces that loses, repeats and reorders packets, as TCP meets them on a bad radio link: two TUN
devices with this process in between, because few kernels have netem built in, and none in which a test may count on it.

    with BadLink(near, far, loss=0.3) as link:   # names of namespaces; their addresses on it are NEAR and FAR
"""
import fcntl
import heapq
import os
import random
import selectors
import struct
import threading
import time

from kit.results import run

NEAR, FAR = "10.98.0.1", "10.98.0.2"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


def ip(*words):
    got = run("ip", *words)
    if got.code != 0:
        raise OSError(f"ip {' '.join(words)}: {got}")


class BadLink:
    def __init__(self, near, far, loss=0.3, repeat=0.05, late=0.2, seed=1):
        self.near, self.far = near, far
        self.loss, self.repeat, self.late, self.random = loss, repeat, late, random.Random(seed)
        self.fds, self.passed, self.lost, self.over = [], 0, 0, False
        self.thread = threading.Thread(target=self.carry, daemon=True)

    def __enter__(self):
        for space, address in (self.near, NEAR), (self.far, FAR):
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self.fds.append(fd)
            name = f"bad{os.getpid()}-{len(self.fds)}"
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
            ip("link", "set", name, "netns", space)
            ip("-n", space, "addr", "add", f"{address}/24", "dev", name)
            ip("-n", space, "link", "set", name, "up")
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()
        for fd in self.fds:
            os.close(fd)  # the device goes with it

    def carry(self):
        watch, due, number = selectors.DefaultSelector(), [], 0
        for fd, other in zip(self.fds, reversed(self.fds)):
            watch.register(fd, selectors.EVENT_READ, other)
        while not self.over:
            now = time.monotonic()
            while due and due[0][0] <= now:
                _, _, to, packet = heapq.heappop(due)
                try:
                    os.write(to, packet)
                except OSError:
                    pass  # its device is not up (any more), or full: one more that is lost
            for key, _ in watch.select(max(0, min(due[0][0] - now, 0.1)) if due else 0.1):
                packet = os.read(key.fd, 65536)
                if self.random.random() < self.loss:
                    self.lost += 1
                    continue
                self.passed += 1
                for _ in range(2 if self.random.random() < self.repeat else 1):
                    number += 1
                    late = self.random.uniform(0.005, 0.03) if self.random.random() < self.late else 0
                    heapq.heappush(due, (time.monotonic() + 0.002 + late, number, key.data, packet))
