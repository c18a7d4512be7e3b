"""The experiment file: what it may say, what is refused and how, and what the models become."""

import copy
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from platorep.config import ExperimentConfig, config_path, load_config, shipped_configs
from platorep.errors import ConfigError, UnknownNameError
from platorep.parameters.deadleaves import LeavesParameters
from platorep.parameters.figures import FigureConfig
from platorep.parameters.metrics import MetricParameters
from platorep.parameters.section import Section
from platorep.parameters.views import CHANGES, Change, Drawn

FULL: dict[str, Any] = {
    "name": "full",
    "dataset": {
        "source": "toyworld",
        "limit": 64,
        "world": {"seed": 1},
        "views": {
            "image": {"kind": "image"},
            "little": {"kind": "text", "level": 1},
            "less": {"of": "little", "change": "first_words", "n": 2},
            "again": {"of": "image", "change": "crop"},
        },
    },
    "families": [
        {
            "name": "readers",
            "modality": "language",
            "pool": "mean",
            "models": [
                "org/small",
                {"name": "org/large", "label": "large", "transform": {"crop_pct": 1.0}},
            ],
            "training": {"steps": 3},
        },
        {"name": "viewers", "modality": "vision", "models": [{"name": "resnet18"}]},
    ],
    "extract": {"batch": 8},
    "performance": [
        {"name": "bits_per_byte", "source": "captions"},
        {"name": "score", "table": "table.csv"},
        {"name": "endings", "harness": "results", "task": "hellaswag", "metric": "acc_norm"},
        {"name": "digits", "probe": "knn", "dataset": {"source": "org/digits", "label": "digit"}},
        {"name": "solved", "tasks": ["digits", {"table": "vtab.csv", "columns": ["dtd"]}]},
        {"name": "told", "words": ["dog/dogs"], "view": "little"},
    ],
    "align": {
        "pairs": [{"x": {"modality": "language"}, "y": {"family": "viewers"}}],
        "preprocess": {"clip_quantile": 0.9},
        "metrics": [{"name": "mutual_knn", "k": 5}, {"name": "cka"}],
        "null": {"permutations": 10},
        "interval": {"parts": 4},
        "gallery": {"queries": 16, "sizes": [16, "all"]},
        "repeats": {"image": ["again"]},
        "ceiling": {},
        "observations": {},
        "differences": {},
        "groups": {},
    },
    "controls": {"shuffled_pairs": True},
    "figures": [{"kind": "scaling", "x": "bits_per_byte"}, {"kind": "heatmap"}],
    "report": {"rows": 256, "images": False},
    "bridge": {
        "map": {"maps": ["ridge"]},
        "match": {"items": [5]},
        "stitch": {"words": ["dog/dogs"], "view": "little"},
    },
    "units": {"match": {"grid": 4}, "filters": {"units": 16}},
}
"""Says something in every section."""


def small(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "name": "small",
        "dataset": {"source": "org/pairs"},
        "families": [
            {"name": "readers", "modality": "language", "models": ["org/a", "org/b"]},
            {"name": "viewers", "modality": "vision", "models": ["resnet18"]},
        ],
    }
    return raw | changes


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """Writes an experiment file."""

    def write(content: Any) -> Path:
        path = tmp_path / "experiment.yaml"
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def load(write: Callable[[Any], Path]) -> Callable[..., ExperimentConfig]:
    return lambda content, *overrides: load_config(write(content), overrides)


@pytest.fixture
def problems(write: Callable[[Any], Path]) -> Callable[..., str]:
    """The whole message that a wrong file gives."""

    def problems(content: Any, *overrides: str) -> str:
        path = write(content)
        with pytest.raises(ConfigError) as error:
            load_config(path, overrides)
        assert str(path) in str(error.value) or overrides
        return str(error.value)

    return problems


def mappings(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every mapping in nested mappings and lists."""
    if isinstance(value, dict):
        yield path
    for key, inner in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield from mappings(inner, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def sections(annotation: Any) -> set[type[Section]]:
    """Every section that a file can reach from here."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        below = (field.annotation for field in annotation.model_fields.values())
        return {annotation}.union(*(sections(inner) for inner in below))
    return set().union(*(sections(inner) for inner in typing.get_args(annotation)))


def test_the_full_experiment_is_one() -> None:
    config = ExperimentConfig.model_validate(FULL)

    def types(value: Any) -> set[type]:
        inner = (
            [getattr(value, name) for name in value.model_fields_set]
            if isinstance(value, Section)
            else list(value)
            if isinstance(value, tuple)
            else list(value.values())
            if isinstance(value, dict)
            else []
        )
        own = {type(value)} if isinstance(value, Section) else set()
        return own.union(*(types(one) for one in inner))

    figures = sections(FigureConfig)
    unnamed = sections(ExperimentConfig) - types(config) - figures - {MetricParameters}
    unnamed -= {Change, Drawn, *CHANGES.values(), LeavesParameters}  # of another source
    assert unnamed == set(), "FULL must say something in every section"


NAMED_FREELY = [("dataset", "views"), ("align", "repeats")]


@pytest.mark.parametrize(
    "path",
    [p for p in mappings(FULL) if p not in NAMED_FREELY and at(FULL, p)],
    ids=lambda p: ".".join(map(str, p)) or "top",
)
def test_an_unknown_key_is_refused_everywhere(
    path: tuple[Any, ...], problems: Callable[..., str], write: Callable[[Any], Path]
) -> None:
    raw = copy.deepcopy(FULL)
    section = at(raw, path)
    known = list(section)[-1]
    typo = known[:-1] + "x" + known[-1]
    section[typo] = 1

    found = problems(raw)

    lines = write(raw).read_text().splitlines()
    (line,) = [number for number, text in enumerate(lines, start=1) if f"{typo}: 1" in text]
    is_metric = path[:2] == ("align", "metrics")
    if is_metric:  # its keys are the metric's parameters
        line -= list(section).index(typo)
        assert f"has no parameter {typo!r}" in found
    else:
        assert f"{'.'.join(map(str, (*path, typo)))}: unknown key." in found
    assert f"experiment.yaml:{line}: " in found
    if not (is_metric and known == "name"):
        assert f"Did you mean {known!r}?" in found


def test_all_problems_at_once(problems: Callable[..., str]) -> None:
    found = problems(
        "name: 'no good/name'\n"
        "dataset: {source: org/pairs, limt: 3}\n"
        "families:\n"
        "  - name: readers\n"
        "    modality: languag\n"
        "    models: [org/a]\n"
        "  - modality: vision\n"
        "    models:\n"
        "      - {name: resnet18, pool: max}\n"
        "align:\n"
        "  preprocess:\n"
        "    clip_quantile: 1.5\n"
        "  metrics: [{name: mutual_knn, k: 0}, {nam: cka}]\n"
        "figures: [{kind: pie}]\n"
    )

    expected = (
        "experiment.yaml:1: name: ",
        "experiment.yaml:2: dataset.limt: unknown key. Did you mean 'limit'?",
        "experiment.yaml:5: families.0.modality: ",
        "experiment.yaml:7: families.1.name: is missing",
        "experiment.yaml:9: families.1.models.0.pool: ",
        "experiment.yaml:12: align.preprocess.clip_quantile: ",
        "experiment.yaml:13: align.metrics.0: k: ",
        "experiment.yaml:13: align.metrics.1: a metric needs a name",
        "experiment.yaml:14: figures.0: ",
    )
    for part in expected:
        assert part in found
    assert f"({len(expected)}):" in found
    assert "found 'languag'" in found
    assert "found 1.5" in found
    assert "pie" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys and values, found NoneType"),
        ("- a\n- b\n", "expected keys and values, found list"),
        ("name: [", "not valid YAML"),
        ("name: a\n\tb: c\n", "not valid YAML"),
        ("? [a, b]\n: c\n", "not valid YAML"),
        ("name: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("name: 2024-13-45\n", "not valid YAML: month must be in 1..12"),
        ("name: &a [*a]\n", "not valid YAML"),
    ],
)
def test_what_is_no_mapping_is_refused(
    text: str, message: str, problems: Callable[..., str]
) -> None:
    assert message in problems(text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(b"name: \xff\xfe\n")

    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(path)


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (LAUGHS, "aliases .* spell out 345679012357 values"),
        (MERGED, "aliases .* spell out"),
        ("a: &a [*a]", "line 1: an alias stands within what it stands for"),
        ("a: &a {<<: *a}", "line 1: an alias stands within"),
        ("name: " + "[" * 3000 + "]" * 3000, "line 1: more than 60 levels"),
        ("name: " + "{a: " * 3000 + "}" * 3000, "line 1: more than 60 levels"),
        ("name: [" + "1, " * 40_000 + "]", "more than 30000 values"),
        ("#" * 2**22 + "\nname: x", "419431. bytes"),
        ("limit: " + "9" * 5000, "not valid YAML"),
        ("k" * 1000 + ": 1", "unknown key"),
        ("name: 1\ndataset: " + "x" * 100_000, "found 'xxx"),
        ("\n".join(f"k{i}: 1" for i in range(300)), "and 20. more"),
    ],
    ids=range(12),
)
def test_a_file_that_asks_for_too_much_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """In little time, little memory and a message that one can read."""
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem) as error:
        load_config(file)
    assert len(str(error.value)) < 20_000


@pytest.mark.parametrize(
    "override",
    [
        "a=" + "[" * 3000 + "]" * 3000,
        ".".join("a" * 3000) + "=1",
        "name=" + "x" * 10**5,
        "a=&a [*a]",
    ],
    ids=range(4),
)
def test_an_override_that_asks_for_too_much_is_refused(tmp_path: Path, override: str) -> None:
    (tmp_path / "x.yaml").write_text("name: x\n")
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "x.yaml", [override])
    assert len(str(error.value)) < 5000


def test_a_key_that_stands_there_twice_is_refused(problems: Callable[..., str]) -> None:
    found = problems("name: a\ndataset:\n  source: x\n  limit: 3\n  source: y\n")

    assert "experiment.yaml:5: the key 'source' stands already in line 3" in found


def test_a_key_may_stand_in_two_mappings(load: Callable[..., ExperimentConfig]) -> None:
    assert load(FULL).name == "full"


# --- overrides ---


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("dataset.limit=16", "dataset.limit", 16),
        ("extract.batch=4", "extract.batch", 4),
        ("controls.random_weights=true", "controls.random_weights", True),
        ("align.metrics.0.k=7", "align.metrics.0.parameters.k", 7),
        ("families.1.models.0.label=eyes", "families.1.models.0.label", "eyes"),
        ("families.0.models=[org/c]", "families.0.models.0.name", "org/c"),
        ("align.preprocess.normalize=none", "align.preprocess.normalize", "none"),
        ("extract={workers: 2}", "extract.workers", 2),
        ("dataset.revision=a=b", "dataset.revision", "a=b"),
        ("figures.1.kind=layers", "figures.1.kind", "layers"),
    ],
)
def test_an_override_replaces_or_adds(
    override: str, place: str, value: Any, load: Callable[..., ExperimentConfig]
) -> None:
    found: Any = load(FULL, override)
    for key in place.split("."):
        found = found[int(key)] if key.isdigit() else getattr(found, key)

    assert found == value


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("{kind: scaling, x: bits_per_bite}", "x: 'bits_per_bite' is no measure.*'bits_per_byte'"),
        ("{kind: convergence}", r"measure: 'tasks_solved' \(the default\) is no measure"),
        ("{kind: downstream, y: gsm8k}", "y: 'gsm8k' is no measure"),
        ("{kind: downstream, held_out: [nobody]}", "held_out: 'nobody' is no family"),
        (
            "{kind: downstream, reference: {family: nobody}}",
            "reference.family: 'nobody' is no family",
        ),
        ("{kind: downstream, reference: {model: no-one}}", "model: 'no-one' is no model"),
        ("{kind: heatmap, metric: mutual_kn}", "metric: 'mutual_kn' is no metric.*'mutual_knn'"),
        ("{kind: metric_grid, metrics: [nobody]}", "metrics: 'nobody' is no metric"),
        ("{kind: k_sweep, metric: cka}", "metric: 'cka' is no metric scored at several k"),
        ("{kind: layer_heatmap, pair: [nobody, nobody]}", "pair: 'nobody' is no model"),
        ("{kind: density, views: [a, b]}", "views: 'a' is no view"),
    ],
)
def test_a_figure_names_what_is_there(
    figure: str, message: str, load: Callable[..., ExperimentConfig]
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(FULL, f"figures.0={figure}")


def test_an_override_makes_the_sections_on_its_way(load: Callable[..., ExperimentConfig]) -> None:
    assert "align" not in small()
    assert load(small(), "align.preprocess.clip_quantile=1").align.preprocess.clip_quantile == 1


def test_the_last_override_wins(load: Callable[..., ExperimentConfig]) -> None:
    assert load(small(), "dataset.limit=3", "dataset.limit=4").dataset.limit == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.limit", "expected KEY.KEY=VALUE"),
        ("=3", "expected KEY.KEY=VALUE"),
        ("dataset..limit=3", "expected KEY.KEY=VALUE"),
        ("families.7.name=x", "families.7.name does not lead to a value"),
        ("families.first.name=x", "families.first.name does not lead to a value"),
        ("name.first=x", "name.first does not lead to a value"),
        ("dataset.limit=[", "not valid YAML"),
        ("dataset.limt=3", "dataset.limt: unknown key. Did you mean 'limit'?"),
        ("dataset.limit=-3", "dataset.limit: "),
    ],
)
def test_a_wrong_override_is_refused(
    override: str, message: str, problems: Callable[..., str]
) -> None:
    assert message in problems(small(), override)


# --- places ---


def test_what_lies_beside_the_file_is_found_from_anywhere(
    write: Callable[[Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "beside"
    (folder / "model").mkdir(parents=True)
    (folder / "pairs-00.parquet").touch()
    raw = small(
        dataset={"source": "beside/pairs-*.parquet"},
        families=[
            {
                "name": "readers",
                "modality": "language",
                "models": ["beside/model", "org/hub", "./not/there"],
            },
            {
                "name": "viewers",
                "modality": "vision",
                "models": [
                    {"name": "local-dir:beside/model", "label": "timm"},
                    {"name": "resnet18", "checkpoint": "./weights.pth"},
                    str(tmp_path / "absolute"),
                ],
            },
        ],
        performance=[{"source": "captions"}, {"name": "t", "table": "../table.csv"}],
    )
    path = write(raw)
    monkeypatch.chdir("/")

    config = load_config(path)

    assert config.dataset.source == str(folder / "pairs-*.parquet")
    for pattern in ("beside/pairs-0?.parquet", "beside/pairs-[0].parquet", "{a,b}/x.tar"):
        other = load_config(write(raw | {"dataset": {"source": pattern}}))
        assert other.dataset.source == str(tmp_path / pattern)
    assert [spec.name for spec in config.models()] == [
        str(folder / "model"),
        "org/hub",
        str(tmp_path / "not" / "there"),
        f"local-dir:{folder / 'model'}",
        "resnet18",
        str(tmp_path / "absolute"),
    ]
    assert config.models()[4].checkpoint == str(tmp_path / "weights.pth")
    captions, table = config.performance
    assert captions.source == "captions"
    assert table.table == str(tmp_path.parent / "table.csv")


# --- models ---


def models(**changes: Any) -> dict[str, Any]:
    return {spec.label: spec for spec in ExperimentConfig.model_validate(small(**changes)).models()}


def family(*entries: Any, **settings: Any) -> list[dict[str, Any]]:
    viewers = {"name": "viewers", "modality": "vision", "models": ["resnet18"]}
    readers = {"name": "readers", "modality": "language", "models": list(entries)}
    return [readers | settings, viewers]


def test_a_model_says_what_its_family_does_not() -> None:
    found = models(
        families=family(
            "org/a",
            {"name": "org/b", "pool": "last", "dtype": "float32"},
            {"name": "org/c", "pool": None, "layers": [0, -1]},
            pool="cls",
            revision="v2",
            dtype="bfloat16",
        )
    )

    a, b, c, viewer = found.values()
    assert (a.pool, a.dtype, a.revision, a.layers) == ("cls", "bfloat16", "v2", "all")
    assert (b.pool, b.dtype, b.revision) == ("last", "float32", "v2")
    assert (c.pool, c.dtype, c.layers) == (None, "bfloat16", (0, -1))
    assert (viewer.pool, viewer.revision) == (None, None)
    assert {spec.family for spec in (a, b, c)} == {"readers"}
    assert (a.backend, viewer.backend) == ("transformers", "timm")


def test_a_label_names_what_makes_a_model_another() -> None:
    found = models(
        families=family(
            "org/a",
            {"name": "org/a", "revision": "v2"},
            {"name": "org/a", "random_init": True},
            {"name": "other/a/", "label": "mine"},
        )
    )

    assert list(found) == ["a", "a@v2", "a (random)", "mine", "resnet18"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": family("org/a", "other/a")}, "repeated model label (set `label`): a"),
        ({"families": family("org/a", {"name": "x", "label": "resnet18"})}, "label`): resnet18"),
        ({"families": [*family("a"), *family("b")]}, "repeated family name: readers, viewers"),
        ({"families": family()}, "no models in readers"),
        ({"families": []}, "no models in families"),
        (
            {"performance": [{"source": "captions"}, {"source": "x.txt"}]},
            "repeated measure: bits_per_byte",
        ),
        (
            {"align": {"pairs": [["language", {"family": "viewer"}]]}},
            "names the family 'viewer', which no model has. Did you mean 'viewers'?",
        ),
        (
            {"families": family("org/a")[:1]},
            "align.pairs (the default) names the modality 'vision'",
        ),
        ({"align": {"pairs": [["language", {"model": "c"}]]}}, "There are: a, b, resnet18."),
        ({"align": {"pairs": [["language", "truth"]]}}, "names the modality 'truth'"),
        ({"align": {"metrics": ["mutual_knn", "mutual_knn"]}}, "twice"),
        ({"align": {"metrics": []}}, "at least 1"),
        ({"align": {"metrics": "prh-cod"}}, "unknown preset 'prh-cod'. Did you mean 'prh-code'?"),
        ({"align": {"preprocess": "papr"}}, "found 'papr'. Did you mean 'paper'?"),
        (
            {"align": {"metrics": [{"name": "mutual_knn", "K": 10}]}},
            "has no parameter 'K'. Did you mean 'k'?",
        ),
        ({"dataset": {"source": "org/pairs", "world": {"seed": 1}}}, "`world` has no effect"),
        (
            {"families": family({"name": "llama8", "backend": "toyworld"})},
            "needs `dataset: {source: toyworld}`",
        ),
        ({"name": "../up"}, "name"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        ExperimentConfig.model_validate(small(**changes))
    assert message in str(error.value)


def test_random_controls_stand_beside_what_they_control() -> None:
    families = family("org/a", {"name": "org/b", "random_init": True})
    arrays = {"name": "brain", "modality": "other", "models": ["brain.npz"]}
    found = models(families=[*families, arrays], controls={"random_weights": True, "seed": 3})

    assert list(found) == [
        *("a", "b (random)", "resnet18", "brain.npz"),  # as the file says
        *("a (random)", "resnet18 (random)"),  # no random copy of a control, nor of arrays
    ]
    control, trained = found["a (random)"], found["a"]
    assert (control.random_init, control.seed, trained.random_init) == (True, 3, False)
    assert control.name == trained.name
    assert control.random_of == "a"


def test_toy_networks_are_one_model_per_kept_step() -> None:
    toy = {"name": "llama8", "backend": "toyworld", "training": {"steps": 9, "checkpoints": [0, 3]}}
    viewer = {"name": "v", "modality": "vision", "backend": "toyworld", "models": ["conv4"]}
    changes = {"dataset": {"source": "toyworld", "world": {"seed": 5}}}
    found = models(families=[family(toy)[0], viewer | {"training": {"steps": 2}}], **changes)

    assert {label: spec.step for label, spec in found.items()} == {
        "llama8@0": 0,
        "llama8@3": 3,
        "llama8@9": 9,
        "conv4": 2,
    }
    assert {spec.world.seed for spec in found.values()} == {5}


@pytest.mark.parametrize(
    ("said", "x", "y"),
    [
        (["language", "vision"], {"modality": "language"}, {"modality": "vision"}),
        (
            {"x": "language", "y": {"family": "viewers"}},
            {"modality": "language"},
            {"family": "viewers"},
        ),
        ([{"model": "a"}, {"family": "readers"}], {"model": "a"}, {"family": "readers"}),
        (
            [{"model": "a", "modality": "language"}, "vision"],
            {"model": "a", "modality": "language"},
            {"modality": "vision"},
        ),
    ],
)
def test_short_forms_of_a_pair(said: Any, x: dict[str, str], y: dict[str, str]) -> None:
    (pair,) = ExperimentConfig.model_validate(small(align={"pairs": [said]})).align.pairs

    assert pair.x.model_dump(exclude_none=True) == x
    assert pair.y.model_dump(exclude_none=True) == y


@pytest.mark.parametrize("said", [["language"], ["language", "vision", "truth"], "language", {}])
def test_a_pair_has_two_sides(said: Any) -> None:
    with pytest.raises(ValidationError):
        ExperimentConfig.model_validate(small(align={"pairs": [said]}))


# --- metrics ---


@pytest.mark.parametrize("preset", ["prh-code", "prh-paper"])
def test_a_preset_is_the_papers_eight_metrics(preset: str) -> None:
    found = ExperimentConfig.model_validate(small(align={"metrics": preset})).align.metrics

    names = [entry.name for entry in found]
    assert sorted(names) == sorted(
        ["mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn", "cka", "cka", "cknna", "svcca"]
    )
    assert len({entry.parameters.label() for entry in found}) == 8


def test_metrics_by_name_by_parameters_and_by_path() -> None:
    said = [
        "cka",
        {"name": "mutual_knn", "k": 7, "layers": "last"},
        {"name": "my.module:metric", "depth": 2, "layers": [0, -1]},
    ]
    found = ExperimentConfig.model_validate(small(align={"metrics": said})).align.metrics

    assert [entry.parameters.label() for entry in found] == [
        "cka{kernel: linear, estimator: biased}",
        "mutual_knn{k: 7}",
        "my.module:metric{depth: 2}",
    ]
    assert [entry.layers for entry in found] == ["all", "last", (0, -1)]


# --- shipped files ---


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_files_are_experiments(name: str) -> None:
    config = load_config(config_path(name))

    assert config.name == name
    assert config.models()


def test_a_bare_name_is_a_shipped_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert load_config(config_path("smoke")).name == "smoke"
    with pytest.raises(UnknownNameError, match="Did you mean 'smoke'"):
        config_path("smoky")
    with pytest.raises(ConfigError, match="no experiment file"):
        config_path("smoke.yaml")
    (tmp_path / "smoke").write_text("name: own")  # a file of that name comes first
    assert config_path("smoke").read_text() == "name: own"


def test_random_copies_of_one_architecture_are_different_networks() -> None:
    models = ["resnet18.a1_in1k", "resnet18.tv_in1k", "resnet34.a1_in1k"]
    raw = small(
        families=[{"name": "viewers", "modality": "vision", "models": models}],
        align={"pairs": [["vision", "vision"]]},
        controls={"random_weights": True, "seed": 5},
    )

    specs = ExperimentConfig.model_validate(raw).models()

    copies = {spec.random_of: spec.seed for spec in specs if spec.random_init}
    assert copies == dict(zip(models, (5, 6, 5), strict=True))
