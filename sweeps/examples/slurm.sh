#!/usr/bin/env bash
# The same study as an array of jobs that claim cells; at most 16 at once, a GPU each. Call it on a login node:
# it submits and returns. What a job leaves when its time is over, the next one goes on with.
#   slurm.sh STUDY.toml SHARED_STORE [PARTITION]
set -euo pipefail
study=${1:?usage: slurm.sh STUDY.toml SHARED_STORE [PARTITION]} store=${2:?} partition=${3:-gpu}
lab plan "$study" --out "$store"
lab run "$study" --out "$store" --engine slurm --workers 64 --at-once 16 --partition "$partition" --gpus 1 --cpus 4
lab status "$store"
