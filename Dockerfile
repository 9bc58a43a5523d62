# The service with the real kai: docker build -t kai-orchestrator .
ARG KAI_IMAGE=anchore/kai
ARG KAI_VERSION=v0.5.0

FROM ${KAI_IMAGE}:${KAI_VERSION} AS kai

FROM python:3.13-slim-bookworm AS builder
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/kai-orchestrator \
    && pip --python /opt/kai-orchestrator/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-compile --only-binary :all: --require-hashes --no-deps -r requirements.lock
COPY orchestrator ./orchestrator
RUN mv orchestrator "$(/opt/kai-orchestrator/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/" \
    && /opt/kai-orchestrator/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/kai-orchestrator/lib \
    && find /opt/kai-orchestrator/bin -type f -delete && rm -r /opt/kai-orchestrator/include

FROM python:3.13-slim-bookworm
ARG KAI_VERSION
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="kai-orchestrator" \
      org.opencontainers.image.description="Which container images run where, across Kubernetes clusters" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      io.github.anchore.kai.version="${KAI_VERSION}"

# tini, as process 1, hands signals on and reaps what a killed kai leaves. What installs software has no business here.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
        /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/pydoc* \
        /usr/local/lib/python3.13/site-packages /usr/local/lib/python3.13/ensurepip /root/.cache \
    # Any user in group 0 (OpenShift) may write the data. /config is for a config.yaml of one's own; this one sets nothing.
    && install -d -o 10001 -g 0 -m 0770 /data \
    && install -d /config \
    && echo '# Mount a directory with your own config.yaml here.' >/config/config.yaml
COPY --from=kai /usr/bin/kai /usr/local/bin/kai
COPY --from=builder /opt/kai-orchestrator /opt/kai-orchestrator

ENV ANCHORE_CONFIG_DIR=/config \
    ORCHESTRATOR_DATA_DIR=/data \
    ORCHESTRATOR_HOST=0.0.0.0 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:0
WORKDIR /data
VOLUME /data
EXPOSE 8228
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/opt/kai-orchestrator/bin/python", "-I", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('ANCHORE_SERVICE_PORT') or 8228), timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["/usr/bin/tini", "--", "/opt/kai-orchestrator/bin/python", "-I", "-B", "-X", "utf8", "-m", "orchestrator.cli"]
