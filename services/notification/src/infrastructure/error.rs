//! What is found at the bottom of other people's errors.

use std::error::Error;
use std::io;

use shop_tls::Trouble;

/// The first error of type `E` behind `error`, also inside of `io::Error`s, which do not call it their source.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inside.map_or_else(|| error.source(), |inside| Some(inside as &(dyn Error + 'static)));
    }
    None
}

/// Why TLS failed. rustls' own words would tell what the certificate is for.
pub(super) fn tls(error: &rustls::Error) -> &'static str {
    match Trouble::of(error) {
        Some(Trouble::Expired) => "the certificate has expired",
        Some(Trouble::NotValidYet) => "the certificate is not valid yet",
        Some(Trouble::Untrusted) => "the certificate's issuer is not trusted",
        Some(Trouble::OtherName(_)) => "the certificate is for another name",
        Some(Trouble::Invalid(_)) => "the certificate is not valid",
        Some(Trouble::WantsOurs) => "the other side wants a certificate of ours",
        _ if matches!(error, rustls::Error::AlertReceived(_)) => "the other side refused it",
        _ => "the other side does not speak it",
    }
}
