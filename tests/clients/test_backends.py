"""What a backend's listener is given and what it is not: nodes with nothing but the server_map, and words that were heard before."""

import itertools
import re
import socket
import subprocess
import threading
import unittest

from harness import pigeond
from harness.cluster import BACKEND_IMAP, BACKEND_LMTP, BACKEND_POP3, Cluster
from harness.mail import ALICE, BOB, Refused, Smtp, digest, make, without_trace
from harness.node import wait_until
from harness.reading import imap, messages, pop3, stored


QUOTA = 300 * 1024


class Recorder:
    """Between a node and a backend: passes all on, and keeps what the node says."""

    def __init__(self, port):
        self.port, self.said = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            backend = socket.create_connection(("127.0.0.1", self.port), 60)
            said = []
            self.said.append(said)
            threading.Thread(target=self.copy, args=(client, backend, said), daemon=True).start()
            threading.Thread(target=self.copy, args=(backend, client, []), daemon=True).start()

    @staticmethod
    def copy(source, sink, said):
        try:
            while data := source.recv(65536):
                said.append(data)
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Backends(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(["n1", "n2"], {ALICE: "n1", BOB: "n2"})
        cls.addClassCleanup(cls.cluster.remove)
        cls.one, cls.two = cls.cluster["n1"], cls.cluster["n2"]

    def test_a_backend_that_has_nothing_but_the_server_map(self):
        def servers(tree):
            return "\n\n".join(entry for entry in re.split(r"\n\n+", tree) if "pigeonServer" in entry) + "\n"

        self.cluster.hold(servers, ["n2"])
        try:
            self.assertEqual(self.two.metric("pigeon_control_data_accounts"), 0)
            message = make("no-control-data", 200_000)
            with Smtp(self.one) as session:
                session.deliver(message, [ALICE, BOB])
            held = {digest(without_trace(body)) for _, _, body in messages(self.one, BOB)}
            self.assertIn(digest(message), held)
            client = pop3(self.one, BOB)
            self.assertGreaterEqual(client.stat()[0], 1)
            client.quit()
            # What n1 says of the record is in force there.
            self.cluster.hold(lambda tree: tree.replace(f"mail: {BOB}\n", f"mail: {BOB}\nmailQuotaSize: {QUOTA}\n"), ["n1"])
            client = imap(self.one, BOB)
            self.assertIn(f" {QUOTA // 1024})".encode(), client.getquotaroot("INBOX")[1][1][0])
            kind, said = client.append("INBOX", None, None, message)
            self.assertEqual(kind, "NO")
            self.assertIn(b"[OVERQUOTA]", said[0])
            # A session of a user that its control data does not have outlives a change of it.
            self.cluster.hold(servers, ["n2"])
            self.assertEqual(client.noop()[0], "OK")
            client.logout()
        finally:
            self.cluster.hold()

    def test_an_exchange_that_is_played_again_is_refused_and_counted(self):
        for protocol, port, come in [("imap", BACKEND_IMAP, imap), ("pop3", BACKEND_POP3, pop3)]:
            recorder = Recorder(self.two.port(port))
            self.addCleanup(recorder.close)
            there = f"{protocol}://127.0.0.1:{self.two.port(port)}"
            here = f"{protocol}://127.0.0.1:{recorder.listener.getsockname()[1]}"
            self.cluster.hold(lambda tree: tree.replace(there, here), ["n1"])
            client = come(self.one, BOB)
            client.logout() if protocol == "imap" else client.quit()
            self.cluster.hold()
            [said] = recorder.said
            accepted = self.two.metric("pigeon_redirects_accepted_total")
            refused = self.two.metric("pigeon_redirects_refused_key_total")
            lines = self.play(port, [line + b"\r\n" for line in b"".join(said).split(b"\r\n")[:-1]])
            self.assertTrue(any(re.match(rb"L NO \[AUTHENTICATIONFAILED\]|-ERR \[AUTH\]", line) for line in lines), lines)
            self.assertFalse(any(re.match(rb"L OK|\+OK.*messages", line) for line in lines), lines)
            self.assertEqual(self.two.metric("pigeon_redirects_accepted_total"), accepted)
            self.assertEqual(self.two.metric("pigeon_redirects_refused_key_total"), refused + 1)

    def play(self, port, lines):
        """All that is answered to them."""
        with self.two.connect(port, timeout=60) as connection, connection.makefile("rb") as file:
            answers = [file.readline()]
            for line in lines:
                connection.sendall(line)
                # One of a dialogue: an answer to each, with untagged lines before it.
                while True:
                    answers.append(file.readline())
                    if not answers[-1].startswith(b"* "):
                        break
                if answers[-1] == b"" or b"[AUTH" in answers[-1]:
                    return answers
        return answers

    def test_an_address_that_is_corrected_is_used(self):
        right = f"lmtp://127.0.0.1:{self.two.port(BACKEND_LMTP)}"

        def send(name):
            try:
                with Smtp(self.one) as session:
                    session.deliver(make(name), [BOB])
            except Refused as refused:
                self.assertEqual(refused.code, 451)

        try:
            # Nobody listens there.
            self.cluster.hold(lambda tree: tree.replace(right, "lmtp://127.0.0.1:1"), ["n1"])
            # Often enough that every core knows.
            for number in range(16):
                send(f"wrong-address.{number}")
        finally:
            self.cluster.hold()
        numbers = itertools.count()

        def arrives():
            send(f"right-address.{next(numbers)}")
            return any((name or "").startswith("right-address.") for name in stored(self.two, BOB)[0])

        wait_until(arrives, 60, "mail goes to the right address")

    def test_a_public_address_is_refused(self):
        path = self.one.directory / "public.toml"
        text = (self.one.directory / "pigeon.toml").read_text()
        address = f"127.0.0.1:{self.one.port(BACKEND_IMAP)}"
        self.assertIn(address, text)
        path.write_text(text.replace(address, "192.0.2.1:2143"))
        done = subprocess.run([pigeond(), "check", "--config", path], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("expected an address of the private network, found 192.0.2.1:2143", done.stdout + done.stderr)
