"""The benches beside other servers work: in short, with the node alone, and what they write into the documentation has its place
there."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from harness.needs import needs
from harness.node import ROOT

RUN = ROOT / "benches/peers/run"
sys.path[:0] = [str(ROOT / "benches"), str(ROOT / "benches/peers")]


class Benches(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        needs("openssl", "cargo")
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-benches-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.figures = cls.directory / "peers.json"
        cls.done = subprocess.run([sys.executable, RUN, "--quick", "--only", "pigeon", "--json", cls.figures, "smtp", "imap",
                                   "bulk-16", "idle"], capture_output=True, text=True, timeout=500,
                                  env={**os.environ, "PIGEON_BENCH_DIRECTORY": str(cls.directory)})

    def test_all_rows_of_the_node_alone_are_measured(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr[-3000:] + self.done.stdout[-3000:])
        found = json.loads(self.figures.read_text())
        self.assertEqual(found["failures"], [])
        for row in ["smtp", "imap", "bulk-16", "bulk-16-tls", "idle"]:
            self.assertGreater(found["rows"][row]["PigeonAir"][0]["server_cpu_s"], 0, row)
            self.assertIn("Our share of ", self.done.stdout)
        self.assertIn("CPU s to seal it", self.done.stdout)

    def test_a_whole_run_has_its_place_in_the_documentation_and_a_part_of_one_has_not(self):
        import report

        found = json.loads(self.figures.read_text())
        page = self.directory / "benchmarks.md"
        shutil.copy(ROOT / "docs/benchmarks.md", page)
        self.assertEqual(report.write(found, page), [])
        self.assertEqual(page.read_text(), (ROOT / "docs/benchmarks.md").read_text())
        proxies = {"a backend": {"PigeonAir": {"login and logout, ms": [0.2, 0.3], "idle, 2000, KiB": [1.0]},
                                 "HAProxy": {"login and logout, ms": [0.1]}}}
        some = {**found, "part": False}
        self.assertEqual(report.write(some, page), [])
        whole = {**some, "proxies": proxies, "wanted": list(report.ROWS),
                 # One that failed has its line, too.
                 "servers": [*found["servers"], {"name": "Nobody", "is_peer": True, "is_limit": False, "durability": "",
                                                 "rows": ["smtp"]}]}
        self.assertEqual(report.write(whole, page), ["targets", "rows", "proxies"])
        text = page.read_text()
        self.assertIn("\n| Nobody | failed |", text)
        self.assertIn("HAProxy's: **missed** (2.5x)", text)
        # What is written by hand is still there.
        self.assertIn("What is missed, why, and what would close it:", text)
