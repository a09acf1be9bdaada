//! Header lines that are edited where they lie: whatever is done to them, what goes out is read as what was meant.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use shop_http1::Edit;
use shop_http1::fields::{Fields, Names};
use shop_http1::{Headers, Lines, request_head};

/// Names of which many are alike; so are those that come together in blocks.
const NAMES: [&str; 8] = ["a", "b", "host", "hosts", "x-a", "x-b", "x-forwarded-for", "a-very-long-name-of-a-header"];
/// Values without blanks at their ends, which a reader takes off.
const VALUES: [&str; 6] =
    ["", "1", "one and another", "a: b", "\"q\", w/\"x\"", "value-longer-than-all-of-the-others-are"];

/// What is left of the bytes that decide.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    /// A number below `most`; none behind the end.
    fn roll(&mut self, most: usize) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first) % most)
    }

    fn name(&mut self) -> Option<&'static str> {
        self.roll(NAMES.len()).map(|place| NAMES[place])
    }

    fn value(&mut self) -> Option<&'static str> {
        self.roll(VALUES.len()).map(|place| VALUES[place])
    }
}

/// The lines in the simplest form.
type Model = Vec<(String, String)>;

fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

fn value(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

/// Does the next thing to all three; none when that was the last.
fn step(dice: &mut Dice<'_>, lines: &mut Headers, map: &mut HeaderMap, model: &mut Model) -> Option<()> {
    match dice.roll(9)? {
        way @ (0 | 6 | 7) => {
            let (of, text) = (dice.name()?, dice.value()?);
            match way {
                0 => {
                    lines.set(name(of), value(text));
                    map.set(name(of), value(text));
                }
                6 => {
                    lines.copy(&name(of), &value(text));
                    map.copy(&name(of), &value(text));
                }
                _ => {
                    lines.put(&name(of), text.as_bytes());
                    map.put(&name(of), text.as_bytes());
                }
            }
            model.retain(|(other, _)| other != of);
            model.push((of.to_owned(), text.to_owned()));
        }
        1 => {
            let (of, text) = (dice.name()?, dice.value()?);
            lines.add(name(of), value(text));
            map.add(name(of), value(text));
            model.push((of.to_owned(), text.to_owned()));
        }
        2 => {
            let of = dice.name()?;
            lines.remove_all(&name(of));
            map.remove_all(&name(of));
            model.retain(|(other, _)| other != of);
        }
        8 => {
            let (one, other) = (dice.name()?, dice.name()?);
            let names = Names::new(vec![name(one), name(other)]);
            lines.remove_each(&names);
            map.remove_each(&names);
            model.retain(|(known, _)| known != one && known != other);
        }
        3 => {
            let length = dice.roll(8)?;
            lines.remove_if(|name| name.len() == length);
            map.remove_if(|name| name.len() == length);
            model.retain(|(other, _)| other.len() != length);
        }
        4 => {
            let (of, text) = (dice.name()?, dice.value()?);
            let change = |name: &[u8], _: &[u8]| (name == of.as_bytes()).then(|| value(text));
            lines.change(change);
            map.change(change);
            model.iter_mut().filter(|(other, _)| other == of).for_each(|(_, old)| text.clone_into(old));
        }
        _ => {
            let fields: Vec<_> = NAMES.into_iter().take(dice.roll(4)?).zip(VALUES).collect();
            let mut block = Lines::new();
            for (of, text) in &fields {
                block.add(name(of), value(text));
            }
            lines.add_all(&block);
            map.add_all(&block);
            model.extend(fields.iter().map(|(of, text)| ((*of).to_owned(), (*text).to_owned())));
        }
    }
    Some(())
}

/// A head as a client writes it: names in any case, blanks around values.
fn head(dice: &mut Dice<'_>) -> (String, Model) {
    let (mut wire, mut model) = ("GET /a HTTP/1.1\r\n".to_owned(), Model::new());
    for _ in 0..dice.roll(8).unwrap_or_default() {
        let (Some(name), Some(value), Some(manner)) = (dice.name(), dice.value(), dice.roll(6)) else { break };
        let written = if manner < 3 { name.to_owned() } else { name.to_ascii_uppercase() };
        let blanks = ["", " ", "\t "][manner % 3];
        wire.extend([&written, ":", blanks, value, blanks, "\r\n"]);
        model.push((name.to_owned(), value.to_owned()));
    }
    (wire + "\r\n", model)
}

fn read(wire: &[u8]) -> request_head::Parts {
    let mut bytes = Bytes::copy_from_slice(wire);
    let head = request_head::Reader::new(64 * 1024).read(&mut bytes).expect("valid").expect("whole");
    assert!(bytes.is_empty(), "something follows the head");
    head.parts
}

fn listed<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Model {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    lines.map(|(name, value)| (text(name), text(value))).collect()
}

/// Names and values in the order of the names, as a map has none.
fn sorted(map: &HeaderMap) -> Model {
    let mut all = listed(map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())));
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// What is asked of lines and of a map has the same answer.
fn agree(lines: &Headers, map: &HeaderMap) {
    for name in NAMES.map(HeaderName::from_static) {
        assert_eq!(lines.value(&name), map.value(&name), "{name}");
        assert!(lines.values(&name).eq(Fields::values(map, &name)), "{name}");
        assert_eq!(lines.has(&name), map.has(&name), "{name}");
    }
    assert_eq!(lines.len(), map.len());
    assert_eq!(sorted(&lines.to_map()), sorted(map));
}

/// The head that goes out after what `plan` says was done to the one that it says came.
pub(crate) fn check(plan: &[u8]) -> Vec<u8> {
    let mut dice = Dice(plan);
    let (wire, mut model) = head(&mut dice);
    let mut head = read(wire.as_bytes());
    let mut map = head.headers.to_map();
    loop {
        let Headers::Lines(lines) = &head.headers else { panic!("what came over HTTP/1.1 are lines") };
        assert_eq!(listed(lines.iter()), model);
        agree(&head.headers, &map);
        if step(&mut dice, &mut head.headers, &mut map, &mut model).is_none() {
            break;
        }
    }
    let (mut out, mut again) = (Vec::new(), Vec::new());
    request_head::write(&head, &mut out);
    // A reader that knows nothing of lines finds them.
    let mut room = [httparse::EMPTY_HEADER; 200];
    let mut parsed = httparse::Request::new(&mut room);
    assert!(parsed.parse(&out).is_ok_and(|read| read == httparse::Status::Complete(out.len())));
    assert_eq!(listed(parsed.headers.iter().map(|line| (line.name.as_bytes(), line.value))), model);
    // It may go out to another backend, too.
    request_head::write(&head, &mut again);
    assert_eq!(out, again);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_goes_out_is_what_came_and_what_was_done_to_it(plan in proptest::collection::vec(any::<u8>(), 0..60)) {
            crate::hyper_server::agree(&check(&plan));
        }
    }

    #[test]
    fn what_is_valid_in_a_line_is_valid_in_a_map() {
        for byte in 0..=u8::MAX {
            for (before, after) in [(&b"x"[..], &b"y: v"[..]), (b"x: a", b"b")] {
                let wire = [b"GET / HTTP/1.1\r\n", before, &[byte], after, b"\r\n\r\n"].concat();
                let read = request_head::Reader::new(4096).read(&mut Bytes::from(wire));
                let Ok(Some(head)) = read else { continue };
                assert_eq!(head.parts.headers.to_map().len(), head.parts.headers.len(), "byte {byte}");
            }
        }
    }

    #[test]
    fn what_nobody_may_remember_is_marked_on_the_other_side_too() {
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        let mut lines = Lines::new();
        lines.add(name("a"), secret);
        assert!(lines.to_map()["a"].is_sensitive());
    }
}
