{{- define "wardgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* 52: the label that a StatefulSet gives its pods has its name and eleven characters more, and 63 at most. */}}
{{- define "wardgate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "wardgate.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "wardgate.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "wardgate.selector" -}}
app.kubernetes.io/name: {{ include "wardgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wardgate.labels" -}}
{{ include "wardgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "wardgate.metadata" -}}
name: {{ include "wardgate.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "wardgate.labels" . | nindent 2 }}
{{- end }}

{{- define "wardgate.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "wardgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "wardgate.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "wardgate.configMap" -}}
{{- default (include "wardgate.fullname" .) .Values.existingConfigMap }}
{{- end }}

{{- define "wardgate.tls" -}}
{{- default (printf "%s-tls" (include "wardgate.fullname" .)) .Values.tls.existingSecret }}
{{- end }}

{{- define "wardgate.trust" -}}
{{- default (printf "%s-trust" (include "wardgate.fullname" .)) .Values.trust.existingConfigMap }}
{{- end }}

{{- define "wardgate.secrets" -}}
{{- default (printf "%s-secrets" (include "wardgate.fullname" .)) .Values.secrets.existingSecret }}
{{- end }}

{{- define "wardgate.replicas" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicaCount .Values.autoscaling.enabled | int }}
{{- end }}
