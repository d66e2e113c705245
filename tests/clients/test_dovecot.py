"""A node in front of a real Dovecot: it logs in there as node, for the user, and says what it knows of the record; and it
brings mail there by LMTP."""

import base64
import contextlib
import random
import re
import secrets
import unittest
import zlib

from harness import PASSWORD, Node
from harness.dovecot import Dovecot
from harness.foreign import in_front_of
from harness.mail import ALICE, BOB, Refused, Smtp, digest, make, stuffed, without_trace
from harness.node import IMAP, IMAPS, LMTP, wait_until
from harness.reading import compare, imap, messages, pop3

CAROL, DAVE = "carol@example.org", "dave@example.org"
QUOTA = 123_456 * 1024


class DovecotBackend(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        key = secrets.token_hex(32)
        cls.dovecot = Dovecot({"n1": key}, {BOB: QUOTA, CAROL: QUOTA, DAVE: 4_000})
        cls.addClassCleanup(cls.dovecot.remove)
        # alice's mail is here, the others' is in Dovecot.
        owners = {BOB: ("dovecot", f"mailQuotaSize: {QUOTA}\n"), CAROL: ("dovecot", ""), DAVE: ("dovecot", "")}
        servers = {"dovecot": cls.dovecot.addresses()}
        cls.node = Node(configure=in_front_of(key, servers, owners, ["carol", "dave"]))
        cls.addClassCleanup(cls.node.remove)

    def test_imap_and_pop3_show_what_dovecot_holds(self):
        message = make("in-dovecot", 300_000)
        client = imap(self.node, BOB)
        self.assertEqual(client.append("INBOX", None, None, message)[0], "OK")
        redirected = self.node.metric("pigeon_sessions_redirected_total")
        kind, count = client.select("INBOX")
        self.assertEqual(kind, "OK")
        data = client.fetch(count[0].decode(), "(BODY.PEEK[])")[1]
        self.assertEqual(digest(data[0][1]), digest(message))
        kind, quota = client.getquotaroot("INBOX")
        self.assertEqual(kind, "OK")
        # In units of 1024 octets: what the record says, as Dovecot was told with the login.
        self.assertIn(f" {QUOTA // 1024})".encode(), quota[1][0])
        client.logout()
        client = pop3(self.node, BOB)
        held = b"\r\n".join(client.retr(client.stat()[0])[1]) + b"\r\n"
        self.assertEqual(digest(without_trace(held)), digest(message))
        client.quit()
        self.assertEqual(self.node.metric("pigeon_sessions_redirected_total"), redirected + 1)
        # Dovecot logs the client's address, and the node as who logged in; nobody's password reached it.
        log = self.dovecot.log()
        self.assertIn(f"user=<{BOB}>", log)
        self.assertIn("SCRAM-SHA-256", log)

    def test_idle_passes_through(self):
        watching, writing = imap(self.node, BOB), imap(self.node, BOB)
        self.addCleanup(watching.shutdown)
        watching.select("INBOX")
        watching.send(b"x IDLE\r\n")
        self.assertTrue(watching.readline().startswith(b"+ "))
        writing.append("INBOX", None, None, make("idle"))
        watching.sock.settimeout(60)
        line = watching.readline()
        while b"EXISTS" not in line:
            self.assertTrue(line)
            line = watching.readline()
        writing.logout()

    def test_what_is_compressed_passes_through(self):
        # Next to nothing is left to compress in this, so that it comes in large pieces.
        message = make("compressed") + base64.encodebytes(random.Random(1).randbytes(2 << 20)).replace(b"\n", b"\r\n")
        for port in (IMAP, IMAPS):
            before = self.node.metric("pigeon_sessions_redirected_total")
            with self.node.connect(port, 60) as plain, contextlib.ExitStack() as stack:
                connection = stack.enter_context(Node.tls().wrap_socket(plain)) if port == IMAPS else plain
                file = connection.makefile("rb")
                # The node has none of its own.
                self.assertNotIn(b"COMPRESS", file.readline())

                def ask(command, file=file, connection=connection):
                    connection.sendall(b"a " + command + b"\r\n")
                    said = b""
                    while not (line := file.readline()).startswith(b"a "):
                        self.assertTrue(line, f"closed at {command}")
                        said += line
                    return said + line

                self.assertIn(b"COMPRESS=DEFLATE", ask(f"LOGIN {BOB} {PASSWORD}".encode()) + ask(b"CAPABILITY"))
                self.assertIn(b"a OK", ask(b"COMPRESS DEFLATE"))
                pack, unpack = zlib.compressobj(wbits=-zlib.MAX_WBITS), zlib.decompressobj(-zlib.MAX_WBITS)
                received = unpacked = 0

                def say(command, connection=connection, pack=pack):
                    connection.sendall(pack.compress(command) + pack.flush(zlib.Z_SYNC_FLUSH))

                def hear(end, file=file, unpack=unpack):
                    nonlocal received, unpacked
                    said = b""
                    while not re.search(end, said[-200:]):
                        data = file.read1(65536)
                        self.assertTrue(data, "closed")
                        text = unpack.decompress(data)
                        received, unpacked = received + len(data), unpacked + len(text)
                        said += text
                    return said

                say(b"b APPEND INBOX {%d+}\r\n%s\r\n" % (len(message), message))
                hear(rb"(?m)^b OK .*\r\n")
                say(b"c SELECT INBOX\r\nd FETCH * (BODY.PEEK[])\r\n")
                self.assertIn(message, hear(rb"(?m)^d OK .*\r\n"))
                self.assertLess(received, unpacked * 9 // 10)
                say(b"e LOGOUT\r\n")
                hear(rb"(?m)^e OK .*\r\n")
            self.assertEqual(self.node.metric("pigeon_sessions_redirected_total"), before + 1)

    def test_a_node_that_dovecot_does_not_know_is_told_to_come_later(self):
        path = self.dovecot.directory / "nodes"
        nodes = path.read_text()
        try:
            # Another size: Dovecot looks at that and at the second of the change.
            path.write_text(nodes.replace("n1:", "another:"))
            before = self.node.metric("pigeon_backends_misconfigured_total")

            def is_refused():
                try:
                    imap(self.node, BOB).logout()
                    return False
                except Exception as error:
                    self.assertIn("UNAVAILABLE", str(error))
                    return True

            wait_until(is_refused, 30, "Dovecot reads the file again")
            self.assertGreater(self.node.metric("pigeon_backends_misconfigured_total"), before)
        finally:
            path.write_text(nodes)

    def sent(self, message, recipients, parameters=""):
        """The code."""
        try:
            with Smtp(self.node) as session:
                session.deliver(message, recipients, parameters=parameters)
                return 250
        except Refused as refused:
            return refused.code

    def test_mail_comes_back_byte_for_byte(self):
        dots = make("dots")[:-2] + b"\r\n.\r\n..\r\n.x\r\n\r\n.. ..\r\n.\r\n"
        bytes_of_8_bits = make("eight") + "gr\u00fc\u00dfe \u2014 \u20ac\r\n".encode() * 50
        large = make("large", 5 << 20)
        for message, parameters in [
            # Dovecot announces no SIZE: the parameter would end the transaction there.
            (dots, f" SIZE={len(dots)}"),
            (bytes_of_8_bits, f" BODY=8BITMIME SIZE={len(bytes_of_8_bits)}"),
            (large, f" SIZE={len(large)} BODY=8BITMIME"),
        ]:
            self.assertEqual(self.sent(message, [BOB], parameters), 250)
            held = [body for _, _, body in messages(self.node, BOB) if body.endswith(message)]
            self.assertEqual(len(held), 1)

    def test_several_recipients_there_and_here(self):
        before = self.node.metric("pigeon_copies_elsewhere_total")
        messages_sent = {f"several.{number}": make(f"several.{number}", 100_000) for number in range(5)}
        for message in messages_sent.values():
            self.assertEqual(self.sent(message, [ALICE, BOB, CAROL]), 250)
        wanted = {name: digest(message) for name, message in messages_sent.items()}
        for user in [ALICE, CAROL]:
            self.assertEqual(compare(wanted, self.node, user), [])
        self.assertEqual(self.node.metric("pigeon_copies_elsewhere_total") - before, 10)

    def test_a_full_mailbox_there_is_told_and_costs_nobody_else_anything(self):
        message = make("full", 50_000)
        self.assertEqual(self.sent(message, [DAVE]), 552)
        with Smtp(self.node, LMTP) as session:
            session.command(f"MAIL FROM:<{BOB}>", 250)
            for recipient in [CAROL, DAVE, ALICE]:
                session.command(f"RCPT TO:<{recipient}>", 250)
            session.command("DATA", 354)
            session.send(stuffed(message) + b".\r\n")
            answers = [session.reply() for _ in range(3)]
        self.assertEqual([code for code, _ in answers], [250, 552, 250])
        self.assertIn("5.2.2", answers[1][1])
        for user in [CAROL, ALICE]:
            self.assertEqual(len([body for _, _, body in messages(self.node, user) if body.endswith(message)]), 1)
        # What fits is taken.
        self.assertEqual(self.sent(make("fits", 500), [DAVE]), 250)

    def test_binary_mail_is_not_for_dovecot(self):
        message = make("binary")
        with Smtp(self.node) as session:
            session.command(f"MAIL FROM:<{BOB}> BODY=BINARYMIME", 250)
            session.command(f"RCPT TO:<{CAROL}>", 250)
            session.send(f"BDAT {len(message)} LAST")
            session.send(message)
            code, text = session.reply()
        self.assertEqual((code, text[:5]), (554, "5.6.1"))
