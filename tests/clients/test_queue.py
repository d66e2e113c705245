"""Mail for a node that is away waits at the node that took it: what was acknowledged is delivered once, whoever dies."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import threading
import time
import unittest

from harness import needs
from harness.cluster import BACKEND_LMTP, Cluster
from harness.mail import ALICE, BOB, Load, Refused, Smtp, digest, identity_of, make, without_trace
from harness.node import SMTP, wait_until
from harness.reading import compare, messages, stored

# A clock on a busy machine proves nothing.
PATIENCE = 90


class Lossy:
    """Between two nodes: swallows the answer to the next message, and ends that connection."""

    def __init__(self, port):
        self.port, self.armed, self.swallowed = port, threading.Event(), 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                client.close()
                continue
            whole = threading.Event()
            threading.Thread(target=self.forward, args=(client, server, whole), daemon=True).start()
            threading.Thread(target=self.back, args=(server, client, whole), daemon=True).start()

    def forward(self, client, server, whole):
        try:
            while data := client.recv(65536):
                # The last chunk of a message, or a message in one.
                if self.armed.is_set() and b" LAST\r\n" in data:
                    whole.set()
                server.sendall(data)
        except OSError:
            pass
        self.end(client, server)

    def back(self, server, client, whole):
        try:
            while data := server.recv(65536):
                # Of its answers the one to the message is the last: the others go with it.
                if whole.is_set() and re.search(rb"ok, stored as", data):
                    self.armed.clear()
                    self.swallowed += 1
                    break
                client.sendall(data)
        except OSError:
            pass
        self.end(client, server)

    @staticmethod
    def end(*sockets):
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


class Queue(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The third keeps nobody's mail.
        cls.cluster = Cluster(["n1", "n2", "n3"], {ALICE: "n1", BOB: "n2"}, '[queue]\nanswer_time = "2s"\n')
        cls.addClassCleanup(cls.cluster.remove)
        cls.one, cls.two, cls.three = [cls.cluster[name] for name in ("n1", "n2", "n3")]

    def waiting(self, *nodes):
        """Messages that wait for the second node."""
        return sum(node.queued("n2") for node in nodes or (self.one, self.three))

    def send(self, node, names, recipients=(BOB,), sender=BOB, size=2_000):
        sent = {}
        with Smtp(node, SMTP, timeout=120) as session:
            for name in names:
                message = make(name, size)
                session.deliver(message, recipients, sender)
                sent[name] = digest(message)
        return sent

    def drained(self, *nodes):
        wait_until(lambda: self.waiting(*nodes) == 0, PATIENCE, "nothing waits any more")

    def check(self, acknowledged, node=None, user=BOB):
        """All there, each once."""
        self.assertEqual(compare(acknowledged, node or self.two, user), [])

    def test_the_owner_is_killed_under_load(self):
        loads = [Load(node, 3, f"owner{number}", recipients=(BOB,)) for number, node in enumerate((self.one, self.three))]
        self.addCleanup(lambda: [load.stop() for load in loads])
        wait_until(lambda: all(load.count() >= 50 for load in loads), PATIENCE, "the load runs")
        for _ in range(2):
            self.two.kill()
            counts = [load.count() for load in loads]
            taken = lambda: all(load.count() >= count + 50 for load, count in zip(loads, counts))  # noqa: E731, B023
            wait_until(taken, PATIENCE, "its mail is taken while it is away")
            self.assertGreater(self.waiting(), 0)
            before = self.one.metric("pigeon_queued_copies_delivered_total")
            self.two.start()
            started = time.monotonic()
            wait_until(lambda: self.one.metric("pigeon_queued_copies_delivered_total") > before, PATIENCE, "mail flows again")
            print(f"mail flows again {time.monotonic() - started:.1f} s after the node is ready")
        acknowledged = {}
        for load in loads:
            acknowledged |= load.stop()
        self.drained()
        self.check(acknowledged)

    def test_the_owner_hangs_and_a_client_notices_nothing(self):
        program = needs("smtp-source")
        self.two.signal(signal.SIGSTOP)
        try:
            done = subprocess.run(
                [program, "-c", "-d", "-s", "8", "-m", "200", "-l", "3000", "-f", ALICE, "-t", BOB,
                 f"inet:127.0.0.1:{self.three.port(SMTP)}"], capture_output=True, timeout=300,
            )
            self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
            self.assertGreater(self.waiting(self.three), 0)
        finally:
            self.two.signal(signal.SIGCONT)
        self.drained()
        found = [identity_of(body) for _, _, body in messages(self.two, BOB) if b"From: <alice@" in body[:2000]]
        self.assertEqual((len(found), len(set(found))), (200, 200))

    def test_the_accepting_node_is_killed_while_mail_waits(self):
        self.two.kill()
        try:
            acknowledged = {}
            for number in range(4):
                acknowledged |= self.send(self.three, [f"accepting.{number}.{index}" for index in range(25)],
                                          sender=f"s{number}@example.net")
            acknowledged |= self.send(self.three, ["accepting.large"], size=1 << 20)
            # It is counted once a second.
            wait_until(lambda: self.waiting(self.three) == 101, PATIENCE, "all wait")
            self.three.kill()
            self.three.start()
            wait_until(lambda: self.waiting(self.three) == 101, PATIENCE, "all wait still")
        finally:
            self.two.start()
        # And once more while it is brought.
        wait_until(lambda: self.three.metric("pigeon_queued_copies_delivered_total") > 0, PATIENCE, "it is brought")
        self.three.kill()
        self.three.start()
        self.drained(self.three)
        self.check(acknowledged)

    def test_a_senders_mail_keeps_its_order(self):
        names = [f"order.{number:03}" for number in range(60)]
        self.send(self.three, names[:5])
        self.two.kill()
        try:
            self.send(self.three, names[5:40])
        finally:
            self.two.start()
        # On several connections, so that it comes in on several cores, while the others may still wait.
        for name in names[40:]:
            self.send(self.three, [name])
        self.drained(self.three)
        found = [identity_of(body) for _, _, body in messages(self.two, BOB)]
        self.assertEqual([name for name in found if name.startswith("order.")], names)

    def test_an_answer_that_is_lost_makes_no_second_copy(self):
        port = self.two.offset + BACKEND_LMTP
        lossy = Lossy(port)
        self.addCleanup(lossy.close)
        behind = lambda tree: tree.replace(f"lmtp://127.0.0.1:{port}",  # noqa: E731
                                           f"lmtp://127.0.0.1:{lossy.listener.getsockname()[1]}")
        duplicates = self.two.metric("pigeon_volume_duplicates_total")
        acknowledged = {}
        try:
            self.cluster.hold(behind)
            for number, size in enumerate([2_000, 300_000, 2_000]):
                lossy.armed.set()
                acknowledged |= self.send(self.three, [f"lost.{number}"], size=size)
                wait_until(lambda: not lossy.armed.is_set(), PATIENCE, "an answer was swallowed")
                self.drained(self.three)
        finally:
            self.cluster.hold()
        self.assertEqual(lossy.swallowed, 3)
        self.check(acknowledged)
        # Published once a second.
        wait_until(lambda: self.two.metric("pigeon_volume_duplicates_total") - duplicates == 3, PATIENCE, "three are known")

    def test_one_message_for_here_and_there(self):
        self.two.kill()
        try:
            acknowledged = self.send(self.one, ["both.small"], (ALICE, BOB)) | self.send(
                self.three, ["both.large"], (ALICE, BOB), size=400_000)
            self.check(acknowledged, self.one, ALICE)
        finally:
            self.two.start()
        self.drained()
        self.check(acknowledged)
        self.check(acknowledged, self.one, ALICE)
        [body] = [body for _, _, body in messages(self.two, BOB) if b"<both.small@" in body]
        head = body[: body.index(b"From: ")].decode()
        self.assertRegex(head, r"\AReturn-Path: <bob@example.org>\r\nDelivered-To: bob@example.org\r\nReceived: ")

    def test_what_is_refused_in_the_end_is_reported(self):
        bounced = self.three.metric("pigeon_queued_copies_bounced_total")
        self.two.kill()
        try:
            self.send(self.three, ["refused"], sender=ALICE)
            self.cluster.hold(lambda tree: tree.replace(f"mail: {BOB}\n", f"mail: {BOB}\nmailQuotaSize: 1\n"), ["n1", "n3"])
        finally:
            self.two.start()
        try:
            self.drained(self.three)
            reports = [body for _, _, body in messages(self.one, ALICE) if b"<refused@" in body]
            self.assertEqual(len(reports), 1)
            report = reports[0].decode()
            self.assertIn("\r\nFinal-Recipient: rfc822;bob@example.org\r\nAction: failed\r\nStatus: 5.2.2\r\n", report)
            self.assertTrue(report.startswith("Return-Path: <>\r\n"), report[:200])
            self.assertEqual(self.three.metric("pigeon_queued_copies_bounced_total") - bounced, 1)
        finally:
            self.cluster.hold()
        self.assertNotIn("refused", stored(self.two, BOB)[0])

    def test_an_account_that_comes_here_while_its_mail_waits(self):
        self.two.kill()
        try:
            acknowledged = self.send(self.three, ["moved.1", "moved.2"], (BOB,), ALICE)
            self.cluster.hold(lambda tree: tree.replace(f"mail: {BOB}\nmailHost: n2\n", f"mail: {BOB}\nmailHost: n3\n"),
                              ["n1", "n3"])
            self.drained(self.three)
            self.check(acknowledged, self.three, BOB)
            [head] = [body for _, _, body in messages(self.three, BOB) if b"<moved.1@" in body]
            self.assertTrue(head.startswith(b"Return-Path: <alice@example.org>\r\nDelivered-To: bob@example.org\r\n"), head)
            self.assertEqual(without_trace(head)[:6], b"From: ")
        finally:
            self.two.start()
            self.cluster.hold()


class Life(unittest.TestCase):
    def test_what_has_waited_too_long_is_reported(self):
        with Cluster(["n1", "n2"], {ALICE: "n1", BOB: "n2"}, '[queue]\nlife = "2s"\n') as cluster:
            one, two = cluster["n1"], cluster["n2"]
            two.kill()
            message = make("expired")
            with Smtp(one, SMTP, timeout=120) as session:
                session.deliver(message, (BOB,), ALICE)
            wait_until(lambda: one.metric("pigeon_queued_copies_bounced_total") == 1, PATIENCE, "it is reported")
            [report] = [body.decode() for _, _, body in messages(one, ALICE)]
            self.assertIn("\r\nAction: failed\r\nStatus: 4.4.7\r\n", report)
            self.assertIn("Message-ID: <expired@test.invalid>", report)

    def test_no_more_waits_than_may(self):
        with Cluster(["n1", "n2"], {ALICE: "n1", BOB: "n2"}, '[queue]\nbytes_max = "1 MiB"\n') as cluster:
            one, two = cluster["n1"], cluster["n2"]
            # Taken at RCPT, before anything waits: a message in one piece, and one that is more than is collected.
            early = [Smtp(one, SMTP, timeout=120) for _ in range(2)]
            for session in early:
                session.begin([ALICE, BOB], ALICE)
            two.kill()
            acknowledged, refused = {}, None
            with Smtp(one, SMTP, timeout=120) as session:
                while refused is None and len(acknowledged) < 100:
                    name = f"bound.{len(acknowledged)}"
                    message = make(name, 100_000)
                    try:
                        session.deliver(message, (BOB,), ALICE)
                        acknowledged[name] = digest(message)
                    except Refused as error:
                        refused = error
                self.assertEqual((refused.code, refused.text[:6]), (452, "4.3.1 "), refused)
                self.assertTrue(8 <= len(acknowledged) <= 40, len(acknowledged))
                # Nobody gets what cannot wait for all, not even who is here.
                for one_of_them, size in zip(early, (2_000, 400_000)):
                    with self.assertRaises(Refused) as both, contextlib.closing(one_of_them):
                        one_of_them.finish(make(f"both.{size}", size))
                    self.assertEqual((both.exception.code, both.exception.text[:6]), (452, "4.3.1 "), both.exception)
                self.assertEqual(stored(one, ALICE)[0], {})
                # Mail for here is not touched by it.
                session.command("RSET", 250)
                session.deliver(make("here"), (ALICE,), ALICE)
            self.assertGreater(one.metric("pigeon_queue_full_total"), 0)
            queue = json.loads(one.status("/status.json")[1])["queue"]
            self.assertEqual((queue["full"], queue["held"], queue["kept"]["messages"]), (["main"], [], 0))
            listed = json.loads(one.status("/queue.json")[1])
            self.assertEqual((listed["complete"], len(listed["messages"])), (True, len(acknowledged)))
            self.assertEqual([(message["node"], message["sender"], message["recipients"]) for message in listed["messages"][:1]],
                             [("n2", ALICE, [BOB])])
            two.start()
            wait_until(lambda: one.queued("n2") == 0, PATIENCE, "nothing waits any more")
            self.assertEqual(compare(acknowledged, two, BOB), [])
            with Smtp(one, SMTP, timeout=120) as session:
                session.deliver(make("again"), (BOB,), ALICE)
