"""An account moves to another node, or to another volume, while it is used: nothing is lost, nothing changes its number."""

import imaplib
import json
import poplib
import re
import threading
import time
import unittest

from harness import Node, pigeond
from harness.cluster import BACKEND_IMAP, Cluster
from harness.mail import ALICE, BOB, Load, Smtp, digest, make
from harness.mover import Mover, account_id
from harness.node import LMTP, SMTP, wait_until
from harness.reading import compare, imap, messages, pop3, stored

# A move of this size takes a second or two; a clock on a busy machine proves nothing.
PATIENCE = 120
# The limit that the project sets itself for the time in which a client cannot log in.
GAP_MAX = 2


def state(node, user=ALICE):
    """All that a client can see of an account."""
    client = imap(node, user)
    try:
        names = [re.search(rb'"/" "?([^"]*)"?$', line)[1].decode() for line in client.list()[1]]
        subscribed = sorted(line for line in client.lsub()[1] if line)
        seen = {}
        for name in names:
            kind, data = client.status(f'"{name}"', "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)")
            assert kind == "OK", data
            count = int(client.select(f'"{name}"', readonly=True)[1][0])
            held = []
            if count:
                kind, found = client.fetch("1:*", "(UID FLAGS INTERNALDATE MODSEQ RFC822.SIZE)")
                assert kind == "OK", found
                held = sorted(re.sub(rb"^\d+ |\\Recent ?", b"", line) for line in found)
            digests = sorted((uid, digest(body)) for uid, _, body in messages(node, user, f'"{name}"'))
            seen[name] = (data[0], held, digests)
        return seen, subscribed
    finally:
        client.shutdown()


def uidls(node, user=ALICE):
    client = pop3(node, user)
    try:
        return client.uidl()[1]
    finally:
        client.quit()


def fill(node, user=ALICE, count=60):
    """Several mailboxes with flags and keywords."""
    client = imap(node, user)
    client.create("Archive")
    client.create("Archive/2026")
    client.subscribe("Archive/2026")
    for number in range(count):
        flags = ["", "\\Seen", "\\Flagged \\Answered", "$Work later"][number % 4]
        where = ["INBOX", "Archive", "Archive/2026"][number % 3]
        size = 300_000 if number % 20 == 19 else 1_500
        date = imaplib.Time2Internaldate(1_700_000_000 + number)
        kind, data = client.append(where, f"({flags})", date, make(f"fill-{number}", size))
        assert kind == "OK", data
    client.select("INBOX")
    client.copy("1:3", "Archive/2026")
    client.store("2", "+FLAGS", "(\\Deleted)")
    client.expunge()
    client.logout()


class Watch(threading.Thread):
    """Logs in again and again, and measures the longest time in which nobody was let in."""

    def __init__(self, node, user=ALICE):
        super().__init__(daemon=True)
        self.node, self.user = node, user
        self.gap, self.logins, self.failures, self.over = 0, 0, [], threading.Event()
        self.good = time.monotonic()

    def run(self):
        while not self.over.is_set():
            try:
                imap(self.node, self.user).logout()
                self.gap = max(self.gap, time.monotonic() - self.good)
                self.good = time.monotonic()
                self.logins += 1
            except (imaplib.IMAP4.error, OSError) as error:
                self.failures.append(str(error))

    def end(self):
        self.over.set()
        self.join(60)
        self.gap = max(self.gap, time.monotonic() - self.good)


class Worker(threading.Thread):
    """A client that appends, and logs in again whenever it is sent away."""

    def __init__(self, node, user=ALICE):
        super().__init__(daemon=True)
        self.node, self.user = node, user
        self.appended, self.logins, self.over = {}, 0, threading.Event()

    def run(self):
        number = 0
        while not self.over.is_set():
            try:
                client = imap(self.node, self.user)
                self.logins += 1
                while not self.over.is_set():
                    message = make(f"worker-{number}")
                    number += 1
                    if client.append("Archive", None, None, message)[0] == "OK":
                        self.appended[f"worker-{number - 1}"] = digest(message)
            except (imaplib.IMAP4.error, OSError):
                # Its pace while it is not let in; `end` ends it.
                self.over.wait(0.01)

    def end(self):
        self.over.set()
        self.join(60)

    def missing(self, node):
        held = {digest(body) for _, _, body in messages(node, self.user, "Archive")}
        return [identity for identity, what in self.appended.items() if what not in held]


def uids(node, user=ALICE, mailbox="INBOX"):
    """UIDVALIDITY, and what is under each UID."""
    client = imap(node, user)
    try:
        validity = client.status(mailbox, "(UIDVALIDITY)")[1][0]
    finally:
        client.logout()
    return validity, {uid: (flags - {"\\Recent"}, digest(body)) for uid, flags, body in messages(node, user, mailbox)}


class Move(unittest.TestCase):
    def cluster(self, names=("n1", "n2", "n3")):
        cluster = Cluster(names, {ALICE: "n1", BOB: "n2"})
        self.addCleanup(cluster.remove)
        return cluster

    def move(self, cluster, user, to, names=None):
        cluster.previous[user], cluster.owners[user] = cluster.owners[user], to
        cluster.hold(names=names)

    def arrived(self, node, count=1):
        wait_until(lambda: node.metric("pigeon_moves_done_total") >= count, PATIENCE, "the account has come")

    def test_everything_comes_along(self):
        cluster = self.cluster()
        one, two, three = (cluster[name] for name in ("n1", "n2", "n3"))
        fill(one)
        before, numbers = state(one), uidls(one)
        self.move(cluster, ALICE, "n2")
        self.arrived(two)
        for node in (two, three, one):
            self.assertEqual(state(node), before)
            self.assertEqual(uidls(node), numbers)
        # And back again, with what has changed meanwhile.
        with Smtp(three, LMTP) as session:
            session.deliver(make("later"), [ALICE])
        before = state(two)
        self.move(cluster, ALICE, "n1")
        self.arrived(one)
        for node in (one, two, three):
            self.assertEqual(state(node), before)

    def test_an_account_that_was_never_used(self):
        cluster = self.cluster(("n1", "n2"))
        self.move(cluster, ALICE, "n2")
        self.arrived(cluster["n2"])
        for name in ("n1", "n2"):
            with Smtp(cluster[name], LMTP) as session:
                session.deliver(make(f"first-{name}"), [ALICE])
        self.assertEqual([len(list(messages(cluster[name]))) for name in ("n1", "n2")], [2, 2])

    def test_it_moves_while_mail_comes_and_clients_work(self):
        cluster = self.cluster()
        one, two, three = nodes = [cluster[name] for name in ("n1", "n2", "n3")]
        fill(one, count=600)
        uid_validity = uids(one)[0]
        before = uids(one)[1]
        loads = [Load(node, 1, name) for node, name in zip(nodes, ("one", "two", "three"))]
        watches = [Watch(two), Watch(three)]
        for watch in watches:
            watch.start()
        worker = Worker(three)
        worker.start()
        wait_until(lambda: all(load.count() > 5 for load in loads), PATIENCE, "mail comes in everywhere")
        self.move(cluster, ALICE, "n2")
        self.arrived(two)
        after = [load.count() + 5 for load in loads]
        wait_until(lambda: all(load.count() > count for load, count in zip(loads, after)), PATIENCE, "mail comes in after it")
        acknowledged = {}
        for load in loads:
            load.stop()
            acknowledged.update(load.acknowledged)
        for thread in [*watches, worker]:
            thread.end()
        print(f"# {len(acknowledged)} messages; longest time without a login {max(watch.gap for watch in watches):.2f} s, "
              f"{sum(len(watch.failures) for watch in watches)} logins failed of {sum(watch.logins for watch in watches)}; "
              f"the client logged in {worker.logins} times")
        for watch in watches:
            self.assertLess(watch.gap, GAP_MAX, watch.failures)
        self.assertEqual(one.metric("pigeon_moves_done_total"), 0)
        for node in nodes:
            self.assertEqual(self.lost(acknowledged, node), [])
            validity, held = uids(node)
            self.assertEqual(validity, uid_validity)
            for uid, what in before.items():
                self.assertEqual(held.get(uid), what)
        self.assertEqual(worker.missing(two), [])

    def lost(self, acknowledged, node):
        found, twice = stored(node)
        wrong = [f"{identity}: lost" for identity, what in acknowledged.items() if found.get(identity) != what]
        return wrong + [f"{identity}: twice" for identity in twice if identity in acknowledged]

    def test_a_kill_at_either_end_in_the_middle(self):
        for killed in ("n1", "n2"):
            with self.subTest(killed):
                self.check_kill(killed)

    def check_kill(self, killed):
        cluster = self.cluster(("n1", "n2"))
        one, two = cluster["n1"], cluster["n2"]
        fill(one, count=300)
        with Smtp(one, LMTP) as session:
            for number in range(40):
                session.deliver(make(f"large-{number}", 1_000_000), [ALICE])
        before = state(one)
        self.move(cluster, ALICE, "n2")
        wait_until(lambda: two.metric("pigeon_moved_messages_total") > 50, PATIENCE, "half of it has come")
        self.assertEqual(two.metric("pigeon_moves_done_total"), 0, "the kill is not too late")
        cluster[killed].kill()
        cluster[killed].start()
        self.arrived(two)
        self.assertEqual(state(two), before)
        self.assertEqual(state(one), before)

    def test_until_it_is_handed_over_the_old_node_serves(self):
        """n1 has not heard of the change, and lets nobody fetch the account."""
        cluster = self.cluster()
        one, two, three = nodes = [cluster[name] for name in ("n1", "n2", "n3")]
        fill(one, count=12)
        self.move(cluster, ALICE, "n2", ["n2", "n3"])
        wait_until(lambda: two.metric("pigeon_moves_failed_total") > 0, PATIENCE, "it was tried")
        wait_until(lambda: two.metric("pigeon_moves_under_way") == 1, PATIENCE, "it is under way")
        client = imap(three)
        self.addCleanup(client.shutdown)
        client.select()
        sent = {}
        for node, name in zip(nodes, ("n1", "n2", "n3")):
            for size in (2_000, 400_000):
                message = make(f"{name}-{size}", size)
                with Smtp(node, LMTP) as session:
                    session.deliver(message, [ALICE])
                sent[f"{name}-{size}"] = digest(message)
        for node in nodes:
            self.assertEqual(self.lost(sent, node), [])
        self.assertGreater(two.metric("pigeon_redirects_referred_total"), 0)
        before = state(one)
        self.assertEqual(client.noop()[0], "OK")
        cluster.hold(names=["n1"])
        self.arrived(two)
        self.assertEqual(client.state, "SELECTED")
        with self.assertRaises((imaplib.IMAP4.abort, imaplib.IMAP4.error, OSError)):
            for _ in range(100):
                client.noop()
        for node in nodes:
            self.assertEqual(state(node), before)

    def test_it_moves_within_a_transaction(self):
        """A message to an account that was here at RCPT and is elsewhere when it ends, kept in memory or streamed."""
        cluster = self.cluster(("n1", "n2"))
        one, two = cluster["n1"], cluster["n2"]
        sent, waiting = {}, []
        for protocol, names in ((LMTP, ("lmtp", 2_000)), (SMTP, ("smtp", 2_000)), (SMTP, ("large", 400_000))):
            name, size = names
            session = Smtp(one, protocol)
            self.addCleanup(session.close)
            message = make(name, size)
            session.begin([ALICE])
            waiting.append((session, message))
            sent[name] = digest(message)
        self.move(cluster, ALICE, "n2")
        self.arrived(two)
        for session, message in waiting:
            session.finish(message)
        for node in (one, two):
            self.assertEqual(self.lost(sent, node), [])

    def test_the_old_node_out_of_reach(self):
        cluster = self.cluster(("n1", "n2"))
        one, two = cluster["n1"], cluster["n2"]
        fill(one, count=12)
        before = state(one)
        one.kill()
        self.move(cluster, ALICE, "n2", ["n2"])
        wait_until(lambda: two.metric("pigeon_moves_failed_total") > 0, PATIENCE, "it was tried")
        two.wait_log("cannot be fetched yet.*uid=alice")
        with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
            imap(two)
        with self.assertRaisesRegex(poplib.error_proto, r"SYS/TEMP"):
            pop3(two)
        one.start()
        # It still takes the account for its own, and lets nobody fetch it, until it hears of the change.
        cluster.hold(names=["n1"])
        self.arrived(two)
        self.assertEqual(state(two), before)

    def test_more_at_once_than_have_a_turn(self):
        """Each second one was handed over before, by an attempt that is over."""
        cluster = self.cluster(("n1", "n2"))
        one, two = cluster["n1"], cluster["n2"]
        users = [f"user{number:02}@example.org" for number in range(24)]
        entry = next(entry for entry in cluster.tree.split("\n\n") if f"mail: {ALICE}\n" in entry + "\n")
        # Without its entryUUID, each is known by its DN.
        entry = re.sub(r"(?m)^entryUUID: .*\n", "", entry.strip("\n"))
        entries = [entry.replace("alice", user.split("@")[0]) for user in users]
        cluster.tree = "\n\n".join([cluster.tree.rstrip("\n"), *entries]) + "\n"
        cluster.owners.update(dict.fromkeys(users, "n1"))
        cluster.hold()
        with Smtp(one, LMTP) as session:
            for user in users:
                session.deliver(make(f"many-{user}"), [user])
        before = {user: state(one, user) for user in users}
        cluster.previous.update(dict.fromkeys(users, "n1"))
        cluster.owners.update(dict.fromkeys(users, "n2"))
        cluster.hold(names=["n1"])
        for number, user in enumerate(users[::2]):
            mover = Mover(one.offset + BACKEND_IMAP, "n2", cluster.keys["n2"], user, account_id(cluster.tree, user))
            self.assertEqual(mover.hand_over(bytes([number] * 16), "n2/main"), True)
            mover.close()
        cluster.hold(names=["n2"])
        self.arrived(two, len(users))
        for user in users:
            for node in (one, two):
                self.assertEqual(state(node, user), before[user])

    def test_mail_that_waited_comes_behind_the_account(self):
        cluster = self.cluster(("n1", "n2"))
        one, two = cluster["n1"], cluster["n2"]
        fill(one, count=12)
        before, _ = stored(one)
        one.kill()
        self.move(cluster, ALICE, "n2", ["n2"])
        # The account is not here yet, and its mail must not begin another one.
        message = make("waited")
        with Smtp(two) as session:
            session.deliver(message, [ALICE])
        wait_until(lambda: two.queued() == 1, PATIENCE, "it waits")
        one.start()
        cluster.hold(names=["n1"])
        self.arrived(two)
        wait_until(lambda: two.queued() == 0, PATIENCE, "what waited has been brought")
        self.assertEqual(stored(two), ({**before, "waited": digest(message)}, []))

    def test_between_volumes_of_a_node(self):
        def configure(node):
            config = node.directory / "pigeon.toml"
            config.write_text(config.read_text() + '\n[[volume]]\nid = "second"\npath = "volumes/second"\n'
                              'segment_bytes = "64 MiB"\nreserve_bytes = "256 MiB"\n')
            place(node, "main")

        def place(node, volume, previous=None):
            path = node.directory / "users.ldif"
            text = re.sub(r"(?m)^(mailMessageStore|pigeonPreviousHost): .*\n", "", path.read_text())
            more = f"\npigeonPreviousHost: {previous}" if previous else ""
            path.with_suffix(".new").write_text(
                re.sub(r"(?m)^(mail: alice@.*)$", rf"\1\nmailMessageStore: {volume}{more}", text))
            path.with_suffix(".new").rename(path)

        with Node(configure=configure) as node:
            self.assertEqual(node.stop(), 0)
            config = str(node.directory / "pigeon.toml")
            node.spawn([pigeond(), "run", "--config", config, "--create-volumes"])
            fill(node)
            before, numbers = state(node), uidls(node)
            client = imap(node)
            client.select()
            load = Load(node, 1, "volumes")
            wait_until(lambda: load.count() > 3, PATIENCE, "mail comes in")
            place(node, "second", "local/main")
            self.arrived(node)
            with self.assertRaises((imaplib.IMAP4.abort, imaplib.IMAP4.error, OSError)):
                for _ in range(100):
                    client.noop()
            client.shutdown()
            load.stop()
            self.assertEqual(compare(load.acknowledged, node), [])
            self.assertEqual(uidls(node)[:len(numbers)], numbers)
            after = state(node)
            for name in ("Archive", "Archive/2026"):
                self.assertEqual(after[0][name], before[0][name])
            node.kill()
            node.start()
            self.assertEqual(state(node), after)
            place(node, "main", "local/second")
            self.arrived(node)
            self.assertEqual(state(node), after)


class Twice(unittest.TestCase):
    """Control data changes once more before an account has arrived: its mail is found, wherever it is, or nobody begins another."""

    def setUp(self):
        self.cluster = Cluster(("n1", "n2", "n3"), {ALICE: "n1", BOB: "n2"})
        self.addCleanup(self.cluster.remove)
        self.one, self.two, self.three = (self.cluster[name] for name in ("n1", "n2", "n3"))

    def say(self, owner, previous, names=None):
        self.cluster.owners[ALICE], self.cluster.previous[ALICE] = owner, previous
        self.cluster.hold(names=names)

    def arrived(self, node, count=1):
        wait_until(lambda: node.metric("pigeon_moves_done_total") >= count, PATIENCE, "the account has come")

    def everywhere(self, before):
        for node in (self.one, self.two, self.three):
            self.assertEqual(state(node), before)

    def test_the_second_node_has_only_begun(self):
        fill(self.one, count=12)
        before = state(self.one)
        self.say("n2", "n1", ["n2", "n3"])
        wait_until(lambda: self.two.metric("pigeon_moves_failed_total") > 0, PATIENCE, "n1 lets nobody fetch it yet")
        # As it was written until now: the list has the last node alone.
        self.say("n3", "n2")
        self.arrived(self.three)
        self.everywhere(before)
        wait_until(lambda: self.two.metric("pigeon_moves_under_way") == 0, PATIENCE, "n2 has given it up")
        self.two.wait_log("is not fetched any more.*uid=alice")

    def test_the_second_node_never_heard_of_it(self):
        fill(self.one, count=12)
        before = state(self.one)
        self.say("n3", "n2")
        self.arrived(self.three)
        self.everywhere(before)
        self.one.wait_log("does not say that it was here.*uid=alice")

    def test_the_second_node_is_down(self):
        fill(self.one, count=12)
        before = state(self.one)
        self.two.kill()
        self.say("n3", ["n2", "n1"])
        self.arrived(self.three)
        self.two.start()
        self.everywhere(before)

    def test_what_was_never_used_begins_when_all_have_said_so(self):
        self.two.kill()
        self.say("n3", ["n2", "n1"])
        self.three.wait_log("cannot be fetched yet.*uid=alice")
        with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
            imap(self.three)
        self.two.start()
        self.arrived(self.three)
        for name, node in (("one", self.one), ("two", self.two), ("three", self.three)):
            with Smtp(node, LMTP) as session:
                session.deliver(make(f"first-{name}"), [ALICE])
        for node in (self.one, self.two, self.three):
            self.assertEqual(len(list(messages(node))), 3)

    def test_back_and_forth_while_it_is_fetched(self):
        fill(self.one, count=150)
        before = state(self.one)
        for owner, previous in [("n2", "n1"), ("n3", ["n2", "n1"]), ("n1", ["n3", "n2"]), ("n2", "n1"), ("n1", "n2"), ("n3", "n1")]:
            self.say(owner, previous)
        # The last word counts, however far each of the others came. n3 may have had it before, and nobody be at it for a moment.
        there = lambda: json.loads(self.three.status(f"/account.json?account={ALICE}")[1])["places"]  # noqa: E731
        wait_until(lambda: [place["standing"] for place in there()] == ["here"], PATIENCE, "n3 has it and has said so")
        wait_until(lambda: sum(node.metric("pigeon_moves_under_way") for node in (self.one, self.two, self.three)) == 0,
                   PATIENCE, "all are settled")
        self.arrived(self.three)
        self.everywhere(before)


class HandingOver(unittest.TestCase):
    """An account is being handed over to a node that does not go on with it."""

    NUMBER, OTHER = bytes(range(16)), bytes(range(1, 17))

    def setUp(self):
        self.cluster = Cluster(("n1", "n2", "n3"), {ALICE: "n1", BOB: "n2"})
        self.addCleanup(self.cluster.remove)
        self.one, self.two, self.three = (self.cluster[name] for name in ("n1", "n2", "n3"))
        fill(self.one, count=12)
        self.before = state(self.one)
        # n2 hears nothing, and this test is n2 to n1.
        self.say("n2", "n1", ["n1", "n3"])
        self.mover = self.as_node("n2", self.one)
        self.assertEqual(self.mover.hand_over(self.NUMBER, "n2/main"), True)

    def as_node(self, name, node):
        mover = Mover(node.offset + BACKEND_IMAP, name, self.cluster.keys[name], ALICE, account_id(self.cluster.tree, ALICE))
        self.addCleanup(mover.close)
        return mover

    def say(self, owner, previous, names=None):
        self.cluster.owners[ALICE], self.cluster.previous[ALICE] = owner, previous
        self.cluster.hold(names=names)

    def check(self, node=None):
        wait_until(lambda: (node or self.one).metric("pigeon_moves_under_way") == 0, PATIENCE, "it is settled")
        for node in (self.one, self.two, self.three):
            self.assertEqual(state(node), self.before)

    def test_what_is_said_of_another_attempt_or_by_another_node_counts_for_nothing(self):
        for said in (self.mover.taken, self.mover.declined):
            self.assertIn("has not come so far", said(self.OTHER))
        self.assertIn("has not come so far", self.mover.hand_over(self.OTHER, "n2/main"))
        third = self.as_node("n3", self.one)
        self.assertEqual(third.ask(), ("handing over", False, "n2/main"))
        for said in (third.taken, third.declined, third.abandon):
            self.assertIn("not to go there", said(self.NUMBER))
        self.assertIn("not to go there", third.image())
        self.assertIn("not to go there", third.hand_over(self.OTHER, "n3/main"))
        self.assertEqual(self.mover.ask(), ("handing over", False, "n2/main"))
        self.assertEqual(self.mover.image and self.mover.declined(self.NUMBER), True)
        # A late word of an attempt that is over.
        self.assertEqual(self.mover.hand_over(self.OTHER, "n2/main"), True)
        self.assertIn("has not come so far", self.mover.declined(self.NUMBER))
        self.assertIn("has not come so far", self.mover.taken(self.NUMBER))
        self.assertEqual(self.mover.ask()[0], "handing over")
        self.say("n2", "n1", ["n2"])
        wait_until(lambda: self.two.metric("pigeon_moves_done_total") == 1, PATIENCE, "n2 fetches it")
        self.check()

    def test_it_goes_to_a_third_node(self):
        self.say("n3", ["n2", "n1"])
        wait_until(lambda: self.three.metric("pigeon_moves_done_total") == 1, PATIENCE, "n3 fetches it")
        self.one.wait_log("the hand-over is over.*uid=alice")
        self.check()

    def test_a_node_has_it_that_control_data_does_not_name(self):
        # n2 never had it, and n1, which hands it over, hears nothing: what it answers counts all the same.
        self.say("n3", "n2", ["n2", "n3"])
        wait_until(lambda: self.three.metric("pigeon_moves_failed_total") > 0, PATIENCE, "n3 does not begin another")
        self.three.wait_log("cannot be fetched yet.*hands it over to n2/main|hands it over to n2/main.*cannot be fetched yet")
        self.assertEqual(self.three.metric("pigeon_moves_done_total"), 0)
        self.say("n3", "n2", ["n1"])
        wait_until(lambda: self.three.metric("pigeon_moves_done_total") == 1, PATIENCE, "n3 fetches it")
        self.check()

    def test_it_comes_back_after_a_restart(self):
        self.one.kill()
        self.say("n1", "n2")
        self.one.start()
        self.one.wait_log("the hand-over is over.*uid=alice")
        self.check()
        # What the other node would still say does not count any more.
        self.assertEqual(self.as_node("n2", self.one).ask(), ("here", False, ""))

    def test_the_other_node_is_lost_for_good(self):
        self.two.kill()
        self.say("n1", "n2")
        self.one.wait_log("who has it is not known.*uid=alice|uid=alice.*who has it is not known")
        with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
            imap(self.one)
        self.say("n1", "lost:n2")
        self.one.wait_log("is taken back: control data says that the other node is lost")
        wait_until(lambda: self.one.metric("pigeon_moves_under_way") == 0, PATIENCE, "it is settled")
        self.assertEqual(state(self.one), self.before)
        self.assertEqual(state(self.three), self.before)

    def test_the_other_node_has_it_and_could_not_say_so(self):
        """n2 has fetched it by an attempt of its own before; then this node cannot take anything back."""
        self.assertEqual(self.mover.declined(self.NUMBER), True)
        self.say("n2", "n1", ["n2"])
        wait_until(lambda: self.two.metric("pigeon_moves_done_total") == 1, PATIENCE, "n2 fetches it")
        self.assertEqual(self.mover.ask()[::2], ("moved", "n2/main"))
        self.assertIn("has not come so far", self.mover.declined(self.NUMBER))
        self.check()
