"""Three nodes in network namespaces, 10,000 accounts of one domain spread over them: mail through every node, read through every
node, the same everywhere; nodes speak with each other on the private network alone, and no password is on it."""

import base64
import collections
import imaplib
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import unittest

from harness import needs
from harness.machines import DOMAIN, Machines
from harness.mail import digest
from harness.network import PRIVATE, PUBLIC, Capture, needs_namespaces
from harness.reading import pop3

NODES = [f"n{number}" for number in range(1, 1 + int(os.environ.get("PIGEON_NODES", 3)))]
ACCOUNTS, SESSIONS, SIZE = int(os.environ.get("PIGEON_ACCOUNTS", 10_000)), 20, 2_000
# Long and of its own kind, so that it is found wherever it stands.
PASSWORD = "correct-horse-battery-staple-{}"


def address(number):
    # As smtp-source -N makes them.
    return f"{number}user@{DOMAIN}"


def forms(password, user):
    """How a password could stand on a wire."""
    plain = base64.b64encode(f"\0{user}\0{password}".encode())
    return [password.encode(), base64.b64encode(password.encode()), plain]


class Spread(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        needs_namespaces()
        cls.smtp_source, cls.curl, cls.mbsync = needs("smtp-source", "curl", "mbsync")
        accounts = {address(number): (PASSWORD.format(number % 10), NODES[number % len(NODES)]) for number in range(1, ACCOUNTS + 1)}
        cls.machines = Machines(NODES, accounts)
        cls.addClassCleanup(cls.machines.remove)
        cls.client = cls.machines.network.client
        cls.nodes = list(cls.machines)
        cls.send_all()

    @classmethod
    def counts(cls, kind):
        return [sum(node.machine.bytes(kind)) for node in cls.nodes]

    @classmethod
    def send_all(cls):
        """A message to each account through each node."""
        cls.count_crossings()
        public, private = cls.counts(PUBLIC), cls.counts(PRIVATE)
        sending = [subprocess.Popen(cls.client.command(
            cls.smtp_source, "-c", "-d", "-N", "-s", str(SESSIONS), "-m", str(ACCOUNTS), "-l", str(SIZE),
            "-f", f"{node.name}@elsewhere.example", "-t", f"user@{DOMAIN}", f"inet:{node.host}:25"),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for node in cls.nodes]
        for process in sending:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors.decode()
        cls.public = [now - before for before, now in zip(public, cls.counts(PUBLIC))]
        cls.private = [now - before for before, now in zip(private, cls.counts(PRIVATE))]

    @classmethod
    def count_crossings(cls):
        """Counters in each node of what goes to other nodes' public addresses; there should be nothing."""
        rules = ("table ip crossing { counter crossed { } ; chain output { type filter hook output priority 0 ; "
                 "oifname public ip daddr 192.0.2.0-192.0.2.99 counter name crossed ; } ; }")
        for node in cls.nodes:
            done = node.machine.run(needs("nft"), rules)
            assert done.returncode == 0, done.stderr.decode()

    def crossed(self, node):
        done = node.machine.run(needs("nft"), "list", "counter", "ip", "crossing", "crossed")
        return int(re.search(r"packets (\d+)", done.stdout.decode())[1])

    def test_all_is_there_through_every_node(self):
        wrong, lock = collections.Counter(), threading.Lock()

        def read(node, numbers):
            for number in numbers:
                seen = collections.Counter(found[0] for found in self.mailbox(node, address(number)))
                if seen != dict.fromkeys(NODES, 1):
                    with lock:
                        wrong[f"{address(number)} through {node.name}: {dict(seen)}"] += 1

        # Every account through one node that is mostly not its own.
        threads = [threading.Thread(target=read, args=(node, range(1 + start, ACCOUNTS + 1, 2 * len(self.nodes))))
                   for start, node in enumerate(2 * self.nodes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)
        self.assertEqual(list(wrong)[:10], [])
        self.assertEqual([self.crossed(node) for node in self.nodes], [0] * len(NODES), "packets between nodes on the public network")
        # The counter would see one.
        with self.nodes[0].machine.within(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.sendto(b"", (self.nodes[1].host, 9))
        self.assertEqual(self.crossed(self.nodes[0]), 1)

    def mailbox(self, node, user):
        """For each message its sender's name, UID and digest, as imaplib sees it."""
        password = self.machines.accounts[user][0]
        with node.reach():
            connection = imaplib.IMAP4(node.host, 143, timeout=120)
        connection.login(user, password)
        connection.select("INBOX", readonly=True)
        kind, data = connection.fetch("1:*", "(UID BODY.PEEK[])")
        self.assertEqual(kind, "OK")
        found = []
        for item in data:
            if isinstance(item, tuple):
                sender = re.search(rb"^Return-Path: <(n\d+)@elsewhere", item[1], re.M)[1].decode()
                found.append((sender, int(re.search(rb"UID (\d+)", item[0])[1]), digest(item[1])))
        connection.logout()
        return found

    def test_the_same_through_every_node(self):
        for number in range(1, 61):
            user = address(number)
            views = [self.mailbox(node, user) for node in self.nodes]
            self.assertEqual(len(views[0]), len(NODES))
            self.assertTrue(all(view == views[0] for view in views), f"{user}: {views}")
            lists = []
            for node in self.nodes:
                connection = pop3(node, user, self.machines.accounts[user][0])
                lists.append((connection.uidl()[1], connection.list()[1]))
                connection.quit()
            self.assertTrue(all(view == lists[0] for view in lists), f"{user}: {lists}")

    def test_curl_through_every_node(self):
        for number in (1, 2, 3):
            user = address(number)
            secret = f"{user}:{self.machines.accounts[user][0]}"
            got = []
            for node in self.nodes:
                for url in (f"imap://{node.host}/INBOX;UID=1", f"pop3://{node.host}/1"):
                    done = self.client.run(self.curl, "--silent", "--show-error", "--max-time", "60", "--user", secret, url)
                    self.assertEqual(done.returncode, 0, done.stderr.decode())
                    got.append(done.stdout)
            self.assertGreater(len(got[0]), SIZE - 500)
            self.assertEqual(len(set(got)), 1, f"{user}: not the same through all nodes and protocols")

    def test_mbsync_through_every_node(self):
        for number in (4, 5, 6):
            user = address(number)
            got = []
            for node in self.nodes:
                with tempfile.TemporaryDirectory() as home:
                    home = pathlib.Path(home)
                    (home / "mail").mkdir()
                    (home / "mbsyncrc").write_text(
                        f"IMAPAccount node\nHost {node.host}\nUser {user}\nPass {self.machines.accounts[user][0]}\n"
                        "SSLType None\nAuthMechs PLAIN\n\nIMAPStore far\nAccount node\n\n"
                        f"MaildirStore near\nPath {home}/mail/\nInbox {home}/mail/INBOX\n\n"
                        "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Near\nSync Pull\nSyncState *\n")
                    done = self.client.run(self.mbsync, "-c", str(home / "mbsyncrc"), "-a",
                                           env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
                    self.assertEqual(done.returncode, 0, done.stderr.decode())
                    files = [path for path in (home / "mail" / "INBOX").rglob("*") if path.parent.name in ("cur", "new")]
                    # mbsync puts a header field of its own in.
                    texts = [re.sub(rb"(?m)^X-TUID:.*\n", b"", path.read_bytes()) for path in files]
                    got.append(sorted(map(digest, texts)))
            self.assertEqual(len(got[0]), len(NODES))
            self.assertTrue(all(view == got[0] for view in got), user)

    def test_no_more_inside_than_outside(self):
        inside, outside = sum(self.private), sum(self.public)
        # Every byte of a pair of nodes is counted at both ends.
        print(f"    bytes outside {outside:,}, inside {inside // 2:,}: {inside / 2 / outside:.2f} of them", flush=True)
        self.assertGreater(inside // 2, ACCOUNTS * (len(NODES) - 1) * SIZE, "all but one of each account's messages crosses")
        self.assertLessEqual(inside // 2, outside)

    def test_no_password_on_the_inside(self):
        capture = Capture(self.machines.network, PRIVATE)
        outside = Capture(self.machines.network, PUBLIC)
        logins = 0
        try:
            for number in range(1, 31):
                user = address(number)
                for node in self.nodes:
                    self.mailbox(node, user)
                    connection = pop3(node, user, self.machines.accounts[user][0])
                    connection.quit()
                    logins += 2
        finally:
            frames, seen = capture.stop(), outside.stop()
        everything, clients = b"".join(frames), b"".join(seen)
        # A third of them is redirected to each node, and the capture sees it.
        self.assertGreaterEqual(everything.count(b"SCRAM-SHA-256"), logins // 3)
        needles = {needle for number in range(1, 31)
                   for needle in forms(self.machines.accounts[address(number)][0], address(number))}
        self.assertTrue(any(needle in clients for needle in needles), "the capture would see one")
        for needle in needles:
            self.assertNotIn(needle, everything)
