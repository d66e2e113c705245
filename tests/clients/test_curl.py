"""curl: the lines that quickstart prints, and each of its mail protocols with and without TLS."""

import pathlib
import re
import subprocess
import tempfile
import unittest

from harness import PASSWORD, Node, needs
from harness.mail import ALICE, BOB, digest, make, without_trace
from harness.node import IMAP, IMAPS, POP3, POP3S, SMTP, SUBMISSION, SUBMISSIONS


class Curl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.curl = needs("curl")
        cls.node = Node()
        cls.addClassCleanup(cls.node.remove)
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)

    def run_curl(self, *arguments, code=0, input=None):
        done = subprocess.run([self.curl, "-sS", "--max-time", "30", *arguments], capture_output=True, input=input)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def send(self, message, *arguments, url=None, recipient=ALICE):
        path = pathlib.Path(self.directory.name, "message")
        path.write_bytes(message)
        url = url or f"smtp://127.0.0.1:{self.node.port(SMTP)}"
        return self.run_curl(url, "--mail-from", BOB, "--mail-rcpt", recipient, "-T", str(path), *arguments)

    def test_the_printed_lines_send_and_read_a_mail(self):
        with Node() as node:
            lines = [line.strip() for line in node.log().splitlines() if re.match(r"\s*(curl|printf .*\| curl) ", line)]
            self.assertGreaterEqual(len(lines), 2, f"curl lines expected in:\n{node.log()}")
            outputs = []
            for line in lines:
                done = subprocess.run(line, shell=True, cwd=self.directory.name, capture_output=True, timeout=60)
                self.assertEqual(done.returncode, 0, f"{line}\n{done.stdout}\n{done.stderr}")
                outputs.append(done.stdout.decode())
            for line, output in zip(lines[1:], outputs[1:]):
                self.assertRegex(output, r"(?im)^subject:", line)

    def test_smtp_pop3_and_imap_agree(self):
        message = make("curl.plain", 5_000)
        self.send(message)
        listing = self.run_curl(f"pop3://127.0.0.1:{self.node.port(POP3)}", "-u", f"{ALICE}:{PASSWORD}").decode()
        number = len(listing.splitlines())
        for url in [
            f"pop3://127.0.0.1:{self.node.port(POP3)}/{number}",
            f"pop3s://127.0.0.1:{self.node.port(POP3S)}/{number}",
            f"imap://127.0.0.1:{self.node.port(IMAP)}/INBOX;MAILINDEX={number}",
            f"imaps://127.0.0.1:{self.node.port(IMAPS)}/INBOX;MAILINDEX={number}",
        ]:
            for options in [[], ["--ssl-reqd"]]:
                got = self.run_curl(url, "-k", "-u", f"{ALICE}:{PASSWORD}", *options)
                self.assertEqual(digest(without_trace(got)), digest(message), f"{url} {options}")

    def test_starttls_and_implicit_tls_with_authentication(self):
        for name, url, options in [
            ("starttls", f"smtp://127.0.0.1:{self.node.port(SMTP)}", ["--ssl-reqd", "-k"]),
            ("submission", f"smtp://127.0.0.1:{self.node.port(SUBMISSION)}",
             ["--ssl-reqd", "-k", "-u", f"{BOB}:{PASSWORD}"]),
            ("submissions", f"smtps://127.0.0.1:{self.node.port(SUBMISSIONS)}", ["-k", "-u", f"{BOB}:{PASSWORD}"]),
            ("login", f"smtps://127.0.0.1:{self.node.port(SUBMISSIONS)}",
             ["-k", "-u", f"{BOB}:{PASSWORD}", "--login-options", "AUTH=LOGIN"]),
        ]:
            with self.subTest(name):
                self.send(make(f"curl.{name}"), *options, url=url)
                found = self.run_curl(f"imap://127.0.0.1:{self.node.port(IMAP)}/INBOX?HEADER%20Message-ID%20curl.{name}@",
                                      "-u", f"{ALICE}:{PASSWORD}").decode()
                self.assertRegex(found, r"\* SEARCH \d+")

    def test_wrong_passwords_are_refused(self):
        # 67: the server denied the login.
        self.run_curl(f"imap://127.0.0.1:{self.node.port(IMAP)}/INBOX", "-u", f"{ALICE}:wrong", code=67)
        self.run_curl(f"pop3://127.0.0.1:{self.node.port(POP3)}", "-u", f"{ALICE}:wrong", code=67)
        self.run_curl(f"smtp://127.0.0.1:{self.node.port(SUBMISSION)}", "--ssl-reqd", "-k", "-u", f"{ALICE}:wrong",
                      "--mail-from", BOB, "--mail-rcpt", ALICE, "-T", "-", input=b"x\r\n", code=67)

    def test_unknown_recipients_and_relaying_are_refused(self):
        for recipient in ["nobody@example.org", "someone@elsewhere.invalid"]:
            # 55: sending failed; curl's word for a refused recipient.
            self.run_curl(f"smtp://127.0.0.1:{self.node.port(SMTP)}", "--mail-from", BOB, "--mail-rcpt", recipient,
                          "-T", "-", input=b"x\r\n", code=55)

    def test_imap_append_by_upload(self):
        path = pathlib.Path(self.directory.name, "append")
        message = make("curl.append")
        path.write_bytes(message)
        self.run_curl(f"imap://127.0.0.1:{self.node.port(IMAP)}/INBOX", "-u", f"{ALICE}:{PASSWORD}", "-T", str(path))
        found = self.run_curl(f"imap://127.0.0.1:{self.node.port(IMAP)}/INBOX?HEADER%20Message-ID%20curl.append@",
                              "-u", f"{ALICE}:{PASSWORD}").decode()
        number = re.search(r"\* SEARCH (\d+)", found)[1]
        got = self.run_curl(f"imap://127.0.0.1:{self.node.port(IMAP)}/INBOX;MAILINDEX={number}",
                            "-u", f"{ALICE}:{PASSWORD}")
        self.assertEqual(got, message)
