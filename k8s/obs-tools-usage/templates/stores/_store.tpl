{{/* What the bundled stores have in common. Each is a StatefulSet on the maker's own image. */}}

{{/* The head of a store's StatefulSet: (list $ "redis"). */}}
{{- define "shop.store.head" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
serviceName: {{ include "shop.fullname" $root }}-{{ $name }}-headless
revisionHistoryLimit: {{ $root.Values.rollout.revisionHistoryLimit }}
selector:
  matchLabels: {{- include "shop.selector" (list $root $name) | nindent 4 }}
{{- end }}

{{/* The head of a store's pod, which its image's own user runs: (list $ "redis" uid grace-in-seconds). */}}
{{- define "shop.store.pod" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
serviceAccountName: {{ include "shop.fullname" $root }}-{{ $name }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ index . 3 }}
securityContext: {{- include "shop.pod.security" (list (index . 2)) | nindent 2 }}
{{ include "shop.pod.placement" . }}
{{- end }}

{{/* Its Services: one address for clients, and a name for each pod: (list $ "redis"). */}}
{{- define "shop.store.services" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 }}
---
apiVersion: v1
kind: Service
metadata: {{- include "shop.metadata" (list $root $name) | nindent 2 }}
spec:
  selector: {{- include "shop.selector" (list $root $name) | nindent 4 }}
  ports:
    - name: {{ $name }}
      port: {{ include "shop.store.port" $name }}
      targetPort: {{ $name }}
---
apiVersion: v1
kind: Service
metadata: {{- include "shop.metadata" (list $root $name (printf "%s-headless" $name)) | nindent 2 }}
spec:
  clusterIP: None
  # Pods look for one another before they are ready.
  publishNotReadyAddresses: true
  selector: {{- include "shop.selector" (list $root $name) | nindent 4 }}
  ports:
    - name: {{ $name }}
      port: {{ include "shop.store.port" $name }}
      targetPort: {{ $name }}
{{- end }}

{{/* The volume of each of its pods: (list $ "redis"). */}}
{{- define "shop.store.claims" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values (index . 1) -}}
volumeClaimTemplates:
  - metadata:
      name: data
      labels: {{- include "shop.selector" . | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $own.persistence.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ $own.persistence.size }}
{{- end }}

{{/* A volume of one of our Secrets or one of yours: (list $ "redis"). */}}
{{- define "shop.store.secret" -}}
{{- $root := index . 0 -}}
- name: secrets
  secret:
    secretName: {{ default (printf "%s-%s" (include "shop.fullname" $root) (index . 1)) (index $root.Values (index . 1)).auth.existingSecret }}
    defaultMode: 0440
{{- end }}

{{/* Annotation with the hash of a file of this store's: (list $ "files/redis.sh"). */}}
{{- define "shop.store.checksum" -}}
checksum/files: {{ tpl ((index . 0).Files.Get (index . 1)) (index . 0) | sha256sum }}
{{- end }}
