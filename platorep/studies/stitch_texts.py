"""Stitches of causal language models on an experiment: tokens, bits per byte."""

import math
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from torch import float32

from platorep.bridges.stitching import Joint, Rows, Stitch, told
from platorep.bridges.token_stitch import OpenCausal, TappedTexts, TextJoint, tap_texts
from platorep.config import ModelSpec
from platorep.config.bridges import StitchConfig
from platorep.data import EventDataset
from platorep.errors import ConfigError, DataError
from platorep.performance.bits import first_token, own_context
from platorep.performance.causal import LoadedCausalModel, open_causal
from platorep.performance.words import Labels, divided
from platorep.run import Run
from platorep.studies.stitch_bench import BITS, At, Bench, Judged

STATE = re.compile(r"hidden_states\.(\d+)")


class TextBench(Bench):
    """Causal models that read one view of texts, with the same tokens."""

    measure = BITS

    def __init__(self, run: Run, dataset: EventDataset, config: StitchConfig, view: str) -> None:
        super().__init__(run, dataset, config, view)
        self._loaded: dict[str, LoadedCausalModel] = {}
        self._tapped: dict[str, TappedTexts] = {}
        self._tokens: dict[str, list[list[int]]] = {}

    @property
    def decides(self) -> list[Any]:
        return []

    def layers(self, names: tuple[str, ...]) -> list[int]:
        """All but the last hidden state, which enters no block."""
        found = [i for i, name in enumerate(names) if STATE.fullmatch(name)]
        return found[:-1] if len(found) == len(names) > 1 else found

    def divided(self, seed: int) -> Labels:
        nothing = np.empty((len(self._dataset), 0), dtype=bool)
        shares = (self._config.test_share, self._config.validation_share)
        return divided(nothing, (), "bridge.stitch", seed, shares)

    def joint(self, front: At, back: At, seed: int, seen: Rows | None) -> Joint:
        x, y = self._read(front.spec), self._read(back.spec)
        if x != y or self._vocabulary(front.spec) != self._vocabulary(back.spec):
            raise ConfigError(
                f"{front.spec.label} and {back.spec.label} have tokenizers that cut texts into "
                "other tokens, so there is no token to stitch at. Name pairs that share one "
                "(`bridge.stitch.pairs`)."
            )
        return TextJoint(
            (self._tap(front), state(front.name)), (self._tap(back), state(back.name)), y, seen
        )

    def judge(self, joint: Joint, stitches: list[Stitch], back: At, seed: int) -> list[Judged]:
        assert isinstance(joint, TextJoint)
        test = self.divided(seed).test
        texts = self._texts
        num_bytes = np.array([len(texts[row].encode()) for row in test])
        own = self._tap(back).nats[test].double().numpy() / math.log(2)
        found = []
        for stitch in stitches:
            nats = told(joint.tell, stitch, test, self._config.batch_size)
            bits = nats.double().numpy() / math.log(2)
            total = num_bytes.sum()
            penalty = (bits - own).sum() / total
            left = bits - own - penalty * num_bytes  # of a ratio: how far each text is from it
            stderr = math.sqrt(len(test) / (len(test) - 1) * (left**2).sum()) / total
            found.append(
                Judged(float(own.sum() / total), float(bits.sum() / total), penalty, stderr)
            )
        return found

    def check(self, back: At) -> None:
        pass  # `OpenCausal` has refused what cannot be cut

    def forget(self, but: set[str]) -> None:
        self._loaded = {label: of for label, of in self._loaded.items() if label in but}
        self._tapped = {label: of for label, of in self._tapped.items() if label in but}

    @cached_property
    def _texts(self) -> Sequence[str]:
        texts = self._dataset.views[self._view].texts
        assert texts is not None
        return texts

    def _load(self, spec: ModelSpec) -> LoadedCausalModel:
        if spec.label not in self._loaded:
            model = open_causal(spec, offline=self._run.options.offline)
            if why := model.why_none():
                raise ConfigError(f"{spec.label} is {why}: it has no head that predicts tokens.")
            self._loaded[spec.label] = model.load(self._run.device, float32)
        return self._loaded[spec.label]

    def _vocabulary(self, spec: ModelSpec) -> dict[str, int]:
        found: dict[str, int] = self._load(spec).tokenizer.get_vocab()
        return found

    def _read(self, spec: ModelSpec) -> list[list[int]]:
        """The tokens of all texts, a first one before each."""
        if spec.label not in self._tokens:
            loaded = self._load(spec)
            first = first_token(loaded.tokenizer)
            own: Any = loaded.tokenizer(list(self._texts), add_special_tokens=False)["input_ids"]
            tokens = [[first, *text] for text in own]
            longest = own_context(loaded.network, loaded.tokenizer)
            for row, text in enumerate(tokens):
                if not 1 < len(text) <= longest:
                    raise DataError(
                        f"the text of row {self._dataset.ids[row]!r} has {len(text) - 1} tokens to "
                        f"{spec.label}, which reads 1 to {longest - 1}. Drop the row."
                    )
            self._tokens[spec.label] = tokens
        return self._tokens[spec.label]

    def _tap(self, at: At) -> TappedTexts:
        label = at.spec.label
        if label not in self._tapped:
            model = OpenCausal(self._load(at.spec).network, label)
            tokens = self._read(at.spec)
            layers = [state(name) for name in at.names]
            with self._run.report.task(f"look into {label}", len(tokens), "texts") as advance:
                self._tapped[label] = tap_texts(
                    model, layers, tokens, self._config.batch_size, advance
                )
        return self._tapped[label]


def state(name: str) -> int:
    """The number of a hidden state: that of the block that it enters."""
    found = STATE.fullmatch(name)
    assert found is not None
    return int(found[1])
