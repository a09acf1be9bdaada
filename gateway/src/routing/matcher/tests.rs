use std::cmp::Ordering;

use http::HeaderMap;
use proptest::prelude::*;

use super::*;

/// A route as tests write it.
#[derive(Debug, Clone)]
struct Rule {
    hosts: Vec<HostPattern>,
    path: PathPattern,
    conditions: Conditions,
}

/// A request as tests write it.
#[derive(Debug, Clone)]
struct Request {
    host: String,
    path: String,
    method: Method,
    query: Option<String>,
    headers: HeaderMap,
}

impl Request {
    fn asked(&self) -> Asked<'_, HeaderMap> {
        let Self { host, path, method, query, headers } = self;
        Asked { host, path, method, query: query.as_deref(), headers }
    }
}

/// Whether a path fits, as the words of the settings say it.
fn fits(pattern: &PathPattern, path: &str) -> bool {
    let pieces: Vec<_> = path[1..].split('/').collect();
    let segments = pattern.segments();
    let is_long_enough =
        if pattern.has_more() { pieces.len() >= segments.len() } else { pieces.len() == segments.len() };
    // `/*` has no segment of its own, and every path has one.
    is_long_enough
        && segments.iter().zip(&pieces).all(|(segment, piece)| match segment {
            Segment::Literal(text) => **text == **piece,
            Segment::Any(_) => !piece.is_empty(),
        })
}

/// How particular a host is for a request: by name, then the longer ending, then none.
fn host_rank(rule: &Rule, host: &str) -> Option<usize> {
    if rule.hosts.is_empty() {
        return Some(0);
    }
    let ranks = rule.hosts.iter().filter_map(|pattern| {
        let name = pattern.name();
        if pattern.is_below() {
            host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')).then_some(name.len())
        } else {
            (name == host).then_some(usize::MAX)
        }
    });
    ranks.max()
}

/// From the left: a text, then a parameter, then the end of a path that ends, then that of one with a star.
fn path_order(one: &PathPattern, other: &PathPattern) -> Ordering {
    let kinds = |pattern: &PathPattern| -> Vec<u8> {
        let segments = pattern.segments().iter().map(|segment| match segment {
            Segment::Literal(_) => 3,
            Segment::Any(_) => 2,
        });
        segments.chain([u8::from(!pattern.has_more())]).collect()
    };
    kinds(one).cmp(&kinds(other))
}

/// The best by looking at all.
fn naive(rules: &[Rule], request: &Request) -> Option<usize> {
    let asked = request.asked();
    let fit =
        rules.iter().enumerate().filter(|(_, rule)| fits(&rule.path, &request.path) && rule.conditions.are_met(&asked));
    let ranked = fit.filter_map(|(place, rule)| Some((host_rank(rule, &request.host)?, place, rule)));
    let best = ranked.max_by(|(rank, place, rule), (other_rank, other_place, other)| {
        rank.cmp(other_rank)
            .then_with(|| path_order(&rule.path, &other.path))
            .then_with(|| rule.conditions.weight().cmp(&other.conditions.weight()))
            // Nothing decides: the settings refuse such a pair. Here the earlier one.
            .then_with(|| other_place.cmp(place))
    });
    best.map(|(_, place, _)| place)
}

fn path() -> impl Strategy<Value = PathPattern> {
    "(/(a|b|\\{x\\})){0,1}(/(a|b|c|\\{y\\})){0,2}(/\\*|/|)".prop_filter_map("no pattern", |text| text.parse().ok())
}

fn rule() -> impl Strategy<Value = Rule> {
    let hosts = prop::collection::vec("(\\*\\.)?(a|b)(\\.(a|b)){0,2}", 0..3);
    let methods = prop::collection::vec(prop_oneof![Just(Method::GET), Just(Method::POST)], 0..2);
    let headers = prop::collection::btree_map("[xy]", "[12]", 0..2);
    let query = prop::collection::btree_map("[pq]", "[12]", 0..2);
    (hosts, path(), methods, headers, query).prop_map(|(hosts, path, methods, headers, query)| Rule {
        hosts: hosts.iter().map(|host| host.parse().expect("a host")).collect(),
        path,
        conditions: Conditions {
            methods,
            headers: headers.into_iter().map(|(name, value)| (name.parse().expect("a name"), value)).collect(),
            query: query.into_iter().collect(),
        },
    })
}

fn request() -> impl Strategy<Value = Request> {
    let headers = prop::collection::vec(("[xy]", "[12]"), 0..3);
    let query = prop::option::of("([pq]=[12]&){0,3}");
    ("(a|b)(\\.(a|b)){0,3}", "(/(a|b|c)){0,4}/?", prop_oneof![Just(Method::GET), Just(Method::POST)], query, headers)
        .prop_map(|(host, path, method, query, headers)| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
            }
            let path = if path.is_empty() { "/".to_owned() } else { path };
            Request { host, path, method, query, headers: map }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_best_is_the_one_that_looking_at_all_finds(
        rules in prop::collection::vec(rule(), 0..12),
        requests in prop::collection::vec(request(), 1..8),
    ) {
        let mut matcher = Matcher::default();
        for (place, rule) in rules.iter().enumerate() {
            matcher.add(&rule.hosts, &rule.path, &rule.conditions, &place);
        }
        for request in requests {
            let found = matcher.find(&request.asked()).copied();
            prop_assert_eq!(found, naive(&rules, &request), "{:?}", request);
        }
    }
}

#[test]
fn the_more_particular_route_is_taken() {
    let rules = ["/*", "/a/*", "/a", "/a/{x}", "/a/{x}/*", "/a/b/*", "/a/b/c", "/{x}/b", "/a/{x}/c"];
    let mut matcher = Matcher::default();
    for rule in rules {
        matcher.add(&[], &rule.parse().expect("a pattern"), &Conditions::default(), &rule);
    }
    for (path, expected) in [
        ("/", "/*"),
        ("/b", "/*"),
        ("/a", "/a"),
        ("/a/", "/a/*"),
        ("/a/x", "/a/{x}"),
        ("/a/x/y", "/a/{x}/*"),
        ("/a/x/c", "/a/{x}/c"),
        ("/a/b", "/a/b/*"),
        ("/a/b/c", "/a/b/c"),
        ("/a/b/c/d", "/a/b/*"),
        ("/c/b", "/{x}/b"),
        ("/c/b/d", "/*"),
    ] {
        let request = Request {
            host: String::new(),
            path: path.to_owned(),
            method: Method::GET,
            query: None,
            headers: HeaderMap::new(),
        };
        assert_eq!(matcher.find(&request.asked()), Some(&expected), "{path}");
    }
}

#[test]
fn what_is_said_twice_and_differently_meets_no_condition() {
    let conditions = Conditions { query: vec![("v".to_owned(), "a b".to_owned())], ..Conditions::default() };
    let headers = HeaderMap::new();
    for (query, expected) in [
        (Some("v=a+b"), true),
        (Some("v=a%20b&w=1"), true),
        (Some("%76=a+b&v=a%20b"), true),
        (Some("v=a+b&v=x"), false),
        (Some("v=x&v=a+b"), false),
        (Some("w=a+b"), false),
        (None, false),
    ] {
        let asked = Asked { host: "", path: "/", method: &Method::GET, query, headers: &headers };
        assert_eq!(conditions.are_met(&asked), expected, "{query:?}");
    }
}
