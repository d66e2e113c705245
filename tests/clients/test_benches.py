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

import beside  # noqa: E402
import report  # noqa: E402
import tables  # noqa: E402

SECONDS = 500


def ended(words, environment):
    """It, run to its end. One that takes too long, or whose test is stopped, is asked to end, and takes its servers with it."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        output, errors = process.communicate(timeout=SECONDS)
    except BaseException as error:
        process.terminate()
        _, errors = process.communicate(timeout=100)
        raise AssertionError(f"stopped ({type(error).__name__}):\n{errors[-3000:]}") from error
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


class Benches(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        needs("openssl", "cargo")
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-benches-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.figures = cls.directory / "peers.json"
        # Before the clock runs; what ./test has built is not built again.
        beside.build("limits")
        cls.done = ended([sys.executable, RUN, "--quick", "--only", "pigeon", "--json", cls.figures, "smtp", "imap", "bulk-16", "idle"],
                         {**os.environ, "PIGEON_BENCH_DIRECTORY": str(cls.directory)})

    def test_all_rows_of_the_node_alone_are_measured(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr[-3000:] + self.done.stdout[-3000:])
        found = json.loads(self.figures.read_text())
        self.assertEqual(found["failures"], [])
        for row in ["smtp", "imap", "bulk-16", "bulk-16-tls", "idle"]:
            self.assertGreater(found["rows"][row]["PigeonAir"][0]["server_cpu_s"], 0, row)
            self.assertIn("Our share of ", self.done.stdout)
        self.assertIn("CPU s to seal it", self.done.stdout)

    def test_a_whole_run_has_its_place_in_the_documentation_and_a_part_of_one_has_not(self):
        found = json.loads(self.figures.read_text())
        page = self.directory / "benchmarks.md"
        shutil.copy(ROOT / "docs/benchmarks.md", page)
        self.assertEqual(report.write(found, page), [])
        self.assertEqual(page.read_text(), (ROOT / "docs/benchmarks.md").read_text())
        proxies = {"a backend": {"PigeonAir": {"login and logout, ms": [0.2, 0.3], "idle, 2000, KiB": [1.0]},
                                 "HAProxy": {"login and logout, ms": [0.1]}}}
        some = {**found, "part": False}
        self.assertEqual(report.write(some, page), [])
        failed = [{"what": "start", "server": "Nobody", "reason": "", "log": ""}]
        whole = {**some, "proxies": proxies, "wanted": list(report.ROWS),
                 # One that failed has its line, too.
                 "servers": [*found["servers"], {"name": "Nobody", "is_peer": True, "is_limit": False, "durability": "",
                                                 "rows": ["smtp"]}]}
        self.assertEqual(report.write(whole, page), ["targets", "rows", "proxies"])
        text = page.read_text()
        # Nothing of a run in which something failed: who is missing might have been the best.
        self.assertEqual(report.write({**whole, "failures": failed}, page), [])
        self.assertEqual(page.read_text(), text)
        self.assertIn("\n| Nobody | failed |", text)
        self.assertIn("HAProxy's: **missed** (2.5x)", text)
        # What is written by hand is still there.
        self.assertIn("What is missed, why, and what would close it:", text)

    def test_who_fails_in_some_round_is_named_and_what_has_no_ratio_is_not_measured(self):
        found = json.loads(self.figures.read_text())
        what = report.attempted("a backend", "login and logout, ms")
        shown = report.sections({
            **found, "rounds": 3,
            "proxies": {"a backend": {"PigeonAir": {"login and logout, ms": [0.2, 0.3, 0.2]}, "HAProxy": {"login and logout, ms": [0.1]},
                                      "nginx": {}, "perdition": {}}},
            "failures": [{"what": what, "server": name, "reason": "", "log": ""} for name in ["HAProxy", "nginx"]]})
        self.assertIn("\n| PigeonAir (1 of 3 rounds) |", shown["rows"])
        self.assertIn("\n| login and logout, ms | 0.2-0.3 | 0.1 (1 of 3 rounds) | failed |  |", shown["proxies"])
        lines = [line for line in shown["targets"].splitlines() if line.startswith("| durable deliveries a second by SMTP |")]
        self.assertEqual([line.endswith("| at least 20x | **not measured** |") for line in lines], [True])

    def test_how_a_table_was_measured_has_its_place_beside_it(self):
        text = tables.DOCS.read_text()
        for name in ["generator", "scaling"]:
            self.assertEqual(len(tables.said(name).findall(text)), 1, name)

    def test_words_that_do_not_go_together_are_refused(self):
        for words in (["peers/run", "--quick", "--rounds", "2"], ["peers/run", "--only", "pigeon", "--write"],
                      ["peers/run", "--quick", "--write"], ["peers/run", "--from", "peers.json", "smtp"],
                      ["proxy/run", "--quick", "--rounds", "2"], ["generator/run", "--quick", "--rounds", "2"],
                      ["scaling/run", "--quick", "--docs"], ["scaling/run", "--only", "nodes 1", "--docs"],
                      ["scaling/run", "--quick", "--rounds", "2"], ["profile/run", "--quick", "--docs"]):
            with self.subTest(words=words):
                done = subprocess.run([sys.executable, ROOT / "benches" / words[0], *words[1:]], capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 2, done.stderr)
