"""The proxies that are compared, each started in a temporary directory on loopback in front of one backend, with and without
TLS towards the client; and a real Dovecot as backend."""

import pathlib
import shutil
import subprocess
import tempfile

from beside import Peer
from harness import leftovers, scram
from harness.needs import needs
from harness.node import IMAP, IMAPS, Node, free_port

NODE, KEY = "n1", "the-key-of-the-node-that-redirects"
DOMAIN, PASSWORD, USERS = "example.org", "pigeon", 100
# More than any of the measurements opens.
CONNECTIONS_MAX = 8_500


class HAProxy(Peer):
    """Passes connections on and knows no login: the client logs in at the backend. Splicing is on where messages are fetched
    in the clear, and nowhere else: it makes a login dearer."""

    name = "HAProxy"

    def __init__(self, backend, certificate, _program):
        super().__init__()
        self.plain, self.tls, self.bulk = free_port(), free_port(), free_port()
        both = self.write("both.pem", certificate.chain.read_text() + certificate.key.read_text())
        configuration = self.write("haproxy.cfg", f"""
global
  maxconn {CONNECTIONS_MAX}
  maxpipes 200
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
frontend plain
  bind 127.0.0.1:{self.plain}
  default_backend mail
frontend bulk
  bind 127.0.0.1:{self.bulk}
  option splice-request
  option splice-response
  default_backend spliced
backend spliced
  option splice-request
  option splice-response
  server one 127.0.0.1:{backend.port}
frontend tls
  bind 127.0.0.1:{self.tls} ssl crt {both}
  default_backend mail
backend mail
  server one 127.0.0.1:{backend.port}
""")
        self.spawn(needs("haproxy"), "-db", "-f", configuration, port=self.tls)


class Nginx(Peer):
    """Asks over HTTP where the user's mail is, and logs in there with the user's password. Who answers belongs to it: others know
    that by themselves."""

    name = "nginx"

    def __init__(self, backend, certificate, program):
        super().__init__()
        self.plain, self.tls, auth = free_port(), free_port(), free_port()
        self.spawn(program, "auth", auth, backend.port, port=auth)
        configuration = self.write("nginx.conf", f"""
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
user root;
worker_processes auto;
daemon off;
pid {self.directory}/pid;
error_log {self.directory}/error.log;
events {{ worker_connections {CONNECTIONS_MAX * 2}; }}
mail {{
  auth_http 127.0.0.1:{auth}/;
  timeout 1h;
  proxy_timeout 1h;
  imap_capabilities IMAP4rev1;
  server {{ listen 127.0.0.1:{self.plain}; protocol imap; server_name localhost; }}
  server {{
    listen 127.0.0.1:{self.tls} ssl; protocol imap; server_name localhost;
    ssl_certificate {certificate.chain};
    ssl_certificate_key {certificate.key};
  }}
}}
""")
        self.spawn(needs("nginx"), "-p", self.directory, "-c", configuration, port=self.tls)


class DovecotProxy(Peer):
    """Lets everybody in and logs in at the backend with the user's password."""

    name = "Dovecot"

    def __init__(self, backend, certificate, _program):
        super().__init__()
        self.plain, self.tls = free_port(), free_port()
        configuration = self.write("dovecot.conf", f"""
protocols = imap
listen = 127.0.0.1
base_dir = {self.directory}/run
log_path = {self.directory}/dovecot.log
disable_plaintext_auth = no
ssl = yes
ssl_cert = <{certificate.chain}
ssl_key = <{certificate.key}
passdb {{
  driver = static
  args = nopassword=y proxy=y host=127.0.0.1 port={backend.port}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home=/nonexistent
}}
service imap-login {{
  service_count = 0
  process_min_avail = 2
  process_limit = 2
  client_limit = {CONNECTIONS_MAX}
  vsz_limit = 0
  inet_listener imap {{
    port = {self.plain}
  }}
  inet_listener imaps {{
    port = {self.tls}
    ssl = yes
  }}
}}
service anvil {{
  client_limit = {CONNECTIONS_MAX}
}}
service auth {{
  client_limit = {CONNECTIONS_MAX}
}}
""")
        self.spawn(needs("dovecot"), "-F", "-c", configuration, port=self.tls)


class Perdition(Peer):
    """A process a connection. Without TLS: it is too dear in the clear already."""

    name = "perdition"
    tls = None

    def __init__(self, backend, _certificate, _program):
        super().__init__()
        self.plain = free_port()
        self.spawn(needs("perdition.imap4"), "--no_daemon", "-f", "/dev/null", "-F", self.directory / "perdition.log",
                   "-b", "127.0.0.1", "-l", self.plain, "-s", "127.0.0.1", "-p", backend.port, "-n", "--ssl_mode", "none",
                   "--pid_file", self.directory / "pid", port=self.plain)


class PigeonAir:
    """A node that redirects: it checks the user's password, and proves to the backend that it is a node."""

    bulk = None

    name = "PigeonAir"

    def __init__(self, backend, certificate, _program, node=None):
        self.backend, self.certificate = backend, certificate
        self.node = Node(configure=self.configure)
        self.plain, self.tls = self.node.port(IMAP), self.node.port(IMAPS)

    def configure(self, node):
        key = node.directory / "cluster-key"
        key.write_text(KEY)
        key.chmod(0o600)
        shutil.copy(self.certificate.chain, node.directory / "certificate.pem")
        shutil.copy(self.certificate.key, node.directory / "private-key.pem")
        path = node.directory / "pigeon.toml"
        # The log of a node that is one of many goes to a journal; here it goes to a file as the others' do.
        path.write_text(path.read_text() + f'\n[cluster]\nnode = "{NODE}"\nkey_file = "cluster-key"\n')
        entries = [f"dn: cn={NODE},dc=example,dc=org\nobjectClass: pigeonServer\ncn: {NODE}\n"
                   f"pigeonKey: {scram.verifier(KEY)}\n",
                   f"dn: cn=backend,dc=example,dc=org\nobjectClass: pigeonServer\ncn: backend\n"
                   f"pigeonPrivateAddress: imap://127.0.0.1:{self.backend.port}\n"
                   # Of our own kind.
                   + (f"pigeonKey: {scram.verifier(KEY)}\n" if self.backend.is_own else "")]
        ldif = node.directory / "users.ldif"
        tree = ldif.read_text().rstrip("\n")
        secret = next(line for line in tree.splitlines() if line.startswith("userPassword:"))
        tree = tree.replace(secret, secret + f"\nmailHost: {NODE}")
        for number in range(USERS):
            entries.append(f"dn: uid=user{number},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\n"
                           f"entryUUID: 00000000-0000-4000-8000-{number:012}\nuid: user{number}\ncn: User\nsn: User\n"
                           f"mail: user{number}@{DOMAIN}\nmailHost: backend\n{secret}\n")
        ldif.write_text(tree + "\n\n" + "\n".join(entries))

    def log(self):
        return self.node.log()

    def pids(self):
        return [self.node.process.pid]

    def remove(self):
        self.node.remove()


class Certificate:
    """Signs itself, for localhost."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-bench-"))
        leftovers.remember(self)
        self.chain, self.key = self.directory / "chain.pem", self.directory / "key.pem"
        subprocess.run([needs("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                        "-addext", "basicConstraints=critical,CA:FALSE",
                        "-keyout", self.key, "-out", self.chain], check=True, capture_output=True)

    def remove(self):
        leftovers.forget(self)
        shutil.rmtree(self.directory, ignore_errors=True)


class CheapBackend(Peer):
    """The bench's own: it only answers."""

    name = "one that only answers"
    # To a node, one of its own kind.
    is_own = True

    def __init__(self, program, mib):
        super().__init__()
        self.port = free_port()
        self.spawn(program, "backend", self.port, scram.verifier(KEY), mib, port=self.port)


class DovecotBackend(Peer):
    """Lets in everybody with any password, and a node for everybody. Each user has one message."""

    name = "Dovecot"
    is_own = False

    def __init__(self, _program, mib):
        super().__init__()
        self.port = free_port()
        hashed = subprocess.run([needs("doveadm"), "-O", "pw", "-s", "SCRAM-SHA-256", "-p", KEY], capture_output=True,
                                check=True, text=True).stdout.strip()
        self.write("nodes", f"{NODE}:{hashed}\n")
        line = "A line of a message that is fetched, of sixty-four bytes in all.\n"
        message = self.write("message", "Subject: bench\n\n" + line * (mib * 1024 * 1024 // len(line)))
        for number in range(USERS):
            maildir = self.directory / "mail" / f"user{number}@{DOMAIN}"
            for part in ("cur", "new", "tmp"):
                (maildir / part).mkdir(parents=True)
            # The same bytes for all.
            (maildir / "new" / "1.bench").hardlink_to(message)
        subprocess.run(["chown", "-R", "mail:mail", self.directory / "mail", message], check=True)
        configuration = self.write("dovecot.conf", f"""
protocols = imap
listen = 127.0.0.1
base_dir = {self.directory}/run
log_path = {self.directory}/dovecot.log
ssl = no
disable_plaintext_auth = no
login_trusted_networks = 127.0.0.0/8
auth_mechanisms = plain scram-sha-256
mail_location = maildir:{self.directory}/mail/%u
mail_max_userip_connections = 0
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = {self.directory}/nodes
  master = yes
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={self.directory}
}}
service imap-login {{
  service_count = 0
  process_min_avail = 2
  inet_listener imap {{
    port = {self.port}
  }}
}}
service imap {{
  service_count = 100
  process_min_avail = 2
}}
namespace inbox {{
  inbox = yes
}}
""")
        self.spawn(needs("dovecot"), "-F", "-c", configuration, port=self.port)
