//! Routes that some request fits alike.

use std::collections::BTreeMap;

use shop_config::Problems;
use shop_discovery::Protocol;

use super::{Route, Routes};

/// Where routes are looked for: those at different places are never in each other's way.
type Place = (Protocol, String, String);

/// Finds pairs of routes at one place, with conditions that weigh the same and that one request can meet both.
pub(super) fn check(routes: &Routes, problems: &mut Problems) {
    let mut places: BTreeMap<Place, Vec<(&str, &Route)>> = BTreeMap::new();
    for (name, route) in routes.iter().filter(|(_, route)| route.enabled) {
        let Some(path) = route.path() else { continue };
        let hosts = route.hosts.iter().map(ToString::to_string);
        for host in hosts.chain(route.hosts.is_empty().then(String::new)) {
            let there = places.entry((route.protocol(), host, path.shape())).or_default();
            let rival = there.iter().find(|(other, known)| *other != name && is_rival(known, route));
            if let Some((other, _)) = rival {
                let detail = format!(
                    "{name} and {other} are for the same requests; change the path of one, or let it ask for more: \
                     hosts, methods, headers or query"
                );
                problems.add(name, detail);
            }
            there.push((name, route));
        }
    }
}

/// Whether one request can fit both, with nothing to choose between them.
fn is_rival(one: &Route, other: &Route) -> bool {
    let weight = |route: &Route| (!route.methods.is_empty(), route.headers.len(), route.query.len());
    let share_method = one.methods.is_empty()
        || other.methods.is_empty()
        || one.methods.iter().any(|method| other.methods.contains(method));
    let header = |route: &Route, name: &str| {
        route.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    let headers_differ =
        one.headers.iter().any(|(name, value)| header(other, name).is_some_and(|others| others != *value));
    let query_differs =
        one.query.iter().any(|(name, value)| other.query.get(name).is_some_and(|others| others != value));
    weight(one) == weight(other) && share_method && !headers_differ && !query_differs
}
