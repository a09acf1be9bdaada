//! A token put into a client of Kafka's library, whether it asked for one or not.

use std::ffi::{CStr, CString};

use rdkafka::bindings::rd_kafka_oauthbearer_set_token;
use rdkafka::client::{Client, ClientContext, OAuthToken};
use rdkafka::types::RDKafkaRespErr;

/// What the library writes into when it has something to say.
const LONGEST: usize = 512;

/// Has a client use `token` from now on; why not, if the library does not take it: one that is over, or a client that does not
/// log in by tokens.
///
/// A client that is polled asks for its tokens, in its own time. One for administration is not polled by anybody, and would wait
/// for ever.
#[expect(unsafe_code, reason = "the library has a function for it, and its Rust side none that can be called")]
pub fn give<C: ClientContext>(client: &Client<C>, token: &OAuthToken) -> Result<(), String> {
    let text = |text: &str| CString::new(text).map_err(|_| "it has a zero byte in it".to_owned());
    let (value, principal) = (text(&token.token)?, text(&token.principal_name)?);
    // The library reckons in microseconds.
    if token.lifetime_ms.checked_mul(1000).is_none() {
        return Err(format!("its end is too far away: {} ms", token.lifetime_ms));
    }
    let mut said = [0_u8; LONGEST];
    // SAFETY: the client lives for as long as it is borrowed; all texts end with a zero and are copied; there are no extensions;
    // the library writes `said.len()` bytes at most, a zero at their end. It may be called from any thread at any time.
    let code = unsafe {
        rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            said.as_mut_ptr().cast(),
            said.len(),
        )
    };
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    let said = CStr::from_bytes_until_nul(&said).map(|said| said.to_string_lossy().into_owned());
    Err(said.unwrap_or_else(|_| format!("{code:?}")))
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::producer::{BaseProducer, Producer as _};

    use super::*;

    fn client(mechanism: &str) -> BaseProducer {
        ClientConfig::new()
            .set("bootstrap.servers", "127.0.0.1:1")
            .set("security.protocol", "sasl_plaintext")
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", "shop")
            .set("sasl.password", "secret")
            .create()
            .expect("a client")
    }

    fn token(token: &str, lifetime_ms: i64) -> OAuthToken {
        OAuthToken { token: token.to_owned(), principal_name: "shop".to_owned(), lifetime_ms }
    }

    #[test]
    fn a_token_is_taken_by_who_logs_in_with_one_while_it_lives() {
        let client = client("OAUTHBEARER");
        let (past, future) = (1_000, 4_000_000_000_000);
        give(client.client(), &token("a.b.c", future)).expect("is taken");
        for (wrong, expected) in [
            (token("a.b.c", past), "Must supply an unexpired token"),
            (token("a\u{1}b", future), "values must only consist of"),
            (token("a\0b", future), "a zero byte"),
            (token("a.b.c", i64::MAX), "too far away"),
        ] {
            let said = give(client.client(), &wrong).expect_err("is not taken");
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn who_has_a_password_takes_no_token() {
        let said = give(client("PLAIN").client(), &token("a.b.c", 4_000_000_000_000)).expect_err("is not taken");
        assert!(said.contains("not the configured authentication mechanism"), "{said}");
    }
}
