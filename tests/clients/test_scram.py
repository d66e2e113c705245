"""SCRAM-SHA-256 in IMAP, POP3 and submission, by a client from Python's own hashes and by mbsync; names without a verifier."""

import base64
import imaplib
import os
import pathlib
import poplib
import smtplib
import subprocess
import tempfile
import unittest

from harness import PASSWORD, Node, needs, scram
from harness.mail import ALICE, BOB, Smtp, make
from harness.node import IMAP, LMTP, POP3, SUBMISSION


def configure(node):
    """alice gets a verifier, bob has none."""
    with open(node.directory / "pigeon.toml", "a") as file:
        file.write("\n[policy]\nscram_sha_256 = true\n")
    ldif = node.directory / "users.ldif"
    line = f"mail: {ALICE}\n"
    text = ldif.read_text()
    assert line in text
    new = ldif.with_suffix(".new")
    new.write_text(text.replace(line, f"{line}authPassword: {scram.verifier(PASSWORD)}\n"))
    os.replace(new, ldif)


class Scram(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = Node(configure=configure)
        cls.addClassCleanup(cls.node.remove)

    def imap(self, client):
        connection = imaplib.IMAP4("127.0.0.1", self.node.port(IMAP), timeout=60)
        self.addCleanup(connection.shutdown)
        self.assertIn("AUTH=SCRAM-SHA-256", connection.capabilities)
        connection.authenticate("SCRAM-SHA-256", client.answer)
        return connection

    def pop3(self, client):
        connection = poplib.POP3("127.0.0.1", self.node.port(POP3), timeout=60)
        self.addCleanup(connection.close)
        self.assertEqual(connection.capa()["SASL"][0], "SCRAM-SHA-256")
        answer = connection._shortcmd("AUTH SCRAM-SHA-256 " + base64.b64encode(client.answer(b"")).decode())
        while answer.startswith(b"+ "):
            word = client.answer(base64.b64decode(answer[2:]))
            answer = connection._shortcmd(base64.b64encode(word).decode())
        return connection, answer

    def submission(self, client):
        connection = smtplib.SMTP("127.0.0.1", self.node.port(SUBMISSION), timeout=60)
        self.addCleanup(connection.close)
        connection.ehlo()
        self.assertEqual(connection.esmtp_features["auth"].split(), ["SCRAM-SHA-256", "PLAIN", "LOGIN"])

        code, answer = connection.docmd("AUTH", "SCRAM-SHA-256 " + base64.b64encode(client.answer(b"")).decode())
        while code == 334:
            word = client.answer(base64.b64decode(answer))
            code, answer = connection.docmd(base64.b64encode(word).decode())
        return connection, code

    def test_the_password_logs_in(self):
        client = scram.Client(ALICE, PASSWORD)
        self.assertEqual(self.imap(client).select("INBOX")[0], "OK")
        self.assertTrue(client.proven)
        client = scram.Client(ALICE.upper(), PASSWORD)
        connection, answer = self.pop3(client)
        self.assertTrue(answer.startswith(b"+OK"), answer)
        self.assertTrue(client.proven)
        connection.stat()
        client = scram.Client(ALICE, PASSWORD)
        connection, code = self.submission(client)
        self.assertEqual(code, 235)
        self.assertTrue(client.proven)
        connection.sendmail(ALICE, [ALICE], make("scram"))

    def test_all_others_fail_alike(self):
        for user, password in [(ALICE, "wrong"), (BOB, PASSWORD), ("nobody@example.org", PASSWORD)]:
            client = scram.Client(user, password)
            with self.assertRaisesRegex(imaplib.IMAP4.error, r"\[AUTHENTICATIONFAILED\] Wrong name or password"):
                self.imap(client)
            self.assertEqual((client.step, client.proven), (2, False), user)
        with self.assertRaisesRegex(poplib.error_proto, r"-ERR \[AUTH\] Wrong name or password"):
            self.pop3(scram.Client(BOB, PASSWORD))
        self.assertEqual(self.submission(scram.Client("nobody@example.org", "x"))[1], 535)

    def test_plain_goes_on(self):
        for user in [ALICE, BOB]:
            with imaplib.IMAP4("127.0.0.1", self.node.port(IMAP), timeout=60) as connection:
                connection.authenticate("PLAIN", lambda _: f"\0{user}\0{PASSWORD}".encode())

    def test_mbsync(self):
        mbsync = needs("mbsync")
        sender = Smtp(self.node, LMTP)
        self.addCleanup(sender.close)
        sender.deliver(make("by-mbsync"), [ALICE])
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            (root / "mail").mkdir()
            (root / "mbsyncrc").write_text(f"""\
IMAPAccount node
Host 127.0.0.1
Port {self.node.port(IMAP)}
User {ALICE}
Pass {PASSWORD}
SSLType None
AuthMechs SCRAM-SHA-256

IMAPStore far
Account node

MaildirStore near
Path {root}/mail/
Inbox {root}/mail/INBOX

Channel all
Far :far:
Near :near:
Create Near
Sync Pull
SyncState *
""")
            done = subprocess.run([mbsync, "-V", "-c", str(root / "mbsyncrc"), "all"], capture_output=True, timeout=120,
                                  env={"HOME": directory, "PATH": "/usr/bin:/bin"})
            self.assertEqual(done.returncode, 0, done)
            self.assertIn(b"SCRAM-SHA-256", done.stdout + done.stderr)
            held = [path.read_bytes() for path in (root / "mail" / "INBOX").glob("*/*") if path.is_file()]
            self.assertTrue(any(b"by-mbsync" in message for message in held), held)
