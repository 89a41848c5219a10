"""Files that are written to be looked at by `new-dataset`, and the rows of some."""

from __future__ import annotations

from pathlib import Path

import yaml

from shopkeeper.ingest.guesses.new_dataset import guess_dataset


def guess(tmp_path: Path, text: str | bytes, name: str = "My Shop-2020.csv") -> tuple[dict, str]:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    yaml_text = guess_dataset(path)
    return yaml.safe_load(yaml_text), yaml_text


def rows(price: str, date: str = "2023-01-{day:02d} 10:00") -> str:
    head = "customer;sku;date;price\n"
    return head + "".join(
        f"c{n % 9};s{n % 5};{date.format(day=1 + n % 28)};{price.format(n=n % 9)}\n" for n in range(60)
    )


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def log(items: int, header: str = "customer,sku,time", n: int = 400) -> str:
    rows = "".join(f"c{k % 20},i{k // 20 % items},2024-01-01 10:{k // 60 % 60:02d}:{k % 60:02d}Z\n" for k in range(n))
    return header + "\n" + rows
