#!/usr/bin/env bash
# The same study by the workers of a Ray cluster, whose nodes see the store's folder.
#   ray.sh STUDY.toml SHARED_STORE HOST:6379
set -euo pipefail
study=${1:?usage: ray.sh STUDY.toml SHARED_STORE HOST:6379} store=${2:?} address=${3:?}
lab run "$study" --out "$store" --engine ray --address "$address" --workers 16 --cpus 1 --gpus 1
lab report "$store"
