"""Three nodes, one tree: every node takes mail for every account, and the node that keeps the account gets it."""

import concurrent.futures
import re
import signal
import smtplib
import unittest

from harness import PASSWORD
from harness.cluster import BACKEND_LMTP, Cluster
from harness.mail import ALICE, BOB, Load, Refused, Smtp, digest, make, stuffed
from harness.node import LMTP, SMTP, SUBMISSIONS, wait_until
from harness.reading import compare, messages, stored

# What an operator counts on is a second or two; a clock on a busy machine proves nothing.
PATIENCE = 60


def lmtp(node, message, recipients):
    """The code for each recipient, at RCPT or after the message."""
    codes = {}
    with Smtp(node, LMTP, timeout=120) as session:
        session.command(f"MAIL FROM:<{BOB}>", 250)
        for recipient in recipients:
            session.send(f"RCPT TO:<{recipient}>")
            codes[recipient] = session.reply()[0]
        accepted = [recipient for recipient in recipients if codes[recipient] == 250]
        if accepted:
            session.command("DATA", 354)
            session.send(stuffed(message) + b".\r\n")
            for recipient in accepted:
                codes[recipient] = session.reply()[0]
    return codes


def smtp(node, message, recipients):
    """The code of the answer, or of the first recipient that is refused; and its text."""
    try:
        with Smtp(node, SMTP, timeout=120) as session:
            return 250, session.deliver(message, recipients)
    except Refused as refused:
        return refused.code, str(refused)


class ClusterMail(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The third keeps nobody's mail.
        cls.cluster = Cluster(["n1", "n2", "n3"], {ALICE: "n1", BOB: "n2"})
        cls.addClassCleanup(cls.cluster.remove)
        cls.nodes = [cls.cluster[name] for name in ("n1", "n2", "n3")]
        cls.one, cls.two, cls.three = cls.nodes

    def answered(self, node, message, recipients, code):
        """For assertEqual."""
        got, text = smtp(node, message, recipients)
        return got, code, text

    def elsewhere(self):
        return sum(node.metric("pigeon_copies_elsewhere_total") for node in self.nodes)

    def assert_there(self, sent):
        """On the owners, and read there."""
        for owner, user in [(self.one, ALICE), (self.two, BOB)]:
            self.assertEqual(compare({name: digest(message) for name, message in sent.items()}, owner, user), [])

    def test_every_node_takes_mail_for_every_account(self):
        sent, before = {}, self.elsewhere()
        for number, node in enumerate(self.nodes):
            for kind, size in [("small", 2_000), ("long", 400_000), ("large", 5 << 20)]:
                name = f"every.{number}.{kind}"
                sent[name] = make(name, size)
                self.assertEqual(*self.answered(node, sent[name], [ALICE, BOB], 250))
                name = f"every.{number}.{kind}.lmtp"
                sent[name] = make(name, size)
                self.assertEqual(lmtp(node, sent[name], [ALICE, BOB]), {ALICE: 250, BOB: 250})
        self.assert_there(sent)
        # One of the two copies through the owners, both through the third.
        self.assertEqual(self.elsewhere() - before, 6 * (1 + 1 + 2))
        self.assertLessEqual(self.three.metric("pigeon_mail_connections_total"), 8, "connections are kept")

    def test_what_is_in_front_of_a_message(self):
        message = make("front")
        self.assertEqual(smtp(self.three, message, [BOB])[0], 250)
        [found] = [body for _, _, body in messages(self.two, BOB) if b"<front@" in body]
        head = found[: found.index(b"From: ")].decode()
        self.assertEqual(len(re.findall("^Return-Path: ", head, re.M)), 1)
        self.assertEqual(re.findall("^Delivered-To: (.*)\r$", head, re.M), [BOB])
        self.assertEqual(len(re.findall("^Received: ", head, re.M)), 2)
        self.assertRegex(head, r"\AReturn-Path: <bob@example.org>\r\nDelivered-To: ")

    def test_load_through_all(self):
        loads = [Load(node, 4, f"load{number}", recipients=(ALICE, BOB)) for number, node in enumerate(self.nodes)]
        wait_until(lambda: all(load.count() >= 300 for load in loads), 120, "every node has taken 300 messages")
        acknowledged = {}
        for load in loads:
            acknowledged |= load.stop()
        for owner, user in [(self.one, ALICE), (self.two, BOB)]:
            self.assertEqual(compare(acknowledged, owner, user), [])

    def test_what_the_owner_says_is_what_the_sender_hears(self):
        full = make("full")
        try:
            self.cluster.hold(lambda tree: tree.replace(f"mail: {BOB}\n", f"mail: {BOB}\nmailQuotaSize: 1\n"))
            for node in self.nodes:
                code, text = smtp(node, full, [BOB])
                self.assertEqual(code, 552, text)
                self.assertIn("5.2.2", text)
                self.assertEqual(lmtp(node, full, [ALICE, BOB]), {ALICE: 250, BOB: 552})
        finally:
            self.cluster.hold()
        self.assertNotIn("full", stored(self.two, BOB)[0])

    def test_nobody_is_known_to_keep_it(self):
        def lost(tree):
            return tree.replace(f"mail: {BOB}\nmailHost: n2\n", f"mail: {BOB}\n")

        try:
            self.cluster.hold(lost)
            for node in self.nodes:
                end = len(node.log())
                self.assertEqual(lmtp(node, make("nowhere"), [ALICE, BOB]), {ALICE: 250, BOB: 451})
                node.wait_log(r"waits at the sender.*uid=bob|uid=bob.*waits at the sender", after=end)
        finally:
            self.cluster.hold()
        self.assertNotIn("nowhere", stored(self.two, BOB)[0])

    def test_nodes_that_do_not_agree_send_nothing_in_circles(self):
        before = self.two.metric("pigeon_redirects_astray_total")
        try:
            self.cluster.hold(lambda tree: tree.replace(f"mail: {BOB}\nmailHost: n2\n", f"mail: {BOB}\nmailHost: n1\n"),
                              ["n2"])
            code, text = smtp(self.one, make("astray"), [BOB])
            self.assertEqual(code, 451, text)
            self.two.wait_log("mail went astray")
        finally:
            self.cluster.hold()
        # Asked a few times, because a change may be on its way to one of them.
        self.assertIn(self.two.metric("pigeon_redirects_astray_total") - before, range(2, 8))
        self.assertEqual(smtp(self.one, make("agreed"), [BOB])[0], 250)
        found = stored(self.two, BOB)[0]
        self.assertNotIn("astray", found)
        self.assertIn("agreed", found)

    def test_who_has_another_key_is_refused_and_counted(self):
        right, refused = self.cluster.keys["n1"], self.two.metric("pigeon_redirects_refused_key_total")
        try:
            self.cluster.keys["n1"] = "another key, which n1 does not have"
            self.cluster.hold()
            # Connections that were logged in before serve on; new ones are needed after a message on each.
            self.two.stop()
            self.two.start()
            refused = 0
            # It waits until somebody has mended that.
            code, text = smtp(self.one, make("wrong-key"), [BOB])
            self.assertEqual(code, 250, text)
            self.assertGreater(self.two.metric("pigeon_redirects_refused_key_total"), refused)
        finally:
            self.cluster.keys["n1"] = right
            self.cluster.hold()
        self.assert_arrives(self.two, BOB, {"wrong-key": digest(make("wrong-key"))})

    def test_a_backend_takes_no_clients(self):
        with Smtp(self.two, BACKEND_LMTP, hello="LHLO test.invalid") as session:
            self.assertIn("XPIGEON", session.hello.split("\n"))
            self.assertIn("AUTH SCRAM-SHA-256", session.hello.split("\n"))
            session.command(f"MAIL FROM:<{BOB}>", 530)
            session.command(f"RCPT TO:<{BOB}>", 503)
            session.command("AUTH PLAIN AGEAYg==", 504)

    def check_others(self, name, acknowledged):
        """While the second node is away: mail for others as ever, and its own waits."""
        for number in range(5):
            for user in (ALICE, BOB):
                identity = f"{name}.{number}.{user.partition('@')[0]}"
                message = make(identity)
                node = (self.one, self.three)[number % 2]
                self.assertEqual(*self.answered(node, message, [user], 250))
                acknowledged[user][identity] = digest(message)
            message = make(f"{name}.{number}.both")
            self.assertEqual(lmtp(node, message, [ALICE, BOB]), {ALICE: 250, BOB: 250})
            self.assertEqual(*self.answered(self.one, make(f"{name}.{number}.one-answer"), [ALICE, BOB], 250))
            for user in (ALICE, BOB):
                acknowledged[user][f"{name}.{number}.both"] = digest(message)
                acknowledged[user][f"{name}.{number}.one-answer"] = digest(make(f"{name}.{number}.one-answer"))

    def assert_arrives(self, node, user, acknowledged):
        """All of it in the end, and nothing twice."""
        wait_until(lambda: not set(acknowledged) - set(stored(node, user)[0]), PATIENCE, "its mail arrives")
        self.assertEqual(compare(acknowledged, node, user), [])

    def test_kill_9_under_load(self):
        loads = {user: Load(self.three, 4, f"kill.{user.partition('@')[0]}", recipients=(user,)) for user in (ALICE, BOB)}
        wait_until(lambda: all(load.count() >= 100 for load in loads.values()), PATIENCE, "the load runs")
        unknown = self.three.metric("pigeon_copies_elsewhere_unknown_total")
        self.two.kill()
        acknowledged = {ALICE: {}, BOB: {}}
        self.check_others("kill", acknowledged)
        count = loads[ALICE].count()
        wait_until(lambda: loads[ALICE].count() > count + 50, PATIENCE, "the others' mail goes on")
        self.two.start()
        count = loads[BOB].count()
        wait_until(lambda: loads[BOB].count() > count + 50, PATIENCE, "its mail goes on")
        for user, load in loads.items():
            acknowledged[user] |= load.stop()
        self.assertEqual(compare(acknowledged[ALICE], self.one, ALICE), [])
        self.assert_arrives(self.two, BOB, acknowledged[BOB])
        unknown = self.three.metric("pigeon_copies_elsewhere_unknown_total") - unknown
        self.assertLessEqual(unknown, 8, "at most what was under way on each session")

    def test_a_node_that_hangs(self):
        acknowledged = {ALICE: {}, BOB: {}}
        self.assertEqual(smtp(self.one, make("hang.before"), [BOB])[0], 250)
        self.two.signal(signal.SIGSTOP)
        try:
            # Each core finds it out by itself, and by the time that an answer may take: all at once.
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                tries = [((self.one, self.three)[number % 2], make(f"hang.first.{number}")) for number in range(16)]
                codes = list(pool.map(lambda one: smtp(*one, [BOB])[0], tries))
            self.assertEqual(codes, [250] * 16)
            acknowledged[BOB] |= {f"hang.first.{number}": digest(make(f"hang.first.{number}")) for number in range(16)}
            self.check_others("hang", acknowledged)
        finally:
            self.two.signal(signal.SIGCONT)
        self.assertEqual(compare(acknowledged[ALICE], self.one, ALICE), [])
        # What it was given before it hung it has stored in the end, and knows it again.
        self.assert_arrives(self.two, BOB, acknowledged[BOB])

    def test_submission_by_a_user_of_another_node(self):
        message = make("submitted")
        client = smtplib.SMTP_SSL("127.0.0.1", self.one.port(SUBMISSIONS), context=self.one.tls(), timeout=60)
        self.addCleanup(client.close)
        client.login(BOB, PASSWORD)
        self.assertEqual(client.sendmail(BOB, [ALICE, BOB], message), {})
        for owner, user in [(self.one, ALICE), (self.two, BOB)]:
            self.assertEqual(stored(owner, user)[0].get("submitted"), digest(message))
