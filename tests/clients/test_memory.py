"""`tests/memory` within the tests: large messages, and connections that wait."""

import unittest

from harness.memory import idle_connections, large_messages
from harness.node import raise_file_limit


def quiet(_):
    pass


class Memory(unittest.TestCase):
    def test_twenty_large_messages_at_once(self):
        self.assertLess(large_messages(20, 50, quiet), 64 << 20)

    def check(self, kind, count):
        # The tests and the node each have a descriptor for every connection.
        if raise_file_limit() < count + 1_000:
            self.skipTest(f"needs a limit of {count + 1_000} open files")
        each, allowed = idle_connections(kind, count, quiet)
        self.assertLessEqual(each, allowed, kind)

    def test_selected_imap_sessions(self):
        self.check("imap-selected", 10_000)

    def test_idling_imap_sessions(self):
        self.check("imap-idle", 10_000)

    def test_imap_connections_before_the_login(self):
        self.check("imap-greeted", 5_000)

    def test_pop3_connections_before_the_login(self):
        self.check("pop3-greeted", 5_000)

    def test_smtp_connections_that_wait(self):
        self.check("smtp-greeted", 5_000)
