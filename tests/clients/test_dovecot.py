"""A node in front of a real Dovecot: it logs in there as node, for the user, and says what it knows of the record."""

import os
import secrets
import unittest

from harness import Node, scram
from harness.dovecot import Dovecot
from harness.mail import ALICE, BOB, digest, make, without_trace
from harness.node import wait_until
from harness.reading import imap, pop3

QUOTA = 123_456 * 1024


class DovecotBackend(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.key = secrets.token_hex(32)
        cls.dovecot = Dovecot({"n1": cls.key})
        cls.addClassCleanup(cls.dovecot.remove)
        cls.node = Node(configure=cls.configure)
        cls.addClassCleanup(cls.node.remove)

    @classmethod
    def configure(cls, node):
        """alice's mail is here, bob's is in Dovecot."""
        (node.directory / "cluster-key").write_text(cls.key)
        (node.directory / "cluster-key").chmod(0o600)
        with open(node.directory / "pigeon.toml", "a") as file:
            file.write('\n[cluster]\nnode = "n1"\nkey_file = "cluster-key"\n')
        ldif = node.directory / "users.ldif"
        tree = ldif.read_text()
        tree = tree.replace(f"mail: {ALICE}\n", f"mail: {ALICE}\nmailHost: n1\n")
        tree = tree.replace(f"mail: {BOB}\n", f"mail: {BOB}\nmailHost: dovecot\nmailQuotaSize: {QUOTA}\n")
        tree = tree.rstrip("\n") + f"""

dn: cn=n1,dc=example,dc=org
objectClass: pigeonServer
cn: n1
pigeonKey: {scram.verifier(cls.key)}

dn: cn=dovecot,dc=example,dc=org
objectClass: pigeonServer
cn: dovecot
pigeonPrivateAddress: imap://127.0.0.1:{cls.dovecot.imap}
pigeonPrivateAddress: pop3://127.0.0.1:{cls.dovecot.pop3}
"""
        new = ldif.with_suffix(".new")
        new.write_text(tree)
        os.replace(new, ldif)

    def test_imap_and_pop3_show_what_dovecot_holds(self):
        message = make("in-dovecot", 300_000)
        client = imap(self.node, BOB)
        self.assertEqual(client.append("INBOX", None, None, message)[0], "OK")
        redirected = self.node.metric("pigeon_sessions_redirected_total")
        kind, count = client.select("INBOX")
        self.assertEqual(kind, "OK")
        data = client.fetch(count[0].decode(), "(BODY.PEEK[])")[1]
        self.assertEqual(digest(data[0][1]), digest(message))
        kind, quota = client.getquotaroot("INBOX")
        self.assertEqual(kind, "OK")
        # In units of 1024 octets: what the record says, as Dovecot was told with the login.
        self.assertIn(f" {QUOTA // 1024})".encode(), quota[1][0])
        client.logout()
        client = pop3(self.node, BOB)
        held = b"\r\n".join(client.retr(client.stat()[0])[1]) + b"\r\n"
        self.assertEqual(digest(without_trace(held)), digest(message))
        client.quit()
        self.assertEqual(self.node.metric("pigeon_sessions_redirected_total"), redirected + 1)
        # Dovecot logs the client's address, and the node as who logged in; nobody's password reached it.
        log = self.dovecot.log()
        self.assertIn(f"user=<{BOB}>", log)
        self.assertIn("SCRAM-SHA-256", log)

    def test_idle_passes_through(self):
        watching, writing = imap(self.node, BOB), imap(self.node, BOB)
        self.addCleanup(watching.shutdown)
        watching.select("INBOX")
        watching.send(b"x IDLE\r\n")
        self.assertTrue(watching.readline().startswith(b"+ "))
        writing.append("INBOX", None, None, make("idle"))
        watching.sock.settimeout(60)
        line = watching.readline()
        while b"EXISTS" not in line:
            self.assertTrue(line)
            line = watching.readline()
        writing.logout()

    def test_a_node_that_dovecot_does_not_know_is_told_to_come_later(self):
        path = self.dovecot.directory / "nodes"
        nodes = path.read_text()
        try:
            path.write_text(nodes.replace("n1:", "n2:"))
            before = self.node.metric("pigeon_backends_misconfigured_total")

            def is_refused():
                try:
                    imap(self.node, BOB).logout()
                    return False
                except Exception as error:
                    self.assertIn("UNAVAILABLE", str(error))
                    return True

            wait_until(is_refused, 30, "Dovecot reads the file again")
            self.assertGreater(self.node.metric("pigeon_backends_misconfigured_total"), before)
        finally:
            path.write_text(nodes)
