{{/* What a binary reads: the same TOML keys as everywhere else. */}}

{{- define "shop.toml.key" -}}
{{ if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{- define "shop.toml.value" -}}
{{- if kindIs "map" . -}}
{ {{- $first := true }}{{ range $key, $value := . }}{{ if not (kindIs "invalid" $value) }}{{ if not $first }},{{ end }} {{ include "shop.toml.key" $key }} = {{ include "shop.toml.value" $value }}{{ $first = false }}{{ end }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{ range $index, $value := . }}{{ if $index }}, {{ end }}{{ include "shop.toml.value" $value }}{{ end }}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{/* Helm's toToml writes every number of a values file with a decimal point; a text in JSON is a text in TOML. */}}
{{- define "shop.toml" -}}
{{- range $key, $value := . }}{{ if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}{{ $key }} = {{ include "shop.toml.value" $value }}
{{ end }}{{ end -}}
{{- range $section, $value := . }}{{ if kindIs "map" $value }}
[{{ $section }}]
{{ range $key, $inner := $value }}{{ if not (kindIs "invalid" $inner) }}{{ $key }} = {{ include "shop.toml.value" $inner }}
{{ end }}{{ end }}{{ end }}{{ end -}}
{{- end }}

{{/* host:port of a component inside the namespace: (list $ "product" "grpc"). */}}
{{- define "shop.address" -}}
{{- $root := index . 0 -}}
{{ include "shop.fullname" $root }}-{{ index . 1 }}:{{ (index (index $root.Values (index . 1)).settings (index . 2)).port }}
{{- end }}

{{/* How one logs in to brokers of others: the mechanism; nothing where nobody does. */}}
{{- define "shop.kafka.login" -}}
{{- with .Values.kafka }}{{ if and (not .enabled) (hasPrefix "sasl_" .external.securityProtocol) }}{{ .external.sasl.mechanism }}{{ end }}{{ end -}}
{{- end }}

{{/* Whom the tokens of service accounts are for that brokers are shown; nothing when they are shown none. */}}
{{- define "shop.kafka.serviceAccount" -}}
{{- if eq (include "shop.kafka.login" .) "OAUTHBEARER" }}{{ .Values.kafka.external.sasl.oauth.serviceAccountAudience }}{{ end -}}
{{- end }}

{{/* Where Kafka is, and how it is spoken to; what is secret comes as files. */}}
{{- define "shop.kafka" -}}
{{- $kafka := dict -}}
{{- $brokers := list -}}
{{- if .Values.kafka.enabled -}}
{{- $name := printf "%s-kafka" (include "shop.fullname" .) -}}
{{- range until (int .Values.kafka.replicas) }}
{{- $brokers = append $brokers (printf "%s-%d.%s-headless:9092" $name . $name) }}
{{- end -}}
{{- else -}}
{{- with .Values.kafka.external -}}
{{- $brokers = .brokers -}}
{{- if ne .securityProtocol "plaintext" }}{{ $_ := set $kafka "security_protocol" .securityProtocol }}{{ end -}}
{{- if eq (include "shop.kafka.login" $) "OAUTHBEARER" -}}
{{- $sasl := dict "mechanism" .sasl.mechanism -}}
{{- with .sasl.oauth -}}
{{- if and .tokenUrl .serviceAccountAudience }}{{ fail "kafka.external.sasl.oauth: set tokenUrl or serviceAccountAudience, not both" }}{{ end -}}
{{- if not .serviceAccountAudience -}}
{{- $oauth := dict "token_url" (required "kafka.external.sasl.mechanism is OAUTHBEARER: set kafka.external.sasl.oauth.tokenUrl or .serviceAccountAudience" .tokenUrl) -}}
{{- $_ := set $oauth "client_id" (required "kafka.external.sasl.oauth.tokenUrl is set: set .clientId" .clientId) -}}
{{- with .scope }}{{ $_ := set $oauth "scope" . }}{{ end -}}
{{- with .audience }}{{ $_ := set $oauth "audience" . }}{{ end -}}
{{- $_ := set $sasl "oauth" $oauth -}}
{{- end -}}
{{- end -}}
{{- $_ := set $kafka "sasl" $sasl -}}
{{- else if include "shop.kafka.login" $ -}}
{{- $_ := set $kafka "sasl" (dict "mechanism" .sasl.mechanism "username" (required (printf "kafka.external.securityProtocol is %s: set kafka.external.sasl.username" .securityProtocol) .sasl.username)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ merge $kafka (dict "brokers" $brokers) | toJson }}
{{- end }}

{{/* Host and port of a store, ours or another, or the URL of several servers: (list $ "redis"). */}}
{{- define "shop.store" -}}
{{- $root := index . 0 -}}
{{- $store := index $root.Values (index . 1) -}}
{{- if $store.enabled -}}
{{ dict "host" (printf "%s-%s" (include "shop.fullname" $root) (index . 1)) "port" (int (include "shop.store.port" (index . 1))) | toJson }}
{{- else if $store.external.url -}}
{{- if and $store.external.tls.existingSecret (not (hasPrefix "rediss" $store.external.url)) }}{{ fail "redis.external.tls: has no effect without TLS; begin redis.external.url with rediss" }}{{ end -}}
{{ dict "url" $store.external.url | toJson }}
{{- else if and (eq (index . 1) "redis") $store.external.tls.existingSecret -}}
{{ dict "url" (printf "rediss://%s:%d" (required "redis.enabled is false: set redis.external.host" $store.external.host) (int $store.external.port)) | toJson }}
{{- else -}}
{{- $at := dict "host" (required (printf "%s.enabled is false: set %s.external.host" (index . 1) (index . 1)) $store.external.host) "port" (int $store.external.port) -}}
{{- if (($store.external).tls).existingSecret }}{{ $_ := set $at "ssl_mode" "verify-full" }}{{ end -}}
{{- with $store.external.directUrl }}{{ $_ := set $at "direct_url" . }}{{ end -}}
{{ $at | toJson }}
{{- end -}}
{{- end }}

{{- define "shop.store.port" -}}
{{ get (dict "postgresql" 5432 "redis" 6379 "mariadb" 3306 "kafka" 9092) . }}
{{- end }}

{{/* The store that a component keeps its data in; nothing for the gateway. */}}
{{- define "shop.store.of" -}}
{{ get (dict "product" "postgresql" "basket" "redis" "payment" "mariadb" "notification" "postgresql") . }}
{{- end }}

{{/* Where the secrets of a component belong that its settings ask for, by their section: (list "product" "database"). */}}
{{- define "shop.secret.place" -}}
{{- $name := index . 0 -}}
{{- $places := dict
  "gateway.admin" "gateway.admin.token or .existingSecret"
  "product.database" "postgresql.auth.productPassword or .existingSecret, for a server of yours postgresql.external.password or .existingSecret"
  "notification.database" "postgresql.auth.notificationPassword or .existingSecret, for a server of yours postgresql.external.notificationPassword or .notificationExistingSecret"
  "basket.redis" "redis.auth.password or .existingSecret, for a server of yours redis.external.password or .existingSecret"
  "payment.database" "mariadb.auth.password or .existingSecret, for a server of yours mariadb.external.password or .existingSecret"
  "payment.provider" "payment.stripe.secretKey, .webhookSecrets or .existingSecret"
  "notification.email" "notification.smtp.url or .existingSecret"
  "notification.webhook" "notification.webhook.secret or .existingSecret" -}}
{{- if eq (index . 1) "kafka" }}{{ $_ := set $places (printf "%s.kafka" $name) "kafka.external.sasl.password or .existingSecret, for tokens kafka.external.sasl.oauth.clientSecret or .existingSecret" }}{{ end -}}
{{ get $places (printf "%s.%s" $name (index . 1)) | default (printf "a Secret of yours, and its variable into %s.extraEnv with valueFrom.secretKeyRef" $name) }}
{{- end }}

{{/*
Fails where settings hold a secret, since they end up in a ConfigMap:
(dict "name" "product" "path" "product.settings" "section" "" "value" $settings).
*/}}
{{- define "shop.settings.open" -}}
{{- range $key, $value := .value -}}
{{- $key = toString $key -}}
{{- $path := printf "%s.%s" $.path $key -}}
{{- $section := $.section | default $key -}}
{{- if or (kindIs "map" $value) (kindIs "slice" $value) -}}
{{- include "shop.settings.open" (dict "name" $.name "path" $path "section" $section "value" $value) -}}
{{- else if not (or (empty $value) (kindIs "bool" $value)) -}}
{{- if or (regexMatch "(^|_)(password|secrets?|secret_key|token)$" $key) (regexMatch "://([^/?#]*:[^/?#@]+@|.*[?&][a-z_]*password=[^&#])" (toString $value)) -}}
{{- fail (printf "%s: holds a secret, and settings end up in a ConfigMap; put it into %s" $path (include "shop.secret.place" (list $.name $section))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
The settings of a component: what follows from this release, then `settings` of all, then its own. Written into `out`, because
a detour over JSON would turn whole numbers into fractions: (dict "root" $ "name" "product" "out" (dict)).
*/}}
{{- define "shop.settings" -}}
{{- $root := .root -}}
{{- $own := (index $root.Values .name).settings -}}
{{- if (($own).stop).grace }}{{ fail (printf "%s.settings.stop.grace: set shutdown.graceSeconds, from which the pod's own limit follows" .name) }}{{ end -}}
{{- include "shop.settings.open" (dict "name" .name "path" "settings" "section" "" "value" $root.Values.settings) -}}
{{- include "shop.settings.open" (dict "name" .name "path" (printf "%s.settings" .name) "section" "" "value" $own) -}}
{{- with $root.Values.shutdown }}{{ if ge (int .lingerSeconds) (int .graceSeconds) }}{{ fail "shutdown.lingerSeconds: must be less than shutdown.graceSeconds, which begins at the same time" }}{{ end }}{{ end -}}
{{- $linger := printf "%vs" $root.Values.shutdown.lingerSeconds -}}
{{- $derived := dict "stop" (dict "grace" (printf "%vs" $root.Values.shutdown.graceSeconds)) -}}
{{- include "shop.identity.settings" (dict "root" $root "name" .name "out" $derived) -}}
{{- if eq .name "gateway" -}}
{{- $_ := set $derived "drain_delay" $linger -}}
{{/* What is in front of the gateway in a pod, such as a mesh's proxy, comes from loopback and speaks for others. */}}
{{- $_ := set $derived "admin" (dict "host" $root.Values.listen "on_client_port" false) -}}
{{- $services := dict -}}
{{- range list "product" "basket" "payment" "notification" }}
{{- $on := has . (include "shop.components" $root | fromJson).names -}}
{{- $service := dict "enabled" $on -}}
{{- if $on }}{{ $_ := set $service "urls" (list (include "shop.url" (list $root . "http"))) }}{{ end -}}
{{- if and $on (ne . "notification") }}{{ $_ := set $service "grpc_urls" (list (include "shop.url" (list $root . "grpc"))) }}{{ end -}}
{{- if and $on $root.Values.tls.enabled }}{{ $_ := set $service "tls" (include "shop.tls.towards" (list $root .) | fromJson) }}{{ end -}}
{{- $_ := set $services . $service -}}
{{- end -}}
{{- $_ := set $derived "services" $services -}}
{{- else -}}
{{- $_ := set $derived "http" (dict "linger" $linger) -}}
{{- with $root.Values.tls }}{{ if .enabled -}}
{{- $_ := set $derived "tls" (include "shop.tls.settings" (list $root $.name) | fromJson) -}}
{{- $_ := set $derived "operations" (dict "host" $root.Values.listen "port" (int .operationsPort)) -}}
{{- end }}{{ end -}}
{{- $_ := set $derived "kafka" (include "shop.kafka" $root | fromJson) -}}
{{- $store := include "shop.store.of" .name -}}
{{- $_ := set $derived (eq $store "redis" | ternary "redis" "database") (include "shop.store" (list $root $store) | fromJson) -}}
{{- if has .name (list "basket" "payment") }}{{ $_ := set $derived "product" (include "shop.neighbour" (list $root "product") | fromJson) }}{{ end -}}
{{- if eq .name "product" }}{{ $_ := set $derived "payment" (include "shop.neighbour" (list $root "payment") | fromJson) }}{{ end -}}
{{- if eq .name "payment" -}}
{{- $_ := set $derived "basket" (include "shop.neighbour" (list $root "basket") | fromJson) -}}
{{/* Without one nobody is told anything, and nothing is known of it. */}}
{{- $told := has "notification" (include "shop.components" $root | fromJson).names -}}
{{- $_ := set $derived "notification" ($told | ternary (include "shop.neighbour" (list $root "notification") | fromJson) (dict "url" "")) -}}
{{- end -}}
{{- end -}}
{{- $cluster := $derived.identity.others -}}
{{- $_ := mergeOverwrite .out $derived (deepCopy $root.Values.settings) (deepCopy $own) -}}
{{/* A list is replaced, not merged. */}}
{{- if and $cluster (ne (toJson $cluster) (toJson .out.identity.others)) }}{{ $_ := set .out.identity "others" (concat $cluster .out.identity.others) }}{{ end -}}
{{- end }}

{{/*
Where the gateway listens for clients beside `http`, as far as others than its pod reach it: {"listeners": [{"name", "port"}]}. A
port is called like its listener, where Kubernetes takes that for a port's name.
*/}}
{{- define "shop.listeners" -}}
{{- $settings := dict -}}
{{- include "shop.settings" (dict "root" . "name" "gateway" "out" $settings) -}}
{{- $taken := list "http" "https" "admin" -}}
{{- $found := list -}}
{{- $ports := list -}}
{{- if ($settings.tls).cert_file -}}
{{- $ports = append $ports (int (default 8443 $settings.tls.port)) -}}
{{- $found = append $found (dict "name" "https" "port" (first $ports)) -}}
{{- end -}}
{{- range $name, $listener := (default dict $settings.listeners) -}}
{{- $port := regexFind "[0-9]+$" $listener.address | int -}}
{{- $inside := regexMatch "^(127\\.|\\[::1\\])" $listener.address -}}
{{- if and $port (not $inside) (not (has $port $ports)) -}}
{{- $fits := and (regexMatch "^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$" $name) (regexMatch "[a-z]" $name) (not (contains "--" $name)) (not (has $name $taken)) -}}
{{- $found = append $found (dict "name" ($fits | ternary $name (printf "listener-%d" $port)) "port" $port) -}}
{{- $ports = append $ports $port -}}
{{- end -}}
{{- end -}}
{{ dict "listeners" $found | toJson }}
{{- end }}
