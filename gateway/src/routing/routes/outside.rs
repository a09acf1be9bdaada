//! How the paths of a service look to clients: the way back of what its routes rewrite.

use crate::settings::{PathPattern, Routes};

/// The paths of one service, as it knows them and as clients do; of the longest that fits.
#[derive(Debug, Default)]
pub(crate) struct Outside(Vec<Pair>);

#[derive(Debug)]
struct Pair {
    inner: Box<str>,
    outer: Box<str>,
    has_more: bool,
}

impl Outside {
    /// What the routes to `service` say. Those with parameters have no way back.
    pub(crate) fn of(service: &str, routes: &Routes) -> Self {
        let leads = routes.values().filter(|route| route.enabled && route.path.is_some() && route.leads_to(service));
        let mut pairs: Vec<_> = leads
            .filter_map(|route| {
                let own: &PathPattern = route.path.as_ref()?;
                let made = route.rewrite.as_ref().unwrap_or(own);
                let ((outer, is_plain), (inner, is_made_plain)) = (own.literal(), made.literal());
                let has_way_back = is_plain && is_made_plain && own.has_more() == made.has_more();
                has_way_back.then(|| Pair { inner: inner.into(), outer: outer.into(), has_more: own.has_more() })
            })
            .collect();
        // Of two that are as long the one that is for one path alone.
        pairs.sort_by_key(|pair| std::cmp::Reverse((pair.inner.len(), !pair.has_more)));
        pairs.shrink_to_fit();
        Self(pairs)
    }

    /// What clients call `inner`, which may have a query behind it; nothing when no route leads there.
    pub(crate) fn public(&self, inner: &str) -> Option<String> {
        self.0.iter().find_map(|pair| {
            let rest = inner.strip_prefix(&*pair.inner)?;
            let fits = match rest.chars().next() {
                None | Some('?' | '#') => true,
                Some('/') => pair.has_more,
                Some(_) => false,
            };
            let outer = format!("{}{rest}", pair.outer);
            fits.then(|| if outer.starts_with('/') { outer } else { format!("/{outer}") })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Route;

    #[test]
    fn a_path_of_the_service_is_found_where_clients_have_it() {
        let route = |path: &str, rewrite: Option<&str>, to: &str| {
            Box::new(Route {
                path: Some(path.parse().expect("a path")),
                rewrite: rewrite.map(|path| path.parse().expect("a path")),
                to: to.parse().expect("a service"),
                ..Route::default()
            })
        };
        let routes: Routes = [
            ("a", route("/api/products/*", Some("/products/*"), "product")),
            ("b", route("/api/hook", Some("/hook"), "product")),
            ("c", route("/search/*", Some("/*"), "search")),
            ("d", route("/plain/*", None, "plain")),
            ("e", route("/users/{id}", Some("/{id}"), "plain")),
        ]
        .map(|(name, route)| (name.to_owned(), route))
        .into();
        for (service, inner, expected) in [
            ("product", "/products", Some("/api/products")),
            ("product", "/products/7?x=/y", Some("/api/products/7?x=/y")),
            ("product", "/products#x", Some("/api/products#x")),
            ("product", "/productsx", None),
            ("product", "/hook", Some("/api/hook")),
            ("product", "/hook/", None),
            ("search", "/", Some("/search/")),
            ("search", "/a", Some("/search/a")),
            ("search", "/search/a", Some("/search/search/a")),
            ("plain", "/plain/a", Some("/plain/a")),
            ("plain", "/7", None),
            ("other", "/products", None),
        ] {
            assert_eq!(Outside::of(service, &routes).public(inner).as_deref(), expected, "{service} {inner}");
        }
    }
}
