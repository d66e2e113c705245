"""mbsync: a two-way synchronisation of a thousand messages, flags both ways, and nothing to do the second time."""

import pathlib
import re
import subprocess
import tempfile
import unittest

from harness import PASSWORD, Node, needs
from harness.mail import ALICE, Smtp, digest, identity_of, make, without_trace
from harness.node import IMAP, LMTP
from harness.reading import imap, messages

COUNT = 1_000


class Mbsync(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.mbsync = needs("mbsync")
        cls.node = Node()
        cls.addClassCleanup(cls.node.remove)
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        cls.root = pathlib.Path(cls.directory.name)
        cls.maildir = cls.root / "mail" / "INBOX"
        (cls.root / "mail").mkdir()
        (cls.root / "mbsyncrc").write_text(f"""\
IMAPAccount node
Host 127.0.0.1
Port {cls.node.port(IMAP)}
User {ALICE}
Pass {PASSWORD}
SSLType None
AuthMechs PLAIN

IMAPStore far
Account node

MaildirStore near
Path {cls.root}/mail/
Inbox {cls.maildir}
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Sync All
SyncState *
""")

    def sync(self):
        done = subprocess.run([self.mbsync, "-V", "-c", str(self.root / "mbsyncrc"), "-a"], capture_output=True,
                              timeout=300, env={"HOME": str(self.root), "PATH": "/usr/bin:/bin"})
        output = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, 0, output)
        return output

    def near(self):
        """Flags and digest of every local message, by identity."""
        found = {}
        for path in list((self.maildir / "cur").iterdir()) + list((self.maildir / "new").iterdir()):
            # mbsync stores with bare LF, and puts a header field of its own in.
            text = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            text = re.sub(rb"(?m)^X-TUID: [^\r\n]*\r\n", b"", text, count=1)
            flags = path.name.partition(":2,")[2]
            found[identity_of(text)] = ("".join(sorted(flags.replace("T", ""))), digest(without_trace(text)))
        return found

    def far(self):
        found = {}
        letters = {r"\Seen": "S", r"\Flagged": "F", r"\Answered": "R", r"\Draft": "D"}
        for _, flags, message in messages(self.node):
            message = re.sub(rb"(?m)^X-TUID: [^\r\n]*\r\n", b"", message, count=1)
            text = "".join(sorted(letters[flag] for flag in flags if flag in letters))
            found[identity_of(message)] = (text, digest(without_trace(message)))
        return found

    def state(self):
        files = sorted(path.name for folder in ["cur", "new"] for path in (self.maildir / folder).iterdir())
        connection = imap(self.node)
        status = connection.status("INBOX", "(MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ UNSEEN)")[1]
        connection.logout()
        return files, status

    def test_two_way_synchronisation(self):
        sent = {}
        with Smtp(self.node, LMTP) as session:
            for index in range(COUNT):
                message = make(f"mbsync.{index}", 200 + index * 7 % 6_000)
                session.deliver(message)
                sent[f"mbsync.{index}"] = digest(message)
        self.sync()
        self.assertEqual({identity: what for identity, (_, what) in self.near().items()}, sent)
        before = self.state()
        self.sync()
        self.assertEqual(self.state(), before, "the second time there is nothing to do")

        # Flags and messages from both sides.
        for path in list((self.maildir / "cur").iterdir()) + list((self.maildir / "new").iterdir()):
            index = int(identity_of(path.read_bytes()).split(".")[1])
            if index % 3 == 0:
                name = path.name.partition(":2,")[0]
                path.rename(self.maildir / "cur" / f"{name}:2,FS")
        new = make("mbsync.local.0")
        (self.maildir / "new" / "1.local.test").write_bytes(new.replace(b"\r\n", b"\n"))
        connection = imap(self.node)
        connection.select("INBOX")
        connection.store("2:500", "+FLAGS", r"(\Answered)")
        connection.store("900", "+FLAGS", r"(\Deleted)")
        connection.expunge()
        connection.append("INBOX", r"(\Flagged)", None, make("mbsync.remote.0"))
        connection.logout()
        self.sync()
        near, far = self.near(), self.far()
        self.assertEqual(near, far)
        self.assertEqual(len(far), COUNT + 1)
        self.assertEqual(far["mbsync.3"][0], "FRS")
        self.assertEqual(far["mbsync.local.0"][1], digest(new))
        self.assertEqual(far["mbsync.remote.0"][0], "F")
        before = self.state()
        output = self.sync()
        self.assertEqual(self.state(), before, output)
