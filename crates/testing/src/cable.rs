//! The cable to a server, to be cut in the ways that networks have: it may go silent with all connections standing, refuse,
//! and lead to another server afterwards, as a name does after a failover.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What happens to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// They arrive.
    Whole,
    /// New connections are closed, and old ones, too.
    Refusing,
}

#[derive(Debug, Clone)]
struct Line {
    state: State,
    to: SocketAddr,
    /// Connections made before a cut stay silent for ever, whatever comes after.
    cuts: u64,
    /// New connections are silent, too.
    silent: bool,
    /// What clients say arrives, what the server says does not.
    losing: bool,
}

/// A TCP proxy before a server. It ends with this value, and with it every connection through it.
#[derive(Debug)]
pub struct Cable {
    at: SocketAddr,
    line: Arc<watch::Sender<Line>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Cable {
    /// A cable to the server at `to`, on a port of its own.
    ///
    /// # Panics
    ///
    /// When there is no such server, or no port.
    pub async fn to(to: &str) -> Self {
        let to = resolve(to).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("is bound");
        let line =
            Arc::new(watch::Sender::new(Line { state: State::Whole, to, cuts: 0, silent: false, losing: false }));
        let accepting = tokio::spawn(accept(listener, line.clone()));
        Self { at, line, accepting }
    }

    /// Where it begins: host and port.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// From now on nothing arrives any more, in neither direction, and nobody is told: bytes are taken and forgotten, on new
    /// connections, too. The connections of before stay so for ever.
    pub fn go_silent(&self) {
        self.line.send_modify(|line| {
            line.cuts += 1;
            line.silent = true;
        });
    }

    /// From now on connections are closed at once, those of before, too.
    pub fn refuse(&self) {
        self.line.send_modify(|line| {
            line.cuts += 1;
            line.state = State::Refusing;
        });
    }

    /// New connections lead to the server at `to`, which works.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    pub async fn lead_to(&self, to: &str) {
        let to = resolve(to).await;
        self.line.send_modify(|line| {
            line.to = to;
            line.state = State::Whole;
            (line.silent, line.losing) = (false, false);
        });
    }

    /// From now on what is asked arrives, and answers do not, on connections of before, too. Who lost one is cut off when answers
    /// arrive again.
    pub fn lose_answers(&self) {
        self.line.send_modify(|line| line.losing = true);
    }

    /// New connections work again.
    pub fn mend(&self) {
        self.line.send_modify(|line| {
            line.state = State::Whole;
            (line.silent, line.losing) = (false, false);
        });
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn resolve(to: &str) -> SocketAddr {
    tokio::net::lookup_host(to).await.expect("is an address").next().expect("leads somewhere")
}

async fn accept(listener: TcpListener, line: Arc<watch::Sender<Line>>) {
    // What it carries ends with it.
    let mut carried = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    carried.spawn(carry(client, line.subscribe()));
                }
            }
            Some(_) = carried.join_next() => {}
        }
    }
}

async fn carry(client: TcpStream, mut line: watch::Receiver<Line>) -> io::Result<()> {
    let now = line.borrow_and_update().clone();
    if now.state == State::Refusing {
        return Ok(());
    }
    if now.silent {
        return swallow(client).await;
    }
    let server = TcpStream::connect(now.to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((mut client_reads, mut client_writes), (mut server_reads, mut server_writes)) =
        (client.into_split(), server.into_split());
    let answers = line.clone();
    let both = async {
        tokio::try_join!(
            async {
                tokio::io::copy(&mut client_reads, &mut server_writes).await?;
                server_writes.shutdown().await
            },
            answer(&mut server_reads, &mut client_writes, answers)
        )
    };
    let cut =
        async { line.wait_for(|line| line.cuts > now.cuts).await.is_ok_and(|line| line.state == State::Refusing) };
    tokio::select! {
        // Nothing that was said after the cut goes through.
        biased;
        refusing = cut => {
            if refusing {
                return Ok(());
            }
            // The server learns of it only once another has taken its place: by then it is gone.
            let client = client_reads.reunite(client_writes).map_err(io::Error::other)?;
            let gone = async {
                line.wait_for(|line| !line.silent).await.ok();
                drop((server_reads, server_writes));
                std::future::pending::<()>().await;
            };
            tokio::select! {
                done = swallow(client) => done,
                () = gone => Ok(()),
            }
        }
        carried = both => carried.map(drop),
    }
}

/// Hands on what the server says, unless it is lost.
async fn answer(
    server: &mut OwnedReadHalf,
    client: &mut OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
) -> io::Result<()> {
    let (mut bytes, mut is_lost) = ([0; 4096], false);
    loop {
        let read = tokio::select! {
            read = server.read(&mut bytes) => read?,
            found = line.wait_for(|line| !line.losing), if is_lost => {
                drop(found);
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        };
        if read == 0 {
            return client.shutdown().await;
        }
        is_lost |= line.borrow().losing;
        if !is_lost {
            client.write_all(&bytes[..read]).await?;
        }
    }
}

/// Takes what comes and forgets it, until the peer has enough.
async fn swallow(mut client: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 4096];
    while client.read(&mut bytes).await? > 0 {}
    client.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A server that says its name to whoever writes a byte.
    async fn server(name: u8) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("is bound").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(
                    async move { while stream.read_u8().await.is_ok() && stream.write_u8(name).await.is_ok() {} },
                );
            }
        });
        at
    }

    async fn ask(stream: &mut TcpStream) -> Option<u8> {
        stream.write_u8(0).await.ok()?;
        tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await.ok()?.ok()
    }

    #[tokio::test]
    async fn a_cable_that_went_silent_keeps_its_connections_and_leads_new_ones_elsewhere() {
        let (one, other) = (server(1).await, server(2).await);
        let cable = Cable::to(&one).await;
        let mut before = TcpStream::connect(cable.at()).await.expect("connects");
        assert_eq!(ask(&mut before).await, Some(1));
        cable.go_silent();
        let mut meanwhile = TcpStream::connect(cable.at()).await.expect("connects");
        assert_eq!((ask(&mut before).await, ask(&mut meanwhile).await), (None, None));
        cable.lead_to(&other).await;
        let mut after = TcpStream::connect(cable.at()).await.expect("connects");
        assert_eq!(ask(&mut after).await, Some(2));
        assert_eq!((ask(&mut before).await, ask(&mut meanwhile).await), (None, None));
    }

    #[tokio::test]
    async fn a_cable_that_loses_answers_brings_the_questions_and_cuts_off_who_lost_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let cable = Cable::to(&listener.local_addr().expect("is bound").to_string()).await;
        let mut client = TcpStream::connect(cable.at()).await.expect("connects");
        let (mut server, _) = listener.accept().await.expect("accepts");
        server.write_u8(1).await.expect("writes");
        assert_eq!(client.read_u8().await.expect("arrives"), 1);
        cable.lose_answers();
        client.write_u8(2).await.expect("writes");
        assert_eq!(server.read_u8().await.expect("arrives"), 2);
        server.write_u8(3).await.expect("writes");
        assert_eq!(tokio::time::timeout(Duration::from_millis(200), client.read_u8()).await.ok().map(drop), None);
        cable.mend();
        client.read_u8().await.expect_err("is cut off");
    }

    #[tokio::test]
    async fn a_cable_that_refuses_ends_what_it_carried() {
        let cable = Cable::to(&server(1).await).await;
        let mut before = TcpStream::connect(cable.at()).await.expect("connects");
        assert_eq!(ask(&mut before).await, Some(1));
        cable.refuse();
        before.read_u8().await.expect_err("is closed");
        cable.mend();
        let mut after = TcpStream::connect(cable.at()).await.expect("connects");
        assert_eq!(ask(&mut after).await, Some(1));
    }
}
