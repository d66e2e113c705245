"""A real Cyrus in a temporary directory, as a backend that nodes redirect to and bring mail (docs/operating.md has its
configuration)."""

import contextlib
import grp
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from . import leftovers
from .needs import missing, needs
from .node import ROOT, free_port, wait_until

PROGRAMS = pathlib.Path("/usr/lib/cyrus/bin")
USER = "cyrus"


def unpacked():
    """Where `./test` unpacks what may not be installed beside Dovecot."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debian" / PROGRAMS.relative_to("/")


def find(name):
    for place in [PROGRAMS, unpacked()]:
        if (place / name).exists():
            return place / name
    return missing(f"Cyrus' {name}")


IMAPD = """
servername: cyrus.test
configdirectory: {directory}/config
proc_path: {directory}/proc
mboxname_lockpath: {directory}/lock
defaultpartition: default
partition-default: {directory}/mail
idlesocket: {directory}/idle
syslog_prefix: cyrus-test
hashimapspool: yes
sendmail: /bin/true

# Users are addresses, as control data names them.
virtdomains: userid
unixhierarchysep: yes
# An inbox is made when its user first comes, and when the first mail does.
autocreate_quota: 0
autocreate_post: yes
popminpoll: 0
failedloginpause: 0

# The nodes: who may log in for others, and where their keys are.
proxyservers: {nodes}
allowplaintext: no
sasl_mech_list: SCRAM-SHA-256
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {directory}/nodes
"""

SERVICES = """
START {{
  recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -r -C {directory}/imapd.conf"
}}
SERVICES {{
  imap cmd="{directory}/bin/imapd -C {directory}/imapd.conf" listen="127.0.0.1:{imap}" proto="tcp4" prefork=0 maxchild=20
  pop3 cmd="{directory}/bin/pop3d -C {directory}/imapd.conf" listen="127.0.0.1:{pop3}" proto="tcp4" prefork=0 maxchild=20
  # Without a login: who reaches this address may bring mail.
  lmtp cmd="/usr/lib/cyrus/bin/lmtpd -a -C {directory}/imapd.conf" listen="127.0.0.1:{lmtp}" proto="tcp4" prefork=0 maxchild=20
}}
EVENTS {{
}}
"""


class Cyrus:
    """Starts at once; `keys`: of each node that may redirect."""

    imapd, services = IMAPD, SERVICES

    def __init__(self, keys):
        self.hasher = needs("saslpasswd2")
        self.master, _, *servers = [find(name) for name in ["master", "lmtpd", "imapd", "pop3d"]]
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root: Cyrus runs as a user of its own")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-cyrus-"))
        self.process, self.keys = None, dict(keys)
        leftovers.remember(self)
        try:
            self.imap, self.pop3, self.lmtp = free_port(), free_port(), free_port()
            for name in ["bin", "config", "config/socket", "lock", "mail", "proc"]:
                (self.directory / name).mkdir()
            # Where its user may read them.
            for program in servers:
                shutil.copy(program, self.directory / "bin")
            for node, key in keys.items():
                self.set_key(node, key)
            (self.directory / "imapd.conf").write_text(self.imapd.format(**self.words()))
            (self.directory / "cyrus.conf").write_text(self.services.format(**self.words()))
            for path in [self.directory, *self.directory.rglob("*")]:
                shutil.chown(path, USER, "mail")
            self.start()
        except BaseException:
            self.remove()
            raise

    def words(self):
        """What stands in the configuration."""
        return {"directory": self.directory, "nodes": " ".join(self.keys), "imap": self.imap, "pop3": self.pop3, "lmtp": self.lmtp}

    def set_key(self, node, key):
        subprocess.run([self.hasher, "-p", "-c", "-f", self.directory / "nodes", "-u", "cyrus.test", node],
                       input=key.encode(), capture_output=True, check=True, timeout=60)

    def addresses(self):
        """For pigeonPrivateAddress."""
        return [f"{protocol}://127.0.0.1:{port}"
                for protocol, port in [("imap", self.imap), ("pop3", self.pop3), ("lmtp", self.lmtp)]]

    def start(self):
        groups = [entry.gr_gid for entry in grp.getgrall() if USER in entry.gr_mem]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.master, "-C", self.directory / "imapd.conf", "-M", self.directory / "cyrus.conf",
                 "-p", self.directory / "master.pid", "-D"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0, cwd=self.directory,
                user=pwd.getpwnam(USER).pw_uid, group=grp.getgrnam("mail").gr_gid, extra_groups=groups)
        wait_until(self.answers, 30, "Cyrus answers")

    def answers(self):
        assert self.process.poll() is None, (self.directory / "log").read_text(errors="replace")
        try:
            for port in [self.imap, self.pop3, self.lmtp]:
                with socket.create_connection(("127.0.0.1", port), 10) as connection:
                    if not connection.recv(100):
                        return False
            return True
        except OSError:
            return False

    def stop(self):
        """The master ends its servers; what of them outlives it is of its group."""
        group = self.process.pid
        leftovers.end(self.process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        self.process = None

    def remove(self):
        leftovers.forget(self)
        if self.process:
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
