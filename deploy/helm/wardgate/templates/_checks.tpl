{{- /* What a schema cannot say: values that do not fit each other. Each ends the installation, and names the value. */}}
{{- define "wardgate.checks" -}}
{{- $config := .Values.config }}
{{- if and .Values.existingConfigMap $config.listeners }}
{{- fail "existingConfigMap: the configuration is in `config` as well; one of the two" }}
{{- end }}
{{- if not .Values.existingConfigMap }}
{{- if not $config.listeners }}
{{- fail "config.listeners: the gateway has no configuration yet; deploy/helm/hospital.yaml is an example, existingConfigMap names one of yours" }}
{{- end }}
{{- $ports := list }}
{{- range .Values.ports }}{{ $ports = append $ports (int .port) }}{{ end }}
{{- range $listener := $config.listeners }}
{{- $port := regexFind "[0-9]+$" (toString $listener.address) | int }}
{{- if not (has $port $ports) }}
{{- fail (printf "config.listeners: %q listens on port %d, which is not among ports" (toString $listener.name) $port) }}
{{- end }}
{{- end }}
{{- if and (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1)) (not (dig "store" "redis" "" $config)) }}
{{- fail "config.store.redis: two gateways or more need a store; without it, what is revoked on one is not revoked on the others" }}
{{- end }}
{{- end }}
{{- if ne 1 (len (compact (list .Values.tls.existingSecret (or .Values.tls.certificate .Values.tls.key) (ternary "made" "" .Values.tls.certManager.enabled)))) }}
{{- fail "tls: one of existingSecret, certificate with key, and certManager.enabled" }}
{{- end }}
{{- if ne (empty .Values.tls.certificate) (empty .Values.tls.key) }}
{{- fail "tls.key: a certificate and its key come together" }}
{{- end }}
{{- if and .Values.tls.certManager.enabled (not (and .Values.tls.certManager.issuerRef.name .Values.tls.certManager.dnsNames)) }}
{{- fail "tls.certManager: issuerRef.name and dnsNames say what cert-manager is to make" }}
{{- end }}
{{- if eq (empty .Values.trust.existingConfigMap) (empty .Values.trust.files) }}
{{- fail "trust: one of existingConfigMap and files; the CAs of clients and upstreams are never the system's" }}
{{- end }}
{{- if and .Values.secrets.existingSecret .Values.secrets.values }}
{{- fail "secrets: one of existingSecret and values" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.maxReplicas: less than minReplicas" }}
{{- end }}
{{- if and .Values.disruptionBudget.enabled (ge (int .Values.disruptionBudget.minAvailable) (include "wardgate.replicas" . | int)) }}
{{- fail (printf "disruptionBudget.minAvailable: of %s gateways none could ever be moved, and no node emptied" (include "wardgate.replicas" .)) }}
{{- end }}
{{- if lt (int .Values.terminationGracePeriodSeconds) (add 20 (int .Values.preStopSeconds) | int) }}
{{- fail "terminationGracePeriodSeconds: at least preStopSeconds and 20 s more, or answers and records are cut off" }}
{{- end }}
{{- end }}
