"""What a redirected session takes of its node: two descriptors, and a port towards the backend. Where there is no more of
either, a client is told to come later, and nobody else notices."""

import imaplib
import socket
import unittest

from harness import machines
from harness.machines import BACKENDS, CONFIGURATION, DOMAIN, LISTENERS
from harness.mail import BOB, Smtp, digest, make, stuffed
from harness.needs import needs
from harness.network import PRIVATE, PUBLIC, needs_namespaces
from harness.node import IMAP, STATUS, pigeond, wait_until
from harness.reading import compare, imap

PATIENCE = 20
# Local ports of the node that redirects; and a limit of open files that these sessions are beyond.
PORTS = 4
OPEN_FILES, SESSIONS, WAITING = 512, 250, 60


class Machine(machines.Machine):
    """With a private address instead of its backends' listeners."""

    def configuration(self):
        text = CONFIGURATION.format(name=self.name, domain=DOMAIN, ldif=self.cluster.ldif, status=STATUS)
        text += f'private_address = "{self.machine.address(PRIVATE)}"\nredirectors = ["10.77.0.0/24"]\n'
        for service, port in LISTENERS.items():
            text += (f'\n[[listener]]\naddress = "{self.machine.address(PUBLIC)}:{port}"\nservice = "{service}"\n'
                     'trusted_networks = ["192.0.2.0/24"]\n')
        return text


class Narrow(Machine):
    """n1 has few descriptors, and may not give itself more."""

    def start(self, wait=True):
        if self.name != "n1":
            return super().start(wait)
        self.spawn(self.machine.command(
            "prlimit", f"--nofile={OPEN_FILES}:{OPEN_FILES}", "setpriv", "--bounding-set=-sys_resource",
            "--inh-caps=-sys_resource", pigeond(), "run", "--config", str(self.directory / "pigeon.toml"),
            "--create-volumes"), wait)


class RedirectLimits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        needs_namespaces()
        needs("prlimit", "setpriv")

    def enter(self, node, user):
        connection = imap(node, user, "secret")
        self.addCleanup(connection.sock.close)
        return connection

    def test_each_backend_has_all_ports_and_is_not_blamed_when_they_are_in_use(self):
        accounts = {f"user@{DOMAIN}": ("secret", "n2"), f"other@{DOMAIN}": ("secret", "n3")}
        with machines.Machines(["n1", "n2", "n3"], accounts, machine=Machine) as cluster:
            n1 = cluster["n1"]
            done = n1.machine.run("sh", "-c", f"echo 40000 {40000 + PORTS - 1} > /proc/sys/net/ipv4/ip_local_port_range")
            self.assertEqual(done.returncode, 0, done.stderr)
            sessions = {user: [self.enter(n1, user) for _ in range(PORTS)] for user in accounts}
            for user in accounts:
                for _ in range(2):
                    with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
                        self.enter(n1, user)
            # Three attempts each.
            self.assertEqual(n1.metric("pigeon_backend_ports_exhausted_total"), 12)
            self.assertEqual(n1.metric("pigeon_backends_unavailable_total"), 0)
            log = n1.log_path.read_text()
            self.assertIn("all local ports are in use", log)
            self.assertLess(log.count("all local ports are in use"), 12, "not for each attempt")
            self.assertNotIn("out of reach", log)
            for user in accounts:
                self.assertEqual(sessions[user][0].noop()[0], "OK")
                sessions[user].pop().logout()
                wait_until(lambda user=user: self.is_let_in(n1, user), PATIENCE, "a port that is free again is used")

    def test_mail_waits_for_a_port_and_its_node_is_not_blamed(self):
        user = f"user@{DOMAIN}"
        with machines.Machines(["n1", "n2"], {user: ("secret", "n2")}, machine=Machine) as cluster:
            n1, n2 = cluster["n1"], cluster["n2"]

            def ports(first, count):
                done = n1.machine.run("sh", "-c", f"echo {first} {first + count - 1} > /proc/sys/net/ipv4/ip_local_port_range")
                self.assertEqual(done.returncode, 0, done.stderr)

            ports(40000, PORTS)
            # Each is a message that goes on while it comes in, over a connection of its own.
            sent, slow = {}, []
            for number in range(PORTS):
                message = make(f"slow.{number}", 400_000)
                session = Smtp(n1, timeout=120)
                self.addCleanup(session.socket.close)
                session.begin([user], BOB)
                lines = stuffed(message) + b".\r\n"
                session.send(lines[:300_000])
                slow.append((session, lines[300_000:]))
                opened = number + 1
                wait_until(lambda opened=opened: n1.metric("pigeon_mail_connections_total") >= opened, PATIENCE, "it goes on")
                sent[f"slow.{number}"] = digest(message)
            with Smtp(n1, timeout=120) as session:
                message = make("waits")
                session.deliver(message, [user], BOB)
                sent["waits"] = digest(message)
            self.assertGreater(n1.metric("pigeon_backend_ports_exhausted_total"), 0)
            self.assertEqual(n1.metric("pigeon_mail_connections_failed_total"), 0)
            wait_until(lambda: n1.queued("n2") == 1, PATIENCE, "it waits")
            log = n1.log_path.read_text()
            self.assertIn("all local ports are in use for mail", log)
            self.assertNotIn("does not take mail now", log)
            ports(41000, 1000)
            wait_until(lambda: n1.queued("n2") == 0, PATIENCE, "it has found a port")
            for session, rest in slow:
                session.send(rest)
                session.expect(250, "the end of the message")
            self.assertEqual(compare(sent, n2, user, "secret"), [])

    def is_let_in(self, node, user):
        try:
            self.enter(node, user)
            return True
        except imaplib.IMAP4.error:
            return False

    def test_sessions_with_two_sides_leave_descriptors_for_the_rest(self):
        user = f"user@{DOMAIN}"
        with machines.Machines(["n1", "n2"], {user: ("secret", "n2")}, machine=Narrow) as cluster:
            n1 = cluster["n1"]
            sessions = []
            for _ in range(SESSIONS):
                try:
                    sessions.append(self.enter(n1, user))
                except (imaplib.IMAP4.error, ConnectionError):
                    # Told so at the login, or at the door.
                    pass
            # Each has two, and some are kept for the rest.
            self.assertLess(len(sessions), OPEN_FILES // 2)
            self.assertGreater(len(sessions), OPEN_FILES // 4)
            log = n1.log_path.read_text()
            self.assertIn("the limit of open files is near", log)
            self.assertNotIn("os error", log)
            self.assertNotIn("out of reach", log)
            # Nor those who have not logged in meet a door that does not answer.
            with n1.reach():
                waiting = [socket.create_connection((n1.host, n1.port(IMAP)), timeout=60) for _ in range(WAITING)]
            told = [connection.recv(100) for connection in waiting]
            self.assertTrue(all(line.startswith((b"* OK", b"* BYE")) for line in told), told)
            self.assertGreater(n1.metric("pigeon_sessions_refused_total"), 0)
            for connection in waiting:
                connection.close()
            for session in sessions:
                self.assertEqual(session.noop()[0], "OK")
                session.logout()
            self.enter(n1, user).logout()


if __name__ == "__main__":
    unittest.main()
