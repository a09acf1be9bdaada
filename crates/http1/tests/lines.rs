//! Whatever is done to header lines, what goes out is read as what was meant.

use std::collections::BTreeMap;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use shop_http1::fields::{Block, Edit, Fields};
use shop_http1::{Lines, request_head};

/// Names of which many are alike.
const NAMES: [&str; 9] =
    ["a", "b", "host", "hosts", "x-a", "x-b", "x-forwarded-for", "content-length", "a-very-long-name-of-a-header"];

/// What is done to them.
#[derive(Debug, Clone)]
enum Step {
    Set(usize, String),
    Add(usize, String),
    Remove(usize),
    /// Those whose name has this many characters.
    RemoveIf(usize),
    /// The value of each line of this name is turned round.
    Change(usize),
    /// In the order of their names, each of which is there once.
    Block(BTreeMap<usize, String>),
}

/// The same in the simplest way.
#[derive(Debug, Default, Clone, PartialEq)]
struct Model(Vec<(String, String)>);

impl Model {
    fn take(&mut self, step: &Step) {
        let Self(lines) = self;
        match step {
            Step::Set(name, value) => {
                lines.retain(|(other, _)| other != NAMES[*name]);
                lines.push((NAMES[*name].to_owned(), value.clone()));
            }
            Step::Add(name, value) => lines.push((NAMES[*name].to_owned(), value.clone())),
            Step::Remove(name) => lines.retain(|(other, _)| other != NAMES[*name]),
            Step::RemoveIf(length) => lines.retain(|(other, _)| other.len() != *length),
            Step::Change(name) => {
                let same = lines.iter_mut().filter(|(other, _)| other == NAMES[*name]);
                same.for_each(|(_, value)| *value = value.chars().rev().collect());
            }
            Step::Block(fields) => {
                lines.extend(fields.iter().map(|(name, value)| (NAMES[*name].to_owned(), value.clone())));
            }
        }
    }
}

fn name(name: usize) -> HeaderName {
    HeaderName::from_static(NAMES[name])
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("a value")
}

/// The same to lines, and to a map, which rules are written for alike.
fn take(fields: &mut impl Edit, step: &Step) {
    match step {
        Step::Set(of, text) => fields.set(name(*of), value(text)),
        Step::Add(of, text) => fields.add(name(*of), value(text)),
        Step::Remove(of) => fields.remove_all(&name(*of)),
        Step::RemoveIf(length) => fields.remove_if(|name| name.len() == *length),
        Step::Change(of) => fields.change(|name, text| {
            let turned: String = String::from_utf8_lossy(text).chars().rev().collect();
            (name == NAMES[*of].as_bytes()).then(|| value(&turned))
        }),
        Step::Block(all) => {
            let map: HeaderMap = all.iter().map(|(of, text)| (name(*of), value(text))).collect();
            fields.add_block(&Block::from(&map));
        }
    }
}

fn values() -> impl Strategy<Value = String> {
    // No blanks at the ends: a reader takes them off.
    "([!-~]([ -~]{0,30}[!-~])?)?"
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let of = || 0..NAMES.len();
    let step = prop_oneof![
        3 => (of(), values()).prop_map(|(name, value)| Step::Set(name, value)),
        3 => (of(), values()).prop_map(|(name, value)| Step::Add(name, value)),
        2 => of().prop_map(Step::Remove),
        1 => (1..8_usize).prop_map(Step::RemoveIf),
        1 => of().prop_map(Step::Change),
        1 => proptest::collection::btree_map(of(), values(), 0..4).prop_map(Step::Block),
    ];
    proptest::collection::vec(step, 0..12)
}

/// Lines as clients write them: names in any case, blanks around values.
fn came() -> impl Strategy<Value = Vec<(String, String, String)>> {
    let case = |name: usize, upper: bool| if upper { NAMES[name].to_ascii_uppercase() } else { NAMES[name].to_owned() };
    let line = ((0..NAMES.len(), any::<bool>()), "[ \t]{0,2}", values());
    // A second length would be refused before anybody edits it.
    proptest::collection::vec(line, 0..8).prop_map(move |lines| {
        let named = lines.into_iter().filter(|((name, _), ..)| NAMES[*name] != "content-length");
        named.map(|((name, upper), blanks, value)| (case(name, upper), blanks, value)).collect()
    })
}

fn read(wire: &[u8]) -> request_head::Parts {
    let mut bytes = bytes::Bytes::copy_from_slice(wire);
    let head = request_head::Reader::new(64 * 1024).read(&mut bytes).expect("valid").expect("whole");
    assert!(bytes.is_empty(), "nothing follows the head");
    head.parts
}

fn listed(lines: &Lines) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    lines.iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// Names and values, equal names together, as a map gives them.
fn grouped(map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_out_is_what_came_and_what_was_done_to_it(came in came(), steps in steps()) {
        let sent: String = came.iter().map(|(name, blanks, value)| format!("{name}:{blanks}{value}{blanks}\r\n")).collect();
        let mut head = read(format!("GET /a HTTP/1.1\r\n{sent}\r\n").as_bytes());
        let mut model = Model(came.iter().map(|(name, _, value)| (name.to_ascii_lowercase(), value.clone())).collect());
        let mut map = head.headers.to_map();
        for step in &steps {
            take(&mut head.headers, step);
            take(&mut map, step);
            model.take(step);
            prop_assert_eq!(&listed(&head.headers), &model.0);
            for name in NAMES.map(HeaderName::from_static) {
                let values = |fields: &dyn Fields| fields.value(&name).map(<[u8]>::to_vec);
                prop_assert_eq!(values(&head.headers), values(&map));
                prop_assert!(head.headers.values(&name).eq(Fields::values(&map, &name)));
                prop_assert_eq!(head.headers.has(&name), map.has(&name));
            }
        }
        prop_assert_eq!(grouped(&head.headers.to_map()), grouped(&map));
        prop_assert_eq!(grouped(&Lines::from(&map).to_map()), grouped(&map));

        // A reader that knows nothing of lines finds the same.
        let mut wire = b"GET /a HTTP/1.1\r\n".to_vec();
        head.headers.write(&mut wire);
        wire.extend_from_slice(b"\r\n");
        let mut room = [httparse::EMPTY_HEADER; 200];
        let mut parsed = httparse::Request::new(&mut room);
        prop_assert!(parsed.parse(&wire).is_ok_and(|status| status.is_complete()));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let found: Vec<_> = parsed.headers.iter().map(|line| (line.name.to_owned(), text(line.value))).collect();
        prop_assert_eq!(&found, &model.0);

        // It may go out to another backend.
        let mut again = b"GET /a HTTP/1.1\r\n".to_vec();
        head.headers.write(&mut again);
        prop_assert_eq!(&wire[..wire.len() - 2], &again[..]);
    }
}

#[test]
fn a_name_is_valid_here_if_it_is_valid_in_a_map_and_so_is_a_value() {
    for byte in 0..=u8::MAX {
        for (before, after) in [(&b"x"[..], &b"y: v"[..]), (b"x: a", b"b")] {
            let line = [before, &[byte], after].concat();
            let wire = [b"GET / HTTP/1.1\r\n", &line[..], b"\r\n\r\n"].concat();
            let mut bytes = bytes::Bytes::from(wire);
            let Ok(Some(head)) = request_head::Reader::new(4096).read(&mut bytes) else { continue };
            let (map, lines) = (head.parts.headers.to_map(), &head.parts.headers);
            assert_eq!(map.len(), lines.len(), "{:?}", String::from_utf8_lossy(&line));
        }
    }
}

#[test]
fn what_nobody_may_remember_is_marked_on_the_other_side_too() {
    let mut secret = HeaderValue::from_static("s");
    secret.set_sensitive(true);
    let map = HeaderMap::from_iter([(HeaderName::from_static("a"), secret)]);
    let lines = Lines::from(&map);
    assert!(lines.to_map()["a"].is_sensitive());
}
