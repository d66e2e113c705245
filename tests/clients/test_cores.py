"""Two cores: sessions on both, and mail for an account that the other core owns."""

import os
import pathlib
import re
import unittest

from harness import Node, PASSWORD, pigeond
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

    def test_fewer_cpus_than_configured(self):
        """Under taskset with one CPU: one core runs, and the log says which are missing."""
        def eight(node):
            config = node.directory / "pigeon.toml"
            config.write_text('cores = "0-7"\ncontrol_cpus = "0-7"\n' + config.read_text())

        with Node(configure=eight) as node:
            self.assertEqual(node.stop(), 0)
            cpu = min(os.sched_getaffinity(0))
            command = [pigeond(), "run", "--config", str(node.directory / "pigeon.toml")]
            node.spawn(["taskset", "--cpu-list", str(cpu), *command])
            self.assertEqual(self.cores(node), {"0"})
            self.assertRegex(node.log(), rf"of the CPUs configured for the cores \(0-7\), .* running on {cpu}\n")
            for task in pathlib.Path(f"/proc/{node.process.pid}/task").iterdir():
                if not (task / "comm").read_text().startswith("pigeon-core"):
                    continue
                allowed = re.search(r"^Cpus_allowed_list:\s*(.*)$", (task / "status").read_text(), re.M)[1]
                self.assertEqual(allowed, str(cpu), (task / "comm").read_text())
            message = make("cores.one")
            with Smtp(node) as session:
                session.deliver(message)
            self.assertEqual(stored(node), ({"cores.one": digest(message)}, []))

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
