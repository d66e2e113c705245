"""What the benches beside other programs share: installing them, starting them on loopback in directories of their own, what
their processes have used, from outside, and what is done with one that fails. Temporary directories are made below
$PIGEON_BENCH_DIRECTORY, if that is set."""

import contextlib
import json
import os
import pathlib
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

from harness import leftovers
from harness.node import ROOT, wait_until

# tempfile's own default; the harness makes its directories by it, too.
tempfile.tempdir = os.environ.get("PIGEON_BENCH_DIRECTORY")
LOG_TAIL = 3_000
# Whose children the kernel's own threads are.
KTHREADD = "2"


def say(*words):
    """What is going on; the tables alone go to standard output."""
    print(*words, file=sys.stderr, flush=True)


def install(packages, unpacked=False):
    """Those of the Debian packages that are missing, as root; nothing of them is started. `unpacked`: also what of Cyrus may not
    be installed beside Dovecot."""
    listed = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
                            capture_output=True, text=True).stdout.splitlines()
    missing = [name for name in packages if f"{name} installed" not in listed]
    if missing and os.geteuid() != 0:
        sys.exit(f"missing packages: apt-get install {' '.join(missing)}")
    if missing:
        say(f"installing {' '.join(missing)}")
        policy = pathlib.Path("/usr/sbin/policy-rc.d")
        made = not policy.exists()
        if made:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        try:
            subprocess.run(["debconf-set-selections"], check=True, text=True,
                           input="postfix postfix/main_mailer_type select No configuration\n")
            subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL, env=environment)
            subprocess.run(["apt-get", "install", "-qy", "--no-install-recommends", *missing], check=True,
                           stdout=subprocess.DEVNULL, env=environment)
        finally:
            if made:
                policy.unlink()
    if unpacked:
        subprocess.run([ROOT / "tests/unpack-cyrus"], stdout=sys.stderr)


def versions(packages):
    """Of each package, as Debian names it."""
    listed = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages], capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in listed.splitlines() if len(line.split()) == 2)


def machine():
    """What a table has to say of it."""
    models = [line.partition(":")[2].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]
    memory_kib = int(pathlib.Path("/proc/meminfo").read_text().split()[1])
    directory = tempfile.gettempdir()
    file_system = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", directory], capture_output=True, text=True).stdout.strip()
    return {"cpus": len(os.sched_getaffinity(0)), "model": models[0] if models else platform.machine(),
            "congestion_control": pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
            "memory_gib": round(memory_kib / (1 << 20)), # What comes behind is its builder's.
            "kernel": platform.release().partition("-")[0], "file_system": file_system,
            "directory": directory, "load_average": os.getloadavg()[0]}


def raise_file_limit(wanted):
    """Both sides of each connection, and what servers set aside. As far as this may be raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"only {hard} open files are allowed, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class KernelLimit:
    """A number below /proc/sys that is raised for the time of a run, where this may be done."""

    def __init__(self, name, wanted):
        self.path = pathlib.Path("/proc/sys", name)
        self.before = int(self.path.read_text())
        self.is_raised = self.before < wanted and os.geteuid() == 0
        if self.is_raised:
            leftovers.remember(self)
            self.path.write_text(str(wanted))

    def remove(self):
        leftovers.forget(self)
        if self.is_raised:
            self.path.write_text(str(self.before))


def cargo(*words):
    """Builds by `words`; the paths of the programs by their names."""
    done = subprocess.run(["cargo", *words, "--locked", "--message-format", "json"], cwd=ROOT, check=True, stdout=subprocess.PIPE,
                          text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["target"]["name"]: line["executable"] for line in lines
            if line.get("executable") and line["reason"] == "compiler-artifact"}


def build(*names):
    """The node and the generator, where the harness looks for them, and some of the benches: the paths of the generator and of
    each of these."""
    programs = cargo("build", "--release", "--bin", "pigeond", "--bin", "pigeon-load")
    # With the features of the tests, so that what they have built is built once.
    benches = cargo("build", "--release", "--workspace", *(word for name in names for word in ("--bench", name)))
    return programs["pigeon-load"], *(benches[name] for name in names)


def tree(pids):
    """These processes and all that come from them."""
    children = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, left = [], list(pids)
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def cpu_seconds(pids):
    """User and system time of these processes and all that come from them."""
    ticks = 0
    for pid in tree(pids):
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            # It has ended since; its parent has its time.
            continue
        # utime, stime, and those of children that have ended.
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def kernel_seconds():
    """What the kernel's own threads have used of the CPUs: in these it does work that a process began, such as the end of a
    write, and nobody's processes have it. Threads that the kernel makes for a ring are the process's own, and are in its time."""
    nanoseconds = 0
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            if path.read_text().rpartition(")")[2].split()[1] == KTHREADD:
                nanoseconds += int((path.parent / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return nanoseconds / 1e9


def memory(pids):
    """Bytes, what is shared by several counted once."""
    total = 0
    for pid in tree(pids):
        try:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def listens(port):
    """Whether somebody listens on a port of loopback, without a connection that a proxy would have to serve."""
    wanted = f":{port:04X}"
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(wanted) and fields[3] == "0A":
            return True
    return False


class Failures:
    """What could not be measured, and why. One server that fails keeps no other from its turn."""

    def __init__(self):
        self.found = []

    def attempt(self, what, server, measure):
        """What `measure()` gives, or nothing: then it is told with the server's log, and counted."""
        try:
            return measure()
        except Exception as error:
            # Of many kinds: what a server does wrong shows as a refused connection, a missing file, an answer of no form.
            reason = f"{type(error).__name__}: {error}"
            log = "" if isinstance(server, type) else server.log()[-LOG_TAIL:]
            say(f"FAILED: {what}: {server.name}: {reason}\n" + "".join(f"    {line}\n" for line in log.splitlines()))
            self.found.append({"what": what, "server": server.name, "reason": reason, "log": log})
            return None


class Peer:
    """A process in a directory of its own."""

    # The port for messages in the clear, where it is not the one for everything.
    bulk = None

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-bench-"))
        self.directory.chmod(0o755)
        self.processes = []
        leftovers.remember(self)

    def spawn(self, *command, port):
        log = open(self.directory / "log", "ab")
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   process_group=0)
        log.close()
        self.processes.append(process)

        def is_there():
            if process.poll() is not None:
                raise AssertionError(f"{command[0]} ended:\n{self.log()[-LOG_TAIL:]}")
            return listens(port)

        wait_until(is_there, 60, f"{command[0]} listens on port {port}")
        return process

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return path

    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def pids(self):
        return [process.pid for process in self.processes]

    def remove(self):
        leftovers.forget(self)
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(20)
            # Those of its children that outlive it are of its group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)
