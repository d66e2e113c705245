"""Python's smtplib: plain, STARTTLS, implicit TLS, LMTP, SMTPUTF8, 8-bit, large messages, and what is refused."""

import smtplib
import unittest
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTPUTF8

from harness import PASSWORD, Node
from harness.mail import ALICE, BOB, digest, make
from harness.node import LMTP, SMTP, SUBMISSION, SUBMISSIONS
from harness.reading import messages, stored


class Smtplib(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = Node()
        cls.addClassCleanup(cls.node.remove)

    def smtp(self, port=SMTP, kind=smtplib.SMTP, **options):
        client = kind("127.0.0.1", self.node.port(port), timeout=60, local_hostname="test.invalid", **options)
        self.addCleanup(client.close)
        return client

    def assert_stored(self, *identities, user=ALICE):
        found, twice = stored(self.node, user)
        self.assertEqual(twice, [])
        for identity, message in identities:
            self.assertEqual(found.get(identity), digest(message), identity)

    def test_plain(self):
        message = make("smtplib.plain")
        with self.smtp() as client:
            self.assertEqual(client.sendmail(BOB, [ALICE], message), {})
            for extension in ["pipelining", "size", "8bitmime", "smtputf8", "chunking", "dsn", "enhancedstatuscodes",
                              "starttls"]:
                self.assertTrue(client.has_extn(extension), extension)
        self.assert_stored(("smtplib.plain", message))

    def test_several_messages_and_recipients_in_a_session(self):
        sent = [(f"smtplib.many.{index}", make(f"smtplib.many.{index}")) for index in range(20)]
        with self.smtp() as client:
            for _, message in sent:
                self.assertEqual(client.sendmail(BOB, [ALICE, BOB], message), {})
        self.assert_stored(*sent)
        self.assert_stored(*sent, user=BOB)

    def test_starttls_and_implicit_tls(self):
        sent = [(name, make(name)) for name in ["smtplib.starttls", "smtplib.submission", "smtplib.submissions"]]
        client = self.smtp()
        client.starttls(context=self.node.tls())
        client.sendmail(BOB, [ALICE], sent[0][1])
        client = self.smtp(SUBMISSION)
        client.starttls(context=self.node.tls())
        client.login(BOB, PASSWORD)
        client.sendmail(BOB, [ALICE], sent[1][1])
        client = self.smtp(SUBMISSIONS, smtplib.SMTP_SSL, context=self.node.tls())
        client.login(BOB, PASSWORD)
        client.sendmail(BOB, [ALICE], sent[2][1])
        self.assert_stored(*sent)

    def test_submission_needs_a_login_and_relays_nowhere(self):
        client = self.smtp(SUBMISSIONS, smtplib.SMTP_SSL, context=self.node.tls())
        client.ehlo()
        code, _ = client.mail(BOB)
        if code == 250:
            code, _ = client.rcpt(ALICE)
        self.assertEqual(code, 530)
        client.rset()
        with self.assertRaises(smtplib.SMTPAuthenticationError) as refused:
            client.login(BOB, "wrong")
        self.assertEqual(refused.exception.smtp_code, 535)
        client = self.smtp(SUBMISSIONS, smtplib.SMTP_SSL, context=self.node.tls())
        client.login(BOB, PASSWORD)
        client.mail(BOB)
        code, text = client.rcpt("someone@elsewhere.invalid")
        self.assertTrue(500 <= code < 600, (code, text))

    def test_lmtp_answers_for_each_recipient(self):
        message = make("smtplib.lmtp")
        with self.smtp(LMTP, smtplib.LMTP) as client:
            client.ehlo_or_helo_if_needed()
            self.assertEqual(client.mail(BOB)[0], 250)
            self.assertEqual(client.rcpt(ALICE)[0], 250)
            self.assertEqual(client.rcpt("nobody@example.org")[0], 550)
            self.assertEqual(client.rcpt(BOB)[0], 250)
            self.assertEqual(client.data(message)[0], 250)
            self.assertEqual(client.getreply()[0], 250)
        self.assert_stored(("smtplib.lmtp", message))
        self.assert_stored(("smtplib.lmtp", message), user=BOB)

    def test_smtputf8_and_8bit(self):
        message = EmailMessage(policy=SMTPUTF8)
        message["From"] = "Jürgen <jürgen@bücher.example>"
        message["To"] = ALICE
        message["Subject"] = "Grüße"
        message["Message-ID"] = "<smtplib.utf8@test.invalid>"
        message.set_content("Schöne Grüße\n", cte="8bit")
        with self.smtp() as client:
            self.assertEqual(client.send_message(message, "jürgen@bücher.example", [ALICE]), {})
        expected = message.as_bytes(policy=SMTPUTF8)
        self.assert_stored(("smtplib.utf8", expected))
        raw = b"Message-ID: <smtplib.8bit@test.invalid>\r\nSubject: \xe4\r\n\r\n" + bytes(range(1, 256)).replace(
            b"\r", b"").replace(b"\n", b"") + b"\r\n"
        with self.smtp() as client:
            client.sendmail(BOB, [ALICE], raw, mail_options=["BODY=8BITMIME"])
        self.assert_stored(("smtplib.8bit", raw))

    def test_large_messages(self):
        for size in [100_000, 128 * 1024, 1_000_000, 12_000_000]:
            with self.subTest(size):
                identity = f"smtplib.large.{size}"
                line = b"0123456789" * 7 + b"\r\n"
                message = make(identity) + line * (size // len(line))
                with self.smtp() as client:
                    client.sendmail(BOB, [ALICE], message)
                self.assert_stored((identity, message))

    def test_sizes_over_the_limit_are_refused_at_mail(self):
        client = self.smtp()
        client.ehlo()
        limit = int(client.esmtp_features["size"])
        code, _ = client.mail(BOB, [f"SIZE={limit + 1}"])
        self.assertEqual(code, 552)
        self.assertEqual(client.mail(BOB, ["SIZE=1000"])[0], 250)

    def test_refusals(self):
        with self.smtp() as client:
            client.ehlo()
            client.mail(BOB)
            self.assertEqual(client.rcpt("nobody@example.org")[0], 550)
            self.assertTrue(550 <= client.rcpt("someone@elsewhere.invalid")[0] <= 554)
            self.assertEqual(client.docmd("DATA")[0] // 100, 5)
            client.rset()
            self.assertEqual(client.docmd("RCPT TO:<alice@example.org>")[0], 503)
            self.assertEqual(client.docmd("NONSENSE")[0], 500)
            self.assertEqual(client.verify(ALICE)[0], 252)
            self.assertEqual(client.noop()[0], 250)

    def test_a_null_sender_and_postmaster(self):
        message = make("smtplib.bounce")
        with self.smtp() as client:
            client.sendmail("", [ALICE], message)
        self.assert_stored(("smtplib.bounce", message))
        head = next(m for _, _, m in messages(self.node) if b"smtplib.bounce" in m)
        self.assertRegex(head, rb"(?m)^Return-Path: <>\r$")
        self.assertRegex(head, rb"(?m)^Received: from ")

    def test_postmaster_without_a_domain(self):
        with self.smtp() as client:
            client.ehlo()
            client.mail("")
            self.assertEqual(client.docmd("RCPT TO:<Postmaster>")[0], 250)

    def test_a_sender_who_asks_hears_of_the_delivery(self):
        with self.smtp() as client:
            client.sendmail(BOB, [ALICE], make("smtplib.notify"), mail_options=["RET=HDRS", "ENVID=QQ314"],
                            rcpt_options=["NOTIFY=SUCCESS", "ORCPT=rfc822;alice@example.org"])
        report = next(m for _, _, m in messages(self.node, BOB) if b"report-type=delivery-status" in m)
        parsed = message_from_bytes(report)
        text, status, header = parsed.get_payload()
        self.assertEqual([part.get_content_type() for part in (text, status, header)],
                         ["text/plain", "message/delivery-status", "text/rfc822-headers"])
        whole, recipient = status.get_payload()
        self.assertEqual(whole["Original-Envelope-Id"], "QQ314")
        self.assertEqual((recipient["Action"], recipient["Final-Recipient"]), ("delivered", "rfc822;alice@example.org"))
        self.assertIn("<smtplib.notify@test.invalid>", header.get_payload())
        self.assertTrue(report.startswith(b"Return-Path: <>\r\n"), report[:100])

    def test_bare_line_feeds_do_not_pass(self):
        client = self.smtp()
        client.ehlo()
        client.mail(BOB)
        client.rcpt(ALICE)
        client.putcmd("DATA")
        self.assertEqual(client.getreply()[0], 354)
        client.send(b"Subject: smuggled\r\n\r\nx\n.\nMAIL FROM:<a@b>\r\n.\r\n")
        self.assertEqual(client.getreply()[0], 550)
        self.assertEqual(client.noop()[0], 250)
