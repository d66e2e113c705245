"""A real Dovecot proxy in front of a node: it logs in there with its key, over TLS, for the user, and says what it knows of the
record and of the session."""

import imaplib
import poplib
import re
import secrets
import socket
import ssl
import unittest
import uuid

from harness import PASSWORD, Node, scram
from harness.dovecot import DovecotProxy
from harness.mail import make

CAROL, QUOTA = "carol@example.org", 400 * 1024
# Beside the node's other ports.
BACKEND_IMAPS, BACKEND_POP3S = 2993, 2995
# Where clients are.
CLIENT = "127.0.0.9"

CONFIGURATION = """
[cluster]
node = "n1"
key_file = "cluster-key"

[[listener]]
address = "127.0.0.1:{imap}"
service = "backend-imaps"
redirectors = ["127.0.0.0/8"]

[[listener]]
address = "127.0.0.1:{pop3}"
service = "backend-pop3s"
redirectors = ["127.0.0.0/8"]
"""


class Imap(imaplib.IMAP4):
    def _create_socket(self, timeout):
        return socket.create_connection((self.host, self.port), timeout or 60, source_address=(CLIENT, 0))


class ProxyInFront(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.key = secrets.token_hex(32)
        cls.node = Node(configure=cls.configure)
        cls.addClassCleanup(cls.node.remove)
        fields = DovecotProxy.fields
        cls.carol = str(uuid.uuid4())
        users = {
            CAROL: fields("dovecot", cls.key, id=cls.carol, quota=QUOTA),
            "other-key@example.org": fields("dovecot", "another", id=uuid.uuid4()),
            "other-node@example.org": fields("n7", cls.key, id=uuid.uuid4()),
            "no-id@example.org": fields("dovecot", cls.key, quota=QUOTA),
        }
        certificate = cls.node.directory / "certificate.pem"
        cls.proxy = DovecotProxy(certificate, {"imap": cls.imap, "pop3": cls.pop3}, users)
        cls.addClassCleanup(cls.proxy.remove)

    @classmethod
    def configure(cls, node):
        """Users are in Dovecot's passdb alone: the node has the server_map and nothing else."""
        cls.imap, cls.pop3 = node.port(BACKEND_IMAPS), node.port(BACKEND_POP3S)
        (node.directory / "cluster-key").write_text(secrets.token_hex(32))
        (node.directory / "cluster-key").chmod(0o600)
        with open(node.directory / "pigeon.toml", "a") as file:
            file.write(CONFIGURATION.format(imap=cls.imap, pop3=cls.pop3))
        (node.directory / "users.ldif").write_text(
            "version: 1\n\ndn: cn=n1,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n1\n\n"
            "dn: cn=dovecot,dc=example,dc=org\nobjectClass: pigeonServer\ncn: dovecot\n"
            f"pigeonKey: {scram.verifier(cls.key)}\n")

    def log_in(self, name):
        client = Imap("127.0.0.1", self.proxy.imap, timeout=60)
        try:
            client.login(name, PASSWORD)
            return client
        except imaplib.IMAP4.error:
            client.shutdown()
            raise

    def log_in_pop3(self, name):
        client = poplib.POP3("127.0.0.1", self.proxy.pop3, timeout=60)
        try:
            client.user(name)
            client.pass_(PASSWORD)
            return client
        except poplib.error_proto:
            client.close()
            raise

    def counted(self, name):
        return self.node.metric(f"pigeon_redirects_{name}_total")

    def test_imap_and_pop3_end_to_end(self):
        before, end = self.counted("accepted"), len(self.node.log())
        client = self.log_in(CAROL)
        message = make("through-dovecot", 200_000)
        self.assertEqual(client.append("INBOX", None, None, message)[0], "OK")
        self.assertEqual(client.select("INBOX")[1], [b"1"])
        self.assertEqual(client.fetch("1", "(BODY.PEEK[])")[1][0][1], message)
        # What the passdb says is in force here, although no control data of this node has the user.
        self.assertIn(f" {QUOTA // 1024})".encode(), client.getquotaroot("INBOX")[1][1][0])
        kind, said = client.append("INBOX", None, None, make("too-much", QUOTA))
        self.assertEqual(kind, "NO")
        self.assertIn(b"[OVERQUOTA]", said[0])
        client.logout()
        client = self.log_in_pop3(CAROL)
        self.assertEqual(b"\r\n".join(client.retr(1)[1]) + b"\r\n", message)
        client.quit()
        self.assertEqual(self.counted("accepted"), before + 2)
        # Who the client is, in the node's log: its address, and Dovecot's name for the session.
        line = self.node.wait_log(rf"redirected login.*node=\"?dovecot.*client={re.escape(CLIENT)}:\d+.*service=\"?imap.*", after=end)[0]
        self.assertIn(self.carol, line)

    def check_refused(self, user, counter):
        before = self.counted(counter)
        with self.assertRaises(imaplib.IMAP4.error):
            self.log_in(user)
        after = self.counted(counter)
        self.assertGreater(after, before)
        with self.assertRaises(poplib.error_proto):
            self.log_in_pop3(user)
        self.assertGreater(self.counted(counter), after)

    def test_a_wrong_key_is_refused_and_counted(self):
        self.check_refused("other-key@example.org", "refused_key")

    def test_an_unknown_node_is_refused_and_counted(self):
        self.check_refused("other-node@example.org", "refused_node")

    def test_without_the_id_of_the_record_nobody_is_let_in(self):
        self.check_refused("no-id@example.org", "malformed")

    def test_no_other_way_in(self):
        """Neither before TLS, nor with a user's password, nor by the commands for one."""
        context = ssl.create_default_context(cafile=self.node.directory / "certificate.pem")
        client = imaplib.IMAP4_SSL("localhost", self.imap, ssl_context=context, timeout=60)
        self.addCleanup(client.shutdown)
        self.assertIn("AUTH=SCRAM-SHA-256", client.capabilities)
        self.assertIn("AUTH=PLAIN", client.capabilities)
        self.assertNotIn("AUTH=LOGIN", client.capabilities)
        with self.assertRaises(imaplib.IMAP4.error):
            client.login("dovecot", self.key)
        # The key alone, for nobody.
        with self.assertRaises(imaplib.IMAP4.error):
            client.authenticate("PLAIN", lambda _: b"\0dovecot\0" + self.key.encode())
        with self.node.connect(BACKEND_IMAPS, 10) as connection:
            connection.sendall(b"x NOOP\r\n")
            connection.settimeout(10)
            self.assertNotIn(b"OK", connection.recv(100))
