# One image per role: docker build --target user|rule|gateway|sync .   (all of them: make images)
#
# user, rule, gateway   HTTP on port 8000; settings TODO_* (services/*/config.py)
# user, rule            `python -m services.user.migrate` (or rule) in the same image brings the database's schema up to date
# sync                  the sync process of a replica of either service, HTTP on port 8150; settings SAMEBASE_*; the
#                       services' tables files are /app/tables/user.toml and /app/tables/rule.toml
#
# secrets               makes the secrets of the system that docker-compose.yml describes; the only one that runs as root
#
# All others run as the numeric user that their target names, on a root file system that may be read-only: what they
# write goes to /tmp.
#
# The base can be pinned further: --build-arg PYTHON=python:3.13-slim-trixie@sha256:...
ARG PYTHON=python:3.13-slim-trixie

FROM ${PYTHON} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app

# What a role needs besides the project, from its lock file; each is built by itself.
FROM base AS builder
RUN python -m venv --without-pip /opt/venv

FROM builder AS needs-user
RUN --mount=type=bind,source=locks/user.txt,target=/lock.txt --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: --no-deps -r /lock.txt

FROM builder AS needs-rule
RUN --mount=type=bind,source=locks/rule.txt,target=/lock.txt --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: --no-deps -r /lock.txt

FROM builder AS needs-gateway
RUN --mount=type=bind,source=locks/gateway.txt,target=/lock.txt --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: --no-deps -r /lock.txt

FROM builder AS needs-sync
RUN --mount=type=bind,source=locks/sync.txt,target=/lock.txt --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: --no-deps -r /lock.txt

# What all images of the project have in common.
FROM base AS role
COPY tools/containers/healthcheck.py ./
LABEL org.opencontainers.image.vendor="Samebase" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM role AS service
ENV PROMETHEUS_MULTIPROC_DIR=/tmp/metrics
COPY services/__init__.py services/
COPY services/common services/common
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=120s --retries=3 CMD ["python", "healthcheck.py", "8000"]

FROM service AS user
COPY --from=needs-user /opt/venv /opt/venv
COPY services/user services/user
RUN python -m compileall -q --invalidation-mode unchecked-hash .
USER 10001:10001
CMD ["gunicorn", "--config", "python:services.common.gunicorn_config", "--bind", "0.0.0.0:8000", "--threads", "32", "services.user.app:create_app()"]
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="samebase-user" \
      org.opencontainers.image.description="Accounts and login state of the to-do system" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

FROM service AS rule
COPY --from=needs-rule /opt/venv /opt/venv
COPY services/rule services/rule
RUN python -m compileall -q --invalidation-mode unchecked-hash .
USER 10002:10002
CMD ["gunicorn", "--config", "python:services.common.gunicorn_config", "--bind", "0.0.0.0:8000", "--threads", "32", "services.rule.app:create_app()"]
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="samebase-rule" \
      org.opencontainers.image.description="To-do items of the to-do system" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

FROM service AS gateway
COPY --from=needs-gateway /opt/venv /opt/venv
COPY services/gateway services/gateway
RUN python -m compileall -q --invalidation-mode unchecked-hash .
USER 10003:10003
CMD ["gunicorn", "--config", "python:services.common.gunicorn_config", "--bind", "0.0.0.0:8000", "--threads", "64", "services.gateway.app:create_app()"]
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="samebase-gateway" \
      org.opencontainers.image.description="One address for the services of the to-do system" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

FROM role AS sync
ENV SAMEBASE_LISTEN=0.0.0.0:8150
COPY --from=needs-sync /opt/venv /opt/venv
COPY samebase samebase
COPY services/user/samebase.toml tables/user.toml
COPY services/rule/samebase.toml tables/rule.toml
RUN python -m compileall -q --invalidation-mode unchecked-hash .
USER 10004:10004
EXPOSE 8150
HEALTHCHECK --interval=5s --timeout=4s --start-period=120s --retries=3 CMD ["python", "healthcheck.py", "8150"]
ENTRYPOINT ["python", "-m", "samebase"]
CMD ["run"]
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="samebase-sync" \
      org.opencontainers.image.description="Keeps one replica's database like the others', over a log" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

FROM user AS secrets
COPY tools/containers/__init__.py tools/containers/secrets.py tools/containers/
USER 0:0
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "tools.containers.secrets"]
CMD []
LABEL org.opencontainers.image.title="samebase-secrets" \
      org.opencontainers.image.description="Makes the secrets of a system of containers"
