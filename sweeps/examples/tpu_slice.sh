#!/usr/bin/env bash
# One large model over all hosts of a TPU slice: the same command on every host, by whatever starts them
# (an ssh to all workers, a job of the cluster). The folder is seen by all of them.
#   tpu_slice.sh SHARED_FOLDER [CHIPS]
set -euo pipefail
out=${1:?usage: tpu_slice.sh SHARED_FOLDER [CHIPS]} chips=${2:-16}
lab doctor
lab train --out "$out" --distributed auto --mesh "fsdp=$chips" --accumulate 2 --remat --tokens 2_000_000
