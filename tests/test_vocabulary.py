"""Names that readers filter on stand in one module."""

import ast
from pathlib import Path

import pytest

from recsvc import vocabulary

ROOT = Path(__file__).parent.parent

NAMES = {
    *vocabulary.MODELS,
    *vocabulary.PROTOCOLS,
    *vocabulary.METRICS,
    *vocabulary.ACTIVITY,
    *vocabulary.POPULARITY,
    *vocabulary.SOURCES,
    *vocabulary.RUN_STATUSES,
    vocabulary.ROLLBACK,
}

#: The same words with another meaning: keys of ``recsvc status --json``, and what phases call the
#: settings of the published run; and a column of ``models``.
OTHERWISE = {
    "recsvc/cli/show.py": {"published"},
    "recsvc/store/reading/queries.py": {"published"},
    "recsvc/pipeline/compare.py": {"published"},
    "recsvc/store/contract/tables.py": {"neighbours"},
}

MODULES = sorted((ROOT / "recsvc").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_spells_a_name_out(path: Path) -> None:
    if path.name == "vocabulary.py":
        return
    spelled = {
        node.value
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    allowed = OTHERWISE.get(str(path.relative_to(ROOT)), set())
    assert spelled & NAMES <= allowed
