"""A node in front of a real Cyrus: it logs in there as node, for the user, and brings mail by LMTP."""

import imaplib
import poplib
import secrets
import unittest

from harness import Node
from harness.cyrus import Cyrus
from harness.foreign import in_front_of
from harness.mail import ALICE, BOB, Refused, Smtp, make
from harness.node import wait_until
from harness.reading import imap, messages, pop3


class CyrusBackend(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        key = secrets.token_hex(32)
        cls.cyrus = Cyrus({"n1": key})
        cls.addClassCleanup(cls.cyrus.remove)
        cls.node = Node(configure=in_front_of(key, {"cyrus": cls.cyrus.addresses()}, {BOB: ("cyrus", "")}))
        cls.addClassCleanup(cls.node.remove)

    def sent(self, message, recipients=(BOB,), parameters=""):
        with Smtp(self.node) as session:
            return session.deliver(message, recipients, parameters=parameters)

    def assert_held(self, message, node_user=BOB):
        """To the last byte, once, in IMAP and in POP3; in front of it are trace lines alone."""
        held = [body for _, _, body in messages(self.node, node_user) if body.endswith(message)]
        self.assertEqual(len(held), 1)
        self.assertRegex(held[0][: -len(message)], rb"\A((Return-Path|Delivered-To|Received|X-[\w-]+): [^\r\n]*\r\n([ \t][^\r\n]*\r\n)*)*\Z")
        client = pop3(self.node, node_user)
        count, _ = client.stat()
        retrieved = [b"\r\n".join(client.retr(number + 1)[1]) + b"\r\n" for number in range(count)]
        client.quit()
        self.assertEqual([body for body in retrieved if body.endswith(message)], held)

    def test_mail_comes_back_byte_for_byte(self):
        elsewhere = self.node.metric("pigeon_copies_elsewhere_total")
        dots = make("dots")[:-2] + b"\r\n.\r\n..\r\n.x\r\n\r\n.. ..\r\n.\r\n"
        bytes_of_8_bits = make("eight") + "gr\u00fc\u00dfe \u2014 \u20ac\r\n".encode() * 50
        long_lines = make("long-lines") + (b"." + b"x" * 989 + b"\r\n") * 20
        large = make("large", 3 << 20)
        for message, parameters in [(dots, ""), (bytes_of_8_bits, " BODY=8BITMIME"), (long_lines, ""), (large, "")]:
            self.sent(message, parameters=parameters)
            self.assert_held(message)
        self.assertEqual(self.node.metric("pigeon_copies_elsewhere_total") - elsewhere, 4)

    def test_one_message_for_both(self):
        message = make("both", 200_000)
        self.sent(message, [ALICE, BOB])
        self.assert_held(message)
        self.assert_held(message, ALICE)

    def test_sessions_are_redirected_and_what_they_do_is_done_there(self):
        before = self.node.metric("pigeon_sessions_redirected_total")
        client = imap(self.node, BOB)
        # Capabilities after the login are the backend's.
        self.assertIn("X-SIEVE-MAILBOX", str(client.capability()[1]))
        message = make("appended", 300_000)
        self.assertEqual(client.create("Archive")[0], "OK")
        self.assertEqual(client.append("Archive", None, None, message)[0], "OK")
        self.assertEqual(client.select("Archive")[1], [b"1"])
        self.assertEqual(client.fetch("1", "(BODY.PEEK[])")[1][0][1], message)
        client.logout()
        pop3(self.node, BOB).quit()
        self.assertEqual(self.node.metric("pigeon_sessions_redirected_total"), before + 2)

    def test_a_wrong_password_is_told_by_the_node_that_was_asked(self):
        before = self.node.metric("pigeon_sessions_redirected_total")
        with self.assertRaisesRegex(imaplib.IMAP4.error, "AUTHENTICATIONFAILED"):
            imap(self.node, BOB, "wrong")
        with self.assertRaisesRegex(poplib.error_proto, r"\[AUTH\]"):
            pop3(self.node, BOB, "wrong")
        self.assertEqual(self.node.metric("pigeon_sessions_redirected_total"), before)

    def test_what_cyrus_cannot_take_is_refused(self):
        with Smtp(self.node) as session:
            session.command(f"MAIL FROM:<{BOB}> BODY=BINARYMIME", 250)
            session.send(f"RCPT TO:<{BOB}>")
            message = make("binary")
            session.send(f"BDAT {len(message)} LAST")
            session.send(message)
            answers = [session.reply() for _ in range(2)]
        self.assertEqual(answers[-1][0], 554, answers)
        self.assertIn("5.6.1", answers[-1][1])
        with self.assertRaises(Refused) as refused:
            self.sent(make("nul") + b"a\0b\r\n")
        self.assertGreaterEqual(refused.exception.code, 550)

    def test_a_cyrus_that_is_gone_is_a_temporary_failure(self):
        self.cyrus.stop()
        try:
            with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
                imap(self.node, BOB)
            with self.assertRaisesRegex(poplib.error_proto, r"SYS/TEMP"):
                pop3(self.node, BOB)
            # Mail waits on the node.
            waited = make("gone")
            self.sent(waited)
            self.sent(make("others"), [ALICE])
        finally:
            self.cyrus.start()

        def is_back():
            try:
                imap(self.node, BOB).logout()
                return True
            except imaplib.IMAP4.error as error:
                self.assertIn("UNAVAILABLE", str(error))
                return False

        wait_until(is_back, 60, "bob is let in again")
        wait_until(lambda: self.node.queued() == 0, 60, "what waited has been brought")
        [found] = [text for _, _, text in messages(self.node, BOB) if b"<gone@" in text]
        self.assertTrue(found.endswith(waited), found[:1000])

    def test_a_node_that_cyrus_does_not_know_is_told_to_come_later(self):
        before = self.node.metric("pigeon_backends_misconfigured_total")
        self.cyrus.set_key("n1", "another key")
        try:
            with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
                imap(self.node, BOB)
            with self.assertRaisesRegex(poplib.error_proto, r"SYS/TEMP"):
                pop3(self.node, BOB)
        finally:
            self.cyrus.set_key("n1", self.cyrus.keys["n1"])
        self.assertEqual(self.node.metric("pigeon_backends_misconfigured_total"), before + 2)
        imap(self.node, BOB).logout()
