"""Named moments in a run at which tests make it fall.

``checkpoint(name)`` does nothing in production. The crash tests put a hook here, once recording
the names that an undisturbed run passes and then failing at each of them, so that a new checkpoint
is tested by being there.
"""

from collections.abc import Callable

hook: Callable[[str], None] | None = None


def checkpoint(name: str) -> None:
    """Pass a named moment."""
    if hook is not None:
        hook(name)
