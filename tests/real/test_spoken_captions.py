"""Real sound: the captions of real photographs, spoken by the operating system's synthesiser.

A proof that sound works from a file to a figure, not a claim about what networks hear: the features
are hand-made or of random networks, and a synthesiser says the same word always alike.
"""

import csv
import hashlib
import json
import shutil
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from processes import Ended

import platorep

N, K = 256, 10
CHANCE = K / (N - 1)
VOICES = ("en-us+m3", "en-gb+f2", "en-us+f4", "en-gb+m7")
HEARING = '''"""Two ways to hear without having learnt anything."""

import numpy as np
import torch
from torch import nn

RATE, WINDOW, HOP, MELS, PARTS = 16_000, 400, 160, 40, 24


def waveform(sound):
    """The sound as it is; the networks below take any rate."""
    return torch.from_numpy(sound.waveform), torch.tensor(float(sound.rate))


class Statistics(nn.Module):
    """Length, loudness, zero crossings, and the moments of the waveform."""

    def forward(self, wave, rate):
        size = wave.std(-1, keepdim=True)
        shape = (wave - wave.mean(-1, keepdim=True)) / size
        crossings = (wave[:, 1:] * wave[:, :-1] < 0).to(wave.dtype).mean(-1, keepdim=True)
        seconds = wave.shape[-1] / rate[:, None]
        moments = [(shape**power).mean(-1, keepdim=True) for power in (3, 4)]
        return torch.cat([seconds, 10 * size, 10 * crossings, *moments], -1)


class LogMel(nn.Module):
    """Log energies in mel bands: averaged over time, and in parts of equal length."""

    def __init__(self):
        super().__init__()
        self.mean, self.profile = (
            nn.Sequential(nn.AdaptiveAvgPool1d(parts), nn.Flatten()) for parts in (1, PARTS)
        )

    def forward(self, wave, rate):
        window = torch.hann_window(WINDOW, dtype=wave.dtype)
        power = torch.stft(wave, WINDOW, HOP, window=window, return_complex=True).abs() ** 2
        bands = torch.log(_bands(power.shape[1], float(rate[0])).to(wave.dtype) @ power + 1e-6)
        bands = bands - bands.mean((1, 2), keepdim=True)
        self.mean(bands)
        return self.profile(bands)


def _bands(bins, rate):
    """Triangles of equal width on the mel scale: bands x bins."""
    hertz = torch.linspace(0, rate / 2, bins)
    mel = 2595 * torch.log10(1 + hertz / 700)
    centres = torch.linspace(0, float(mel[-1]), MELS + 2)
    width = centres[1]
    return (1 - (mel[None] - centres[1:-1, None]).abs() / width).clamp(min=0)


def statistics():
    return Statistics()


def log_mel():
    return LogMel()
'''


def speak(real: Path, folder: Path) -> None:
    """A folder with a caption, its photograph and its sound per row; the voices take turns."""
    program = shutil.which("espeak-ng")
    if program is None:
        pytest.skip("nobody to speak: espeak-ng is not there (`apt-get install espeak-ng`)")
    folder.mkdir()
    with (real / "flickr8k" / "captions.csv").open(newline="", encoding="utf-8") as file:
        photographs = list(csv.DictReader(file))[:N]
    rows = []
    for number, row in enumerate(photographs):
        caption = min((row[f"caption_{i}"] for i in range(5)), key=lambda text: len(text.split()))
        sound = folder / f"{number:03}.wav"
        voice = VOICES[number % len(VOICES)]
        subprocess.run([program, "-v", voice, "-s", "260", "-w", str(sound), caption], check=True)
        image = real / "flickr8k" / row["file_name"]
        rows.append({"image": str(image), "caption": caption, "sound": sound.name})
    pd.DataFrame(rows).to_csv(folder / "captions.csv", index=False)


def experiment(base: Path, real: Path, minilm: Path) -> dict[str, Any]:
    hears = {"modality": "audio", "reads": ["sound"]}
    own = hears | {"backend": "module"}
    eyes = {
        "name": "mobilenetv2_100",
        "checkpoint": str(real / "vision" / "mobilenetv2_100.safetensors"),
        "arguments": {"num_classes": 0},
    }
    taught = {"label": "log-mel", "inputs": "hearing:waveform", "layers": ["mean", "profile"]}
    simple = {"label": "statistics", "inputs": "hearing:waveform", "layers": ["output"]}
    wav2vec2 = {"name": str(base / "wav2vec2"), "label": "Wav2Vec2, random"}
    texts = [str(real / "caption_lms" / "llama-h128-l4"), {"name": str(minilm), "label": "MiniLM"}]
    return {
        "name": "spoken",
        "dataset": {
            "source": "spoken",
            "files_anywhere": True,
            "views": {
                "image": {},
                "text": {"column": "caption"},
                "sound": {"kind": "audio"},
                "backwards": {"of": "sound", "change": "reverse"},
                "noisy": {"of": "sound", "change": "noise", "snr_db": 0},
            },
        },
        "families": [
            {"name": "statistics", "models": [{"name": "hearing:statistics"} | simple]} | own,
            {"name": "log-mel", "models": [{"name": "hearing:log_mel"} | taught]} | own,
            {"name": "Wav2Vec2", "models": [wav2vec2]} | hears,
            {"name": "texts", "modality": "language", "models": texts},
            {"name": "MobileNet", "modality": "vision", "models": [eyes]},
        ],
        "extract": {"workers": 0},
        "align": {
            "pairs": [["audio", "language"], ["audio", "vision"], ["language", "vision"]],
            "metrics": [{"name": "mutual_knn", "k": K}],
            "null": {"permutations": 200},
        },
        "controls": {"shuffled_pairs": True, "changed_views": True},
        "figures": [{"kind": "changes"}, {"kind": "senses"}],
    }


def make_wav2vec2(folder: Path) -> None:
    """A small one, never trained."""
    torch.manual_seed(0)
    config = hf.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    hf.Wav2Vec2Model(config).save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor().save_pretrained(folder)


@pytest.fixture(scope="module")
def spoken(
    real: Path,
    minilm: Path,
    command: Callable[..., Ended],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Results of a run on spoken captions, through the command."""
    base = tmp_path_factory.mktemp("spoken")
    speak(real, base / "spoken")
    make_wav2vec2(base / "wav2vec2")
    (base / "hearing.py").write_text(HEARING, encoding="utf-8")
    (base / "spoken.yaml").write_text(json.dumps(experiment(base, real, minilm)), encoding="utf-8")
    command(base, "run", "spoken.yaml")
    return base / "results" / "spoken"


@pytest.fixture(scope="module")
def best(spoken: Path) -> pd.DataFrame:
    """Pairs as they belong together, by (x, y)."""
    table = pd.read_csv(spoken / "best.csv", keep_default_na=False)
    table = table[table["control"] == ""].set_index(["x", "y"])
    return table[["score", "threshold", "p"]].astype(float)


@pytest.fixture
def cached(real_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The features are looked for where the run has left them."""
    monkeypatch.setenv("PLATOREP_CACHE", str(real_cache))


HEARS = ("statistics", "log-mel", "Wav2Vec2, random")


def test_a_sound_is_known_by_its_bytes(spoken: Path) -> None:
    rows = pd.read_parquet(spoken / "rows.parquet")
    folder = spoken.parents[1] / "spoken"

    assert len(rows) == N
    for number in (0, 1, N - 1):
        encoded = (folder / f"{number:03}.wav").read_bytes()
        assert rows["sound_sha256"][number] == hashlib.sha256(encoded).hexdigest()


@pytest.mark.usefixtures("cached")
def test_the_statistics_are_those_of_the_files(spoken: Path) -> None:
    """Read by the standard library, not by what platorep reads sounds with."""
    (features,) = platorep.load_features(spoken, "statistics").layers
    for number in (0, 100, N - 1):
        with wave.open(str(spoken.parents[1] / "spoken" / f"{number:03}.wav")) as file:
            seconds = file.getnframes() / file.getframerate()
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 2**15
        found = features[number].tolist()
        assert found[0] == pytest.approx(seconds, rel=1e-5)
        assert found[1] == pytest.approx(10 * samples.std(ddof=1), rel=1e-4)
        crossings = np.mean(samples[1:] * samples[:-1] < 0)
        assert found[2] == pytest.approx(10 * crossings, rel=1e-4)


@pytest.mark.parametrize("ear", ["statistics", "log-mel"])
def test_what_is_heard_agrees_with_what_is_read(best: pd.DataFrame, ear: str) -> None:
    """A sentence encoder and ears that have learnt nothing: both know how a caption begins, and how
    long it is."""
    pair = best.loc[(ear, "MiniLM")]
    assert pair["score"] > pair["threshold"]
    assert pair["p"] < 0.02


def test_what_is_read_agrees_more_with_what_is_seen_than_what_is_heard(best: pd.DataFrame) -> None:
    eyes = "mobilenetv2_100"
    assert best.loc[("MiniLM", eyes), "score"] > 2 * max(
        best.loc[(ear, eyes), "score"] for ear in HEARS
    )


def test_shuffled_pairs_are_at_chance(spoken: Path) -> None:
    """The mean over all layer pairs within the sampling error of one of them."""
    scores = pd.read_parquet(spoken / "scores.parquet")
    shuffled = scores[(scores["control"] == "shuffled") & ~scores["degenerate"]]["score"]
    per_row = K * CHANCE * (1 - CHANCE) * (N - 1 - K) / (N - 2)  # variance of common neighbors
    error = np.sqrt(per_row / N) / K

    assert len(shuffled) > 100
    assert abs(shuffled.mean() - CHANCE) < error


@pytest.mark.usefixtures("cached")
def test_backwards_moves_no_statistic_and_noise_does(spoken: Path) -> None:
    """Length, loudness, crossings and moments know no direction of time."""
    (forward,), (backward,), (noisy,) = (
        platorep.load_features(spoken, f"statistics{view}").layers
        for view in ("", " (backwards)", " (noisy)")
    )
    torch.testing.assert_close(forward, backward, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(forward[:, 0], noisy[:, 0])  # as long as it was
    louder = noisy[:, 1] / forward[:, 1]  # as much noise as sound: twice the power
    assert louder.mean().item() == pytest.approx(2**0.5, abs=0.01)


def test_the_figures_show_the_changes_and_the_senses(spoken: Path) -> None:
    changes, senses = (
        pd.read_csv(spoken / "figures" / f"{name}.csv") for name in ("changes", "senses")
    )

    means = changes[changes["role"] == "mean"]
    assert set(means["view"]) == {"backwards", "noisy"}
    assert set(means["panel"]) == {"audio x language", "audio x vision"}
    assert set(means["num_pairs"]) == {2 * len(HEARS), len(HEARS)}
    assert set(senses.loc[senses["role"] == "sense", "row"]) == {"audio", "language", "vision"}
    assert (senses["role"] == "pair of senses").sum() == 3
