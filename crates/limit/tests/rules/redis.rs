//! Counting in Redis: what is asked of it, what its answers mean, and what happens without it. The script itself is tested on a
//! real one.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use shop_limit::settings::{RateLimit, RedisLimit};
use shop_limit::{Call, Counting, Limiter, Observer, SharedObserver, Verdict};
use shop_telemetry::Span;
use shop_testing::eventually;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// A Redis that knows the script, and answers it as it is told to.
#[derive(Default)]
struct Double {
    /// Calls left, or else microseconds until one more is allowed.
    left: AtomicU64,
    wait: AtomicU64,
    full: AtomicU64,
    /// What the script was asked: key and numbers.
    asked: Mutex<Vec<Vec<String>>>,
    ends: Notify,
    /// Connections that it is still to refuse.
    refuses: AtomicUsize,
}

/// A command.
async fn command(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<String>> {
    let number = async |stream: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok::<_, std::io::Error>(line[1..].trim().parse::<usize>().expect("a number"))
    };
    let mut words = Vec::new();
    for _ in 0..number(stream).await? {
        let mut word = vec![0; number(stream).await? + 2];
        stream.read_exact(&mut word).await?;
        words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
    }
    Ok(words)
}

impl Double {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut open = tokio::task::JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            if self.refuses.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                continue;
            }
            let double = Arc::clone(&self);
            open.spawn(async move {
                tokio::select! {
                    _ = double.talk(BufReader::new(stream)) => {}
                    () = double.ends.notified() => {}
                }
            });
        }
    }

    async fn talk(&self, mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
        loop {
            let words = command(&mut stream).await?;
            let answer = if words[0] == "EVALSHA" {
                self.asked.lock().push(words[3..].to_vec());
                let (left, wait, full) = (self.left.load(SeqCst), self.wait.load(SeqCst), self.full.load(SeqCst));
                format!("*4\r\n:{}\r\n:{left}\r\n:{wait}\r\n:{full}\r\n", u8::from(wait == 0))
            } else {
                "+OK\r\n".to_owned()
            };
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

/// What a limiter told.
#[derive(Default)]
struct Told {
    counting: Mutex<Option<Counting>>,
    fell_back: AtomicUsize,
}

impl Observer for Told {
    fn counting(&self, who: Counting) {
        *self.counting.lock() = Some(who);
    }

    fn fell_back(&self) {
        self.fell_back.fetch_add(1, SeqCst);
    }
}

fn settings(redis: SocketAddr) -> RateLimit {
    RateLimit {
        requests: NonZeroU32::MIN,
        burst: NonZeroU32::new(5).expect("not zero"),
        redis: RedisLimit {
            url: format!("redis://{redis}").as_str().into(),
            timeout: shop_config::Duration::secs(10),
            key_prefix: "test:".to_owned(),
            ..RedisLimit::default()
        },
        ..RateLimit::default()
    }
}

async fn check(limiter: &Limiter) -> Verdict {
    let headers = HeaderMap::new();
    let address = "192.0.2.7".parse().expect("an address");
    let call = Call { policy: None, headers: &headers, address, subject: None };
    limiter.check(&call, &Span::none()).await.expect("is counted").verdict
}

#[tokio::test]
async fn redis_counts_while_it_is_there_and_this_process_from_there_on_while_it_is_not() {
    let (double, told) = (Arc::new(Double::default()), Arc::new(Told::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("an address");
    let limiter = Limiter::new(&settings(addr), &[], Arc::clone(&told) as SharedObserver, None);
    let limiter = Arc::new(limiter.expect("is on"));
    let (tell, changes) = watch::channel(());
    let current = || Some(Arc::clone(&limiter));
    let story = async {
        let counts = || *told.counting.lock();
        eventually!(counts() == Some(Counting::Redis));
        assert_eq!(double.asked.lock().concat(), ["test:probe", "1000", &u32::MAX.to_string()], "it was tried first");
        double.asked.lock().clear();

        double.left.store(3, SeqCst);
        double.full.store(120_000_000, SeqCst);
        let minute = Duration::from_mins(1);
        assert_eq!(check(&limiter).await, Verdict::Allowed { remaining: 3, full_in: 2 * minute });
        assert_eq!(double.asked.lock().concat(), ["test:client:ip:192.0.2.7", "60000000", "5"]);
        double.left.store(0, SeqCst);
        double.wait.store(40_000_000, SeqCst);
        double.full.store(280_000_000, SeqCst);
        let refused = Verdict::Refused { retry_after: Duration::from_secs(40) };
        assert_eq!(check(&limiter).await, refused);
        assert_eq!(told.fell_back.load(SeqCst), 0);

        // It goes away, and comes back at the second attempt only.
        double.refuses.store(1, SeqCst);
        double.ends.notify_waiters();
        let verdict = check(&limiter).await;
        let Verdict::Refused { retry_after } = verdict else { panic!("{verdict:?}: what Redis counted is known") };
        assert!(retry_after <= Duration::from_secs(40), "{retry_after:?}");
        assert_eq!(told.fell_back.load(SeqCst), 1);
        double.wait.store(0, SeqCst);
        eventually!(counts() == Some(Counting::Redis));
        double.left.store(4, SeqCst);
        assert_eq!(check(&limiter).await, Verdict::Allowed { remaining: 4, full_in: minute });
        assert_eq!(told.fell_back.load(SeqCst), 1);
    };
    tokio::select! {
        () = Arc::clone(&double).serve(listener) => panic!("it serves for ever"),
        () = shop_limit::run(changes, current) => panic!("it runs for ever"),
        () = story => {}
    }
    drop(tell);
}

#[tokio::test]
async fn another_limiter_in_its_place_is_connected_too() {
    let (double, told) = (Arc::new(Double::default()), Arc::new(Told::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let settings = settings(listener.local_addr().expect("an address"));
    let observer = || Arc::clone(&told) as SharedObserver;
    let current = Mutex::new(Arc::new(Limiter::new(&settings, &[], observer(), None).expect("is on")));
    let (tell, changes) = watch::channel(());
    let story = async {
        let counts = || *told.counting.lock();
        eventually!(counts() == Some(Counting::Redis));
        let next = Limiter::new(&settings, &[], observer(), Some(&current.lock())).expect("is on");
        assert_eq!(counts(), Some(Counting::Local), "not yet");
        *current.lock() = Arc::new(next);
        tell.send(()).expect("somebody listens");
        eventually!(counts() == Some(Counting::Redis));
        assert_eq!(double.asked.lock().len(), 2, "each has tried it");
    };
    tokio::select! {
        () = Arc::clone(&double).serve(listener) => panic!("it serves for ever"),
        () = shop_limit::run(changes, || Some(Arc::clone(&current.lock()))) => panic!("it runs for ever"),
        () = story => {}
    }
}

#[tokio::test]
async fn nobody_waits_for_a_redis_that_is_not_there() {
    let told = Arc::new(Told::default());
    let away = SocketAddr::from(([127, 0, 0, 1], 1));
    let limiter = Limiter::new(&settings(away), &[], Arc::clone(&told) as SharedObserver, None).expect("is on");
    for remaining in [4, 3] {
        assert!(matches!(check(&limiter).await, Verdict::Allowed { remaining: left, .. } if left == remaining));
    }
    assert_eq!((*told.counting.lock(), told.fell_back.load(SeqCst)), (Some(Counting::Local), 2));
}

/// Two processes allow together what one would.
async fn two_count_together(keys: shop_testing::backend::Keys) {
    let told = [(); 2].map(|()| Arc::new(Told::default()));
    let redis = RedisLimit {
        url: keys.url().as_str().into(),
        timeout: shop_config::Duration::secs(10),
        key_prefix: keys.prefix().to_owned(),
        ..RedisLimit::default()
    };
    let settings = RateLimit {
        requests: NonZeroU32::MIN,
        burst: NonZeroU32::new(5).expect("not zero"),
        redis,
        ..RateLimit::default()
    };
    let limiters = told.each_ref().map(|told| {
        let limiter = Limiter::new(&settings, &[], Arc::clone(told) as SharedObserver, None);
        Arc::new(limiter.expect("is on"))
    });
    let (tell, changes) = watch::channel(());
    let current = |number: usize| {
        let limiter = Arc::clone(&limiters[number]);
        move || Some(Arc::clone(&limiter))
    };
    let story = async {
        for told in &told {
            let counts = || *told.counting.lock();
            eventually!(counts() == Some(Counting::Redis));
        }
        let mut left = Vec::new();
        for limiter in [0, 1, 0, 1, 0] {
            let verdict = check(&limiters[limiter]).await;
            let Verdict::Allowed { remaining, .. } = verdict else { panic!("{verdict:?} after {left:?}") };
            left.push(remaining);
        }
        assert_eq!(left, [4, 3, 2, 1, 0]);
        for limiter in &limiters {
            let verdict = check(limiter).await;
            assert!(matches!(verdict, Verdict::Refused { .. }), "{verdict:?}");
        }
        assert_eq!(told.each_ref().map(|told| told.fell_back.load(SeqCst)), [0, 0]);
    };
    tokio::select! {
        () = shop_limit::run(changes.clone(), current(0)) => panic!("it runs for ever"),
        () = shop_limit::run(changes, current(1)) => panic!("it runs for ever"),
        () = story => {}
    }
    drop(tell);
}

#[tokio::test]
async fn processes_count_together_on_valkey() {
    let Some(keys) = shop_testing::backend::valkey() else { return };
    two_count_together(keys).await;
}

#[tokio::test]
async fn processes_count_together_behind_sentinels() {
    let Some(keys) = shop_testing::backend::redis_sentinel() else { return };
    two_count_together(keys).await;
}

#[tokio::test]
async fn processes_count_together_in_a_cluster() {
    let Some(keys) = shop_testing::backend::redis_cluster() else { return };
    two_count_together(keys).await;
}
