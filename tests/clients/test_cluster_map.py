"""The server_map at work: roles, states, kicked sessions, and what pigeonctl shows and writes of a cluster. Each change is in
force within a second; a busy machine gets more, and the worst is printed."""

import difflib
import imaplib
import json
import os
import poplib
import re
import subprocess
import time
import unittest

from harness import Node, machines
from harness.cluster import Cluster
from harness.mail import ALICE, BOB, Smtp, digest, make, without_trace
from harness.network import PRIVATE, needs_namespaces
from harness.node import IMAP, LMTP, POP3, SMTP, SUBMISSION, pigeonctl, wait_until
from harness.reading import imap, messages, pop3

PATIENCE = 20


class SharedTree(Cluster):
    """All nodes read the first one's file, as pigeonctl writes it."""

    def configure(self, node, name):
        super().configure(node, name)
        first = next(iter(self.nodes.values()), node)
        self.ldif = first.directory / "users.ldif"
        file = node.directory / "pigeon.toml"
        file.write_text(file.read_text().replace('ldif = "users.ldif"', f'ldif = "{self.ldif}"'))

    def hold(self, change=lambda tree: tree, names=None):
        tree = self.tree
        for address, owner in self.owners.items():
            tree = tree.replace(f"mail: {address}\n", f"mail: {address}\nmailHost: {owner}\n")
        tree = change(tree.rstrip("\n") + "\n\n" + "\n".join(self.server(name) for name in self.nodes))
        running = [node for node in self.nodes.values() if node.process]
        before = [node.metric("pigeon_control_data_generation") for node in running]
        new = self.ldif.with_suffix(".new")
        new.write_text(tree)
        os.replace(new, self.ldif)
        for node, generation in zip(running, before):
            in_force = lambda node=node, generation=generation: node.metric("pigeon_control_data_generation") > generation  # noqa: E731
            wait_until(in_force, 30, "the tree is in force")

    def ctl(self, *arguments, text=""):
        """Exit code, stdout, stderr."""
        node = next(iter(self.nodes.values()))
        command = [pigeonctl(), "--config", str(node.directory / "pigeon.toml"), *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr


class Map(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.worst = (0.0, "nothing")
        cls.cluster = SharedTree(["n1", "n2"], {ALICE: "n1", BOB: "n2"})
        cls.addClassCleanup(cls.cluster.remove)
        cls.one, cls.two = cls.cluster["n1"], cls.cluster["n2"]
        cls.addClassCleanup(lambda: print(f"    in force after at most {cls.worst[0]:.3f} s ({cls.worst[1]})", flush=True))

    def tearDown(self):
        self.cluster.more.clear()
        self.cluster.hold()

    def ctl(self, *arguments, text=""):
        self.said = time.monotonic()
        code, out, err = self.cluster.ctl(*arguments, text=text)
        self.assertEqual(code, 0, f"{arguments}: {out}{err}")
        return out

    def in_force(self, condition, what):
        """Measures from what was said last."""
        wait_until(condition, PATIENCE, what)
        took = time.monotonic() - self.said
        if took > self.worst[0]:
            type(self).worst = (took, what)

    def say(self, name, *lines):
        """Control data says this of a node from now on."""
        self.cluster.more[name] = "".join(f"{line}\n" for line in lines)
        self.said = time.monotonic()
        self.cluster.hold()

    def first_line(self, node, port):
        with node.connect(port, 60) as connection:
            return connection.makefile("rb").readline().decode()

    def greets(self, node, **wanted):
        """Whether the ports named greet as is said: True, or the beginning of a refusal."""
        ports = {"smtp": SMTP, "lmtp": LMTP, "submission": SUBMISSION, "imap": IMAP, "pop3": POP3}
        welcome = {"smtp": "220 ", "lmtp": "220 ", "submission": "220 ", "imap": "* OK ", "pop3": "+OK "}
        return all(self.first_line(node, ports[name]).startswith(welcome[name] if beginning is True else beginning)
                   for name, beginning in wanted.items())

    def recipient(self, node, address):
        session = Smtp(node)
        try:
            session.send("MAIL FROM:<>")
            session.reply()
            session.send(f"RCPT TO:<{address}>")
            return session.reply()[0]
        finally:
            session.close()

    def deliver(self, node, user, identity):
        message = make(identity, 2_000)
        sender = Smtp(node, LMTP)
        sender.deliver(message, [user])
        sender.quit()
        return digest(message)

    def held(self, node, user):
        return {digest(without_trace(message)) for _, _, message in messages(node, user)}

    def test_roles_are_taken_away_and_given_back(self):
        everything = {"smtp": True, "lmtp": True, "submission": True, "imap": True, "pop3": True}
        self.assertTrue(self.greets(self.one, **everything))
        open_session = imap(self.one, ALICE)
        self.addCleanup(open_session.shutdown)
        refused = self.one.metric("pigeon_sessions_without_role_total")
        for role, without in [
            ("mx", {"smtp": "421 4.3.2 ", "lmtp": "421 4.3.2 "}),
            ("submission", {"submission": "421 4.3.2 "}),
            ("proxy", {"imap": "* BYE [UNAVAILABLE] ", "pop3": "-ERR [SYS/TEMP] "}),
        ]:
            others = [f"pigeonRole: {other}" for other in ["mx", "submission", "proxy", "store"] if other != role]
            self.say("n1", *others)
            self.in_force(lambda without=without: self.greets(self.one, **{**everything, **without}), f"n1 without {role}")
            # The other node is not touched, and finds the mail that this one keeps.
            self.assertTrue(self.greets(self.two, **everything))
            imap(self.two, ALICE).logout()
            self.assertEqual(self.recipient(self.two, ALICE), 250)
            self.say("n1")
            self.in_force(lambda: self.greets(self.one, **everything), f"n1 with {role} again")
        self.assertGreaterEqual(self.one.metric("pigeon_sessions_without_role_total"), refused + 5)
        # Who was there stays.
        self.assertEqual(open_session.noop()[0], "OK")

    def test_a_node_that_keeps_no_mail_owns_nobody(self):
        self.say("n1", "pigeonRole: mx", "pigeonRole: proxy")
        for node in (self.one, self.two):
            with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
                imap(node, ALICE)
            self.assertEqual(self.recipient(node, ALICE), 451)
            imap(node, BOB).logout()
        self.one.wait_log("has not the role store")
        self.say("n1")
        imap(self.two, ALICE).logout()

    def test_a_draining_node_goes_on_and_says_so(self):
        self.assertEqual(self.one.status("/ready"), (200, "ready\n"))
        client = imap(self.one, ALICE)
        self.addCleanup(client.shutdown)
        self.ctl("drain", "n1")
        self.in_force(lambda: self.one.status("/ready") == (503, "draining\n"), "n1 drains")
        self.assertEqual(self.one.metric("pigeon_ready"), 0)
        self.assertEqual(self.two.status("/ready"), (200, "ready\n"))
        # It refuses nobody, and what it keeps is there.
        self.assertEqual(client.noop()[0], "OK")
        for node in (self.one, self.two):
            imap(node, ALICE).logout()
            pop3(node, ALICE).quit()
            self.assertIn(self.deliver(node, ALICE, f"draining-{node.offset}"), self.held(node, ALICE))
        self.ctl("undrain", "n1")
        self.in_force(lambda: self.one.status("/ready") == (200, "ready\n"), "n1 is up again")

    def test_a_node_that_is_down_is_not_tried(self):
        imap(self.two, ALICE).logout()
        self.say("n1", "pigeonNodeState: down")
        refusals = {"smtp": "421 4.3.2 ", "lmtp": "421 4.3.2 ", "submission": "421 4.3.2 ",
                    "imap": "* BYE [UNAVAILABLE] ", "pop3": "-ERR [SYS/TEMP] "}
        self.in_force(lambda: self.greets(self.one, **refusals), "n1 turns away")
        self.assertEqual(self.one.status("/ready"), (503, "down\n"))
        self.assertGreaterEqual(self.one.metric("pigeon_sessions_while_down_total"), 5)
        counted = ["pigeon_sessions_redirected_total", "pigeon_backends_unavailable_total", "pigeon_copies_elsewhere_total"]
        before = [self.two.metric(name) for name in counted]
        down = self.two.metric("pigeon_owners_down_total")
        with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
            imap(self.two, ALICE)
        with self.assertRaisesRegex(poplib.error_proto, r"SYS/TEMP"):
            pop3(self.two, ALICE)
        # Mail waits, and who is elsewhere has it at once.
        message = make("map.down")
        with Smtp(self.two) as session:
            session.deliver(message, [ALICE, BOB])
        self.assertEqual([self.two.metric(name) for name in counted], before)
        wait_until(lambda: self.two.queued("n1") == 1, PATIENCE, "it waits")
        self.assertGreaterEqual(self.two.metric("pigeon_owners_down_total"), down + 2)
        imap(self.two, BOB).logout()
        self.say("n1")
        self.in_force(lambda: self.greets(self.one, smtp=True, imap=True), "n1 is up again")
        imap(self.two, ALICE).logout()
        wait_until(lambda: self.two.queued() == 0, PATIENCE, "what waited has been brought")
        for user in (ALICE, BOB):
            found = [without_trace(text) for _, _, text in messages(self.one, user) if b"<map.down@" in text]
            self.assertEqual(found, [message])

    def idle(self, node, user):
        client = imap(node, user)
        self.addCleanup(client.shutdown)
        client.select("INBOX")
        client.sock.settimeout(PATIENCE)
        return client

    def ends(self, client):
        """How long it takes until the node closes the connection."""
        began = time.monotonic()
        while client.sock.recv(1000):
            pass
        took = time.monotonic() - began
        if took > self.worst[0]:
            type(self).worst = (took, "a kicked session ends")

    def test_kicked_sessions_end_wherever_they_are(self):
        here, there, other = self.idle(self.two, BOB), self.idle(self.one, BOB), self.idle(self.one, ALICE)
        self.assertIn("end", self.ctl("kick", BOB))
        self.ends(here)
        self.ends(there)
        self.assertEqual(other.noop()[0], "OK")
        # Whoever knows the password comes again, and stays.
        again = self.idle(self.one, BOB)
        self.cluster.hold(lambda tree: tree.replace(f"mail: {BOB}\n", f"mail: {BOB}\nmailQuotaCount: 1000\n"))
        self.assertEqual(again.noop()[0], "OK")
        self.ctl("kick", "example.org")
        self.ends(again)
        self.ends(other)
        code, _, err = self.cluster.ctl("kick", "nobody@example.org")
        self.assertEqual((code, "nobody has this name" in err), (1, True))

    def test_who_is_there(self):
        self.assertEqual(self.ctl("who"), "")
        through, directly = imap(self.one, BOB), imap(self.one, ALICE)
        mail = pop3(self.two, BOB)
        # Without the time in front and the client's port.
        lines = sorted(re.sub(r":\d+ at", " at", line.split(" ", 1)[1]) for line in self.ctl("who").splitlines())
        self.assertEqual(lines, [
            "alice@example.org imap from 127.0.0.1 at n1",
            "bob@example.org imap from 127.0.0.1 at n1 to n2",
            "bob@example.org pop3 from 127.0.0.1 at n2",
        ])
        of_bob = json.loads(self.ctl("--json", "who", "bob"))
        self.assertEqual([(session["service"], session["at"], session["node"]) for session in of_bob],
                         [("imap", "n1", "n2"), ("pop3", "n2", None)])
        port = through.sock.getsockname()[1]
        self.assertEqual(of_bob[0]["client"], f"127.0.0.1:{port}")
        self.assertEqual(self.ctl("who", "nobody@example.org"), "")
        through.logout()
        mail.quit()
        wait_until(lambda: self.ctl("who", BOB) == "", PATIENCE, "bob is gone")
        self.assertIn("alice", self.ctl("who"))
        directly.logout()
        wait_until(lambda: self.ctl("who") == "", PATIENCE, "all are gone")
        for path in ["/sessions.json", "/status.json"]:
            self.assertEqual(self.one.status(path, "POST")[0], 405)

    def test_accounts_are_added_where_there_is_room_and_moved(self):
        owners = set()
        for number in range(12):
            said = self.ctl("account", "add", f"new{number}@example.org", "--no-password")
            owners.add(re.search(r", on (n[12])\n", said)[1])
        self.assertEqual(owners, {"n1", "n2"})
        self.ctl("drain", "n1")
        said = [self.ctl("account", "add", f"later{number}@example.org", "--no-password") for number in range(6)]
        self.assertEqual([line.rstrip()[-2:] for line in said], ["n2"] * 6)
        code, _, err = self.cluster.ctl("account", "move", BOB, "--node", "n1")
        self.assertEqual((code, "draining" in err), (1, True))
        self.ctl("undrain", "n1")
        self.assertIn("moves from n2 to n1", self.ctl("account", "move", BOB, "--node", "n1"))
        shown = json.loads(self.ctl("--json", "account", "show", BOB))
        self.assertEqual((shown["node"], shown["previous_node"]), (["n1"], ["n2"]))
        self.assertIn("nothing to change", self.ctl("account", "move", BOB, "--node", "n1"))

    def test_accounts_are_spread_over_the_nodes(self):
        with SharedTree(["n1", "n2", "n3"], {ALICE: "n1", BOB: "n1"}) as cluster:
            def balance(*arguments):
                code, out, err = cluster.ctl("cluster", "balance", *arguments)
                self.assertEqual(code, 0, out + err)
                return out

            def counts():
                listed = json.loads(cluster.ctl("--json", "account", "list")[1])
                nodes = [account["node"][0] for account in listed]
                return [nodes.count(name) for name in ("n1", "n2", "n3")]

            for number in range(10):
                self.assertEqual(cluster.ctl("account", "add", f"u{number}@example.org", "--no-password", "--node", "n1")[0], 0)
            with Smtp(cluster["n1"], LMTP) as sender:
                sender.deliver(make("for-both"), [ALICE, BOB])
            before = counts()
            self.assertEqual(before[1:], [0, 0])
            # Shown, and not done.
            shown = cluster.ctl("--dry-run", "cluster", "balance")[1]
            self.assertEqual((shown.count("changetype: modify"), counts()), (8, before))
            self.assertIn("5 more have to move after these", balance("--moves", "3"))
            self.assertEqual(counts(), [9, 2, 1])
            self.assertIn("n1 9 accounts, should have 4", balance())
            self.assertEqual(counts(), [4, 4, 4])
            self.assertIn("nothing to change", balance())
            # A node that drains is emptied; what it had comes along.
            wait_until(lambda: sum(cluster[name].metric("pigeon_moves_done_total") for name in ("n2", "n3")) >= 8, 60, "they have come")
            self.assertEqual(cluster.ctl("drain", "n1")[0], 0)
            balance()
            self.assertEqual(counts(), [0, 6, 6])
            wait_until(lambda: sum(cluster[name].metric("pigeon_moves_done_total") for name in ("n2", "n3")) >= 12, 60, "all have come")
            for user in (ALICE, BOB):
                self.assertEqual(len(list(messages(cluster["n1"], user))), 1)

    def test_an_account_that_has_not_arrived_keeps_its_way(self):
        with SharedTree(["n1", "n2", "n3"], {ALICE: "n1", BOB: "n2"}) as cluster:
            def move(*arguments):
                code, out, err = cluster.ctl("account", "move", ALICE, *arguments)
                return code, out + err

            def shown():
                record = json.loads(cluster.ctl("--json", "account", "show", ALICE)[1])
                return record["node"], record.get("previous_node")

            with Smtp(cluster["n1"], LMTP) as sender:
                sender.deliver(make("moved"), [ALICE])
            two, three = cluster["n2"], cluster["n3"]
            cluster["n1"].kill()
            self.assertEqual(move("--node", "n2")[0], 0)
            # An account that nobody can fetch yet: n2 answers, and says so.
            two.wait_log("cannot be fetched yet.*uid=alice")
            code, said = move("--node", "n3")
            self.assertEqual((code, "has not arrived on n2 yet" in said), (1, True), said)
            self.assertEqual(move("--node", "n3", "--anyway")[0], 0)
            self.assertEqual(shown(), (["n3"], ["n2", "n1"]))
            for arguments, why in [(["--from-lost", "n3"], "cannot be fetched from there"),
                                   (["--from-lost", "n2"], "it answers, so it is not lost")]:
                code, said = move(*arguments)
                self.assertEqual((code, why in said), (1, True), said)
            # n1 and what was on it are gone: the account begins empty, because a person says so.
            self.assertIn("stays on n3, without what n1 had", move("--from-lost", "n1")[1])
            self.assertEqual(shown(), (["n3"], ["n2", "lost:n1"]))
            wait_until(lambda: three.metric("pigeon_moves_done_total") == 1, 60, "it is there")
            with Smtp(two, LMTP) as sender:
                sender.deliver(make("anew"), [ALICE])
            self.assertEqual(len(list(messages(three))), 1)
            self.assertEqual(json.loads(three.status("/account.json?account=alice%40example.org")[1])["places"][0]["standing"], "here")
            self.assertEqual(three.status("/account.json?account=nobody")[0], 503)
            self.assertEqual(three.status("/account.json")[0], 400)
            # From here on the list is short again.
            self.assertEqual(move("--node", "n2")[0], 0)
            self.assertEqual(shown(), (["n2"], ["n3"]))
            wait_until(lambda: two.metric("pigeon_moves_done_total") == 1, 60, "it is there")
            self.assertEqual(len(list(messages(three))), 1)

    def test_the_cluster_says_how_it_is(self):
        with SharedTree(["n1", "n2"], {ALICE: "n1", BOB: "n2"}) as cluster:
            client = imap(cluster["n1"], BOB)
            self.addCleanup(client.shutdown)
            sender = Smtp(cluster["n1"], LMTP)
            sender.deliver(make("status", 2_000), [BOB])
            sender.quit()
            code, out, err = cluster.ctl("cluster", "status")
            self.assertEqual(code, 0, out + err)
            for line in [
                r"^n1: up, ready, up for \d+ s, roles mx submission proxy store, weight 1$",
                r"^  sessions: .*\bimap 1\b",
                r"^  volume main: writable, \d+ % used of ",
                r"^  link n2: imap reachable, pop3 untried, mail reachable \(\d+ connections\), 1 sessions there$",
                r"^  control data: generation \d+, 2 accounts$",
                r"^n2: up, ready, ",
            ]:
                self.assertRegex(out, re.compile(line, re.M))
            self.assertNotIn("TROUBLE", out)
            # One that is gone is shown, and is not all there is.
            cluster["n2"].kill()
            code, out, err = cluster.ctl("cluster", "status")
            self.assertEqual(code, 1, out + err)
            self.assertRegex(out, r"(?m)^n1: up, ready(.*\n)+n2: up, does not answer\n  TROUBLE: not reached: ")
            code, out, err = cluster.ctl("who", ALICE)
            self.assertEqual((code, out), (1, ""))
            self.assertIn("n2: 127.0.0.1 port ", err)
            code, out, _ = cluster.ctl("--json", "cluster", "status")
            found = json.loads(out)
            self.assertEqual((code, found["well"], found["nodes"][0]["status"]["cluster"]["node"]), (1, False, "n1"))
            # What nobody tries any more once it is back is no trouble for ever.
            with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
                imap(cluster["n1"], BOB)
            self.assertIn("it does not reach n2 for imap", cluster.ctl("cluster", "status")[1])
            cluster["n2"].start()
            wait_until(lambda: cluster.ctl("cluster", "status")[0] == 0, PATIENCE, "all is well again")
            cluster["n2"].kill()
            # Said to be down, it is no trouble.
            cluster.more["n2"] = "pigeonNodeState: down\n"
            cluster.hold()
            code, out, err = cluster.ctl("cluster", "status")
            self.assertEqual((code, "n2: down, does not answer" in out), (0, True), out + err)


# What differs between two nodes: these three lines.
CONFIGURATION = """\
hostname = "{name}.example.org"

[control_data]
ldif = "{ldif}"

[cluster]
node = "{name}"
private_address = "{private}"
redirectors = ["10.77.0.0/24"]
key_file = "cluster-key"

[[volume]]
id = "main"
path = "volume"
segment_bytes = "32 MiB"
reserve_bytes = "64 MiB"

[status]

[[listener]]
address = "0.0.0.0:25"
service = "smtp"

[[listener]]
address = "0.0.0.0:143"
service = "imap"
trusted_networks = ["192.0.2.0/24"]
"""


class ThreeLines(machines.Machine):
    def configuration(self):
        return CONFIGURATION.format(name=self.name, ldif=self.cluster.ldif, private=self.machine.address(PRIVATE))

    def status(self, path, method="GET"):
        # On the private network, where the node puts it.
        public, host, reach = self.port, self.host, self.reach
        self.host, self.reach = self.machine.address(PRIVATE), self.machine.within
        self.port = lambda _: 2080
        try:
            return Node.status(self, path, method)
        finally:
            self.port, self.host, self.reach = public, host, reach


class Growing(unittest.TestCase):
    def test_a_second_node_is_the_first_with_three_lines_changed(self):
        needs_namespaces()
        accounts = {"alice@example.org": ("pigeon", "n1"), "bob@example.org": ("pigeon", "n2")}
        with machines.Machines(["n1", "n2"], accounts, machine=ThreeLines) as cluster:
            one, two = cluster["n1"], cluster["n2"]
            texts = [(node.directory / "pigeon.toml").read_text().splitlines() for node in (one, two)]
            changed = [line for line in difflib.unified_diff(*texts, lineterm="", n=0) if re.match(r"\+[^+]", line)]
            self.assertEqual(len(changed), 3, changed)
            for node in (one, two):
                for user in accounts:
                    with node.machine.network.client.within():
                        session = Smtp(node)
                    session.deliver(make(f"to-{user}-by-{node.name}", 2_000), [user], "")
                    session.quit()
            for node in (one, two):
                for user in accounts:
                    self.assertEqual(len(list(messages(node, user))), 2)
            status = one.machine.run(pigeonctl(), "--config", str(one.directory / "pigeon.toml"), "cluster", "status")
            self.assertEqual(status.returncode, 0, status)
            self.assertIn(b"link n2: imap reachable", status.stdout)


if __name__ == "__main__":
    unittest.main()
