#!/usr/bin/env bash
# The same study on two machines without a common folder: each trains its part, and one joins them.
#   parts.sh STUDY.toml STORE 1/2            on the first machine, 2/2 on the second
#   parts.sh join ALL FIRST SECOND           where both folders have been copied to
set -euo pipefail
if [ "${1:-}" = join ]; then
  lab merge "${2:?}" "${3:?}" "${4:?}"
  lab report "$2"
else
  lab run "${1:?usage: parts.sh STUDY.toml STORE 1/2}" --out "${2:?}" --part "${3:?}"
fi
