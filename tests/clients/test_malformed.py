"""Bytes that no protocol has, on every port: an error or a close, and the node goes on as before."""

import os
import random
import socket
import unittest

from harness import PASSWORD, Node
from harness.mail import ALICE, BOB, Smtp, digest, make, socket_closed
from harness.node import IMAP, IMAPS, LMTP, POP3, POP3S, PORTS, SMTP, STATUS, SUBMISSION, SUBMISSIONS
from harness.reading import imap, pop3, stored

SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))


def garbage(generator):
    """Lines and blocks of which some are nearly right."""
    words = [b"EHLO", b"MAIL FROM:<", b"RCPT TO:<", b"DATA", b"BDAT", b"LAST", b"AUTH PLAIN", b"STARTTLS", b"USER", b"PASS",
             b"RETR", b"TOP", b"a LOGIN", b"b SELECT", b"c FETCH 1:*", b"(BODY[", b"{99999999999999999999}", b"{10+}", b"\"",
             b"\\", b"GET / HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00", b"PROXY TCP4 1.2.3.4", b"\r\n\r\n\x00\r\nQUIT\n",
             b"((((((((", b"))))", b"%n%s", b"\xff\xfe", b"=", b"*", b"+", b"SEARCH OR OR OR", b"UID", b"4294967296",
             b"18446744073709551616", b"-1", b"0"]
    out = bytearray()
    for _ in range(generator.randrange(1, 60)):
        kind = generator.randrange(6)
        if kind < 3:
            out += generator.choice(words) + generator.choice([b" ", b"", b"\t"])
        elif kind == 3:
            out += generator.randbytes(generator.randrange(1, 300))
        elif kind == 4:
            out += generator.choice([b"\r\n", b"\r\n", b"\n", b"\r", b"\0"])
        else:
            out += bytes([generator.randrange(256)]) * generator.randrange(1, 20_000)
    return bytes(out) + b"\r\n"


class Malformed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = Node()
        cls.addClassCleanup(cls.node.remove)

    def check_alive(self):
        """Everything still works, and nothing has panicked."""
        self.assertIsNone(self.node.process.poll(), self.node.log_tail())
        message = make(f"alive.{random.random()}")
        with Smtp(self.node) as session:
            session.deliver(message)
        self.assertIn(digest(message), stored(self.node)[0].values())
        pop3(self.node, BOB).quit()
        self.assertEqual(self.node.status("/ready")[0], 200)
        self.assertNotIn("panicked", self.node.log(), f"SEED={SEED}")

    def throw(self, standard, data, pieces=1):
        try:
            with self.node.connect(standard, 10) as connection:
                step = max(1, len(data) // pieces)
                for start in range(0, len(data), step):
                    connection.sendall(data[start:start + step])
                connection.shutdown(socket.SHUT_WR)
                self.assertTrue(socket_closed(connection, 30), f"port {standard} SEED={SEED}")
        except OSError:
            # Closed by the node while it was being written to.
            pass

    def test_random_bytes_on_every_port(self):
        generator = random.Random(SEED)
        for standard in PORTS:
            for _ in range(40):
                self.throw(standard, garbage(generator), generator.choice([1, 1, 2, 7]))
        self.check_alive()

    def test_random_bytes_behind_a_login(self):
        generator = random.Random(SEED)
        for standard, login in [
            (IMAP, f"a LOGIN {BOB} {PASSWORD}\r\nb SELECT INBOX\r\n"),
            (POP3, f"USER {BOB}\r\nPASS {PASSWORD}\r\n"),
            (SMTP, f"EHLO x\r\nMAIL FROM:<{BOB}>\r\nRCPT TO:<{BOB}>\r\n"),
            (LMTP, f"LHLO x\r\nMAIL FROM:<{BOB}>\r\nRCPT TO:<{BOB}>\r\nBDAT 10\r\n"),
        ]:
            for _ in range(40):
                self.throw(standard, login.encode() + garbage(generator), generator.choice([1, 2, 7]))
        self.check_alive()

    def test_endless_lines_end(self):
        for standard in [SMTP, LMTP, SUBMISSION, IMAP, POP3, STATUS]:
            with self.subTest(standard), self.node.connect(standard, 20) as connection:
                before = self.node.memory("RssAnon")
                try:
                    for _ in range(1_000):
                        connection.sendall(b"A" * 65_536)
                    self.fail("64 MiB without a line end were taken")
                except (ConnectionError, BrokenPipeError, socket.timeout):
                    pass
                self.assertLess(self.node.memory("RssAnon") - before, 8 << 20)
        self.check_alive()

    def test_too_many_bad_commands_end_a_session(self):
        for standard in [SMTP, LMTP, SUBMISSION, IMAP, POP3]:
            with self.subTest(standard), self.node.connect(standard, 20) as connection:
                try:
                    for _ in range(2_000):
                        connection.sendall(b"x NONSENSE y\r\n")
                except (ConnectionError, BrokenPipeError):
                    pass
                self.assertTrue(socket_closed(connection, 20))
        self.check_alive()

    def test_tls_ports_get_plaintext_and_the_other_way_round(self):
        for standard in [SUBMISSIONS, IMAPS, POP3S]:
            self.throw(standard, b"EHLO test.invalid\r\nNOOP\r\n")
        hello = b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03" + bytes(240)
        for standard in PORTS:
            self.throw(standard, hello)
        self.check_alive()

    def test_commands_behind_starttls_are_not_taken(self):
        for standard, before, line in [
            (SMTP, b"EHLO x\r\n", b"STARTTLS\r\nMAIL FROM:<injected@test.invalid>\r\n"),
            (IMAP, b"", f"a STARTTLS\r\nb LOGIN {ALICE} {PASSWORD}\r\n".encode()),
            (POP3, b"", f"STLS\r\nUSER {ALICE}\r\nPASS {PASSWORD}\r\n".encode()),
        ]:
            with self.subTest(standard), self.node.connect(standard, 10) as connection:
                connection.recv(1000)
                if before:
                    connection.sendall(before)
                    connection.recv(4000)
                connection.sendall(line)
                received = b""
                try:
                    while piece := connection.recv(4000):
                        received += piece
                except ConnectionError:
                    pass
                self.assertLessEqual(received.count(b"\r\n"), 1, received)
        self.check_alive()

    def test_the_status_port_offers_no_writing(self):
        for method in ["POST", "PUT", "DELETE", "PATCH"]:
            self.assertIn(self.node.status("/ready", method)[0], (404, 405))
        self.assertEqual(self.node.status("/no/such/page")[0], 404)
        self.assertEqual(self.node.status("/alive")[0], 200)

    def test_many_connections_from_one_address_leave_room(self):
        connections = []
        try:
            for _ in range(400):
                connections.append(self.node.connect(SMTP, 10))
        except OSError:
            pass
        finally:
            for connection in connections:
                connection.close()
        imap(self.node).logout()
        self.check_alive()
