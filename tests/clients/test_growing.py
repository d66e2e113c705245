"""One node becomes two, becomes three, becomes two again, while mail and logins go on: nothing is lost, nobody is refused."""

import unittest

from harness.machines import DOMAIN, LISTENERS, Machines
from harness.network import needs_namespaces
from harness.node import wait_until
from harness.traffic import Traffic

ACCOUNTS = 30


class Growing(unittest.TestCase):
    def setUp(self):
        needs_namespaces()
        accounts = {f"user{number}@{DOMAIN}": ("secret", "n1") for number in range(ACCOUNTS)}
        self.machines = Machines(["n1", "n2", "n3"], accounts, started=["n1"])
        self.addCleanup(self.machines.remove)
        self.traffic = Traffic(self.machines, pause=0.01, avoided=("n2", "n3"), moving=True)
        self.addCleanup(self.traffic.stopping.set)

    def until_more(self, messages=150):
        wanted = self.traffic.count() + messages
        wait_until(lambda: self.traffic.count() >= wanted, 120, f"{messages} more messages are acknowledged")
        failures = self.traffic.take_failures()
        self.assertEqual([(*failure[:3], str(failure[5])) for failure in failures[:5]], [])

    def join(self, name):
        """A node of its own configuration, an entry of the server_map, and accounts that are new."""
        node = self.machines[name]
        self.machines.server_map[name] = node.server()
        self.machines.change()
        node.start()
        # A balancer finds that it is ready.
        self.traffic.avoided.discard(name)
        self.machines.add({f"{name}.{number}@{DOMAIN}": ("secret", name) for number in range(ACCOUNTS // 3)})
        self.until_more()

    def move(self, addresses, to):
        for address in addresses:
            self.machines.move(address, to)
        self.machines.change()
        self.until_more()

    def leave(self, name):
        """Its accounts to the others, then nobody comes any more, then it ends."""
        node = self.machines[name]
        for number, address in enumerate(self.machines.owned(name)):
            self.machines.move(address, ["n1", "n2"][number % 2])
        self.machines.server_map[name] += "pigeonNodeState: draining\n"
        self.machines.change()
        wait_until(lambda: node.status("/ready")[0] == 503, 10, "a balancer sees that it drains")
        self.until_more()
        # What a balancer does then.
        self.traffic.avoided.add(name)
        wait_until(lambda: node.metric("pigeon_moves_under_way") == 0, 60, "its accounts are elsewhere")
        for other in self.machines:
            wait_until(lambda other=other: other.queued() == 0, 60, "nothing waits to go there")
        # Other nodes keep their connections for a while.
        clients = lambda: sum(node.metric("pigeon_sessions_open", service=service) for service in LISTENERS)  # noqa: E731
        wait_until(lambda: clients() == 0, 60, "its clients' sessions have ended")
        self.assertEqual(node.stop(), 0)
        del self.machines.server_map[name]
        self.machines.change()
        self.until_more()

    def test_one_two_three_two(self):
        self.until_more()
        self.join("n2")
        self.move(self.machines.owned("n1")[::2], "n2")
        self.join("n3")
        self.move(self.machines.owned("n1")[::3], "n3")
        self.leave("n3")
        self.traffic.stop()
        for name in ("n1", "n2"):
            self.assertEqual(self.traffic.wrong(self.machines[name]), [])
        total = sum(len(messages) for messages in self.traffic.acknowledged.values())
        print(f"    {self.traffic.sent} messages, {total} copies, {self.traffic.logins} logins, {self.traffic.cuts} of them "
              "ended by a move and come again", flush=True)
        self.assertLess(self.traffic.cuts, ACCOUNTS)
