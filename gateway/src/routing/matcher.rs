//! Which of many routes a request fits best, in a time that does not grow with their number.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::{HeaderName, Method};
use shop_http1::fields::Fields;

use crate::settings::route::Segment;
use crate::settings::{HostPattern, PathPattern};

/// What of a request decides.
pub(crate) struct Asked<'a, F> {
    /// The host in small letters, without its port.
    pub(crate) host: &'a str,
    /// Normalised.
    pub(crate) path: &'a str,
    pub(crate) method: &'a Method,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a F,
}

/// What a route asks for beside host and path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// One of these; any when there are none.
    pub(crate) methods: Vec<Method>,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) query: Vec<(String, String)>,
}

impl Conditions {
    /// How particular they are.
    fn weight(&self) -> (bool, usize, usize) {
        (!self.methods.is_empty(), self.headers.len(), self.query.len())
    }

    /// Whether the request meets them.
    pub(crate) fn are_met<F: Fields>(&self, asked: &Asked<'_, F>) -> bool {
        let method = self.methods.is_empty() || self.methods.contains(asked.method);
        method
            && self.headers.iter().all(|(name, value)| has_only(asked.headers, name, value))
            && self.query(asked.query)
    }

    fn query(&self, query: Option<&str>) -> bool {
        self.query.iter().all(|(name, value)| {
            let mut found = false;
            for (key, said) in pairs(query.unwrap_or_default()) {
                if key == *name {
                    if said != *value {
                        return false;
                    }
                    found = true;
                }
            }
            found
        })
    }
}

/// Whether each line of the header says this: two that differ are read differently by different servers.
fn has_only(headers: &impl Fields, name: &HeaderName, value: &str) -> bool {
    let mut lines = headers.values(name).peekable();
    lines.peek().is_some() && lines.all(|line| line == value.as_bytes())
}

/// The parameters of a query, decoded as forms are.
fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    // Most have nothing to decode, and are compared where they are.
    fn decoded(text: &str) -> Cow<'_, str> {
        if !text.contains(['%', '+']) {
            return Cow::Borrowed(text);
        }
        let spaced = text.replace('+', " ");
        Cow::Owned(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
    }
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    })
}

/// Routes by what they ask for.
#[derive(Debug)]
pub(crate) struct Matcher<T> {
    /// By host.
    exact: BTreeMap<Box<str>, Node<T>>,
    /// By what hosts end with.
    below: BTreeMap<Box<str>, Node<T>>,
    any: Node<T>,
}

/// The routes whose paths begin alike, segment by segment.
#[derive(Debug)]
struct Node<T> {
    literals: BTreeMap<Box<str>, Node<T>>,
    parameter: Option<Box<Node<T>>>,
    /// Of paths that end here.
    here: Vec<(Asking, T)>,
    /// Of these and all that go on.
    more: Vec<(Asking, T)>,
}

/// Conditions, where there are any: of ten thousand routes most ask for nothing.
type Asking = Option<Box<Conditions>>;

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: BTreeMap::new(), parameter: None, here: Vec::new(), more: Vec::new() }
    }
}

impl<T> Default for Matcher<T> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), below: BTreeMap::new(), any: Node::default() }
    }
}

impl<T: Clone> Matcher<T> {
    /// Adds a route for `hosts`, for all when there are none.
    pub(crate) fn add(&mut self, hosts: &[HostPattern], path: &PathPattern, conditions: &Conditions, value: &T) {
        if hosts.is_empty() {
            self.any.add(path, conditions, value);
        }
        for host in hosts {
            let kind = if host.is_below() { &mut self.below } else { &mut self.exact };
            kind.entry(host.name().into()).or_default().add(path, conditions, value);
        }
    }

    /// The route that the request fits best.
    pub(crate) fn find<'m, F: Fields>(&'m self, asked: &Asked<'_, F>) -> Option<&'m T> {
        let is_met = |conditions: &Conditions| conditions.are_met(asked);
        self.nodes(asked.host).find_map(|node| node.find(asked.path, &is_met))
    }

    /// Where the routes for a host are, the most particular first.
    fn nodes<'m, 'h>(&'m self, host: &'h str) -> impl Iterator<Item = &'m Node<T>> + use<'m, 'h, T> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let host = if self.below.is_empty() { "" } else { host };
        let ends = host.match_indices('.').map(move |(place, _)| &host[place + 1..]);
        exact.into_iter().chain(ends.filter_map(|end| self.below.get(end))).chain([&self.any])
    }
}

impl<T: Clone> Node<T> {
    fn add(&mut self, path: &PathPattern, conditions: &Conditions, value: &T) {
        let mut node = self;
        for segment in path.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Any(_) => node.parameter.get_or_insert_default(),
            };
        }
        let routes = if path.has_more() { &mut node.more } else { &mut node.here };
        let asking = (*conditions != Conditions::default()).then(|| Box::new(conditions.clone()));
        let weight = |asking: &Asking| asking.as_deref().map(Conditions::weight).unwrap_or_default();
        let place = routes.partition_point(|(other, _)| weight(other) >= weight(&asking));
        // Most have one alone.
        routes.reserve_exact(1);
        routes.insert(place, (asking, value.clone()));
    }

    /// The best for what is left of a path, with its slash.
    fn find(&self, rest: &str, is_met: &impl Fn(&Conditions) -> bool) -> Option<&T> {
        let first =
            |routes: &'_ [(Asking, T)]| routes.iter().position(|(asking, _)| asking.as_deref().is_none_or(is_met));
        if let Some(inner) = rest.strip_prefix('/') {
            let (piece, after) = inner.split_at(inner.find('/').unwrap_or(inner.len()));
            let literal = self.literals.get(piece).and_then(|node| node.find(after, is_met));
            if literal.is_some() {
                return literal;
            }
            let parameter = self.parameter.as_deref().filter(|_| !piece.is_empty());
            let parameter = parameter.and_then(|node| node.find(after, is_met));
            if parameter.is_some() {
                return parameter;
            }
        } else if let Some(place) = first(&self.here) {
            return self.here.get(place).map(|(_, value)| value);
        }
        first(&self.more).and_then(|place| self.more.get(place)).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests;
