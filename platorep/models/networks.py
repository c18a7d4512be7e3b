"""A timm network by name: its architecture, its weights and what identifies them."""

import contextlib
import difflib
import inspect
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch

from platorep.config import ModelSpec
from platorep.errors import (
    AbsentError,
    ConfigError,
    IntegrityError,
    PlatorepError,
    UnknownNameError,
)
from platorep.hub import FETCH_FIRST, bounded_sockets
from platorep.models.base import globs
from platorep.models.checkpoints import WEIGHTS, first_weights, losses, read_pickled
from platorep.models.hub import Repository, open_repository
from platorep.models.sources import file_hash

OF_TRANSFORMERS = "backend: transformers"
OF_CREATE_MODEL = frozenset(
    parameter.name
    for parameter in inspect.signature(timm.create_model).parameters.values()
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD
)


class Network:
    """What `spec.name` means to timm.

    A name of timm's registry (`architecture` or `architecture.tag`, with a `checkpoint` file or
    the weights of the tag), `hf-hub:owner/name`, or `local-dir:FOLDER`.
    """

    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        self._spec, self._offline = spec, offline
        if taken := sorted(OF_CREATE_MODEL & set(spec.arguments)):
            raise ConfigError(
                f"model {spec.label!r}: `arguments` are those of the architecture, and "
                f"{', '.join(taken)} would load other weights or other code past the cache's keys. "
                "Weights come from the name, from `checkpoint: FILE`, or from `random_init: true`."
            )
        self._kind, _, self._place = spec.name.partition(":")
        if self._kind not in ("hf-hub", "local-dir"):
            self._kind, self._place = "timm", spec.name
            check_name(spec.name)
        elif spec.checkpoint is not None:
            raise ConfigError(
                f"model {spec.label!r}: `checkpoint` needs the name of a timm architecture; "
                f"{spec.name!r} has its own weights."
            )
        if spec.random_of:
            return  # a control has the settings of its model
        own = spec.checkpoint is not None or spec.random_init
        from_hub = self._kind == "hf-hub" or (self._kind == "timm" and not own)
        if spec.revision is not None and not from_hub:
            raise ConfigError(
                f"model {spec.label!r}: `revision` is one of a hub repository, and nothing comes "
                "from one here. Leave it out."
            )
        if spec.checkpoint is not None and spec.random_init:
            raise ConfigError(
                f"model {spec.label!r}: `checkpoint` means nothing to random weights "
                "(`random_init`). Leave one of them out."
            )

    @cached_property
    def skeleton(self) -> Any:
        """The network without memory for its weights.

        Raises:
            ConfigError: timm cannot build it, or its layers cannot be tapped.
        """
        with torch.device("meta"):
            network = self._create().eval()
        if not hasattr(network, "forward_intermediates") and not globs(self._spec):
            raise ConfigError(
                f"model {self._spec.name!r}: timm's {type(network).__name__} has no "
                "`forward_intermediates`, so its layers are not known. Name the modules to tap "
                '(`layers: ["blocks.*"]`), or choose another architecture.'
            )
        return network

    def random(self) -> Any:
        """The network with seeded random weights, drawn on the CPU in float32."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._spec.seed)
            return self._create()

    def pretrained(self) -> tuple[Any, tuple[str, ...]]:
        """The network with its weights, and what timm says of weights left over.

        Raises:
            AbsentError: the weights are not there.
            IntegrityError: they do not fit the network.
        """
        file = self._weight_file()
        overlay = None if file is None else self._overlay(file)
        with losses() as lost:
            network = self._create(pretrained=True, pretrained_cfg_overlay=overlay)
        missing = [line for line in lost if line.startswith("Missing")]
        if missing:
            raise IntegrityError(
                f"the weights of {self._spec.name!r} lack parameters of the network, which would "
                f"be random. {missing[0]} Use a checkpoint of this architecture, or `random_init: "
                "true` for a random control."
            )
        network.pretrained_cfg.pop("state_dict", None)
        return network, tuple(lost)

    def _overlay(self, file: Path) -> dict[str, Any]:
        """What makes timm load `file`, converting it where it knows the format."""
        # Where the number of classes is not ours (0), timm leaves out the classifier.
        classes = self.skeleton.pretrained_cfg.get("num_classes") or 1000
        where: dict[str, Any] = {"file": str(file)}
        if file.suffix not in (".safetensors", ".npz"):
            # Not by timm, whose older releases unpickle whatever a local file holds.
            where = {"state_dict": read_pickled(file)}
        return {
            "source": "",
            "file": None,
            "custom_load": file.suffix == ".npz",
            "num_classes": classes,
            **where,
        }

    def identity(self) -> dict[str, Any]:
        """What names architecture and weights, wherever they lie."""
        found: dict[str, Any] = {
            "architecture": self.skeleton.pretrained_cfg["architecture"],
            "arguments": dict(self._spec.arguments),
        }
        if self._model_args:
            found["model_args"] = self._model_args
        if self._spec.random_init:
            initialised_by = f"timm {timm.__version__}"
            found["random_init"] = {"seed": self._spec.seed, "initialised_by": initialised_by}
        elif self._repository is not None:
            found |= {"name": self._repository.name, "revision": self._repository.commit}
        elif (file := self._weight_file()) is not None:
            found["weights"] = file_hash(file)
        else:
            found["url"] = self.skeleton.pretrained_cfg["url"]
        return found

    def download(self) -> None:
        if self._spec.random_init:
            self._create_name  # noqa: B018 - fetches the configuration
        elif self._weight_file() is None:
            self._create(pretrained=True)

    def bytes(self) -> tuple[int | None, int | None]:
        """Size of the weight file and what is still to be downloaded, None where unknown."""
        if self._spec.random_init:
            return None, 0
        if self._repository is not None:
            name = self._weight_name(self._repository)
            return self._repository.sizes[name], self._repository.missing_bytes([name])
        file = self._weight_file()
        return (None, None) if file is None else (file.stat().st_size, 0)

    def _create(self, **how: Any) -> Any:
        arguments = {"num_classes": 0, **self._size_argument, **self._spec.arguments}
        with _as_own_errors(self._spec):
            return timm.create_model(self._create_name, **how, **arguments)

    @property
    def image_size(self) -> int | None:
        """Side of the images that the arguments fix; None: what timm knows of the weights."""
        size: Any = self._spec.arguments.get("img_size")
        if size is None and self.skeleton.pretrained_cfg.get("fixed_input_size"):
            size = self._model_args.get("img_size")
        if not isinstance(size, list):
            return None if size is None else int(size)
        if len(set(size)) > 1:
            raise ConfigError(f"model {self._spec.label!r}: images of {size} are not square.")
        return int(size[0])

    @cached_property
    def _model_args(self) -> dict[str, Any]:
        """Arguments that a folder's config.json adds to the architecture."""
        if self._kind == "timm":
            return {}
        config = json.loads((self._folder / "config.json").read_text(encoding="utf-8"))
        return dict(config.get("model_args") or {})

    @cached_property
    def _size_argument(self) -> dict[str, int]:
        """Networks of a fixed input size must be told of another one."""
        size, arguments = self._spec.transform.input_size, self._spec.arguments
        if size is None or "img_size" in arguments:
            if (
                size not in (None, arguments.get("img_size"))
                and "dynamic_img_size" not in arguments
            ):
                raise ConfigError(
                    f"model {self._spec.label!r}: `transform.input_size: {size}` is not "
                    f"`arguments: {{img_size: {arguments['img_size']}}}`. Name one of them."
                )
            return {}
        with torch.device("meta"), _as_own_errors(self._spec):
            network = timm.create_model(self._create_name, **{"num_classes": 0, **arguments})
        return {"img_size": size} if network.pretrained_cfg.get("fixed_input_size") else {}

    @cached_property
    def _create_name(self) -> str:
        """What `timm.create_model` calls it."""
        return self._place if self._kind == "timm" else f"local-dir:{self._folder}"

    @cached_property
    def _folder(self) -> Path:
        """The folder with config.json, not necessarily with weights."""
        if self._kind == "hf-hub":
            assert self._repository is not None
            folder = self._repository.download(["config.json"])
        else:
            folder = Path(self._place)
        if not (folder / "config.json").is_file():
            raise AbsentError(
                f"{folder} has no config.json. Expected a folder written by timm's `save_for_hf`: "
                "config.json and weights."
            )
        if "architecture" not in json.loads((folder / "config.json").read_text(encoding="utf-8")):
            raise ConfigError(
                f"the config.json of {self._spec.name!r} names no `architecture`, so timm did not "
                f"write it. If transformers did: `name: {self._place}, {OF_TRANSFORMERS}`."
            )
        return folder

    @cached_property
    def _repository(self) -> Repository | None:
        """The hub repository of the weights, if they come from one."""
        hub_id: str | None
        if self._kind == "hf-hub":
            hub_id = self._place
        elif self._kind == "timm" and self._spec.checkpoint is None and not self._spec.random_init:
            hub_id = self.skeleton.pretrained_cfg.get("hf_hub_id")
        else:
            return None
        if hub_id is None:
            return None
        name, _, revision = hub_id.partition("@")
        return open_repository(name, self._spec.revision or revision or None, offline=self._offline)

    def _weight_file(self) -> Path | None:
        """The local weight file, downloaded if need be; None: timm fetches it from a URL."""
        if self._spec.checkpoint is not None:
            file = Path(self._spec.checkpoint)
            if not file.is_file():
                raise AbsentError(f"model {self._spec.label!r}: there is no weight file {file}.")
            return file
        if self._repository is not None:
            name = self._weight_name(self._repository)
            return self._repository.download([name]) / name
        if self._kind == "local-dir":
            return first_weights(self._folder)
        if self.skeleton.pretrained_cfg.get("url"):
            return None
        raise AbsentError(
            f"timm knows no pretrained weights for {self._spec.name!r}. Use a name with a tag "
            "(`architecture.tag`), `checkpoint: FILE`, or `random_init: true`."
        )

    def _weight_name(self, repository: Repository) -> str:
        wanted = self.skeleton.pretrained_cfg.get("hf_hub_filename")
        names = (str(Path(wanted).with_suffix(".safetensors")), wanted) if wanted else WEIGHTS
        for name in names:
            if name in repository.sizes:
                return name
        where = f"in the local cache. {FETCH_FIRST}" if repository.offline else "on the hub."
        raise AbsentError(
            f"hub repository {repository.name!r} has none of {', '.join(names)} {where}"
        )


def check_name(name: str) -> None:
    """Whether timm's registry, which needs no network, has this architecture and tag.

    Raises:
        UnknownNameError: it has not; suggests the nearest names.
        ConfigError: it is a folder, a file or a hub repository, which are given in another way.
    """
    if Path(name).exists():
        raise ConfigError(
            f"{name!r} is no timm model but a {'folder' if Path(name).is_dir() else 'file'}. A "
            f"folder written by transformers needs `{OF_TRANSFORMERS}`; of one written by timm's "
            "`save_for_hf` the name is `local-dir:FOLDER`; weights go with their architecture: "
            "`name: ARCHITECTURE, checkpoint: FILE`; other networks come as `backend: module`."
        )
    if "/" in name:
        raise ConfigError(
            f"{name!r} is neither a folder nor a name of timm's, which have no slash. A hub "
            f"repository of transformers needs `{OF_TRANSFORMERS}`; of one that timm wrote the "
            "name is `hf-hub:OWNER/NAME`."
        )
    names = timm.list_models() + timm.list_models(pretrained=True)
    if name in names:
        return
    raise UnknownNameError("timm model", name, difflib.get_close_matches(name, names, 8, 0.3))


@contextlib.contextmanager
def _as_own_errors(spec: ModelSpec) -> Iterator[None]:
    """Refusals of timm that a user can act on."""
    try:
        with bounded_sockets():
            yield
    except PlatorepError:
        raise
    except OSError as error:
        raise AbsentError(f"timm cannot get the weights of {spec.name!r}: {error}") from error
    except (TypeError, AssertionError) as error:
        raise ConfigError(
            f"timm cannot build {spec.name!r} with the arguments {dict(spec.arguments)}: {error}"
        ) from error
    except RuntimeError as error:
        raise IntegrityError(f"the weights of {spec.name!r} do not fit: {error}") from error
