"""The experiments of the paper from empty caches, against a hub of small models on this machine.

    python scripts/rehearse_paper.py [prh-laptop prh-val prh-test]

Every repository has its real name, its files and formats, its architecture class and small random
weights; the vision models are the three up to ViT-S, at their true size. Each experiment is
planned, downloaded, run offline, run again and planned again, in processes of their own. Prints
what each step took; exit code 1 if one failed, or asked the hub when it was to work offline.
Takes about five minutes of one core, most of it DINOv2's images of 518 pixels.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "rehearsal")]

from hub_server import Hub, serve  # noqa: E402
from paper_hub import TOKEN, VISION, fill  # noqa: E402

LARGEST = {"prh-val": "llama-65b", "prh-test": "Meta-Llama-3-70B"}
FIGURES = {"prh-laptop": ("scaling", "heatmap", "layers")}
STEPS = (
    ("plan",),
    ("extract", "--download-only"),
    ("run", "--offline"),
    ("run", "--offline"),
    ("plan", "--offline"),
)


def rehearse(name: str, hub: Hub, folder: Path) -> bool:
    """All steps of one experiment; whether all went well."""
    chosen = [word for label in ("[!v]*", *VISION) for word in ("--models", label)]
    if name in LARGEST:
        chosen += ["--set", f"figures.2.pair=[{LARGEST[name]}, {VISION[1]}]"]
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_TOKEN": TOKEN,
        "PLATOREP_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
        **{"https_proxy": hub.url, "http_proxy": hub.url, "no_proxy": "127.0.0.1"},
    }
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | own
    well = True
    for command, *flags in STEPS:
        started, asked, sent = time.monotonic(), len(hub.requests), hub.sent_bytes
        with (folder / "log").open("a") as log:
            code = subprocess.run(
                [sys.executable, "-m", "platorep", command, name, *chosen, *flags],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                check=False,
            ).returncode
        requests = len(hub.requests) - asked
        well &= code == 0 and not ("--offline" in flags and requests)
        print(
            f"{name:12}{' '.join((command, *flags)):26}{code:6}{time.monotonic() - started:9.1f}"
            f"{requests:10}{(hub.sent_bytes - sent) / 1e6:10.1f}",
            flush=True,
        )
    figures = folder / "results" / name / "figures"
    expected = FIGURES.get(name, ("scaling", "heatmap", "layer_heatmap"))
    missing = [figure for figure in expected if not (figures / f"{figure}.png").is_file()]
    if missing or not well:
        print(f"{name}: missing figures: {missing}\n{(folder / 'log').read_text()}")
    return well and not missing


def main() -> None:
    names = sys.argv[1:] or ["prh-laptop", "prh-val", "prh-test"]
    with serve() as hub, tempfile.TemporaryDirectory() as folder:
        fill(hub)
        print(
            f"{'experiment':12}{'step':26}{'exit':>6}{'seconds':>9}{'requests':>10}{'sent MB':>10}"
        )
        well = []
        for name in names:
            (own := Path(folder) / name).mkdir()
            well.append(rehearse(name, hub, own))
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
