//! The head by which a proxy that hands on bytes says for whom it speaks (the PROXY protocol of `HAProxy`, versions 1 and 2). It
//! is taken off the connection to the byte: what follows, be it TLS or HTTP, is read as if nothing had been before it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What version 1 begins with.
const TEXT: &[u8] = b"PROXY ";
/// Its longest line, with the end of the line (section 2.1).
const LONGEST_TEXT: usize = 107;
/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and the length of what follows.
const FIXED: usize = 16;
/// Two addresses of IPv4 and two ports.
const IPV4: usize = 12;
/// The same of IPv6.
const IPV6: usize = 36;
/// Two paths of sockets.
const UNIX: usize = 216;
/// What is thrown away at once of what follows the addresses.
const SCRAP: usize = 512;

/// The head of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// For whom the proxy speaks; none when it speaks for itself, as to find out whether anybody is here, or does not know.
    client: Option<SocketAddr>,
    /// How long the head is, with what need not be read.
    size: usize,
}

/// What is wrong with a head.
type Wrong = &'static str;

/// Whether these first bytes of a connection are those of such a head.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(TEXT) || bytes.starts_with(SIGNATURE)
}

/// Takes the head off `stream`. A connection that is closed before its first byte ends with
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), one whose head is none with [`InvalidData`](io::ErrorKind::InvalidData).
/// How long it may take is for the caller to say; how much is read has a bound.
pub(super) async fn take(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut seen = [0; LONGEST_TEXT];
    let mut length = 0;
    loop {
        let more = stream.peek(&mut seen[length..]).await?;
        if more == 0 {
            return Err(if length == 0 { io::ErrorKind::UnexpectedEof.into() } else { wrong("it ends too early") });
        }
        let known = length + more;
        match head(&seen[..known]).map_err(wrong)? {
            Some(Head { client, size }) => {
                skip(stream, size.saturating_sub(length)).await?;
                return Ok(client);
            }
            // All of it belongs to the head. Taken off, it does not wake us again.
            None => skip(stream, more).await?,
        }
        length = known;
    }
}

fn wrong(why: Wrong) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

async fn skip(stream: &mut TcpStream, mut size: usize) -> io::Result<()> {
    let mut scrap = [0; SCRAP];
    while size > 0 {
        let read = stream.read(&mut scrap[..size.min(SCRAP)]).await?;
        if read == 0 {
            return Err(wrong("it ends too early"));
        }
        size -= read;
    }
    Ok(())
}

/// The head that begins with these bytes; none while there are too few of them, which are then all of the head.
fn head(seen: &[u8]) -> Result<Option<Head>, Wrong> {
    let is_like = |known: &[u8]| seen.iter().zip(known).all(|(byte, known)| byte == known);
    if is_like(SIGNATURE) {
        binary(seen)
    } else if is_like(TEXT) {
        text(seen)
    } else {
        Err("there is none")
    }
}

/// Version 1: a line such as `PROXY TCP4 192.0.2.7 198.51.100.1 51234 443`.
fn text(seen: &[u8]) -> Result<Option<Head>, Wrong> {
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if seen.len() < LONGEST_TEXT { Ok(None) } else { Err("its line is too long") };
    };
    let size = end + 1;
    if size > LONGEST_TEXT {
        return Err("its line is too long");
    }
    let line = seen[..end].strip_suffix(b"\r").ok_or("its line ends without a carriage return")?;
    let line = str::from_utf8(line).map_err(|_| "its line is not ASCII")?;
    let mut words = line.split(' ').skip(1);
    let client = match words.next() {
        // Whatever follows is not to be read.
        Some("UNKNOWN") => return Ok(Some(Head { client: None, size })),
        Some("TCP4") => addresses::<Ipv4Addr>(words),
        Some("TCP6") => addresses::<Ipv6Addr>(words),
        _ => return Err("it names an unknown protocol"),
    };
    client.map(|client| Some(Head { client: Some(client), size })).ok_or("its addresses are not valid")
}

/// Two addresses, two ports and nothing more; the first of each is the client's.
fn addresses<'a, A: FromStr + Into<IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Option<SocketAddr> {
    let mut address = || words.next()?.parse::<A>().ok();
    let (client, _) = (address()?, address()?);
    let mut port = || {
        let text = words.next()?;
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| is_plain)
    };
    let (port, _) = (port()?, port()?);
    words.next().is_none().then(|| SocketAddr::new(client.into(), port))
}

/// Version 2: numbers in the order of the network.
fn binary(seen: &[u8]) -> Result<Option<Head>, Wrong> {
    let Some((&[command, family, high, low], rest)) = seen.get(SIGNATURE.len()..).and_then(<[u8]>::split_first_chunk)
    else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let size = FIXED + length;
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err("it is of an unknown version or command"),
    };
    if family >> 4 > 3 || family & 0xF > 2 {
        return Err("it names an unknown protocol");
    }
    if is_local {
        return Ok(Some(Head { client: None, size }));
    }
    let least = match family >> 4 {
        1 => IPV4,
        2 => IPV6,
        3 => UNIX,
        _ => 0,
    };
    if length < least {
        return Err("it is too short for its addresses");
    }
    let client = match family {
        // TCP over IPv4.
        0x11 => match rest.first_chunk::<IPV4>() {
            Some(&[a, b, c, d, _, _, _, _, high, low, _, _]) => {
                Some(SocketAddr::new([a, b, c, d].into(), u16::from_be_bytes([high, low])))
            }
            None => return Ok(None),
        },
        // TCP over IPv6.
        0x21 => match (rest.first_chunk::<16>(), rest.get(32..34), rest.len() >= IPV6) {
            (Some(address), Some(&[high, low]), true) => {
                Some(SocketAddr::new((*address).into(), u16::from_be_bytes([high, low])))
            }
            _ => return Ok(None),
        },
        // No client of ours comes otherwise: as with HAProxy it is the proxy that counts then.
        _ => None,
    };
    Ok(Some(Head { client, size }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn binary_head(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
        [SIGNATURE, &[command, family], &length.to_be_bytes()[..], rest].concat()
    }

    fn named(text: &str, size: usize) -> Head {
        Head { client: Some(text.parse().expect("an address")), size }
    }

    type Read = Result<Option<Head>, Wrong>;

    const NOBODY: Option<SocketAddr> = None;

    #[test]
    fn a_line_says_who_the_client_is() {
        let most = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LONGEST_TEXT - 16));
        let over = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LONGEST_TEXT - 15));
        let long = "PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        let table: [(&str, Read); 28] = [
            ("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n", Ok(Some(named("192.0.2.7:51234", 45)))),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\nGET / HTTP", Ok(Some(named("192.0.2.7:51234", 45)))),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n", Ok(Some(named("[2001:db8::7]:0", 44)))),
            ("PROXY UNKNOWN\r\n", Ok(Some(Head { client: NOBODY, size: 15 }))),
            (&most, Ok(Some(Head { client: NOBODY, size: LONGEST_TEXT }))),
            (&over, Err("its line is too long")),
            (&over[..LONGEST_TEXT], Err("its line is too long")),
            (&over[..LONGEST_TEXT - 1], Ok(None)),
            ("", Ok(None)),
            ("PROX", Ok(None)),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r", Ok(None)),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\n", Err("its line ends without a carriage return")),
            ("PROXYTCP4", Err("there is none")),
            ("GET / HTTP/1.1\r\n", Err("there is none")),
            ("\x16\x03\x01", Err("there is none")),
            ("PROXY\r\n", Err("there is none")),
            ("PROXY \r\n", Err("it names an unknown protocol")),
            ("PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n", Err("it names an unknown protocol")),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n", Err("its addresses are not valid")),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n", Err("its addresses are not valid")),
            ("PROXY TCP4 192.0.2.7  198.51.100.1 1 2\r\n", Err("its addresses are not valid")),
            ("PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n", Err("its addresses are not valid")),
            ("PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n", Err("its addresses are not valid")),
            ("PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n", Err("its addresses are not valid")),
            (long, Err("its addresses are not valid")),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n", Err("its addresses are not valid")),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n", Err("its addresses are not valid")),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n", Err("its addresses are not valid")),
        ];
        for (text, expected) in table {
            assert_eq!(head(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(head(b"PROXY TCP4 \xFF\r\n"), Err("its line is not ASCII"));
    }

    #[test]
    fn numbers_say_who_the_client_is() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 200, 34, 1, 187];
        let v6 = [&Ipv6Addr::LOCALHOST.octets()[..], &[9; 16], &[200, 34, 1, 187]].concat();
        let nobody = |size| Ok(Some(Head { client: NOBODY, size }));
        let table: [(u8, u8, u16, &[u8], Read); 19] = [
            (0x21, 0x11, 12, &v4, Ok(Some(named("192.0.2.7:51234", 28)))),
            (0x21, 0x21, 36, &v6, Ok(Some(named("[::1]:51234", 52)))),
            // What follows the addresses is not read, and need not be there yet.
            (0x21, 0x11, 65535, &v4, Ok(Some(named("192.0.2.7:51234", 16 + 65535)))),
            (0x21, 0x21, 40, &v6, Ok(Some(named("[::1]:51234", 56)))),
            (0x20, 0x00, 0, &[], nobody(16)),
            (0x20, 0x11, 12, &v4, nobody(28)),
            (0x20, 0x11, 3, &[], nobody(19)),
            (0x21, 0x00, 0, &[], nobody(16)),
            (0x21, 0x00, 9, &[], nobody(25)),
            (0x21, 0x31, 216, &[], nobody(232)),
            (0x21, 0x12, 12, &v4, nobody(28)),
            (0x21, 0x11, 12, &v4[..11], Ok(None)),
            (0x21, 0x21, 36, &v6[..35], Ok(None)),
            (0x21, 0x11, 11, &v4, Err("it is too short for its addresses")),
            (0x21, 0x21, 35, &v6, Err("it is too short for its addresses")),
            (0x21, 0x31, 215, &v6, Err("it is too short for its addresses")),
            (0x22, 0x11, 12, &v4, Err("it is of an unknown version or command")),
            (0x11, 0x11, 12, &v4, Err("it is of an unknown version or command")),
            (0x21, 0x41, 12, &v4, Err("it names an unknown protocol")),
        ];
        for (command, family, length, rest, expected) in table {
            let bytes = binary_head(command, family, length, rest);
            assert_eq!(head(&bytes), expected, "{bytes:?}");
        }
        let whole = binary_head(0x21, 0x11, 12, &v4);
        for cut in 0..whole.len() {
            assert_eq!(head(&whole[..cut]), Ok(None), "{cut}");
        }
    }

    /// Anything, and what begins as a head does.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let any = || proptest::collection::vec(any::<u8>(), 0..300);
        let begun = prop::sample::select(vec![
            TEXT.to_vec(),
            b"PROXY TCP4 ".to_vec(),
            b"PROXY TCP6 ::1 ".to_vec(),
            SIGNATURE.to_vec(),
            [SIGNATURE, &[0x21, 0x11]].concat(),
            [SIGNATURE, &[0x21, 0x21, 0]].concat(),
        ]);
        prop_oneof![any(), (begun, any()).prop_map(|(begun, any)| [begun, any].concat())]
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much_and_more_of_them_change_nothing(bytes in bytes()) {
            let mut settled = None;
            for length in 0..=bytes.len() {
                let found = head(&bytes[..length]);
                if let Some(settled) = &settled {
                    prop_assert_eq!(&found, settled);
                } else if found != Ok(None) {
                    if let Ok(Some(head)) = &found {
                        prop_assert!(head.size >= length.saturating_sub(1) && head.size <= FIXED + 65535);
                    }
                    settled = Some(found);
                } else {
                    // The longest that is waited for, so that what is read has a bound.
                    prop_assert!(length < LONGEST_TEXT);
                }
            }
        }
    }
}
