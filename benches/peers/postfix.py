"""Postfix as the harness starts it, with its own defaults and tuned: to Maildirs, or on to Dovecot by LMTP."""

import os
import subprocess

from harness import postfix
from harness.needs import needs
from servers import ADDRESSES, Server, TunedDovecot

# http://www.postfix.org/TUNING_README.html and QSHAPE_README.html: no pause for those who bring mail faster than it goes out; processes
# that serve ten thousand and are not made anew after a hundred; as many at once as bring mail, and twice as many of each kind.
# What else is said there is so by default here: nothing runs in a chroot, nothing is looked up in the DNS, no header is
# looked for, and nobody is counted by anvil(8), because its limits are off. hash_queue_names is for queues of tens of
# thousands of files. No sync is left out.
TUNED = {"in_flow_delay": "0s", "max_use": "10000", "default_process_limit": "200", "initial_destination_concurrency": "50",
         "default_destination_concurrency_limit": "50"}


class Postfix(postfix.Postfix):
    """SMTP to a Maildir for each account."""

    name, speaks, rows, is_peer, is_limit = "Postfix to Maildir", frozenset({"smtp"}), None, True, False
    messages = Server.messages
    durability = "the queue file synced before the answer, the Maildir file before that goes"
    settings = {}

    def __init__(self, _certificate):
        super().__init__(ADDRESSES, lmtp=self.transport(), **self.settings)
        self.ports = {"smtp": self.port}
        told = subprocess.run([needs("postconf"), "-c", self.configuration, *self.settings], capture_output=True, text=True,
                              check=True).stdout.splitlines()
        assert set(told) >= {f"{name} = {value}" for name, value in self.settings.items()}, told

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


class TunedPostfix(Postfix):
    """As its documentation says for speed."""

    name, settings = "Postfix to Maildir, tuned", TUNED


class PostfixAndDovecot(Postfix):
    """SMTP, a queue, and LMTP to a tuned Dovecot."""

    name, messages = "Postfix to Dovecot LMTP", 1_500
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


class TunedPostfixAndDovecot(PostfixAndDovecot):
    """Both tuned."""

    name, settings = "Postfix to Dovecot LMTP, both tuned", TUNED
