"""How many rows of logits the softmax over a catalogue takes at once on a CPU: processor time of a step, by size.

    python benchmarks/softmax_chunks.py                     # 3 thousand to 131 thousand items, width 64 and 192
    python benchmarks/softmax_chunks.py --items 54542 --repeat 9

Forward and backward of `nn.softmax` over `--rows` positions in bf16, with the rows of a chunk that `chunk_rows` gives
and with each of `--chunks`, turn by turn in one process, one thread each as in training (every core has its share).
Writes `benchmarks/results/softmax_chunks.json`.
"""

from __future__ import annotations

import argparse
import statistics
import time

from _results import at_most, row, write_result

ITEMS, WIDTHS = (3_416, 12_101, 27_000, 54_542, 131_072), (64, 192)
CHUNKS = (128, 256, 512, 1024)
WORSE = 1.1  # what the rule takes, over the best chunk


def step(h: object, item: object, label: object, chunk: int) -> float:
    """Processor seconds of forward and backward."""
    from shopkeeper.nn.softmax import softmax_cross_entropy

    began = time.process_time()
    softmax_cross_entropy(h, item, label, scale=0.001, first=1, chunk=chunk).backward()  # type: ignore[arg-type]
    return time.process_time() - began


def main(a: argparse.Namespace) -> None:
    import torch

    from shopkeeper.nn.softmax import chunk_rows

    torch.set_num_threads(1)
    rows, claims = [], []
    for n_items in a.items:
        for width in a.widths:
            h = torch.randn(a.rows, width).to(torch.bfloat16).requires_grad_()
            item = (0.02 * torch.randn(n_items + 1, width)).requires_grad_()
            label = torch.randint(n_items, (a.rows,))
            taken = min(chunk_rows(n_items, 2, "cpu"), a.rows)
            chunks = sorted({taken, *(c for c in a.chunks if c <= a.rows)})
            seconds: dict[int, list[float]] = {c: [] for c in chunks}
            for turn in range(a.repeat + 1):
                for chunk in chunks if turn % 2 else chunks[::-1]:
                    h.grad = item.grad = None
                    spent = step(h, item, label, chunk)
                    if turn:  # in the first, oneDNN makes its kernels
                        seconds[chunk].append(spent)
            median = {c: statistics.median(s) for c, s in seconds.items()}
            name = f"{n_items:,} items x {width}, {a.rows:,} positions"
            for chunk in chunks:
                said = f"chunks of {chunk}" + (", as chunk_rows says" if chunk == taken else "")
                rows.append(row(said, name, "processor time of a step", "s", seconds[chunk]))
            print(name, {c: round(1e3 * s, 1) for c, s in median.items()}, "ms; taken", taken, flush=True)
            what = f"{name}: processor time with the rows that chunk_rows says, over that of the best chunk tried"
            claims.append(at_most("zoo", what, median[taken] / min(median.values()), WORSE))
    write_result("softmax_chunks", rows, claims, note=a.note)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=list(ITEMS))
    parser.add_argument("--widths", type=int, nargs="+", default=list(WIDTHS))
    parser.add_argument("--chunks", type=int, nargs="+", default=list(CHUNKS))
    parser.add_argument("--rows", type=int, default=2048, help="positions of a core's share of a batch")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    main(parser.parse_args())
