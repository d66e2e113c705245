"""Two cores: sessions on both, and mail for an account that the other core owns."""

import os
import re
import unittest

from harness import Node, PASSWORD
from harness.mail import ALICE, BOB, Load, Smtp, digest, make
from harness.node import wait_until
from harness.reading import compare, imap, stored


class Cores(unittest.TestCase):
    def test_both_cores_serve_and_hand_over(self):
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("this machine has one CPU")
        with Node() as node:
            self.assertEqual(self.cores(node), {"0", "1"}, "quickstart uses two cores where there are two")
            load = Load(node, 50, name="cores", recipients=(ALICE, BOB))
            try:
                wait_until(lambda: load.count() > 500, 60, "500 messages are acknowledged")
            finally:
                acknowledged = load.stop()
            self.assertEqual(compare(acknowledged, node, ALICE), [])
            self.assertEqual(compare(acknowledged, node, BOB), [])
            # Each core has accepted sessions: the id of a session begins with its core.
            cores = set(re.findall(r"\b(000[01])[0-9a-f]{12}\b", node.log()))
            self.assertEqual(cores, {"0000", "0001"})

    @staticmethod
    def cores(node):
        """The cores that say something about themselves in the metrics."""
        return set(re.findall(r'core="(\d+)"', node.status("/metrics")[1]))

    def test_every_core_delivers_to_every_account(self):
        with Node() as node:
            sent = {ALICE: {}, BOB: {}}
            # Connections are spread by the kernel: enough of them reach every core.
            for index in range(40):
                for recipient in (ALICE, BOB):
                    identity = f"cross.{index}.{recipient[:3]}"
                    message = make(identity)
                    with Smtp(node) as session:
                        session.deliver(message, [recipient])
                    sent[recipient][identity] = digest(message)
            for recipient, expected in sent.items():
                self.assertEqual(stored(node, recipient), (expected, []))
                for _ in range(8):
                    connection = imap(node, recipient, PASSWORD)
                    self.assertEqual(int(connection.select("INBOX")[1][0]), 40)
                    connection.logout()
