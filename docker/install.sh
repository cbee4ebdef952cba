#!/bin/sh
# Installs the locked dependencies of the named extras into /opt/moon: install.sh EXTRA...
# DEVICE is cpu or cuda: the index has torch for CUDA; the one for the CPU is a wheel in docker/wheels or comes from
# PyTorch's own index.
set -eu

torch=""
case "$DEVICE" in
cpu) ls /docker/wheels/torch-*+cpu-*.whl >/dev/null 2>&1 || torch="--torch-backend=cpu" ;;
cuda) ;;
*) echo "error: DEVICE is '$DEVICE'; expected cpu or cuda" >&2; exit 2 ;;
esac

extras=""
for extra in "$@"; do extras="$extras --extra=$extra"; done
wheels=""
[ "$DEVICE" = cpu ] && [ -d /docker/wheels ] && wheels="--find-links=/docker/wheels"

# shellcheck disable=SC2086 # each of these is a list of words without spaces in them
/opt/tools/bin/uv pip install --quiet --strict --python=/opt/moon/bin/python --compile-bytecode \
  --constraints=requirements.lock --build-constraints=requirements.lock $torch $wheels $extras --requirements=pyproject.toml
echo "$@" >/opt/moon/extras
# Test programs of torch's own, 80 MB, and uv's lock.
rm -rf /opt/moon/lib/python3.*/site-packages/torch/test /opt/moon/.lock
