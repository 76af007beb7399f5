"""A password that must not be seen anywhere."""

from tests.commands import Outcome

CANARY = "c4n@ry/p%ss"
ENCODED = "c4n%40ry%2Fp%25ss"


def leaks(outcome: Outcome) -> bool:
    text = outcome.out + outcome.err
    return CANARY in text or ENCODED in text
