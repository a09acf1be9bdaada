//! What a page in a browser may do: which other sites may call and read the answers ([`Cors`]), which may not make changes in a
//! user's name ([`Csrf`]), and headers that make browsers careful with an answer ([`SecurityHeaders`]).
//!
//! Decisions on header fields, for whatever server has them in a map or as lines; with [`settings`] that are checked, so that no list lets everybody in
//! by accident.
//!
//! ```
//! use http::{HeaderMap, HeaderValue, Method};
//! use shop_browser::csrf::{Csrf, Sender};
//! use shop_browser::{Cors, SecurityHeaders, cors, settings};
//!
//! let rules = settings::Cors { origins: vec!["https://*.shop.example".parse()?], ..settings::Cors::default() };
//! let cors = Cors::new(&rules).expect("an origin is listed");
//! let csrf = Csrf::new(&settings::Csrf::default()).expect("on by default");
//! let host = b"api.example";
//!
//! // A page of a listed site may call, and read the answer.
//! let mut request = HeaderMap::new();
//! request.insert("origin", HeaderValue::from_static("https://eu.shop.example"));
//! let verdict = cors.judge(&request);
//! assert_eq!(csrf.judge(&Method::POST, &request, host, Some(&verdict)), Sender::Trusted);
//! let mut answer = HeaderMap::new();
//! cors.write(verdict, &mut answer);
//! SecurityHeaders::new(&settings::SecurityHeaders::default()).expect("on by default").write(&mut answer, true);
//! assert_eq!(answer["access-control-allow-origin"], "https://eu.shop.example");
//! assert_eq!(answer["x-content-type-options"], "nosniff");
//!
//! // Another site's page may do neither.
//! request.insert("origin", HeaderValue::from_static("https://evil.example"));
//! let verdict = cors.judge(&request);
//! assert_eq!(verdict, cors::Verdict::Unlisted);
//! assert_eq!(csrf.judge(&Method::POST, &request, host, Some(&verdict)), Sender::Foreign);
//! # Ok::<(), shop_browser::origins::InvalidOrigin>(())
//! ```

pub mod cors;
pub mod csrf;
pub mod origins;
mod security_headers;
pub mod settings;

pub use cors::Cors;
pub use csrf::Csrf;
pub use security_headers::SecurityHeaders;
