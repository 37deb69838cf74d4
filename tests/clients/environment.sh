#!/usr/bin/env bash
# environment.sh FOLDER: the other tools in an environment of their own (8 GB, some minutes), made once for each
# state of the two lists beside this file. FOLDER/datasets-4 and -5 hold only the package `datasets`, to be put
# before the environment's own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$1
state=$(cat "$here"/requirements.txt "$here"/tools.txt "$here"/environment.sh | sha256sum | cut -c1-16)
if [ "$(cat "$folder/.made" 2>/dev/null)" = "$state" ]; then exit; fi
free=$(df --output=avail -BG "$(dirname "$folder")" | tail -n 1 | tr -dc 0-9)
if [ "$free" -lt 14 ]; then
  echo "only $free GB of disk are free: the tools take 8 GB, 14 GB while pip installs them" >&2
  exit 1
fi
rm -rf "$folder"
"${PYTHON:-python3}" -m venv "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check -q "$@"; }
pip install --no-cache-dir -r "$here/requirements.txt"
pip install --no-cache-dir --no-deps -r "$here/tools.txt"
pip install --no-cache-dir --no-deps --target "$folder/datasets-4" 'datasets>=4.8,<4.8.5'  # what ms-swift needs
pip install --no-cache-dir --no-deps --target "$folder/datasets-5" 'datasets>=5,<6'
echo "$state" > "$folder/.made"
