"""A real Dovecot in a temporary directory: as a backend that nodes redirect to and bring mail, as a proxy in front of nodes
(docs/operating.md has the configuration of both), and as a server of its own."""

import pathlib
import shutil
import subprocess
import tempfile

from . import leftovers
from .needs import missing, needs
from .node import PASSWORD, free_port, wait_until

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
  mail_plugins = quota imap_quota zlib imap_zlib
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


PROXY = """
protocols = imap pop3
listen = 127.0.0.1
base_dir = {directory}/run
log_path = {directory}/log
# Clients come over loopback; TLS is what it speaks to the backends.
ssl = no
disable_plaintext_auth = no
ssl_ca = <{authorities}
ssl_require_crl = no
passdb {{
  driver = passwd-file
  args = {directory}/users.%s
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
"""

ALONE = """
protocols = imap pop3 lmtp
listen = 127.0.0.1
base_dir = {directory}/run
log_path = {directory}/log
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{directory}/mail/%u
first_valid_uid = 1
# All clients come from one address.
mail_max_userip_connections = 1000
passdb {{
  driver = passwd-file
  args = {directory}/users
}}
userdb {{
  driver = passwd-file
  args = {directory}/users
  default_fields = uid=mail gid=mail home={directory}/home/%u
}}
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  # One process for many logins: without, most of the time goes into making processes.
  service_count = 0
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  service_count = 0
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


class Master:
    """Its process and its directory."""

    def __init__(self):
        self.program = needs("dovecot")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-dovecot-"))
        self.process = None
        leftovers.remember(self)
        self.directory.chmod(0o755)

    def start(self, configuration):
        (self.directory / "dovecot.conf").write_text(configuration)
        self.process = subprocess.Popen([self.program, "-F", "-c", str(self.directory / "dovecot.conf")],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        process_group=0)
        wait_until(lambda: "starting up" in self.log(), 30, "Dovecot starts")

    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def remove(self):
        leftovers.forget(self)
        leftovers.end(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)


class Dovecot(Master):
    """A backend. Starts at once; `keys`: of each node that may redirect. `users`: to whom mail may come, and their quotas in bytes."""

    def __init__(self, keys, users=()):
        hasher = needs("doveadm")
        if not pathlib.Path("/usr/lib/dovecot/lmtp").exists():
            missing("Dovecot's lmtp")
        super().__init__()
        try:
            for name in ["mail", "home"]:
                (self.directory / name).mkdir()
                shutil.chown(self.directory / name, "mail", "mail")
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
            self.start(CONFIGURATION.format(directory=self.directory, imap=self.imap, pop3=self.pop3, lmtp=self.lmtp))
        except BaseException:
            self.remove()
            raise

    def addresses(self):
        """For pigeonPrivateAddress."""
        return [f"{protocol}://127.0.0.1:{port}"
                for protocol, port in [("imap", self.imap), ("pop3", self.pop3), ("lmtp", self.lmtp)]]


class DovecotProxy(Master):
    """In front of backends that speak TLS at these ports of loopback, by protocol. Starts at once. `users`: their passdb fields,
    as `fields` makes them."""

    def __init__(self, authorities, backends, users):
        super().__init__()
        try:
            for service, port in backends.items():
                lines = [f"{name}:{{PLAIN}}{PASSWORD}::::::port={port} " +
                         " ".join(f"{key}={value}" for key, value in fields.items()) + "\n" for name, fields in users.items()]
                (self.directory / f"users.{service}").write_text("".join(lines))
            self.imap, self.pop3 = free_port(), free_port()
            self.start(PROXY.format(directory=self.directory, authorities=authorities, imap=self.imap, pop3=self.pop3))
        except BaseException:
            self.remove()
            raise

    @staticmethod
    def fields(node, key, **forwarded):
        """Of a user's record: the proxy comes as this node with this key, and says this of the record."""
        return {"proxy": "y", "host": "localhost", "hostip": "127.0.0.1", "ssl": "yes", "proxy_mech": "PLAIN",
                "master": node, "pass": key, **{f"forward_{name}": value for name, value in forwarded.items()}}


class DovecotAlone(Master):
    """With Maildirs, for these addresses, which log in with the tests' password. Starts at once."""

    def __init__(self, users):
        if not pathlib.Path("/usr/lib/dovecot/lmtp").exists():
            missing("Dovecot's lmtp")
        super().__init__()
        try:
            for name in ["mail", "home"]:
                (self.directory / name).mkdir()
                shutil.chown(self.directory / name, "mail", "mail")
            (self.directory / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}::::::\n" for user in users))
            self.imap, self.pop3, self.lmtp = free_port(), free_port(), free_port()
            self.start(ALONE.format(directory=self.directory, imap=self.imap, pop3=self.pop3, lmtp=self.lmtp))
        except BaseException:
            self.remove()
            raise
