"""What is shipped: the wheel's contents, locks without addresses, no traces of one machine."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built as .ci/run builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "wheel", *options, str(ROOT)], check=True
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_puts_nothing_beside_the_package(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"recsvc", f"recsvc-{version()}.dist-info"}


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def test_the_wheel_carries_all_that_the_checkout_runs(wheel: zipfile.ZipFile) -> None:
    checkout = {
        *(path.relative_to(ROOT) for path in (ROOT / "recsvc").rglob("*.py")),
        *("recsvc" / path.relative_to(ROOT) for path in (ROOT / "migrations").rglob("*.py")),
        *("recsvc" / path.relative_to(ROOT) for path in (ROOT / "jobs").rglob("*.py")),
    }
    shipped = {name for name in wheel.namelist() if name.endswith(".py")}
    assert shipped == {path.as_posix() for path in checkout}


def test_the_wheel_carries_the_templates_of_the_report(wheel: zipfile.ZipFile) -> None:
    folder = ROOT / "recsvc" / "report" / "templates"
    templates = {path.relative_to(ROOT).as_posix() for path in folder.iterdir()}
    assert templates
    assert templates <= set(wheel.namelist())


def test_the_wheel_carries_neither_caches_nor_data(wheel: zipfile.ZipFile) -> None:
    unwanted = re.compile(r"__pycache__|\.(pyc|nbi|nbc|csv|db)$")
    assert not [name for name in wheel.namelist() if unwanted.search(name)]


def test_the_wheel_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    info = f"recsvc-{version()}.dist-info"
    assert "recsvc = recsvc.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert b"Apache License" in wheel.read(f"{info}/licenses/LICENSE")


def test_every_declared_dependency_is_locked_and_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = (ROOT / "docs" / "dependencies.md").read_text("utf-8").lower()
    locked = (ROOT / "requirements" / "runtime.lock").read_text()
    for requirement in project["dependencies"]:
        name = re.split(r"[\[<>=~!;]", requirement)[0]
        assert re.search(rf"^{name}(\[\w+\])?==", locked, re.MULTILINE), f"run `make lock`: {name}"
        assert name.removesuffix("-settings") in reasons.replace("psycopg 3", "psycopg")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_name_versions_and_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text()
    assert "//" not in text
    assert "--index-url" not in text
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_the_development_lock_pins_what_runs_in_production() -> None:
    runtime, dev = (pins(ROOT / "requirements" / name) for name in ("runtime.lock", "dev.lock"))
    assert runtime.items() <= dev.items()


def pins(lock: Path) -> dict[str, str]:
    return dict(
        re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", lock.read_text(), re.MULTILINE)
    )


def test_the_repository_names_no_registry_and_no_machine() -> None:
    # Written in parts, so that this file is not found by itself.
    registries = ("pypi" + ".org", "python" + "hosted", "npm" + "js", "anaconda" + ".org")
    machine = ("/ro" + "ot/", "/wo" + "rk/")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            for word in (*registries, *machine):
                assert word not in text, f"{name} names {word}"


# As where neither the package nor the user's cache folder can be written to.
WITHOUT_CACHE = """
from numba.core import caching
caching.CompileResultCacheImpl._locator_classes = []
from recsvc.cli.main import main
main(["--help"])
"""


def test_it_runs_where_compiled_functions_cannot_be_kept() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_CACHE], capture_output=True, text=True, check=False
    )
    assert "Usage: recsvc" in ended.stdout, ended.stderr
