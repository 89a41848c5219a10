"""A MariaDB server of a test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from postgres import PASSWORD

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
    port = 42000 + os.getpid() % 20000
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
    options = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/socket", f"--pid-file={folder}/pid",
               f"--init-file={folder / 'start.sql'}", "--skip-name-resolve", "--skip-log-bin"]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *place, *user, *options], stdout=log, stderr=log)
    try:
        _wait(port, process, folder / "log")
        yield port
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        try:
            pymysql.connect(host="127.0.0.1", port=port, user="shop", password=PASSWORD, database="shop").close()
            return
        except pymysql.err.OperationalError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    pytest.fail(f"MariaDB did not start: {log.read_text()[-2000:]}")
