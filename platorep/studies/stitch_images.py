"""Stitches of image networks on an experiment: labels, classifiers, areas under the ROC curve."""

from functools import cached_property

import numpy as np
from jaxtyping import Bool
from torch import float32

from platorep.bridges.image_stitch import Head, ImageJoint, TappedImages, fit_head, tap_images
from platorep.bridges.stitching import Joint, Rows, Stitch, told
from platorep.config import ModelSpec
from platorep.config.bridges import StitchConfig
from platorep.data import EventDataset
from platorep.data.words import texts_with_words
from platorep.errors import ConfigError, nearest
from platorep.models import open_model
from platorep.performance.words import Labels, area_parts, areas, divided
from platorep.run import Run
from platorep.studies.stitch_bench import AREA, At, Bench, Judged


class ImageBench(Bench):
    """Networks that read one view of images."""

    measure = AREA

    def __init__(self, run: Run, dataset: EventDataset, config: StitchConfig, view: str) -> None:
        super().__init__(run, dataset, config, view)
        self._tapped: dict[str, TappedImages] = {}
        self._heads: dict[tuple[str, int], Head] = {}

    def layers(self, names: tuple[str, ...]) -> list[int]:
        return list(range(len(names)))

    @cached_property
    def decides(self) -> list[object]:
        words, having = self._labels
        return [list(words), having.astype(int).tolist(), list(self._config.c)]

    def divided(self, seed: int) -> Labels:
        words, having = self._labels
        shares = (self._config.test_share, self._config.validation_share)
        return divided(having, words, "bridge.stitch", seed, shares)

    def joint(self, front: At, back: At, seed: int, seen: Rows | None) -> Joint:
        return ImageJoint(
            (self._tap(front.spec, front.names), front.name),
            (self._tap(back.spec, back.names), back.name),
            self._head(back, seed),
            self._labels[1],
            seen,
        )

    def judge(self, joint: Joint, stitches: list[Stitch], back: At, seed: int) -> list[Judged]:
        assert isinstance(joint, ImageJoint)
        test = self.divided(seed).test
        having = self._labels[1][test]
        own = self._head(back, seed)(self._tap(back.spec, back.names).final[test])
        own_areas, own_parts = area_parts(own.numpy(), having)
        found = []
        for stitch in stitches:
            logits = told(joint.tell, stitch, test, self._config.batch_size)
            stitched, parts = area_parts(logits.numpy(), having)
            penalty = float(own_areas.mean() - stitched.mean())
            stderr = float(np.linalg.norm(own_parts - parts)) / len(stitched)
            found.append(Judged(float(own_areas.mean()), float(stitched.mean()), penalty, stderr))
        return found

    def forget(self, but: set[str]) -> None:
        self._tapped = {label: of for label, of in self._tapped.items() if label in but}

    def check(self, back: At) -> None:
        network = self._tap(back.spec, back.names).network
        if not network.can_resume(back.name):
            raise ConfigError(
                f"model {back.spec.label!r}: not all that it makes of an image goes through the "
                f"module {back.name!r}, so nothing can be put in its place. Name other `layers`."
            )

    @cached_property
    def _labels(self) -> tuple[tuple[str, ...], Bool[np.ndarray, "n k"]]:
        config = self._config
        view = config.view if config.label is None else config.label
        texts = self._dataset.views[view].texts if view in self._dataset.views else None
        if texts is None:
            known = [name for name, of in self._dataset.views.items() if of.texts is not None]
            raise ConfigError(
                f"bridge.stitch: {view!r} is no view of texts.{nearest(view, known)} There are: "
                f"{', '.join(known) or 'none'}."
            )
        if config.label is not None:
            classes = tuple(sorted(set(texts)))
            return classes, np.array([[text == one for one in classes] for text in texts])
        if not config.words:
            raise ConfigError(
                "bridge.stitch: the back of an image network must have something to tell. Name "
                "`words` of the captions (`words: [dog/dogs, water]`), or the view of labels "
                "(`label: NAME`)."
            )
        return config.words, texts_with_words(texts, config.words, "bridge.stitch.words")

    def _tap(self, spec: ModelSpec, names: tuple[str, ...]) -> TappedImages:
        if spec.label not in self._tapped:
            model = open_model(spec, offline=self._run.options.offline)
            self._run.prepare(model)
            network = model.open(self._run.device, float32)
            view = self._dataset.views[self._view]
            with self._run.report.task(f"look into {spec.label}", len(view), "images") as advance:
                self._tapped[spec.label] = tap_images(
                    network, names, view, self._config.batch_size, advance
                )
        return self._tapped[spec.label]

    def _head(self, back: At, seed: int) -> Head:
        """The classifier of the back's own outputs, its strength chosen on the rows held out."""
        if (back.spec.label, seed) not in self._heads:
            of, having = self.divided(seed), self._labels[1]
            final = self._tap(back.spec, back.names).final
            heads = [
                fit_head(final, having, of.train, c) for c in map(float, sorted(self._config.c))
            ]
            best = [
                areas(head(final[of.validation]).numpy(), having[of.validation])[0].mean()
                for head in heads
            ]
            self._heads[back.spec.label, seed] = heads[int(np.argmax(best))]
        return self._heads[back.spec.label, seed]
