"""Postfix's smtp-source: 50 sessions, 10,000 messages, all there, byte for byte, none twice."""

import collections
import re
import subprocess
import unittest

from harness import Node, needs
from harness.mail import ALICE, BOB, without_trace
from harness.node import LMTP, SMTP
from harness.reading import messages

MESSAGES, SESSIONS, SIZE = 10_000, 50, 4_096

# What smtp-source 3.7 makes with -l: this header, then lines of up to 78 X until the size is reached.
EXPECTED = re.compile(
    rb"\AFrom: <bob@example\.org>\r\nTo: <alice@example\.org>\r\nDate: [^\r\n]+\r\n"
    rb"Message-Id: <([0-9a-f.]+)@[^\r\n>]*>\r\n\r\n((?:X*\r\n)+)\Z"
)


class SmtpSource(unittest.TestCase):
    def send(self, node, port, count, *arguments):
        done = subprocess.run(
            [self.program, "-c", "-s", str(SESSIONS), "-m", str(count), "-l", str(SIZE), "-f", BOB, "-t", ALICE,
             *arguments, f"inet:127.0.0.1:{node.port(port)}"],
            capture_output=True, timeout=600,
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))

    def check(self, node, count):
        identities, bodies = collections.Counter(), collections.Counter()
        for _, _, message in messages(node):
            match = EXPECTED.match(without_trace(message))
            self.assertTrue(match, message[:400])
            identities[match[1]] += 1
            bodies[match[2]] += 1
        self.assertEqual(sum(identities.values()), count)
        self.assertEqual(identities.most_common(1)[0][1], 1, "a message is there twice")
        self.assertEqual(len(bodies), 1, "all bodies are the same")
        self.assertGreater(len(next(iter(bodies))), SIZE - 300)

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
