# The image holds the static binary, root certificates and nothing else.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
# The context holds .git, from which Go stamps the version.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /out/coai ./cmd/coai
RUN mkdir -p /out/data /out/tmp /out/etc/ssl/certs \
    && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
    && echo 'coai:x:65532:65532:coai:/data:/sbin/nologin' > /out/etc/passwd \
    && echo 'coai:x:65532:' > /out/etc/group \
    && chmod 1777 /out/tmp \
    && chown -R 65532:65532 /out/data

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
ENV COAI_ADDR=0.0.0.0:8080 COAI_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/coai", "healthcheck"]
ENTRYPOINT ["/coai"]
CMD ["serve"]
