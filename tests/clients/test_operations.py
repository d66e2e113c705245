"""Every operation of docs/operating.md, done as it stands there on a real directory, and what the page says of its effect.

The page's blocks of change records go to ldapmodify in their order, with the suffix of the test's server. The list behind a
block is what must be so then: `RCPT of`, `login of`, `sessions of`, `mail to`, `messages of`, `quota of`.
"""

import imaplib
import os
import pathlib
import re
import subprocess
import time
import unittest

from harness import Node
from harness.mail import Smtp, make
from harness.node import wait_until
from harness.reading import imap
from harness.slapd import ADMIN, SECRET, SUFFIX, Slapd

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "operating.md"
# What the page promises; a busy machine gets more, and the worst is printed.
LIMIT, PATIENCE = 1.0, 20


def operations():
    """(heading, change records, claims) of each block."""
    parts = re.split(r"\n```ldif change\n", PAGE.read_text())
    heading = ""
    for before, part in zip(parts, parts[1:]):
        block, behind = part.split("\n```\n", 1)
        headings = re.findall(r"^\*\*(.+?)[.]?\*\*", before.split("\n```\n", 1)[-1], re.M)
        heading = headings[-1] if headings else heading + ", back"
        claims = re.match(r"\n((?:- .*\n)+)", behind)
        yield heading, block + "\n", re.findall(r"^- (.*)$", claims[1], re.M) if claims else []


class Operations(unittest.TestCase):
    def setUp(self):
        self.slapd = Slapd()
        self.addCleanup(self.slapd.remove)
        # The page begins without a domain.
        self.slapd.change(f"dn: dc=mail,{SUFFIX}\nchangetype: delete\n")
        self.node = Node(configure=self.slapd.configure)
        self.addCleanup(self.node.remove)
        self.passwords, self.sessions, self.sent = {}, {}, 0
        self.worst = (0.0, "")

    def test_each_is_in_force_as_the_page_says(self):
        found = list(operations())
        self.assertGreaterEqual(len(found), 26)
        for heading, block, claims in found:
            with self.subTest(operation=heading):
                self.assertTrue(claims, "the page says nothing of the effect")
                for claim in claims:
                    if match := re.fullmatch(r"sessions of (\S+) (end|go on)", claim):
                        self.sessions[match[1]] = self.idle(match[1])
                self.slapd.change(block.replace("dc=example,dc=org", SUFFIX))
                began = time.monotonic()
                for claim in claims:
                    self.check(claim)
                    took = time.monotonic() - began
                    if took > self.worst[0]:
                        self.worst = (took, f"{heading}: {claim}")
        print(f"    {len(found)} operations; the last effect after {self.worst[0]:.3f} s ({self.worst[1]})", flush=True)
        if self.worst[0] > LIMIT:
            print("    that is more than the page promises: the machine is busy, or something is slow", flush=True)

    def test_an_application_needs_nothing_but_the_directory(self):
        before = "\n".join(block for _, block, _ in list(operations())[:2])
        self.slapd.change(before.replace("dc=example,dc=org", SUFFIX))
        secret = self.node.directory / "administrator"
        secret.write_text(SECRET)
        surroundings = dict(os.environ, LDAPURI=self.slapd.uri, LDAP_BASE=SUFFIX, LDAP_BIND_DN=ADMIN, LDAP_PASSWORD_FILE=str(secret),
                            PATH=os.environ["PATH"] + ":/usr/bin")

        def application(*arguments, text=""):
            command = ["/usr/bin/python3", str(PAGE.parent / "examples" / "sign_up.py"), *arguments]
            done = subprocess.run(command, input=text, capture_output=True, text=True, env=surroundings, timeout=60)
            return done.returncode, done.stderr

        self.recipient("zoe+x@example.org", None, "550", "5.1.1")
        self.assertEqual(application("add", "zoe@example.org", "Zoë,\nmail: eve", text="secret\n"), (0, ""))
        began = time.monotonic()
        self.recipient("zoe@example.org", None, "250", None)
        print(f"    its account receives mail {time.monotonic() - began:.3f} s after it was added", flush=True)
        self.login("zoe@example.org", "secret", "OK")
        self.assertEqual(application("add", "zoe@example.org", text="secret\n")[0], 1)
        self.assertEqual(application("remove", "zoe@example.org"), (0, ""))
        self.recipient("zoe@example.org", None, "550", "5.1.1")

    def check(self, claim):
        kinds = [
            (r"RCPT of (\S+?)(?:, (\d+) octets)?: (\d+)(?: (\S+))?", self.recipient),
            (r"login of (\S+) with (\S+): (OK|NO)", self.login),
            (r"sessions of (\S+) (end|go on)", self.session),
            (r"mail to (\S+) reaches (.+)", self.mail),
            (r"messages of (\S+): (\d+)", self.messages),
            (r"quota of (\S+): (\d+) KiB, (\d+) messages", self.quota),
        ]
        for pattern, check in kinds:
            if match := re.fullmatch(pattern, claim):
                return check(*match.groups())
        return self.fail(f"nothing tries {claim!r}")

    def recipient(self, address, octets, code, enhanced):
        def answered():
            with Smtp(self.node) as session:
                session.command("MAIL FROM:<>" + (f" SIZE={octets}" if octets else ""), 250)
                session.send(f"RCPT TO:<{address}>")
                got, text = session.reply()
                return got == int(code) and (not enhanced or text.startswith(enhanced))

        wait_until(answered, PATIENCE, f"RCPT of {address} answers {code} {enhanced or ''}")
        if enhanced == "5.1.1":
            self.passwords.pop(address, None)

    def login(self, name, password, answer):
        def answered():
            try:
                imap(self.node, name, password).logout()
                return answer == "OK"
            except imaplib.IMAP4.error:
                return answer == "NO"

        wait_until(answered, PATIENCE, f"login of {name}: {answer}")
        # Who may not log in is not tried again: failures are slowed.
        self.passwords.pop(name, None)
        if answer == "OK":
            self.passwords[name] = password

    def idle(self, name):
        client = imap(self.node, name, self.passwords[name])
        self.addCleanup(client.sock.close)
        client.select("INBOX")
        client.send(b"x IDLE\r\n")
        self.assertTrue(client.readline().startswith(b"+ "))
        client.sock.settimeout(PATIENCE)
        return client

    def session(self, name, what):
        client = self.sessions.pop(name)
        if what == "end":
            line = client.readline()
            while line and not line.startswith(b"* BYE"):
                line = client.readline()
            self.assertIn(b"BYE", line)
            return
        # The claims before this one have seen the change in force.
        client.send(b"DONE\r\n")
        self.assertTrue(client.readline().startswith(b"x OK"))
        client.logout()

    def mail(self, address, readers):
        self.recipient(address, None, "250", None)
        readers = readers.split(", ")

        def reached():
            # A change may not be in force for the first: another message then, and only the last one counts.
            self.sent += 1
            identity = f"operations.{self.sent}"
            with Smtp(self.node) as session:
                session.deliver(make(identity), [address], "")
            return {name for name in self.passwords if "@" in name and self.has(name, identity)} == set(readers)

        wait_until(reached, PATIENCE, f"mail to {address} reaches {readers}")

    def has(self, name, identity):
        try:
            client = imap(self.node, name, self.passwords[name])
        except imaplib.IMAP4.error:
            return False
        try:
            client.select("INBOX", readonly=True)
            return bool(client.search(None, "HEADER", "Message-ID", f"<{identity}@")[1][0])
        finally:
            client.logout()

    def messages(self, name, count):
        client = imap(self.node, name, self.passwords[name])
        try:
            self.assertEqual(client.select("INBOX", readonly=True)[1][0], count.encode())
        finally:
            client.logout()

    def quota(self, name, kilobytes, messages):
        wanted = f"STORAGE (\\d+) {kilobytes} MESSAGE (\\d+) {messages}"

        def is_so():
            client = imap(self.node, name, self.passwords[name])
            try:
                return re.search(wanted, str(client.getquotaroot("INBOX")))
            finally:
                client.logout()

        wait_until(is_so, PATIENCE, f"quota of {name}")
