"""Each node of three in turn is killed, stopped, cut off, while mail and logins go on through all: what was acknowledged is
there once, users of the other nodes notice nothing, those of the broken one come back with it.

    PIGEON_GONE=40 tests/run node_faults    for so long, in seconds: then the nodes' own deadlines pass, too
"""

import contextlib
import imaplib
import os
import signal
import time
import unittest

from harness.machines import DOMAIN, Machines
from harness.network import PRIVATE, needs_namespaces
from harness.node import IMAP, wait_until
from harness.traffic import Cut, Traffic

NODES = ["n1", "n2", "n3"]
ACCOUNTS = 30
# How long a node is gone, and how soon the issue wants its users back.
GONE, BACK = float(os.environ.get("PIGEON_GONE", 3)), 2
# What a login says that is to be tried again (RFC 5530, RFC 3206).
TEMPORARY = r"\[(UNAVAILABLE|SYS/TEMP)\]"


class Waiting:
    """An IMAP session of a user of one node through another that waits in IDLE (RFC 2177)."""

    def __init__(self, machines, through, owner):
        self.name = f"of a user of {owner.name} through {through.name}"
        user = min(machines.owned(owner.name))
        with through.reach():
            self.client = imaplib.IMAP4(through.host, IMAP, timeout=60)
        self.client.login(user, machines.accounts[user][0])
        self.client.select("INBOX", readonly=True)
        self.client.send(b"W IDLE\r\n")
        self.lines_until(b"+")

    def lines_until(self, start):
        while not (line := self.client.readline()).startswith(start):
            assert line, f"a session {self.name} was cut off"
            assert not line.startswith(b"* BYE"), f"a session {self.name} was ended: {line}"

    def check(self):
        """It is told of new mail, and ends in order."""
        self.lines_until(b"* ")
        self.client.send(b"DONE\r\n")
        self.lines_until(b"W OK")
        self.client.logout()

    def close(self):
        # It has ended already where all went well.
        with contextlib.suppress(OSError):
            self.client.shutdown()


class NodeFaults(unittest.TestCase):
    def setUp(self):
        needs_namespaces()
        accounts = {f"user{number}@{DOMAIN}": ("secret", NODES[number % 3]) for number in range(ACCOUNTS)}
        self.machines = Machines(NODES, accounts)
        self.addCleanup(self.machines.remove)
        self.traffic = Traffic(self.machines, pause=0.01)
        self.addCleanup(self.traffic.stopping.set)
        self.until_more(200)

    def until_more(self, messages):
        wanted = self.traffic.count() + messages
        wait_until(lambda: self.traffic.count() >= wanted, 120, f"{messages} more messages are acknowledged")

    def each(self, what, break_it, mend_it, public=True):
        for node in self.machines:
            with self.subTest(node=node.name):
                self.one(what, node, break_it, mend_it, public)
        self.traffic.stop()
        self.until_sent()
        self.assertEqual(self.traffic.wrong(self.machines["n1"]), [])
        total = sum(len(messages) for messages in self.traffic.acknowledged.values())
        print(f"    {what}: {self.traffic.sent} messages, {total} copies, {self.traffic.logins} logins", flush=True)

    def one(self, what, node, break_it, mend_it, public):
        """`public`: its clients lose it too."""
        self.assertEqual(self.traffic.take_failures()[:3], [], "before the fault")
        others = [other for other in self.machines if other is not node]
        broken = set(self.machines.owned(node.name))
        waiting = [Waiting(self.machines, through, owner) for through in others for owner in others]
        for session in waiting:
            self.addCleanup(session.close)
        fault = time.monotonic()
        break_it(node)
        # The fault itself: it lasts so long, and nothing is waited for. Mail and logins go on in threads of their own.
        time.sleep(GONE)
        mend_it(node)
        since = time.monotonic()
        user = min(broken)
        for other in others:
            self.until_back(other, user)
        took = time.monotonic() - since
        print(f"    {what} {node.name}: its users are back {took:.2f} s after it (limit {BACK} s)", flush=True)
        self.until_more(100)
        # Those that wait for an answer since have it.
        wait_until(lambda: self.quiet(), 60, "no login fails any more")
        for kind, at, addresses, began, _, error in self.traffic.take_failures():
            if at == node.name and public:
                continue
            self.assertEqual(kind, "login", f"mail through {at} to {addresses}: {error!r}")
            # Who is cut off from the others has only users of its own.
            gone = broken if at != node.name else set(self.machines.accounts) - broken
            self.assertIn(addresses[0], gone, f"a login through {at}: {error!r}")
            # A session that was there when the fault came may have died of it; from then on they are told.
            if not isinstance(error, Cut) or began > fault:
                self.assertRegex(str(error), TEMPORARY)
        for session in waiting:
            session.check()
        self.assertLess(took, BACK)

    def quiet(self):
        """No failure for a while of what began after the fault."""
        last = max((failure[4] for failure in self.traffic.failures), default=0)
        return time.monotonic() - last > 1

    def until_back(self, through, user):
        def works():
            try:
                self.traffic.login(through, user, timeout=BACK)
                return True
            except Exception:
                return False

        wait_until(works, 60, f"{user} is back through {through.name}")

    def until_sent(self):
        def empty():
            return all(node.queued() == 0 for node in self.machines)

        wait_until(empty, 120, "the queues are empty")

    def test_killed(self):
        def restart(node):
            node.start()

        self.each("killed", lambda node: node.kill(), restart)

    def test_stopped(self):
        self.each("stopped", lambda node: node.signal(signal.SIGSTOP), lambda node: node.signal(signal.SIGCONT))

    def test_cut_off(self):
        self.each("cut off", lambda node: node.machine.cut(), lambda node: node.machine.mend())

    def test_cut_off_from_the_others(self):
        self.each("cut off inside", lambda node: node.machine.cut(PRIVATE), lambda node: node.machine.mend(PRIVATE), public=False)
