"""Python's poplib, and POP3 by hand where poplib hides something."""

import poplib
import unittest

from harness import PASSWORD, Node
from harness.mail import ALICE, BOB, Smtp, digest, make, socket_closed, without_trace
from harness.node import POP3, POP3S
from harness.reading import imap, pop3


class Poplib(unittest.TestCase):
    def setUp(self):
        self.node = self.shared
        connection = imap(self.node)
        if connection.select("INBOX")[1] != [b"0"]:
            connection.store("1:*", "+FLAGS", r"(\Deleted)")
            connection.expunge()
        connection.logout()
        self.sent = [make(f"poplib.{index}", 1_000 + 400 * index) for index in range(5)]
        with Smtp(self.node) as session:
            for message in self.sent:
                session.deliver(message)

    @classmethod
    def setUpClass(cls):
        cls.shared = Node()
        cls.addClassCleanup(cls.shared.remove)

    def retrieve(self, client, number):
        return b"\r\n".join(client.retr(number)[1]) + b"\r\n"

    def test_messages_come_whole(self):
        client = pop3(self.node)
        count, octets = client.stat()
        self.assertEqual(count, 5)
        sizes = [int(line.split()[1]) for line in client.list()[1]]
        self.assertEqual(sum(sizes), octets)
        for number, message in enumerate(self.sent, 1):
            got = self.retrieve(client, number)
            self.assertEqual(len(got), sizes[number - 1])
            self.assertEqual(digest(without_trace(got)), digest(message))
        client.quit()

    def test_top_and_uidl(self):
        client = pop3(self.node)
        whole = self.retrieve(client, 3)
        head, body = whole.split(b"\r\n\r\n", 1)
        for lines in [0, 1, 5, 1_000_000]:
            expected = head + b"\r\n\r\n" + b"".join(body.splitlines(keepends=True)[:lines])
            self.assertEqual(b"\r\n".join(client.top(3, lines)[1]) + b"\r\n", expected)
        identities = [line.split()[1] for line in client.uidl()[1]]
        self.assertEqual(len(set(identities)), 5)
        self.assertEqual(client.uidl(2).split()[2], identities[1])
        client.dele(1)
        client.quit()
        client = pop3(self.node)
        self.assertEqual([line.split()[1] for line in client.uidl()[1]], identities[1:])
        client.quit()

    def test_deletions_count_at_quit_alone(self):
        client = pop3(self.node)
        client.dele(1)
        client.dele(2)
        self.assertEqual(client.stat()[0], 3)
        with self.assertRaises(poplib.error_proto):
            client.retr(1)
        client.rset()
        self.assertEqual(client.stat()[0], 5)
        client.dele(3)
        client.close()
        client = pop3(self.node)
        self.assertEqual(client.stat()[0], 5, "closed without QUIT")
        client.dele(3)
        client.quit()
        client = pop3(self.node)
        self.assertEqual(client.stat()[0], 4)
        self.assertEqual(digest(without_trace(self.retrieve(client, 3))), digest(self.sent[3]))
        client.quit()

    def test_one_session_an_account(self):
        first = pop3(self.node)
        with self.assertRaisesRegex(poplib.error_proto, r"\[IN-USE\]"):
            pop3(self.node)
        other = pop3(self.node, BOB)
        other.quit()
        # Who has the answer to QUIT may come again, whatever becomes of the connection.
        first._shortcmd("QUIT")
        pop3(self.node).quit()
        first.close()

    def test_a_message_that_imap_expunged(self):
        client = pop3(self.node)
        connection = imap(self.node)
        connection.select("INBOX")
        connection.store("2", "+FLAGS", r"(\Deleted)")
        connection.expunge()
        with self.assertRaises(poplib.error_proto):
            client.retr(2)
        self.assertEqual(digest(without_trace(self.retrieve(client, 3))), digest(self.sent[2]))
        client.dele(2)
        client.dele(3)
        client.quit()
        self.assertEqual(int(connection.select("INBOX")[1][0]), 3)
        connection.logout()

    def test_retrieving_marks_nothing_read(self):
        client = pop3(self.node)
        client.retr(1)
        client.quit()
        connection = imap(self.node)
        connection.select("INBOX", readonly=True)
        self.assertEqual(connection.search(None, "SEEN"), ("OK", [b""]))
        connection.logout()

    def test_tls_capabilities_and_mechanisms(self):
        client = poplib.POP3("127.0.0.1", self.node.port(POP3), timeout=60)
        capabilities = client.capa()
        for name in ["TOP", "UIDL", "SASL", "STLS", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE", "UTF8"]:
            self.assertIn(name, capabilities)
        self.assertEqual(capabilities["EXPIRE"], ["NEVER"])
        client.stls(self.node.tls())
        self.assertNotIn("STLS", client.capa())
        client.utf8()
        client.user(ALICE)
        client.pass_(PASSWORD)
        self.assertEqual(client.stat()[0], 5)
        client.quit()
        client = poplib.POP3_SSL("127.0.0.1", self.node.port(POP3S), timeout=60, context=self.node.tls())
        client._shortcmd("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHBpZ2Vvbg==")
        self.assertEqual(client.stat()[0], 5)
        client.quit()

    def test_wrong_passwords(self):
        client = poplib.POP3("127.0.0.1", self.node.port(POP3), timeout=60)
        for _ in range(3):
            with self.assertRaisesRegex(poplib.error_proto, r"\[AUTH\]"):
                client.user(ALICE)
                client.pass_("wrong")
        self.assertTrue(socket_closed(client.sock))

    def test_everything_in_one_write(self):
        connection = self.node.connect(POP3)
        connection.sendall(f"USER {ALICE}\r\nPASS {PASSWORD}\r\nSTAT\r\nUIDL 1\r\nRETR 1\r\nNOOP\r\nQUIT\r\n".encode())
        received = b""
        while piece := connection.recv(65536):
            received += piece
        lines = received.split(b"\r\n")
        self.assertTrue(all(line.startswith(b"+OK") for line in lines[:6]), lines[:6])
        self.assertTrue(received.endswith(b"\r\n.\r\n+OK\r\n+OK Bye\r\n"), received[-60:])
