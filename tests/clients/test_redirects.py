"""Two nodes, one tree: every node serves every user, wherever the mail is."""

import contextlib
import imaplib
import poplib
import select
import time
import unittest

from harness import PASSWORD
from harness.cluster import BACKEND_IMAP, BACKEND_POP3, Cluster
from harness.mail import ALICE, BOB, Smtp, digest, make, without_trace
from harness.node import LMTP, wait_until
from harness.reading import imap, messages, pop3

# What an operator counts on is a second; a clock on a busy machine proves nothing.
PATIENCE = 20
# Of one client: below what one may have.
SESSIONS = 80


class Redirects(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(["n1", "n2"], {ALICE: "n1", BOB: "n2"})
        cls.addClassCleanup(cls.cluster.remove)
        cls.one, cls.two = cls.cluster["n1"], cls.cluster["n2"]

    def deliver(self, node, user, identity, size=2_000):
        message = make(identity, size)
        sender = Smtp(node, LMTP)
        sender.deliver(message, [user])
        sender.quit()
        return digest(message)

    def test_every_node_shows_the_same_mailbox(self):
        for owner, user in [(self.one, ALICE), (self.two, BOB)]:
            wanted = self.deliver(owner, user, f"same-{user}")
            wanted_large = self.deliver(owner, user, f"large-{user}", 3 << 20)
            before = sum(node.metric("pigeon_sessions_redirected_total") for node in (self.one, self.two))
            for node in (self.one, self.two):
                held = {digest(without_trace(message)) for _, _, message in messages(node, user)}
                self.assertLessEqual({wanted, wanted_large}, held)
                client = pop3(node, user)
                count, _ = client.stat()
                held = {digest(without_trace(b"\r\n".join(client.retr(number)[1]) + b"\r\n"))
                        for number in range(1, count + 1)}
                self.assertLessEqual({wanted, wanted_large}, held)
                client.quit()
            after = sum(node.metric("pigeon_sessions_redirected_total") for node in (self.one, self.two))
            self.assertEqual(after - before, 2, "one IMAP and one POP3 session went to the other node")

    def test_changes_through_one_node_are_seen_through_the_other(self):
        self.deliver(self.two, BOB, "flags")
        here, there = imap(self.one, BOB), imap(self.two, BOB)
        self.addCleanup(here.shutdown)
        self.addCleanup(there.shutdown)
        here.select("INBOX")
        there.select("INBOX")
        there.send(b"x IDLE\r\n")
        self.assertTrue(there.readline().startswith(b"+ "))
        self.assertEqual(here.store("1", "+FLAGS", "(\\Flagged)")[0], "OK")
        there.sock.settimeout(PATIENCE)
        line = there.readline()
        self.assertIn(b"\\Flagged", line)
        self.assertEqual(here.append("INBOX", None, None, make("appended", 500_000))[0], "OK")

    def test_a_wrong_password_is_told_by_the_node_that_was_asked(self):
        with self.assertRaisesRegex(imaplib.IMAP4.error, "AUTHENTICATIONFAILED"):
            imap(self.one, BOB, "wrong")
        with self.assertRaisesRegex(poplib.error_proto, r"\[AUTH\]"):
            pop3(self.one, BOB, "wrong")
        self.assertEqual(self.two.metric("pigeon_redirects_refused_key_total"), 0)

    def test_a_backend_takes_no_clients(self):
        connection = imaplib.IMAP4("127.0.0.1", self.two.offset + BACKEND_IMAP, timeout=60)
        self.addCleanup(connection.shutdown)
        self.assertIn("AUTH=SCRAM-SHA-256", connection.capabilities)
        self.assertNotIn("AUTH=PLAIN", connection.capabilities)
        with self.assertRaises(imaplib.IMAP4.error):
            connection.login(BOB, PASSWORD)
        with self.assertRaises(imaplib.IMAP4.error):
            connection.authenticate("PLAIN", lambda _: f"\0{BOB}\0{PASSWORD}".encode())
        connection = poplib.POP3("127.0.0.1", self.two.offset + BACKEND_POP3, timeout=60)
        self.addCleanup(connection.close)
        with self.assertRaises(poplib.error_proto):
            connection.user(BOB)

    def test_who_has_another_key_is_refused_and_counted(self):
        right = self.cluster.keys["n1"]
        refused = self.two.metric("pigeon_redirects_refused_key_total")
        try:
            self.cluster.keys["n1"] = "another key, which n1 does not have"
            self.cluster.hold()
            with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
                imap(self.one, BOB)
            with self.assertRaisesRegex(poplib.error_proto, r"SYS/TEMP"):
                pop3(self.one, BOB)
        finally:
            self.cluster.keys["n1"] = right
            self.cluster.hold()
        self.assertGreaterEqual(self.two.metric("pigeon_redirects_refused_key_total"), refused + 2)
        self.assertGreaterEqual(self.one.metric("pigeon_backends_misconfigured_total"), 2)
        imap(self.one, BOB).logout()

    def test_nodes_that_each_take_the_other_for_the_owner_come_to_an_end(self):
        """n2 has a tree in which bob is n1's: it refers back, until no hop is left. A temporary failure, counted and logged."""
        def metrics():
            names = ("pigeon_redirects_referred_total", "pigeon_referrals_followed_total", "pigeon_redirects_astray_total")
            return [sum(node.metric(name) for node in (self.one, self.two)) for name in names]

        try:
            self.cluster.hold(lambda tree: tree.replace(f"mail: {BOB}\nmailHost: n2\n", f"mail: {BOB}\nmailHost: n1\n"), ["n2"])
            before = metrics()
            with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
                imap(self.one, BOB)
            with self.assertRaisesRegex(poplib.error_proto, r"SYS/TEMP"):
                pop3(self.one, BOB)
            referred, followed, astray = (after - old for after, old in zip(metrics(), before))
            self.assertEqual(referred, 6, "three for each of the two sessions")
            self.assertEqual(followed, 6)
            self.assertGreaterEqual(astray, 2)
        finally:
            self.cluster.hold()
        imap(self.one, BOB).logout()

    def test_a_referral_is_followed_to_the_owner(self):
        """n3 has an old tree, in which bob is n1's, and n1 knows better."""
        with Cluster(["n1", "n2", "n3"], {ALICE: "n1", BOB: "n2"}) as cluster:
            cluster.hold(lambda tree: tree.replace(f"mail: {BOB}\nmailHost: n2\n", f"mail: {BOB}\nmailHost: n1\n"), ["n3"])
            self.deliver(cluster["n2"], BOB, "referred")
            self.assertEqual(len(list(messages(cluster["n3"], BOB))), 1)
            client = pop3(cluster["n3"], BOB)
            self.assertEqual(client.stat()[0], 1)
            client.quit()
            self.assertEqual(cluster["n3"].metric("pigeon_referrals_followed_total"), 2)
            self.assertEqual(cluster["n1"].metric("pigeon_redirects_referred_total"), 2)

    def test_a_disabled_account_loses_its_redirected_sessions(self):
        client = imap(self.one, BOB)
        self.addCleanup(client.shutdown)
        client.select("INBOX")
        try:
            self.cluster.hold(lambda tree: tree.replace(f"mail: {BOB}\n", f"mail: {BOB}\naccountStatus: noaccess\n"))
            client.sock.settimeout(PATIENCE)
            self.assertEqual(client.sock.recv(100), b"")
        finally:
            self.cluster.hold()
        imap(self.one, BOB).logout()

    def test_a_node_that_dies_takes_only_its_own_users_with_it(self):
        with Cluster(["n1", "n2"], {ALICE: "n1", BOB: "n2"}) as cluster:
            self.check_death(cluster)

    def test_silent_sessions_of_a_node_that_dies_do_not_end_all_at_once(self):
        with Cluster(["n1", "n2"], {ALICE: "n1", BOB: "n2"}) as cluster:
            one, two = cluster["n1"], cluster["n2"]
            sessions = [imap(one, BOB) for _ in range(SESSIONS)]
            for session in sessions:
                self.addCleanup(session.sock.close)
            # Before a second has passed, its end might be the answer to something.
            silent_since = time.monotonic()
            wait_until(lambda: time.monotonic() - silent_since > 1.5, PATIENCE, "nothing moves")
            two.kill()

            def ended(some):
                return select.select([session.sock for session in some], [], [], 0)[0]

            wait_until(lambda: len(ended(sessions)) >= SESSIONS // 10, 3 * PATIENCE, "the first end")
            left = [session for session in sessions if session.sock not in ended(sessions)]
            self.assertGreater(len(left), SESSIONS // 2, "in half a minute, not in a moment")
            # Who asks for something is let go at once, and nobody else for it.
            asking, silent = left[::4], [session for session in left if session not in left[::4]]
            for session in asking:
                session.sock.sendall(b"x NOOP\r\n")
            wait_until(lambda: len(ended(asking)) == len(asking), 3 * PATIENCE, "they know it")
            self.assertLess(len(ended(silent)), len(silent) * 2 // 3)
            for session in asking:
                # One may have ended by itself before it asked.
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(session.sock.recv(100), b"", "nothing is said into a dialogue")

    def check_death(self, cluster):
        one, two = cluster["n1"], cluster["n2"]
        bob, alice = imap(one, BOB), imap(one, ALICE)
        self.addCleanup(bob.shutdown)
        self.addCleanup(alice.shutdown)
        two.kill()
        alice.select("INBOX")
        with self.assertRaises((imaplib.IMAP4.abort, OSError)):
            bob.noop()
        with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
            imap(one, BOB)
        with self.assertRaisesRegex(poplib.error_proto, r"SYS/TEMP"):
            pop3(one, BOB)
        begin = time.monotonic()
        two.start()
        ready = time.monotonic()

        def is_back():
            try:
                imap(one, BOB).logout()
                return True
            except imaplib.IMAP4.error as error:
                self.assertIn("UNAVAILABLE", str(error))
                return False

        wait_until(is_back, PATIENCE, "bob is let in again")
        print(f"# back {time.monotonic() - ready:.2f} s after the node was ready ({ready - begin:.2f} s)")
