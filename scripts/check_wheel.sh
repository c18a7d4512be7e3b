#!/usr/bin/env bash
# usage: scripts/check_wheel.sh [EXPERIMENT]   (smoke; `toyworld` for what `make demo` runs)
# What `pip install platorep` gives, without a checkout: a wheel is built, installed into a fresh
# environment, and a shipped experiment runs from an empty folder. Only the dependencies are .venv's
# own, so that PyTorch is not downloaded again; its platorep is not seen.
set -euo pipefail
cd "$(dirname "$0")/.."
experiment=${1:-smoke}
python=$PWD/.venv/bin/python

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf build/lib # setuptools packs what an earlier build left there
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$work" .
names='import sys, zipfile; print(*zipfile.ZipFile(sys.argv[1]).namelist(), sep="\n")'
diff <(find -L platorep -type f ! -name '*.pyc' | sort) \
  <("$python" -c "$names" "$work"/*.whl | grep '^platorep/' | sort) # nothing is left behind
"$python" -m venv --without-pip "$work/venv"
"$python" -m pip --python "$work/venv/bin/python" install --quiet --no-deps --no-index "$work"/*.whl
packages=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$packages/dependencies.pth"

mkdir "$work/empty"
cd "$work/empty"
export PATH="$work/venv/bin:$PATH" PLATOREP_CACHE="$work/cache"
unset PYTHONPATH
python -c 'import sys, platorep; sys.exit(not platorep.__file__.startswith(sys.argv[1]))' "$packages"
platorep list configs
platorep plan "$experiment"
platorep run "$experiment"
platorep run "$experiment" # finds everything done
test -s "results/$experiment/best.csv"
platorep report "$experiment" --no-images
test -s "results/$experiment/figures/scaling.png"
test -s "results/$experiment/report.html"
