"""Volumes that are wrong, missing, somebody else's, or about to be made."""

import pathlib
import re
import signal
import subprocess
import unittest

from harness import Node, pigeond
from harness.mail import ALICE, BOB, Refused, Smtp, digest, make, stuffed
from harness.node import LMTP, wait_until
from harness.reading import imap, stored

MARKER = "pigeonair-volume"


def config_of(node):
    return node.directory / "pigeon.toml"


def second_volume(node, path="volumes/second", record=True):
    """Adds a volume, and puts bob on it, alice on the first."""
    config, ldif = config_of(node), node.directory / "users.ldif"
    config.write_text(config.read_text() + f'\n[[volume]]\nid = "second"\npath = "{path}"\n'
                      'segment_bytes = "64 MiB"\nreserve_bytes = "256 MiB"\n')
    if record:
        text, count = re.subn(r"(?m)^(mail: bob@.*)$", r"\1\nmailMessageStore: second", ldif.read_text())
        # Without a word about it, hers might be in the volume that is not there, and she would have to wait too.
        text, more = re.subn(r"(?m)^(mail: alice@.*)$", r"\1\nmailMessageStore: main", text)
        assert (count, more) == (1, 1)
        ldif.write_text(text)


def run(node, *arguments, wait=True):
    node.spawn([pigeond(), "run", "--config", str(config_of(node)), *arguments], wait)


class Volumes(unittest.TestCase):
    def refused(self, node, pattern, *arguments):
        """The node ends: it has no volume that opens."""
        length = len(node.log())
        run(node, *arguments, wait=False)
        self.assertEqual(node.wait_end(60), 1)
        self.assertRegex(node.log()[length:], pattern)

    def test_a_volume_without_its_marker_stays_closed(self):
        with Node() as node:
            with Smtp(node) as session:
                session.deliver(make("volumes.marker"))
            self.assertEqual(node.stop(), 0)
            marker = node.directory / "volumes/main" / MARKER
            kept = marker.read_bytes()
            for name, change, pattern in [
                ("missing", marker.unlink, r'volume "main".*expected the marker file'),
                ("garbled", lambda: marker.write_bytes(bytes(len(kept))), r'volume "main"'),
                ("short", lambda: marker.write_bytes(kept[:10]), r'volume "main"'),
            ]:
                with self.subTest(name):
                    change()
                    self.refused(node, pattern)
                    # Told to make volumes, it makes none of this: there is something in the directory.
                    self.refused(node, pattern, "--create-volumes")
                    marker.write_bytes(kept)
            node.start()
            self.assertEqual(list(stored(node)[0]), ["volumes.marker"])

    def test_another_volume_in_its_place_stays_closed(self):
        with Node() as node:
            self.assertEqual(node.stop(), 0)
            config = config_of(node)
            config.write_text(config.read_text().replace('id = "main"', 'id = "other"'))
            self.refused(node, r'volume "other".*expected this volume, found volume')

    def test_a_closed_volume_leaves_the_others_alone(self):
        with Node(configure=second_volume) as node:
            self.check_one_of_two(node)
            self.assertEqual(node.stop(), 0)
            run(node, "--create-volumes")
            self.assertEqual(node.status("/ready"), (200, "ready\n"))
            with Smtp(node) as session:
                message = make("volumes.made")
                session.deliver(message, [BOB])
            self.assertEqual(stored(node, BOB), ({"volumes.made": digest(message)}, []))

    def check_one_of_two(self, node):
        """The second is not there: bob has to wait, alice has not."""
        self.assertEqual(node.status("/ready"), (200, "ready\nvolume second: not open\n"))
        self.assertRegex(node.log(), r'volume "second".*expected the marker file')
        self.assertEqual(node.metric("pigeon_volume_state", volume="second", state="not_open"), 1)
        self.assertEqual(node.metric("pigeon_volume_state", volume="main", state="writable"), 1)
        message = make("volumes.one")
        with Smtp(node, LMTP) as session:
            session.command(f"MAIL FROM:<{BOB}>", 250)
            session.command(f"RCPT TO:<{ALICE}>", 250)
            session.command(f"RCPT TO:<{BOB}>", 250)
            session.command("DATA", 354)
            session.send(stuffed(message) + b".\r\n")
            session.expect(250, "alice's copy")
            self.assertEqual(session.reply()[0], 451)
        with Smtp(node) as session:
            with self.assertRaises(Refused) as refused:
                session.deliver(make("volumes.two"), [BOB])
            self.assertEqual(refused.exception.code, 451)
        self.assertEqual(stored(node), ({"volumes.one": digest(message)}, []))
        with self.assertRaisesRegex(Exception, "UNAVAILABLE"):
            imap(node, BOB)

    def test_a_volume_belongs_to_one_process_from_its_making_on(self):
        def missing(node):
            second_volume(node, "deep/er/second")

        with Node(configure=missing) as node:
            self.assertEqual(node.stop(), 0)
            run(node, "--create-volumes")
            # Another node with another first volume and other ports, and the same second one.
            with Node() as other:
                self.assertEqual(other.stop(), 0)
                second_volume(other, node.directory / "deep/er/second", record=False)
                for arguments in [(), ("--create-volumes",)]:
                    self.refused(other, r'volume "second" at .*: another process has it open', *arguments)
            # The kernel gives it back, however the process ended.
            node.kill()
            run(node)
            wait_until(lambda: node.metric("pigeon_volume_state", volume="second", state="writable") == 1, 20, "open")
            node.signal(signal.SIGTERM)
            self.assertEqual(node.wait_end(60), 0)

    def test_a_second_node_on_the_same_directory_is_refused(self):
        with Node() as node:
            command = [pigeond(), "run", "--config", str(config_of(node))]
            second = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(second.returncode, 1)
            self.assertIn("Address already in use", second.stderr)
            with Smtp(node) as session:
                session.deliver(make("volumes.first"))
            self.assertEqual(list(stored(node)[0]), ["volumes.first"])

    def test_a_directory_that_takes_no_volume_is_named(self):
        def unwritable(node):
            second_volume(node, "/proc/no/volume", record=False)

        with Node() as node:
            self.assertEqual(node.stop(), 0)
            unwritable(node)
            self.refused(node, r'volume "second" at /proc/no/volume: No such file', "--create-volumes")
            self.assertTrue(pathlib.Path(node.directory, "volumes/main", MARKER).exists())
