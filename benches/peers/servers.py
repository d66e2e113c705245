"""The mail servers that are compared, each in a temporary directory on loopback, with the durability that it has by default:
the node, and those that read mail to users. Postfix is in postfix.py."""

import base64
import hashlib
import pathlib
import re
import shutil
import subprocess
import tempfile

from beside import Peer
from harness import cyrus
from harness.needs import needs
from harness.node import IMAP, IMAPS, LMTP, POP3, SMTP, Node, free_port

DOMAIN, PASSWORD = "example.org", "secret"
# Mail is brought to some accounts and read from others, so that what is read is the same for everybody.
WRITERS, READERS = 100, 100
WRITTEN = f"user{{1..{WRITERS}}}@{DOMAIN}"
READ = f"reader{{1..{READERS}}}@{DOMAIN}"
# By what of a row's name says which: octets of a message, of all of them, and the account that holds them.
BULK = {"bulk-16": (16 << 10, 16 << 20, f"bulk16@{DOMAIN}"), "bulk-1024": (1 << 20, 16 << 20, f"bulk1024@{DOMAIN}"),
        "bulk-large-16": (16 << 10, 64 << 20, f"large16@{DOMAIN}")}
ADDRESSES = [*(f"user{number}@{DOMAIN}" for number in range(1, WRITERS + 1)),
             *(f"reader{number}@{DOMAIN}" for number in range(1, READERS + 1)), *(address for _, _, address in BULK.values())]
# Of each session that waits an account of its own: nobody is to save what several sessions of one could share.
WAITING = "waiting"
# Nobody of them keeps more files open.
OPEN_FILES = 15_000


def addresses_that_wait(count):
    return [f"{WAITING}{number}@{DOMAIN}" for number in range(1, count + 1)]


def hashed():
    """The password, as all that can keep it so do."""
    salt = b"saltsalt"
    return "{SSHA512}" + base64.b64encode(hashlib.sha512(PASSWORD.encode() + salt).digest() + salt).decode()


class Server(Peer):
    """`speaks`: protocols, each at its own of `ports`. `rows`: what is measured of it, where that is not all that it can."""

    speaks, rows = frozenset(), None
    ports = {}
    is_peer, is_limit = True, False
    # As many 4-KiB messages as take it some seconds.
    messages = 2_500
    # What a positive answer to a message means.
    durability = ""
    # The sessions that wait when its memory is measured.
    idle_sessions = 300

    def arrived(self):
        """Whether all that was acknowledged is where its readers find it; raises when that will never be."""
        return True


class PigeonAir(Server):
    """One node, as quickstart makes it."""

    name, is_peer = "PigeonAir", False
    speaks = frozenset({"smtp", "lmtp", "imap", "imaps", "pop3"})
    durability = "written with RWF_DSYNC before the answer, with all that comes meanwhile"
    idle_sessions, messages = 10_000, 80_000

    def __init__(self, _certificate, addresses=ADDRESSES):
        super().__init__()
        self.addresses = addresses
        self.node = Node(directory=self.directory / "node", configure=self.configure)
        self.ports = {"smtp": self.node.port(SMTP), "lmtp": self.node.port(LMTP), "imap": self.node.port(IMAP),
                      "imaps": self.node.port(IMAPS), "pop3": self.node.port(POP3)}

    def configure(self, node):
        ldif = node.directory / "users.ldif"
        entries = [ldif.read_text().rstrip("\n")]
        for address in self.addresses:
            name = address.split("@")[0]
            entries.append(f"dn: uid={name},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\n"
                           f"sn: {name}\nmail: {address}\nuserPassword: {hashed()}")
        ldif.write_text("\n\n".join(entries) + "\n")

    def log(self):
        return self.node.log()

    def written(self):
        """Messages, and durable writes, as far as the cores have told: strace does not see what goes through a ring."""
        return [self.node.metric(f"pigeon_volume_{name}_total") for name in ["messages", "batches"]]

    def pids(self):
        return [self.node.process.pid]

    def remove(self):
        self.node.remove()
        super().remove()


class CachingPigeonAir(PigeonAir):
    """With a cache as others have the kernel's: the node reads past that."""

    name = "PigeonAir, body_cache_bytes = 256 MiB"
    rows, durability = frozenset({"bulk-large-16"}), ""

    def configure(self, node):
        super().configure(node)
        path = node.directory / "pigeon.toml"
        path.write_text(path.read_text() + '\n[limits]\nbody_cache_bytes = "256 MiB"\n')


DOVECOT = """
protocols = imap pop3 lmtp
listen = 127.0.0.1
base_dir = {directory}/run
log_path = {directory}/log
ssl = yes
ssl_cert = <{certificate.chain}
ssl_key = <{certificate.key}
disable_plaintext_auth = no
mail_location = {location}:{directory}/mail/%u
mail_max_userip_connections = 0
first_valid_uid = 1
auth_mechanisms = plain
passdb {{
  driver = passwd-file
  args = {directory}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={directory}/home/%u
}}
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
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
{more}
"""

# https://doc.dovecot.org/2.3/admin_manual/login_processes/ (high-performance mode), .../performance_tuning/, and the
# documentation of mdbox.
TUNED = """
auth_cache_size = 10M
service imap-login {
  service_count = 0
  process_min_avail = 2
  client_limit = 10000
  vsz_limit = 0
}
service pop3-login {
  service_count = 0
  process_min_avail = 2
  client_limit = 10000
  vsz_limit = 0
}
service imap {
  service_count = 1000
  process_min_avail = 2
}
service pop3 {
  service_count = 1000
  process_min_avail = 2
}
service lmtp {
  process_min_avail = 2
}
service anvil {
  client_limit = 25000
}
service auth {
  client_limit = 25000
}
"""

# https://doc.dovecot.org/2.3/configuration_manual/hibernation/
HIBERNATION = """
imap_hibernate_timeout = 1s
service imap {
  service_count = 1
  process_min_avail = 0
  extra_groups = $default_internal_group
  unix_listener imap-master {
    user = $default_internal_user
  }
}
service imap-hibernate {
  client_limit = 10000
  unix_listener imap-hibernate {
    mode = 0660
    group = $default_internal_group
  }
}
"""

SHARED_PROCESSES = """
service imap {
  client_limit = 100
  service_count = 0
}
"""


class Dovecot(Server):
    """As it comes: a process for each login and one for each session, mail in Maildirs."""

    name, more, location = "Dovecot", "", "maildir"
    speaks = frozenset({"lmtp", "imap", "imaps", "pop3"})
    durability = "each message synced before the answer (mail_fsync = optimized)"

    def __init__(self, certificate, addresses=ADDRESSES):
        super().__init__()
        for name in ["mail", "home"]:
            (self.directory / name).mkdir()
            shutil.chown(self.directory / name, "mail", "mail")
        self.write("users", "".join(f"{address}:{hashed()}\n" for address in addresses))
        self.ports = {name: free_port() for name in sorted(self.speaks)}
        configuration = self.write("dovecot.conf", DOVECOT.format(
            directory=self.directory, certificate=certificate, more=self.more, location=self.location, **self.ports))
        self.spawn(needs("dovecot"), "-F", "-c", configuration, port=self.ports["imap"])


class TunedDovecot(Dovecot):
    """As its documentation says for speed: login processes that serve many, session processes that are used again, a cache of
    logins, and its own format. No sync is left out."""

    name, more, location = "Dovecot, tuned", TUNED, "mdbox"


class HibernatingDovecot(Dovecot):
    """Tuned, and sessions in IDLE give up their process."""

    name, more, location = "Dovecot, hibernating", TUNED + HIBERNATION, "mdbox"
    idle_sessions = 1_000


class SharingDovecot(Dovecot):
    """Tuned, and a hundred sessions in a process, which its documentation advises against: one that waits for a disk or a lock
    makes all wait."""

    name, more, location = "Dovecot, 100 sessions a process", TUNED + SHARED_PROCESSES, "mdbox"
    idle_sessions = 1_000


class Cyrus(cyrus.Cyrus):
    """As the harness configures it, with users that have passwords; its processes serve one session after the other. It logs to
    syslog alone, which a machine of tests does not have: what it says is lost, and costs it nothing."""

    name, speaks, rows, is_peer, is_limit = "Cyrus", Dovecot.speaks, None, True, False
    idle_sessions, messages = Server.idle_sessions, 1_500
    durability = "its databases and index synced before the answer"
    arrived = Server.arrived
    # Nobody logs in for others.
    imapd = re.sub("proxyservers: .*\nallowplaintext: no\nsasl_mech_list: .*\n", "allowplaintext: yes\nsasl_mech_list: PLAIN\n",
                   cyrus.IMAPD) + """
tls_server_cert: {directory}/chain.pem
tls_server_key: {directory}/key.pem
"""
    services = cyrus.SERVICES.replace("maxchild=20", "maxchild=-1").replace("  pop3 cmd=", """\
  imaps cmd="{directory}/bin/imapd -s -C {directory}/imapd.conf" listen="127.0.0.1:{imaps}" proto="tcp4" prefork=0 maxchild=-1
  pop3 cmd=""")

    def __init__(self, certificate, addresses=ADDRESSES):
        self.certificate, self.imaps = certificate, free_port()
        super().__init__(dict.fromkeys(addresses, PASSWORD))
        self.ports = {"imap": self.imap, "imaps": self.imaps, "pop3": self.pop3, "lmtp": self.lmtp}

    def words(self):
        for name in ["chain", "key"]:
            shutil.copy(getattr(self.certificate, name), self.directory / f"{name}.pem")
        return {**super().words(), "imaps": self.imaps}

    def set_key(self, node, key):
        user, domain = node.split("@")
        subprocess.run([self.hasher, "-p", "-c", "-f", self.directory / "nodes", "-u", domain, user], input=key.encode(),
                       capture_output=True, check=True, timeout=60)

    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def pids(self):
        return [self.process.pid]


EPHEMERAL = """
proc_path: {ephemeral}/proc
mboxname_lockpath: {ephemeral}/lock
duplicate_db_path: {ephemeral}/deliver.db
"""


class TunedCyrus(Cyrus):
    """As its documentation says for speed: processes that are there before they are needed (prefork) and that serve ten thousand
    connections instead of 250 (-U), and what needs not outlive the machine (who is connected, locks, and which messages are
    duplicates) on a file system in memory. No sync of a message or of what is known of it is left out."""

    name = "Cyrus, tuned"
    durability = "its index and list of mailboxes synced before the answer"
    imapd = re.sub("(proc_path|mboxname_lockpath): .*\n", "", Cyrus.imapd) + EPHEMERAL
    services = re.sub(r'(imapd|pop3d|lmtpd)( [^"]*)?"', r'\1\2 -U 10000"', Cyrus.services).replace("prefork=0", "prefork=10")

    def __init__(self, certificate, addresses=ADDRESSES):
        self.ephemeral = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-cyrus-", dir="/dev/shm"))
        try:
            for path in [self.ephemeral, self.ephemeral / "proc", self.ephemeral / "lock"]:
                path.mkdir(exist_ok=True)
                shutil.chown(path, cyrus.USER, "mail")
            super().__init__(certificate, addresses)
        except BaseException:
            # Nobody else knows of it yet, where a program is missing.
            shutil.rmtree(self.ephemeral, ignore_errors=True)
            raise

    def words(self):
        return {**super().words(), "ephemeral": self.ephemeral}

    def remove(self):
        super().remove()
        shutil.rmtree(self.ephemeral, ignore_errors=True)


class NullServer(Server):
    """What only answers, of the generator's own program: no store, no accounts. What this costs, the kernel's TCP and the
    engine's ring cost."""

    name = "limit: a server that only answers"
    # Not of bulk: it has one message, and what counts there is what sending costs.
    speaks, rows = frozenset({"smtp", "lmtp", "imap", "pop3"}), frozenset({"smtp", "lmtp", "imap", "pop3", "idle"})
    is_peer, is_limit = False, True
    messages, idle_sessions = 160_000, 10_000

    def __init__(self, program, _addresses=None):
        super().__init__()
        self.ports = {name: free_port() for name in sorted(self.speaks)}
        for protocol, port in self.ports.items():
            self.spawn(program, "null-server", "--protocol", protocol, "--listen", f"127.0.0.1:{port}", port=port)


# What a table names beside these servers.
PACKAGES = ["dovecot-core", "dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd", "postfix", "cyrus-common", "sasl2-bin",
            "libsasl2-modules", "openssl"]
