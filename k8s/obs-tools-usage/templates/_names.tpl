{{/* Names and labels: everything else asks here. */}}

{{- define "shop.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 40 letters leave room for what objects and their pods append. */}}
{{- define "shop.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "shop.name" .) .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "shop.name" .) | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* The pods of the release, or those of one component: (list $ "gateway"). Never changes: Deployments cannot be told another. */}}
{{- define "shop.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "shop.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "shop.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ include "shop.name" $root }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{ include "shop.selector" . }}
{{- end }}

{{/* Name, namespace and labels of an object: (list $ "gateway"), or (list $ "product" "product-headless") when it is called otherwise. */}}
{{- define "shop.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "shop.fullname" $root }}{{ with last . }}-{{ . }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels: {{- include "shop.labels" . | nindent 2 }}
{{- end }}

{{/* The components this release runs, as {"names": […]}. */}}
{{- define "shop.components" -}}
{{- $names := list "gateway" "product" "basket" "payment" -}}
{{- if .Values.notification.enabled }}{{ $names = append $names "notification" }}{{ end -}}
{{ dict "names" $names | toJson }}
{{- end }}

{{/* The stores this release runs. */}}
{{- define "shop.stores" -}}
{{- $names := list -}}
{{- range list "postgresql" "redis" "mariadb" "kafka" }}
{{- if (index $.Values .).enabled }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{ dict "names" $names | toJson }}
{{- end }}

{{/* An image of the shop: (list $ "gateway"). */}}
{{- define "shop.image" -}}
{{- $root := index . 0 -}}
{{- $image := (index $root.Values (index . 1)).image -}}
{{- with $root.Values.image.registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ coalesce $image.tag $root.Values.image.tag $root.Chart.AppVersion }}{{ end }}
{{- end }}
