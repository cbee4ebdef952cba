# The images of moon: data, train, serve and pipeline; docs/images.md tells which is for what.
# Needs BuildKit: DOCKER_BUILDKIT=1 before Docker 23.
ARG BASE_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# --- what every image starts from ---------------------------------------------------------------------------------
FROM ${BASE_IMAGE} AS base
# A user without an entry in /etc/passwd and a read-only root: a home and a name are given, caches go to /tmp.
ENV PATH=/opt/moon/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    USER=moon \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor \
    TRITON_CACHE_DIR=/tmp/triton \
    XDG_CACHE_HOME=/tmp/cache \
    GIT_PYTHON_REFRESH=quiet

# --- tools that build and stay behind -----------------------------------------------------------------------------
FROM base AS tools
# The certificates of the base, not those that pip and uv bring: a base may add a company's own.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    UV_CACHE_DIR=/root/.cache/uv \
    UV_LINK_MODE=copy
WORKDIR /build
RUN --mount=type=bind,source=docker/tools.txt,target=/docker/tools.txt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/tools \
 && /opt/tools/bin/pip install --quiet --disable-pip-version-check --cache-dir=/root/.cache/pip -r /docker/tools.txt \
 && python -m venv --without-pip /opt/moon
COPY pyproject.toml requirements.lock ./

# --- the package itself, laid out as in /opt/moon -----------------------------------------------------------------
FROM tools AS package
COPY README.md LICENSE ./
COPY moon moon
RUN --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/root/.cache/uv \
    /opt/tools/bin/uv build --quiet --wheel --build-constraints=requirements.lock --out-dir=/dist . \
 && /opt/tools/bin/uv pip install --quiet --python=/opt/moon/bin/python --no-deps --compile-bytecode --prefix=/package \
    /dist/*.whl

# --- dependencies: one environment an image, from one lock ----------------------------------------------------------
FROM tools AS data-deps
ARG DEVICE=cpu
RUN --mount=type=bind,source=docker/install.sh,target=/docker/install.sh \
    --mount=type=bind,source=docker/wheels,target=/docker/wheels \
    --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/root/.cache/uv \
    /docker/install.sh data pipeline

FROM tools AS train-deps
ARG DEVICE=cpu
RUN --mount=type=bind,source=docker/install.sh,target=/docker/install.sh \
    --mount=type=bind,source=docker/wheels,target=/docker/wheels \
    --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/root/.cache/uv \
    /docker/install.sh data train pipeline

FROM tools AS serve-deps
ARG DEVICE=cpu
RUN --mount=type=bind,source=docker/install.sh,target=/docker/install.sh \
    --mount=type=bind,source=docker/wheels,target=/docker/wheels \
    --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/root/.cache/uv \
    /docker/install.sh serve tracing

FROM tools AS pipeline-deps
ARG DEVICE=cpu
RUN --mount=type=bind,source=docker/install.sh,target=/docker/install.sh \
    --mount=type=bind,source=docker/wheels,target=/docker/wheels \
    --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/root/.cache/uv \
    /docker/install.sh data train serve monitor pipeline tracing

# --- the parts list of each image ---------------------------------------------------------------------------------
FROM data-deps AS data-sbom
COPY --from=package /package /opt/moon
RUN --mount=type=bind,source=docker/sbom.py,target=/docker/sbom.py /opt/tools/bin/python /docker/sbom.py /sbom.cdx.json

FROM train-deps AS train-sbom
COPY --from=package /package /opt/moon
RUN --mount=type=bind,source=docker/sbom.py,target=/docker/sbom.py /opt/tools/bin/python /docker/sbom.py /sbom.cdx.json

FROM serve-deps AS serve-sbom
COPY --from=package /package /opt/moon
RUN --mount=type=bind,source=docker/sbom.py,target=/docker/sbom.py /opt/tools/bin/python /docker/sbom.py /sbom.cdx.json

FROM pipeline-deps AS pipeline-sbom
COPY --from=package /package /opt/moon
RUN --mount=type=bind,source=docker/sbom.py,target=/docker/sbom.py /opt/tools/bin/python /docker/sbom.py /sbom.cdx.json

# --- the images: dependencies below, the package above them, so that a change of code is a small layer ---------------
# Those of components have no entry point: KFP's local runner gives its shell as a command.
FROM base AS runtime
# A container seldom has its cores to itself: threads that wait sleep.
ENV OMP_WAIT_POLICY=PASSIVE
WORKDIR /tmp
USER 10001:10001
LABEL org.opencontainers.image.title=moon \
      org.opencontainers.image.licenses=Apache-2.0

FROM runtime AS data
COPY --from=data-deps /opt/moon /opt/moon
COPY --from=package /package /opt/moon
COPY --from=data-sbom /sbom.cdx.json /opt/moon/
ARG DEVICE=cpu
ARG VERSION=
RUN --mount=type=bind,source=docker/check.py,target=/docker/check.py \
    --mount=type=bind,source=components,target=/components \
    --mount=type=bind,source=requirements.lock,target=/requirements.lock \
    python /docker/check.py data
ARG REVISION=
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
ENV MOON_GIT_SHA=$REVISION
CMD ["moon", "--help"]

FROM runtime AS train
COPY --from=train-deps /opt/moon /opt/moon
COPY --from=package /package /opt/moon
COPY --from=train-sbom /sbom.cdx.json /opt/moon/
ARG DEVICE=cpu
ARG VERSION=
RUN --mount=type=bind,source=docker/check.py,target=/docker/check.py \
    --mount=type=bind,source=components,target=/components \
    --mount=type=bind,source=requirements.lock,target=/requirements.lock \
    python /docker/check.py train
ARG REVISION=
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
ENV MOON_GIT_SHA=$REVISION
CMD ["moon", "--help"]

FROM runtime AS pipeline
COPY --from=pipeline-deps /opt/moon /opt/moon
COPY --from=package /package /opt/moon
COPY --from=pipeline-sbom /sbom.cdx.json /opt/moon/
ARG DEVICE=cpu
ARG VERSION=
RUN --mount=type=bind,source=docker/check.py,target=/docker/check.py \
    --mount=type=bind,source=components,target=/components \
    --mount=type=bind,source=requirements.lock,target=/requirements.lock \
    python /docker/check.py pipeline
ARG REVISION=
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
ENV MOON_GIT_SHA=$REVISION
CMD ["moon", "--help"]

# The last one, hence what a build without --target makes.
FROM runtime AS serve
COPY --from=serve-deps /opt/moon /opt/moon
COPY --from=package /package /opt/moon
COPY --from=serve-sbom /sbom.cdx.json /opt/moon/
ARG DEVICE=cpu
ARG VERSION=
RUN --mount=type=bind,source=docker/check.py,target=/docker/check.py \
    --mount=type=bind,source=components,target=/components \
    --mount=type=bind,source=requirements.lock,target=/requirements.lock \
    python /docker/check.py serve
ARG REVISION=
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
ENV MOON_GIT_SHA=$REVISION
EXPOSE 8080 8081
ENTRYPOINT ["python", "-m", "moon.serving"]
CMD ["--model_dir=/mnt/models", "--http_port=8080", "--grpc_port=8081"]
