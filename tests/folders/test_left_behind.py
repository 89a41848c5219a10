"""Nothing is left in the folder of temporary files: not by a test and not by a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WORK = """
import tempfile
import pyarrow as pa
import shopkeeper as sk

left = tempfile.mkdtemp()  # as of a program that was killed

def test_a_dataset_in_a_temporary_folder():
    log = pa.table({"who": [1, 2], "what": ["a", "b"], "at": ["2024-01-01", "2024-01-02"]})
    assert sk.Dataset.from_pandas(log, user="who", item="what", time="at").n_events == 2
"""


def test_a_session_of_tests_with_a_worker_leaves_no_folder_behind(tmp_path: Path):
    room = tmp_path / "temporary"
    room.mkdir()
    (tmp_path / "test_work.py").write_text(WORK)
    (tmp_path / "conftest.py").write_text((Path(__file__).parents[1] / "conftest.py").read_text())
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {"TMPDIR": str(room)}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "no:cacheprovider", "test_work.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert [path.name for path in room.iterdir() if not path.name.startswith("pytest-of-")] == []
