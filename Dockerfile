# One image for the worker pool, the runbook pool, the console and the jobs; its arguments tell which. The target `dev` is
# the same with the Temporal CLI inside, and runs `harmony dev`: everything there is, to try it.
#
#   docker build -t harmony:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#   syft harmony:0.1.0 -o spdx-json > harmony-0.1.0.spdx.json      # what is in it
#   docker build -t harmony:dev --target dev . && docker run --rm -it --network host --name harmony harmony:dev
#
# Both base images are pinned to a release; pin them to a digest where you build (docs/operations.md, Image).

FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml LICENSE-APACHE LICENSE-MIT ./
COPY .ci/licences .ci/licences
COPY .ci/texts .ci/texts
COPY activities activities
COPY blueprints blueprints
COPY capabilities capabilities
COPY catalog catalog
COPY console console
COPY deploy/systemd deploy/systemd
COPY docs/operations.md docs/operations.md
COPY eventlog eventlog
COPY incidents incidents
COPY policies policies
COPY promotion promotion
COPY protos protos
COPY runbooks runbooks
COPY runner runner
COPY telemetry telemetry
COPY tests tests
COPY worker worker
# --locked: what was tested is what is built. The commit, for `harmony --version`: the image has no repository.
ARG HARMONY_COMMIT=
RUN cargo build --locked --release --package harmony --all-features
RUN .ci/licences THIRD-PARTY

# What the program itself would build where it finds no Temporal CLI; for the target dev alone.
FROM golang:1.24.5-bookworm AS temporal
RUN CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" github.com/temporalio/cli/cmd/temporal@v1.5.1
# The licences of what it was built from.
RUN mkdir /licences && cd "$(go env GOMODCACHE)" \
    && find . -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' \) ! -name '*.go' \
        -exec cp --parents {} /licences ';'

# bash for runbook cells, certificates for the vendors, nothing else that was not there.
FROM debian:bookworm-20250630-slim AS harmony
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bash ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /var/lib/harmony \
    && chown 65532:65532 /var/lib/harmony
COPY --from=build /src/target/release/harmony /usr/local/bin/harmony
COPY --from=build /src/policies /usr/share/harmony/policies
COPY --from=build /src/runbooks /usr/share/harmony/runbooks
COPY --from=build /src/THIRD-PARTY /usr/share/doc/harmony/THIRD-PARTY
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/harmony/
ARG REVISION=unknown
LABEL org.opencontainers.image.title="harmony" \
      org.opencontainers.image.description="Incident response on Temporal: from declaration to a signed-off review" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
ENV HARMONY_DATA_DIR=/var/lib/harmony \
    HARMONY_PROMOTION_POLICIES=/usr/share/harmony/policies \
    HARMONY_RUNBOOKS=/usr/share/harmony/runbooks \
    HARMONY_LOG_FORMAT=json
# The root file system may be read-only: Harmony writes into its data directory, cells into TMPDIR.
USER 65532:65532
WORKDIR /var/lib/harmony
VOLUME ["/var/lib/harmony"]
EXPOSE 8088 9464
ENTRYPOINT ["/usr/local/bin/harmony"]
CMD ["serve"]

# Everything listens on loopback, the stand-ins of the vendors, too: hence --network host. Without it the console alone can
# be reached, by `-p 127.0.0.1:8088:8088 … dev --http 0.0.0.0:8088`. Commands: docker exec harmony harmony incident list
FROM harmony AS dev
COPY --from=temporal /go/bin/temporal /usr/local/bin/temporal
COPY --from=temporal /licences /usr/share/doc/temporal
ENV HARMONY_TEMPORAL_CLI=/usr/local/bin/temporal \
    HARMONY_LOG_FORMAT=text
CMD ["dev"]

# What is built where no target is named.
FROM harmony
