{{- define "seamark.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* What the names of all objects begin with; 40 characters leave room for what follows. */}}
{{- define "seamark.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "seamark.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "seamark.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels of an object: (list $ "component"). */}}
{{- define "seamark.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: seamark
{{ include "seamark.selector" . }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels that never change: (list $ "component"). */}}
{{- define "seamark.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "seamark.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* An image: (list $ .Values.operator.image). */}}
{{- define "seamark.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := $image.repository -}}
{{- if not (contains "/" $name) -}}
{{- $name = list $root.Values.image.registry $root.Values.image.repository $name | compact | join "/" -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest }}
{{- else -}}
{{- printf "%s:%s" $name (coalesce $image.tag $root.Values.image.tag $root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "seamark.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Name of a component's service account: (list $ "operator"). */}}
{{- define "seamark.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $account := (index $root.Values (index . 1)).serviceAccount -}}
{{- if $account.name -}}
{{- $account.name }}
{{- else if $account.create -}}
{{- include "seamark.fullname" $root }}-{{ index . 1 }}
{{- else -}}
default
{{- end }}
{{- end }}

{{- define "seamark.secret" -}}
{{- default (include "seamark.fullname" .) .Values.auth.existingSecret }}
{{- end }}

{{/* Address of a component: (list $ "operator" 8084). It works in every namespace and with every cluster domain. */}}
{{- define "seamark.address" -}}
{{- $root := index . 0 -}}
http://{{ include "seamark.fullname" $root }}-{{ index . 1 }}.{{ $root.Release.Namespace }}.svc:{{ index . 2 }}
{{- end }}

{{- define "seamark.platformHost" -}}
{{- default (printf "seamark.%s" .Values.gateway.domain) .Values.platform.route.host }}
{{- end }}

{{- define "seamark.claim" -}}
{{- default (printf "%s-log" (include "seamark.fullname" .)) .Values.collector.persistence.existingClaim }}
{{- end }}

{{/* Pod annotations: (list $ "operator" 8084 "/metrics"); port 0 for a component without metrics. */}}
{{- define "seamark.podAnnotations" -}}
{{- $root := index . 0 -}}
{{- $annotations := dict -}}
{{- if and $root.Values.metrics.annotations (index . 2) -}}
{{- $annotations = dict "prometheus.io/scrape" "true" "prometheus.io/port" (toString (index . 2)) "prometheus.io/path" (index . 3) -}}
{{- end -}}
{{- with mustMergeOverwrite $annotations (index $root.Values (index . 1)).podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where the pod runs, and what of it is the same for all: (list $ "operator"). */}}
{{- define "seamark.pod" -}}
{{- $root := index . 0 -}}
{{- $component := index $root.Values (index . 1) -}}
serviceAccountName: {{ include "seamark.serviceAccount" . }}
{{- include "seamark.pullSecrets" $root }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $component.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $component.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Ready after the first good answer, restarted after a minute without one. */}}
{{- define "seamark.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{/* The volume of the prediction log; nothing where it is in an object store. */}}
{{- define "seamark.dataVolume" -}}
{{- if not .Values.collector.data }}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "seamark.claim" . }}
{{- end }}
{{- end }}

{{/* What the operator may do in the namespaces that it works in. */}}
{{- define "seamark.operatorRules" -}}
- apiGroups: [seamark.dev]
  resources: [modeldeployments]
  verbs: [get, list, watch, patch]
- apiGroups: [seamark.dev]
  resources: [modeldeployments/status, modelrevisions/status]
  verbs: [get, update, patch]
- apiGroups: [seamark.dev]
  resources: [modelrevisions, modeldeploymentstates]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [serving.kserve.io]
  resources: [inferenceservices]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.envoyproxy.io]
  resources: [backendtrafficpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}
