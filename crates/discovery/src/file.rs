//! Lists of backends in files.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::backend_url::{BackendUrl, Backends};
use crate::place::Protocol;

/// Far above any list; what is larger is something else.
const LARGEST: u64 = 1024 * 1024;

/// The backends of one service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// Those that speak HTTP.
    #[serde(default)]
    http: Backends,
    /// Those that speak gRPC.
    #[serde(default)]
    grpc: Backends,
}

/// The backends in the file at `path` that speak `protocol`.
pub(crate) async fn read(path: &Path, protocol: Protocol) -> Result<Vec<BackendUrl>, String> {
    let path = path.to_owned();
    // Away from the runtime: a disk may hang.
    let read = tokio::task::spawn_blocking(move || parse(&path, &text(&path)?, protocol)).await;
    read.unwrap_or_else(|error| Err(error.to_string()))
}

fn text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut file = file.take(LARGEST + 1);
    let text = shop_config::text_from(&mut file);
    if file.limit() == 0 {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    text.map_err(|error| error.to_string())
}

fn parse(path: &Path, text: &str, protocol: Protocol) -> Result<Vec<BackendUrl>, String> {
    let listing: Listing = match path.extension() {
        Some(extension) if extension == "toml" => toml::from_str(text).map_err(|error| error.message().to_owned())?,
        _ => serde_json::from_str(text).map_err(|error| error.to_string())?,
    };
    let backends = match protocol {
        Protocol::Http => listing.http,
        Protocol::Grpc => listing.grpc,
    };
    if let Some(source) = backends.1.first() {
        return Err(format!("it names {source}; write addresses of backends only"));
    }
    Ok(backends.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_begin_with_a_byte_order_mark_but_not_be_endless() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.json");
        std::fs::write(&path, "\u{feff}{}").expect("writes");
        assert_eq!(text(&path).as_deref(), Ok("{}"));
        assert!(text(Path::new("/dev/zero")).expect_err("too long").contains("larger than"));
    }

    #[test]
    fn a_list_is_read_in_both_formats_and_a_wrong_one_is_not() {
        let json = r#"{"http": ["http://10.0.0.1:8080;weight=2", "10.0.0.2:8080"], "grpc": "10.0.0.1:50050"}"#;
        let toml = "http = [\"http://10.0.0.1:8080;weight=2\", \"10.0.0.2:8080\"]\ngrpc = \"10.0.0.1:50050\"";
        for (name, text) in [("x.json", json), ("x", json), ("x.toml", toml)] {
            let read = |protocol| parse(Path::new(name), text, protocol).expect(name);
            let http = read(Protocol::Http);
            let weights: Vec<_> = http.iter().map(|backend| (backend.to_string(), backend.weight.get())).collect();
            assert_eq!(weights, [("http://10.0.0.1:8080".to_owned(), 2), ("http://10.0.0.2:8080".to_owned(), 1)]);
            assert_eq!(read(Protocol::Grpc).len(), 1);
        }
        assert_eq!(parse(Path::new("x.json"), "{}", Protocol::Http).expect("an empty list"), []);
        for text in ["", "{", r#"{"http": ["ftp://a"]}"#, r#"{"htpp": []}"#, r#"{"http": ["dns://a:1"]}"#] {
            assert!(parse(Path::new("x.json"), text, Protocol::Http).is_err(), "{text}");
        }
    }
}
