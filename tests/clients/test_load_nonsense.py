"""The load generator against servers that talk nonsense: every unit is counted by what went wrong with it, in time, and nothing
hangs or panics."""

import contextlib
import itertools
import json
import os
import pathlib
import random
import socket
import subprocess
import tempfile
import threading
import unittest

from harness.load import Server, load, pigeon_load
from harness.node import free_port, wait_until

GREETING = {"smtp": b"220 x\r\n", "lmtp": b"220 x\r\n", "imap": b"* OK x\r\n", "pop3": b"+OK x\r\n"}


def noise(count=4_000):
    """Of every octet, with line ends in it, the same at each run."""
    generator = random.Random(count)
    return b"".join(bytes(generator.randbytes(generator.randrange(90))) + b"\r\n" for _ in range(count // 45))


class Nonsense(Server):
    """A server that says these pieces, one after the other, whatever it hears: a piece when the client has said something; those
    that are iterators without end."""

    def __init__(self, *pieces, closes=False):
        self.pieces, self.closes = pieces, closes
        super().__init__()

    def serve(self, connection):
        for number, piece in enumerate(self.pieces):
            if number and not connection.recv(1 << 16):
                return
            for part in [piece] if isinstance(piece, bytes) else piece():
                connection.sendall(part)
        while not self.closes and connection.recv(1 << 16):
            pass


def endless(piece, first=b""):
    return lambda: itertools.chain([first], itertools.repeat(piece * 500))


class Held(Server):
    """Greets, and then waits: which connections have begun and ended, in their order."""

    def __init__(self):
        self.begun, self.ended, self.lock = 0, [], threading.Lock()
        super().__init__()

    def serve(self, connection):
        with self.lock:
            number, self.begun = self.begun, self.begun + 1
        try:
            connection.sendall(b"* OK x\r\n")
            connection.recv(1)
        finally:
            self.ended.append(number)


class Mailboxes(Server):
    """IMAP, of accounts without a message: who has logged in, in their order."""

    def __init__(self):
        self.logins = []
        super().__init__()

    def serve(self, connection):
        connection.sendall(b"* OK\r\n")
        for line in connection.makefile("rb"):
            tag, verb = line.split()[:2]
            if verb == b"LOGIN":
                self.logins.append(line.split()[2])
            connection.sendall({b"SELECT": b"* 0 EXISTS\r\n"}.get(verb, b"") + tag + b" OK\r\n")
            if verb == b"LOGOUT":
                return


class Full(Server):
    """SMTP, with long answers to EHLO, until one cannot be sent; none for the work, which waits."""

    def __init__(self):
        self.full = threading.Event()
        super().__init__()
        # Of all that it accepts: what the kernel takes for it, which else grows to megabytes.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)

    def serve(self, connection):
        connection.sendall(b"220 x\r\n")
        with contextlib.suppress(TimeoutError):
            for line in connection.makefile("rb"):
                if b"load.invalid" in line:
                    continue
                # Whoever reads is faster.
                connection.settimeout(0.1)
                connection.sendall(b"250-%s\r\n250 x\r\n" % (b"x" * 200) if line.startswith(b"EHLO") else b"250 x\r\n")
                connection.settimeout(None)
            return
        self.full.set()


class Stages(Server):
    """SMTP that refuses nobody but the last, which is the work's: what each of the others had said when it left. `tls`: it agrees to
    STARTTLS, and then listens."""

    def __init__(self, tls=False):
        self.tls, self.said = tls, []
        super().__init__()

    def serve(self, connection):
        said, body = b"", False
        connection.sendall(b"220 x\r\n")
        try:
            while piece := connection.recv(1 << 16):
                said += piece
                if self.tls and b"STARTTLS\r\n" in said:
                    if piece.endswith(b"STARTTLS\r\n"):
                        connection.sendall(b"220 x\r\n")
                    continue
                body = body or piece == b"DATA\r\n"
                if piece.endswith(b"\r\n") and (not body or piece == b"DATA\r\n") and b"LAST" not in piece and b"load.invalid" not in said:
                    connection.sendall(b"354 x\r\n" if body else b"250 x\r\n")
        finally:
            self.said.append(said)


class LoadOnNonsense(unittest.TestCase):
    users = ["--user", "alice@example.org"]
    reading = [*users, "--password", "x"]
    amount = ["--count", 3, "--sessions", 3, "--duration", "60s"]

    def works(self):
        """By protocol: what is asked of the generator."""
        yield "smtp", ["smtp", *self.users, *self.amount]
        yield "smtp", ["smtp", *self.users, *self.amount, "--bdat", "--no-pipelining"]
        yield "lmtp", ["lmtp", *self.users, *self.amount]
        yield "pop3", ["pop3", *self.reading, *self.amount]
        for work in ("fetch", "bulk", "append", "flags", "sync"):
            yield "imap", ["imap", "--work", work, *self.reading, *self.amount]
        yield "imap", ["imap", "--work", "idle", "--idle-time", "10ms", *self.reading, *self.amount]
        yield "imap", ["idle", *self.reading, "--sessions", 3, "--duration", "1ms"]

    def failures(self, words, *pieces, **options):
        with Nonsense(*pieces, **options) as server:
            summary = load(*words, "--target", server.address, code=1)
        self.assertEqual((summary["done"], summary["failed"]), (0, 3), (words, summary))
        return summary["failures"]

    def test_noise_for_a_greeting(self):
        for _, words in self.works():
            self.assertEqual(self.failures(words, noise()), {"not understood": 3}, words)

    def test_noise_for_an_answer(self):
        for protocol, words in self.works():
            self.assertEqual(self.failures(words, GREETING[protocol], noise()), {"not understood": 3}, words)

    def test_noise_later_on(self):
        yes = {"imap": [b"a1 OK\r\n", b"* 2 EXISTS\r\n* OK [UIDNEXT 9] x\r\na2 OK\r\n"], "pop3": [b"+OK\r\n", b"+OK\r\n"],
               "smtp": [b"250 CHUNKING\r\n"], "lmtp": [b"250 CHUNKING\r\n"]}
        for protocol, words in self.works():
            self.assertEqual(self.failures(words, GREETING[protocol], *yes[protocol], noise()), {"not understood": 3}, words)

    def test_a_line_without_an_end(self):
        for protocol, words in self.works():
            self.assertEqual(self.failures(words, GREETING[protocol], endless(b"a1 2")), {"not understood": 3}, words)

    def test_an_answer_without_an_end(self):
        """There is always something to read, and the time for the unit is over nonetheless."""
        for words, *pieces in [(["smtp", *self.users], GREETING["smtp"], endless(b"250-x\r\n")),
                               (["imap", *self.reading], GREETING["imap"], endless(b"* 1 EXISTS\r\n")),
                               (["pop3", *self.reading], *[b"+OK\r\n"] * 3, endless(b"1 1\r\n", b"+OK\r\n"))]:
            self.assertEqual(self.failures([*words, *self.amount, "--timeout", "1s"], *pieces), {"timed out": 3}, words)

    def test_literals_that_no_memory_holds(self):
        for first in (b"", b"BODY[HEADER] {5}\r\nxxxxx "):
            for size in (2**31 + 1, 2**64 - 1, 10**30):
                piece = b"* 1 FETCH (" + first + b"BODY[] {%d}\r\n" % size + noise()
                words = ["imap", *self.reading, *self.amount]
                pieces = [b"* OK\r\n", b"a1 OK\r\n", b"* 1 EXISTS\r\na2 OK\r\n", piece]
                self.assertEqual(self.failures(words, *pieces, closes=True), {"not understood": 3}, (first, size))

    def test_a_server_that_hangs_up(self):
        for protocol, words in self.works():
            for pieces in [[b""], [GREETING[protocol][:2]], [GREETING[protocol], b"x"]]:
                self.assertEqual(self.failures(words, *pieces, closes=True), {"closed by the server": 3}, (words, pieces))

    def test_a_session_that_is_ended_while_it_is_held(self):
        words = ["idle", "--silent", "--sessions", 3, "--duration", "3s"]
        self.assertEqual(self.failures(words, GREETING["imap"], closes=True), {"closed by the server": 3})
        with Nonsense(GREETING["imap"], closes=True) as server:
            summary = load("storm", *words[1:-1], "1500ms", "--target", server.address, code=1)
        # Before the drop, and after it.
        self.assertEqual((summary["done"], summary["failures"]), (0, {"closed by the server": 6}), summary)
        self.assertEqual([round["opened"] for round in summary["rounds"]], [0])

    def test_what_is_waited_in_idle_is_no_latency(self):
        pieces = [b"* OK\r\n", b"a1 OK\r\n", b"a2 OK\r\n", b"+ x\r\n* 5 EXISTS\r\n", b"a3 OK\r\n", b"a4 OK\r\n"]
        with Nonsense(*pieces, closes=True) as server:
            done = load("imap", "--work", "idle", "--idle-time", "3s", *self.reading, "--target", server.address, "--count", 5,
                        "--sessions", 5, "--duration", "60s")
            cut = load("imap", "--work", "idle", "--idle-time", "1h", *self.reading, "--target", server.address, "--count", 5,
                       "--sessions", 5, "--duration", "500ms")
        self.assertEqual((done["done"], cut["done"], done["failed"] + cut["failed"]), (5, 5, 0), (done, cut))
        self.assertGreater(done["seconds"], 3)
        self.assertLess(done["latency_ms"]["p50"], 2_900)
        # The end of the run ends it.
        self.assertLess(cut["seconds"], 600)

    def test_a_server_that_ends_no_connection_costs_no_latency(self):
        with Nonsense(b"* OK\r\n", b"a1 OK\r\n", b"a2 OK\r\n") as server:
            done = load("imap", "--work", "login", *self.reading, "--target", server.address, "--count", 40, "--sessions", 1,
                        "--duration", "60s")
        self.assertEqual((done["done"], done["failed"]), (40, 0))
        # It would be a quarter of a second.
        self.assertLess(done["latency_ms"]["p50"], 240)

    def test_a_storm_drops_all_and_opens_all_again(self):
        with Held() as server:
            summary = load("storm", "--silent", "--sessions", 50, "--duration", "1s", "--rounds", 2, "--target",
                           server.address)
            wait_until(lambda: len(server.ended) == 150, 20, "all are gone")
        self.assertEqual((summary["done"], [round["opened"] for round in summary["rounds"]]), (100, [50, 50]), summary)
        for first in (0, 50, 100):
            self.assertEqual(set(server.ended[first : first + 50]), set(range(first, first + 50)))

    def test_sessions_that_cannot_be_opened_come_to_an_end(self):
        with Nonsense(noise()) as server:
            summary = load("idle", *self.reading, "--sessions", 5_000, "--duration", "1ms", "--target", server.address, code=1)
        self.assertEqual(summary["failed"] + summary["never_begun"], 5_000, summary)
        self.assertGreater(summary["never_begun"], 0, summary)
        self.assertGreaterEqual(summary["failed"], 10, summary)

    def test_a_server_process_that_is_gone_at_the_end(self):
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
            def ends():
                process.stdin.close()
                process.wait()
                yield b"* OK x\r\n"
            with Nonsense(ends) as server:
                summary = load("idle", "--silent", "--sessions", 1, "--duration", "100ms", "--target", server.address,
                               "--server-pid", process.pid, code=1)
        self.assertEqual((summary["done"], summary["failed"]), (1, 0), summary)
        self.assertIn(f"--server-pid {process.pid}", summary["server_gone"])
        self.assertIsNone(summary["server_cpu_us_per_unit"])

    def test_what_no_session_is_free_for(self):
        """After each failure a session pauses, so that two of them cannot do 200 a second."""
        with Nonsense(noise()) as server:
            summary = load("smtp", *self.users, "--target", server.address, "--sessions", 2, "--rate", 200, "--duration", "2s", code=1)
        self.assertEqual(summary["failed"] + summary["never_begun"], 400, summary)
        self.assertGreater(summary["never_begun"], 200, summary)

    def test_no_tls(self):
        for protocol, words in self.works():
            pieces = [noise()]
            self.assertEqual(self.failures([*words, "--tls", "implicit"], *pieces), {"no TLS": 3}, words)

    def test_what_cannot_be_read_back(self):
        sink = [b"220 x\r\n", b"250 x\r\n", b"250 x\r\n250 x\r\n354 x\r\n", b"250 x\r\n", b"221 x\r\n"]
        for pieces, kind, closes in [([noise()], "not understood", False), ([b"* OK\r\n", b"a1 NO\r\n"], "refused", False),
                                     ([b"* OK\r\n", b"a1 OK\r\n", b"* 3 EXISTS\r\na2 OK\r\n", b"a3 OK\r\n"], "not understood", False),
                                     ([b"* OK\r\n", endless(b"* x\r\n")], "timed out", False),
                                     ([b"* OK\r\n"], "closed by the server", True)]:
            with Nonsense(*sink) as target, Nonsense(*pieces, closes=closes) as read:
                summary = load("verify", "--target", target.address, "--read", read.address, *self.reading, "--count", 1,
                               "--sessions", 1, "--timeout", "2s", "--patience", "100ms", "--settle", "1ms", code=1)
            self.assertEqual(summary["verify"]["unread"], {"alice@example.org": kind}, summary)

    def test_messages_that_no_memory_holds_are_changed_ones(self):
        """Of a message without an end no more is kept than was sent, and it is found as one that was changed."""
        sink = [b"220 x\r\n", b"250 x\r\n", b"250 x\r\n250 x\r\n354 x\r\n", b"250 x\r\n", b"221 x\r\n"]
        header, pad = b"X: y\r\nMessage-ID: <0.5@load.invalid>\r\n\r\n", b"x" * 64_000
        pieces = 2_000
        size = len(header) + pieces * len(pad)
        processes, peaks = [], []

        def message():
            yield b"* 1 FETCH (BODY[] {%d}\r\n" % size + header
            yield from itertools.repeat(pad, pieces)
            # All but what the sockets hold is taken. What a parent had when it began a process counts to ru_maxrss, not to this.
            status = pathlib.Path(f"/proc/{processes[0].pid}/status").read_text()
            peaks.append(int(status.split("VmHWM:")[1].split()[0]))
            yield b")\r\na3 OK\r\n"
        reading = [b"* OK\r\n", b"a1 OK\r\n", b"* 1 EXISTS\r\na2 OK\r\n", message, b"a4 OK\r\n"]
        with Nonsense(*sink) as target, Nonsense(*reading) as read, tempfile.NamedTemporaryFile("r") as found:
            words = ["verify", "--target", target.address, "--read", read.address, *self.reading, "--count", 1, "--sessions", 1,
                     "--seed", 5, "--settle", "1ms", "--json", found.name,
                     # Each core has buffers of its own.
                     "--cores", min(os.sched_getaffinity(0))]
            process = subprocess.Popen([pigeon_load(), "--quiet", *map(str, words)], stdout=subprocess.DEVNULL)
            processes.append(process)
            process.wait(120)
            summary = json.loads(found.read())
        self.assertEqual((process.returncode, summary["verify"]["changed"], summary["verify"]["lost"]), (1, [0], []), summary)
        # KiB. The message has 125,000 of them; what the generator has anyway is about 24,000.
        self.assertEqual(len(peaks), 2)
        self.assertLess(max(peaks), 80_000)

    def test_a_mailbox_that_has_no_end(self):
        sink = [b"220 x\r\n", b"250 x\r\n", b"250 x\r\n250 x\r\n354 x\r\n", b"250 x\r\n", b"221 x\r\n"]
        with Nonsense(*sink) as target, Nonsense(b"* OK\r\n", b"a1 OK\r\n", b"* 4294967295 EXISTS\r\na2 OK\r\n") as read:
            summary = load("verify", "--target", target.address, "--read", read.address, *self.reading, "--count", 1,
                           "--sessions", 1, "--patience", "1ms", "--settle", "1ms", code=1)
        self.assertEqual(summary["verify"]["unread"], {"alice@example.org": "not understood"}, summary)

    def test_accounts_are_settled_together(self):
        """The last look at the first of them comes when all have been looked at."""
        sink = [b"220 x\r\n", b"250 x\r\n", b"250 x\r\n250 x\r\n354 x\r\n", b"250 x\r\n", b"221 x\r\n"]
        accounts = 100
        with Nonsense(*sink) as target, Mailboxes() as read:
            load("verify", "--target", target.address, "--read", read.address, "--user", "u{1..%d}" % accounts, "--password", "x",
                 "--count", accounts, "--sessions", accounts, "--patience", "0s", "--settle", "1ms", code=1)
        self.assertEqual(len(set(read.logins[:accounts])), accounts, read.logins)
        self.assertEqual(len(read.logins), 2 * accounts)

    def test_who_comes_to_no_session_has_not_misbehaved(self):
        kinds = ("slow-reader", "abort", "half-open", "garbage")
        faults = [word for kind in kinds for word in ("--fault", f"{kind}=1")]
        words = [*self.reading, "--work", "login", "--count", 20, "--sessions", 1, *faults]
        nobody = load("imap", "--target", f"127.0.0.1:{free_port()}", *words, code=1)
        self.assertEqual(nobody["faults"], dict.fromkeys(kinds, 0))
        self.assertTrue(all(nobody["faults_not_begun"][kind] > 0 for kind in kinds), nobody)
        # There are sessions, and no login.
        with Nonsense(b"* OK\r\n", b"f1 NO\r\n") as server:
            refused = load("imap", "--target", server.address, *words, code=1)
        self.assertEqual(refused["faults"]["slow-reader"], 0)
        self.assertGreater(refused["faults_not_begun"]["slow-reader"], 0)
        # Counted when it begins, which is long before its end.
        self.assertEqual((refused["faults"]["half-open"], refused["faults_not_begun"]["half-open"]), (1, 0))

    def test_a_slow_reader_is_felt(self):
        """The server comes to a point where it can write no more."""
        with Full() as server:
            load("smtp", *self.users, "--target", server.address, "--count", 1, "--sessions", 1, "--duration", "20s",
                 "--timeout", "5s", "--fault", "slow-reader=1", code=1)
        self.assertTrue(server.full.is_set())

    def test_a_client_breaks_off_at_every_stage(self):
        """What it said last, in the clear and to a server that begins TLS and hears no end of it."""
        with Stages() as server:
            load("smtp", *self.users, "--target", server.address, "--count", 1, "--sessions", 1, "--duration", "30s", "--fault",
                 "abort=16", "--timeout", "3s", code=1)
        user, said = b"alice@example.org", set(server.said)
        for end in [b"", b"EHLO fault", b"DATA\r\n", b"QUIT\r\n", b"RCPT TO:<" + user + b">\r\nDAT", b"BDAT 22\r\nSubject: never whole\r\n",
                    b"It ends in the middle of\r\n", b"LAST\r\nSubject: never whole\r\n\r\nIt ends in the middle of\r\n"]:
            self.assertTrue(any(text.endswith(end) if end else not text for text in said), (end, said))
        with Stages(tls=True) as server:
            load("smtp", *self.users, "--target", server.address, "--count", 1, "--sessions", 1, "--duration", "30s", "--fault",
                 "abort=16", "--timeout", "3s", "--tls", "starttls", code=1)
        behind = {text.partition(b"STARTTLS\r\n")[2][:1000] for text in server.said}
        self.assertTrue({b""} < behind and any(len(text) < 20 and text for text in behind) and any(len(text) > 100 for text in behind),
                        behind)
