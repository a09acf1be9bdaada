//! What a route does instead of asking a service.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use shop_config::Problems;

use super::host_pattern::HostPattern;
use super::path_pattern::PathPattern;

/// Sends clients elsewhere; what is not set stays as they asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// The port; without one, that of the scheme or of the host as it is set.
    pub port: Option<u16>,
    /// The path, with the route's own `{parameters}` and, with a star at its end, what is below the route's path.
    pub path: Option<PathPattern>,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { status: 308, scheme: None, host: None, port: None, path: None }
    }
}

impl Redirect {
    /// Finds wrong values.
    pub(super) fn check(&self, problems: &mut Problems) {
        let statuses = [301, 302, 303, 307, 308];
        problems.ensure(statuses.contains(&self.status), "status", "use 301, 302, 303, 307 or 308");
        let is_scheme = self.scheme.as_deref().is_none_or(|scheme| matches!(scheme, "http" | "https"));
        problems.ensure(is_scheme, "scheme", "use http or https");
        let is_host = |host: &String| host.parse::<HostPattern>().is_ok_and(|host| !host.is_below());
        problems.ensure(self.host.as_ref().is_none_or(is_host), "host", "is not a host such as shop.example");
        problems.ensure(self.port != Some(0), "port", "use 1 to 65535");
        let is_other = *self != Self { status: self.status, ..Self::default() };
        problems.ensure(is_other, "", "leads to where it comes from: set scheme, host, port or path");
    }
}

/// The answer itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Respond {
    /// The status, from 200 to 599.
    pub status: u16,
    /// The body.
    pub body: String,
    /// A file that has the body, instead; at most 1 MiB, read with the settings.
    pub body_file: Option<PathBuf>,
    /// Its type.
    pub content_type: String,
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: 200, body: String::new(), body_file: None, content_type: "text/plain; charset=utf-8".to_owned() }
    }
}

impl Respond {
    /// The largest file of a body in bytes.
    const MOST: u64 = 1024 * 1024;

    /// Finds wrong values.
    pub(super) fn check(&self, problems: &mut Problems) {
        let is_status = (200..=599).contains(&self.status);
        problems.ensure(is_status, "status", "use 200 to 599");
        let may_have_body = !matches!(self.status, 204 | 205 | 304);
        let has_body = !self.body.is_empty() || self.body_file.is_some();
        problems.ensure(may_have_body || !has_body, "body", format!("{} has no body (RFC 9110)", self.status));
        let is_one = self.body.is_empty() || self.body_file.is_none();
        problems.ensure(is_one, "body_file", "set either body or body_file");
        let is_type = HeaderValue::from_str(&self.content_type).is_ok() && self.content_type.contains('/');
        problems.ensure(is_type, "content_type", "is not a media type such as text/html; charset=utf-8");
    }

    /// Whether the file can be read: not each time that settings change, for it may be gone by then.
    pub(super) fn check_files(&self, problems: &mut Problems) {
        if let Err(error) = self.body() {
            problems.add("body_file", error);
        }
    }

    /// The body; the error says why the file cannot be read.
    pub(crate) fn body(&self) -> Result<Vec<u8>, String> {
        let Some(file) = &self.body_file else { return Ok(self.body.clone().into_bytes()) };
        let read = || -> io::Result<Vec<u8>> {
            let is_file = fs::metadata(file)?.is_file();
            if !is_file {
                return Err(io::Error::other("is no plain file"));
            }
            let mut body = Vec::new();
            File::open(file)?.take(Self::MOST + 1).read_to_end(&mut body)?;
            Ok(body)
        };
        match read() {
            Ok(body) if body.len() as u64 > Self::MOST => Err(format!("is larger than {} bytes", Self::MOST)),
            read => read.map_err(|error| error.to_string()),
        }
    }
}
