"""An account of which nothing is anywhere begins on one node, whoever else might begin it; and nothing is left that comes back."""

import json
import shutil
import unittest

from harness import Node, pigeond
from harness.cluster import BACKEND_IMAP, Cluster
from harness.mail import ALICE, BOB, Smtp, make
from harness.mover import Mover, account_id
from harness.node import LMTP, wait_until
from harness.reading import imap, messages

PATIENCE = 120
# Of attempts by which an account is to begin: version 8.
NUMBER, OTHER = (bytes(range(first, first + 6)) + b"\x80" + bytes(range(9)) for first in (1, 2))
NONE = bytes(16)


class Beginning(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(("n1", "n2", "n3"), {ALICE: "n1", BOB: "n2"})
        self.addCleanup(self.cluster.remove)
        self.nodes = self.one, self.two, self.three = [self.cluster[name] for name in ("n1", "n2", "n3")]

    def say(self, owner, previous, names=None):
        self.cluster.owners[ALICE], self.cluster.previous[ALICE] = owner, previous
        self.cluster.hold(names=names)

    def as_node(self, name, node):
        mover = Mover(node.offset + BACKEND_IMAP, name, self.cluster.keys[name], ALICE, account_id(self.cluster.tree, ALICE))
        self.addCleanup(mover.close)
        return mover

    def standing(self, node):
        return [place["standing"] for place in json.loads(node.status(f"/account.json?account={ALICE}")[1])["places"]]

    def here(self, node, done):
        """As often as that something has come or begun there."""
        wait_until(lambda: node.metric("pigeon_moves_done_total") >= done, PATIENCE, "it is there")
        wait_until(lambda: self.standing(node) == ["here"], PATIENCE, "it is there, and the others know")

    def deliver(self, node, identity):
        with Smtp(node, LMTP) as session:
            session.deliver(make(identity), [ALICE])

    def everywhere(self, count):
        self.assertEqual([len(list(messages(node))) for node in self.nodes], [count] * 3)

    def test_what_stood_aside_never_comes_back_as_an_account(self):
        self.say("n3", ["n2", "n1"])
        self.here(self.three, 1)
        self.assertEqual([self.standing(node) for node in (self.one, self.two)], [["given up"], ["given up"]])
        self.deliver(self.two, "one")
        self.everywhere(1)
        # To each of those that stood aside, over a restart of theirs; the entry names the last place alone.
        self.one.kill()
        self.one.start()
        self.say("n1", "n3")
        self.here(self.one, 1)
        self.deliver(self.three, "two")
        self.everywhere(2)
        self.say("n2", "n1")
        self.here(self.two, 1)
        self.deliver(self.one, "three")
        self.everywhere(3)

    def test_one_that_stands_aside_is_wanted_before_the_account_is_elsewhere(self):
        self.say("n2", "n1", ["n1", "n3"])
        # This test is n2 to n1, and goes away.
        mover = self.as_node("n2", self.one)
        self.assertEqual(mover.stand_aside(NONE, NUMBER, "n2/main"), True)
        self.assertEqual(mover.stand_aside(NONE, NUMBER, "n2/main"), True, "the same once more")
        self.assertEqual(mover.ask(), ("given up", False, "n2/main"))
        self.assertIn("has not come so far", mover.stand_aside(NONE, OTHER, "n2/main"), "it does not stand so any more")
        self.say("n1", "n2")
        self.here(self.one, 1)
        self.assertEqual(self.standing(self.two), ["given up"])
        self.deliver(self.three, "one")
        self.everywhere(1)
        self.say("n3", ["n2"])
        self.here(self.three, 1)
        self.everywhere(1)

    def test_who_has_the_account_or_thinks_it_its_own_does_not_stand_aside(self):
        mover = self.as_node("n2", self.one)
        self.assertIn("not to go there", mover.stand_aside(NONE, NUMBER, "n2/main"))
        self.deliver(self.one, "one")
        self.say("n2", "n1", ["n1"])
        self.assertIn("for itself alone", mover.stand_aside(NONE, NUMBER, "n3/main"))
        self.assertEqual(mover.ask()[0], "here")
        self.assertIn("has not come so far", mover.stand_aside(NONE, NUMBER, "n2/main"))
        self.assertEqual(mover.ask()[0], "here")

    def test_of_two_that_would_begin_it_one_does(self):
        # Each of them thinks it its own, and that n1 had it; n1 thinks it is still there.
        self.say("n2", "n1", ["n2"])
        self.say("n3", ["n2", "n1"], ["n3"])
        for node in (self.two, self.three):
            node.wait_log("may begin it: it is not to come here")
        self.assertEqual([self.standing(node) for node in (self.two, self.three)], [["incoming"], ["incoming"]])
        # n1 would stand aside for n3 now; n2, which does not hear of it, does not, nor does it begin.
        self.say("n3", ["n2", "n1"], ["n1"])
        failed = [node.metric("pigeon_moves_failed_total") for node in (self.two, self.three)]
        for node, before in zip((self.two, self.three), failed):
            wait_until(lambda: node.metric("pigeon_moves_failed_total") > before + 1, PATIENCE, "all were asked once more")
            self.assertEqual(node.metric("pigeon_moves_done_total"), 0)
        self.three.wait_log("n2.* may begin it")
        self.assertEqual(self.standing(self.one), [])
        self.say("n3", ["n2", "n1"], ["n2"])
        self.here(self.three, 1)
        wait_until(lambda: self.standing(self.two) == ["given up"], PATIENCE, "n2 stands aside")
        self.deliver(self.one, "one")
        self.everywhere(1)

    def test_it_is_wanted_back_where_it_never_was(self):
        self.say("n2", "n1", ["n2"])
        self.two.wait_log("n1 may begin it: it is not to come here")
        # n2 was told the node alone, and says so.
        self.say("n1", "n2")
        self.here(self.one, 1)
        self.deliver(self.two, "one")
        self.everywhere(1)

    def test_a_node_that_has_not_heard_of_it_may_still_take_mail(self):
        # Control data names it no more, but it thinks the account its own.
        self.say("n2", "n1", ["n2", "n3"])
        self.two.wait_log("n1 may begin it")
        self.say("n3", "n2", ["n2", "n3"])
        self.three.wait_log("n1 may begin it")
        self.deliver(self.one, "one")
        self.three.wait_log("cannot be fetched yet.*it says: it is not to go there")
        self.assertEqual(self.three.metric("pigeon_moves_done_total"), 0)
        self.say("n3", "n2", ["n1"])
        self.here(self.three, 1)
        self.everywhere(1)

    def test_while_nobody_has_begun_it_nobody_is_sent_round(self):
        # n3 waits for n2, which has not heard of it; n1 has, and serves whoever comes.
        self.say("n3", ["n2", "n1"], ["n1", "n3"])
        self.three.wait_log("n2.*may begin it|cannot be fetched yet")
        imap(self.three).logout()
        self.assertEqual(self.three.metric("pigeon_moves_done_total"), 0)
        self.say("n3", ["n2", "n1"], ["n2"])
        self.here(self.three, 1)
        self.deliver(self.one, "one")
        self.everywhere(1)

    def test_what_was_to_begin_and_was_given_up_begins_elsewhere(self):
        # n1 keeps n3 from beginning it; then n3 is told that n2 is to have it, which n1 keeps from it as well.
        self.say("n3", ["lost:n4"], ["n3"])
        self.three.wait_log("n1 may begin it")
        self.say("n2", ["n3"], ["n2", "n3"])
        wait_until(lambda: self.standing(self.three) == ["given up"], PATIENCE, "n3 has given it up")
        self.two.wait_log("n1 may begin it")
        # n1, which n3 points to, serves it until then.
        imap(self.two).logout()
        self.say("n2", ["n3"], ["n1"])
        self.here(self.two, 1)
        self.deliver(self.three, "one")
        self.everywhere(1)

    def test_one_that_had_it_and_lost_it_is_no_reason_to_begin_another(self):
        self.deliver(self.one, "one")
        self.say("n2", "n1")
        self.here(self.two, 1)
        # As if its disk were new.
        self.two.kill()
        shutil.rmtree(self.two.directory / "volumes")
        self.two.spawn([pigeond(), "run", "--config", self.two.directory / "pigeon.toml", "--create-volumes"])
        self.say("n3", ["n2"])
        wait_until(lambda: self.three.metric("pigeon_moves_failed_total") > 0, PATIENCE, "n3 does not begin another")
        self.three.wait_log("n1 gave it to n2.*does not have it")
        self.assertEqual(self.three.metric("pigeon_moves_done_total"), 0)
        # Nor does the one that passed it on.
        self.say("n1", ["n2"])
        self.one.wait_log("it went from here to n2.*does not have it")
        self.assertEqual(self.one.metric("pigeon_moves_done_total"), 0)
        self.say("n3", ["lost:n2"])
        self.here(self.three, 1)
        self.three.wait_log("begins anew.*uid=alice")
        self.deliver(self.three, "two")
        self.everywhere(1)


class Alone(unittest.TestCase):
    def test_names_of_nodes_that_are_no_more_are_this_one(self):
        # A cluster that has shrunk to one node; the values may stay.
        with Node() as node:
            path = node.directory / "users.ldif"
            line = f"mail: {ALICE}\n"
            tree = path.read_text().replace(line, line + "pigeonPreviousHost: n2\npigeonPreviousHost: n3\n")
            before = node.metric("pigeon_control_data_generation")
            path.with_suffix(".new").write_text(tree)
            path.with_suffix(".new").rename(path)
            wait_until(lambda: node.metric("pigeon_control_data_generation") > before, PATIENCE, "the tree is in force")
            imap(node).logout()
            with Smtp(node, LMTP) as session:
                session.deliver(make("one"), [ALICE])
            self.assertEqual(len(list(messages(node))), 1)


if __name__ == "__main__":
    unittest.main()
