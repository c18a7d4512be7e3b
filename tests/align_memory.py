"""Aligns two made-up models in a process of its own; writes how far its memory rose, in bytes.

python tests/align_memory.py FOLDER SCOPE    # of clipping
"""

import resource
import sys
from pathlib import Path

import pandas as pd
import torch
from runs import run_of

from platorep.align import align
from platorep.config import ExperimentConfig
from platorep.features import CellKey, RowIdentities, cell_of
from platorep.files import write_json
from platorep.results import Results

ROWS, WIDTH = 8192, 256
"""8 MiB a layer."""
LAYERS = {"large": 20, "small": 1}


def main(root: Path, scope: str) -> None:
    ids = tuple(f"row-{i}" for i in range(ROWS))
    rows = RowIdentities(ids=ids, hashes=("",) * ROWS)
    results, cells = Results(root / "results"), {}
    layer = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))
    for label, num_layers in LAYERS.items():
        key = CellKey(
            model={"name": label},
            rows=rows.fingerprint,
            compute_dtype="float32",
            store_dtype="float32",
        )
        cell = cell_of(root, "data", label, key)
        cell.create(key, rows, [(str(i), WIDTH) for i in range(num_layers)], 1024, {})
        for shard in range(cell.num_shards):
            part = layer[cell.shard_range(shard).start : cell.shard_range(shard).stop]
            cell.write_shard(shard, [part.clone() for _ in range(num_layers)])
        cells[label] = {"folder": cell.folder.relative_to(root).as_posix()}
    write_json(results.cells, {"cells": cells})
    write_json(results.run, {"dataset": {"name": "data", "num_rows": ROWS, "fingerprint": "f"}})
    hashes = {"image_sha256": [""] * ROWS, "text_sha256": [""] * ROWS}
    results.write_table(results.rows, pd.DataFrame({"id": ids, **hashes}), {})
    models = [{"name": label, "modality": "other", "models": [label]} for label in LAYERS]
    config = ExperimentConfig.model_validate(
        {
            "name": "test",
            "dataset": {"source": "toyworld"},
            "families": models,
            "align": {
                "pairs": [{"x": {"model": "large"}, "y": {"model": "small"}}],
                "preprocess": {"clip_scope": scope},
                "metrics": [{"name": "mutual_knn", "layers": "last"}],
                "null": {"permutations": 0},
            },
        }
    )
    torch.linalg.eigvalsh(torch.eye(512, dtype=torch.float64))  # which loads its library
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failures, _ = align(run_of(config, results, root))
    assert not failures.errors
    risen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    sys.stdout.write(f"{1024 * risen}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
