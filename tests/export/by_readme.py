"""What the code in a bundle's README answers to the golden requests, where this package is not to be had."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer.answers import Answer, difference
from shopkeeper.schema import NOTHING_LEFT

WITHOUT_US = """
import sys, json
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('shopkeeper', 'torch'):
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Blocked())
names = {}
exec(sys.stdin.read(), names)
print(json.dumps([names['answer'](g) for g in json.loads(sys.argv[1])]))
"""


def first_two(expected: dict[str, Any]) -> dict[str, Any]:
    """The same answer where two items are wanted."""
    return {**expected, "items": expected["items"][:2]}


def wrong_by_the_readme(folder: Path) -> list[str]:
    """One line per golden request that it answers differently."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
    golden = json.loads((folder / "golden.json").read_text())["requests"]
    words = json.loads((folder / "vocabulary.json").read_text())
    if "items" in golden[0]["expected"]:
        golden += [{**golden[0], "exclude": words["item_ids"], "expected": {"items": [], "reason": NOTHING_LEFT}},
                   {**golden[0], "k": 2, "expected": first_two(golden[0]["expected"])}]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", WITHOUT_US, json.dumps(golden)], input=code, capture_output=True,
                          text=True, cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [difference(Answer.from_json(answer), Answer.from_json(one["expected"]))
            for one, answer in zip(golden, json.loads(done.stdout), strict=True)]  # fmt: skip
    return [line for line in said if line]
