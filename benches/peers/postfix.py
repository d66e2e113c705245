"""Postfix, with a queue of its own in a temporary directory: to Maildirs, or on to Dovecot by LMTP."""

import grp
import os
import pathlib
import pwd
import shutil
import subprocess

from harness.needs import needs
from harness.node import free_port
from servers import ADDRESSES, DOMAIN, Server, TunedDovecot

MASTER_PROGRAM = pathlib.Path("/usr/lib/postfix/sbin/master")

# Debian's, without what these messages never use.
MASTER = """
127.0.0.1:{smtp} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

# What stands here names the place, the accounts, and the limits on how often one client may come; all else is the default.
MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/spool
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.test
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {directory}/log-of-mail
maillog_file_prefixes = {directory}
mynetworks = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = texthash:{directory}/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
{more}
"""


class Postfix(Server):
    """SMTP to a Maildir for each account."""

    name, more, speaks = "Postfix to Maildir", "", frozenset({"smtp"})
    durability = "the queue file synced before the answer, the Maildir file before that goes"

    def __init__(self, _certificate):
        super().__init__()
        mail = pwd.getpwnam("mail")
        for name in ["mail", "spool", "data"]:
            (self.directory / name).mkdir()
        os.chown(self.directory / "mail", mail.pw_uid, mail.pw_gid)
        shutil.chown(self.directory / "data", "postfix")
        self.write("mailboxes", "".join(f"{address} {address.split('@')[0]}/\n" for address in ADDRESSES))
        self.ports = {"smtp": free_port()}
        self.write("master.cf", MASTER.format(**self.ports))
        self.write("main.cf", MAIN.format(directory=self.directory, daemons=MASTER_PROGRAM.parent, domain=DOMAIN, uid=mail.pw_uid,
                                          gid=grp.getgrnam("mail").gr_gid, more=self.more + self.transport()))
        # Makes the directories of the queue.
        checked = subprocess.run([needs("postfix"), "-c", self.directory, "check"], capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, checked.stderr
        # Its own process, not the script's around it: the script ends without it.
        self.spawn(MASTER_PROGRAM, "-c", self.directory, "-s", port=self.ports["smtp"], group=None)

    def transport(self):
        return ""

    def log(self):
        path = self.directory / "log-of-mail"
        return super().log() + (path.read_text(errors="replace") if path.exists() else "")

    def waiting(self, *queues):
        """Messages in these queues."""
        return sum(len(names) for queue in queues for _, _, names in os.walk(self.directory / "spool" / queue))

    def arrived(self):
        late = self.waiting("deferred", "corrupt")
        assert not late, f"{late} messages cannot be delivered"
        return not self.waiting("maildrop", "incoming", "active")


class FlowingPostfix(Postfix):
    """Without the pause that it makes when mail comes in faster than it goes out."""

    name, more = "Postfix to Maildir, in_flow_delay = 0", "in_flow_delay = 0s\n"


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
        return f"virtual_transport = lmtp:inet:127.0.0.1:{self.dovecot.ports['lmtp']}\n"

    def log(self):
        return super().log() + self.dovecot.log()

    def pids(self):
        return super().pids() + self.dovecot.pids()

    def remove(self):
        super().remove()
        self.dovecot.remove()
