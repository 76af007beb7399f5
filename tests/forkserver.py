"""Child processes that tests kill: forked from a server that has imported what they need."""

import multiprocessing
import signal
from collections.abc import Callable

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["tests.survival.falling", "tests.store.administration.killed"])

TIMEOUT_S = 120


def is_killed(target: Callable[..., None], *given: object) -> bool:
    """Run ``target`` in a child process; whether it was killed rather than ended well."""
    child = FORKSERVER.Process(target=target, args=given)
    child.start()
    child.join(TIMEOUT_S)
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0
