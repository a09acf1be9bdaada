# Run once, when the volume is new: a database and its owner for each service that keeps its data here. The one for
# notifications is made in any case, as they may be switched on later.
database() {
  psql -v ON_ERROR_STOP=1 -v name="$1" -v user="$2" -v password="$(cat "/run/secrets/shop/$3")" -U postgres <<'SQL'
CREATE ROLE :"user" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"user";
SQL
}
{{- with .Values.product.settings.database }}
database {{ .name | squote }} {{ .user | squote }} product-password
{{- end }}
{{- with .Values.notification.settings.database }}
database {{ .name | squote }} {{ .user | squote }} notification-password
{{- end }}
