//! Which gRPC methods a route is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::path_pattern::PathPattern;

/// Which gRPC methods a route is for: `shop.product.v1.ProductService` is all of this service,
/// `shop.product.v1.ProductService/GetProduct` is this one, and `*` is all there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcPattern {
    text: String,
    /// The same as paths.
    path: PathPattern,
}

/// Why a text is no pattern of gRPC methods.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a gRPC service such as shop.product.v1.ProductService, one method of it behind a slash, or *")]
pub struct InvalidGrpc(String);

impl FromStr for GrpcPattern {
    type Err = InvalidGrpc;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |name: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            name.split('.').all(|part| !part.is_empty() && part.bytes().all(is_plain))
        };
        let path = match text.split_once('/') {
            None if text == "*" => "/{service}/{method}".to_owned(),
            None if is_name(text) => format!("/{text}/{{method}}"),
            Some((service, method)) if is_name(service) && is_name(method) && !method.contains('.') => {
                format!("/{text}")
            }
            _ => return Err(InvalidGrpc(text.to_owned())),
        };
        let path = path.parse().map_err(|_| InvalidGrpc(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), path })
    }
}

impl GrpcPattern {
    /// The same as paths.
    pub(crate) const fn path(&self) -> &PathPattern {
        &self.path
    }

    /// As logs name it.
    pub(crate) fn pattern(&self) -> String {
        match self.text.as_str() {
            "*" => "/*".to_owned(),
            text if text.contains('/') => format!("/{text}"),
            text => format!("/{text}/*"),
        }
    }
}

impl fmt::Display for GrpcPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for GrpcPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for GrpcPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_a_method_or_all() {
        for (text, pattern) in [("a.b.C", "/a.b.C/*"), ("a.b.C/Get", "/a.b.C/Get"), ("C", "/C/*"), ("*", "/*")] {
            assert_eq!(text.parse::<GrpcPattern>().expect(text).pattern(), pattern);
        }
        for text in ["", "/", "a/", "/a", "a/b/c", "a/*", "a..b", "a b", "a/b.c", "{a}", "a/{b}"] {
            assert!(text.parse::<GrpcPattern>().is_err(), "{text}");
        }
    }
}
