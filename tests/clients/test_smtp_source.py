"""Postfix's smtp-source: 50 sessions, 10,000 messages, all there, byte for byte, none twice."""

import collections
import re
import socket
import subprocess
import unittest

from harness import Node, needs
from harness.mail import ALICE, BOB, without_trace
from harness.node import LMTP, SMTP
from harness.reading import messages

MESSAGES, SESSIONS, SIZE = 10_000, 50, 4_096

# The header that smtp-source makes; the identity is of its process, session and count.
HEADER = re.compile(
    rb"\AFrom: <bob@example\.org>\r\nTo: <alice@example\.org>\r\nDate: [^\r\n]+\r\nMessage-Id: <([0-9a-f.]+)@[^\r\n>]*>\r\n\r\n"
)


def one_message(program):
    """What smtp-source sends, as a server without any opinion receives it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen([program, "-l", str(SIZE), "-f", BOB, "-t", ALICE,
                                    f"inet:127.0.0.1:{listener.getsockname()[1]}"])
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            connection.sendall(b"220 test.invalid\r\n")
            message, in_data = b"", False
            for line in lines:
                if in_data:
                    if line == b".\r\n":
                        in_data = False
                        connection.sendall(b"250 taken\r\n")
                    else:
                        message += line.removeprefix(b".")
                elif line.upper().startswith(b"DATA"):
                    in_data = True
                    connection.sendall(b"354 go on\r\n")
                else:
                    connection.sendall(b"250 yes\r\n")
                    if line.upper().startswith(b"QUIT"):
                        break
        process.wait(30)
    return message


class SmtpSource(unittest.TestCase):
    def send(self, node, port, count, *arguments):
        done = subprocess.run(
            [self.program, "-c", "-s", str(SESSIONS), "-m", str(count), "-l", str(SIZE), "-f", BOB, "-t", ALICE,
             *arguments, f"inet:127.0.0.1:{node.port(port)}"],
            capture_output=True, timeout=600,
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))

    def check(self, node, count):
        body = one_message(self.program).split(b"\r\n\r\n", 1)[1]
        self.assertGreater(len(body), SIZE - 300)
        identities = collections.Counter()
        for _, _, message in messages(node):
            message = without_trace(message)
            match = HEADER.match(message)
            self.assertTrue(match, message[:400])
            self.assertTrue(message[match.end():] == body, "a body is not what was sent")
            identities[match[1]] += 1
        self.assertEqual(sum(identities.values()), count)
        self.assertEqual(identities.most_common(1)[0][1], 1, "a message is there twice")

    def test_all_there_and_none_twice(self):
        self.program = needs("smtp-source")
        with Node() as node:
            # -d: many messages in a session.
            self.send(node, SMTP, MESSAGES, "-d")
            self.check(node, MESSAGES)

    def test_one_message_a_session_and_lmtp(self):
        self.program = needs("smtp-source")
        with Node() as node:
            self.send(node, SMTP, 1_000)
            self.send(node, LMTP, 1_000, "-d", "-L")
            self.check(node, 2_000)
