"""A directory whose servers stop, die, are replaced or are cut off, under a node that goes on: no valid recipient is refused
for good, nothing acknowledged is lost, and the copy is right again within 5 s of a server's return, entry by entry."""

import concurrent.futures
import os
import signal
import subprocess
import threading
import time
import unittest

from harness import Node, leftovers
from harness.held import difference
from harness.mail import Refused, Smtp, digest, make, recipient_answer
from harness.needs import needs
from harness.node import wait_until
from harness.reading import stored
from harness.slapd import SUFFIX, Replica, Slapd, entry

PATIENCE = 30
# The issue's, from the return of a server to the copy that is right again.
RETURN = 5
RECIPIENTS = 100_000


class Stream:
    """Recipients without end: valid ones, and one that nobody is. Remembers every answer that is wrong."""

    def __init__(self, node, valid):
        self.node, self.valid = node, list(valid)
        self.count, self.wrong, self.unknown = 0, [], set()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.stopped.is_set():
                with Smtp(self.node) as session:
                    # A session may not refuse much, nor begin often without a message.
                    for _ in range(5):
                        session.command("MAIL FROM:<>", 250)
                        self.ask(session)
                        session.command("RSET", 250)
        except (OSError, Refused) as error:
            self.wrong.append(("the session", 0, repr(error)))

    def ask(self, session):
        for name in [*self.valid, "nobody"]:
            self.count += 1
            session.send(f"RCPT TO:<{name}@example.org>")
            code, text = session.reply()
            if name == "nobody":
                self.unknown.add(code)
            if code not in ((451, 550) if name == "nobody" else (250,)):
                self.wrong.append((name, code, text))

    def stop(self):
        self.stopped.set()
        self.thread.join(60)


class Faults(unittest.TestCase):
    def begin(self, provider, *others, **options):
        """A node beside servers that hold alice, bob and twenty others; and the stream of recipients."""
        self.rounds, self.changes, self.sent = 0, 0, {}
        self.names = {f"u{number}" for number in range(20)} | {"alice", "bob"}
        self.gone = set()
        self.node = Node(configure=lambda node: provider.configure(node, *others, **options))
        self.addCleanup(self.node.remove)
        self.until_answer("nobody", 550)
        # One that was added just before: it is in force, and stays so.
        provider.person("fresh")
        self.names.add("fresh")
        self.until_answer("fresh", 250)
        self.stream = Stream(self.node, ["alice", "bob", "fresh"])
        self.addCleanup(self.stream.stop)

    def server(self, **options):
        people = "".join(entry(name) + "\n" for name in ["alice", "bob", *(f"u{number}" for number in range(20))])
        slapd = Slapd(ldif=people, **options)
        self.addCleanup(slapd.remove)
        return slapd

    def answer(self, name):
        return recipient_answer(self.node, f"{name}@example.org")

    def until_answer(self, name, code):
        wait_until(lambda: self.answer(name) == code, PATIENCE, f"RCPT of {name} answers {code}")

    def deliver(self):
        """To an old account and to the fresh one; both are looked for at the end."""
        for name in ["alice", "fresh"]:
            identity = f"faults.{name}.{self.rounds}"
            message = make(identity)
            with Smtp(self.node) as session:
                session.deliver(message, [f"{name}@example.org"], "")
            self.sent.setdefault(name, {})[identity] = digest(message)
        self.rounds += 1

    def change(self, server):
        """Adds, a modify, a rename with a new address, and deletes."""
        self.changes += 1
        tag = f"r{self.changes}"
        victims = sorted(name for name in self.names if name.startswith("u"))[:3]
        renamed, modified = victims[0], victims[1]
        server.person(f"{tag}a")
        server.person(f"{tag}b")
        server.set(modified, "mailQuotaSize", 1_000_000 + self.changes)
        server.change(f"dn: uid={renamed},{SUFFIX}\nchangetype: modrdn\nnewrdn: uid={tag}c\ndeleteoldrdn: 1\n")
        server.set(f"{tag}c", "mail", f"{tag}c@example.org")
        server.change(f"dn: uid={victims[2]},{SUFFIX}\nchangetype: delete\n")
        self.names -= {renamed, victims[2]}
        self.gone |= {renamed, victims[2]}
        self.names |= {f"{tag}a", f"{tag}b", f"{tag}c"}

    def state(self):
        states = ["boot", "refresh", "live", "lost"]
        # Each is asked for by itself: one that has passed on meanwhile is none of them.
        return next((state for state in states if self.node.metric("pigeon_control_data_state", state=state)), None)

    def until_right(self, server, since, what):
        """The copy is the server's, in memory by its answers and on disk entry by entry."""
        if self.changes:
            self.until_answer(f"r{self.changes}b", 250)
        self.until_answer("nobody", 550)
        wait_until(lambda: not difference(self.node, server), PATIENCE, f"the copy is right: {what}")
        took = time.monotonic() - since
        answers = {name: self.answer(name) for name in self.names | self.gone}
        expected = {name: 250 if name in self.names else 550 for name in answers}
        self.assertEqual(answers, expected, what)
        self.assertEqual(difference(self.node, server), [], what)
        self.assertEqual(self.state(), "live")
        print(f"    {what}: right again {took:.2f} s after the return (limit {RETURN} s)", flush=True)
        self.assertLess(took, RETURN, what)

    def away(self):
        """The node has noticed that no server answers: who is unknown may come again, all others are served."""
        self.until_answer("nobody", 451)
        self.assertEqual(self.answer("fresh"), 250)
        self.deliver()

    def finish(self):
        self.stream.stop()
        self.assertEqual(self.stream.wrong, [])
        self.assertEqual(self.stream.unknown, {451, 550})
        print(f"    {self.stream.count} recipients meanwhile", flush=True)
        for name, sent in self.sent.items():
            self.assertEqual(stored(self.node, f"{name}@example.org"), (sent, []))

    def test_a_provider_that_stops_dies_and_comes_back(self):
        provider = self.server()
        self.begin(provider)
        # Stopped: its kernel goes on to answer for it.
        provider.signal(signal.SIGSTOP)
        self.away()
        before = time.monotonic()
        provider.signal(signal.SIGCONT)
        self.change(provider)
        self.until_right(provider, before, "stopped and continued")
        # Killed, and changed while the node cannot reach it; its session log is lost each time.
        for what, end in [("killed and started", provider.kill), ("ended and started", provider.stop)]:
            end()
            provider.start(reachable=False)
            self.away()
            self.change(provider)
            provider.stop()
            before = time.monotonic()
            provider.start()
            self.until_right(provider, before, what)
        self.finish()

    def test_a_replica_takes_the_place_of_the_provider(self):
        provider = self.server()
        replica = Replica(provider)
        self.addCleanup(replica.remove)
        self.begin(provider, replica)
        self.change(provider)
        wait_until(replica.has_all, PATIENCE, "the replica has all")
        # The replica serves the node, and is no provider yet.
        before = time.monotonic()
        provider.kill()
        wait_until(lambda: f":{replica.port}" in self.node.status("/")[1] and self.state() == "live", PATIENCE, "the replica is followed")
        self.until_right(replica, before, "over to the replica")
        # It is restarted as the provider, and changed from then on.
        self.deliver()
        before = time.monotonic()
        replica.promote()
        self.change(replica)
        self.until_right(replica, before, "replica promoted")
        # Changed while it is stopped for the node.
        replica.stop()
        replica.start(reachable=False)
        self.away()
        self.change(replica)
        replica.stop()
        before = time.monotonic()
        replica.start()
        self.until_right(replica, before, "promoted replica restarted")
        self.finish()

    def test_a_replica_that_lags_takes_nothing_back(self):
        provider = self.server()
        replica = Replica(provider)
        self.addCleanup(replica.remove)
        self.begin(provider, replica)
        wait_until(replica.has_all, PATIENCE, "the replica has all")
        # The node gets what the replica does not, and then the provider dies.
        replica.signal(signal.SIGSTOP)
        provider.person("late")
        self.names.add("late")
        self.until_answer("late", 250)
        self.stream.valid.append("late")
        provider.kill()
        self.away()
        before = time.monotonic()
        replica.signal(signal.SIGCONT)
        self.until_right(replica, before, "a replica that lagged")
        self.finish()

    def test_the_network_is_cut(self):
        network = Network()
        self.addCleanup(network.remove)
        provider = self.server(namespace=network.name, address=network.far)
        # With the patience that a node has by default.
        self.begin(provider, quick=False)
        network.cut()
        self.change(provider)
        self.away()
        self.change(provider)
        before = time.monotonic()
        network.mend()
        self.until_right(provider, before, "cut until it was noticed")
        # Too short to be noticed. The kernels wait ever longer before they send again what was lost.
        for seconds in [0.5, 4]:
            network.cut()
            self.change(provider)
            time.sleep(seconds)
            before = time.monotonic()
            network.mend()
            self.until_right(provider, before, f"cut for {seconds} s")
        self.finish()


    def test_looking_up_recipients_asks_the_directory_nothing(self):
        names = [f"person{number}" for number in range(RECIPIENTS)]
        begin = time.monotonic()
        provider = Slapd(ldif="\n".join(entry(name) for name in names))
        self.addCleanup(provider.remove)
        loaded = time.monotonic()
        self.node = Node(configure=provider.configure)
        self.addCleanup(self.node.remove)
        wait_until(lambda: self.state() == "live", 180, "everybody is known")
        self.assertEqual(self.node.metric("pigeon_control_data_accounts"), RECIPIENTS)
        ready = time.monotonic()
        before = provider.operations_by_kind()
        step = 1000
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            wrong = sum(pool.map(self.look_up, [names[at:at + step] for at in range(0, RECIPIENTS, step)]))
        took = time.monotonic() - ready
        done = provider.operations_by_kind()
        # The questions of this test: each binds and searches once.
        done.subtract(before)
        done.subtract({"Bind": 1, "Search": 1, "Unbind": 1})
        done = {kind: number for kind, number in done.items() if number}
        print(f"    {RECIPIENTS} recipients in {took:.1f} s; loaded in {loaded - begin:.1f} s, node ready {ready - loaded:.1f} s later; "
              f"operations of the directory meanwhile: {done}", flush=True)
        self.assertEqual(wrong, 0)
        # WhoAmI, the probe of a silent server, is an extended operation: one a second here, whatever is looked up.
        self.assertLessEqual(done.pop("Extended", 0), took + 2)
        self.assertEqual(done, {}, "operations of the directory")

    def look_up(self, names):
        """How many of them are not taken. Pipelined: a hundred commands a round."""
        wrong = 0
        for at in range(0, len(names), 100):
            some = names[at:at + 100]
            with Smtp(self.node) as session:
                session.send("MAIL FROM:<>\r\n" + "\r\n".join(f"RCPT TO:<{name}@example.org>" for name in some))
                session.reply()
                wrong += sum(session.reply()[0] != 250 for _ in some)
        return wrong


class Network:
    """A network namespace behind a pair of virtual interfaces, and a filter that drops everything."""

    def __init__(self):
        self.ip, self.nft = needs("ip", "nft")
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root: network namespaces")
        number = os.getpid() % 16_000
        self.name, self.near_link, self.far_link = f"pigeonair-{number}", f"pgn{number}", f"pgf{number}"
        # 198.18.0.0/15 is for tests (RFC 2544).
        base = f"198.18.{number // 64 % 256}.{number % 64 * 4}"
        prefix, last = base.rsplit(".", 1)
        self.near, self.far = f"{prefix}.{int(last) + 1}", f"{prefix}.{int(last) + 2}"
        leftovers.remember(self)
        try:
            self.do(self.ip, "netns", "add", self.name)
        except AssertionError as error:
            leftovers.forget(self)
            raise unittest.SkipTest(f"network namespaces cannot be made here: {error}") from None
        try:
            self.do(self.ip, "link", "add", self.near_link, "type", "veth", "peer", "name", self.far_link, "netns", self.name)
            self.do(self.ip, "address", "add", f"{self.near}/30", "dev", self.near_link)
            self.do(self.ip, "link", "set", self.near_link, "up")
            self.inside(self.ip, "address", "add", f"{self.far}/30", "dev", self.far_link)
            self.inside(self.ip, "link", "set", self.far_link, "up")
            self.inside(self.nft, "add", "table", "inet", "cut")
        except AssertionError as error:
            self.remove()
            raise unittest.SkipTest(f"a virtual network cannot be made here: {error}") from None

    @staticmethod
    def do(*command):
        done = subprocess.run(command, capture_output=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode()}"

    def inside(self, *command):
        self.do(self.ip, "netns", "exec", self.name, *command)

    def cut(self):
        for hook in ["input", "output"]:
            self.inside(self.nft, f"add chain inet cut {hook} {{ type filter hook {hook} priority 0; policy drop; }}")

    def mend(self):
        self.inside(self.nft, "flush", "ruleset")
        self.inside(self.nft, "add", "table", "inet", "cut")

    def remove(self):
        # The pair of interfaces goes with the namespace's.
        subprocess.run([self.ip, "link", "delete", self.near_link], capture_output=True)
        subprocess.run([self.ip, "netns", "delete", self.name], capture_output=True)
        leftovers.forget(self)
