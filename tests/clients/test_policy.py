"""What an operator decides in the configuration, seen by a client; and balancers that say who the client is."""

import smtplib
import socket
import ssl
import struct
import unittest

from harness import PASSWORD, Node
from harness.mail import ALICE, BOB, make
from harness.node import BALANCED_IMAP, BALANCED_IMAPS, BALANCED_SMTP, LMTP, SMTP, SUBMISSION
from harness.reading import messages

CONFIGURATION = """
[policy]
greeting_delay = "1s"
sender_must_match = true
delivered_to = false

[limits]
hops_max = 10
refused_recipients_max = 2
idle_commands_max = 12

[[listener]]
address = "127.0.0.1:{smtp}"
service = "smtp"
proxy_protocol_from = ["127.0.0.0/8"]

[[listener]]
address = "127.0.0.1:{imap}"
service = "imap"
proxy_protocol_from = ["127.0.0.0/8"]
trusted_networks = ["203.0.113.0/24"]

[[listener]]
address = "127.0.0.1:{imaps}"
service = "imaps"
proxy_protocol_from = ["127.0.0.0/8"]
"""

VERSION_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(">H", 12)


def decide(node):
    with open(node.directory / "pigeon.toml", "a") as file:
        file.write(CONFIGURATION.format(smtp=node.port(BALANCED_SMTP), imap=node.port(BALANCED_IMAP),
                                        imaps=node.port(BALANCED_IMAPS)))


class Policy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = Node(configure=decide)
        cls.addClassCleanup(cls.node.remove)

    def client(self, port=SMTP, kind=smtplib.SMTP):
        client = kind("127.0.0.1", self.node.port(port), timeout=60)
        self.addCleanup(client.close)
        return client

    def connect(self, port, header):
        connection = socket.create_connection(("127.0.0.1", self.node.port(port)), timeout=60)
        self.addCleanup(connection.close)
        connection.sendall(header)
        return connection, connection.makefile("rb")

    def test_who_speaks_first_is_sent_away(self):
        _, lines = self.connect(SMTP, b"EHLO client.test\r\n")
        self.assertEqual(lines.read(), b"554 5.5.1 you spoke before the greeting\r\n")
        # Submission and LMTP do not watch.
        self.assertEqual(self.client(SUBMISSION).noop()[0], 250)
        self.assertEqual(self.client(LMTP, smtplib.LMTP).noop()[0], 250)

    def test_senders_are_who_they_are(self):
        client = self.client(SUBMISSION)
        client.login(ALICE, PASSWORD)
        self.assertEqual(client.mail(BOB)[0], 553)
        self.assertEqual(client.mail(ALICE)[0], 250)

    def test_copies_do_not_say_to_whom(self):
        self.client().sendmail(BOB, [ALICE], make("policy.delivered"))
        text = next(m for _, _, m in messages(self.node) if b"policy.delivered" in m)
        self.assertTrue(text.startswith(b"Return-Path: <bob@example.org>\r\nReceived: "), text[:200])

    def test_loops_end(self):
        hop = b"Received: from a by b; Mon, 2 Nov 2026 10:00:00 +0000\r\n"
        with self.assertRaises(smtplib.SMTPDataError) as refused:
            self.client().sendmail(BOB, [ALICE], hop * 11 + make("policy.loop"))
        self.assertEqual(refused.exception.smtp_code, 554)
        self.client().sendmail(BOB, [ALICE], hop * 10 + make("policy.hops"))

    def test_sessions_that_only_try_are_closed(self):
        client = self.client()
        client.ehlo()
        client.mail(BOB)
        codes = [client.rcpt(f"nobody{index}@example.org")[0] for index in range(3)]
        self.assertEqual(codes, [550, 550, 550])
        self.assertEqual(client.getreply()[0], 421)
        client = self.client()
        codes = [client.noop()[0] for _ in range(13)]
        self.assertEqual(codes, [250] * 12 + [421])

    def test_a_balancer_says_who_the_client_is(self):
        addresses = socket.inet_aton("203.0.113.7") + socket.inet_aton("192.0.2.1") + struct.pack(">HH", 4321, 25)
        for index, header in enumerate([b"PROXY TCP4 203.0.113.7 192.0.2.1 4321 25\r\n", VERSION_2 + addresses]):
            connection, lines = self.connect(BALANCED_SMTP, header)
            self.assertTrue(lines.readline().startswith(b"220 "))
            message = make(f"policy.balanced.{index}")
            connection.sendall(b"HELO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\n" % ALICE.encode())
            self.assertEqual([lines.readline()[:3] for _ in range(4)], [b"250", b"250", b"250", b"354"])
            connection.sendall(message.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            self.assertTrue(lines.readline().startswith(b"250 "))
            text = next(m for _, _, m in messages(self.node) if b"policy.balanced.%d@" % index in m)
            self.assertIn(b"Received: from client.test ([203.0.113.7])\r\n", text)

    def test_a_handshake_may_come_with_the_header(self):
        for header in [b"PROXY TCP4 203.0.113.7 192.0.2.1 4321 993\r\n", VERSION_2 + bytes(12)]:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = Node.tls().wrap_bio(incoming, outgoing, server_hostname="localhost")
            with self.assertRaises(ssl.SSLWantReadError):
                client.do_handshake()
            # A balancer sends both in one segment.
            connection, _ = self.connect(BALANCED_IMAPS, header + outgoing.read())
            greeting = b""
            while not greeting:
                received = connection.recv(65536)
                self.assertTrue(received, "closed in the handshake")
                incoming.write(received)
                try:
                    client.do_handshake()
                    connection.sendall(outgoing.read())
                    greeting = client.read()
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
            self.assertTrue(greeting.startswith(b"* OK "), greeting)

    def test_without_a_header_nobody_gets_through_where_balancers_are(self):
        for header in [b"EHLO client.test\r\n", b"PROXY TCP4 nonsense\r\n"]:
            _, lines = self.connect(BALANCED_SMTP, header)
            self.assertEqual(lines.read(), b"")

    def test_trust_follows_the_client_not_the_balancer(self):
        for client, expected in [("203.0.113.7", b"a OK "), ("198.51.100.7", b"a NO [PRIVACYREQUIRED]")]:
            connection, lines = self.connect(BALANCED_IMAP, f"PROXY TCP4 {client} 192.0.2.1 4321 143\r\n".encode())
            self.assertTrue(lines.readline().startswith(b"* OK "))
            connection.sendall(f"a LOGIN {ALICE} {PASSWORD}\r\n".encode())
            self.assertTrue(lines.readline().startswith(expected), client)
