//! How much is read at once.

use std::task::{Context, Poll, Waker};

use shop_http1::read_buffer::poll_read;
use tokio::io::{AsyncWriteExt as _, duplex};

/// The sizes of what is read of so many bytes.
async fn read(there: usize, wanted: Option<u64>) -> Vec<usize> {
    let (mut stream, mut other) = duplex(128 * 1024);
    other.write_all(&vec![b'x'; there]).await.expect("writes");
    drop(other);
    let mut cx = Context::from_waker(Waker::noop());
    let mut sizes = Vec::new();
    loop {
        let Poll::Ready(read) = poll_read(&mut stream, wanted, &mut cx) else { panic!("it has ended") };
        let read = read.expect("reads");
        assert!(read.iter().all(|byte| *byte == b'x'));
        if read.is_empty() {
            return sizes;
        }
        sizes.push(read.len());
    }
}

#[tokio::test]
async fn a_head_or_a_small_body_is_read_at_once_and_much_of_a_large_one() {
    const KIB: usize = 1024;
    for wanted in [None, Some(100), Some(16 * 1024)] {
        assert_eq!(read(4 * KIB, wanted).await, [4 * KIB], "{wanted:?}");
        let all = read(40 * KIB, wanted).await;
        assert_eq!(all.iter().sum::<usize>(), 40 * KIB);
        assert!(all.iter().all(|size| *size <= 16 * KIB), "{wanted:?} {all:?}");
    }
    for wanted in [16 * 1024 + 1, 1 << 40] {
        let all = read(100 * KIB, Some(wanted)).await;
        assert_eq!(all.iter().sum::<usize>(), 100 * KIB);
        assert!(all[0] >= 32 * KIB && all.iter().all(|size| *size <= 64 * KIB), "{wanted} {all:?}");
    }
}
