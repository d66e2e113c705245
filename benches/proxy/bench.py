"""The measurements of proxies: the same connections through each of them in turn, and what its processes used meanwhile."""

import subprocess
import threading

from beside import cpu_seconds, memory, say
from proxy.peers import (DOMAIN, PASSWORD, Certificate, CheapBackend, DovecotBackend, DovecotProxy, HAProxy, Nginx, Perdition,
                         PigeonAir)

PACKAGES = ["haproxy", "nginx-light", "libnginx-mod-mail", "dovecot-imapd", "perdition", "openssl"]
PROXIES = [PigeonAir, HAProxy, Nginx, DovecotProxy, Perdition]
MESSAGE_MIB = 32
IDLE = (2_000, 8_000)
OPEN_FILES = 20_000
# The longest of the measurements takes some tens of seconds.
CLIENT_SECONDS = 300


def attempted(backend, what):
    """How a failure names what was measured: a mail server may have the name of a proxy."""
    return f"proxies, {backend}: {what}"


class Bench:
    def __init__(self, program, quick, rounds, failures):
        self.program, self.failures, self.rounds = program, failures, rounds
        # Some seconds of each, also of who is fastest.
        self.login_count = 2_000 if quick else 8_000
        self.fetch_mib = 512 if quick else 2_048

    def target(self, proxy, tls, bulk=False):
        port = proxy.tls if tls else bulk and proxy.bulk or proxy.plain
        target = f"127.0.0.1:{port},user%@{DOMAIN},{PASSWORD}"
        return target + (f",{self.certificate.chain},localhost" if tls else "")

    def client(self, *words):
        done = subprocess.run([self.program, *map(str, words)], capture_output=True, text=True, timeout=CLIENT_SECONDS)
        if done.returncode:
            raise AssertionError(f"{words}: {done.stderr}")
        return done.stdout

    def logins(self, proxy, count=None):
        """CPU milliseconds a login and logout."""
        count = count or self.login_count
        # A process a connection takes its time, and shows the same with fewer.
        count = count // 10 if isinstance(proxy, Perdition) else count
        before = cpu_seconds(proxy.pids())
        self.client("logins", self.target(proxy, False), count, 16)
        return (cpu_seconds(proxy.pids()) - before) * 1000 / count

    def fetch(self, proxy, tls):
        """CPU seconds a GiB."""
        # What takes ten times as long shows the same with less.
        mib = self.fetch_mib // 4 if tls and isinstance(proxy, DovecotProxy) else self.fetch_mib
        before = cpu_seconds(proxy.pids())
        fetched = int(self.client("fetch", self.target(proxy, tls, bulk=True), mib // MESSAGE_MIB, 4))
        return (cpu_seconds(proxy.pids()) - before) * (1 << 30) / fetched

    def idle(self, kind, backend, tls):
        """Bytes a connection, of a proxy that has just been started: for each step."""
        proxy = kind(backend, self.certificate, self.program)
        try:
            # What is made once, and memory that is used again, is no connection's.
            self.client("idle", self.target(proxy, tls), 64)
            self.client("logins", self.target(proxy, tls), 500, 16)
            before = memory(proxy.pids())
            client = subprocess.Popen([self.program, "idle", self.target(proxy, tls), *map(str, IDLE)],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            # One that hears nothing for so long is ended, and its line with it.
            watch = threading.Timer(CLIENT_SECONDS, client.kill)
            watch.start()
            found = {}
            try:
                for count in IDLE:
                    line = client.stdout.readline().strip()
                    assert line == str(count), f"opened {line or 'less'} of {count} connections"
                    found[count] = (memory(proxy.pids()) - before) / count
                    client.stdin.write("\n")
                    client.stdin.flush()
                client.stdin.close()
                client.wait()
            finally:
                watch.cancel()
                if client.poll() is None:
                    client.kill()
                    client.wait()
            return found
        finally:
            proxy.remove()

    def turns(self, backend, kinds, measures):
        """Each measure of each proxy, in every round."""
        found = {kind.name: {} for kind in kinds}
        proxies = []

        def attempt(what, proxy, measure):
            return self.failures.attempt(attempted(backend.name, what), proxy, measure)

        try:
            for kind in kinds:
                proxy = attempt("start", kind, lambda kind=kind: kind(backend, self.certificate, self.program))
                if proxy:
                    proxies.append(proxy)
                    attempt("first logins", proxy, lambda proxy=proxy: self.logins(proxy, 500))
            for number in range(self.rounds):
                for name, measure in measures.items():
                    for proxy in proxies if number % 2 == 0 else reversed(proxies):
                        value = attempt(name, proxy, lambda measure=measure, proxy=proxy: measure(proxy))
                        if value is not None:
                            found[proxy.name].setdefault(name, []).append(value)
                            say(f"  {proxy.name}, {name}: {value:.3f}")
        finally:
            for proxy in proxies:
                proxy.remove()
        return found

    def run(self, kinds, skip):
        self.certificate = Certificate()
        try:
            return self.backends(kinds, skip)
        finally:
            self.certificate.remove()

    def backends(self, kinds, skip):
        results = {}
        measures = {
            "login and logout, ms": self.logins,
            "FETCH, s/GiB": lambda proxy: None if isinstance(proxy, Perdition) else self.fetch(proxy, False),
            "FETCH by TLS, s/GiB": lambda proxy: self.fetch(proxy, True) if proxy.tls else None,
        }
        measures = {name: measure for name, measure in measures.items() if not any(word in name for word in skip)}
        for make in (CheapBackend, DovecotBackend):
            if make.name in skip:
                continue
            say(f"backend: {make.name}")
            backend = make(self.program, MESSAGE_MIB)
            try:
                results[make.name] = self.turns(backend, kinds, measures)
                if make is CheapBackend and "idle" not in skip:
                    for kind in kinds:
                        for tls in (False, True):
                            if kind is Perdition:
                                continue
                            what = attempted(make.name, f"idle{' by TLS' if tls else ''}")
                            held = self.failures.attempt(what, kind, lambda kind=kind, tls=tls: self.idle(kind, backend, tls))
                            for count, each in (held or {}).items():
                                name = f"idle{' by TLS' if tls else ''}, {count}, KiB"
                                results[make.name][kind.name][name] = [each / 1024]
                                say(f"  {kind.name}, {name}: {each / 1024:.2f}")
            finally:
                backend.remove()
        return results


def measure_all(program, failures, quick=False, rounds=3, only=(), skip=()):
    """By backend and proxy, the figures of all rounds. `only`: beside the node, proxies whose names contain one of these.
    `program`: the bench's own."""
    kinds = [kind for kind in PROXIES
             if not only or kind is PigeonAir or any(word.lower() in kind.name.lower() for word in only)]
    return Bench(program, quick, 1 if quick else rounds, failures).run(kinds, skip)
