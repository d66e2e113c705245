"""pigeon-load, run by a test, and servers for it that a test makes itself."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading

from .node import pigeond


def pigeon_load():
    """The load generator: $PIGEON_LOAD, or what stands beside the node's program."""
    path = os.environ.get("PIGEON_LOAD") or pathlib.Path(pigeond()).with_name("pigeon-load")
    if not pathlib.Path(path).exists():
        raise AssertionError(f"{path} is not there: cargo build --release --bin pigeon-load")
    return str(path)


def load(*words, code=0):
    """Its summary. It must end by itself, with this code."""
    with tempfile.NamedTemporaryFile(suffix=".json") as summary:
        done = subprocess.run([pigeon_load(), "--quiet", "--json", summary.name, *map(str, words)], capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == code, f"ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return json.loads(summary.read() or "null")


class Server:
    """Listens at once, with a thread for each connection: `serve(connection)`, whose end ends the connection. Who leaves in the
    middle is no error."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.take, args=(connection,), daemon=True).start()

    def take(self, connection):
        # Answers are small and one after the other: each would wait for the last one's acknowledgement.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(ConnectionError):
            self.serve(connection)

    def close(self):
        # A thread in accept() is not woken by close() alone.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
