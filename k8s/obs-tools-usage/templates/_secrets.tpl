{{/* Secrets: given, kept from the last release, or made up; and where a pod finds them. */}}

{{/*
The value of a key in one of our Secrets: what the values say, else what the cluster has, else something new. Asked twice in
one rendering, the answer is the same: (list $ "redis" "redis-password" $given). What is called "keys" is a key for ciphers, the
base64 of 32 bytes.
*/}}
{{- define "shop.secret.value" -}}
{{- $root := index . 0 -}}
{{- $key := index . 2 -}}
{{- $place := printf "%s/%s" (index . 1) $key -}}
{{- if not (hasKey $root.Values "made") }}{{ $_ := set $root.Values "made" dict }}{{ end -}}
{{- if not (hasKey $root.Values.made $place) -}}
{{- $name := printf "%s-%s" (include "shop.fullname" $root) (index . 1) -}}
{{- $kept := get (default dict (lookup "v1" "Secret" $root.Release.Namespace $name).data) $key | b64dec -}}
{{- $_ := set $root.Values.made $place (coalesce (index . 3) $kept (ternary (randBytes 32) (randAlphaNum 32) (eq $key "keys"))) -}}
{{- end -}}
{{ get $root.Values.made $place }}
{{- end }}

{{/*
The suite's own key, made as secrets are, and a certificate of it, which is no more than its public half: that is what others
check with, and how long it holds counts for nothing. As JSON: {"tls.key", "tls.crt"}.
*/}}
{{- define "shop.secret.identity" -}}
{{- if not (hasKey .Values "made") }}{{ $_ := set .Values "made" dict }}{{ end -}}
{{- if not (hasKey .Values.made "identity") -}}
{{- $kept := default dict (lookup "v1" "Secret" .Release.Namespace (printf "%s-identity" (include "shop.fullname" .))).data -}}
{{- $key := get $kept "tls.key" | b64dec | default (genPrivateKey "ecdsa") -}}
{{- $certificate := get $kept "tls.crt" | b64dec -}}
{{- if not $certificate }}{{ $certificate = (genSelfSignedCertWithKey "shop" nil nil 36500 $key).Cert }}{{ end -}}
{{- $_ := set .Values.made "identity" (dict "tls.key" $key "tls.crt" $certificate) -}}
{{- end -}}
{{ toJson .Values.made.identity }}
{{- end }}

{{/* Whether Stripe takes payments; nothing when not. */}}
{{- define "shop.stripe" -}}
{{- with .Values.payment.stripe }}{{ if or .existingSecret .secretKey }}true{{ end }}{{ end -}}
{{- end }}

{{/* Every Secret of ours with its content: {"redis": {"redis-password": "…"}}. */}}
{{- define "shop.secrets" -}}
{{- $root := . -}}
{{- $all := dict -}}
{{- with .Values -}}
{{- if not .gateway.admin.existingSecret }}{{ $_ := set $all "gateway" (dict "admin-token" (include "shop.secret.value" (list $root "gateway" "admin-token" .gateway.admin.token))) }}{{ end -}}
{{- if and (include "shop.identity.required" $root) (not .identity.internal.existingSecret) }}{{ $_ := set $all "identity" (include "shop.secret.identity" $root | fromJson) }}{{ end -}}
{{- with .postgresql -}}
{{- if and .enabled (not .auth.existingSecret) -}}
{{- $_ := set $all "postgresql" (dict
  "password" (include "shop.secret.value" (list $root "postgresql" "password" .auth.password))
  "product-password" (include "shop.secret.value" (list $root "postgresql" "product-password" .auth.productPassword))
  "notification-password" (include "shop.secret.value" (list $root "postgresql" "notification-password" .auth.notificationPassword))) -}}
{{- else if and (not .enabled) (not .external.existingSecret) -}}
{{- $_ := set $all "product" (dict "password" (required "postgresql.enabled is false: set postgresql.external.existingSecret or .password" .external.password)) -}}
{{- end -}}
{{- end -}}
{{- with .redis -}}
{{- if and .enabled (not .auth.existingSecret) -}}
{{- $_ := set $all "redis" (dict "redis-password" (include "shop.secret.value" (list $root "redis" "redis-password" .auth.password))) -}}
{{- else if and (not .enabled) .external.password (not .external.existingSecret) -}}
{{- $_ := set $all "basket" (dict "password" .external.password) -}}
{{- end -}}
{{- end -}}
{{- with .mariadb -}}
{{- if and .enabled (not .auth.existingSecret) -}}
{{- $_ := set $all "mariadb" (dict
  "mariadb-root-password" (include "shop.secret.value" (list $root "mariadb" "mariadb-root-password" .auth.rootPassword))
  "mariadb-password" (include "shop.secret.value" (list $root "mariadb" "mariadb-password" .auth.password))) -}}
{{- else if and (not .enabled) (not .external.existingSecret) -}}
{{- $_ := set $all "payment" (dict "password" (required "mariadb.enabled is false: set mariadb.external.existingSecret or .password" .external.password)) -}}
{{- end -}}
{{- end -}}
{{- $login := include "shop.kafka.login" $root -}}
{{- with .kafka.external -}}
{{- if eq $login "OAUTHBEARER" -}}
{{- if and .sasl.oauth.tokenUrl (not .sasl.oauth.existingSecret) }}{{ $_ := set $all "kafka" (dict "client-secret" (required "kafka.external.sasl.oauth.tokenUrl is set: set .existingSecret or .clientSecret" .sasl.oauth.clientSecret)) }}{{ end -}}
{{- else if and $login (not .sasl.existingSecret) -}}
{{- $_ := set $all "kafka" (dict "password" (required (printf "kafka.external.securityProtocol is %s: set kafka.external.sasl.existingSecret or .password" .securityProtocol) .sasl.password)) -}}
{{- end -}}
{{- end -}}
{{- with .payment.stripe -}}
{{- if and .secretKey (not .existingSecret) -}}
{{- $_ := set $all "stripe" (dict "secret-key" .secretKey "webhook-secrets" .webhookSecrets) -}}
{{- end -}}
{{- end -}}
{{- if .notification.enabled -}}
{{- $own := dict -}}
{{- if and .notification.smtp.url (not .notification.smtp.existingSecret) }}{{ $_ := set $own "smtp-url" .notification.smtp.url }}{{ end -}}
{{- if and .notification.webhook.secret (not .notification.webhook.existingSecret) }}{{ $_ := set $own "webhook-secret" .notification.webhook.secret }}{{ end -}}
{{- if not (or .postgresql.enabled .postgresql.external.notificationExistingSecret) }}{{ $_ := set $own "password" (required "postgresql.enabled is false: set postgresql.external.notificationExistingSecret or .notificationPassword" .postgresql.external.notificationPassword) }}{{ end -}}
{{- with $own }}{{ $_ := set $all "notification" . }}{{ end -}}
{{- if not .notification.secrets.existingSecret }}{{ $_ := set $all "webhook-keys" (dict "keys" (include "shop.secret.value" (list $root "webhook-keys" "keys" ""))) }}{{ end -}}
{{- end -}}
{{- end -}}
{{ toJson $all }}
{{- end }}

{{/*
What a component is given as files below /run/secrets/shop, each named by its variable: {"items": [{"var", "secret", "key"}]}.
A row: the variable, somebody else's Secret and its key, or ours and its key.
*/}}
{{- define "shop.secret.files" -}}
{{- $rows := list -}}
{{- $name := .name -}}
{{- with .root.Values -}}
{{- if eq $name "gateway" -}}
{{- $rows = list (list "ADMIN_TOKEN" .gateway.admin.existingSecret .gateway.admin.key "gateway" "admin-token") -}}
{{- else if and (has $name (list "product" "notification")) .postgresql.enabled -}}
{{- $key := printf "%s-password" $name -}}
{{- $rows = list (list "DB_PASSWORD" .postgresql.auth.existingSecret $key "postgresql" $key) -}}
{{- else if eq $name "product" -}}
{{- $rows = list (list "DB_PASSWORD" .postgresql.external.existingSecret .postgresql.external.passwordKey "product" "password") -}}
{{- else if eq $name "notification" -}}
{{- $rows = list (list "DB_PASSWORD" .postgresql.external.notificationExistingSecret .postgresql.external.notificationPasswordKey "notification" "password") -}}
{{- else if and (eq $name "basket") .redis.enabled -}}
{{- $rows = list (list "REDIS_PASSWORD" .redis.auth.existingSecret "redis-password" "redis" "redis-password") -}}
{{- else if and (eq $name "basket") (or .redis.external.existingSecret .redis.external.password) -}}
{{- $rows = list (list "REDIS_PASSWORD" .redis.external.existingSecret .redis.external.passwordKey "basket" "password") -}}
{{- else if and (eq $name "payment") .mariadb.enabled -}}
{{- $rows = list (list "DB_PASSWORD" .mariadb.auth.existingSecret "mariadb-password" "mariadb" "mariadb-password") -}}
{{- else if eq $name "payment" -}}
{{- $rows = list (list "DB_PASSWORD" .mariadb.external.existingSecret .mariadb.external.passwordKey "payment" "password") -}}
{{- end -}}
{{- with index . (include "shop.store.of" $name | default "gateway") }}{{ if and (not .enabled) ((.external).tls).existingSecret -}}
{{- with .external.tls -}}
{{- $section := ternary "SHOP_REDIS__" "DB_" (eq $name "basket") -}}
{{- $rows = append $rows (list (print $section "CA") .existingSecret .caKey $name "") -}}
{{- if ne (empty .certKey) (empty .keyKey) }}{{ fail (printf "%s.external.tls: set certKey and keyKey, or none of them" (include "shop.store.of" $name)) }}{{ end -}}
{{- if .certKey }}{{ $rows = concat $rows (list (list (print $section "CERT") .existingSecret .certKey $name "") (list (print $section "KEY") .existingSecret .keyKey $name "")) }}{{ end -}}
{{- end -}}
{{- end }}{{ end -}}
{{- if and (eq $name "payment") (include "shop.stripe" $.root) -}}
{{- with .payment.stripe -}}
{{- $rows = append $rows (list "STRIPE_SECRET_KEY" .existingSecret .key "stripe" "secret-key") -}}
{{- $rows = append $rows (list "STRIPE_WEBHOOK_SECRETS" .existingSecret .webhookKey "stripe" "webhook-secrets") -}}
{{- end -}}
{{- end -}}
{{- if eq $name "notification" -}}
{{- with .notification.smtp }}{{ if or .existingSecret .url }}{{ $rows = append $rows (list "SMTP_URL" .existingSecret .key "notification" "smtp-url") }}{{ end }}{{ end -}}
{{- with .notification.webhook }}{{ if and .url (not .existingSecret) (not .secret) }}{{ fail "notification.webhook.url: what is posted there is signed; set notification.webhook.secret or .existingSecret" }}{{ end }}{{ if or .existingSecret .secret }}{{ $rows = append $rows (list "WEBHOOK_SECRET" .existingSecret .key "notification" "webhook-secret") }}{{ end }}{{ end -}}
{{- with .notification.secrets }}{{ $rows = append $rows (list "SECRETS_KEY" .existingSecret .key "webhook-keys" "keys") }}{{ end -}}
{{- end -}}
{{- if and (ne $name "gateway") (not .kafka.enabled) -}}
{{- with .kafka.external -}}
{{- if has .securityProtocol (list "ssl" "sasl_ssl") -}}
{{- with .tls.caSecret }}{{ $rows = append $rows (list "KAFKA_TLS_CA" . $.root.Values.kafka.external.tls.caKey "" "") }}{{ end -}}
{{- if .tls.clientSecret -}}
{{- $rows = append $rows (list "KAFKA_TLS_CERT" .tls.clientSecret .tls.certKey "" "") -}}
{{- $rows = append $rows (list "KAFKA_TLS_KEY" .tls.clientSecret .tls.keyKey "" "") -}}
{{- end -}}
{{- end -}}
{{- $login := include "shop.kafka.login" $.root -}}
{{- if eq $login "OAUTHBEARER" -}}
{{- with .sasl.oauth }}{{ if .tokenUrl -}}
{{- $rows = append $rows (list "KAFKA_SASL_OAUTH_CLIENT_SECRET" .existingSecret .clientSecretKey "kafka" "client-secret") -}}
{{- if .caSecret }}{{ $rows = append $rows (list "KAFKA_SASL_OAUTH_CA" .caSecret .caKey "" "") }}{{ end -}}
{{- end }}{{ end -}}
{{- else if $login }}{{ $rows = append $rows (list "KAFKA_SASL_PASSWORD" .sasl.existingSecret .sasl.passwordKey "kafka" "password") }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if include "shop.identity.required" $.root -}}
{{- if include "shop.identity.signs" $ }}{{ $rows = append $rows (list "IDENTITY_KEY" .identity.internal.existingSecret "tls.key" "identity" "tls.key") }}{{ end -}}
{{- $rows = append $rows (list "IDENTITY_TRUSTED" .identity.internal.existingSecret "tls.crt" "identity" "tls.crt") -}}
{{- end -}}
{{- end -}}
{{- $items := list -}}
{{- range $rows -}}
{{- $own := printf "%s-%s" (include "shop.fullname" $.root) (index . 3) -}}
{{- $items = append $items (dict "var" (index . 0) "secret" (default $own (index . 1)) "key" (ternary (index . 2) (index . 4) (ne (index . 1) ""))) -}}
{{- end -}}
{{ dict "items" $items | toJson }}
{{- end }}
