//! What a token endpoint answers (RFC 6749, section 5), and what that says about the settings.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use shop_config::SaslOauth;
use time::OffsetDateTime;

use super::Token;

/// Letters that are told of what an endpoint says, so that a page of HTML is no page of a log.
const TOLD: usize = 200;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    access_token: Option<String>,
    /// A number; some send it as a text.
    expires_in: Value,
    error: Option<String>,
    error_description: Option<String>,
}

/// The token in an answer; else what is wrong, in a sentence that names the setting and neither secret nor token.
pub(super) fn read(
    settings: &SaslOauth,
    status: StatusCode,
    body: &[u8],
    now: OffsetDateTime,
) -> Result<Token, String> {
    let answer = serde_json::from_slice::<Answer>(body).ok();
    let url = &settings.token_url;
    if status != StatusCode::OK {
        return Err(refusal(settings, status, &answer.unwrap_or_default()));
    }
    let Some(Answer { access_token: Some(value), expires_in, .. }) = answer else {
        return Err(format!(
            "kafka.sasl.oauth.token_url {url} answered without a token (access_token): is it the token endpoint?"
        ));
    };
    let lives = expires_in.as_u64().or_else(|| expires_in.as_str()?.parse().ok()).map(Duration::from_secs);
    Token::read(&value, lives, &settings.client_id, now)
        .map_err(|why| format!("kafka.sasl.oauth.token_url {url} gave a token that {why}"))
}

fn refusal(settings: &SaslOauth, status: StatusCode, answer: &Answer) -> String {
    let SaslOauth { token_url: url, client_id, client_secret, scope, audience, .. } = settings;
    let mut said = status.as_u16().to_string();
    if let Some(error) = &answer.error {
        said = format!("{said} {error}");
    }
    if let Some(description) = &answer.error_description {
        said = format!("{said}: {description}");
    }
    let said = tame(&said.replace(client_secret.expose(), "***"));
    match answer.error.as_deref() {
        Some("invalid_client") => format!(
            "kafka.sasl.oauth.token_url {url} does not take the client {client_id} or its secret: look at \
             kafka.sasl.oauth.client_id and kafka.sasl.oauth.client_secret (it answered {said})"
        ),
        Some("unauthorized_client" | "unsupported_grant_type") => format!(
            "kafka.sasl.oauth.token_url {url} gives the client {client_id} no tokens by its secret alone: allow it client_credentials \
             there, or look at kafka.sasl.oauth.client_id (it answered {said})"
        ),
        Some("invalid_scope") => format!(
            "kafka.sasl.oauth.token_url {url} does not take kafka.sasl.oauth.scope = {scope:?} (it answered {said})"
        ),
        Some("invalid_target" | "access_denied") => format!(
            "kafka.sasl.oauth.token_url {url} does not take kafka.sasl.oauth.audience = {audience:?} (it answered {said})"
        ),
        None if status == StatusCode::UNAUTHORIZED => format!(
            "kafka.sasl.oauth.token_url {url} does not take the client {client_id} or its secret: look at \
             kafka.sasl.oauth.client_id and kafka.sasl.oauth.client_secret (it answered {said})"
        ),
        _ => format!("kafka.sasl.oauth.token_url {url} gives no token (it answered {said})"),
    }
}

/// Somebody else's words on one line, and not too many of them.
fn tame(said: &str) -> String {
    said.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(TOLD).collect()
}

#[cfg(test)]
mod tests {
    use shop_config::Secret;

    use super::*;

    fn answered(status: u16, body: &str) -> Result<Token, String> {
        let settings = SaslOauth {
            token_url: "https://id.example/token".to_owned(),
            client_id: "shop".to_owned(),
            client_secret: Secret::from("hunter2"),
            scope: "kafka".to_owned(),
            audience: "brokers".to_owned(),
            ..SaslOauth::default()
        };
        let now = OffsetDateTime::UNIX_EPOCH;
        read(&settings, StatusCode::from_u16(status).expect("a status"), body.as_bytes(), now)
    }

    #[test]
    fn a_token_is_good_for_so_many_seconds() {
        for body in [
            r#"{"access_token":"opaque","token_type":"Bearer","expires_in":60}"#,
            r#"{"access_token":"opaque","expires_in":"60"}"#,
        ] {
            let token = answered(200, body).expect("a token").for_client();
            assert_eq!(
                (token.token.as_str(), token.principal_name.as_str(), token.lifetime_ms),
                ("opaque", "shop", 60_000)
            );
        }
    }

    #[test]
    fn a_refusal_names_the_setting_and_what_was_said_but_no_secret() {
        let secret = "kafka.sasl.oauth.client_secret (it answered ";
        for (status, body, expected) in [
            (
                401,
                r#"{"error":"invalid_client","error_description":"no hunter2\nhere"}"#,
                "client_secret (it answered 401 invalid_client: no *** here)",
            ),
            (400, r#"{"error":"invalid_client"}"#, &format!("{secret}400 invalid_client)")),
            (401, "<html>", &format!("{secret}401)")),
            (400, r#"{"error":"unauthorized_client"}"#, "allow it client_credentials"),
            (400, r#"{"error":"invalid_scope"}"#, "kafka.sasl.oauth.scope = \"kafka\" (it answered 400 invalid_scope)"),
            (400, r#"{"error":"invalid_target"}"#, "kafka.sasl.oauth.audience = \"brokers\""),
            (503, "away", "gives no token (it answered 503)"),
            (200, "<html>", "without a token (access_token): is it the token endpoint?"),
            (200, r#"{"id_token":"a"}"#, "without a token"),
            (200, r#"{"access_token":"opaque"}"#, "gave a token that does not say how long it lives"),
        ] {
            let said = answered(status, body).expect_err("no token");
            assert!(said.starts_with("kafka.sasl.oauth.token_url https://id.example/token "), "{said}");
            assert!(said.contains(expected) && !said.contains("hunter2") && !said.contains('\n'), "{said}");
        }
        let long = format!(r#"{{"error":"{}"}}"#, "e".repeat(5000));
        assert!(answered(500, &long).expect_err("no token").len() < 500);
    }
}
