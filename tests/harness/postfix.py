"""A real Postfix in a temporary directory on loopback, which takes mail by SMTP for a few accounts and gives it to a server that
speaks LMTP, or puts it into a Maildir for each. Needs root, as every Postfix does."""

import grp
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

from . import leftovers
from .needs import missing, needs
from .node import free_port, wait_until

# What Debian's package has, without chroot and without what is of no use here.
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
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

MAIN = {
    "compatibility_level": "3.6",
    "command_directory": "/usr/sbin",
    "daemon_directory": "/usr/lib/postfix/sbin",
    "mail_owner": "postfix",
    "setgid_group": "postdrop",
    "myhostname": "postfix.test",
    "mydestination": "",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "mynetworks": "127.0.0.0/8",
    # Nothing leaves the machine: mail to elsewhere, as are bounces, is refused.
    "default_transport": "error:nothing goes elsewhere",
    "alias_maps": "",
    # Many sessions of one client are what the tests are about.
    "smtpd_client_connection_count_limit": "0",
    # No questions to the machine's resolver.
    "smtpd_peername_lookup": "no",
}

DAEMONS = pathlib.Path("/usr/lib/postfix/sbin")


class Postfix:
    """Starts at once. `users`: the addresses that it takes mail for. `lmtp`: the port of loopback where that goes; without, every
    account has a Maildir below `directory / "mail"`. `settings`: further lines of main.cf, by their name."""

    def __init__(self, users, lmtp=None, **settings):
        control = needs("postfix")
        if os.geteuid() != 0:
            missing("root, for Postfix")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-postfix-"))
        self.process = None
        leftovers.remember(self)
        try:
            self.directory.chmod(0o755)
            # What it is configured by has a directory of its own: `postfix check` looks at all that is beside main.cf.
            self.configuration = self.directory / "etc"
            for name in ["etc", "spool", "data", "mail"]:
                (self.directory / name).mkdir()
            shutil.chown(self.directory / "data", "postfix")
            shutil.chown(self.directory / "mail", "mail", "mail")
            self.port = free_port()
            own = {"queue_directory": self.directory / "spool", "data_directory": self.directory / "data",
                   "maillog_file": self.directory / "log", "maillog_file_prefixes": self.directory,
                   "virtual_mailbox_domains": ", ".join(sorted({user.split("@")[1] for user in users})),
                   "virtual_mailbox_maps": f"texthash:{self.configuration}/users"}
            (self.configuration / "users").write_text("".join(f"{user} {user}/\n" for user in users))
            if lmtp:
                own["virtual_transport"] = f"lmtp:inet:127.0.0.1:{lmtp}"
            else:
                own |= {"virtual_mailbox_base": self.directory / "mail", "virtual_minimum_uid": 1,
                        "virtual_uid_maps": f"static:{pwd.getpwnam('mail').pw_uid}",
                        "virtual_gid_maps": f"static:{grp.getgrnam('mail').gr_gid}"}
            (self.configuration / "main.cf").write_text(
                "".join(f"{name} = {value}\n" for name, value in {**MAIN, **own, **settings}.items()))
            (self.configuration / "master.cf").write_text(MASTER.format(port=self.port))
            # Makes the directories of the queue.
            done = subprocess.run([control, "-c", self.configuration, "check"], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"postfix check: {done.stdout}{done.stderr}"
            self.start()
        except BaseException:
            self.remove()
            raise

    def start(self):
        # Not `postfix start-fg`, which is a shell that a signal ends instead of the server. The server makes its own session, or
        # has one already: as the leader of a mere process group it would end at once, without a word.
        self.process = subprocess.Popen([DAEMONS / "master", "-c", self.configuration, "-s"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

        def started():
            assert self.process.poll() is None, f"Postfix ended with {self.process.returncode}:\n{self.log()[-2000:]}"
            return "daemon started" in self.log()

        wait_until(started, 60, "Postfix starts")

    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def waiting(self):
        """How many messages are in its queues: with none, all that it acknowledged has been delivered."""
        queues = [self.directory / "spool" / name for name in ["maildrop", "incoming", "active", "deferred"]]
        return sum(len(names) for queue in queues for _, _, names in os.walk(queue))

    def remove(self):
        leftovers.forget(self)
        # Its children end when it is gone.
        leftovers.end(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)
