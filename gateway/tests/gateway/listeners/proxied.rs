//! Listeners behind proxies that hand on bytes: the PROXY protocol, as `HAProxy` sends it and as it should not be.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use shop_testing::{Program, eventually, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{ASK, Authority, Folder, addr_of, client, listening, program, seen};
use crate::support::{Running, Upstream, echoed};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n";
const EDGE: &str = "[edge]\naddress = '127.0.0.1:0'\nproxy_protocol = 'accept'\nproxy_protocol_from = ['127.0.0.1']\n";

fn binary(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &length.to_be_bytes()[..], rest].concat()
}

/// From 192.0.2.9.
fn v4() -> Vec<u8> {
    binary(0x21, 0x11, 12, &[192, 0, 2, 9, 198, 51, 100, 1, 200, 34, 1, 187])
}

/// A client on this machine with an address of its own.
async fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0).into()).expect("binds");
    socket.connect(to).await.expect("connects")
}

fn cut(gateway: &Running, reason: &str) -> Option<f64> {
    // What never happened has no line.
    gateway.metric(&format!("gateway_connections_cut_total{{reason=\"{reason}\"}}")).or(Some(0.0))
}

/// What comes back for these bytes, to the end of the connection.
async fn answered(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("connects");
    let _ = stream.write_all(bytes).await;
    rest_of(stream).await
}

async fn rest_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    // A reset is as good as a close.
    let _ = end.expect("the gateway closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_client_is_whom_the_proxy_names() {
    let upstream = Upstream::echo().await;
    let gateway = Running::start(listening(upstream.addr, EDGE)).await;
    let addr = addr_of(&gateway, "edge");
    let v6 = binary(
        0x21,
        0x21,
        39,
        &[&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[9; 16], &[1, 2, 3, 4], &[5, 0, 0]].concat(),
    );
    let many = vec![7; 59_988];
    let with_much =
        binary(0x21, 0x11, 60_000, &[&[192, 0, 2, 9, 198, 51, 100, 1, 200, 34, 1, 187][..], &many].concat());
    for (head, expected) in [
        (LINE.as_bytes().to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), "192.0.2.7"),
        (v4(), "192.0.2.9"),
        (v6, "2001:db8::7"),
        (with_much, "192.0.2.9"),
        // The proxy itself, or somebody of whom it does not know.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), "127.0.0.1"),
        (binary(0x20, 0, 0, &[]), "127.0.0.1"),
        (binary(0x20, 0x11, 12, &[1; 12]), "127.0.0.1"),
        (binary(0x21, 0, 0, &[]), "127.0.0.1"),
        (binary(0x21, 0x31, 216, &[7; 216]), "127.0.0.1"),
    ] {
        let shown = String::from_utf8_lossy(&head[..head.len().min(60)]).into_owned();
        // All at once, and in pieces: the head by itself, then its bytes one by one.
        let mut whole = TcpStream::connect(addr).await.expect("connects");
        whole.write_all(&head).await.expect("writes");
        let mut pieces = TcpStream::connect(addr).await.expect("connects");
        pieces.set_nodelay(true).expect("no delay");
        for piece in head[..head.len().min(120)].chunks(1).chain([&head[head.len().min(120)..]]) {
            pieces.write_all(piece).await.expect("writes");
            tokio::task::yield_now().await;
        }
        for stream in [whole, pieces] {
            let seen = seen(stream, ASK).await.unwrap_or_else(|| panic!("refused: {shown}"));
            assert_eq!(echoed(&seen, "x-forwarded-for"), [expected], "{shown}");
        }
    }
    // Over HTTP/2 it is the same.
    let mut stream = TcpStream::connect(addr).await.expect("connects");
    stream.write_all(&v4()).await.expect("writes");
    let io = hyper_util::rt::TokioIo::new(stream);
    let shaken = hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await;
    let (mut sender, connection) = shaken.expect("shakes hands");
    tokio::spawn(connection);
    let ask = http::Request::get("http://gw.test/api/products").body(http_body_util::Empty::<bytes::Bytes>::new());
    let answer = sender.send_request(ask.expect("a request")).await.expect("an answer");
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
    let seen = serde_json::from_slice(&body).expect("json");
    assert_eq!(echoed(&seen, "x-forwarded-for"), ["192.0.2.9"]);
    assert_eq!((cut(&gateway, "proxy_protocol"), cut(&gateway, "head_timeout")), (Some(0.0), Some(0.0)));
}

#[tokio::test]
async fn what_is_no_good_head_is_refused_and_slow_ones_are_cut() {
    let upstream = Upstream::echo().await;
    let mut settings = listening(upstream.addr, EDGE);
    settings.http.header_timeout = shop_config::Duration::millis(300);
    let gateway = Running::start(settings).await;
    let addr = addr_of(&gateway, "edge");
    let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(200));
    let lines = [
        // None at all.
        ASK,
        "\n",
        "PROXYTCP4 192.0.2.7 198.51.100.1 51234 443\r\n",
        "proxy TCP4 192.0.2.7 198.51.100.1 51234 443\r\n",
        &long,
        "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 51234\r\n",
        "PROXY TCP4 192.0.2.700 198.51.100.1 51234 443\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 51234 443\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 51234 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 51234 443\r\n",
        "PROXY \r\n",
    ];
    let numbers = [
        binary(0x11, 0x11, 12, &[1; 12]),
        binary(0x22, 0x11, 12, &[1; 12]),
        binary(0x21, 0x41, 12, &[1; 12]),
        binary(0x21, 0x13, 12, &[1; 12]),
        binary(0x21, 0x11, 11, &[1; 12]),
        binary(0x21, 0x21, 35, &[1; 36]),
        binary(0x21, 0x31, 12, &[1; 12]),
        binary(0x21, 0x11, 0, &[]),
    ];
    let all: Vec<_> = lines.iter().map(|line| line.as_bytes().to_vec()).chain(numbers).collect();
    for (index, head) in all.iter().enumerate() {
        let answer = answered(addr, &[&head[..], ASK.as_bytes()].concat()).await;
        assert_eq!(answer, "", "{index}: {}", String::from_utf8_lossy(head));
    }
    let refused = u32::try_from(all.len()).expect("few");
    eventually!(cut(&gateway, "proxy_protocol") == Some(f64::from(refused)));
    // Closed before it was whole, or before it began, which is what probes do.
    for (head, counted) in [(&LINE.as_bytes()[..20], 1), (&v4()[..20], 2), (&b""[..], 2)] {
        let mut stream = TcpStream::connect(addr).await.expect("connects");
        stream.write_all(head).await.expect("writes");
        stream.shutdown().await.expect("closes");
        let _ = stream.read_to_end(&mut Vec::new()).await;
        assert_eq!(cut(&gateway, "proxy_protocol"), Some(f64::from(refused + counted)));
    }
    // Says a part and then nothing; one that says how much is to come and does not send it; nothing at all.
    for (index, head) in
        [&LINE.as_bytes()[..20], &v4()[..20], &binary(0x21, 0x11, 500, &[1; 12]), b""].iter().enumerate()
    {
        assert_eq!(answered(addr, head).await, "", "{index}");
        eventually!(cut(&gateway, "head_timeout") >= Some(f64::from(u32::try_from(index).expect("few") + 1)));
    }
    // Whoever comes properly is served.
    let good = answered(addr, &[LINE.as_bytes(), ASK.as_bytes()].concat()).await;
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
}

#[tokio::test]
async fn nobody_else_may_say_so() {
    let upstream = Upstream::echo().await;
    let text = EDGE.replace("'127.0.0.1']", "'10.0.0.0/8', '127.0.0.3']");
    let gateway = Running::start(listening(upstream.addr, &text)).await;
    let addr = addr_of(&gateway, "edge");
    let seen_from =
        async |last| echoed(&seen(from(last, addr).await, ASK).await.expect("an answer"), "x-forwarded-for");
    assert_eq!(seen_from(1).await, ["127.0.0.1"]);
    for (index, head) in [LINE.as_bytes(), &v4()].into_iter().enumerate() {
        let answer = answered(addr, &[head, ASK.as_bytes()].concat()).await;
        assert_eq!(answer, "", "{index}");
    }
    eventually!(cut(&gateway, "proxy_protocol") == Some(2.0));
    // In pieces it is no HTTP either.
    let mut stream = from(1, addr).await;
    stream.set_nodelay(true).expect("no delay");
    for piece in LINE.as_bytes().chunks(1) {
        let _ = stream.write_all(piece).await;
    }
    assert_eq!(rest_of(stream).await, "");
    // The same address on the listener without it: no HTTP.
    assert_eq!(answered(gateway.addr, &[LINE.as_bytes(), ASK.as_bytes()].concat()).await, "");
    let mut proxy = from(3, addr).await;
    proxy.write_all(LINE.as_bytes()).await.expect("writes");
    assert_eq!(echoed(&seen(proxy, ASK).await.expect("an answer"), "x-forwarded-for"), ["192.0.2.7"]);
}

#[tokio::test]
async fn limits_and_locks_mind_the_client_and_not_the_proxy() {
    let upstream = Upstream::echo().await;
    let mut settings = listening(upstream.addr, EDGE);
    settings.limits.connections_per_address = 2;
    let gateway = Running::start(settings).await;
    let addr = addr_of(&gateway, "edge");
    let connect = async |client: &str| {
        let mut stream = TcpStream::connect(addr).await.expect("connects");
        let head = format!("PROXY TCP4 {client} 198.51.100.1 51234 443\r\n");
        stream.write_all(head.as_bytes()).await.expect("writes");
        let _ = stream.write_all(b"GET /api/products HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut begin = [0; 12];
        let answer = stream.read_exact(&mut begin).await;
        answer.is_ok().then_some((stream, begin))
    };
    let mut kept = Vec::new();
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"] {
        let (stream, begin) = connect(client).await.expect("is let in");
        assert_eq!(&begin, b"HTTP/1.1 200");
        kept.push(stream);
    }
    assert!(connect("192.0.2.1").await.is_none() && connect("192.0.2.2").await.is_none());
    assert_eq!(gateway.metric("gateway_connections_shed_total{reason=\"address\"}"), Some(2.0));
    kept.remove(0);
    eventually!(connect("192.0.2.1").await.is_some());

    // What this machine itself may see, nobody sees through a proxy on it, whoever that names.
    let ask = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(answered(gateway.addr, ask.as_bytes()).await.starts_with("HTTP/1.1 200"));
    for head in [&b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"[..], b"PROXY UNKNOWN\r\n", &binary(0x20, 0, 0, &[])] {
        // Those before may not be gone yet, and no more than two may be there.
        eventually!({
            let answer = answered(addr, &[head, ask.as_bytes()].concat()).await;
            assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
            answer.starts_with("HTTP/1.1 404")
        });
    }
}

#[tokio::test]
async fn haproxy_says_for_whom_it_speaks_in_both_versions() {
    let Some(haproxy) = program("haproxy") else { return };
    let authority = Authority::new("ours");
    let folder = Folder::new();
    let pair = folder.put_pair("a", &authority.server(&["shop.example"]));
    let upstream = Upstream::echo().await;
    let secret = EDGE.replace("[edge]", "[secret]");
    let text = format!("{EDGE}{secret}[secret.tls]\ncertificates = [{pair}]");
    let gateway = Running::start(listening(upstream.addr, &text)).await;
    let mut settings = "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  \
                        timeout server 20s\n"
        .to_owned();
    let mut ports = Vec::new();
    for name in ["edge", "secret"] {
        for version in ["send-proxy", "send-proxy-v2"] {
            let (port, to) = (free_port(), addr_of(&gateway, name));
            let checks = "check check-send-proxy inter 50ms";
            let _ = writeln!(
                settings,
                "listen {name}-{version}\n  bind 127.0.0.1:{port}\n  server gateway {to} {version} {checks}"
            );
            ports.push((name, version, SocketAddr::from(([127, 0, 0, 1], port))));
        }
    }
    folder.put("haproxy.cfg", &settings);
    let _haproxy = Program::new(&haproxy).arg("-db").arg("-f").arg(folder.path("haproxy.cfg")).spawn();
    let connector = client(&authority, None, "http/1.1");
    for (name, version, port) in ports {
        eventually!(TcpStream::connect(port).await.is_ok());
        for last in [2, 3] {
            let stream = from(last, port).await;
            let seen = if name == "edge" {
                seen(stream, ASK).await
            } else {
                let server = rustls::pki_types::ServerName::try_from("shop.example").expect("a name");
                seen(connector.connect(server, stream).await.expect("shakes hands"), ASK).await
            };
            let seen = seen.unwrap_or_else(|| panic!("{name} {version}: no answer"));
            assert_eq!(echoed(&seen, "x-forwarded-for"), [format!("127.0.0.{last}")], "{name} {version}");
        }
    }
    // Its checks say that they are its own, and are no failure.
    assert_eq!(cut(&gateway, "proxy_protocol"), Some(0.0));
}
