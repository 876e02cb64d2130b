#!/usr/bin/env bash
# Install transformers serve (5.23.0) into .venv-transformers at the repository root, for the smoke runs.
#
#   tests/smoke/setup_transformers.sh      about a minute and 1.2 GB; does nothing when it is already there
#
# A torch that PYTHON (default python3) already has is used as it is, with its CUDA; else pip installs one, from where its
# own settings say: a CPU build is enough for `make smoke-all`. TRANSFORMERS names another requirement.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$(cd "$here/../.." && pwd)/.venv-transformers
python=${PYTHON:-python3}
transformers=${TRANSFORMERS:-transformers[serving]==5.23.0}
stamp=$venv/.installed
recipe=$(echo "$python $transformers"; cksum <"$here/setup_transformers.sh")

if [[ -f $stamp && $(<"$stamp") == "$recipe" ]]; then
    echo "transformers is already installed in $venv"
    exit 0
fi

rm -f "$stamp"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
if "$python" -c "import torch" 2>/dev/null; then
    "$python" -m venv --clear --system-site-packages "$venv"
else
    "$python" -m venv --clear "$venv"
    pip install torch==2.13.0
fi
pip install "$transformers" requests

"$venv/bin/python" -c "import torch, transformers; print('transformers', transformers.__version__, 'torch', torch.__version__)"
test -x "$venv/bin/transformers" || "$venv/bin/python" -c "import transformers.cli.transformers"
echo "$recipe" >"$stamp"
echo "transformers is installed in $venv"
