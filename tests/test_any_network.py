"""Networks of transformers that see, hear or read: the features of a hand-made forward pass.

Every architecture is built small and random from its configuration class, saved with its processor
and opened by name. The hand-made pass prepares one sample with the processor's own classes, taps
the blocks by hooks that the table names, and pools by itself: it shares no code with the package.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers as hf
from PIL import Image
from test_language import make_tokenizer
from timm.models import save_for_hf
from torch import Tensor, nn

from platorep.config import ModelSpec
from platorep.kinds.audio import Sound
from platorep.kinds.video import film_of
from platorep.models import Reading, open_model
from platorep.models.memory import Batching

BODY = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 24, "initializer_range": 0.3},
}
CUT = {"image_size": 32, "patch_size": 8}
WORDS = {
    **{"vocab_size": 60, "max_position_embeddings": 40},
    **{"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
}
SPEECH = {
    **{"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2},
}
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
QWEN_TEXT = BODY | WORDS | {"num_key_value_heads": 1, "rope_parameters": ROPE}
QWEN_EYES = {
    "depth": 2,
    "num_heads": 2,
    "patch_size": 8,
    "spatial_merge_size": 2,
    "hidden_size": 16,
}
CLAP_EARS = {
    **{"window_size": 4, "num_mel_bins": 64, "spec_size": 128, "patch_embeds_hidden_size": 8},
    **{"depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 16, "projection_dim": 16},
    **{"patch_size": 4, "patch_stride": [4, 4]},
}
TWO_SIDES = {"text_config": BODY | WORDS, "vision_config": BODY | CUT}
SIZE = {"size": {"height": 32, "width": 32}}
CLIP_SIZE = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
TEXTS = ("a dog runs", "snow", "two children play in the snow", "a cat")


def images() -> list[Any]:
    noise = np.random.default_rng(0)
    return [
        Image.fromarray(noise.integers(0, 256, (40, 40 + 4 * i, 3), dtype=np.uint8))
        for i in range(4)
    ]


def sounds(rate: int = 16_000) -> list[Any]:
    noise = np.random.default_rng(1)
    return [
        Sound(noise.standard_normal(n).astype(np.float32), rate) for n in (4000, 2500, 4000, 3100)
    ]


def films() -> list[Any]:
    noise = np.random.default_rng(2)
    frames = (noise.integers(0, 256, (n, 40, 40, 3), dtype=np.uint8) for n in (4, 9, 6, 4))
    return [film_of(one, 10.0) for one in frames]


@dataclass
class Rows:
    """One view of a dataset."""

    samples: Sequence[Any]
    ids: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids = self.ids or [f"row-{i}" for i in range(len(self.samples))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int, /) -> Any:
        return self.samples[i]


SAMPLES: Mapping[str, Callable[[], list[Any]]] = {
    "image": images,
    "audio": sounds,
    "video": films,
    "text": lambda: list(TEXTS),
}
MODALITY = {"image": "vision", "audio": "audio", "video": "video", "text": "language"}


def picture(processor: Any, sample: Any) -> dict[str, Tensor]:
    return dict(processor(images=sample, return_tensors="pt"))


def packed(processor: Any, sample: Any) -> dict[str, Tensor]:
    found = processor(images=sample, return_tensors="pt")
    return {"hidden_states": found["pixel_values"], "grid_thw": found["image_grid_thw"]}


def packed_film(processor: Any, sample: Any) -> dict[str, Tensor]:
    frames = torch.from_numpy(sample.frames(range(sample.num_frames))).permute(0, 3, 1, 2)
    found = processor(videos=[frames], return_tensors="pt")
    return {"hidden_states": found["pixel_values_videos"], "grid_thw": found["video_grid_thw"]}


def heard(extractor: Any, sample: Any) -> dict[str, Tensor]:
    wave = sample.waveform
    return dict(extractor(wave, sampling_rate=sample.rate, return_tensors="pt"))


def clapped(extractor: Any, sample: Any) -> dict[str, Tensor]:
    return heard(extractor, sample) | {"is_longer": torch.zeros(1, 1, dtype=torch.bool)}


def filmed(processor: Any, sample: Any) -> dict[str, Tensor]:
    four = [0, sample.num_frames // 4, sample.num_frames // 2, 3 * sample.num_frames // 4]
    frames = torch.from_numpy(sample.frames(four)).permute(0, 3, 1, 2)
    return dict(processor(videos=[frames], return_tensors="pt"))


def spoken(tokenizer: Any, sample: str) -> dict[str, Tensor]:
    return {"input_ids": torch.tensor([tokenizer(sample)["input_ids"]])}


@dataclass(frozen=True)
class Case:
    """An architecture, the part of it that is read, and what a hand-made pass needs to know."""

    config: Callable[[], Any]
    blocks: str
    """The list of blocks in the whole network; layer 0 is what enters its first."""
    kind: str = "image"
    processor: Callable[[], Any] = lambda: hf.ViTImageProcessor(**SIZE)
    prepare: Callable[[Any, Any], dict[str, Tensor]] = picture
    part: str = ""
    side: str | None = None
    last: str = ""
    """The final norm, whose output is the last state; absent: there is none before the last."""
    prefix: int = 0
    class_token: bool = False
    real: Callable[[Any], int] | None = None
    """How many tokens of a sample are no padding."""
    batching: Batching = Batching.ANY
    rate: int = 16_000

    def samples(self) -> list[Any]:
        return sounds(self.rate) if self.kind == "audio" else SAMPLES[self.kind]()


def clip(**other: Any) -> hf.CLIPConfig:
    return hf.CLIPConfig(**TWO_SIDES, projection_dim=16, **other)


def siglip2() -> hf.Siglip2Config:
    eyes = BODY | {"patch_size": 8, "num_patches": 16}
    return hf.Siglip2Config(text_config=BODY | WORDS, vision_config=eyes)


def llava() -> hf.LlavaConfig:
    return hf.LlavaConfig(
        text_config=hf.LlamaConfig(**BODY, **WORDS),
        vision_config=hf.CLIPVisionConfig(**BODY, **CUT),
    )


def qwen2() -> hf.Qwen2VLConfig:
    eyes = QWEN_EYES | {"embed_dim": 16, "mlp_ratio": 2}
    return hf.Qwen2VLConfig(text_config=QWEN_TEXT, vision_config=eyes)


def qwen25() -> hf.Qwen2_5_VLConfig:
    eyes = QWEN_EYES | {"intermediate_size": 24, "out_hidden_size": 16, "window_size": 16}
    eyes |= {"fullatt_block_indexes": [1]}
    return hf.Qwen2_5_VLConfig(text_config=QWEN_TEXT, vision_config=eyes)


def clap() -> hf.ClapConfig:
    return hf.ClapConfig(text_config=BODY | WORDS, audio_config=CLAP_EARS, projection_dim=16)


def whisper() -> hf.WhisperConfig:
    return hf.WhisperConfig(
        **{"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "vocab_size": 60},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 1},
        **{"encoder_ffn_dim": 24, "decoder_ffn_dim": 16, "max_source_positions": 50},
        num_mel_bins=8,
        init_std=0.3,
    )


def t5() -> hf.T5Config:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    return hf.T5Config(**sizes, vocab_size=60, decoder_start_token_id=1, pad_token_id=1)


WAV2VEC2 = {"kind": "audio", "blocks": "encoder.layers", "prepare": heard}
QWEN_IMAGES = {
    **{"part": "visual", "blocks": "visual.blocks", "batching": Batching.ONE_BY_ONE},
}


def qwen_images() -> hf.Qwen2VLImageProcessor:
    size = {"shortest_edge": 1024, "longest_edge": 4096}
    return hf.Qwen2VLImageProcessor(patch_size=8, size=size)


def qwen_films() -> hf.Qwen2VLVideoProcessor:
    size = {"shortest_edge": 1024, "longest_edge": 4096}
    return hf.Qwen2VLVideoProcessor(patch_size=8, size=size)


CASES: dict[str, Case] = {
    "vit": Case(
        lambda: hf.ViTConfig(**BODY, **CUT), "layers", last="layernorm", prefix=1, class_token=True
    ),
    "dinov2": Case(
        lambda: hf.Dinov2Config(**BODY, **CUT),
        "encoder.layer",
        processor=lambda: hf.BitImageProcessor(**CLIP_SIZE),
        last="layernorm",
        prefix=1,
        class_token=True,
    ),
    "dinov3": Case(
        lambda: hf.DINOv3ViTConfig(**BODY, **CUT, num_register_tokens=3),
        "model.layer",
        processor=lambda: hf.DINOv3ViTImageProcessor(**SIZE),
        last="norm",
        prefix=4,
        class_token=True,
    ),
    "convnext": Case(
        lambda: hf.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 2, 1]),
        "encoder.stages",
        processor=lambda: hf.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=1.0),
    ),
    "clip-vision": Case(
        clip,
        "vision_model.encoder.layers",
        processor=lambda: hf.CLIPImageProcessor(**CLIP_SIZE),
        part="vision_model",
        prefix=1,
        class_token=True,
    ),
    "siglip-vision": Case(
        lambda: hf.SiglipConfig(**TWO_SIDES),
        "vision_model.encoder.layers",
        processor=lambda: hf.SiglipImageProcessor(**SIZE),
        last="vision_model.post_layernorm",
        part="vision_model",
    ),
    "siglip2-vision": Case(
        siglip2,
        "vision_model.encoder.layers",
        processor=lambda: hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=14),
        part="vision_model",
        last="vision_model.post_layernorm",
        real=lambda given: int(given["pixel_attention_mask"].sum()),
    ),
    "llava-vision": Case(
        llava,
        "vision_tower.encoder.layers",
        processor=lambda: hf.LlavaImageProcessor(**CLIP_SIZE),
        part="vision_tower",
        prefix=1,
        class_token=True,
    ),
    "qwen2-vl-vision": Case(qwen2, processor=qwen_images, prepare=packed, **QWEN_IMAGES),
    "qwen2.5-vl-vision": Case(qwen25, processor=qwen_images, prepare=packed, **QWEN_IMAGES),
    "qwen2-vl-films": Case(
        qwen2, processor=qwen_films, prepare=packed_film, kind="video", **QWEN_IMAGES
    ),
    "wav2vec2": Case(
        lambda: hf.Wav2Vec2Config(
            **BODY, **SPEECH, do_stable_layer_norm=True, feat_extract_norm="layer"
        ),
        processor=lambda: hf.Wav2Vec2FeatureExtractor(return_attention_mask=True),
        last="encoder.layer_norm",
        **WAV2VEC2,
    ),
    "hubert": Case(
        lambda: hf.HubertConfig(**BODY, **SPEECH),
        processor=lambda: hf.Wav2Vec2FeatureExtractor(return_attention_mask=False),
        batching=Batching.EQUAL_LENGTH,
        **WAV2VEC2,
    ),
    "whisper": Case(
        whisper,
        "encoder.layers",
        kind="audio",
        processor=lambda: hf.WhisperFeatureExtractor(feature_size=8, chunk_length=1),
        prepare=heard,
        part="encoder",
        last="encoder.layer_norm",
        real=lambda sample: -(-(sample // 160) // 2),
    ),
    "ast": Case(
        lambda: hf.ASTConfig(
            **BODY, patch_size=8, frequency_stride=8, time_stride=8, max_length=64, num_mel_bins=32
        ),
        "layers",
        kind="audio",
        processor=lambda: hf.ASTFeatureExtractor(max_length=64, num_mel_bins=32),
        prepare=heard,
        last="layernorm",
        prefix=2,
        class_token=True,
    ),
    "clap-audio": Case(
        clap,
        "audio_model.audio_encoder.layers",
        kind="audio",
        processor=lambda: hf.ClapFeatureExtractor(max_length_s=1, truncation="rand_trunc"),
        prepare=clapped,
        rate=48_000,
        last="audio_model.audio_encoder.norm",
        part="audio_model",
    ),
    "videomae": Case(
        lambda: hf.VideoMAEConfig(**BODY, **CUT, num_frames=4),
        "encoder.layer",
        kind="video",
        processor=lambda: hf.VideoMAEVideoProcessor(**CLIP_SIZE),
        prepare=filmed,
    ),
    "timesformer": Case(
        lambda: hf.TimesformerConfig(**BODY, **CUT, num_frames=4),
        "encoder.layer",
        kind="video",
        processor=lambda: hf.TimesformerVideoProcessor(**CLIP_SIZE),
        prepare=filmed,
        last="layernorm",
        prefix=1,
        class_token=True,
    ),
    "vjepa2": Case(
        lambda: hf.VJEPA2Config(
            **BODY,
            patch_size=8,
            crop_size=32,
            frames_per_clip=4,
            mlp_ratio=2,
            pred_hidden_size=16,
            pred_num_attention_heads=2,
            pred_num_hidden_layers=1,
        ),
        "encoder.layer",
        kind="video",
        processor=lambda: hf.VJEPA2VideoProcessor(**CLIP_SIZE),
        prepare=filmed,
        last="encoder.layernorm",
    ),
    "clip-text": Case(clip, "text_model.encoder.layers", kind="text", part="text_model"),
    "siglip-text": Case(
        lambda: hf.SiglipConfig(**TWO_SIDES),
        "text_model.encoder.layers",
        kind="text",
        part="text_model",
    ),
    "siglip2-text": Case(siglip2, "text_model.encoder.layers", kind="text", part="text_model"),
    "clap-text": Case(clap, "text_model.encoder.layer", kind="text", part="text_model"),
    "llava-language": Case(
        llava,
        "language_model.layers",
        kind="text",
        part="language_model",
        side="language",
        last="language_model.norm",
    ),
    "qwen2-vl-language": Case(
        qwen2,
        "language_model.layers",
        kind="text",
        part="language_model",
        side="language",
        last="language_model.norm",
    ),
    "qwen2.5-vl-language": Case(
        qwen25,
        "language_model.layers",
        kind="text",
        part="language_model",
        side="language",
        last="language_model.norm",
    ),
    "t5-encoder": Case(
        t5, "encoder.block", kind="text", part="encoder", last="encoder.final_layer_norm"
    ),
    "t5-decoder": Case(
        t5, "decoder.block", kind="text", side="language", last="decoder.final_layer_norm"
    ),
}


def save(folder: Path, case: Case) -> Path:
    torch.manual_seed(0)
    network = hf.AutoModel.from_config(case.config())
    with torch.no_grad():  # biases, norms and class tokens too, which begin at 0 and 1
        for value in network.parameters():
            value += 0.2 * torch.randn_like(value)
    network.save_pretrained(folder)
    (make_tokenizer() if case.kind == "text" else case.processor()).save_pretrained(folder)
    return folder


def make_spec(folder: Path, case: Case, **settings: Any) -> ModelSpec:
    given = {"label": "tiny", "modality": MODALITY[case.kind], "side": case.side}
    given |= {"backend": "transformers", "view": "it", "kind": case.kind, "family": "tests"}
    return ModelSpec(name=str(folder), **(given | settings))


def load(folder: Path, case: Case, **settings: Any) -> Any:
    return open_model(make_spec(folder, case, **settings), offline=True).load("cpu", torch.float32)


def by_hand(folder: Path, case: Case, pool: str) -> list[Tensor]:
    """States at the hooks of the table, one sample at a time, pooled in float64."""
    network = hf.AutoModel.from_pretrained(folder).eval()
    is_text = case.kind == "text"  # SigLIP 2 has a tokenizer class of its own
    processor = case.processor()
    if is_text:
        processor = hf.AutoTokenizer.from_pretrained(folder)
    elif case.kind == "image":  # in early releases of transformers 5 another class than it names
        processor = hf.AutoImageProcessor.from_pretrained(folder)
    prepare = spoken if is_text else case.prepare
    blocks: Any = network.get_submodule(case.blocks)
    part = network.get_submodule(case.part)
    rows = []
    for sample in case.samples():
        states: list[Tensor] = []

        def before(_: nn.Module, args: Any, given: Any, states: list[Tensor] = states) -> None:
            states.append(args[0] if args else given["hidden_states"])

        def after(_: nn.Module, __: Any, output: Any, states: list[Tensor] = states) -> None:
            states.append(output[0] if isinstance(output, tuple) else output)

        hooks = [block.register_forward_pre_hook(before, with_kwargs=True) for block in blocks]
        last = network.get_submodule(case.last) if case.last else blocks[-1]
        hooks.append(last.register_forward_hook(after))
        given = prepare(processor, sample)
        extra: dict[str, Any] = {}
        if case.blocks.startswith("decoder"):
            ids = given["input_ids"]
            extra = {"decoder_input_ids": torch.cat([torch.ones_like(ids[:, :1]), ids[:, :-1]], 1)}
        with torch.no_grad():
            part(**given, **extra)
        for hook in hooks:
            hook.remove()
        num_real = None
        if case.real is not None:
            num_real = case.real(len(sample.waveform) if case.kind == "audio" else given)
        rows.append([pooled(state, case, pool, num_real) for state in states])
    return [torch.stack(layer).float() for layer in zip(*rows, strict=True)]


def pooled(state: Tensor, case: Case, pool: str, num_real: int | None) -> Tensor:
    state = state.double()
    if state.ndim == 4:  # a map
        return state[0].flatten(1).mean(1)
    tokens = state.reshape(-1, state.shape[-1])
    return tokens[0] if pool == "cls" else tokens[case.prefix :][:num_real].mean(0)


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    assert [tuple(one.shape) for one in found] == [tuple(one.shape) for one in expected]
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", CASES)
def test_equals_a_forward_pass_by_hand(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    folder = save(tmp_path, case)
    rows = Rows(case.samples())
    for pool in ("mean", "cls") if case.class_token else ("mean",):
        model = open_model(make_spec(folder, case, pool=pool), offline=True)
        loaded = model.load("cpu", torch.float32)
        expected = by_hand(folder, case, pool)
        many = 100 if case.kind == "text" else 4
        worst = 0.0
        for batch in (1, many):
            found = loaded.features(Reading(range(4), rows, batch=batch, workers=0))
            worst = max(worst, difference(found, expected))
        assert worst < 1e-5
        assert loaded.batching is case.batching
        assert loaded.layers == model.describe().layers
        assert model.describe().widths == tuple(layer.shape[1] for layer in expected)


def test_several_pools_of_one_forward_pass(tmp_path: Path) -> None:
    case = CASES["dinov3"]
    folder, rows = save(tmp_path, case), Rows(images())
    found = load(folder, case, pools=("cls", "mean")).features(Reading(range(4), rows))
    expected = by_hand(folder, case, "cls") + by_hand(folder, case, "mean")
    assert difference(found, expected) < 1e-5


@dataclass
class MadeThere:
    """Samples that are made where they are asked for, as files are decoded."""

    kind: str
    ids: Sequence[str] = ("row-0", "row-1", "row-2", "row-3")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int, /) -> Any:
        return SAMPLES[self.kind]()[i]


@pytest.mark.parametrize("name", ["clip-vision", "hubert", "videomae"])
def test_worker_processes_change_nothing(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    loaded = load(save(tmp_path, case), case)
    rows = MadeThere(case.kind)
    here = loaded.features(Reading(range(4), rows, workers=0))
    there = loaded.features(Reading([3, 1], rows, workers=1))
    loaded.close()
    assert difference(there, [layer[[3, 1]] for layer in here]) < 1e-6


def test_the_same_weights_through_timm(tmp_path: Path) -> None:
    """timm taps each block without a final norm: what enters the next one, or that norm."""
    size = {"embed_dim": 64, "depth": 3, "num_heads": 2, "img_size": 32, "patch_size": 8}
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=0, mlp_ratio=2, **size).eval()
    config = hf.ViTConfig(
        **{"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2},
        **{"intermediate_size": 128, "layer_norm_eps": 1e-6},
        **CUT,
    )
    case = Case(lambda: config, "layers")
    folder = save(tmp_path / "transformers", case)
    network = hf.AutoModel.from_pretrained(folder)
    theirs.load_state_dict(as_timm(network.state_dict(), config.num_hidden_layers))
    save_for_hf(
        theirs, tmp_path / "timm", safe_serialization=True, model_args=size | {"mlp_ratio": 2}
    )
    rows = Rows([Image.fromarray(np.asarray(one)[:32, :32]) for one in images()])
    transform = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 1.0}
    for pool in ("cls", "mean"):
        ours = load(folder, case, pool=pool).features(Reading(range(4), rows))
        spec = ModelSpec(
            **{"name": f"local-dir:{tmp_path / 'timm'}", "label": "tiny", "family": "tests"},
            **{"modality": "vision", "backend": "timm", "pool": pool, "transform": transform},
        )
        tapped = open_model(spec, offline=True).load("cpu", torch.float32)
        blocks = tapped.features(Reading(range(4), rows))
        assert len(ours) == len(blocks) + 1
        assert difference(ours[1:-1], blocks[:-1]) < 1e-5
        if pool == "cls":  # the mean of normed patches is not the norm of their mean
            with torch.no_grad():
                assert difference(ours[-1:], [theirs.norm(blocks[-1])]) < 1e-5


def as_timm(state: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """Weights of transformers' ViT under timm's names; timm has one matrix of queries to values."""
    found = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
    }
    pairs = {"patch_embed.proj": "embeddings.patch_embeddings.projection", "norm": "layernorm"}
    for i in range(num_layers):
        pairs |= {
            f"blocks.{i}.norm1": f"layers.{i}.layernorm_before",
            f"blocks.{i}.norm2": f"layers.{i}.layernorm_after",
            f"blocks.{i}.attn.proj": f"layers.{i}.attention.o_proj",
            f"blocks.{i}.mlp.fc1": f"layers.{i}.mlp.fc1",
            f"blocks.{i}.mlp.fc2": f"layers.{i}.mlp.fc2",
        }
        for end in ("weight", "bias"):
            of_attention = [f"layers.{i}.attention.{name}_proj.{end}" for name in "qkv"]
            found[f"blocks.{i}.attn.qkv.{end}"] = torch.cat([state[key] for key in of_attention])
    for ours, theirs in pairs.items():
        found |= {f"{ours}.{end}": state[f"{theirs}.{end}"] for end in ("weight", "bias")}
    return found
