"""The life of a node: draining at SIGTERM, reloading at SIGHUP, control data that changes."""

import base64
import hashlib
import itertools
import pathlib
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
import uuid

from harness import PASSWORD, Node, pigeond
from harness.mail import ALICE, BOB, Refused, Smtp, digest, make, stuffed
from harness.node import IMAP, IMAPS, SMTP, wait_until
from harness.reading import imap, stored


def only(directory, *patterns):
    """The one file of a directory that fits one of the patterns."""
    found = [path for pattern in patterns for path in pathlib.Path(directory).rglob(pattern)]
    assert len(found) == 1, f"{patterns} in {directory}: {found}"
    return found[0]


def entry(name):
    """An LDIF entry for a new account, in the form of the one of alice."""
    return f"""
dn: uid={name},ou=people,dc=example,dc=org
objectClass: inetOrgPerson
entryUUID: {uuid.uuid4()}
uid: {name}
cn: {name}
sn: {name}
mail: {name}@example.org
userPassword: {PASSWORD_HASH}
"""


def ssha256(password, salt=b"salt1234"):
    return "{SSHA256}" + base64.b64encode(hashlib.sha256(password.encode() + salt).digest() + salt).decode()


PASSWORD_HASH = ssha256(PASSWORD)


class Life(unittest.TestCase):
    def test_a_second_start_goes_on_with_what_is_there(self):
        with Node() as node:
            message = make("life.kept")
            with Smtp(node) as session:
                session.deliver(message)
            validity = imap(node).status("INBOX", "(UIDVALIDITY UIDNEXT)")[1]
            self.assertEqual(node.stop(), 0)
            node.start()
            self.assertEqual(stored(node), ({"life.kept": digest(message)}, []))
            self.assertEqual(imap(node).status("INBOX", "(UIDVALIDITY UIDNEXT)")[1], validity)

    def test_sigterm_drains(self):
        with Node() as node:
            message = make("life.drained", 20_000)
            session = Smtp(node)
            idle = Smtp(node)
            session.command(f"MAIL FROM:<{BOB}>", 250)
            session.command(f"RCPT TO:<{ALICE}>", 250)
            session.command("DATA", 354)
            session.send(stuffed(message)[:5_000])
            node.signal(signal.SIGTERM)
            # New connections stop coming in, and the balancer is told.
            wait_until(lambda: self.refuses(node), 20, "the node takes no new connections")
            session.send(stuffed(message)[5_000:] + b".\r\n")
            session.expect(250, "end of data while draining")
            try:
                self.assertEqual(idle.reply()[0], 421)
            except (ConnectionError, ValueError):
                pass
            session.close()
            idle.close()
            self.assertEqual(node.wait_end(60), 0)
            node.start()
            self.assertEqual(stored(node), ({"life.drained": digest(message)}, []))

    @staticmethod
    def refuses(node):
        try:
            with node.connect(SMTP, 2) as connection:
                return not connection.recv(100).startswith(b"220")
        except OSError:
            return True

    def test_balancers_have_notice_before_the_node_drains(self):
        def configure(node):
            with open(node.directory / "pigeon.toml", "a") as file:
                file.write('\n[timeouts]\ndrain_notice = "10m"\n')

        with Node(configure=configure) as node:
            node.signal(signal.SIGTERM)
            wait_until(lambda: node.status("/ready")[0] == 503, 20, "the node says that it drains")
            self.assertTrue(node.status("/ready")[1].startswith("draining"))
            # Whoever is sent here meanwhile is served.
            message = make("life.noticed")
            with Smtp(node) as session:
                session.deliver(message)
            self.assertEqual(stored(node), ({"life.noticed": digest(message)}, []))

            # A second signal ends the waiting; one that comes right behind the first may be the same.
            def has_ended():
                node.signal(signal.SIGTERM)
                return node.process.poll() is not None

            wait_until(has_ended, 60, "the node ends")
            self.assertEqual(node.wait_end(), 0)

    def test_sigterm_with_nobody_there_is_quick(self):
        with Node() as node:
            self.assertEqual(node.stop(10), 0)

    def test_sigterm_under_load_cuts_no_answer_off(self):
        with Node() as node:
            acknowledged, ends = {}, []
            begun = threading.Semaphore(0)

            def send(index):
                """Messages one after the other, until an answer says that it is enough."""
                with Smtp(node) as session:
                    try:
                        for count in itertools.count():
                            message = make(f"drain.{index}.{count}", 2_000)
                            session.deliver(message)
                            acknowledged[f"drain.{index}.{count}"] = digest(message)
                            begun.release()
                    except (OSError, ValueError, Refused) as end:
                        ends.append(getattr(end, "code", repr(end)))

            threads = [threading.Thread(target=send, args=(index,)) for index in range(20)]
            for thread in threads:
                thread.start()
            for _ in range(100):
                self.assertTrue(begun.acquire(timeout=60))
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_end(60), 0)
            for thread in threads:
                thread.join(60)
            self.assertEqual(ends, [421] * 20, "every session is told, and none in the middle of a message")
            node.start()
            self.assertEqual(stored(node), (acknowledged, []))

    def test_control_data_is_reloaded_whole_or_not_at_all(self):
        with Node() as node:
            ldif = only(node.directory, "*.ldif")
            whole = ldif.read_text()
            with Smtp(node) as session:
                with self.assertRaises(Refused) as refused:
                    session.deliver(make("life.early"), ["carol@example.org"])
                self.assertEqual(refused.exception.code, 550)
            ldif.write_text(whole.rstrip("\n") + "\n" + entry("carol"))
            message = make("life.carol")

            def delivered():
                try:
                    with Smtp(node) as session:
                        session.deliver(message, ["carol@example.org"])
                    return True
                except Refused:
                    return False

            wait_until(delivered, 20, "the new account gets mail")
            self.assertEqual(stored(node, "carol@example.org"), ({"life.carol": digest(message)}, []))

            length = len(node.log())
            ldif.write_text(whole.rstrip("\n") + "\n\ndn: uid=dave,ou=people,dc=example,dc=org\nthis is no attribute\n")
            line = whole.rstrip("\n").count("\n") + 4
            node.wait_log(rf"(?i)(:|line\D{{0,3}}){line}\b", after=length)
            message = make("life.still")
            with Smtp(node) as session:
                session.deliver(message, ["carol@example.org"])

            # Taken away for good: mail for her is refused, her login too.
            ldif.write_text(whole)
            wait_until(lambda: self.is_refused(node, "carol@example.org"), 20, "the removed account gets no mail")
            with self.assertRaises(Exception):
                imap(node, "carol@example.org")

    @staticmethod
    def is_refused(node, address):
        try:
            with Smtp(node) as session:
                session.command(f"MAIL FROM:<{BOB}>", 250)
                session.command(f"RCPT TO:<{address}>", 250)
            return False
        except Refused as refused:
            return refused.code == 550

    def test_sighup_takes_a_new_certificate(self):
        with Node() as node, Node() as other:
            before = self.certificate(node)
            for path in node.directory.rglob("*.pem"):
                shutil.copyfile(other.directory / path.relative_to(node.directory), path)
            node.signal(signal.SIGHUP)
            wait_until(lambda: self.certificate(node) != before, 20, "a new certificate")
            self.assertEqual(self.certificate(node), self.certificate(other))
            for path in node.directory.rglob("*.pem"):
                path.write_text("this is no certificate\n")
            length = len(node.log())
            node.signal(signal.SIGHUP)
            node.wait_log(r"(?i)(error|warn)", after=length)
            self.assertEqual(self.certificate(node), self.certificate(other), "a mistake keeps the old one")

    def test_sighup_takes_the_first_certificate(self):
        """A node without one, which is right as long as nothing has to be spoken over TLS, learns STARTTLS."""
        def without(node):
            config = only(node.directory, "*.toml")
            sections = re.split(r"\n(?=\[)", config.read_text())
            kept = [section for section in sections
                    if not section.startswith("[[certificate]]") and not re.search(r'"(submissions|pop3s|imaps)"', section)]
            self.assertEqual(len(sections) - len(kept), 4)
            self.whole = [section for section in sections if section.startswith("[[certificate]]")]
            config.write_text("\n".join(kept))

        with Node(configure=without) as node:
            config = only(node.directory, "*.toml")
            early = Smtp(node)
            self.assertNotIn("STARTTLS", early.hello)
            self.assertNotIn(b"STARTTLS", self.imap_greeting(node))
            config.write_text(config.read_text() + "\n" + self.whole[0] + "\n")
            node.signal(signal.SIGHUP)
            wait_until(lambda: b"STARTTLS" in self.imap_greeting(node), 20, "STARTTLS is offered")
            with smtplib.SMTP("127.0.0.1", node.port(SMTP)) as client:
                client.starttls(context=node.tls())
                self.assertEqual(client.noop()[0], 250)
            # A session goes on as it began.
            self.assertNotIn("STARTTLS", early.command("EHLO test.invalid", 250))
            early.close()
            self.assertNotIn("need a restart", node.log())

    @staticmethod
    def imap_greeting(node):
        with node.connect(IMAP) as connection:
            return connection.recv(1000)

    @staticmethod
    def certificate(node):
        with node.connect(IMAPS) as plain, node.tls().wrap_socket(plain) as tls:
            return tls.getpeercert(binary_form=True)

    def test_check_names_mistakes_with_line_and_column(self):
        with Node() as node, tempfile.TemporaryDirectory() as directory:
            config = only(node.directory, "*.toml")
            good = subprocess.run([pigeond(), "check", "--config", str(config)], capture_output=True, text=True)
            self.assertEqual(good.returncode, 0, good.stderr)
            self.assertIn("hostname", good.stdout)
            broken = pathlib.Path(directory, "broken.toml")
            broken.write_text(config.read_text() + "\nno_such_key_at_all = 1\n")
            bad = subprocess.run([pigeond(), "check", "--config", str(broken)], capture_output=True, text=True)
            self.assertEqual(bad.returncode, 1)
            self.assertRegex(bad.stdout + bad.stderr, r"broken\.toml:\d+:\d+")

    def test_plaintext_logins_need_trust(self):
        """The quickstart trusts loopback; without that, passwords need TLS."""
        def distrust(node):
            config = only(node.directory, "*.toml")
            text, count = re.subn(r"(?m)^(\s*trusted\w*\s*=\s*)\[[^\]]*\]", r"\1[]", config.read_text())
            self.assertGreater(count, 0, config.read_text())
            config.write_text(text)

        with Node(configure=distrust) as node:
            connection = socket.create_connection(("127.0.0.1", node.port(IMAP)), 10)
            self.assertIn(b"LOGINDISABLED", connection.recv(1000))
            connection.sendall(f"a LOGIN {ALICE} {PASSWORD}\r\n".encode())
            self.assertIn(b"a NO [PRIVACYREQUIRED]", connection.recv(1000))
            connection.close()
            with node.connect(IMAPS) as plain, node.tls().wrap_socket(plain) as tls:
                self.assertIsInstance(tls, ssl.SSLSocket)
                self.assertNotIn(b"LOGINDISABLED", tls.recv(1000))
