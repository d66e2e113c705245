"""Python's imaplib over all of its commands that the server has, and what it lacks by hand."""

import imaplib
import re
import threading
import time
import unittest

from harness import PASSWORD, Node
from harness.mail import ALICE, BOB, Smtp, make
from harness.node import IMAP, IMAPS
from harness.reading import imap

# imaplib knows neither; both take an authenticated or selected state.
imaplib.Commands.update({"MOVE": ("SELECTED",), "ID": ("NONAUTH", "AUTH", "SELECTED"), "IDLE": ("AUTH", "SELECTED")})


class Imaplib(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        def limit_bob(node):
            ldif = node.directory / "users.ldif"
            entries = ldif.read_text().split("\n\n")
            limited = [entry.rstrip("\n") + "\nmailQuotaSize: 5000\nmailQuotaCount: 2" * (f"mail: {BOB}" in entry)
                       for entry in entries]
            ldif.write_text("\n\n".join(limited) + "\n")

        cls.node = Node(configure=limit_bob)
        cls.addClassCleanup(cls.node.remove)

    def setUp(self):
        self.folder = "test-" + self._testMethodName
        self.client = imap(self.node)
        self.addCleanup(self.client.shutdown)

    def ok(self, result):
        self.assertEqual(result[0], "OK", result)
        return result[1]

    def filled(self, count=5):
        """A new mailbox with messages, selected."""
        self.ok(self.client.create(self.folder))
        for index in range(count):
            message = make(f"{self.folder}.{index}", 500 + 100 * index, subject=f"number {index}")
            date = imaplib.Time2Internaldate(1_700_000_000 + 86_400 * index)
            self.ok(self.client.append(self.folder, r"(\Seen)" if index % 2 else None, date, message))
        self.assertEqual(self.ok(self.client.select(self.folder)), [str(count).encode()])

    def test_logins(self):
        for user, password in [(ALICE, "wrong"), ("nobody@example.org", PASSWORD)]:
            client = imaplib.IMAP4("127.0.0.1", self.node.port(IMAP), timeout=60)
            with self.assertRaisesRegex(imaplib.IMAP4.error, "AUTHENTICATIONFAILED"):
                client.login(user, password)
            client.logout()
        client = imaplib.IMAP4("127.0.0.1", self.node.port(IMAP), timeout=60)
        self.assertIn("STARTTLS", client.capabilities)
        client.starttls(self.node.tls())
        self.assertNotIn("STARTTLS", client.capabilities)
        self.ok(client.authenticate("PLAIN", lambda _: f"\0{ALICE}\0{PASSWORD}".encode()))
        self.ok(client.noop())
        client.logout()
        client = imaplib.IMAP4_SSL("127.0.0.1", self.node.port(IMAPS), ssl_context=self.node.tls(), timeout=60)
        self.ok(client.login(BOB, PASSWORD))
        client.logout()

    def test_capabilities(self):
        words = set(self.ok(self.client.capability())[0].decode().split())
        for word in ["IMAP4rev1", "IDLE", "NAMESPACE", "UIDPLUS", "UNSELECT", "CHILDREN", "MOVE", "ENABLE", "ESEARCH",
                     "SPECIAL-USE", "LIST-EXTENDED", "LIST-STATUS", "STATUS=SIZE", "MULTIAPPEND", "QUOTA", "CONDSTORE",
                     "SASL-IR", "ID", "LITERAL+"]:
            self.assertIn(word, words)
        self.assertTrue(any(word.startswith("APPENDLIMIT=") for word in words))
        self.ok(self.client.xatom("ID", "NIL"))
        self.ok(self.client.enable("CONDSTORE"))

    def test_mailboxes(self):
        one, two = self.folder, self.folder + "-renamed"
        self.ok(self.client.create(one + "/below"))
        listed = [line.decode() for line in self.ok(self.client.list('""', one + "*"))]
        self.assertTrue(any(line.endswith(f'"/" {one}') and r"\HasChildren" in line for line in listed), listed)
        self.assertEqual(self.client.create(one + "/below")[0], "NO")
        self.ok(self.client.rename(one, two))
        self.ok(self.client.subscribe(two + "/below"))
        self.assertEqual(len([line for line in self.ok(self.client.lsub('""', two + "*")) if line]), 1)
        self.ok(self.client.unsubscribe(two + "/below"))
        self.assertEqual(self.client.select(one)[0], "NO")
        self.ok(self.client.delete(two + "/below"))
        self.ok(self.client.delete(two))
        self.assertEqual(self.client.delete("INBOX")[0], "NO")
        self.assertEqual(self.ok(self.client.list('""', one + "*")), [None])
        self.assertIn(b'(("" "/"))', self.ok(self.client.namespace())[0])

    def test_names_beyond_ascii(self):
        self.ok(self.client.create('"Entw&APw-rfe &- mehr"'))
        listed = self.ok(self.client.list('""', '"Entw*"'))
        self.assertTrue(listed[0].endswith(b'"Entw&APw-rfe &- mehr"'), listed)
        with self.assertRaisesRegex(imaplib.IMAP4.error, "BAD"):
            self.client.create('"bad &name"')
        self.ok(self.client.delete('"Entw&APw-rfe &- mehr"'))

    def test_append_status_and_fetch(self):
        self.filled()
        status = self.ok(self.client.status(self.folder, "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY SIZE HIGHESTMODSEQ)"))[0]
        self.assertRegex(status, rb"MESSAGES 5.*UNSEEN 3")
        data = self.ok(self.client.fetch("1:*", "(UID RFC822.SIZE FLAGS INTERNALDATE ENVELOPE BODYSTRUCTURE)"))
        self.assertEqual(len(data), 5)
        self.assertRegex(data[1], rb"FLAGS \([^)]*\\Seen")
        self.assertIn(b'"number 0"', data[0])
        for index in range(5):
            message = make(f"{self.folder}.{index}", 500 + 100 * index, subject=f"number {index}")
            number = str(index + 1)
            self.assertEqual(self.ok(self.client.fetch(number, "(BODY.PEEK[])"))[0][1], message)
            head, body = message.split(b"\r\n\r\n", 1)
            self.assertEqual(self.ok(self.client.fetch(number, "(BODY.PEEK[TEXT])"))[0][1], body)
            self.assertEqual(self.ok(self.client.fetch(number, "(BODY.PEEK[HEADER])"))[0][1], head + b"\r\n\r\n")
            self.assertEqual(self.ok(self.client.fetch(number, "(BODY.PEEK[]<10.50>)"))[0][1], message[10:60])
            subject = self.ok(self.client.fetch(number, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))[0][1]
            self.assertEqual(subject, f"Subject: number {index}\r\n\r\n".encode())
            self.assertRegex(self.ok(self.client.fetch(number, "(RFC822.SIZE)"))[0], rb"RFC822.SIZE %d\)" % len(message))
        self.ok(self.client.fetch("1", "(BODY[])"))
        self.assertRegex(self.ok(self.client.fetch("1", "(FLAGS)"))[0], rb"\\Seen")

    def test_store_and_keywords(self):
        self.filled()
        data = self.ok(self.client.store("1:2", "+FLAGS", r"(\Flagged $Work)"))
        self.assertTrue(all(rb"\Flagged" in line and b"$Work" in line for line in data), data)
        self.ok(self.client.store("1", "-FLAGS", "($Work)"))
        self.ok(self.client.store("3", "FLAGS.SILENT", r"(\Answered \Draft)"))
        self.assertEqual(self.ok(self.client.search(None, "KEYWORD", "$Work")), [b"2"])
        self.assertEqual(self.ok(self.client.search(None, "FLAGGED")), [b"1 2"])
        self.assertRegex(self.ok(self.client.fetch("3", "(FLAGS)"))[0], rb"FLAGS \((\\Answered|\\Draft) (\\Answered|\\Draft)")
        self.ok(self.client.uid("STORE", "1:*", "+FLAGS", r"(\Seen)"))
        self.assertEqual(self.ok(self.client.search(None, "UNSEEN")), [b""])

    def test_searches(self):
        self.filled()
        for criteria, expected in [
            (("ALL",), b"1 2 3 4 5"),
            (("SEEN",), b"2 4"),
            (("SUBJECT", '"number 3"'), b"4"),
            (("OR", "SUBJECT", '"number 0"', "SUBJECT", '"number 4"'), b"1 5"),
            (("NOT", "SEEN", "LARGER", "650"), b"3 5"),
            (("SINCE", "16-Nov-2023"), b"3 4 5"),
            (("BEFORE", "16-Nov-2023"), b"1 2"),
            (("FROM", "bob", "TO", "alice"), b"1 2 3 4 5"),
            (("HEADER", "Message-ID", f"{self.folder}.2@"), b"3"),
            (("UID", "2:3"), b"2 3"),
            (("2:*", "UNSEEN"), b"3 5"),
            (("BODY", '"nowhere to be found 0"'), b""),
        ]:
            with self.subTest(criteria):
                self.assertEqual(self.ok(self.client.search(None, *criteria)), [expected])
        self.assertEqual(self.ok(self.client.uid("SEARCH", "SUBJECT", '"number 3"')), [b"4"])
        self.assertEqual(self.ok(self.client.search("UTF-8", "SUBJECT", '"number 3"')), [b"4"])

    def test_copy_move_and_expunge(self):
        self.filled()
        target = self.folder + "-target"
        self.ok(self.client.create(target))
        self.ok(self.client.copy("1:2", target))
        self.assertRegex(self.client.untagged_responses.get("COPYUID", [b"1 1:2 1:2"])[0], rb"\d+ 1:2 1:2")
        self.ok(self.client.xatom("MOVE", "3", target))
        self.ok(self.client.uid("COPY", "4", target))
        self.assertEqual(self.client.copy("1", "no-such-mailbox")[0], "NO")
        self.assertIn(b"TRYCREATE", self.client.copy("1", "no-such-mailbox")[1][0])
        self.ok(self.client.store("1", "+FLAGS", r"(\Deleted)"))
        self.ok(self.client.store("3", "+FLAGS", r"(\Deleted)"))
        self.ok(self.client.uid("EXPUNGE", "4"))
        self.assertEqual(self.ok(self.client.uid("SEARCH", "ALL")), [b"1 2 5"])
        # imaplib gives those of MOVE and UID EXPUNGE, too.
        self.assertEqual(self.ok(self.client.expunge()), [b"3", b"3", b"1"])
        self.assertEqual(self.ok(self.client.uid("SEARCH", "ALL")), [b"2 5"])
        self.assertEqual(self.ok(self.client.select(target)), [b"4"])
        self.assertEqual(self.ok(self.client.fetch("3", "(BODY.PEEK[])"))[0][1],
                         make(f"{self.folder}.2", 700, subject="number 2"))

    def test_close_unselect_and_examine(self):
        self.filled()
        self.ok(self.client.store("1", "+FLAGS", r"(\Deleted)"))
        self.ok(self.client.unselect())
        self.assertEqual(self.ok(self.client.select(self.folder, readonly=True)), [b"5"])
        self.assertEqual(self.client.store("2", "+FLAGS", r"(\Seen)")[0], "NO")
        self.ok(self.client.close())
        self.assertEqual(self.ok(self.client.select(self.folder)), [b"5"], "EXAMINE and CLOSE expunge nothing")
        self.ok(self.client.check())
        self.ok(self.client.close())
        self.assertEqual(self.ok(self.client.select(self.folder)), [b"4"])

    def test_quota(self):
        self.assertEqual(self.ok(self.client.getquotaroot("INBOX")), [[b"INBOX"], [None]])
        self.assertEqual(self.client.getquota('""')[0], "NO", "without a limit there is no root")
        limited = imap(self.node, BOB)
        self.addCleanup(limited.shutdown)
        self.ok(limited.append("INBOX", None, None, make("quota", 3000)))
        quota = rb'"" \(STORAGE [34] 5 MESSAGE 1 2\)'
        root, (told,) = self.ok(limited.getquotaroot("INBOX"))
        self.assertEqual(root, [b'INBOX ""'])
        self.assertRegex(told, quota)
        self.assertRegex(self.ok(limited.getquota('""'))[0], quota)
        refused = limited.append("INBOX", None, None, make("quota.over", 3000))
        self.assertEqual((refused[0], refused[1][0][:11]), ("NO", b"[OVERQUOTA]"))
        self.assertEqual(self.client.setquota('""', "(STORAGE 1)")[0], "NO")

    def test_other_sessions_see_changes(self):
        self.filled()
        other = imap(self.node)
        self.addCleanup(other.shutdown)
        self.ok(other.select(self.folder))
        self.ok(self.client.store("2", "+FLAGS", r"(\Flagged)"))
        self.ok(self.client.store("1", "+FLAGS", r"(\Deleted)"))
        self.ok(self.client.expunge())
        self.ok(self.client.append(self.folder, None, None, make("seen.by.others")))
        self.ok(other.noop())
        self.assertEqual(other.untagged_responses.get("EXPUNGE"), [b"1"])
        self.assertEqual(other.untagged_responses.get("EXISTS", [])[-1], b"5")
        self.assertIn(rb"\Flagged", b" ".join(line for line in other.untagged_responses.get("FETCH", []) if line))

    def test_idle_tells_at_once(self):
        self.ok(self.client.select("INBOX"))
        tag = self.client._new_tag()
        self.client.send(tag + b" IDLE\r\n")
        self.assertTrue(self.client.readline().startswith(b"+"))
        with Smtp(self.node) as session:
            session.deliver(make("idle.news"))
        sent = time.monotonic()
        line = self.client.readline()
        while not re.match(rb"\* \d+ EXISTS", line):
            self.assertLess(time.monotonic() - sent, 10)
            line = self.client.readline()
        self.client.send(b"DONE\r\n")
        while not self.client.readline().startswith(tag + b" OK"):
            pass

    def test_multiappend_and_literals(self):
        self.ok(self.client.create(self.folder))
        one, two = make("multi.1"), make("multi.2")
        tag = self.client._new_tag()
        self.client.send(tag + b" APPEND %s {%d+}\r\n" % (self.folder.encode(), len(one)) + one
                         + b" (\\Seen) {%d+}\r\n" % len(two) + two + b"\r\n")
        line = self.client.readline()
        while not line.startswith(tag):
            line = self.client.readline()
        self.assertRegex(line, rb"OK \[APPENDUID \d+ 1:2\]")
        self.assertEqual(self.ok(self.client.select(self.folder)), [b"2"])
        self.assertEqual(self.ok(self.client.fetch("2", "(BODY.PEEK[])"))[0][1], two)

    def test_condstore(self):
        self.filled()
        first = int(re.search(rb"MODSEQ \((\d+)\)", self.ok(self.client.fetch("1", "(MODSEQ)"))[0])[1])
        self.ok(self.client.store("3", "+FLAGS", r"(\Flagged)"))
        changed = self.ok(self.client.uid("FETCH", "1:*", f"(FLAGS) (CHANGEDSINCE {first + 4})"))
        self.assertTrue(any(line and b"UID 3" in line for line in changed), changed)

    def test_many_sessions_of_an_account(self):
        self.ok(self.client.create(self.folder))
        failures = []

        def work(index):
            try:
                client = imap(self.node)
                for count in range(10):
                    kind, data = client.append(self.folder, None, None, make(f"many.{index}.{count}"))
                    assert kind == "OK", data
                client.select(self.folder)
                client.store("1:*", "+FLAGS", f"(worker{index})")
                client.logout()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.ok(self.client.select(self.folder)), [b"100"])
        uids = self.ok(self.client.uid("SEARCH", "ALL"))[0].split()
        self.assertEqual([int(uid) for uid in uids], list(range(1, 101)))
