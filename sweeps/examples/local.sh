#!/usr/bin/env bash
# A study on this machine, from its file to its report. Interrupted anywhere, the same command goes on.
#   local.sh STUDY.toml STORE
set -euo pipefail
study=${1:?usage: local.sh STUDY.toml STORE} store=${2:?usage: local.sh STUDY.toml STORE}
lab plan "$study"
lab run "$study" --out "$store"
lab fit "$store"
lab forecast "$store"
lab report "$store" --formats svg,pdf,csv
