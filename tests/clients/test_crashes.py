"""Short forms of `tests/durability`: kill -9 and power cuts under load."""

import os
import unittest

from harness import needs, needs_root
from harness.crashes import kill_rounds, power_cut_rounds


def quiet(_):
    pass


class Crashes(unittest.TestCase):
    def test_kill_9_under_load(self):
        self.assertEqual(kill_rounds(10, sessions=50, seconds=0.3, report=quiet), [])

    def test_power_cuts_on_ext4(self):
        needs_root("power cuts on a loop device")
        needs("mkfs.ext4", "losetup")
        self.assertEqual(power_cut_rounds(3, "ext4", seconds=0.3, report=quiet), [])

    def test_power_cuts_on_xfs(self):
        needs_root("power cuts on a loop device")
        needs("mkfs.xfs", "losetup")
        with open("/proc/filesystems") as kinds:
            if os.system("modprobe -q xfs 2>/dev/null") != 0 and "xfs" not in kinds.read():
                self.skipTest("this kernel has no xfs")
        self.assertEqual(power_cut_rounds(2, "xfs", seconds=0.3, report=quiet), [])
