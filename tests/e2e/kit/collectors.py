"""The collector program and the sink, an archive that keeps nothing (tests/sink/sink.c)."""
import json
import os
import subprocess

from kit.results import ATOLL, OUT, free_port, run

COLLECT = os.environ.get("COLLECT") or os.path.join(os.path.dirname(ATOLL), "atoll-collect")
os.environ.pop("ATOLL_COLLECT", None)


class Sink:
    """With the same seed it has the same keys, and with the same port a collector finds it again."""

    def __init__(self, *options, port=None, seed="x"):
        env = dict(os.environ, SINK_SEED=seed, SINK_PORT=str(port or free_port()))
        self.child = subprocess.Popen([os.path.join(OUT, "sink"), *map(str, options)], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, env=env, text=True)
        port_text, self.code = self.child.stdout.readline().split()
        self.port = int(port_text)
        self.url = f"atoll://127.0.0.1:{self.port}"

    def look(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def end(self):
        seen = self.look()
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()
        return seen


def collect(folder, *arguments, **more):
    return run(COLLECT, "-C", folder, *arguments, **more)
