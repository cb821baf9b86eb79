{{- define "kubewitness.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kubewitness.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kubewitness.labels" -}}
{{ include "kubewitness.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/part-of: {{ .Chart.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "kubewitness.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* "true" if the agent calls the API server: only then does its pod hold a token. */ -}}
{{- define "kubewitness.callsApiServer" -}}
{{- if or .Values.rbac .Values.kubernetesEvents .Values.coverage.kubeletMetrics (eq .Values.metrics.auth "kubernetes") -}}true{{- end -}}
{{- end -}}

{{- /* The policy that the ConfigMap holds. */ -}}
{{- define "kubewitness.auditPolicy" -}}
{{- if .Values.auditPolicy.policy -}}
{{ toYaml .Values.auditPolicy.policy }}
{{- else -}}
{{ .Files.Get "files/audit-policy.yaml" | trim }}
{{- end -}}
{{- end -}}

{{- /* Text, indented by spaces, with nothing on empty lines: (list TEXT SPACES). */ -}}
{{- define "kubewitness.indented" -}}
{{- regexReplaceAll "(?m)[ \t]+$" (indent (index . 1) (index . 0 | trim)) "" -}}
{{- end -}}
