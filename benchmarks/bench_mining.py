"""Mining beside the bare matrix product, and beside the miner of sentence-transformers.

    python benchmarks/bench_mining.py exact [--rows 100000] [--width 384]
    python benchmarks/bench_mining.py peers [--rows 20000]
    python benchmarks/bench_mining.py approximate [--rows 1000000] [--width 128]
    python benchmarks/bench_mining.py loss

Rows are made of 1,000 kinds with noise, a query is its positive with noise. Memory is the process's
peak above what it held with the embeddings loaded. Seconds are ratios to a floor of the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import threading
import time
from pathlib import Path

import numpy as np

import contrasift as cs

POLICY = "~above_positive(0.95) & difficulty(99,99.99)"


def data(n: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Queries and their corpus, unit rows."""
    rng = np.random.default_rng(seed)
    kinds = rng.standard_normal((1_000, width), dtype=np.float32)
    corpus = np.empty((n, width), dtype=np.float32)
    queries = np.empty_like(corpus)
    for start in range(0, n, 50_000):
        some = slice(start, min(start + 50_000, n))
        shape = (some.stop - some.start, width)
        rows = kinds[rng.integers(0, 1_000, shape[0])] + 0.9 * rng.standard_normal(
            shape, np.float32
        )
        corpus[some] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        rows = corpus[some] + 0.9 / np.sqrt(width) * rng.standard_normal(shape, np.float32)
        queries[some] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return queries, corpus


class Peak:
    """The most memory of the process while something runs, above what it was before."""

    def __enter__(self) -> Peak:
        self.before, self.most, self.going = resident(), 0, True
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while self.going:
            self.most = max(self.most, resident())
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self.going = False
        self.thread.join()

    @property
    def megabytes(self) -> float:
        return (self.most - self.before) / 1e6


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def product_seconds(queries: np.ndarray, corpus: np.ndarray, share: float) -> float:
    """The bare blocked product, of a share of the queries, for all of them."""
    rows = max(1_024, int(share * len(queries)))
    out = np.empty((512, len(corpus)), dtype=np.float32)
    np.matmul(queries[:512], corpus.T, out=out)
    begun = time.perf_counter()
    for start in range(0, rows, 512):
        part = queries[start : min(start + 512, rows)]
        np.matmul(part, corpus.T, out=out[: len(part)])
    return (time.perf_counter() - begun) * len(queries) / rows


def exact(n: int, width: int, share: float) -> dict:
    queries, corpus = data(n, width)
    small = slice(0, 2_000)
    cs.mine(queries[small], corpus[small], np.arange(2_000), policy=POLICY)  # compiles
    some = max(8_192, int(share * n))
    floor = product_seconds(queries, corpus, min(1.0, some / n)) * some / n
    with Peak() as peak:
        begun = time.perf_counter()
        mined = cs.mine(queries[:some], corpus, np.arange(some), policy=POLICY, search="exact")
        seconds = time.perf_counter() - begun
    return {
        "queries": some, "corpus": n, "width": width, "seconds": seconds, "product": floor,
        "ratio": seconds / floor, "megabytes": peak.megabytes, "negatives": int(mined.counts.sum()),
    }  # fmt: skip


def peers(n: int, width: int) -> dict:
    """sentence-transformers' miner with embeddings already made, plain and by FAISS."""
    import torch
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    queries, corpus = data(n, width)
    left, right = [f"q{i}" for i in range(n)], [f"d{i}" for i in range(n)]
    place = {text: row for row, text in enumerate([*left, *right])}
    vectors = np.concatenate([queries, corpus])

    class Made:
        """What the miner asks of a model."""

        device, prompts = torch.device("cpu"), {}

        def encode_document(self, texts: list[str], **_: object) -> np.ndarray:
            return vectors[[place[text] for text in texts]]

        encode_query = encode_document

        def get_embedding_dimension(self) -> int:
            return width

        def similarity(self, a: object, b: object) -> object:
            return torch.as_tensor(a) @ torch.as_tensor(b).T

        def similarity_pairwise(self, a: object, b: object) -> object:
            return (torch.as_tensor(a) * torch.as_tensor(b)).sum(1)

    pairs = Dataset.from_dict({"anchor": left, "positive": right})
    found, rows = {}, {}
    for name, faiss in (("plain", False), ("faiss", True)):
        with Peak() as peak:
            begun = time.perf_counter()
            mined = mine_hard_negatives(
                pairs, Made(), num_negatives=8, relative_margin=0.05, range_max=100,
                output_format="n-tuple", use_faiss=faiss, verbose=False, faiss_batch_size=1_024,
            )  # fmt: skip
            seconds = time.perf_counter() - begun
        found[name] = {"seconds": seconds, "megabytes": peak.megabytes}
        columns = [mined[f"negative_{number}"] for number in range(1, 9)]
        rows[name] = {
            line[0]: [place[one] - n for one in line[1:]]
            for line in zip(mined["anchor"], *columns, strict=True)
        }
    cs.mine(queries[:2_000], corpus[:2_000], np.arange(2_000), policy="~above_positive(0.95)")
    with Peak() as peak:
        begun = time.perf_counter()
        ours = cs.mine(
            queries, corpus, np.arange(n), policy="~above_positive(0.95)", search="exact"
        )
        found["contrasift"] = {"seconds": time.perf_counter() - begun, "megabytes": peak.megabytes}
    for name in ("plain", "faiss"):
        same = [
            len({*theirs} & {*ours.negatives[place[query]].tolist()}) / 8
            for query, theirs in rows[name].items()
        ]
        found[name] |= {"same": float(np.mean(same)), "queries": len(same)}
    return {"rows": n, "width": width, **found}


def approximate(n: int, width: int, share: float) -> dict:
    queries, corpus = data(n, width)
    some = int(share * n)
    with Peak() as peak:
        begun, cpu = time.perf_counter(), time.process_time()
        mined = cs.mine(
            queries[:some], corpus, np.arange(some), policy="~above_positive(0.95)",
            search="approximate", progress=lambda done, of: print(done, of, flush=True),
        )  # fmt: skip
    held = (queries.nbytes + corpus.nbytes) / 1e6
    return {
        "queries": some, "corpus": n, "width": width, "seconds": time.perf_counter() - begun,
        "cpu_seconds": time.process_time() - cpu, "megabytes": peak.megabytes, "embeddings": held,
        **{name: mined.facts[name] for name in ("measured_recall", "recall_at", "lists", "probed")},
    }  # fmt: skip


def loss(batch: int = 4_096, width: int = 384) -> dict:
    import torch

    from contrasift.negatives import InfoNCE, parse_policy

    found: dict = {"batch": batch, "width": width}
    whole = None
    for chunk in (None, 1_024, 256, 64):
        torch.manual_seed(0)
        query = torch.randn(batch, width, requires_grad=True)
        key = (query + torch.randn(batch, width)).detach().requires_grad_()
        made = InfoNCE(0.05, parse_policy("~above_positive(0.95)"), chunk=chunk)
        with Peak() as peak:
            begun = time.perf_counter()
            value = made(query, key)
            value.backward()
            seconds = time.perf_counter() - begun
        result = (value.detach(), query.grad, key.grad)
        whole = whole or result
        difference = max(float((a - b).abs().max()) for a, b in zip(whole, result, strict=True))
        found[str(chunk)] = {"seconds": seconds, "megabytes": peak.megabytes, "off": difference}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=["exact", "peers", "approximate", "loss"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--share", type=float, default=1.0, help="of the queries, exact ones")
    given = parser.parse_args()
    if given.case == "exact":
        result = exact(given.rows or 100_000, given.width or 384, given.share)
    elif given.case == "peers":
        result = peers(given.rows or 20_000, given.width or 384)
    elif given.case == "approximate":
        result = approximate(given.rows or 1_000_000, given.width or 128, given.share)
    else:
        result = loss()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
