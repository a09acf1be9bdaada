{{/* TLS between the components: whose files, whose names, and the settings that follow. */}}

{{/* Where a pod finds tls.crt, tls.key and ca.crt. */}}
{{- define "shop.tls.folder" -}}
/run/tls
{{- end }}

{{/* The Secret with them: (list $ "product"). */}}
{{- define "shop.tls.secret" -}}
{{- $root := index . 0 -}}
{{ get $root.Values.tls.existingSecrets (index . 1) | default (printf "%s-%s-tls" (include "shop.fullname" $root) (index . 1)) }}
{{- end }}

{{/* Whom the certificate of a component is for: its Service, or its service account in the trust domain: (list $ "product"). */}}
{{- define "shop.tls.name" -}}
{{- $root := index . 0 -}}
{{- $object := printf "%s-%s" (include "shop.fullname" $root) (index . 1) -}}
{{- if $root.Values.tls.trustDomain -}}
spiffe://{{ $root.Values.tls.trustDomain }}/ns/{{ $root.Release.Namespace }}/sa/{{ $object }}
{{- else -}}
{{ $object }}
{{- end -}}
{{- end }}

{{/* What a component calls another with, of which `server_name` is for the latter: (list $ "product"). */}}
{{- define "shop.tls.towards" -}}
{{- $folder := include "shop.tls.folder" . -}}
{{ dict "ca_file" (printf "%s/ca.crt" $folder) "cert_file" (printf "%s/tls.crt" $folder) "key_file" (printf "%s/tls.key" $folder) "server_name" (include "shop.tls.name" .) | toJson }}
{{- end }}

{{/* The URL of a component: (list $ "product" "http"). */}}
{{- define "shop.url" -}}
{{- $root := index . 0 -}}
{{ ternary "https" "http" $root.Values.tls.enabled }}://{{ include "shop.address" . }}
{{- end }}

{{/* A service that is called over gRPC: (list $ "product"). */}}
{{- define "shop.neighbour" -}}
{{- $root := index . 0 -}}
{{- $to := list $root (index . 1) "grpc" -}}
{{- if $root.Values.tls.enabled -}}
{{ dict "url" (include "shop.url" $to) "server_name" (include "shop.tls.name" .) | toJson }}
{{- else -}}
{{ dict "url" (include "shop.address" $to) | toJson }}
{{- end -}}
{{- end }}

{{/* The section `tls` of a service, which lets in whom the table of arrows has: (list $ "product"). */}}
{{- define "shop.tls.settings" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $folder := include "shop.tls.folder" $root -}}
{{- $callers := list -}}
{{- range (include "shop.arrows" $root | fromJson).arrows -}}
{{- if eq .to $name }}{{ $callers = append $callers (include "shop.tls.name" (list $root .from)) }}{{ end -}}
{{- end -}}
{{ dict "cert_file" (printf "%s/tls.crt" $folder) "key_file" (printf "%s/tls.key" $folder) "ca_file" (printf "%s/ca.crt" $folder) "client_ca_file" (printf "%s/ca.crt" $folder) "client_names" (uniq $callers) | toJson }}
{{- end }}

{{/* The port that probes and Prometheus ask of a component. */}}
{{- define "shop.tls.probed" -}}
{{- $root := index . 0 -}}
{{ ternary "operations" "http" (and $root.Values.tls.enabled (ne (index . 1) "gateway")) }}
{{- end }}
