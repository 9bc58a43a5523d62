# The service with the real kai:
#   docker build -t kai-orchestrator .
#   docker build -t kai-orchestrator --build-arg KAI_IMAGE=registry.example.com/anchore/kai --build-arg KAI_VERSION=v0.4.0 .
# Any kai from v0.2.1 to v0.5.0 will do.
ARG KAI_IMAGE=anchore/kai
ARG KAI_VERSION=v0.5.0

FROM ${KAI_IMAGE}:${KAI_VERSION} AS kai

FROM python:3.13-slim-bookworm AS builder
WORKDIR /build
COPY requirements.lock ./
# Wheels only: nothing is compiled, and no package's own code runs at build time.
RUN python -m venv --without-pip /opt/kai-orchestrator \
    && pip --python /opt/kai-orchestrator/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-compile --only-binary :all: --require-hashes --no-deps -r requirements.lock
COPY orchestrator ./orchestrator
RUN mv orchestrator "$(/opt/kai-orchestrator/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/" \
    && /opt/kai-orchestrator/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/kai-orchestrator/lib \
    && find /opt/kai-orchestrator/bin -type f -delete && find /opt/kai-orchestrator/lib -name '*.h' -delete \
    && rm -r /opt/kai-orchestrator/include \
    # Of the package that holds Swagger UI, what the service does not serve: 7 MB.
    && rm -f /opt/kai-orchestrator/lib/python3.13/site-packages/offapi/redoc.js \
        /opt/kai-orchestrator/lib/python3.13/site-packages/offapi/scalar.js \
        /opt/kai-orchestrator/lib/python3.13/site-packages/offapi/swagger_preset.js

FROM python:3.13-slim-bookworm
ARG KAI_VERSION
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kai-orchestrator" \
      org.opencontainers.image.description="Which container images run where, across Kubernetes clusters" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-bookworm" \
      io.github.anchore.kai.version="${KAI_VERSION}"

# tini, as process 1, hands signals on and reaps what a killed kai leaves. What installs software has no business here,
# nor has a program that makes its caller somebody else.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/* /var/cache/debconf/* /var/lib/dpkg/*-old /var/log/* \
        /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/pydoc* /usr/local/lib/python3.13/ensurepip \
        /usr/local/lib/python3.13/site-packages /usr/local/include /etc/pip.conf /root/.cache /root/.bash* /root/.profile \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    # Any user in group 0 (OpenShift) may write the data. /config is for a config.yaml of one's own; this one sets nothing.
    && install -d -o 10001 -g 0 -m 0770 /data \
    && install -d /config \
    && echo '# Mount a directory with your own config.yaml here.' >/config/config.yaml
COPY LICENSE /licenses/LICENSE
COPY --from=kai /usr/bin/kai /usr/local/bin/kai
COPY --from=builder /opt/kai-orchestrator /opt/kai-orchestrator
# The base image comes without compiled modules, and nobody may write them later. Only those that are used.
RUN /opt/kai-orchestrator/bin/python -I -X utf8 -c 'import orchestrator.cli, orchestrator.healthcheck' \
    && rm -rf /tmp/* /root/.cache

ENV ANCHORE_CONFIG_DIR=/config \
    ORCHESTRATOR_DATA_DIR=/data \
    ORCHESTRATOR_HOST=0.0.0.0
USER 10001:0
WORKDIR /data
VOLUME /data
EXPOSE 8228
HEALTHCHECK --interval=30s --timeout=6s --start-period=40s --retries=3 \
    CMD ["/opt/kai-orchestrator/bin/python", "-I", "-B", "-X", "utf8", "-m", "orchestrator.healthcheck"]
ENTRYPOINT ["/usr/bin/tini", "--", "/opt/kai-orchestrator/bin/python", "-I", "-B", "-X", "utf8", "-m", "orchestrator.cli"]
