"""A stack of TF-Slim's arg scopes for each thread: its own is one for the process.

The towers of a MirroredStrategy are traced in threads that take turns wherever they exchange
something, as synchronised batch norm does in the middle of a network: on one stack a tower would
go on with the scopes that another has left open.
"""

from __future__ import annotations

import threading
from typing import Any

from tf_slim.ops import arg_scope as _arg_scope

_thread = threading.local()


def arg_stack() -> list[dict[str, Any]]:
    """The arg scopes that are open in this thread, the innermost last; never empty."""
    stack = getattr(_thread, "stack", None)
    if not stack:
        stack = _thread.stack = [{}]
    return stack


def give_every_thread_its_own() -> None:
    """Puts `arg_stack` in the place of TF-Slim's, for the whole process and all its users.

    Scopes that are open around `strategy.run` no longer reach into the towers.
    """
    _arg_scope._get_arg_stack = arg_stack
