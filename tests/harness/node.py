"""A real node: `pigeond quickstart` in a temporary directory on free ports."""

import contextlib
import http.client
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

from . import leftovers

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PASSWORD = "pigeon"

SMTP, LMTP, SUBMISSION, SUBMISSIONS = 25, 24, 587, 465
POP3, POP3S, IMAP, IMAPS, STATUS = 110, 995, 143, 993, 80
PORTS = [SMTP, LMTP, SUBMISSION, SUBMISSIONS, POP3, POP3S, IMAP, IMAPS, STATUS]
# For listeners that a test adds: beside those of clients, those for a balancer.
BALANCED_SMTP, BALANCED_IMAP, BALANCED_IMAPS = SMTP + 1, IMAP + 1, IMAPS + 1
BALANCED = [port + 1 for port in [SMTP, SUBMISSION, SUBMISSIONS, POP3, POP3S, IMAP, IMAPS]]
# And for other nodes.
BACKEND_IMAP, BACKEND_POP3, BACKEND_LMTP = 2143, 2110, 2024
BACKENDS = [BACKEND_IMAP, BACKEND_POP3, BACKEND_LMTP, BACKEND_IMAP + 1, BACKEND_POP3 + 1]

# What was given out: a node keeps its ports while it is not running, and those that it opens only later.
GIVEN = set()


def pigeond():
    """The program under test: $PIGEOND, or what the release build made."""
    if path := os.environ.get("PIGEOND"):
        return path
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = target / "release" / "pigeond"
    if not path.exists():
        raise AssertionError(f"{path} is not there: cargo build --release --bin pigeond")
    return str(path)


def pigeonctl():
    """The program that writes control data: $PIGEONCTL, or what stands beside the node's."""
    path = os.environ.get("PIGEONCTL") or pathlib.Path(pigeond()).with_name("pigeonctl")
    if not pathlib.Path(path).exists():
        raise AssertionError(f"{path} is not there: cargo build --release --bin pigeonctl")
    return str(path)


def ports_of(offset):
    return {offset + port for port in [*PORTS, *BALANCED, *BACKENDS]}


def free_port_offset():
    """An offset at which all ports of a node are free, below the range that outgoing connections take theirs from."""
    for _ in range(200):
        offset = random.randrange(3_000, 30_000)
        ports, sockets = ports_of(offset), []
        if ports & GIVEN:
            continue
        try:
            for port in ports:
                probe = socket.socket()
                sockets.append(probe)
                probe.bind(("127.0.0.1", port))
            GIVEN.update(ports)
            return offset
        except OSError:
            continue
        finally:
            for probe in sockets:
                probe.close()
    raise AssertionError("no free ports found in 200 attempts")


def free_port():
    """A port that was free a moment ago, of the same range."""
    for _ in range(200):
        port = random.randrange(3_000, 31_000)
        if port in GIVEN:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            GIVEN.add(port)
            return port
    raise AssertionError("no free port found in 200 attempts")


def raise_file_limit(count=1 << 20):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(count, hard) if hard != resource.RLIM_INFINITY else count
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def wait_until(condition, seconds, what):
    """Polls until `condition()` is true; its value. Never a fixed wait."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Node:
    """Starts at once; a context manager, or call `remove` at the end."""

    # Where clients find it, and how they get there.
    host = "127.0.0.1"
    reach = staticmethod(contextlib.nullcontext)

    def __init__(self, directory=None, arguments=(), configure=None):
        """`configure(node)` is called between the first making of the directory and the start that counts."""
        self.temporary = None if directory else tempfile.mkdtemp(prefix="pigeonair-test-")
        self.directory = pathlib.Path(directory or os.path.join(self.temporary, "data"))
        self.log_path = pathlib.Path(self.temporary or str(directory) + "-log") / "node.log"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.offset = free_port_offset()
        self.arguments = list(arguments)
        self.process = None
        leftovers.remember(self)
        try:
            if configure:
                self.start()
                self.stop()
                configure(self)
            self.start()
        except BaseException:
            self.remove()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def port(self, standard):
        return self.offset + standard

    # Life

    def start(self, wait=True):
        command = [pigeond(), "quickstart", "--dir", str(self.directory), "--port-offset", str(self.offset)]
        self.spawn(command + self.arguments, wait)

    def spawn(self, command, wait=True):
        assert self.process is None, "already started"
        log = open(self.log_path, "ab")
        # A group of its own, so that a Ctrl-C of the person at the keyboard ends the tests and not the node under them.
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
        log.close()
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds=180):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"pigeond ended with {self.process.returncode}:\n{self.log_tail()}")
            try:
                return self.status("/ready")[0] == 200
            except OSError:
                return False

        try:
            wait_until(ready, seconds, "the node is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None

    def stop(self, seconds=60):
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end(seconds)

    def wait_end(self, seconds=60):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the node did not end within {seconds} s:\n{self.log_tail()}") from None
        self.process = None
        return code

    def kill(self):
        """As a crash of the process: SIGKILL."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def signal(self, number):
        self.process.send_signal(number)

    def remove(self):
        leftovers.forget(self)
        if self.process:
            self.kill()
        GIVEN.difference_update(ports_of(self.offset))
        if self.temporary:
            shutil.rmtree(self.temporary, ignore_errors=True)

    # What it says

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_tail(self, lines=40):
        return "\n".join(self.log().splitlines()[-lines:])

    def wait_log(self, pattern, seconds=20, after=0):
        """The first match of `pattern` in the log behind `after` characters."""
        return wait_until(lambda: re.search(pattern, self.log()[after:]), seconds, f"{pattern!r} in the log")

    def status(self, path, method="GET"):
        connection = http.client.HTTPConnection(self.host, self.port(STATUS), timeout=10)
        try:
            with self.reach():
                connection.connect()
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def metric(self, name, **labels):
        """The sum of a metric's samples that have these labels."""
        total, found = 0.0, False
        for line in self.status("/metrics")[1].splitlines():
            match = re.fullmatch(r"([a-zA-Z0-9_:]+)(?:\{(.*)\})? ([0-9.eE+-]+)", line)
            if not match or match[1] != name:
                continue
            sample = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if all(sample.get(label) == value for label, value in labels.items()):
                total, found = total + float(match[3]), True
        assert found, f"no metric {name} {labels}"
        return total

    def queued(self, destination=""):
        """Messages that wait to go to other nodes, or to this one."""
        pattern = r'pigeon_queue_messages\{destination="%s' % (re.escape(destination) + '"' if destination else "")
        lines = self.status("/metrics")[1].splitlines()
        return sum(float(line.split()[-1]) for line in lines if re.match(pattern, line))

    # What it uses

    def memory(self, field):
        """A field of /proc/PID/status in bytes: VmRSS, VmHWM, RssAnon."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1]) * 1024

    def reset_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    # Talking to it

    @staticmethod
    def tls():
        """Quickstart's certificate signs itself: the tests are about the protocol, not about trust."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def connect(self, standard, timeout=30):
        with self.reach():
            return socket.create_connection((self.host, self.port(standard)), timeout)
