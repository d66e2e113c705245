"""The load generator against servers that talk nonsense: every unit is counted by what went wrong with it, in time, and nothing
hangs or panics."""

import contextlib
import itertools
import random
import socket
import subprocess
import threading
import unittest

from harness.load import load

GREETING = {"smtp": b"220 x\r\n", "lmtp": b"220 x\r\n", "imap": b"* OK x\r\n", "pop3": b"+OK x\r\n"}


def noise(count=4_000):
    """Of every octet, with line ends in it, the same at each run."""
    generator = random.Random(count)
    return b"".join(bytes(generator.randbytes(generator.randrange(90))) + b"\r\n" for _ in range(count // 45))


class Nonsense:
    """A server that says these pieces, one after the other, whatever it hears: a piece when the client has said something; those
    that are iterators without end."""

    def __init__(self, *pieces, closes=False):
        self.pieces, self.closes = pieces, closes
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            for number, piece in enumerate(self.pieces):
                if number and not connection.recv(1 << 16):
                    return
                for part in [piece] if isinstance(piece, bytes) else piece():
                    connection.sendall(part)
            while not self.closes and connection.recv(1 << 16):
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def endless(piece, first=b""):
    return lambda: itertools.chain([first], itertools.repeat(piece * 500))


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
        for size, kind in [(2**64 - 1, "closed by the server"), (10**30, "not understood")]:
            piece = b"* 1 FETCH (BODY[] {%d}\r\n" % size + noise()
            words = ["imap", *self.reading, *self.amount]
            self.assertEqual(self.failures(words, b"* OK\r\n", b"a1 OK\r\n", b"* 1 EXISTS\r\na2 OK\r\n", piece, closes=True), {kind: 3})

    def test_a_server_that_hangs_up(self):
        for protocol, words in self.works():
            for pieces in [[b""], [GREETING[protocol][:2]], [GREETING[protocol], b"x"]]:
                self.assertEqual(self.failures(words, *pieces, closes=True), {"closed by the server": 3}, (words, pieces))

    def test_a_session_that_is_ended_while_it_is_held(self):
        for work in ("idle", "storm"):
            words = [work, *self.reading, "--silent", "--sessions", 3, "--duration", "3s"]
            self.assertEqual(self.failures(words, GREETING["imap"], closes=True), {"closed by the server": 3}, words)

    def test_sessions_that_cannot_be_opened_come_to_an_end(self):
        with Nonsense(noise()) as server:
            summary = load("idle", *self.reading, "--sessions", 5_000, "--duration", "1ms", "--target", server.address, code=1)
        # 10 of each core, however many there are.
        self.assertEqual((summary["failed"] % 10, summary["failed"] + summary["never_begun"]), (0, 5_000), summary)
        self.assertGreater(summary["never_begun"], 0, summary)

    def test_a_server_process_that_is_gone_at_the_end(self):
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
            def ends():
                process.stdin.close()
                process.wait()
                yield b"* OK x\r\n"
            with Nonsense(ends) as server:
                summary = load("idle", *self.reading, "--silent", "--sessions", 1, "--duration", "100ms", "--target", server.address,
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
