{{/* Who may call: what follows from `identity` for settings, files and ways out. */}}

{{/* "true" where callers have to say who they are. YAML reads a bare `off` as false. */}}
{{- define "shop.identity.required" -}}
{{- if eq (toString .Values.identity.mode) "required" }}true{{ end -}}
{{- end }}

{{/* "true" where a component signs with the suite's own key: guests' tokens, and those that it shows to others. */}}
{{- define "shop.identity.signs" -}}
{{- $shown := .root.Values.identity.internal.serviceAccountTokens -}}
{{- if or (eq .name "basket") (and (has .name (list "product" "payment")) (not $shown)) }}true{{ end -}}
{{- end }}

{{/* "true" where a component shows a token of its service account to others. */}}
{{- define "shop.identity.shows" -}}
{{- if and .root.Values.identity.internal.serviceAccountTokens (has .name (list "product" "basket" "payment")) }}true{{ end -}}
{{- end }}

{{- define "shop.identity.check" -}}
{{- with .Values.identity -}}
{{- if and (not (include "shop.identity.required" $)) (not .allowAnonymous) -}}
{{- fail "identity.mode: with off, anybody who reaches a pod may do anything; leave it at required, or set identity.allowAnonymous=true as well if that is meant" -}}
{{- end -}}
{{- $keys := or .jwks.url .jwks.existingConfigMap -}}
{{- if and .audience (not .issuer) }}{{ fail "identity.issuer: name who issues the tokens that have identity.audience, as they do in iss" }}{{ end -}}
{{- if and .issuer (not .audience) }}{{ fail "identity.audience: name what the issuer's tokens have in aud for this shop; tokens for others must not be good here" }}{{ end -}}
{{- if and $keys (not .issuer) }}{{ fail "identity.issuer: name whose keys those of identity.jwks are, as its tokens do in iss" }}{{ end -}}
{{- if and .jwks.url .jwks.existingConfigMap }}{{ fail "identity.jwks: set url or existingConfigMap, not both" }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The section of a component's settings, written into `out`: (dict "root" $ "name" "product" "out" (dict)). */}}
{{- define "shop.identity.settings" -}}
{{- include "shop.identity.check" .root -}}
{{- $required := include "shop.identity.required" .root -}}
{{- $section := dict "mode" (ternary "required" "off" (ne $required "")) -}}
{{- if not $required }}{{ $_ := set $section "allow_anonymous" true }}{{ end -}}
{{- with .root.Values.identity -}}
{{- if and $required .issuer -}}
{{- $_ := mergeOverwrite $section (dict "issuer" .issuer "audience" .audience "roles_claim" .rolesClaim) -}}
{{- with .jwks.url }}{{ $_ := set $section "jwks_url" . }}{{ end -}}
{{- if .jwks.existingConfigMap }}{{ $_ := set $section "jwks_file" "/run/identity/jwks.json" }}{{ end -}}
{{- if .jwks.caSecret }}{{ $_ := set $section "ca_file" "/run/identity/ca.crt" }}{{ end -}}
{{- end -}}
{{- if $required -}}
{{- $_ := set $section "leeway" .leeway -}}
{{- if .revoked.existingConfigMap }}{{ $_ := set $section "revoked_file" "/run/identity/revoked.json" }}{{ end -}}
{{- end -}}
{{- if and $required .internal.serviceAccountTokens (ne $.name "gateway") -}}
{{- $services := dict -}}
{{- range list "product" "basket" "payment" -}}
{{- $_ := set $services (printf "system:serviceaccount:%s:%s-%s" $.root.Release.Namespace (include "shop.fullname" $.root) .) . -}}
{{- end -}}
{{- with .internal.cluster -}}
{{- $_ := set $section "others" (list (dict
  "issuer" .issuer "audience" (include "shop.identity.audience" $.root) "jwks_url" .jwksUrl "user_prefix" "kubernetes:" "services" $services
  "ca_file" "/run/identity/cluster-ca.crt" "jwks_token_file" "/run/identity/cluster-token")) -}}
{{- end -}}
{{- if include "shop.identity.shows" $ }}{{ $_ := set $section "internal" (dict "token_file" "/run/identity/token") }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $_ := set .out "identity" $section -}}
{{- end }}

{{/* What tokens of service accounts have in `aud` that services of this release show to one another. */}}
{{- define "shop.identity.audience" -}}
{{ .Release.Namespace }}.{{ include "shop.fullname" . }}
{{- end }}

{{/* What a component finds below /run/identity, as sources of a projected volume: (dict "root" $ "name" "product"). */}}
{{- define "shop.identity.sources" -}}
{{- if include "shop.identity.required" .root -}}
{{- with .root.Values.identity -}}
{{- with .jwks.existingConfigMap }}
- configMap:
    name: {{ . }}
    items: [{key: {{ $.root.Values.identity.jwks.key }}, path: jwks.json}]
{{- end }}
{{- with .jwks.caSecret }}
- secret:
    name: {{ . }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- with .revoked.existingConfigMap }}
- configMap:
    name: {{ . }}
    items: [{key: {{ $.root.Values.identity.revoked.key }}, path: revoked.json}]
{{- end }}
{{- if and .internal.serviceAccountTokens (ne $.name "gateway") }}
- configMap:
    name: kube-root-ca.crt
    items: [{key: ca.crt, path: cluster-ca.crt}]
# For the API server, which shows its keys to those whom it knows.
- serviceAccountToken: {path: cluster-token, expirationSeconds: 3600}
{{- if include "shop.identity.shows" $ }}
- serviceAccountToken: {path: token, expirationSeconds: 600, audience: {{ include "shop.identity.audience" $.root }}}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Whom a component asks for keys, as "shop.outside" has it: {"calls": [{"ports", "to"}]}. */}}
{{- define "shop.identity.outside" -}}
{{- $calls := list -}}
{{- if include "shop.identity.required" .root -}}
{{- with .root.Values.identity -}}
{{- if and .issuer (not .jwks.existingConfigMap) -}}
{{- $host := (urlParse (default .issuer .jwks.url)).host -}}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" | default "443" | int -}}
{{- $calls = append $calls (dict "ports" (list $port) "to" .jwks.peers) -}}
{{- end -}}
{{- if and .internal.serviceAccountTokens (ne $.name "gateway") -}}
{{- $calls = append $calls (dict "ports" .internal.cluster.ports "to" .internal.cluster.peers) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ dict "calls" $calls | toJson }}
{{- end }}
