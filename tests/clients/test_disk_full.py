"""A disk that fills up: 452 4.3.1 for new mail, while people go on reading and deleting."""

import pathlib
import re
import shutil
import unittest

from harness import Node, needs, needs_root
from harness.crashes import LoopDisk
from harness.mail import ALICE, BOB, Refused, Smtp, digest, make
from harness.node import wait_until
from harness.reading import compare, imap, pop3


class DiskFull(unittest.TestCase):
    def test_new_mail_is_refused_and_imap_works(self):
        needs_root("a small file system on a loop device")
        needs("mkfs.ext4", "losetup")
        with LoopDisk(768) as disk:
            node = Node(directory=pathlib.Path(disk.mount_point, "data"))
            self.addCleanup(shutil.rmtree, node.log_path.parent, ignore_errors=True)
            try:
                self.fill(node)
            finally:
                node.remove()

    def fill(self, node):
        acknowledged, refusal = {}, None
        filler = b"x" * 76 + b"\r\n"
        with Smtp(node) as session:
            for index in range(2_000):
                message = make(f"full.{index}") + filler * 25_000
                try:
                    session.deliver(message, [BOB])
                    acknowledged[f"full.{index}"] = digest(message)
                except Refused as refused:
                    refusal = refused
                    break
        self.assertIsNotNone(refusal, "the disk never filled")
        self.assertEqual(refusal.code, 452, refusal)
        self.assertIn("4.3.1", refusal.text)
        self.assertIsNone(node.process.poll())

        # Reading, flags, deleting and small changes still work.
        client = imap(node, BOB)
        self.assertEqual(int(client.select("INBOX")[1][0]), len(acknowledged))
        self.assertEqual(client.store("1:*", "+FLAGS", r"(\Seen)")[0], "OK")
        self.assertEqual(client.append("INBOX", None, None, make("full.append") + filler * 25_000)[0], "NO")
        pop3(node, BOB).quit()
        self.assertEqual(compare(acknowledged, node, BOB), [])
        client.select("INBOX")
        self.assertEqual(client.store("1:*", "+FLAGS", r"(\Deleted)")[0], "OK")
        self.assertEqual(client.expunge()[0], "OK")
        client.logout()

        # A restart on the full disk needs no help, and the space comes back.
        self.assertEqual(node.stop(120), 0)
        node.start()

        def accepted():
            try:
                with Smtp(node) as session:
                    session.deliver(make("full.again"), [ALICE])
                return True
            except Refused as refused:
                self.assertEqual(refused.code, 452)
                return False

        wait_until(accepted, 120, "mail is taken again after mail was deleted")
        self.assertTrue(re.search(r"(?i)full", node.log()), "the log says that the disk was full")
