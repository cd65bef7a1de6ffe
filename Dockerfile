# The whole sample shop in one image: each service is a subcommand of `demo`, see `docker run <image> --help`.

ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

# The workspace reduced to its manifests, with an empty source for each target that they declare. Docker
# caches the next stage by content, so dependencies are built again only if a manifest changes.
FROM ${RUST_IMAGE} AS manifests
WORKDIR /store
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/examples/*.rs' \
        ! -path '*/fuzz_targets/*.rs' -delete \
    && find . -type d -empty -delete \
    && find . -name '*.rs' -exec sh -c 'echo "fn main() { }" > "$1"' sh {} ';'

FROM ${RUST_IMAGE} AS builder
WORKDIR /store
COPY --from=manifests /store .
RUN cargo build --release --locked --package demo
COPY . .
# Cargo compares modification times, and a source may be older than the build of its empty stand-in.
RUN find . -name '*.rs' ! -path './target/*' -exec touch {} + \
    && cargo build --release --locked --package demo
# Debug info is about 80 % of the binary. Without it, panics still show their location, and backtraces their functions.
RUN strip --strip-debug -o /demo target/release/demo

FROM ${RUNTIME_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/store --shell /usr/sbin/nologin store \
    && install --directory --owner store --group store /var/lib/store /var/lib/store/data
COPY --from=builder /demo /usr/local/bin/demo
# Numeric UID, as required by Kubernetes `runAsNonRoot`.
USER 10001:10001
# Without a DATABASE_URL a service keeps an SQLite file in `data`.
WORKDIR /var/lib/store
ENTRYPOINT ["demo"]
