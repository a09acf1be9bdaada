//! Why brokers and this process do not come to speak: what the client library reports, as a sentence that names the setting.

use rdkafka::types::RDKafkaErrorCode;
use shop_config::{Kafka, SaslMechanism, SaslOauth, SecurityProtocol};

/// A misunderstanding that goes on until somebody changes something here or there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// What it is and what to do.
    Told(String),
    /// The same of a consumer that the brokers do not let into its group, though they do all else.
    Group(String),
    /// The same of a token that a broker does not take: another one may be better.
    Token(String),
    /// There is no token to show.
    Tokenless,
    /// The certificate of the broker at that address is not taken. Why is not said.
    Certificate(String),
    /// The broker at that address hangs up at once: on what is not encrypted, or on who does not log in. Which is not said.
    HungUp(String),
}

impl Trouble {
    /// What the client library means: by an error, or by a line of its log where there is no code. None for what passes, such
    /// as a broker that is away.
    pub(crate) fn of(code: Option<RDKafkaErrorCode>, reason: &str, settings: &Kafka) -> Option<Self> {
        use RDKafkaErrorCode as Code;
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        let (at, protocol, mechanism) = (address(reason), settings.security_protocol, settings.sasl.mechanism.as_str());
        let told = match code {
            Some(Code::FencedInstanceId | Code::UnreleasedInstanceId) => {
                return Some(Self::Group(format!(
                    "another process has kafka.group_instance_id = {} too: give each one of its own (KAFKA_GROUP_INSTANCE_ID)",
                    settings.group_instance_id
                )));
            }
            Some(_) if says(&["Failed to acquire SASL OAUTHBEARER token"]) => return Some(Self::Tokenless),
            Some(_) if says(&["mechanism handshake failed"]) => {
                format!("the broker at {at} does not take kafka.sasl.mechanism = {mechanism}{}", offered(reason))
            }
            Some(Code::Authentication | Code::SaslAuthenticationFailed)
                if settings.sasl.mechanism == SaslMechanism::OauthBearer =>
            {
                return Some(Self::Token(token_refused(at, &settings.sasl.oauth)));
            }
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => format!(
                "the broker at {at} refuses the user {} or its password: look at kafka.sasl.username, kafka.sasl.password and \
                 kafka.sasl.mechanism = {mechanism}",
                settings.sasl.username
            ),
            _ if says(&["certificate verify failed"]) => return Some(Self::Certificate(at.to_owned())),
            _ if says(&["SSL alert number", "client SSL authentication"]) && settings.tls.cert_file.is_none() => {
                format!(
                    "the broker at {at} wants a certificate of this process: name it in kafka.tls.cert_file and its key in \
                 kafka.tls.key_file"
                )
            }
            _ if says(&["SSL alert number", "client SSL authentication"]) => format!(
                "the broker at {at} does not take the certificate of kafka.tls.cert_file: ask for one that it trusts"
            ),
            _ if protocol.is_encrypted()
                && says(&["PLAINTEXT broker listener", "wrong version number", "packet length"]) =>
            {
                format!(
                    "the broker at {at} does not speak TLS there: name its encrypted listener in kafka.brokers, or set \
                     kafka.security_protocol to {}",
                    SecurityProtocol::with(false, protocol.logs_in()).as_str()
                )
            }
            _ if says(&["Disconnected: "]) && is_early(reason) => return Some(Self::HungUp(at.to_owned())),
            _ => return None,
        };
        Some(Self::Told(told))
    }
}

/// That it takes no such token.
fn token_refused(at: &str, oauth: &SaslOauth) -> String {
    let (origin, ours) = match &oauth.token_file {
        Some(file) => (format!("in kafka.sasl.oauth.token_file ({})", file.display()), "what writes it"),
        None => (
            format!("that kafka.sasl.oauth.token_url gives to the client {}", oauth.client_id),
            "kafka.sasl.oauth.audience and kafka.sasl.oauth.scope",
        ),
    };
    format!(
        "the broker at {at} refuses the token {origin}: look at {ours}, at whose tokens the broker takes \
         (sasl.oauthbearer.expected.audience, sasl.oauthbearer.expected.issuer), and at the clocks"
    )
}

/// That the broker at `at` wants a login.
pub(crate) fn login_wanted(at: &str, protocol: SecurityProtocol) -> String {
    format!(
        "the broker at {at} hangs up on who does not log in: set kafka.security_protocol to {} and give kafka.sasl",
        SecurityProtocol::with(protocol.is_encrypted(), true).as_str()
    )
}

/// That it speaks TLS.
pub(crate) fn encryption_wanted(at: &str, protocol: SecurityProtocol) -> String {
    format!(
        "the broker at {at} speaks TLS there: set kafka.security_protocol to {}, or name another listener in kafka.brokers",
        SecurityProtocol::with(true, protocol.logs_in()).as_str()
    )
}

/// `host:port` in `[thrd:…]: sasl_ssl://host:port/bootstrap: …`.
fn address(reason: &str) -> &str {
    let reason = reason.split_once("]: ").filter(|_| reason.starts_with('[')).map_or(reason, |(_, rest)| rest);
    let name = reason.split_once("://").map_or(reason, |(_, rest)| rest);
    name.split_once('/').map_or("kafka.brokers", |(address, _)| address)
}

/// Whether it was as soon as something was said, `(after 300ms in state UP`: a broker whose listener is another one than was
/// thought does that. (The library has words for it, which 2.12 does not find the place for.)
fn is_early(reason: &str) -> bool {
    let Some((duration, state)) = reason.rsplit_once("(after ").and_then(|(_, rest)| rest.split_once("ms in state "))
    else {
        return false;
    };
    let soon = duration.parse::<u32>().is_ok_and(|millis| millis < 2000);
    state.starts_with("APIVERSION_QUERY") || (state.starts_with("UP") && soon)
}

/// What the broker says it takes instead.
fn offered(reason: &str) -> String {
    let found = reason.split_once("supported mechanisms: ").and_then(|(_, rest)| rest.split_whitespace().next());
    found.map_or_else(String::new, |names| format!(": it takes {}", names.replace(',', " and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_hangs_up_later_is_only_leaving() {
        let of = |reason: &str| Trouble::of(None, reason, &Kafka::default());
        let hung_up = Some(Trouble::HungUp("kafka-1:9092".to_owned()));
        for (state, expected) in [
            ("(after 53ms in state APIVERSION_QUERY)", &hung_up),
            ("(after 1999ms in state UP, 18 identical error(s) suppressed)", &hung_up),
            ("(after 2000ms in state UP)", &None),
            ("(after 1ms in state CONNECT)", &None),
            ("", &None),
        ] {
            let line = format!(
                "[thrd:kafka-1:9092/bootstrap]: kafka-1:9092/bootstrap: Disconnected: connection closed by peer {state}"
            );
            assert_eq!(of(&line), *expected, "{line}");
        }
    }
}
