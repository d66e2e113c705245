"""The load generator: what it sends arrives, what it cannot do it counts, and what a server loses or doubles it finds."""

import pathlib
import socket
import subprocess
import tempfile
import threading
import unittest

from harness import PASSWORD, Node
from harness.load import load, pigeon_load
from harness.mail import ALICE, BOB, Smtp
from harness.node import IMAP, IMAPS, LMTP, POP3, POP3S, SMTP, free_port, wait_until


class FaultySink:
    """An SMTP server in front of a node, that acknowledges everything, and loses one message and doubles another."""

    def __init__(self, node, lost, doubled):
        self.node, self.copies = node, {lost: 0, doubled: 2}
        self.count, self.lock = 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        # Answers are small and one after the other: each would wait for the last one's acknowledgement.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as lines, Smtp(self.node, LMTP) as onward:
            say = lambda text: connection.sendall(text.encode() + b"\r\n")  # noqa: E731
            say("220 sink.invalid")
            sender = recipient = ""
            for line in lines:
                verb = line[:4].upper()
                if verb == b"MAIL":
                    sender = line.split(b"<")[1].split(b">")[0].decode()
                elif verb == b"RCPT":
                    recipient = line.split(b"<")[1].split(b">")[0].decode()
                elif verb == b"DATA":
                    say("354 go on")
                    message = b""
                    while (line := lines.readline()) != b".\r\n":
                        message += line.removeprefix(b".")
                    for _ in range(self.copies_now()):
                        onward.send(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nBDAT {len(message)} LAST\r\n".encode() + message)
                        for command in ("MAIL", "RCPT", "BDAT"):
                            onward.expect(250, command)
                elif verb == b"QUIT":
                    return say("221 bye")
                say("250 yes")

    def copies_now(self):
        with self.lock:
            self.count += 1
            return self.copies.get(self.count, 1)

    def close(self):
        self.listener.close()


class OneNode(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = Node()
        cls.addClassCleanup(cls.node.remove)

    def at(self, standard):
        return f"127.0.0.1:{self.node.port(standard)}"

    def users(self):
        return ["--user", ALICE, "--user", BOB]

    def verify(self, target, count, *more, code=0):
        return load("verify", "--target", target, "--read", self.at(IMAP), *self.users(), "--password", PASSWORD,
                    "--count", count, "--duration", "120s", "--sessions", 20, *more, code=code)


class Mix(OneNode):
    """On a node of their own, because large messages stay in its mailboxes."""

    def mix(self, *more, code=0):
        return load("mix", "--smtp", self.at(SMTP), "--imap", self.at(IMAP), "--pop3", self.at(POP3), *self.users(),
                    "--password", PASSWORD, "--sessions", 8, *more, code=code)

    def test_a_day_of_a_provider(self):
        # So that there is something to read from the first session on.
        load("smtp", "--target", self.at(SMTP), *self.users(), "--recipients", 2, "--count", 10)
        done = self.mix("--duration", "4s", "--rate", 100)
        kinds = {"smtp", "imap-sync", "imap-fetch", "imap-flags", "imap-append", "imap-login", "pop3"}
        self.assertEqual(set(done["jobs"]), kinds)
        for kind, job in done["jobs"].items():
            # Two sessions of an account may want its maildrop at once.
            failed = 0 if kind != "pop3" else job["failures"].get("refused for now", 0)
            self.assertEqual(job["failed"], failed, job)
        self.assertEqual(done["done"] + done["failed"] + done["never_begun"], 400)

    def test_a_profile_of_ones_own(self):
        with tempfile.TemporaryDirectory() as directory:
            profile = pathlib.Path(directory) / "profile.toml"
            profile.write_text("[shares]\nsmtp = 3\nimap-sync = 1\n[message]\nsizes = [{ octets = \"1000-1000\", share = 1 }]\n")
            done = self.mix("--count", 400, "--duration", "60s", "--profile", profile)
            counts = {kind: job["done"] for kind, job in done["jobs"].items()}
            self.assertEqual(sum(counts.values()), 400)
            self.assertGreater(counts["smtp"], 2 * counts["imap-sync"])
            profile.write_text("[shares]\nsmtp = 3\nimap-sinc = 1\n")
            refused = subprocess.run([pigeon_load(), "mix", "--smtp", "127.0.0.1:1", "--user", "u", "--password", "x", "--profile",
                                      profile], capture_output=True, text=True, timeout=60)
            self.assertEqual(refused.returncode, 2)
            self.assertIn(f"{profile}:3:1: unknown kind", refused.stderr)
            profile.write_text("[shares]\nsmtp = 3\nlmtp = 1\n")
            refused = subprocess.run([pigeon_load(), "mix", "--smtp", "127.0.0.1:1", "--user", "u", "--password", "x", "--profile",
                                      profile], capture_output=True, text=True, timeout=60)
            self.assertIn("expected --lmtp", refused.stderr)

    def test_clients_that_misbehave_harm_nobody(self):
        faults = [word for kind in ("slow-reader", "abort", "half-open", "garbage") for word in ("--fault", f"{kind}=5")]
        summary = self.verify(self.at(SMTP), 2_000, "--size", "400-4000", *faults)
        self.assertEqual((summary["failed"], summary["verify"]["right"]), (0, 2_000), summary)
        self.assertGreater(summary["faults"]["abort"], 10, summary)
        mixed = self.mix("--duration", "2s", *faults)
        self.assertEqual({kind: job["failed"] for kind, job in mixed["jobs"].items() if kind != "pop3" and job["failed"]}, {})


class Verify(OneNode):
    """On a node of its own, because all that is in the mailboxes is read, again and again."""

    def test_what_a_server_loses_or_doubles_is_found(self):
        sink = FaultySink(self.node, lost=6_789, doubled=3_210)
        self.addCleanup(sink.close)
        summary = self.verify(sink.address, 10_000, "--size", 500, "--patience", "2s", code=1)
        found = summary["verify"]
        self.assertEqual((len(found["lost"]), len(found["doubled"]), len(found["changed"])), (1, 1, 0), summary)
        self.assertEqual((found["acknowledged"], found["right"]), (10_000, 9_998))


class LoadTest(OneNode):
    def test_verify(self):
        for target, more in [(SMTP, []), (SMTP, ["--bdat", "--no-pipelining"]), (LMTP, ["--lmtp", "--messages-per-session", 3])]:
            summary = self.verify(self.at(target), 2_000, "--size", "400-40000", *more)
            self.assertEqual(summary["failed"], 0, summary)
            self.assertEqual(summary["verify"]["right"], 2_000, summary)

    def test_every_work_is_done(self):
        users = self.users()
        read = [*users, "--password", PASSWORD]
        amount = ["--duration", "60s", "--count", 200, "--server-pid", self.node.process.pid]
        few = [*amount, "--sessions", 4]
        mail = load("smtp", "--target", self.at(SMTP), *users, "--recipients", 2, *few)
        self.assertEqual((mail["done"], mail["failed"]), (200, 0))
        for work in ("login", "fetch", "bulk", "append", "flags", "sync"):
            with self.subTest(work=work):
                done = load("imap", "--target", self.at(IMAP), *read, "--work", work, *few)
                self.assertEqual((done["done"], done["failed"]), (200, 0))
                self.assertEqual(done["message_bytes"] > 0, work in ("fetch", "bulk", "append", "sync"))
        one = load("pop3", "--target", self.at(POP3), *read, *amount, "--sessions", 1)
        self.assertEqual((one["done"], one["failed"]), (200, 0))
        for work in ("idle", "storm"):
            held = load(work, "--target", self.at(IMAP), *read, "--sessions", 300, "--duration", "500ms")
            self.assertEqual((held["done"], held["failed"]), (300, 0))

    def test_with_tls(self):
        amount = ["--count", 100, "--duration", "60s", "--sessions", 4]
        for mode, smtp, imap, pop3 in (("implicit", None, IMAPS, POP3S), ("starttls", SMTP, IMAP, POP3)):
            with self.subTest(mode=mode):
                read = [*self.users(), "--password", PASSWORD, "--tls", mode]
                done = load("imap", "--target", self.at(imap), *read, *amount, "--work", "append")
                done = load("imap", "--target", self.at(imap), *read, *amount)
                self.assertEqual((done["done"], done["failed"], done["tls"]), (100, 0, mode))
                done = load("pop3", "--target", self.at(pop3), *read, *amount[:-1], 1)
                self.assertEqual((done["done"], done["failed"]), (100, 0))
                held = load("idle", "--target", self.at(imap), *read, "--sessions", 100, "--duration", "200ms")
                self.assertEqual((held["done"], held["failed"]), (100, 0))
                if smtp:
                    done = load("smtp", "--target", self.at(smtp), *self.users(), "--tls", mode, *amount)
                    self.assertEqual((done["done"], done["failed"]), (100, 0))
        wrong = load("imap", "--target", self.at(IMAP), *self.users(), "--password", PASSWORD, "--tls", "implicit", "--count", 4,
                     "--timeout", "2s", code=1)
        self.assertEqual(wrong["failures"], {"no TLS": 4})

    def test_an_open_loop_counts_from_when_a_unit_was_due(self):
        summary = load("smtp", "--target", self.at(SMTP), *self.users(), "--rate", 200, "--duration", "2s",
                       # One for each, however long the first ones take.
                       "--sessions", 400)
        self.assertEqual(summary["done"] + summary["failed"], 400)

    def test_the_page_shows_the_run(self):
        with tempfile.TemporaryDirectory() as directory:
            page = pathlib.Path(directory) / "page.html"
            # Few messages: what is verified on this node reads all that is in its mailboxes.
            load("smtp", "--target", self.at(SMTP), *self.users(), "--duration", "2s", "--rate", 100, "--html", page,
                 "--server-pid", self.node.process.pid)
            text = page.read_text()
        self.assertEqual(text.count("<svg"), 4, "units, latencies, CPU time, memory")
        self.assertNotIn("http", text)

    def test_bad_targets_are_counted(self):
        patient = ["--duration", "20s", "--count", 6, "--sessions", 2, "--password", PASSWORD]
        amount = [*patient, "--timeout", "500ms"]
        nobody = load("imap", "--target", f"127.0.0.1:{free_port()}", "--user", ALICE, *amount, code=1)
        self.assertEqual(nobody["failures"], {"no connection": 6})
        # A node of its own, because it slows whoever fails to log in.
        with Node() as node:
            target = f"127.0.0.1:{node.port(IMAP)}"
            wrong = load("imap", "--target", target, "--user", "nobody@example.org", *patient, code=1)
        self.assertEqual(wrong["failures"], {"refused": 6})
        nonsense = load("imap", "--target", self.at(SMTP), "--user", ALICE, *amount, code=1)
        self.assertEqual(nonsense["failures"], {"not understood": 6})
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = "127.0.0.1:%d" % silent.getsockname()[1]
            self.assertEqual(load("pop3", "--target", address, "--user", ALICE, *amount, code=1)["failures"], {"timed out": 6})

    def test_the_null_server(self):
        for protocol, work in [("smtp", "smtp"), ("lmtp", "lmtp"), ("imap", "imap"), ("pop3", "pop3")]:
            address = f"127.0.0.1:{free_port()}"
            server = subprocess.Popen([pigeon_load(), "null-server", "--protocol", protocol, "--listen", address],
                                      stdout=subprocess.DEVNULL)
            try:
                wait_until(lambda: self.answers(address), 30, "the null server listens")
                more = ["--password", "x"] if work in ("imap", "pop3") else []
                summary = load(work, "--target", address, "--user", "u{1..100}@example.org", *more, "--count", 1_000)
                self.assertEqual((summary["done"], summary["failed"]), (1_000, 0), protocol)
            finally:
                server.kill()
                server.wait()

    def answers(self, address):
        host, port = address.split(":")
        try:
            socket.create_connection((host, int(port)), 1).close()
            return True
        except OSError:
            return False
