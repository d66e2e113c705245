"""Postfix as the harness starts it, with its own defaults: to Maildirs, or on to Dovecot by LMTP."""

import os

from harness import postfix
from servers import ADDRESSES, TunedDovecot


class Postfix(postfix.Postfix):
    """SMTP to a Maildir for each account."""

    name, speaks, rows, is_peer, is_limit = "Postfix to Maildir", frozenset({"smtp"}), None, True, False
    durability = "the queue file synced before the answer, the Maildir file before that goes"
    settings = {}

    def __init__(self, _certificate):
        super().__init__(ADDRESSES, lmtp=self.transport(), **self.settings)
        self.ports = {"smtp": self.port}

    def transport(self):
        """The port of who takes mail by LMTP."""
        return None

    def pids(self):
        return [self.process.pid]

    def arrived(self):
        """Whether all that was acknowledged is where its readers find it; raises when that will never be."""
        late = sum(len(names) for _, _, names in os.walk(self.directory / "spool" / "deferred"))
        assert not late, f"{late} messages cannot be delivered"
        return not self.waiting()


class FlowingPostfix(Postfix):
    """Without the pause that it makes when mail comes in faster than it goes out."""

    name, settings = "Postfix to Maildir, in_flow_delay = 0", {"in_flow_delay": "0s"}


class PostfixAndDovecot(Postfix):
    """SMTP, a queue, and LMTP to a tuned Dovecot."""

    name = "Postfix to Dovecot LMTP"
    durability = "the queue file synced before the answer, Dovecot's before that goes"

    def __init__(self, certificate):
        self.dovecot = TunedDovecot(certificate)
        try:
            super().__init__(certificate)
        except BaseException:
            self.dovecot.remove()
            raise

    def transport(self):
        return self.dovecot.ports["lmtp"]

    def log(self):
        return super().log() + self.dovecot.log()

    def pids(self):
        return super().pids() + self.dovecot.pids()

    def remove(self):
        super().remove()
        self.dovecot.remove()
