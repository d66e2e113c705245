"""Logins with a directory behind them: what they ask it, by hash and by bind, and that no client can make them ask more."""

import base64
import concurrent.futures
import contextlib
import hashlib
import itertools
import os
import signal
import socket
import threading
import time
import unittest

from harness import Node
from harness.mail import Smtp
from harness.node import POP3, wait_until
from harness.slapd import SUFFIX, Replica, Slapd

PATIENCE = 30
NAMES = [f"user{number}" for number in range(20)]
RIGHT, WRONG, LATER = "+OK", "-ERR [AUTH]", "-ERR [SYS/TEMP]"
# Failures slow the address that they come from; each login of these tests that may fail comes from its own.
ADDRESSES = (f"127.0.{high}.{low}" for high, low in itertools.product(range(1, 255), range(1, 255)))


def ssha(password):
    salt = os.urandom(8)
    return "{SSHA}" + base64.b64encode(hashlib.sha1(password.encode() + salt).digest() + salt).decode()


class Pop:
    """Logs in over POP3, each time over a connection of its own."""

    def __init__(self, node):
        self.node = node

    def __call__(self, name, password="pigeon", address="127.0.0.1"):
        """What the node says to the login; what it is expected to begin with is compared by the caller."""
        where = ("127.0.0.1", self.node.port(POP3))
        name, password = [text if isinstance(text, bytes) else text.encode() for text in [name, password]]
        with socket.create_connection(where, timeout=120, source_address=(address, 0)) as connection:
            connection.sendall(b"USER %s\r\nPASS %s\r\nQUIT\r\n" % (name, password))
            with connection.makefile("rb") as lines:
                replies = [line.decode(errors="replace").rstrip() for line in lines]
        # The greeting, the answers to USER and PASS, the farewell; a line that is refused whole leaves fewer.
        return replies[2] if len(replies) > 2 else replies[-1]

    def fresh(self, name, password="pigeon"):
        """From an address that nothing has failed from."""
        return self(name, password, next(ADDRESSES))


class Gate:
    """A server in front of a directory's. What its first connection is told can be held back; the others notice nothing."""

    def __init__(self, host):
        self.host, port = host.split(":")
        self.where = (self.host, int(port))
        self.open = threading.Event()
        self.open.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sockets = [self.listener]
        threading.Thread(target=self.accept, daemon=True).start()

    def __str__(self):
        return "127.0.0.1:%d" % self.listener.getsockname()[1]

    def accept(self):
        always = threading.Event()
        always.set()
        with contextlib.suppress(OSError):
            for gate in itertools.chain([self.open], itertools.repeat(always)):
                client = self.listener.accept()[0]
                server = socket.create_connection(self.where)
                self.sockets += [client, server]
                for source, target, may in [(client, server, always), (server, client, gate)]:
                    threading.Thread(target=self.copy, args=(source, target, may), daemon=True).start()

    @staticmethod
    def copy(source, target, may):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                may.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def remove(self):
        self.open.set()
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Logins(unittest.TestCase):
    def start(self, more="", control_data="", **how):
        self.slapd = Slapd(**how)
        self.addCleanup(self.slapd.remove)
        self.slapd.change("\n".join(f"""dn: uid={name},{SUFFIX}
changetype: add
objectClass: inetOrgPerson
objectClass: pigeonAccount
cn: {name}
sn: {name}
uid: {name}
mail: {name}@example.org
userPassword: {ssha("pigeon")}
""" for name in NAMES))
        self.node = Node(configure=lambda node: self.slapd.configure(node, over_socket=True, more=more, control_data=control_data))
        self.addCleanup(self.node.remove)
        return Pop(self.node)

    def start_at(self, addresses, more=""):
        """Over TCP, to these addresses instead of the directory's own."""
        def configure(node):
            self.slapd.configure(node, quick=False, more=more)
            config = node.directory / "pigeon.toml"
            servers = ", ".join(f'"ldap://{address}"' for address in addresses)
            config.write_text(config.read_text().replace(f'"ldap://{self.slapd.host}"', servers))
        self.node.remove()
        self.node = Node(configure=configure)
        self.addCleanup(self.node.remove)
        return Pop(self.node)

    def many(self, pop, times):
        """Logs in with every account so many times, four at once."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(pop, NAMES * times))
        self.assertEqual([reply for reply in replies if not reply.startswith(RIGHT)], [])

    def asked(self, work):
        """Binds and searches of the directory that `work` caused."""
        before = self.slapd.begun()
        work()
        return [after - before for before, after in zip(before, self.slapd.begun())]

    def test_logins_by_hash_ask_the_directory_nothing(self):
        pop = self.start()
        before = time.monotonic()
        self.assertEqual(self.asked(lambda: self.many(pop, 50)), [0, 0], "binds and searches")
        print(f"    {50 * len(NAMES)} logins in {time.monotonic() - before:.1f} s", flush=True)
        self.assertEqual(self.node.metric("pigeon_password_hashes_total"), len(NAMES), "one hash an account")
        # A wrong password is no reason to trust the copy alone: the entry is read once, and never again for the same.
        wrong = lambda: [self.assertIn(WRONG, pop.fresh("user0", "wrong")) for _ in range(3)]
        self.assertEqual(self.asked(wrong), [1, 1], "the node's bind on the first question, and one search")
        self.assertEqual(self.node.metric("pigeon_credentials_known_wrong_total"), 2)

    def test_logins_by_bind_bind_once_a_life(self):
        pop = self.start('verify = "bind"', hidden_passwords=True)
        self.assertEqual(self.asked(lambda: self.many(pop, 50)), [len(NAMES), 0], "binds and searches")
        self.assertEqual(self.node.metric("pigeon_password_hashes_total"), 0)
        # Wrong: one bind, and then it is remembered, for as long as the entry is the same.
        wrong = lambda: [self.assertIn(WRONG, pop.fresh("user0", "dove")) for _ in range(3)]
        self.assertEqual(self.asked(wrong), [1, 0])
        # The node sees no password, but it sees that the entry changed.
        self.slapd.set("user0", "userPassword", ssha("dove"))
        wait_until(lambda: pop.fresh("user0", "dove").startswith(RIGHT), PATIENCE, "the new password is right")
        self.assertIn(WRONG, pop.fresh("user0"))
        # A server that does not answer refuses nobody, and who is remembered does not notice.
        self.slapd.signal(signal.SIGSTOP)
        self.assertIn(LATER, pop.fresh("user1", "wrong"))
        self.assertIn(RIGHT, pop("user1"))
        self.slapd.signal(signal.SIGCONT)
        wait_until(lambda: WRONG in pop.fresh("user1", "wrong"), PATIENCE, "the directory is asked again")

    def test_a_password_that_the_copy_does_not_know_yet_is_right(self):
        self.start()
        gate = Gate(self.slapd.host)
        self.addCleanup(gate.remove)
        # Nothing but the gate holds the copy back, and nobody asks why the server is silent.
        pop = self.start_at([gate], 'probe_after = "1h"\n')
        self.assertIn(RIGHT, pop("user0"))
        gate.open.clear()
        self.slapd.set("user0", "userPassword", ssha("dove"))
        helped = lambda: self.node.metric("pigeon_rereads_helped_total")
        self.assertIn(RIGHT, pop.fresh("user0", "dove"))
        self.assertEqual(helped(), 1)
        self.assertIn(RIGHT, pop.fresh("user0", "dove"))
        self.assertEqual(helped(), 1, "it is remembered")
        self.assertIn(WRONG, pop.fresh("user0", "crow"))
        gate.open.set()
        wait_until(lambda: WRONG in pop.fresh("user0"), PATIENCE, "the old password is wrong")

    def test_logins_go_to_the_next_server(self):
        self.start()
        replica = Replica(self.slapd)
        self.addCleanup(replica.remove)
        for verify in ["hash", "bind"]:
            with self.subTest(verify=verify):
                pop = self.start_at([self.slapd.host, replica.host], f'verify = "{verify}"\nanswer_timeout = "1s"\n')
                self.assertIn(WRONG, pop.fresh("user0", "wrong"))
                self.assertIn(RIGHT, pop.fresh("user1"))
                self.slapd.kill()
                # As said by the replica: neither of them has been asked for before.
                self.assertIn(RIGHT, pop.fresh("user2"))
                self.assertIn(WRONG, pop.fresh("user3", "wrong"))
                asked = "pigeon_binds_total" if verify == "bind" else "pigeon_rereads_total"
                self.assertEqual(self.node.metric(asked), 4 if verify == "bind" else 2)
                away = "pigeon_binds_away_total" if verify == "bind" else "pigeon_rereads_away_total"
                self.assertEqual(self.node.metric(away), 0)
                self.slapd.start()

    def test_a_life_of_verified_credentials_ends(self):
        pop = self.start('verify = "bind"', 'verified_for = "1s"')
        began = time.monotonic()
        binds = lambda: self.node.metric("pigeon_binds_total")
        wait_until(lambda: pop("user0").startswith(RIGHT) and binds() == 3, PATIENCE, "a third bind")
        self.assertGreaterEqual(time.monotonic() - began, 2, "three binds are two lives apart")

    def test_no_client_can_make_a_search(self):
        names = ["*", "*)(uid=*", "user0)(|(uid=*", "*))(|(objectClass=*", "\\00", "\\2a", "user0,dc=test", ",dc=",
                 "uid=user0,dc=test", "user0+uid=user1", "user\\30", "user0\x00", "\x00", "user0@example.org)(mail=*",
                 "x" * 200, "(" * 400, "x" * 5000]
        for verify in ["hash", "bind"]:
            with self.subTest(verify=verify):
                pop = self.start(f'verify = "{verify}"')
                def attack():
                    for name in names:
                        reply = pop.fresh(name, "*")
                        self.assertTrue(reply.startswith("-ERR"), (name, reply))
                        # As a recipient it is bad syntax or unknown, but for a detail of an account that there is.
                        session = Smtp(self.node)
                        session.command("MAIL FROM:<>", 250)
                        for recipient in [f'"{name}"@example.org', f"{name}@example.org"]:
                            session.send(f"RCPT TO:<{recipient}>")
                            code = session.reply()[0]
                            self.assertEqual(code // 100, 2 if name.startswith("user0+") else 5, (recipient, code))
                        session.close()

                self.assertEqual(self.asked(attack), [0, 0], "binds and searches")
                self.node.remove()
                self.slapd.remove()
