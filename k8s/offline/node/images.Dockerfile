# The images of a cluster's own pods, each a --target.

# Programs that need nothing around them.
FROM scratch AS program
ENV PATH=/usr/local/bin
ARG PROGRAM
COPY $PROGRAM /usr/local/bin/

FROM program AS coredns
ENTRYPOINT ["coredns"]

# What holds a pod's network, until it is killed.
FROM rocket-launches/offline:bookworm AS pause
ENTRYPOINT ["sleep", "infinity"]

# The pod that makes and deletes a volume's folder needs mkdir and rm.
FROM rocket-launches/offline:bookworm AS local-path-helper

FROM rocket-launches/offline:bookworm AS kindnetd
COPY kindnetd /usr/local/bin/
ENTRYPOINT ["sh", "/usr/local/bin/kindnetd"]

FROM rocket-launches/offline:bookworm AS kube-proxy
# hadolint ignore=DL3008  # Debian's stable release is the pin
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update \
    && apt-get install --yes --no-install-recommends conntrack iptables nftables kmod \
    && rm -rf /var/log/*
COPY kube-proxy /usr/local/bin/
