"""SIGTERM and SIGINT end a command as an error does: what is under way is recorded first."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_SHELL_OFFSET = 128


class Stopped(SystemExit):
    """A signal asked the process to end; nothing that handles mere errors catches it."""

    def __init__(self, number: int) -> None:
        self.exit_code = exit_code_of(number)
        super().__init__(self.exit_code)
        self._name = signal.Signals(number).name

    def __str__(self) -> str:
        return f"stopped by {self._name}"


def exit_code_of(number: int) -> int:
    """Return the exit code that shells give to a program that a signal ended.

    >>> exit_code_of(signal.SIGTERM)
    143
    """
    return _SHELL_OFFSET + number


@contextmanager
def handled_by(handle: Callable[[int], None]) -> Iterator[None]:
    """Call ``handle`` with the number of each stop signal that arrives within the block.

    Only the main thread can be told of signals: elsewhere the block runs without.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, _frame: FrameType | None) -> None:
        handle(number)

    before = {number: signal.signal(number, on_signal) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop(number: int) -> None:
    """Raise :class:`Stopped`, once: a second signal must not disturb what the first one ends."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)
