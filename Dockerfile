# The base brings Node 26, patched where the base is; the copies of Node among the packages stay out of the image.
FROM node:26-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/finish-build.mjs scripts/write-sbom.mjs scripts/
COPY src src/
RUN npm run build && npm prune --omit=dev --omit=optional --ignore-scripts && node scripts/write-sbom.mjs --omit optional && mkdir -m 0700 state

FROM node:26-slim
LABEL org.opencontainers.image.title="Wardgate" org.opencontainers.image.description="A mutual-TLS gateway for medical APIs" org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /opt/wardgate
COPY package.json LICENSE ./
COPY --from=build /build/node_modules node_modules/
COPY --from=build /build/dist dist/
COPY --from=build --chown=65534:65534 /build/state /var/lib/wardgate/
# The root may be read-only (--read-only): nothing is written but the state, which wants a volume.
ENV WARDGATE_CONFIG=/etc/wardgate/wardgate.yaml
USER 65534:65534
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["node", "-e", "require('node:http').get('http://127.0.0.1:9100/healthz', { timeout: 2000 }, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
ENTRYPOINT ["node", "/opt/wardgate/dist/main.js"]
CMD ["run"]
