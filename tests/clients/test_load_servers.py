"""`verify` and `mix` on whole installations: a cluster that is reached at both its nodes, and Postfix with Dovecot behind it."""

import pathlib
import tempfile
import unittest

from harness import PASSWORD
from harness.cluster import Cluster
from harness.dovecot import DovecotAlone
from harness.load import load
from harness.mail import ALICE, BOB
from harness.node import IMAP, LMTP, POP3, SMTP
from harness.postfix import Postfix

# What the built-in profile has, and LMTP; small messages, because a real Postfix on a slow disk has to keep up.
PROFILE = """
[shares]
smtp = 25
lmtp = 10
imap-sync = 20
imap-fetch = 20
imap-flags = 10
imap-append = 5
imap-login = 5
imap-idle = 5
pop3 = 5
[imap]
idle = "50ms"
[message]
messages_per_session = 3
sizes = [
    { octets = "1000-4000", share = 80 },
    { octets = "4000-100000", share = 20 },
]
"""
KINDS = {"smtp", "lmtp", "imap-sync", "imap-fetch", "imap-flags", "imap-append", "imap-login", "imap-idle", "pop3"}


class Servers:
    """`places(protocol)`: where it is spoken; `users`: who has a mailbox."""

    def at(self, option, protocol):
        return [word for place in self.places(protocol) for word in (option, place)]

    def people(self):
        return [*(word for user in self.users for word in ("--user", user)), "--password", PASSWORD]

    def verify(self, protocol, count, *more):
        summary = load("verify", *self.at("--target", protocol), *self.at("--read", "imap"), *self.people(), "--count", count,
                       "--duration", "120s", "--size", "400-40000", "--sessions", 10, "--messages-per-session", 7,
                       # A queue is emptied in its own time.
                       "--patience", "120s", "--settle", "500ms", *more)
        self.assertEqual(summary["failed"], 0, summary)
        self.assertEqual((summary["verify"]["acknowledged"], summary["verify"]["right"]), (count, count), summary)

    def mix(self, count):
        with tempfile.TemporaryDirectory() as directory:
            profile = pathlib.Path(directory) / "profile.toml"
            profile.write_text(PROFILE)
            doors = [word for protocol in ("smtp", "lmtp", "imap", "pop3") for word in self.at(f"--{protocol}", protocol)]
            done = load("mix", *doors, *self.people(), "--sessions", 8, "--count", count, "--duration", "120s", "--seed", 5,
                        "--profile", profile)
        self.assertEqual(set(done["jobs"]), KINDS)
        for kind, job in done["jobs"].items():
            # Two sessions may want the maildrop of one account at once.
            failed = 0 if kind != "pop3" else job["failures"].get("refused for now", 0)
            self.assertEqual(job["failed"], failed, (kind, job))
            self.assertGreater(job["done"], 0, (kind, job))
        self.assertEqual(done["done"] + done["failed"], count)


class TwoNodes(Servers, unittest.TestCase):
    """Sessions and messages come to the right node and to the wrong one."""

    users = [ALICE, BOB]

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(["n1", "n2"], {ALICE: "n1", BOB: "n2"})
        cls.addClassCleanup(cls.cluster.remove)

    def places(self, protocol):
        port = {"smtp": SMTP, "lmtp": LMTP, "imap": IMAP, "pop3": POP3}[protocol]
        return [f"127.0.0.1:{self.cluster[name].port(port)}" for name in ("n1", "n2")]

    def test_all_arrives_once_through_both_nodes(self):
        before = [self.cluster[name].metric("pigeon_copies_elsewhere_total") for name in ("n1", "n2")]
        self.verify("smtp", 600)
        self.verify("smtp", 300, "--bdat", "--no-pipelining")
        self.verify("lmtp", 300, "--lmtp")
        after = [self.cluster[name].metric("pigeon_copies_elsewhere_total") for name in ("n1", "n2")]
        self.assertTrue(all(now > then for now, then in zip(after, before)), (before, after))

    def test_a_mix_through_both_nodes(self):
        # Something to read in each mailbox.
        load("smtp", *self.at("--target", "smtp"), *self.people()[:-2], "--count", 10)
        self.mix(400)


class PostfixAndDovecot(Servers, unittest.TestCase):
    users = [f"user{number}@example.org" for number in range(1, 9)]

    @classmethod
    def setUpClass(cls):
        cls.dovecot = DovecotAlone(cls.users)
        cls.addClassCleanup(cls.dovecot.remove)
        cls.postfix = Postfix(cls.users, lmtp=cls.dovecot.lmtp)
        cls.addClassCleanup(cls.postfix.remove)

    def places(self, protocol):
        ports = {"smtp": self.postfix.port, "lmtp": self.dovecot.lmtp, "imap": self.dovecot.imap, "pop3": self.dovecot.pop3}
        return [f"127.0.0.1:{ports[protocol]}"]

    def test_all_arrives_once_through_the_queue(self):
        self.verify("smtp", 200)
        self.verify("lmtp", 200, "--lmtp")
        self.assertEqual(self.postfix.waiting(), 0)

    def test_a_mix_of_a_day(self):
        # Something to read in each mailbox.
        load("lmtp", *self.at("--target", "lmtp"), *self.people()[:-2], "--sessions", 8, "--count", 16)
        self.mix(200)
