# syntax=docker/dockerfile:1
# The offline side in one image: Dagster, the Spark drivers and their executors, so that all of them are the same code.
#
#   docker build -f deploy/images/pipeline.Dockerfile -t registry.example/forebay/pipeline:0.1.0 .
#
# Not built where it was written: no Docker daemon was there. Checked instead: hadolint and shellcheck, the resolution of
# its packages by `uv pip install --dry-run`, and the entry point with a real executor (see deploy/README.md).

ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS packages
ARG UV=0.13.9
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN pip install --no-cache-dir "uv==${UV}" && python -m venv /opt/venv
WORKDIR /src
# The lock pins versions and hashes; of its packages only those of the pipeline are installed, so no vLLM.
# Torch's CPU build is in PyTorch's own index; nothing else is taken from there.
COPY locks/all-cpu.txt locks/overrides.txt locks/
RUN torch="$(sed -nE 's/^(torch==[^ ;]+).*/\1/p' locks/all-cpu.txt)" \
    && uv pip install --python /opt/venv/bin/python --no-deps \
        --default-index https://download.pytorch.org/whl/cpu "${torch}"
COPY pyproject.toml README.md LICENSE ./
COPY forebay forebay
COPY quality quality
COPY orchestration orchestration
COPY spark_jobs spark_jobs
COPY model_jobs model_jobs
COPY bentos bentos
RUN uv pip install --python /opt/venv/bin/python --constraint locks/all-cpu.txt \
    --override locks/overrides.txt ".[pipeline,s3,gcs,embedding-cpu,embedding-static]"

FROM python:${PYTHON}
# Bookworm's Java is 17; tini ends what Spark and Python leave behind.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends openjdk-17-jre-headless tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 forebay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin forebay
COPY --from=packages /opt/venv /opt/venv
COPY --chmod=0755 deploy/images/entrypoint.sh deploy/images/gpus.sh /opt/
ENV PATH=/opt/venv/bin:${PATH} \
    HOME=/tmp \
    SPARK_HOME=/opt/venv/lib/python3.11/site-packages/pyspark \
    PYTHONUNBUFFERED=1 \
    GX_ANALYTICS_ENABLED=false
WORKDIR /tmp
USER 10001:10001
ENTRYPOINT ["/opt/entrypoint.sh"]
CMD ["forebay", "--help"]
