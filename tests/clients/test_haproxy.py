"""HAProxy in front of two nodes, from the published configuration: who the client is, and nodes that come and go under load."""

import imaplib
import poplib
import re
import signal
import smtplib
import socket
import threading
import unittest

from harness import PASSWORD, Node
from harness.cluster import Cluster
from harness.haproxy import HaProxy, listeners
from harness.mail import ALICE, BOB, digest, identity_of, make
from harness.node import IMAP, IMAPS, POP3, POP3S, SMTP, SUBMISSION, SUBMISSIONS, wait_until
from harness.reading import compare, messages

# Where clients are.
CLIENT = "127.0.0.21"
# As long as a test wants it: a second signal ends it.
CONFIGURATION = """
[timeouts]
drain_notice = "10m"
"""


class Balanced(Cluster):
    def configure(self, node, name):
        super().configure(node, name)
        with open(node.directory / "pigeon.toml", "a") as file:
            file.write(CONFIGURATION + listeners(node))


class Imap(imaplib.IMAP4):
    def _create_socket(self, timeout):
        return socket.create_connection((self.host, self.port), timeout, source_address=(CLIENT, 0))


class Pop3(poplib.POP3):
    def _create_socket(self, timeout):
        return socket.create_connection((self.host, self.port), timeout, source_address=(CLIENT, 0))


class ImapTls(Imap):
    def _create_socket(self, timeout):
        return Node.tls().wrap_socket(super()._create_socket(timeout), server_hostname="localhost")


class Pop3Tls(Pop3):
    def _create_socket(self, timeout):
        return Node.tls().wrap_socket(super()._create_socket(timeout), server_hostname="localhost")


# At once; of POP3 a maildrop takes but one.
CLIENTS = {"smtp": 2, "imap": 2, "pop3": 1}


class Sessions:
    """Clients that come and go, all the time: each of their sessions has to succeed."""

    def __init__(self, haproxy, name):
        self.name = name
        self.ports, self.stopping = haproxy.ports, threading.Event()
        self.sent, self.failures, self.counts = {}, [], {}
        self.threads = [threading.Thread(target=self.run, args=(getattr(self, kind), number))
                        for kind, count in CLIENTS.items() for number in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, kind, number):
        count = 0
        while not self.stopping.is_set():
            try:
                kind(f"{self.name}.{number}.{count}")
            except Exception as error:
                self.failures.append(f"{kind.__name__}: {error!r}")
            count += 1
            self.counts[kind.__name__, number] = count

    def smtp(self, name):
        message = make(name)
        with smtplib.SMTP("127.0.0.1", self.ports[SMTP], timeout=60, source_address=(CLIENT, 0)) as client:
            client.sendmail(ALICE, [BOB], message)
        self.sent[name] = digest(message)

    def imap(self, _):
        client = Imap("127.0.0.1", self.ports[IMAP], timeout=60)
        client.login(BOB, PASSWORD)
        client.select("INBOX")
        client.logout()

    def pop3(self, _):
        client = Pop3("127.0.0.1", self.ports[POP3], timeout=60)
        client.user(BOB)
        try:
            client.pass_(PASSWORD)
            client.stat()
        except poplib.error_proto as error:
            # The last session may not have let go of the maildrop yet: an answer like any other, after which the node closes.
            if "[IN-USE]" not in str(error):
                raise
            client.close()
        else:
            client.quit()

    def more(self, count=20):
        """Waits for so many more sessions of each client."""
        before = dict(self.counts)
        wait_until(lambda: all(self.counts.get(name, 0) >= before.get(name, 0) + count for name in
                               [(kind, number) for kind, count in CLIENTS.items() for number in range(count)]), 120, "sessions go on")

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
        return self.failures


class Balancer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Balanced(["n1", "n2"], {ALICE: "n1", BOB: "n2"})
        cls.addClassCleanup(cls.cluster.remove)
        cls.one, cls.two = cls.cluster["n1"], cls.cluster["n2"]
        cls.haproxy = HaProxy({"n1": cls.one, "n2": cls.two})
        cls.addClassCleanup(cls.haproxy.remove)

    def test_the_nodes_know_who_the_client_is(self):
        """Two sessions of each service at once, which go to different nodes."""
        ports, nodes = self.haproxy.ports, (self.one, self.two)
        ends = [len(node.log()) for node in nodes]
        before = [self.haproxy.connections(name) for name in ("n1", "n2")]
        clients = []
        for user in (ALICE, BOB):
            client = smtplib.SMTP("127.0.0.1", ports[SMTP], timeout=60, source_address=(CLIENT, 0))
            client.sendmail(ALICE, [BOB], make(f"address.{user}"))
            clients.append(client)
        for user in (ALICE, BOB):
            client = Imap("127.0.0.1", ports[IMAP], timeout=60)
            client.login(user, PASSWORD)
            clients.append(client)
        for user in (ALICE, BOB):
            client = Pop3("127.0.0.1", ports[POP3], timeout=60)
            client.user(user)
            client.pass_(PASSWORD)
            clients.append(client)
        for client in clients:
            client.logout() if isinstance(client, Imap) else client.quit()
        self.assertEqual([self.haproxy.connections(name) for name in ("n1", "n2")], [count + 3 for count in before])
        for node, end in zip(nodes, ends):
            for service in ("imap", "pop3"):
                node.wait_log(rf"peer={re.escape(CLIENT)}\b.*service=\"?{service}.*account=", after=end)
        found = [body for _, _, body in messages(self.two, BOB) if (identity_of(body) or "").startswith("address.")]
        self.assertEqual(len(found), 2)
        for body in found:
            self.assertIn(f"([{CLIENT}])".encode(), body)

    def test_the_services_with_tls_and_submission(self):
        """Handshakes behind the header; a user's own mail is sent by both nodes and names the client to both."""
        ports, nodes = self.haproxy.ports, (self.one, self.two)
        ends = [len(node.log()) for node in nodes]
        before = [self.haproxy.connections(name) for name in ("n1", "n2")]
        clients = []
        for user in (ALICE, BOB):
            implicit = smtplib.SMTP_SSL("127.0.0.1", ports[SUBMISSIONS], timeout=60, context=Node.tls(), source_address=(CLIENT, 0))
            explicit = smtplib.SMTP("127.0.0.1", ports[SUBMISSION], timeout=60, source_address=(CLIENT, 0))
            explicit.starttls(context=Node.tls())
            for name, client in (("submissions", implicit), ("submission", explicit)):
                client.login(user, PASSWORD)
                client.sendmail(user, [BOB], make(f"{name}.{user.split('@')[0]}"))
                clients.append(client)
            imap = ImapTls("127.0.0.1", ports[IMAPS], timeout=60)
            imap.login(user, PASSWORD)
            pop3 = Pop3Tls("127.0.0.1", ports[POP3S], timeout=60)
            pop3.user(user)
            pop3.pass_(PASSWORD)
            clients += [imap, pop3]
        for client in clients:
            client.logout() if isinstance(client, Imap) else client.quit()
        self.assertEqual([self.haproxy.connections(name) for name in ("n1", "n2")], [count + 4 for count in before])
        for node, end in zip(nodes, ends):
            for service in ("imap", "pop3", "submission"):
                node.wait_log(rf"peer={re.escape(CLIENT)}\b.*service=\"?{service}.*account=", after=end)
        found = sorted(identity_of(body) for _, _, body in messages(self.two, BOB)
                       if (identity_of(body) or "").startswith("submission"))
        self.assertEqual(found, [f"{name}.{user}" for name in ("submission", "submissions") for user in ("alice", "bob")])

    def wait_drained(self, name):
        """What it was given until then."""
        wait_until(lambda: self.haproxy.states()[name] == "DOWN", 60, "HAProxy sees that it drains")
        return self.haproxy.connections(name)

    def has_ended(self):
        """A second signal ends the notice; one that comes right behind the first may be the same."""
        self.one.signal(signal.SIGTERM)
        return self.one.process.poll() is not None

    def check_back(self, name, sessions):
        wait_until(lambda: self.haproxy.states()[name] == "UP", 60, "HAProxy sees that it is back")
        given = self.haproxy.connections(name)
        sessions.more()
        self.assertGreater(self.haproxy.connections(name), given)

    def test_a_node_that_ends_and_comes_back_costs_no_connection(self):
        sessions = Sessions(self.haproxy, "ends")
        try:
            sessions.more()
            self.one.signal(signal.SIGTERM)
            given = self.wait_drained("n1")
            # What came before is over by then.
            sessions.more()
            wait_until(self.has_ended, 60, "the node ends")
            self.assertEqual(self.one.wait_end(), 0)
            sessions.more()
            self.assertEqual(self.haproxy.connections("n1"), given)
            self.one.start()
            self.check_back("n1", sessions)
        finally:
            failures = sessions.stop()
        self.assertEqual((len(failures), failures[:5]), (0, []))
        self.assertEqual(compare(sessions.sent, self.two, BOB), [])

    def test_a_node_that_control_data_drains_keeps_its_sessions_and_gets_no_more(self):
        held = []
        for user in (ALICE, BOB):
            client = Imap("127.0.0.1", self.haproxy.ports[IMAP], timeout=60)
            client.login(user, PASSWORD)
            held.append(client)
        sessions = Sessions(self.haproxy, "drained")
        try:
            sessions.more()
            self.cluster.hold(lambda tree: tree.replace("\ncn: n1\n", "\ncn: n1\npigeonNodeState: draining\n"))
            given = self.wait_drained("n1")
            self.assertTrue(self.one.status("/ready")[1].startswith("draining"))
            sessions.more()
            self.assertEqual(self.haproxy.connections("n1"), given)
            for client in held:
                self.assertEqual(client.select("INBOX")[0], "OK")
                client.logout()
            self.cluster.hold()
            self.check_back("n1", sessions)
        finally:
            self.cluster.hold()
            failures = sessions.stop()
        self.assertEqual((len(failures), failures[:5]), (0, []))

    def test_a_node_that_is_killed_costs_what_was_on_it(self):
        self.one.kill()
        wait_until(lambda: self.haproxy.states()["n1"] == "DOWN", 60, "HAProxy sees that it is gone")
        sessions = Sessions(self.haproxy, "killed")
        try:
            sessions.more()
        finally:
            failures = sessions.stop()
            self.one.start()
        self.assertEqual((len(failures), failures[:5]), (0, []))
        wait_until(lambda: self.haproxy.states()["n1"] == "UP", 60, "HAProxy sees that it is back")
