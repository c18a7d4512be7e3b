#!/usr/bin/env bash
# All that needs a GPU, in one command: the tests marked `gpu`, the three benchmarks, and checks of
# models in bfloat16 and on the CPU. Some 7 minutes on an H200; docs/performance-gpu.md has a run.
#
#   scripts/try_gpu.sh                                  # writes gpu.log
#   scripts/try_gpu.sh smollm2-135m --data captions.yaml   # also checks models: as `platorep check`
#   PYTHON=python3 LOG=/tmp/gpu.log PARTS="tests align" scripts/try_gpu.sh
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
python=${PYTHON:-.venv/bin/python}
parts=${PARTS:-about tests align gallery extract}
cores=$(nproc)
failed=()
exec > >(tee "${LOG:-gpu.log}") 2>&1

run() { # one command, timed; a failing one does not stop the rest
  echo "\$ ${*/#$python/python}"
  local start=$SECONDS
  "$@" || failed+=("$*")
  echo "[$((SECONDS - start)) s]"
  echo
}

for part in $parts; do
  case $part in
    about)
      run nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
      run "$python" - <<'PYTHON'
import platform
import time
from importlib.metadata import version

import torch

packages = ("platorep", "torch", "transformers", "timm", "numpy")
print(f"python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages), sep=", ")
print(f"CUDA {torch.version.cuda}, {platform.system()} {platform.release()}")


def seconds(work):
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / 10


source = torch.randn(1 << 30, device="cuda")
target = torch.empty_like(source)
print(f"copy: {2 * source.nbytes / seconds(lambda: target.copy_(source)) / 1e12:.2f} TB/s")
square = source[: 8192**2].view(8192, 8192)
for name, dtype, precision in (
    ("float32", torch.float32, "highest"),
    ("TF32", torch.float32, "high"),
    ("bfloat16", torch.bfloat16, "highest"),
):
    torch.set_float32_matmul_precision(precision)
    x = square.to(dtype)
    print(f"products in {name}: {2 * 8192**3 / seconds(lambda: x @ x.T) / 1e12:.0f} TFLOP/s")
PYTHON
      ;;
    tests) run "$python" -m pytest -m gpu -q -p no:xdist --durations=5 tests/test_gpu.py tests/test_devices.py ;;
    align) run "$python" scripts/bench_align.py grid --device cuda --threads "$cores" ;;
    gallery)
      run "$python" scripts/bench_gallery.py --device cuda --threads "$cores"
      run "$python" scripts/bench_gallery.py --device cuda --threads "$cores" --n 1000000 --only
      ;;
    extract)
      for dtype in float32 bfloat16; do
        run "$python" scripts/bench_extract.py --device cuda --threads "$cores" --smollm2 \
          --dtype "$dtype" --repeats 1 --parts language
      done
      run "$python" scripts/bench_extract.py --device cuda --threads "$cores" --repeats 1 \
        --parts vision --num-images 256
      ;;
  esac
done
[ $# -eq 0 ] || run "$python" -m platorep check "$@" --device cuda

for command in "${failed[@]}"; do echo "FAILED: $command"; done
[ ${#failed[@]} -eq 0 ]
