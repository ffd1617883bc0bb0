#!/usr/bin/env bash
# All measurements that one GPU is asked for, in one call; see README.md beside this file.
#   OUT=<folder for the results> [PARTS="step huggingface"] [TINY=1] bash benchmarks/gpu/measure.sh
set -u
BUDGET=${BUDGET:-190}          # seconds in all
CORRECTNESS=${CORRECTNESS:-40} # seconds kept for each part; it has also what those before it left
ATTENTION=${ATTENTION:-50}
STEP=${STEP:-72}
HUGGINGFACE=${HUGGINGFACE:-16}
ENVIRONMENT=${ENVIRONMENT:-12}
PARTS=${PARTS:-correctness attention step huggingface environment} # in this order
STOP_EARLY=4 # seconds before its end at which a part begins nothing more
SHORTEST=8   # seconds below which a part is not worth starting

BEGAN=$(date +%s)
mkdir -p "${OUT:=gpu_measurements}"
OUT=$(cd "$OUT" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
exec > >(tee "$OUT/log.txt") 2>&1
PYTHON=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
# As every command of jaxattn sets it; compiled anew, so that the seconds of compiling are true.
export JAX_DEFAULT_MATMUL_PRECISION=highest JAX_ENABLE_COMPILATION_CACHE=false
export XLA_PYTHON_CLIENT_PREALLOCATE=false TF_CPP_MIN_LOG_LEVEL=2
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONWARNINGS=ignore
if [ -n "${TINY:-}" ]; then export JAX_PLATFORMS=cpu; fi
if compgen -G ".whl/*.whl" >/dev/null; then
  site=$(mktemp -d)
  timeout 40 "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$site" .whl/*.whl &&
    export PYTHONPATH="$PYTHONPATH:$site"
fi
echo "jaxattn $(git log --oneline -1 2>/dev/null)"
nvidia-smi -L 2>/dev/null || echo "no NVIDIA driver answers"

part() { # name, seconds kept for the parts after it
  local now left seconds
  now=$(date +%s)
  left=$((BUDGET - now + BEGAN))
  seconds=$((left - $2))
  if [ "$seconds" -lt "$SHORTEST" ]; then
    echo "== $1: left out, $left s left"
    return
  fi
  echo "== $1: $seconds s at most, $left s left"
  timeout -k 3 "$seconds" "$PYTHON" -m "benchmarks.gpu.$1" --out "$OUT/$1.json" \
    --until $((now + seconds - STOP_EARLY)) ${TINY:+--tiny} || echo "== $1: exit code $?"
  echo "== $1: took $(($(date +%s) - now)) s"
}

kept() { # the seconds kept for the parts named
  local sum=0 name
  for name in "$@"; do
    name=${name^^}
    sum=$((sum + ${!name}))
  done
  echo "$sum"
}

known=()
for name in $PARTS; do
  case $name in
    correctness | attention | step | huggingface | environment) known+=("$name") ;;
    *) echo "== PARTS: found '$name', allowed: correctness, attention, step, huggingface, environment" ;;
  esac
done
set -- ${known[@]+"${known[@]}"}
while [ $# -gt 0 ]; do
  name=$1
  shift
  part "$name" "$(kept "$@")"
done
echo "== all: $(($(date +%s) - BEGAN)) s"
