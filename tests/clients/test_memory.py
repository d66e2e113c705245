"""Short forms of `tests/memory`: large messages, and connections that wait."""

import unittest

from harness.memory import idle_connections, large_messages


def quiet(_):
    pass


class Memory(unittest.TestCase):
    def test_twenty_large_messages_at_once(self):
        self.assertLess(large_messages(20, 50, quiet), 64 << 20)

    def check(self, kind, count):
        each, allowed = idle_connections(kind, count, quiet)
        self.assertLessEqual(each, allowed, kind)

    def test_selected_imap_sessions(self):
        self.check("imap-selected", 2_000)

    def test_idling_imap_sessions(self):
        self.check("imap-idle", 2_000)

    def test_imap_connections_before_the_login(self):
        self.check("imap-greeted", 2_000)

    def test_pop3_connections_before_the_login(self):
        self.check("pop3-greeted", 2_000)

    def test_smtp_connections_that_wait(self):
        self.check("smtp-greeted", 2_000)
