"""A node whose backends break off, talk nonsense or say nothing, at every byte of a login and of a message: for its clients that
is a temporary failure, and nothing else; their mail waits, and comes when the backend has come to its senses."""

import concurrent.futures
import contextlib
import os
import re
import secrets
import unittest

from harness import PASSWORD, Node, scram
from harness.mail import ALICE, BOB, Refused, Smtp, make
from harness.node import IMAP, IMAPS, POP3, POP3S, wait_until
from harness.reading import imap, stored
from harness.scripted import CLOSES, NONSENSE, SILENT, WHOLE, Scripted

# One for all: each would read the system's certificates.
TLS = Node.tls()
# Addresses, not clients: what a user has who is let in by a backend like that.
WAYS = {CLOSES: "closes", NONSENSE: "nonsense", SILENT: "silent", WHOLE: "whole"}


def user_of(how, count):
    return f"{WAYS[how]}{count}"


def connect(node, port):
    connection = node.connect(port, timeout=120)
    # An end without close_notify is an error.
    return TLS.wrap_socket(connection, suppress_ragged_eofs=False) if port in (IMAPS, POP3S) else connection


def answer(node, port, lines, is_last):
    """What a client is told last."""
    with connect(node, port) as connection, connection.makefile("rb") as file:
        file.readline()
        for line in lines:
            connection.sendall(line.encode() + b"\r\n")
            while not is_last(said := file.readline()):
                assert said, f"closed without an answer to {line}"
        return said.decode(errors="replace")


def imap_answer(node, user, port=IMAP):
    return answer(node, port, [f"x LOGIN {user}@example.org {PASSWORD}"], lambda said: said.startswith(b"x "))


def pop3_answer(node, user, port=POP3):
    return answer(node, port, [f"USER {user}@example.org", f"PASS {PASSWORD}"], lambda said: said[:1] in b"+-" and said)


def smtp_answer(node, user):
    try:
        with Smtp(node, timeout=120) as session:
            return f"250 {session.deliver(make(user), [f'{user}@example.org'])}"
    except Refused as refused:
        return f"{refused.code} {refused.text}"


ANSWERS = {
    "imap": (imap_answer, "x OK ", r"x NO \[UNAVAILABLE\] "),
    "pop3": (pop3_answer, "+OK ", r"-ERR \[SYS/TEMP\] "),
    "lmtp": (smtp_answer, "250 ", r"250 "),
}


# By what they come from behind: of the same backends, for clients that speak TLS.
UNDER_TLS = {
    "imap": (lambda node, user: imap_answer(node, user, IMAPS), *ANSWERS["imap"][1:]),
    "pop3": (lambda node, user: pop3_answer(node, user, POP3S), *ANSWERS["pop3"][1:]),
}


class Broken:
    """A node and its backends, for one class of tests: what broke off at one of them is remembered by its name."""

    @classmethod
    def setUpClass(cls):
        cls.key = secrets.token_hex(32)
        cls.backend = Scripted(cls.key)
        cls.addClassCleanup(cls.backend.remove)
        cls.node = Node(configure=cls.configure)
        cls.addClassCleanup(cls.node.remove)

    @classmethod
    def configure(cls, node):
        (node.directory / "cluster-key").write_text(cls.key)
        (node.directory / "cluster-key").chmod(0o600)
        with open(node.directory / "pigeon.toml", "a") as file:
            file.write('\n[cluster]\nnode = "n1"\nkey_file = "cluster-key"\n')
        cls.tree = (node.directory / "users.ldif").read_text().rstrip("\n") + "\n"
        cls.write_tree(node, [(WHOLE, 0)])

    @classmethod
    def write_tree(cls, node, backends, mended=False):
        """With a node and a user of its own for each of the backends: a breaker is of a node. `mended`: they are whole now."""
        verifier, hashed = scram.verifier(cls.key), re.search("userPassword: .*", cls.tree)[0]
        tree = re.sub(r"(mail: .*\n)", r"\1mailHost: n1\n", cls.tree)
        tree += f"\ndn: cn=n1,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n1\npigeonKey: {verifier}\n"
        for how, count in backends:
            name = user_of(how, count)
            tree += f"\ndn: cn={name},dc=example,dc=org\nobjectClass: pigeonServer\ncn: {name}\npigeonKey: {verifier}\n"
            tree += "".join(f"pigeonPrivateAddress: {address}\n" for address in cls.backend.addresses(*(WHOLE, 0) if mended else (how, count)))
            tree += f"\ndn: uid={name},dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n"
            tree += f"mail: {name}@example.org\nmailHost: {name}\n{hashed}\n"
        new = node.directory / "users.ldif.new"
        new.write_text(tree)
        os.replace(new, node.directory / "users.ldif")

    def in_force(self, backends, mended=False):
        before = self.node.metric("pigeon_control_data_generation")
        self.write_tree(self.node, backends, mended)
        wait_until(lambda: self.node.metric("pigeon_control_data_generation") > before, 60, "the tree is in force")

    def sockets(self):
        """That the node has open."""
        directory, count = f"/proc/{self.node.process.pid}/fd", 0
        for name in os.listdir(directory):
            with contextlib.suppress(OSError):
                count += os.readlink(f"{directory}/{name}").startswith("socket:")
        return count

    def lengths(self):
        """By protocol, of a whole dialogue with the backend: how much it says, and how much before its last words."""
        for protocol, (ask, good, _) in ANSWERS.items():
            self.assertRegex(ask(self.node, user_of(WHOLE, 0)), "^" + re.escape(good))
        wait_until(lambda: len(self.backend.whole) == 3, 60, "the whole dialogues are over")
        return dict(self.backend.whole)

    def ask_all(self, tries, lengths, answers=ANSWERS):
        """What clients are told of backends that break off: by protocol, how and where."""
        wrong = []

        def check(protocol, how, count):
            ask, good, temporary = answers[protocol]
            said = ask(self.node, user_of(how, count))
            # A nonsensical text behind a valid answer is the backend's own; by then it has proven who it is.
            is_in = how == NONSENSE and count > lengths[protocol][1] and said.startswith(good)
            if not (is_in or re.match(temporary, said)):
                wrong.append(f"{protocol}, {WAYS[how]} at {count}: {said}")

        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            for done in [pool.submit(check, *one) for one in tries]:
                done.result()
        self.assertEqual((len(wrong), wrong[:10]), (0, []))
        self.assertEqual(self.backend.failures[:10], [])

    def mend(self, backends, tries, lengths):
        """The backends are whole: what was taken for them, and is not there as far as the node knows, is brought once."""
        self.in_force([(WHOLE, 0), *backends], mended=True)
        wait_until(lambda: self.node.queued() == 0, 120, "nothing waits any more")
        for protocol, how, count in tries:
            if protocol == "lmtp":
                # Of a nonsensical text behind a whole answer, the answer counts.
                there = how == NONSENSE and count > lengths["lmtp"][1]
                got = self.backend.brought[f"{user_of(how, count)}@example.org"]
                self.assertIn(got, (0, 1) if there else (1,), f"{WAYS[how]} at {count}")

    def assert_well(self, name):
        self.assertEqual(self.node.status("/ready")[0], 200)
        imap(self.node, ALICE).logout()
        with Smtp(self.node) as session:
            session.deliver(make(name), [ALICE, BOB])
        self.assertIn(name, stored(self.node, ALICE)[0])


class BrokenBackends(Broken, unittest.TestCase):
    def test_at_every_byte(self):
        lengths = self.lengths()
        longest = max(sent for sent, _ in lengths.values())
        backends = [(how, count) for how in (CLOSES, NONSENSE) for count in range(longest)]
        self.in_force([(WHOLE, 0), *backends])
        before = self.sockets()
        tries = [(protocol, how, count) for how, count in backends for protocol in ANSWERS if count < lengths[protocol][0]]
        self.ask_all(tries, lengths)
        print(f"# {len(tries)} dialogues broken off, of " + ", ".join(f"{name} {sent} B" for name, (sent, _) in lengths.items()))
        self.mend(backends, tries, lengths)
        # Every connection to a backend has been ended, and the clients' too; mail keeps one for a minute.
        wait_until(lambda: not any(self.backend.kept.values()), 150, "the backends' connections have ended")
        wait_until(lambda: self.sockets() <= before, 60, "the node's connections are closed")
        self.assert_well("after-every-byte")

    def test_silence(self):
        lengths = self.lengths()
        # A node's patience is long: once in each quarter is enough, all at once.
        tries = [(protocol, SILENT, sent * tenths // 10) for protocol, (sent, _) in lengths.items() for tenths in (0, 2, 5, 9)]
        self.in_force([(WHOLE, 0), *sorted({(how, count) for _, how, count in tries})])
        self.ask_all(tries, lengths)
        self.mend(sorted({(how, count) for _, how, count in tries}), tries, lengths)
        wait_until(lambda: not any(self.backend.kept.values()), 150, "the connections have ended")
        self.assert_well("after-silence")


class BrokenBackendsUnderTls(Broken, unittest.TestCase):
    def test_at_every_byte_of_a_login(self):
        lengths = self.lengths()
        longest = max(lengths[protocol][0] for protocol in UNDER_TLS)
        backends = [(how, count) for how in (CLOSES, NONSENSE) for count in range(longest)]
        self.in_force([(WHOLE, 0), *backends])
        before = self.sockets()
        for protocol, (ask, good, _) in UNDER_TLS.items():
            self.assertRegex(ask(self.node, user_of(WHOLE, 0)), "^" + re.escape(good))
        tries = [(protocol, how, count) for how, count in backends for protocol in UNDER_TLS if count < lengths[protocol][0]]
        self.ask_all(tries, lengths, UNDER_TLS)
        print(f"# {len(tries)} logins under TLS broken off")
        wait_until(lambda: not any(self.backend.kept[protocol] for protocol in UNDER_TLS), 150, "the connections have ended")
        wait_until(lambda: self.sockets() <= before, 60, "the node's connections are closed")
        self.assertEqual(self.node.metric("pigeon_session_panics_total"), 0)
        self.assert_well("after-every-byte-under-tls")
