{{/*
Who may call whom, as in the architecture document: {"arrows": [{"from", "to", "ports"}]}. Ports are names for pods of the
shop, numbers for stores. NetworkPolicies are made from this table alone.
*/}}
{{- define "shop.arrows" -}}
{{- $components := (include "shop.components" . | fromJson).names -}}
{{- $stores := (include "shop.stores" . | fromJson).names -}}
{{- $arrows := list -}}
{{- range without $components "gateway" -}}
{{- $arrows = append $arrows (dict "from" "gateway" "to" . "ports" (eq . "notification" | ternary (list "http") (list "http" "grpc"))) -}}
{{- $store := include "shop.store.of" . -}}
{{- if has $store $stores }}{{ $arrows = append $arrows (dict "from" . "to" $store "ports" (list (int (include "shop.store.port" $store)))) }}{{ end -}}
{{- if has "kafka" $stores }}{{ $arrows = append $arrows (dict "from" . "to" "kafka" "ports" (list 9092)) }}{{ end -}}
{{- end -}}
{{- $arrows = concat $arrows (list
  (dict "from" "basket" "to" "product" "ports" (list "grpc"))
  (dict "from" "payment" "to" "product" "ports" (list "grpc"))
  (dict "from" "payment" "to" "basket" "ports" (list "grpc"))
  (dict "from" "product" "to" "payment" "ports" (list "grpc"))
  (dict "from" "test" "to" "gateway" "ports" (list "http"))) -}}
{{- if has "notification" $components }}{{ $arrows = append $arrows (dict "from" "payment" "to" "notification" "ports" (list "grpc")) }}{{ end -}}
{{- if has "kafka" $stores }}{{ $arrows = append $arrows (dict "from" "kafka" "to" "kafka" "ports" (list 9092 9093)) }}{{ end -}}
{{ dict "arrows" $arrows | toJson }}
{{- end }}

{{/* Whom a component calls outside of this release: {"calls": [{"ports", "to"}]}; an empty `to` is anywhere. */}}
{{- define "shop.outside" -}}
{{- $root := .root -}}
{{- $name := .name -}}
{{- $calls := list -}}
{{- $store := include "shop.store.of" $name -}}
{{- if $store -}}
{{- with index $root.Values $store }}{{ if not .enabled -}}
{{- $places := list (list .external.host .external.port) -}}
{{- with .external.directUrl }}{{ $places = append $places (list (regexReplaceAll "^[a-z]+://([^@/]*@)?([^/?]*).*$" . "${2}") (include "shop.store.port" $store)) }}{{ end -}}
{{- $ports := list -}}
{{/* Of several hosts each may have a port of its own. */}}
{{- range $place := $places }}{{ range splitList "," (first $place) -}}
{{- $ports = append $ports (regexMatch "^([^:]*|\\[.*\\]):[0-9]+$" (trim .) | ternary (splitList ":" . | last | int) (last $place | int)) -}}
{{- end }}{{ end -}}
{{- range regexFindAll ":[0-9]+(,|/|$)" (default "" .external.url) -1 }}{{ $ports = append $ports (regexFind "[0-9]+" . | int) }}{{ end -}}
{{/* Where sentinels listen that are named without a port. */}}
{{- if regexMatch "-sentinel://([^/]*,)?([^],:/[]+|[[][^]]*[]])(,|/)" (default "" .external.url) }}{{ $ports = append $ports 26379 }}{{ end -}}
{{- $calls = append $calls (dict "ports" (uniq $ports) "to" .external.peers) -}}
{{- end }}{{ end -}}
{{- with $root.Values.kafka }}{{ if not .enabled -}}
{{- $ports := list }}{{ range .external.brokers }}{{ $ports = append $ports (splitList ":" . | last | int) }}{{ end -}}
{{- $calls = append $calls (dict "ports" (uniq $ports) "to" .external.peers) -}}
{{- end }}{{ end -}}
{{- if eq (include "shop.kafka.login" $root) "OAUTHBEARER" }}{{ with $root.Values.kafka.external.sasl.oauth }}{{ if .tokenUrl -}}
{{- $port := regexFind ":[0-9]+$" (urlParse .tokenUrl).host | trimPrefix ":" | default "443" | int -}}
{{- $calls = append $calls (dict "ports" (list $port) "to" .peers) -}}
{{- end }}{{ end }}{{ end -}}
{{- end -}}
{{- $settings := dict -}}
{{- include "shop.settings" (dict "root" $root "name" $name "out" $settings) -}}
{{- with (($settings.otel).endpoint) -}}
{{- $host := (urlParse .).host -}}
{{- $calls = append $calls (dict "ports" (list (contains ":" $host | ternary (splitList ":" $host | last | int) (hasPrefix "https:" . | ternary 443 80))) "to" list) -}}
{{- end -}}
{{- $calls = concat $calls (include "shop.identity.outside" . | fromJson).calls -}}
{{- $private := list (dict "ipBlock" (dict "cidr" "0.0.0.0/0" "except" (list "10.0.0.0/8" "100.64.0.0/10" "169.254.0.0/16" "172.16.0.0/12" "192.168.0.0/16"))) (dict "ipBlock" (dict "cidr" "::/0" "except" (list "fc00::/7" "fe80::/10"))) -}}
{{- if and (eq $name "payment") (include "shop.stripe" $root) -}}
{{- $calls = append $calls (dict "ports" (list 443) "to" $private) -}}
{{- end -}}
{{- if eq $name "notification" -}}
{{- $calls = append $calls (dict "ports" $root.Values.notification.networkPolicy.internetPorts "to" $private) -}}
{{- end -}}
{{ dict "calls" $calls | toJson }}
{{- end }}

{{- define "shop.policy.ports" -}}
{{- range . }}
- port: {{ . }}
  protocol: TCP
{{- end }}
{{- end }}
