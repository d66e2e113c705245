"""How much of the CPUs a process may use: a control group of its own. As root, with the old hierarchy of groups or the new one."""

import os
import pathlib

from harness import leftovers

GROUPS = pathlib.Path("/sys/fs/cgroup")
# Short, so that whoever has used its part does not wait long for the next. Microseconds.
PERIOD = 10_000


class Quota:
    """`cpus`: of one CPU, together with all threads and children."""

    def __init__(self, pid, cpus):
        self.pid, name, part = pid, f"pigeonair-bench-{os.getpid()}", int(cpus * PERIOD)
        if (GROUPS / "cgroup.controllers").exists():
            self.home = GROUPS
            control = GROUPS / "cgroup.subtree_control"
            if "cpu" not in control.read_text().split():
                control.write_text("+cpu")
            settings = {"cpu.max": f"{part} {PERIOD}"}
        else:
            self.home = GROUPS / "cpu"
            settings = {"cpu.cfs_period_us": PERIOD, "cpu.cfs_quota_us": part}
        self.group = self.home / name
        self.group.mkdir()
        leftovers.remember(self)
        for setting, value in settings.items():
            (self.group / setting).write_text(str(value))
        (self.group / "cgroup.procs").write_text(str(pid))

    def remove(self):
        """Once nothing is in it any more, or what is goes back."""
        leftovers.forget(self)
        try:
            (self.home / "cgroup.procs").write_text(str(self.pid))
        except ProcessLookupError:
            pass
        self.group.rmdir()
