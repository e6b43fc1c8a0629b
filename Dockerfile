# The server as a static binary under a user that is not root. Build it from the repository's root:
#   docker build -t slipway .    or    buildctl build --frontend dockerfile.v0 …
FROM golang:1.26 AS builder
WORKDIR /src
# With a vendor folder in it the modules are taken from there, and no network is needed.
COPY . .
ARG VERSION=devel
RUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/go/pkg/mod \
    CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.version=${VERSION}" -o /out/slipway ./cmd/app \
    && mkdir -p /out/data

FROM scratch
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /out/slipway /slipway
COPY --from=builder --chown=65532:65532 /out/data /var/lib/slipway
USER 65532:65532
WORKDIR /var/lib/slipway
EXPOSE 8080 8081 9090
ENTRYPOINT ["/slipway"]
CMD ["serve", "--config", "/etc/slipway/config.yaml"]
