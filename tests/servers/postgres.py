"""A PostgreSQL server of a test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servers.ports import free_port


@contextmanager
def server(users: str = "trust") -> Iterator[int]:
    """The port of a server at 127.0.0.1 with a superuser `shop`; skipped where PostgreSQL is not installed, not in CI.

    `users` is how it asks who somebody is: `trust` asks nothing, `scram-sha-256` wants the password `shop's/secret`.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        reason = "PostgreSQL is not installed (apt-get install postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    binaries = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="shopkeeper-pg-"))
    folder.chmod(0o777)
    user = "postgres" if os.getuid() == 0 else None  # the server refuses to run as root

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True, cwd="/", timeout=120, user=user)

    (folder / "password").write_text(PASSWORD)
    run(
        str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "shop", "-A", users, "--no-sync",
        "--pwfile", str(folder / "password"),
    )  # fmt: skip
    start = (str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w", "-l", str(folder / "log"), "start", "-o")
    options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    for _ in range(STARTS):
        port = free_port()
        try:
            run(*start, f"{options} -p {port}")
            break
        except subprocess.CalledProcessError:
            continue
    else:
        pytest.fail(f"PostgreSQL did not start: {(folder / 'log').read_text()[-2000:]}")
    try:
        yield port
    finally:
        run(str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


STARTS = 3  # a port that was free may be taken before the server has it
PASSWORD = "shop's/s3cret@home"
