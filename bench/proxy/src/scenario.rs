//! What is sent, and what must come back.

use bytes::{BufMut as _, Bytes, BytesMut};

/// How the client speaks to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Http1,
    /// The same over TLS 1.3.
    Https,
    /// Cleartext with prior knowledge.
    Http2,
    /// The same, for a unary call.
    Grpc,
}

/// How often a connection is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opens {
    /// Once, for all requests over it.
    Once,
    /// For each request, with a whole handshake.
    Anew,
    /// For each request, with the session before.
    Resumed,
}

/// One kind of request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// As `--only` names it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) wire: Wire,
    pub(crate) path: &'static str,
    /// Bytes that are sent; none make it a GET.
    pub(crate) sends: usize,
    /// Bytes that come back.
    pub(crate) takes: usize,
    pub(crate) connections: usize,
    pub(crate) opens: Opens,
    /// Requests at once on each connection.
    pub(crate) streams: usize,
    /// The share of `--requests` that is made.
    pub(crate) share: f64,
    /// What is sent as `Authorization`, over HTTP/1.1.
    pub(crate) authorization: Option<&'static str>,
}

const GET: Scenario = Scenario {
    name: "get",
    title: "GET, 1 KiB, 128 connections",
    wire: Wire::Http1,
    path: "/api/products/1k",
    sends: 0,
    takes: 1024,
    connections: 128,
    opens: Opens::Once,
    streams: 1,
    share: 1.0,
    authorization: None,
};

/// The first is the one that counts most.
pub(crate) const ALL: [Scenario; 9] = [
    GET,
    Scenario {
        name: "64k",
        title: "GET, 64 KiB, 64 connections",
        path: "/api/products/64k",
        takes: 64 * 1024,
        connections: 64,
        share: 0.3,
        ..GET
    },
    Scenario {
        name: "1m",
        title: "GET, 1 MiB, 16 connections",
        path: "/api/products/1m",
        takes: 1024 * 1024,
        connections: 16,
        share: 0.03,
        ..GET
    },
    Scenario {
        name: "post",
        title: "POST, 1 KiB there and back, 128 connections",
        path: "/api/products/echo",
        sends: 1024,
        share: 0.6,
        ..GET
    },
    Scenario {
        name: "h2c",
        title: "GET, 1 KiB, HTTP/2, 8 connections of 16 streams",
        wire: Wire::Http2,
        connections: 8,
        streams: 16,
        share: 0.6,
        ..GET
    },
    Scenario {
        name: "grpc",
        title: "gRPC, unary, 128 bytes there and back, 8 connections of 16 streams",
        wire: Wire::Grpc,
        path: "/shop.product.v1.ProductService/GetProduct",
        sends: 128,
        takes: 128,
        connections: 8,
        streams: 16,
        share: 0.6,
        ..GET
    },
    Scenario { name: "tls", title: "GET, 1 KiB, TLS 1.3, 128 connections", wire: Wire::Https, share: 0.6, ..GET },
    Scenario {
        name: "tls-new",
        title: "GET, 1 KiB, TLS 1.3, a connection each, 8 at once",
        wire: Wire::Https,
        connections: 8,
        opens: Opens::Anew,
        share: 0.05,
        ..GET
    },
    Scenario {
        name: "tls-resumed",
        title: "GET, 1 KiB, TLS 1.3, a connection each of a session before, 8 at once",
        wire: Wire::Https,
        // rustls keeps eight sessions of a server.
        connections: 8,
        opens: Opens::Resumed,
        share: 0.05,
        ..GET
    },
];

/// GET with this token, the same on every connection.
pub(crate) fn with_token(token: &str) -> Scenario {
    let title = "GET, 1 KiB, 128 connections, with a token (ES256)";
    // For the life of the program, like all scenarios.
    Scenario { name: "token", title, authorization: Some(format!("Bearer {token}").leak()), ..GET }
}

impl Scenario {
    /// The body of a request.
    pub(crate) fn sent(&self) -> Bytes {
        self.framed(self.sends)
    }

    /// The body of an answer.
    pub(crate) fn expected(&self) -> Bytes {
        self.framed(self.takes)
    }

    /// A gRPC message has a flag and its length in front.
    fn framed(&self, size: usize) -> Bytes {
        if self.wire != Wire::Grpc {
            return body(size);
        }
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(size as u32);
        frame.put(body(size));
        frame.freeze()
    }

    pub(crate) fn method(&self) -> &'static str {
        if self.sends == 0 { "GET" } else { "POST" }
    }
}

/// `size` bytes in which no piece is like another, so that a piece lost or twice is noticed.
pub(crate) fn body(size: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(size + 8);
    let mut line = 0_u32;
    while bytes.len() < size {
        bytes.extend_from_slice(format!("{line:07}\n").as_bytes());
        line += 1;
    }
    bytes.truncate(size);
    bytes.into()
}

/// What a page's script sends besides the host; the same to every proxy.
pub(crate) const HEADERS: [(&str, &str); 3] =
    [("user-agent", "shop-bench"), ("accept", "application/json"), ("origin", "https://shop.example")];
