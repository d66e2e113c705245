"""What the machine does without a mail server (benches/benches/limits.rs), in the same run as what is compared with it, and which of it
is the limit of what."""

import json
import subprocess

import beside


class Limits:
    """`found`: of each turn, the figures of the program."""

    def __init__(self, program, failures):
        self.program, self.failures, self.found = program, failures, []

    # For a failure, as servers have them.
    name = "limits of the machine"

    def log(self):
        return ""

    def measure(self):
        self.failures.attempt("limits", self, self.turn)

    def turn(self):
        done = subprocess.run([self.program, beside.machine()["directory"]], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        self.found.append(json.loads(done.stdout))
        beside.say(f"  limits: {done.stderr}{done.stdout.strip()}")


def least(found, key):
    """Whatever else goes on makes it dearer."""
    return min(turn[key] for turn in found)


def most(found, key):
    return max(turn[key] for turn in found)


def limits_of(row, found):
    """By their names, what of the row's columns the machine limits."""
    if not found:
        return {}
    copied = {"cpu_s_per_gib": least(found, "copy_cpu_s_per_gib"), "mib_per_second": most(found, "copy_mib_per_second")}
    if row in ("smtp", "lmtp"):
        return {"limit: durable writes of 50 messages at once, up to 4 under way": {"per_second": most(found, "writes_50") * 50}}
    if row.startswith("bulk") and row.endswith("-tls"):
        return {"limit: sealed and sent from memory":
                {"cpu_s_per_gib": copied["cpu_s_per_gib"] + least(found, "seal_cpu_s_per_gib")}}
    if row.startswith("bulk"):
        return {"limit: sent from memory": copied}
    return {}


def proxy_limit(name, found):
    """Of a proxies' measure; memory has none: a connection is the kernel's, and a proxy could keep a few bytes of it."""
    if not found or name.startswith("idle"):
        return None
    if name.startswith("login"):
        return least(found, "relay_cpu_ms")
    copied = least(found, "receive_cpu_s_per_gib") + least(found, "copy_cpu_s_per_gib")
    if "TLS" in name:
        return copied + least(found, "seal_cpu_s_per_gib")
    # Splicing saves the copies and costs calls: over loopback it is not always the cheaper one.
    return min(copied, least(found, "splice_cpu_s_per_gib"))
