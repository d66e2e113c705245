"""swaks over its matrix of ports, TLS, authentication, pipelining and protocols."""

import pathlib
import subprocess
import tempfile
import unittest

from harness import PASSWORD, Node, needs
from harness.mail import ALICE, BOB, digest, make
from harness.node import LMTP, SMTP, SUBMISSION, SUBMISSIONS
from harness.reading import stored


class Swaks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.swaks = needs("swaks")
        cls.node = Node()
        cls.addClassCleanup(cls.node.remove)
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)

    def run_swaks(self, *arguments, code=0):
        done = subprocess.run(
            [self.swaks, "--server", "127.0.0.1", "--helo", "test.invalid", "--from", BOB, "--timeout", "30", *arguments],
            capture_output=True, stdin=subprocess.DEVNULL, timeout=120,
        )
        output = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, code, f"{arguments}\n{output}")
        return output

    def test_what_is_accepted(self):
        authentication = ["--auth-user", BOB, "--auth-password", PASSWORD]
        matrix = {
            "plain": [SMTP],
            "pipelined": [SMTP, "--pipeline"],
            "starttls": [SMTP, "--tls"],
            "starttls-pipelined": [SMTP, "--tls", "--pipeline"],
            "submission-plain": [SUBMISSION, "--tls", "--auth", "PLAIN", *authentication],
            "submission-login": [SUBMISSION, "--tls", "--auth", "LOGIN", *authentication],
            "submissions-plain": [SUBMISSIONS, "--tls-on-connect", "--auth", "PLAIN", *authentication],
            "submissions-login": [SUBMISSIONS, "--tls-on-connect", "--auth", "LOGIN", *authentication],
            "lmtp": [LMTP, "--protocol", "LMTP"],
            "lmtp-pipelined": [LMTP, "--protocol", "LMTP", "--pipeline"],
            "prdr-less-helo": [SMTP, "--protocol", "SMTP"],
        }
        sent = {}
        for name, (port, *arguments) in matrix.items():
            with self.subTest(name):
                path = pathlib.Path(self.directory.name, name)
                message = make(f"swaks.{name}")
                path.write_bytes(message)
                self.run_swaks("--port", str(self.node.port(port)), "--to", ALICE, "--data", f"@{path}", *arguments)
                # swaks ends what it sends with an empty line of its own.
                sent[f"swaks.{name}"] = digest(message + b"\r\n")
        found, twice = stored(self.node)
        self.assertEqual(twice, [])
        self.assertEqual({name: found.get(name) for name in sent}, sent)

    def test_what_is_refused(self):
        smtp, submission = str(self.node.port(SMTP)), str(self.node.port(SUBMISSION))
        # swaks ends with 24 for a refused recipient, 28 for a failed authentication.
        self.assertIn("550", self.run_swaks("--port", smtp, "--to", "nobody@example.org", code=24))
        self.assertRegex(self.run_swaks("--port", smtp, "--to", "someone@elsewhere.invalid", code=24), r"<\*\* +55\d")
        wrong = self.run_swaks("--port", submission, "--to", ALICE, "--tls", "--auth", "PLAIN", "--auth-user", BOB,
                               "--auth-password", "wrong", code=28)
        self.assertIn("535", wrong)
