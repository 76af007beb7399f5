"""Every error that recsvc raises on purpose, with the exit code that a scheduler sees.

A message is one sentence or two: what is wrong, where, and the command that mends it.
"""

from typing import ClassVar


class RecsvcError(Exception):
    """Base of all expected errors; anything else that reaches the top is a defect (exit 1)."""

    exit_code: ClassVar[int] = 1


class UsageError(RecsvcError):
    """A command was asked for something that does not exist or makes no sense."""

    exit_code = 2


class SourceDataError(RecsvcError):
    """Source files cannot be accepted; nothing was changed."""

    exit_code = 3


class PublicationRefusedError(RecsvcError):
    """The gate found tonight's model not fit to replace what readers have."""

    exit_code = 4


class TrainingDivergedError(RecsvcError):
    """A model's parameters or scores stopped being finite."""


class VerificationError(RecsvcError):
    """Rows that were written break what readers are promised; they were not published."""


class DatabaseUnreachableError(RecsvcError):
    """The database does not answer."""

    exit_code = 69


class DiskFullError(RecsvcError):
    """The database has no room for what it was to store; nothing of it is stored."""

    exit_code = 69


class UnwritableOutputError(RecsvcError):
    """What a command found does not fit where its output goes."""

    exit_code = 74


class DatabaseBusyError(RecsvcError):
    """Others kept a lock for too long; nothing was changed, and it can be tried again."""

    exit_code = 75


class RunInProgressError(RecsvcError):
    """Another run holds the lease."""

    exit_code = 75


class NightDoneError(RecsvcError):
    """The night has been run already: there is nothing to do."""

    exit_code = 0


class LeaseLostError(RecsvcError):
    """This run could not renew its lease, and another one may have taken over."""

    exit_code = 75


class ConfigurationError(RecsvcError):
    """Settings, or a schema that is not at head."""

    exit_code = 78
