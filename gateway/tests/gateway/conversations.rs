//! Whole conversations, good ones and ones broken in one place: the backend sees the requests that were sent, and never another.

use proptest::prelude::*;
use proptest::test_runner::{Config as Trials, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::recorder::{Recorder, Seen};
use crate::support::{Running, config};

/// Requests of which it is known how many they are, and in the end something broken or nothing.
fn conversations() -> impl Strategy<Value = (Vec<Seen>, Vec<u8>)> {
    let data = proptest::collection::vec(any::<u8>(), 0..40);
    let plain = Just((String::new(), Vec::new(), Vec::new()));
    let sized = data.clone().prop_map(|data| (format!("content-length: {}\r\n", data.len()), data.clone(), data));
    let chunked =
        (proptest::collection::vec(data, 0..4), "(;[a-z]{1,5}(=[a-z\";]{0,5})?)?").prop_map(|(pieces, extension)| {
            let mut wire = Vec::new();
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                wire.extend_from_slice(format!("{:X}{extension}\r\n", piece.len()).as_bytes());
                wire.extend_from_slice(piece);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(format!("0{extension}\r\n\r\n").as_bytes());
            ("transfer-encoding: chunked\r\n".to_owned(), wire, pieces.concat())
        });
    let request = (0..1000_u32, prop_oneof![plain, sized, chunked]).prop_map(|(number, (framing, wire, body))| {
        let head = format!("PUT /api/products/{number} HTTP/1.1\r\nhost: a\r\n{framing}\r\n");
        let line = format!("PUT /products/{number} HTTP/1.1");
        (Seen { line, headers: Vec::new(), body, trailers: Vec::new() }, [head.into_bytes(), wire].concat())
    });
    proptest::collection::vec(request, 1..5).prop_map(|requests| {
        let (seen, wire): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        (seen, wire.concat())
    })
}

#[test]
fn the_backend_sees_the_requests_that_were_sent_and_never_another() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (recorder, gateway) = runtime.block_on(async {
        let recorder = Recorder::start().await;
        let mut settings = config(recorder.upstream.addr);
        settings.http.header_timeout = shop_config::Duration::millis(200);
        settings.limits.body_idle = shop_config::Duration::millis(200);
        let gateway = Running::start(settings).await;
        (recorder, gateway)
    });
    let broken = (
        any::<prop::sample::Index>(),
        prop_oneof![
            Just(None),
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), Just(b'0'), Just(0), Just(b';'), any::<u8>()]
                .prop_map(Some),
        ],
    );
    let cuts = proptest::collection::vec(any::<prop::sample::Index>(), 0..4);
    let trials = Trials { cases: 200, failure_persistence: None, ..Trials::default() };
    let outcome =
        TestRunner::new(trials).run(&(conversations(), broken, cuts), |((sent, mut wire), (place, byte), cuts)| {
            if let Some(byte) = byte {
                wire.insert(place.index(wire.len()), byte);
            }
            wire.extend_from_slice(b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            cuts.sort_unstable();
            let answer = runtime.block_on(pieces(&gateway, &wire, &cuts));
            let taken: Vec<_> = recorder.take().into_iter().map(|seen| (seen.line, seen.body)).collect();
            let sent: Vec<_> = sent.into_iter().map(|seen| (seen.line, seen.body)).collect();
            if byte.is_none() {
                prop_assert_eq!(&taken, &sent);
                prop_assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), sent.len() + 1, "{}", answer);
            }
            // However it was broken, the backend's requests are as many as were sent at most, and answered one by one.
            prop_assert!(taken.len() <= sent.len(), "{taken:?} of {}", String::from_utf8_lossy(&wire));
            prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{answer}");
            for head in answer.split("HTTP/1.1 ").skip(1) {
                prop_assert!(head.contains("x-request-id: "), "an answer that is not the gateway's: {answer}");
            }
            Ok(())
        });
    outcome.expect("no counterexample");
}

/// Sends `wire` cut at `cuts`, and reads to the end.
async fn pieces(gateway: &Running, wire: &[u8], cuts: &[usize]) -> String {
    let mut stream = TcpStream::connect(gateway.addr).await.expect("connects");
    stream.set_nodelay(true).expect("a socket");
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        let mut begin = 0;
        for end in cuts.iter().copied().chain([wire.len()]) {
            // The gateway may have closed.
            let _ = writer.write_all(&wire[begin..end]).await;
            tokio::task::yield_now().await;
            begin = end;
        }
    };
    let _ = tokio::join!(reader.read_to_end(&mut answer), write);
    String::from_utf8_lossy(&answer).into_owned()
}
