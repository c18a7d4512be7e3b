"""Networks to begin with: public, known to timm or transformers, in families that grow.

Language and vision are those of arXiv:2405.07987 (BLOOMZ; ImageNet-21k, DINOv2, CLIP) with two
families whose smallest members suit a laptop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from platorep.parameters.views import KindName, Modality

Sizes = Sequence[tuple[str, int]]
"""Names with their numbers of parameters in millions, from the smallest."""


@dataclass(frozen=True, kw_only=True)
class KnownFamily:
    """Networks that differ in their size."""

    name: str
    modality: Modality
    reads: KindName
    sizes: Sizes
    tokens: int = 0
    """Positions of one sample; 0: as many as its text has."""
    settings: dict[str, str] = field(default_factory=dict)


KNOWN = (
    KnownFamily(
        name="SmolLM2",
        modality="language",
        reads="text",
        sizes=(
            ("HuggingFaceTB/SmolLM2-135M", 135),
            ("HuggingFaceTB/SmolLM2-360M", 362),
            ("HuggingFaceTB/SmolLM2-1.7B", 1711),
        ),
    ),
    KnownFamily(
        name="Pythia",
        modality="language",
        reads="text",
        sizes=(
            ("EleutherAI/pythia-70m", 70),
            ("EleutherAI/pythia-160m", 162),
            ("EleutherAI/pythia-410m", 405),
            ("EleutherAI/pythia-1b", 1012),
            ("EleutherAI/pythia-2.8b", 2775),
            ("EleutherAI/pythia-6.9b", 6857),
        ),
    ),
    KnownFamily(
        name="BLOOMZ",
        modality="language",
        reads="text",
        sizes=(
            ("bigscience/bloomz-560m", 559),
            ("bigscience/bloomz-1b1", 1065),
            ("bigscience/bloomz-1b7", 1722),
            ("bigscience/bloomz-3b", 3003),
            ("bigscience/bloomz-7b1", 7069),
        ),
    ),
    KnownFamily(
        name="ImageNet-21k",
        modality="vision",
        reads="image",
        tokens=197,
        settings={"pool": "cls"},
        sizes=(
            ("vit_tiny_patch16_224.augreg_in21k", 6),
            ("vit_small_patch16_224.augreg_in21k", 22),
            ("vit_base_patch16_224.augreg_in21k", 86),
            ("vit_large_patch16_224.augreg_in21k", 303),
        ),
    ),
    KnownFamily(
        name="DINOv2",
        modality="vision",
        reads="image",
        tokens=1370,
        settings={"pool": "cls"},
        sizes=(
            ("vit_small_patch14_dinov2.lvd142m", 22),
            ("vit_base_patch14_dinov2.lvd142m", 87),
            ("vit_large_patch14_dinov2.lvd142m", 304),
            ("vit_giant_patch14_dinov2.lvd142m", 1137),
        ),
    ),
    KnownFamily(
        name="CLIP",
        modality="vision",
        reads="image",
        tokens=257,
        settings={"pool": "cls"},
        sizes=(
            ("vit_base_patch16_clip_224.laion2b", 86),
            ("vit_large_patch14_clip_224.laion2b", 303),
            ("vit_huge_patch14_clip_224.laion2b", 631),
        ),
    ),
    KnownFamily(
        name="Whisper",
        modality="audio",
        reads="audio",
        tokens=1500,
        sizes=(
            ("openai/whisper-tiny", 38),
            ("openai/whisper-base", 73),
            ("openai/whisper-small", 242),
            ("openai/whisper-medium", 764),
        ),
    ),
    KnownFamily(
        name="HuBERT",
        modality="audio",
        reads="audio",
        tokens=500,
        sizes=(("facebook/hubert-base-ls960", 94), ("facebook/hubert-large-ll60k", 315)),
    ),
    KnownFamily(
        name="VideoMAE",
        modality="video",
        reads="video",
        tokens=1568,
        sizes=(("MCG-NJU/videomae-base", 94), ("MCG-NJU/videomae-large", 343)),
    ),
)
