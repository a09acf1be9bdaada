//! Where one service is looked for, and what of it belongs together.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::settings;
use crate::source::SourceUrl;

/// What a backend speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// gRPC, over HTTP/2.
    Grpc,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Http, Self::Grpc];

    /// It in a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// What kind of source knows of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Names that are resolved.
    Dns,
    /// Files that list them.
    File,
}

/// Where one service looks for backends that speak one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The service.
    pub service: Arc<str>,
    /// What its backends speak.
    pub protocol: Protocol,
    /// Where to look.
    pub url: SourceUrl,
}

impl Place {
    /// What its backends are put into force with.
    pub fn group(&self) -> Group {
        let kind = match self.url {
            SourceUrl::Dns { .. } | SourceUrl::Srv { .. } => Kind::Dns,
            SourceUrl::File { .. } => Kind::File,
        };
        Group { service: Arc::clone(&self.service), protocol: self.protocol, kind }
    }
}

/// What is put into force together: the backends that one kind of source knows of for one service and protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The service.
    pub service: Arc<str>,
    /// What its backends speak.
    pub protocol: Protocol,
    /// What knows of them.
    pub kind: Kind,
}

/// Where to look, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How.
    pub settings: settings::Discovery,
    /// Every place that is named. What was found there is kept as long as it is.
    pub named: Vec<Place>,
    /// Those of them that are asked; the services of the others are switched off, say.
    pub asked: Vec<Place>,
}
