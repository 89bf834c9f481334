"""The example `node` as processes on loopback, for the scenarios: starts them, reads what they print, stops them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

# How long to wait for anything.
PATIENCE = 20.0


class Failure(Exception):
    """Something was not as expected."""


class Node:
    """One process, and what it has printed."""

    def __init__(self, name, port, seeds, processes=0, interval=0.5, misses=3, secret=None, cluster=None):
        self.id = f"{name}@127.0.0.1:{port}"
        self.name = name
        self.port = port
        command = [PROGRAM, "--name", name, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--heartbeat-ms", str(round(interval * 1000)), "--miss-threshold", str(misses)]
        command += ["--processes", str(processes)]
        if cluster:
            command += ["--cluster-name", cluster]
        for seed in seeds:
            command += ["--seed", seed]
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False
        environment = {name: value for name, value in os.environ.items() if name != "CLUSTER_SECRET"}
        if secret:
            environment["CLUSTER_SECRET"] = secret
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1
        )
        STARTED.append(self)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            at, word, rest = line.rstrip("\n").split(" ", 2)
            with self.changed:
                self.lines.append((float(at), word, rest))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def mark(self):
        """The place after the last line."""
        with self.changed:
            return len(self.lines)

    def since(self, mark, *words):
        with self.changed:
            return [line for line in self.lines[mark:] if not words or line[1] in words]

    def find(self, what, mark=0):
        """Waits for a line that begins so, and gives its time."""
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                for at, word, rest in self.lines[mark:]:
                    if f"{word} {rest} ".startswith(what + " "):
                        return at
                left = deadline - time.monotonic()
                if left <= 0 or self.ended:
                    raise Failure(f"{self.name} did not print: {what}")
                self.changed.wait(left)

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def signal(self, which):
        """Sends a signal, and gives the time of that."""
        now = time.time()
        self.process.send_signal(which)
        return now

    def leave(self):
        self.signal(signal.SIGINT)
        self.expect_exit()

    def expect_exit(self):
        code = self.process.wait(PATIENCE)
        with self.changed:
            self.changed.wait_for(lambda: self.ended, PATIENCE)
        if code != 0:
            raise Failure(f"{self.name} left with exit code {code}")


def example(name):
    """The example of this name that cargo built last."""
    metadata = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], stdout=subprocess.PIPE, check=True)
    return os.path.join(json.loads(metadata.stdout)["target_directory"], "debug", "examples", name)


def free_ports(count):
    """Ports that nobody listens on. All are taken at once, so that they differ."""
    with contextlib.ExitStack() as sockets:
        ports = []
        for _ in range(count):
            one = sockets.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            ports.append(one.getsockname()[1])
        return ports


def expect(condition, message):
    if not condition:
        raise Failure(message)


def run(scenario, main, *failures):
    """Runs a scenario to its end, and stops all processes. A failure shows what each of them printed."""
    try:
        main()
        print(f"{scenario}: all as expected")
    except (Failure, OSError, subprocess.TimeoutExpired, *failures) as failure:
        print(f"{scenario}: FAILED: {type(failure).__name__}: {failure}", file=sys.stderr)
        for one in STARTED:
            print(f"{one.id} printed:", *(f"  {at:.3f} {word} {rest}"[:200] for at, word, rest in one.since(0)), sep="\n", file=sys.stderr)
        sys.exit(1)
    finally:
        for one in STARTED:
            if one.process.poll() is None:
                one.process.kill()


STARTED = []
# The program that was asked for, or else the one that is there.
PROGRAM = sys.argv[1] if len(sys.argv) > 1 else example("node")
