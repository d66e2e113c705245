"""A real Dovecot in a temporary directory, as a backend that nodes redirect to and bring mail (docs/operating.md has its configuration)."""

import pathlib
import shutil
import signal
import subprocess
import tempfile

from . import leftovers
from .needs import missing, needs
from .node import free_port, wait_until

CONFIGURATION = """
protocols = imap pop3 lmtp
listen = 127.0.0.1
base_dir = {directory}/run
log_path = {directory}/log
ssl = no
mail_location = maildir:{directory}/mail/%u
first_valid_uid = 1

# The nodes, and what they may say of a session.
login_trusted_networks = 127.0.0.0/8
auth_mechanisms = plain scram-sha-256
passdb {{
  driver = passwd-file
  args = {directory}/nodes
  master = yes
}}
# A user is who a node says that it is.
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={directory}/home/%u quota_rule=*:storage=%{{passdb:forward_quota}}B
}}
mail_plugins = quota
plugin {{
  quota = count:User quota
  quota_vsizes = yes
}}
protocol imap {{
  mail_plugins = quota imap_quota
}}
# Mail comes with an address and nothing else.
protocol lmtp {{
  userdb {{
    driver = passwd-file
    args = username_format=%u {directory}/users
    default_fields = uid=mail gid=mail home={directory}/home/%u
  }}
}}
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
"""


class Dovecot:
    """Starts at once; `keys`: of each node that may redirect. `users`: to whom mail may come, and their quotas in bytes."""

    def __init__(self, keys, users=()):
        self.program = needs("dovecot")
        hasher = needs("doveadm")
        if not pathlib.Path("/usr/lib/dovecot/lmtp").exists():
            missing("Dovecot's lmtp")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-dovecot-"))
        self.process = None
        leftovers.remember(self)
        try:
            self.directory.chmod(0o755)
            mail = self.directory / "mail"
            mail.mkdir()
            shutil.chown(mail, "mail", "mail")
            (self.directory / "home").mkdir()
            shutil.chown(self.directory / "home", "mail", "mail")
            lines = []
            for node, key in keys.items():
                hashed = subprocess.run([hasher, "-O", "pw", "-s", "SCRAM-SHA-256", "-p", key], capture_output=True,
                                        check=True, timeout=60, text=True).stdout.strip()
                lines.append(f"{node}:{hashed}\n")
            (self.directory / "nodes").write_text("".join(lines))
            rule = "userdb_quota_rule=*:storage={}B"
            (self.directory / "users").write_text(
                "".join(f"{user}::::::: {rule.format(quota)}\n" for user, quota in dict(users).items()))
            self.imap, self.pop3, self.lmtp = free_port(), free_port(), free_port()
            (self.directory / "dovecot.conf").write_text(
                CONFIGURATION.format(directory=self.directory, imap=self.imap, pop3=self.pop3, lmtp=self.lmtp))
            self.process = subprocess.Popen([self.program, "-F", "-c", str(self.directory / "dovecot.conf")],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL, process_group=0)
            wait_until(lambda: "starting up" in self.log(), 30, "Dovecot starts")
        except BaseException:
            self.remove()
            raise

    def addresses(self):
        """For pigeonPrivateAddress."""
        return [f"{protocol}://127.0.0.1:{port}"
                for protocol, port in [("imap", self.imap), ("pop3", self.pop3), ("lmtp", self.lmtp)]]

    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def remove(self):
        leftovers.forget(self)
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)
