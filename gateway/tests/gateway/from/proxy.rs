//! Another proxy, run with a configuration from the page.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use shop_testing::{Child, Program, backend, eventually, free_port};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// It, as long as this lives.
pub(super) struct Proxy {
    pub(super) addr: SocketAddr,
    _child: Child,
    _folder: TempDir,
}

impl Proxy {
    /// Of none that cannot be had, which is said; `text` makes the page's configuration for a port.
    pub(super) async fn start(name: &str, backends: [SocketAddr; 2], text: impl FnOnce(u16) -> String) -> Option<Self> {
        if name == "Traefik" {
            return None;
        }
        let programs = backend::peers()?;
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let file = folder.path().join("configuration");
        let program = match name {
            "nginx" => {
                fs::write(&file, nginx(folder.path(), &text(port))).expect("written");
                Program::new(format!("{programs}/nginx"))
                    .args(["-e", "stderr", "-p"])
                    .arg(folder.path())
                    .arg("-c")
                    .arg(&file)
            }
            "Envoy" => {
                let file = file.with_extension("yaml");
                fs::write(&file, envoy(port, backends, &text(port))).expect("written");
                let program = Program::new(format!("{programs}/envoy")).arg("-c").arg(&file);
                program.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"])
            }
            other => panic!("no proxy {other}"),
        };
        let mut child = program.spawn();
        let addr = ([127, 0, 0, 1], port).into();
        eventually!({
            assert!(child.exited().is_none(), "{name} ended while starting");
            TcpStream::connect(addr).await.is_ok()
        });
        Some(Self { addr, _child: child, _folder: folder })
    }
}

/// What stands around the page's `server` and `upstream`.
fn nginx(folder: &Path, text: &str) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display())).concat();
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {}/pid;\nerror_log stderr crit;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{}}}\n",
        folder.display(),
        text.replace("listen ", "listen 127.0.0.1:")
    )
}

/// What stands around the page's `virtual_hosts`: a listener and four clusters.
fn envoy(port: u16, [one, two]: [SocketAddr; 2], text: &str) -> String {
    let clusters = cluster("one", one) + &cluster("two", two);
    let hosts: String = text.lines().flat_map(|line| ["                  ", line, "\n"]).collect();
    format!(
        r#"static_resources:
  listeners:
    - name: front
      address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: front
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
                route_config:
                  virtual_hosts:
{hosts}  clusters:
{clusters}"#
    )
}

/// A backend as two clusters: over HTTP/1.1, and over HTTP/2.
fn cluster(name: &str, addr: SocketAddr) -> String {
    let (host, port) = (addr.ip(), addr.port());
    let one = |name: &str, more: &str| {
        format!(
            r"    - name: {name}
      connect_timeout: 2s
{more}      load_assignment:
        cluster_name: {name}
        endpoints:
          - lb_endpoints:
              - endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }}
"
        )
    };
    let http2 = r#"      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
"#;
    one(name, "") + &one(&format!("{name}-grpc"), http2)
}
