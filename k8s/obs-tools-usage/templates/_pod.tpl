{{/* What all pods have in common. */}}

{{/* The restricted Pod Security Standard; `uid` owns the files of the pod's volumes: (list "65532"). */}}
{{- define "shop.pod.security" -}}
runAsNonRoot: true
runAsUser: {{ index . 0 }}
runAsGroup: {{ index . 0 }}
fsGroup: {{ index . 0 }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "shop.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
Where a pod may run: apart from its like, as far as there are nodes and zones, and what the values say. The selector is the
component's, its values may say more: (list $ "product").
*/}}
{{- define "shop.pod.placement" -}}
{{- $root := index . 0 -}}
{{- $own := default dict (get $root.Values (index . 1)) -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "shop.selector" . | nindent 8 }}
affinity:
  {{- with $own.affinity }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "shop.selector" . | nindent 14 }}
  {{- end }}
{{- with $own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What the gateway does not read again while it runs, a dot at the end for all of a section: `FIXED` of its code, and a test there compares them. */}}
{{- define "shop.gateway.fixed" -}}
admin.host admin.port admin.state_file host http.host http.port limits.h2_streams limits.head listeners. log. otel. stop. tls.cert_file tls.key_file tls.port tls.reload_interval workers
{{- end }}

{{/* The TOML that cannot be changed in a running process: for the gateway that excludes what it reads again by itself. */}}
{{- define "shop.settings.fixed" -}}
{{- $settings := dict -}}
{{- include "shop.settings" (dict "root" .root "name" .name "out" $settings) -}}
{{- if eq .name "gateway" -}}
{{- $fixed := dict -}}
{{- range include "shop.gateway.fixed" . | splitList " " -}}
{{- $section := splitList "." . | first -}}
{{- $key := trimPrefix $section . | trimPrefix "." -}}
{{- $value := get $settings $section -}}
{{- if and (not $key) (hasKey $settings $section) -}}
{{- $_ := set $fixed $section $value -}}
{{- else if and (kindIs "map" $value) (hasKey $value $key) -}}
{{- $_ := set $fixed $section (merge (dict $key (get $value $key)) (get $fixed $section | default dict)) -}}
{{- end -}}
{{- end -}}
{{- $settings = $fixed -}}
{{- end -}}
{{ include "shop.toml" $settings }}
{{- end }}

{{/* The content of our Secrets that a component is given. */}}
{{- define "shop.secret.content" -}}
{{- $root := .root -}}
{{- $all := include "shop.secrets" $root | fromJson -}}
{{- range (include "shop.secret.files" . | fromJson).items -}}
{{- $short := trimPrefix (printf "%s-" (include "shop.fullname" $root)) .secret -}}
{{ .var }}={{ get (default dict (get $all $short)) .key }}
{{ end -}}
{{- end }}
