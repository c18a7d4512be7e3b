"""Extraction by platorep beside other ways, on the same model, data and machine.

    python scripts/bench_extract.py [--device cuda] [--threads 2] [--texts FILE] [--model FOLDER]
    python scripts/bench_extract.py --device cuda --smollm2 --dtype bfloat16 --num-images 512

plain: texts in batches of 4, all padded to the longest text of the set, the token states of all
layers kept and then pooled; images one at a time, the outputs of all blocks kept.
bucketed: texts sorted by length, in batches of 32 padded to the longest of each.
encode: what sentence-transformers does, batches of 32 as well; it keeps the last layer only.

Every run is a process of its own, and the ways take turns: seconds are those of extraction (the
model is loaded and warm), memory is the peak during extraction of the process and its workers (on
a GPU: of its allocator). The fastest of `--repeats` runs counts (CPU seconds, of the process
without its workers, are less troubled by what else the machine does). All ways must give the same
features: the largest difference from platorep's is printed, relative to the largest value.

The model of texts is a Llama with random weights, or that of `--model FOLDER`; the lengths of the
made-up texts are drawn like those of captions on the web: log-normal, median 18 words, sigma 0.7.
`--texts FILE` takes a file of captions instead, one per line.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OURS = "platorep"
WAYS = {"language": ("plain", "bucketed", "encode", OURS), "vision": ("plain", OURS)}
PARTS = tuple(WAYS)
BATCH = 32
"""Texts per batch of the bucketed way, and what `encode` takes by itself."""
VISION = "vit_small_patch16_224"
SMOLLM2 = {
    **{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536},
    **{"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
}
"""The shape of SmolLM2-135M."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, help="processes that decode images")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--num-texts", type=int, default=512)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--smollm2", action="store_true", help="of its shape, in place of these")
    parser.add_argument("--model", type=Path, help="a folder of transformers, in place of it")
    parser.add_argument("--num-images", type=int, default=48)
    parser.add_argument("--texts", type=Path, help="a file of captions, one per line")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", nargs=3, metavar=("PART", "WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(*arguments.run, arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        start([*sys.argv[1:], "--run", "build", "model", folder])
        rows = [compare(part, folder, arguments.repeats) for part in arguments.parts]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    head = f"{'':9} {'way':9} {'seconds':>8} {'ratio':>6} {'CPU s':>7} {'ratio':>6}"
    print(f"{head} {'peak MB':>8} {'loaded MB':>9}  difference")
    for row in rows:
        for way in WAYS[row["part"]]:
            one = row[way]
            ratio, cpu_ratio = (row["plain"][kind] / one[kind] for kind in ("seconds", "cpu"))
            line = f"{row['part']:9} {way:9} {one['seconds']:8.2f} {ratio:5.1f}x"
            line += f" {one['cpu']:7.2f} {cpu_ratio:5.1f}x {one['peak']:8.0f}"
            print(f"{line} {one['loaded']:9.0f}  {one['difference']:.0e}")
        print(f"  {row['data']}")


def compare(part: str, folder: str, repeats: int) -> dict[str, Any]:
    """All ways in turn, so that a busy machine troubles each; the fastest run of each."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS[part]}
    for _ in range(repeats):
        for way, of_way in runs.items():
            of_way.append(json.loads(start([*sys.argv[1:], "--run", part, way, folder])))
    differences = json.loads(start([*sys.argv[1:], "--run", "differences", part, folder]))
    best = {}
    for way, of_way in runs.items():
        best[way] = min(of_way, key=lambda one: one["seconds"])
        best[way]["peak"] = max(one["peak"] for one in of_way)
        best[way]["cpu"] = min(one["cpu"] for one in of_way)
        best[way]["difference"] = differences[way]
    return {"part": part, "data": best[OURS]["data"], **best}


def start(arguments: Sequence[str]) -> str:
    command = [sys.executable, __file__, *arguments]
    # Threads that wait do not spin: on a machine with other work that would slow down all ways.
    variables = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=variables)
    return done.stdout


def run(part: str, way: str, folder_name: str, arguments: argparse.Namespace) -> None:
    """One step, in this process."""
    import torch
    import transformers

    folder = Path(folder_name)
    torch.set_num_threads(arguments.threads)
    if part == "build":
        build(folder, arguments)
        return
    transformers.utils.logging.disable_progress_bar()
    if part == "differences":
        found = {other: torch.load(folder / f"{way}-{other}.pt") for other in WAYS[way]}
        print(
            json.dumps({other: difference(layers, found[OURS]) for other, layers in found.items()})
        )
        return
    from platorep.config import ModelSpec
    from platorep.models import Reading, open_model

    data = Data(json.loads((folder / "texts.json").read_text()), part)
    name = str(arguments.model or folder / "llama") if part == "language" else VISION
    spec = ModelSpec(
        **{"name": name, "label": part, "family": part, "modality": part},
        backend="transformers" if part == "language" else "timm",
        random_init=part == "vision",
    )
    dtype = getattr(torch, arguments.dtype)
    num_rows = len(data.texts) if part == "language" else arguments.num_images
    if way == OURS:
        loaded = open_model(spec, offline=True).load(arguments.device, dtype)
        workers = "auto" if arguments.workers is None else arguments.workers

        def extract(rows: Sequence[int]) -> list[torch.Tensor]:
            return loaded.features(Reading(rows, data, workers=workers))
    elif part == "vision":
        extract = of_images(data, arguments.device, dtype)
    elif way == "encode":
        extract = by_encode(name, data, arguments.device, dtype)
    else:
        extract = of_texts(name, data, arguments.device, dtype, bucketed=way == "bucketed")
    extract(range(4))
    before = start_of_peak(arguments.device)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    features = extract(range(num_rows))
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu_begin
    peak = end_of_peak(arguments.device)
    torch.save(features, folder / f"{part}-{way}.pt")
    about = data.about() if part == "language" else f"{num_rows} images, {VISION}"
    found = {"seconds": seconds, "cpu": cpu, "peak": peak, "loaded": before, "data": about}
    print(json.dumps(found))


def difference(layers: Sequence[Any], expected: Sequence[Any]) -> float:
    """Largest change of a feature, of the largest; `encode` has the last layer only."""
    pairs = zip(layers, expected[-len(layers) :], strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


class Data:
    """As much of a dataset as models read."""

    def __init__(self, texts: list[str], part: str) -> None:
        self.texts, self.ids = texts, [str(i) for i in range(len(texts))]
        self._part = part

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int, /) -> Any:
        from PIL import Image

        if self._part == "language":
            return self.texts[i]
        small = Image.frombytes("RGB", (8, 6), random.Random(i).randbytes(144))
        return small.resize((500, 375))

    def about(self) -> str:
        lengths = [len(text.split()) for text in self.texts]
        mean = sum(lengths) / len(lengths)
        return f"{len(lengths)} texts of {mean:.1f} words on average, the longest {max(lengths)}"


def build(folder: Path, arguments: argparse.Namespace) -> None:
    """Texts, and a causal model with a tokenizer of whole words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    draw = random.Random(0)
    if arguments.texts:
        lines = arguments.texts.read_text(encoding="utf-8").splitlines()
        texts = [line for line in lines if line.strip()][: arguments.num_texts]
    else:
        lengths = [
            max(1, round(draw.lognormvariate(2.89, 0.7))) for _ in range(arguments.num_texts)
        ]
        texts = [" ".join(f"w{draw.randrange(4000)}" for _ in range(n)) for n in lengths]
    (folder / "texts.json").write_text(json.dumps(texts))
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["<pad>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
    torch.manual_seed(0)
    shape = (
        SMOLLM2
        if arguments.smollm2
        else {
            "vocab_size": len(vocabulary),
            "hidden_size": arguments.hidden_size,
            "intermediate_size": arguments.hidden_size * 8 // 3,
            "num_hidden_layers": arguments.layers,
            "num_attention_heads": 8,
        }
    )
    config = transformers.LlamaConfig(**shape, pad_token_id=0)
    transformers.LlamaModel(config).save_pretrained(folder / "llama")
    fast.save_pretrained(folder / "llama")


def of_texts(name: str, data: Data, device: str, dtype: Any, *, bucketed: bool) -> Any:
    """All hidden states of a batch, pooled; as one would write it with transformers."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.padding_side = "right" if bucketed else "left"
    network = transformers.AutoModel.from_pretrained(name, dtype=dtype).eval().to(device)

    def pooled(batch: Any) -> torch.Tensor:
        tokens, mask = (batch[key].to(device) for key in ("input_ids", "attention_mask"))
        states = network(
            input_ids=tokens, attention_mask=mask, output_hidden_states=True, use_cache=False
        ).hidden_states
        total = (torch.stack(states) * mask[..., None].to(dtype)).sum(2)  # l b d
        return (total.float() / mask.sum(1)[:, None]).cpu()

    @torch.no_grad()
    def plain(rows: Sequence[int]) -> list[torch.Tensor]:
        batch = tokenizer(data.texts, padding="longest", return_tensors="pt")  # of the whole set
        parts = [
            pooled({key: value[begin : begin + 4] for key, value in batch.items()})
            for begin in range(0, len(rows), 4)
        ]
        return list(torch.cat(parts, dim=1))

    @torch.no_grad()
    def in_buckets(rows: Sequence[int]) -> list[torch.Tensor]:
        texts = [data.texts[i] for i in rows]
        order = sorted(range(len(texts)), key=lambda i: -len(tokenizer(texts[i])["input_ids"]))
        found: list[Any] = [None] * len(texts)
        for begin in range(0, len(order), BATCH):
            places = order[begin : begin + BATCH]
            some = [texts[i] for i in places]
            states = pooled(tokenizer(some, padding="longest", return_tensors="pt"))
            for place, state in zip(places, states.unbind(1), strict=True):
                found[place] = state
        return list(torch.stack(found, dim=1))

    return in_buckets if bucketed else plain


def by_encode(name: str, data: Data, device: str, dtype: Any) -> Any:
    """The mean over tokens of the last layer, by sentence-transformers 6."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(name, model_kwargs={"dtype": dtype})
    transformer.modality_config.pop("message", None)  # a chat template around every text
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    model = SentenceTransformer(modules=[transformer, pooling], device=device)
    model.tokenizer.pad_token = model.tokenizer.pad_token or model.tokenizer.eos_token

    def encode(rows: Sequence[int]) -> list[torch.Tensor]:
        texts = [data.texts[i] for i in rows]
        return [torch.from_numpy(model.encode(texts, batch_size=BATCH)).float()]

    return encode


def of_images(data: Data, device: str, dtype: Any) -> Any:
    """One image at a time through timm, its own transform, all blocks."""
    import timm
    import torch
    from timm.data import create_transform, resolve_data_config

    torch.manual_seed(0)
    network = timm.create_model(VISION, num_classes=0).eval().to(device, dtype)
    transform = create_transform(**resolve_data_config({}, model=network))

    @torch.no_grad()
    def one_by_one(rows: Sequence[int]) -> list[torch.Tensor]:
        pooled = []
        for i in rows:
            image = transform(data[i])[None].to(device, dtype)
            outputs = network.forward_intermediates(
                image, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
            )
            pooled.append(torch.stack([prefix[:, 0].float().cpu() for _, prefix in outputs]))
        return list(torch.cat(pooled, dim=1))

    return one_by_one


def start_of_peak(device: str) -> float:
    """Forget the peak so far; megabytes in use now."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e6
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def end_of_peak(device: str) -> float:
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    return memory("VmHWM") + sum(memory("VmHWM", child) for child in children())


def memory(field: str, process: str = "self") -> float:
    """Megabytes that Linux says of a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1e3


def children() -> list[str]:
    import psutil

    return [str(child.pid) for child in psutil.Process().children(recursive=True)]


if __name__ == "__main__":
    main()
