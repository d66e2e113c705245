"""The load generator: what it sends arrives, what it cannot do it counts, and what a server loses or doubles it finds."""

import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import unittest

from harness import PASSWORD, Node
from harness.load import Server, load, pigeon_load
from harness.mail import ALICE, BOB, Smtp
from harness.node import IMAP, IMAPS, LMTP, POP3, POP3S, SMTP, free_port, wait_until


class FaultySink(Server):
    """An SMTP server in front of a node, that acknowledges everything, and loses one message, doubles another and changes one
    octet of a third."""

    def __init__(self, node, lost, doubled, changed):
        self.node, self.copies, self.changed = node, {lost: 0, doubled: 2}, changed
        self.count, self.lock = 0, threading.Lock()
        super().__init__()

    def serve(self, connection):
        with connection.makefile("rb") as lines, Smtp(self.node, LMTP) as onward:
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
                    with self.lock:
                        self.count += 1
                        number = self.count
                    if number == self.changed:
                        # The last octet before the line end.
                        message = message[:-3] + (b"x" if message[-3:-2] != b"x" else b"y") + message[-2:]
                    for _ in range(self.copies.get(number, 1)):
                        onward.send(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nBDAT {len(message)} LAST\r\n".encode() + message)
                        for command in ("MAIL", "RCPT", "BDAT"):
                            onward.expect(250, command)
                elif verb == b"QUIT":
                    return say("221 bye")
                say("250 yes")


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
        # Some of them wait in IDLE and do nothing else.
        return load("mix", "--smtp", self.at(SMTP), "--imap", self.at(IMAP), *self.users(), "--password", PASSWORD,
                    "--sessions", 24, *more, code=code)

    def test_a_day_of_a_provider(self):
        # So that there is something to read from the first session on.
        load("smtp", "--target", self.at(SMTP), *self.users(), "--recipients", 2, "--count", 10)
        done = self.mix("--pop3", self.at(POP3), "--duration", "4s", "--rate", 100)
        kinds = {"smtp", "imap-sync", "imap-fetch", "imap-flags", "imap-append", "imap-login", "imap-idle", "pop3"}
        self.assertEqual(set(done["jobs"]), kinds)
        for kind, job in done["jobs"].items():
            # Two sessions of an account may want its maildrop at once.
            failed = 0 if kind != "pop3" else job["failures"].get("refused for now", 0)
            self.assertEqual(job["failed"], failed, job)
        self.assertEqual(done["done"] + done["failed"] + done["never_begun"], 400)

    def test_a_profile_of_ones_own(self):
        with tempfile.TemporaryDirectory() as directory:
            profile = pathlib.Path(directory) / "profile.toml"
            profile.write_text("[shares]\nsmtp = 3\nimap-sync = 1\nimap-idle = 0.5\n[imap]\nidle = \"20ms\"\n[message]\nsizes = [{ octets = \"1000-1000\", share = 1 }]\n")
            done = self.mix("--count", 400, "--duration", "60s", "--profile", profile)
            counts = {kind: job["done"] for kind, job in done["jobs"].items()}
            self.assertEqual(sum(counts.values()), 400)
            # By its shares three times as many: that they are fewer by chance happens once in 10^20 runs.
            self.assertGreater(counts["smtp"], counts["imap-sync"])
            self.assertGreater(counts["imap-idle"], 0)
            profile.write_text("[shares]\nsmtp = 3\nimap-sinc = 1\n")
            refused = subprocess.run([pigeon_load(), "mix", "--smtp", "127.0.0.1:1", "--user", "u", "--password", "x", "--profile",
                                      profile], capture_output=True, text=True, timeout=60)
            self.assertEqual(refused.returncode, 2)
            self.assertIn(f"{profile}:3:1: unknown kind", refused.stderr)
            profile.write_text("[shares]\nsmtp = 3\nlmtp = 1\n")
            refused = subprocess.run([pigeon_load(), "mix", "--smtp", "127.0.0.1:1", "--user", "u", "--password", "x", "--profile",
                                      profile], capture_output=True, text=True, timeout=60)
            self.assertIn("expected --lmtp", refused.stderr)

    def test_clients_that_misbehave_under_tls(self):
        faults = [word for kind in ("slow-reader", "abort", "half-open", "garbage") for word in ("--fault", f"{kind}=3")]
        for mode, standard in (("starttls", SMTP), ("implicit", IMAPS)):
            words = ["smtp"] if mode == "starttls" else ["imap", "--password", PASSWORD, "--work", "login"]
            before = self.node.metric("pigeon_tls_failures_total")
            done = load(*words, "--target", self.at(standard), *self.users(), "--tls", mode, "--duration", "2s", "--rate", 20,
                        "--sessions", 20, *faults)
            self.assertEqual(done["failed"], 0, done)
            self.assertGreater(done["faults"]["abort"], 5, done)
            # Some have left within the handshake.
            self.assertGreater(self.node.metric("pigeon_tls_failures_total"), before)

    def test_clients_that_misbehave_harm_nobody(self):
        faults = [word for kind in ("slow-reader", "abort", "half-open", "garbage") for word in ("--fault", f"{kind}=5")]
        summary = self.verify(self.at(SMTP), 2_000, "--size", "400-4000", *faults)
        self.assertEqual((summary["failed"], summary["verify"]["right"]), (0, 2_000), summary)
        self.assertGreater(summary["faults"]["abort"], 10, summary)
        mixed = self.mix("--pop3", self.at(POP3), "--duration", "2s", *faults)
        self.assertEqual({kind: job["failed"] for kind, job in mixed["jobs"].items() if kind != "pop3" and job["failed"]}, {})


class Verify(OneNode):
    """On a node of its own, because all that is in the mailboxes is read, again and again."""

    def test_what_a_server_loses_doubles_or_changes_is_found(self):
        sink = FaultySink(self.node, lost=6_789, doubled=3_210, changed=4_567)
        self.addCleanup(sink.close)
        summary = self.verify(sink.address, 10_000, "--size", 500, "--patience", "2s", code=1)
        found = summary["verify"]
        self.assertEqual((len(found["lost"]), len(found["doubled"]), len(found["changed"])), (1, 1, 1), summary)
        self.assertEqual((found["acknowledged"], found["right"]), (10_000, 9_997))


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
        idle = load("imap", "--target", self.at(IMAP), *read, "--work", "idle", "--idle-time", "10ms", *few)
        self.assertEqual((idle["done"], idle["failed"]), (200, 0))
        pid = ["--server-pid", self.node.process.pid]
        held = load("idle", "--target", self.at(IMAP), *read, *pid, "--sessions", 300, "--duration", "500ms")
        self.assertEqual((held["done"], held["failed"], held["rounds"]), (300, 0, []))
        self.assertGreater(held["server_memory_bytes_per_session"], 0)
        storm = load("storm", "--target", self.at(IMAP), *read, *pid, "--sessions", 300, "--duration", "100ms", "--rounds", 3)
        self.assertEqual((storm["done"], storm["failed"]), (900, 0))
        self.assertEqual([round["opened"] for round in storm["rounds"]], [300] * 3)
        self.assertTrue(all(round["seconds"] > 0 for round in storm["rounds"]), storm)

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

    def test_what_an_option_cannot_mean_is_refused(self):
        target, user = ["--target", "127.0.0.1:1"], ["--user", "u"]
        reading = [*target, *user, "--password", "x"]
        for words, told in [(["idle", *reading, "--rate", "5"], "--rate"), (["idle", *reading, "--count", "5"], "--count"),
                            (["storm", *reading, "--warm-up", "5s"], "--warm-up"), (["idle", *reading, "--rounds", "5"], "--rounds"),
                            (["idle", *target, "--silent", "--tls", "starttls"], "--tls starttls means nothing"),
                            (["idle", *reading, "--silent"], "--password mean nothing with --silent"),
                            (["storm", *target, *user], "--password"), (["idle", *target, "--password", "x"], "--user"),
                            (["storm", *target, "--silent", "--fault", "abort=1"], "--fault needs --user and --password"),
                            (["smtp", *target, *user, "--tls-name", "x"], "--tls-name means nothing"),
                            (["imap", *reading, "--idle-time", "5s"], "--idle-time means nothing"),
                            (["smtp", *target, *user, "--fault", "abort=1", "--fault", "abort=2"], "--fault abort: given twice"),
                            (["mix", "--smtp", "127.0.0.1:1", "--imap", "127.0.0.1:1", "--pop3", "127.0.0.1:1", "--lmtp",
                              "127.0.0.1:1", *user, "--password", "x"], "--lmtp: the profile has no share"),
                            (["null-server", "--protocol", "smtp", "--listen", "127.0.0.1:1", "--size", "5000"], "--size means nothing"),
                            (["null-server", "--protocol", "imap", "--listen", "127.0.0.1:1", "--html", "x"], "--html mean nothing"),
                            (["profile", "--json", "x"], "mean nothing"), (["profile", "--quiet"], "mean nothing")]:
            done = subprocess.run([pigeon_load(), *words], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 2, (words, done))
            self.assertIn(told, done.stderr, words)

    def test_what_has_no_effect_is_told(self):
        with tempfile.TemporaryDirectory() as directory:
            one = pathlib.Path(directory) / "one"
            other = pathlib.Path(directory) / "other"
            one.write_text("[shares]\nsmtp = 1\n[day]\nhours = [%s]\n" % ", ".join("1" * 24))
            other.symlink_to(one)
            words = ["mix", "--smtp", f"127.0.0.1:{free_port()}", "--user", "u", "--password", "x", "--count", "1"]
            done = subprocess.run([pigeon_load(), *words, "--profile", one], capture_output=True, text=True, timeout=60)
            self.assertIn("hours of the day have no effect without --rate", done.stderr)
            done = subprocess.run([pigeon_load(), *words, "--rate", "1", "--duration", "1s", "--profile", one], capture_output=True,
                                  text=True, timeout=60)
            self.assertNotIn("no effect", done.stderr)
            done = subprocess.run([pigeon_load(), *words, "--profile", one, "--json", one, "--html", other], capture_output=True,
                                  text=True, timeout=60)
            self.assertEqual((done.returncode, one.read_text()[:8]), (2, "[shares]"), done)
            self.assertIn("--json and --html name the same file", done.stderr)

    def test_nobody_has_to_read_what_is_said(self):
        words = ["smtp", "--target", self.at(SMTP), *self.users(), "--duration", "60s", "--count", 20]
        for command in (words, ["profile"]):
            for closed in ("stdout", "stderr"):
                reading, writing = os.pipe()
                os.close(reading)
                with os.fdopen(writing, "wb") as pipe, tempfile.TemporaryFile("w+") as other:
                    streams = {"stdout": other, "stderr": other, closed: pipe}
                    code = subprocess.run([pigeon_load(), *map(str, command)], timeout=60, **streams).returncode
                    other.seek(0)
                    said = other.read()
                self.assertEqual((code, "panicked" in said), (0, False), (command, said))
                self.assertTrue(said or closed == "stdout", command)

    def test_the_live_view(self):
        words = ["smtp", "--target", self.at(SMTP), *self.users(), "--duration", "2500ms", "--rate", 20, "--server-pid",
                 self.node.process.pid, "--fault", "garbage=1", "--fault", "abort=2"]
        done = subprocess.run([pigeon_load(), *map(str, words)], capture_output=True, text=True, timeout=60)
        self.assertRegex(done.stderr, r" a second, .* p99 [0-9.]+ ms, server [0-9.]+ CPUs, [0-9.]+ MiB, garbage \d+, abort \d+\n")
        self.assertEqual(done.returncode, 0, done)

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
