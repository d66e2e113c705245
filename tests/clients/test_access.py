"""A change of control data ends the sessions of whoever may not go on, on whichever core they are, and nobody else's."""

import os
import time
import unittest

from harness import Node
from harness.mail import ALICE, BOB
from harness.reading import imap, pop3

# What an operator counts on; the tests wait longer, because a clock on a busy machine proves nothing.
PATIENCE = 20


class Access(unittest.TestCase):
    def setUp(self):
        self.node = Node()
        self.addCleanup(self.node.remove)
        self.ldif = self.node.directory / "users.ldif"
        self.whole = self.ldif.read_text()

    def hold(self, text):
        new = self.ldif.with_suffix(".new")
        new.write_text(text)
        os.replace(new, self.ldif)

    def with_lines(self, address, lines):
        entries = self.whole.rstrip("\n").split("\n\n")
        changed = [entry + ("\n" + lines if f"mail: {address}" in entry else "") for entry in entries]
        self.assertNotEqual(changed, entries)
        return "\n\n".join(changed) + "\n"

    def idle(self, user):
        """Several, so that both cores have some."""
        clients = []
        for _ in range(4):
            client = imap(self.node, user)
            self.addCleanup(client.shutdown)
            client.select("INBOX")
            client.send(b"x IDLE\r\n")
            self.assertTrue(client.readline().startswith(b"+ "))
            client.sock.settimeout(PATIENCE)
            clients.append(client)
        return clients

    def assert_ended(self, clients):
        for client in clients:
            line = client.readline()
            while line and not line.startswith(b"* BYE"):
                line = client.readline()
            self.assertIn(b"Account changed", line)
            self.assertEqual(client.readline(), b"")

    def assert_goes_on(self, clients):
        for client in clients:
            client.send(b"DONE\r\n")
            self.assertTrue(client.readline().startswith(b"x OK"))

    def test_a_disabled_account_loses_its_sessions(self):
        alice, bob = self.idle(ALICE), self.idle(BOB)
        reader = pop3(self.node, ALICE)
        self.addCleanup(reader.close)
        before = time.monotonic()
        self.hold(self.with_lines(ALICE, "accountStatus: disabled"))
        self.assert_ended(alice)
        print(f"    sessions ended after {time.monotonic() - before:.3f} s", flush=True)
        self.assertEqual(reader.file.readline()[:4] or b"-ERR", b"-ERR")
        self.assert_goes_on(bob)
        self.hold(self.whole)

    def test_a_deleted_account_and_a_new_password(self):
        entries = self.whole.rstrip("\n").split("\n\n")
        alice, bob = self.idle(ALICE), self.idle(BOB)
        # Not alice: she is the domain's postmaster.
        without = [entry for entry in entries if f"mail: {BOB}" not in entry]
        self.assertEqual(len(without), len(entries) - 1)
        self.hold("\n\n".join(without) + "\n")
        self.assert_ended(bob)
        self.assert_goes_on(alice)
        alice = self.idle(ALICE)
        self.hold(self.with_lines(ALICE, "userPassword: {CLEARTEXT}another"))
        self.assert_ended(alice)

    def test_a_domain_ends_them_all(self):
        clients = self.idle(ALICE) + self.idle(BOB)
        entries = self.whole.rstrip("\n").split("\n\n")
        changed = [entry + ("\npigeonDomainStatus: noaccess" if "associatedDomain: example.org" in entry else "")
                   for entry in entries]
        self.assertNotEqual(changed, entries)
        self.hold("\n\n".join(changed) + "\n")
        self.assert_ended(clients)

    def test_what_does_not_concern_access_ends_nothing(self):
        clients = self.idle(ALICE)
        self.hold(self.with_lines(ALICE, "mailQuotaSize: 1000000\nmailAlternateAddress: other@example.org"))
        self.node.wait_log("control data taken over", PATIENCE)
        # A session that may end would have by the time a further change is in force and has ended another.
        bob = self.idle(BOB)
        entries = self.ldif.read_text().rstrip("\n").split("\n\n")
        without = [entry for entry in entries if f"mail: {BOB}" not in entry]
        self.hold("\n\n".join(without) + "\n")
        self.assert_ended(bob)
        self.assert_goes_on(clients)
