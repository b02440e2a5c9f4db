# One static binary in an image that holds nothing else: no shell, no libc, and only a numeric user.
#
#     docker build -t lograft .
#     docker run -p 127.0.0.1:2379:2379 -v lograft:/var/lib/lograft lograft     # a cluster of one node
#     docker-compose up -d --build                                             # three nodes
#
# It needs no BuildKit. If no image registry can be reached, scripts/stand-in-image builds the base image.

# The manifests, each with empty sources.
FROM rust:1.95-slim-bookworm AS manifests
WORKDIR /all
COPY . .
RUN mkdir /build && cp Cargo.toml Cargo.lock /build \
    && for manifest in Cargo.toml crates/*/Cargo.toml; do \
           crate="/build/$(dirname "$manifest")" \
           && mkdir -p "$crate/src" && cp "$manifest" "$crate" && touch "$crate/src/lib.rs" || exit 1; \
       done \
    && cd /build && echo 'fn main() {}' | tee build.rs src/main.rs > crates/sim/src/main.rs

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build

# With an explicit target, the flags apply only to the program. Build scripts and procedural macros must stay dynamic.
ENV RUSTFLAGS="-C target-feature=+crt-static" CARGO_TERM_COLOR=never

# Build the dependencies first, with the empty sources: only a change of a manifest or the lock file rebuilds this layer.
# A manifest must give the `path` of each bench, test or example that it declares, or cargo looks for the file here.
# Then remove the artefacts of the empty crates, or cargo would consider them newer than the sources that come next.
COPY --from=manifests /build ./
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && cargo build --locked --release --bin lograft --target "$target" \
    && for crate in $(sed -n 's/^name = "\(lograft[a-z-]*\)"$/\1/p' Cargo.toml crates/*/Cargo.toml | sort -u); do \
           cargo clean --release --package "$crate" --target "$target" && cargo clean --release --package "$crate"; \
       done \
    && rm -r src build.rs crates

COPY . .
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && cargo build --locked --release --bin lograft --target "$target" \
    && cp "target/$target/release/lograft" /lograft \
    && mkdir -p -m 700 /data/lograft

FROM scratch
COPY --from=build /lograft /lograft
# An empty named volume takes its owner and mode from the directory it is mounted on, so the node can write without root.
COPY --from=build --chown=65532:65532 /data /var/lib
USER 65532:65532
VOLUME /var/lib/lograft
EXPOSE 2379 2380

# Unlike on a machine, the node listens on every interface of the container's own network. A cluster must also set names
# and advertised addresses, as docker-compose.yml shows. Flags override these variables; these override a config file.
ENV LOGRAFT_DATA_DIR=/var/lib/lograft \
    LOGRAFT_LISTEN_CLIENT_URLS=http://0.0.0.0:2379 \
    LOGRAFT_ADVERTISE_CLIENT_URLS=http://127.0.0.1:2379 \
    LOGRAFT_LISTEN_PEER_URLS=http://0.0.0.0:2380 \
    LOGRAFT_INITIAL_ADVERTISE_PEER_URLS=http://127.0.0.1:2380

HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/lograft", "status", "--endpoints", "127.0.0.1:2379"]
ENTRYPOINT ["/lograft"]
CMD ["serve"]
