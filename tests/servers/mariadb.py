"""A MariaDB server of a test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pymysql
import pytest

from servers.ports import free_port
from servers.postgres import PASSWORD, STARTS

SYSTEM = ("system_tables", "performance_tables", "system_tables_data")


@contextmanager
def server() -> Iterator[int]:
    """The port of a server at 127.0.0.1 with a database `shop` and a user `shop`, who has a password.

    Skipped where MariaDB is not installed, not in CI.
    """
    program = shutil.which("mariadbd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    tables = [Path("/usr/share/mysql") / f"mysql_{name}.sql" for name in SYSTEM]
    if program is None or not all(path.is_file() for path in tables):
        reason = "MariaDB is not installed (apt-get install mariadb-server-core)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="shopkeeper-mariadb-"))
    user = ["--user=root"] if os.getuid() == 0 else []
    place = ["--no-defaults", f"--datadir={folder / 'data'}"]
    (folder / "data").mkdir()
    empty = "\n".join(["CREATE DATABASE mysql;\nUSE mysql;", *(path.read_text() for path in tables)])
    subprocess.run(
        [program, *place, *user, "--bootstrap"], input=empty.encode(), check=True, capture_output=True, timeout=120
    )
    secret = PASSWORD.replace("'", "''")
    (folder / "start.sql").write_text(
        f"CREATE DATABASE shop;\nCREATE USER 'shop'@'%' IDENTIFIED BY '{secret}';\nGRANT ALL ON shop.* TO 'shop'@'%';\n"
    )
    options = ["--bind-address=127.0.0.1", f"--socket={folder}/socket", f"--pid-file={folder}/pid",
               f"--init-file={folder / 'start.sql'}", "--skip-name-resolve", "--skip-log-bin"]  # fmt: skip
    for _ in range(STARTS):
        port = free_port()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, *place, *user, *options, f"--port={port}"], stdout=log, stderr=log)
        if _answers(port, process):
            break
        _stop(process)
    else:
        pytest.fail(f"MariaDB did not start: {(folder / 'log').read_text()[-2000:]}")
    try:
        yield port
    finally:
        _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.5)  # it ends at once where the port was taken, and whoever has it may keep a client waiting
    told = {"host": "127.0.0.1", "port": port, "user": "shop", "password": PASSWORD, "database": "shop"}
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            pymysql.connect(**told, read_timeout=10).close()
            return True
        except pymysql.err.OperationalError:
            time.sleep(0.1)
    return False
