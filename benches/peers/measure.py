"""The measurements: the same load on each server in turn, and what the server's processes used meanwhile."""

import json
import os
import pathlib
import resource
import smtplib
import statistics
import subprocess
import tempfile
import time

from beside import cpu_seconds, kernel_seconds, memory, say, tree
from harness.needs import program
from harness.node import wait_until
from servers import ADDRESSES, BULK, DOMAIN, PASSWORD, READ, WAITING, WRITERS, WRITTEN

# What may happen to a server that is never ready.
LOAD_SECONDS = 300
ARRIVAL_SECONDS = 120
# It rests when it uses less than so much of one CPU for so long; and it is not waited for longer.
REST_SHARE, REST_SECONDS, REST_SECONDS_MAX = 0.04, 0.5, 20
SESSIONS = 50
MESSAGE_BYTES = 4096
READER_MESSAGES = 10
LINE = "A line of a message that is fetched, of sixty-four bytes in all.\r\n"
GIB = 1 << 30
# Calls that wait for a disk.
SYNCS = "fsync,fdatasync,sync,syncfs,sync_file_range,msync,pwritev2"

# By the name of each row: its title, and the protocols that a server must speak.
ROWS = {
    "smtp": ("4-KiB messages by SMTP, 50 sessions", "smtp"),
    "lmtp": ("4-KiB messages by LMTP, 50 sessions", "lmtp"),
    "imap": ("IMAP login, SELECT, FETCH of 4 KiB, LOGOUT, 50 sessions", "imap"),
    "pop3": ("POP3 login, LIST, RETR of 4 KiB, QUIT, 50 sessions", "pop3"),
    "bulk-16": ("IMAP FETCH of 16 MiB in 16-KiB messages", "imap"),
    "bulk-16-tls": ("IMAP FETCH of 16 MiB in 16-KiB messages over TLS", "imaps"),
    "bulk-1024": ("IMAP FETCH of 16 MiB in 1-MiB messages", "imap"),
    "bulk-1024-tls": ("IMAP FETCH of 16 MiB in 1-MiB messages over TLS", "imaps"),
    "bulk-large-16": ("IMAP FETCH of 64 MiB in 16-KiB messages: more than the node's cache, less than the kernel's", "imap"),
    "idle": ("IMAP sessions that have logged in and wait in IDLE", "imap"),
}


def takes(server, row):
    """Whether this is measured of it."""
    return ROWS[row][1] in server.speaks and (server.rows is None or row in server.rows)


def busy_seconds():
    """Of all CPUs, in user code and system calls; interrupts are nobody's."""
    fields = pathlib.Path("/proc/stat").read_text().split()
    return sum(int(field) for field in fields[1:4]) / os.sysconf("SC_CLK_TCK")


class Usage:
    """What a server, the generator, the kernel's own threads and everybody else on the machine use of the CPUs."""

    def __init__(self, server):
        self.server = server
        self.began, self.before = time.monotonic(), self.now()

    def now(self):
        children, own = (resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))
        return (cpu_seconds(self.server.pids()), children.ru_utime + children.ru_stime, own.ru_utime + own.ru_stime,
                kernel_seconds(), busy_seconds())

    def end(self):
        server, generator, own, kernel, busy = (after - before for before, after in zip(self.before, self.now()))
        took = time.monotonic() - self.began
        return {"server_cpu_s": server, "generator_cpu_s": generator, "seconds": took,
                # Those that have ended since are counted no more.
                "kernel_cpu_s": max(0.0, kernel),
                # Of one CPU.
                "others": max(0.0, busy - server - generator - own - max(0.0, kernel)) / took}


class Bench:
    """`results`: by row and server, the measurements of all rounds."""

    def __init__(self, program, quick, failures):
        self.program, self.quick, self.failures = program, quick, failures
        self.results = {}

    # The generator

    def load(self, *words, tries=LOAD_SECONDS):
        with tempfile.NamedTemporaryFile(suffix=".json") as summary:
            words = [self.program, "--quiet", "--json", summary.name, *map(str, words)]
            done = subprocess.run(words, capture_output=True, text=True, timeout=tries)
            try:
                return json.load(open(summary.name))
            except ValueError:
                raise AssertionError(f"{' '.join(words)}: {done.stderr or done.stdout}") from None

    def send(self, server, protocol, users, count, size, sessions=SESSIONS):
        """All of them, and only then it returns."""
        summary = self.load(protocol, "--target", f"127.0.0.1:{server.ports[protocol]}", "--user", users, "--count", count,
                            "--sessions", sessions, "--duration", "10m", "--size", size)
        assert summary["failed"] == 0 and summary["done"] == count, f"{summary['done']} of {count} done: {summary['failures']}"
        wait_until(server.arrived, ARRIVAL_SECONDS, "all that was acknowledged is delivered")

    def rest(self, server):
        """What a server does later belongs to what caused it, and not into another's turn; nor does what the disk has still to
        take of it."""
        os.sync()
        until = time.monotonic() + REST_SECONDS_MAX
        used = cpu_seconds(server.pids())
        while time.monotonic() < until:
            time.sleep(REST_SECONDS)
            before, used = used, cpu_seconds(server.pids())
            if used - before < REST_SHARE * REST_SECONDS:
                return

    # What is measured

    def fill(self, server, rows):
        """What these rows read later; it warms up, too. One message after the other, because several at once make some servers
        refuse an account's first."""
        protocol, many = "lmtp" if "lmtp" in server.speaks else "smtp", 1 if self.quick else READER_MESSAGES
        with (smtplib.LMTP if protocol == "lmtp" else smtplib.SMTP)("127.0.0.1", server.ports[protocol], timeout=60) as client:
            for address in ADDRESSES if "imap" in server.speaks else ADDRESSES[:WRITERS]:
                for number in range(many if address.startswith("reader") else 1):
                    header = f"From: a@sender.example\r\nTo: {address}\r\nSubject: {number}\r\n\r\n"
                    client.sendmail("a@sender.example", [address], header + LINE * ((MESSAGE_BYTES - len(header)) // len(LINE)))
        wait_until(server.arrived, ARRIVAL_SECONDS, "all that was acknowledged is delivered")
        self.send(server, protocol, WRITTEN, 500, MESSAGE_BYTES)
        for row in dict.fromkeys(row.removesuffix("-tls") for row in rows if row.startswith("bulk") and takes(server, row)):
            size, total, user = BULK[row]
            self.send(server, protocol, user, total // size, size, sessions=1)

    def mail(self, server, protocol):
        count = server.messages // 5 if self.quick else server.messages
        usage = Usage(server)
        self.send(server, protocol, WRITTEN, count, MESSAGE_BYTES)
        took = time.monotonic() - usage.began
        self.rest(server)
        used = usage.end()
        return {"per_second": count / took, "cpu_ms": 1000 * used["server_cpu_s"] / count,
                "kernel_each": 1000 * used["kernel_cpu_s"] / count, **used}

    def sessions(self, server, protocol):
        words = ["imap", "--work", "fetch"] if protocol == "imap" else ["pop3"]
        usage = Usage(server)
        summary = self.load(*words, "--target", f"127.0.0.1:{server.ports[protocol]}", "--user", READ, "--password", PASSWORD,
                            "--sessions", SESSIONS, "--duration", "1s" if self.quick else "4s")
        self.rest(server)
        used = usage.end()
        tried = summary["done"] + summary["failed"]
        # A few may find their mailbox still locked by the session before.
        assert summary["failed"] * 100 <= tried and summary["done"], f"{summary['failed']} of {tried} failed: {summary['failures']}"
        return {"per_second": summary["per_second"], "cpu_ms": 1000 * used["server_cpu_s"] / tried,
                "kernel_each": 1000 * used["kernel_cpu_s"] / tried, "failed": summary["failed"], **used}

    def bulk(self, server, user, protocol):
        words = ["imap", "--work", "bulk", "--target", f"127.0.0.1:{server.ports[protocol]}", "--user", user, "--password", PASSWORD,
                 "--sessions", 1, *(["--tls", "implicit"] if protocol == "imaps" else [])]
        # Into everybody's cache, from which the rows before it may have driven it.
        self.load(*words, "--count", 1, "--duration", "1m")
        usage = Usage(server)
        summary = self.load(*words, "--duration", "1s" if self.quick else "3s")
        self.rest(server)
        used = usage.end()
        assert summary["failed"] == 0 and summary["message_bytes"], f"failed: {summary['failures']}"
        gib = summary["message_bytes"] / GIB
        return {"cpu_s_per_gib": used["server_cpu_s"] / gib, "mib_per_second": gib * 1024 / summary["seconds"],
                "kernel_each": used["kernel_cpu_s"] / gib, **used}

    def idle(self, server):
        """What the sessions add to the memory of the server's processes, what is shared by several counted once. Each has an
        account of its own."""
        sessions = server.idle_sessions // 5 if self.quick else server.idle_sessions
        words = [self.program, "--quiet", "idle", "--target", f"127.0.0.1:{server.ports['imap']}", "--user", f"{WAITING}{{1..{sessions}}}@{DOMAIN}",
                 "--password", PASSWORD]
        # Once before, for what is made at the first use.
        self.load(*words[2:], "--sessions", 20, "--duration", "100ms")
        self.rest(server)
        before, usage, seconds = memory(server.pids()), Usage(server), 5 if self.quick else 10
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen([*words, "--sessions", str(sessions), "--duration", f"{seconds}s"], stdout=output,
                                       stderr=output, text=True)
            samples = []
            try:
                until = time.monotonic() + LOAD_SECONDS
                while process.poll() is None:
                    assert time.monotonic() < until, "the sessions do not end"
                    samples.append((time.monotonic(), memory(server.pids())))
                    time.sleep(0.3)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            ended = time.monotonic()
            output.seek(0)
            said = output.read()
        assert f"{sessions} done" in said, said
        # While all of them wait: from half of that time on, until shortly before its end.
        held = [size for moment, size in samples if ended - seconds / 2 < moment < ended - 0.8]
        assert held, f"no sample while all of them waited, of {len(samples)}"
        return {"kib_a_session": (statistics.median(held) - before) / sessions / 1024, "sessions": sessions, **usage.end()}

    def row(self, name, server):
        if name in ("smtp", "lmtp"):
            return self.mail(server, name)
        if name in ("imap", "pop3"):
            return self.sessions(server, name)
        if name == "idle":
            return self.idle(server)
        return self.bulk(server, BULK[name.removesuffix("-tls")][2], ROWS[name][1])

    def measure(self, name, server, number=0):
        """One row of one server, once, in round `number`."""
        values = self.failures.attempt(ROWS[name][0], server, lambda: self.row(name, server))
        if values is None:
            return
        self.results.setdefault(name, {}).setdefault(server.name, []).append({"round": number, **values})
        shown = ", ".join(f"{key} {value:,.4g}" for key, value in values.items())
        say(f"  {ROWS[name][0]}: {server.name}: {shown}")

    def syncs(self, server):
        """Calls a message that wait for the disk, one session with one message after the other; `None`: nobody can tell."""
        strace, count = program("strace"), 20
        if not server.is_peer:
            messages, writes = self.told(server)
            self.send(server, "lmtp", WRITTEN, count, MESSAGE_BYTES, sessions=1)
            return (self.told(server, messages + count)[1] - writes) / count
        if not strace:
            return None
        with tempfile.NamedTemporaryFile("r", suffix=".strace") as found:
            processes = [word for pid in tree(server.pids()) for word in ("-p", str(pid))]
            tracer = subprocess.Popen([strace, "-f", "-qq", "-o", found.name, "-e", f"trace={SYNCS}", *processes],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                wait_until(lambda: traced(server.pids(), tracer), 20, "strace has attached")
                self.send(server, "lmtp" if "lmtp" in server.speaks else "smtp", WRITTEN, count, MESSAGE_BYTES, sessions=1)
            finally:
                tracer.terminate()
                tracer.wait(30)
            return sum("(" in line for line in found.read().splitlines()) / count

    @staticmethod
    def told(server, messages=0):
        """What it has written, at least so many messages, when that does not change any more: the cores tell it every second."""
        found = []

        def is_same():
            time.sleep(0.3)
            found.append(server.written())
            return found[-1][0] >= messages and found[-5:].count(found[-1]) == 5

        wait_until(is_same, 60, "the node has counted what it took, and rests")
        return found[-1]


def traced(pids, tracer):
    assert tracer.poll() is None, "strace cannot attach"
    return all(f"TracerPid:\t{tracer.pid}" in pathlib.Path(f"/proc/{pid}/status").read_text() for pid in pids)
