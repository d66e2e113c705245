"""Clients that say everything, end their side of the connection, and then read, as `nc -N` does: they get all answers,
whether the mail is on the node that they asked or on another."""

import socket
import ssl
import unittest

from harness import PASSWORD
from harness.cluster import Cluster
from harness.mail import ALICE, BOB, Smtp, make
from harness.node import IMAP, IMAPS, LMTP, POP3

# Beyond what is copied, so that it goes through a pipe where it can.
LARGE = 3 << 20


def ask(node, port, text):
    """What comes back until the end."""
    with socket.create_connection((node.host, node.port(port)), timeout=120) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def ask_by_tls(node, port, text):
    """The same with close_notify and a FIN behind it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = node.tls().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection((node.host, node.port(port)), timeout=120) as connection:
        def step(work):
            """Does it, with what else has to come in for it; `None`: the end."""
            while True:
                try:
                    return work()
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        connection.sendall(outgoing.read())
                    incoming.write(piece) if (piece := connection.recv(1 << 16)) else incoming.write_eof()
                except (ssl.SSLZeroReturnError, ssl.SSLSyscallError):
                    return None

        step(client.do_handshake)
        client.write(text)
        try:
            client.unwrap()
        except ssl.SSLWantReadError:
            # Ours is said; the other's comes at the end.
            pass
        connection.sendall(outgoing.read())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: step(lambda: client.read(1 << 16)), None))


class HalfClose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(["n1", "n2"], {ALICE: "n1", BOB: "n2"})
        cls.addClassCleanup(cls.cluster.remove)
        cls.message = make("large", LARGE)
        sender = Smtp(cls.cluster["n2"], LMTP)
        sender.deliver(cls.message, [BOB])
        sender.quit()

    def each(self):
        """The node that has the mail, and the one that redirects."""
        return [self.cluster["n2"], self.cluster["n1"]]

    def check(self, answers, message):
        self.assertTrue(message in answers, f"{len(answers)} bytes of answers, without the message; {answers[-200:]}")

    def check_imap(self, answers, logout):
        self.check(answers, self.message[-1_000:])
        *_, tagged = answers.rstrip(b"\r\n").split(b"\r\n")
        self.assertTrue(tagged.startswith(b"d OK" if logout else b"c OK"), tagged)

    def test_imap(self):
        for logout in (b"d LOGOUT\r\n", b""):
            text = b"a LOGIN %s %s\r\nb SELECT INBOX\r\nc FETCH 1 BODY.PEEK[]\r\n" % (BOB.encode(), PASSWORD.encode())
            for node in self.each():
                self.check_imap(ask(node, IMAP, text + logout), logout)

    def test_imap_by_tls(self):
        text = b"a LOGIN %s %s\r\nb SELECT INBOX\r\nc FETCH 1 BODY.PEEK[]\r\n" % (BOB.encode(), PASSWORD.encode())
        for node in self.each():
            self.check_imap(ask_by_tls(node, IMAPS, text), b"")

    def test_pop3(self):
        for quit in (b"QUIT\r\n", b""):
            text = b"USER %s\r\nPASS %s\r\nRETR 1\r\nNOOP\r\n" % (BOB.encode(), PASSWORD.encode())
            for node in self.each():
                answers = ask(node, POP3, text + quit)
                self.check(answers, self.message[-1_000:].replace(b"\r\n.", b"\r\n.."))
                # Behind the message: of NOOP, and of QUIT.
                behind = answers.split(b"\r\n.\r\n")[-1].splitlines()
                self.assertEqual([line[:3] for line in behind], [b"+OK"] * (2 if quit else 1))

    def test_mail_that_is_appended_is_kept(self):
        appended = make("appended", 500_000)
        for number, node in enumerate(self.each()):
            mailbox = b"Kept%d" % number
            answers = ask(node, IMAP, b"a LOGIN %s %s\r\nb CREATE %s\r\nc APPEND %s {%d+}\r\n%s\r\nd STATUS %s (MESSAGES)\r\n" % (
                BOB.encode(), PASSWORD.encode(), mailbox, mailbox, len(appended), appended, mailbox))
            self.assertIn(b"MESSAGES 1", answers)


if __name__ == "__main__":
    unittest.main()
