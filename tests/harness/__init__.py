"""What the whole-node tests share: starting a node, sending mail with a record of what was acknowledged, reading it back.

Nothing but Python's standard library. Each test starts nodes of its own on free ports in a directory of its own, and ends
only the processes that it started.
"""

from .node import Node, PASSWORD, free_port_offset, pigeond
from .needs import in_ci, needs, needs_root

__all__ = ["Node", "PASSWORD", "free_port_offset", "pigeond", "in_ci", "needs", "needs_root"]
