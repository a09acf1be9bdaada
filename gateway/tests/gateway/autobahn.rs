//! Web sockets as Autobahn tries servers, frame by frame: what its server answers directly it answers through the gateway, to
//! the byte.

mod cases;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use shop_testing::{Child, Program, backend, eventually, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use self::cases::{CLOSE, Case, frame};
use crate::routes::bare;
use crate::support::{Running, service};

/// A server that sends every message back.
async fn echo(folder: &str) -> (Child, SocketAddr) {
    let port = free_port();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/autobahn/echo.py");
    let python = Program::new(format!("{folder}/python/bin/python3"));
    let mut child = python.args([script, &port.to_string()]).spawn();
    let addr = ([127, 0, 0, 1], port).into();
    eventually!(within Duration::from_mins(1), {
        assert!(child.exited().is_none(), "the server ended while starting");
        TcpStream::connect(addr).await.is_ok()
    });
    (child, addr)
}

/// What came of a case.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The lines of the handshake that are about web sockets.
    handshake: Vec<String>,
    /// All that the server sent after it.
    bytes: Vec<u8>,
}

/// Plays `case` against the server at `addr`.
async fn play(case: &Case, addr: SocketAddr) -> Outcome {
    let mut stream = TcpStream::connect(addr).await.expect("connects");
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let head = format!(
        "GET /echo HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        if case.deflate { deflate } else { "" }
    );
    stream.write_all(head.as_bytes()).await.expect("asks");
    let head = crate::support::read_head(&mut stream).await;
    let end = head.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let (mut bytes, head) = (head[end..].to_vec(), String::from_utf8_lossy(&head[..end]).to_ascii_lowercase());
    let is_of_sockets =
        |line: &&str| line.starts_with("http/") || line.starts_with("sec-") || line.starts_with("upgrade");
    let mut handshake: Vec<_> = head.lines().filter(is_of_sockets).map(str::to_owned).collect();
    // The reason is for people, and not kept.
    handshake[0].truncate("http/1.1 101".len());
    handshake.sort_unstable();

    let (mut read, mut write) = stream.split();
    let sending = async {
        for piece in &case.pieces {
            // A server that has found something wrong may be gone.
            if write.write_all(piece).await.is_err() {
                break;
            }
        }
        write
    };
    let receiving = async {
        while !closing(&bytes) && read.read_buf(&mut bytes).await.unwrap_or(0) > 0 {}
        (read, bytes)
    };
    let (mut write, (mut read, mut bytes)) = tokio::join!(sending, receiving);
    // The answer to a close, so that the server ends the connection; after one of ours it goes unread.
    let _ = write.write_all(&frame(true, CLOSE, &1000_u16.to_be_bytes())).await;
    let _ = read.read_to_end(&mut bytes).await;
    Outcome { handshake, bytes }
}

/// The frames that a server sent, as opcode and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [first, short, rest @ ..] = bytes {
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, rest)) = rest.split_at_checked(extended) else { break };
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let length = if extended == 0 { usize::from(*short) } else { length };
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        found.push((first & 15, payload.to_vec()));
        bytes = rest;
    }
    found
}

fn closing(bytes: &[u8]) -> bool {
    // Only the end of what is long is looked at anew when it can be a close: it has 125 bytes at most.
    bytes.len() < 4096 && frames(bytes).iter().any(|(kind, _)| *kind == CLOSE) || {
        let tail = &bytes[bytes.len().saturating_sub(129)..];
        tail.contains(&(128 | CLOSE)) && frames(bytes).iter().any(|(kind, _)| *kind == CLOSE)
    }
}

#[tokio::test]
async fn what_a_server_answers_it_answers_through_the_gateway() {
    let Some(folder) = backend::peers() else { return };
    let (_server, server) = echo(&folder).await;
    let gateway = Running::start(bare(&[("echo", service(&[server]))], &[("echo", "path = '/*'\nto = 'echo'")])).await;
    let cases = cases::all();
    assert!(cases.len() > 150, "{} cases", cases.len());
    let played = stream::iter(&cases).map(|case| {
        let address = gateway.addr;
        async move {
            let played = async { (play(case, server).await, play(case, address).await) };
            let (direct, through) = tokio::time::timeout(Duration::from_mins(1), played).await.expect(&case.name);
            let frames = frames(&direct.bytes);
            let code = frames.iter().find(|(kind, _)| *kind == CLOSE).map(|(_, payload)| match payload[..] {
                [high, low, ..] => u16::from_be_bytes([high, low]),
                _ => 0,
            });
            let messages = frames.iter().filter(|(kind, _)| *kind == 1 || *kind == 2).count();
            let mut wrong = Vec::new();
            if (messages, code) != (case.messages, Some(case.code)) {
                wrong.push(format!("{}: {messages} messages and {code:?}, as the server itself says", case.name));
            }
            if direct != through {
                wrong.push(format!("{}: {} and {} bytes", case.name, direct.bytes.len(), through.bytes.len()));
            }
            wrong
        }
    });
    let wrong: Vec<_> = played.buffer_unordered(8).collect::<Vec<_>>().await.concat();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
