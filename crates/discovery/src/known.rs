//! What is known of the places where backends are looked up, and what of it is to be in force.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::backend_url::BackendUrl;
use crate::place::{Group, Place, Protocol};

/// What is known of a place.
pub(crate) struct Known {
    pub(crate) place: Place,
    /// In one order, so that the same set is no news. None before the first answer.
    pub(crate) found: Option<Vec<BackendUrl>>,
    pub(crate) due: Instant,
    /// In a row.
    pub(crate) failures: u32,
}

/// What was found at a place that nobody asks any more, while the places that were named instead have yet to answer.
struct Left {
    group: Group,
    backends: Vec<BackendUrl>,
    awaits: Vec<Place>,
}

/// All places.
#[derive(Default)]
pub(crate) struct Knowledge {
    known: Vec<Known>,
    left: Vec<Left>,
    /// What was put into force at some time.
    published: BTreeSet<Group>,
    /// What could not be put into force, and why.
    refused: BTreeMap<Group, String>,
}

/// What an answer means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The answers before it were failures.
    pub(crate) is_back: bool,
    /// The set is another than before.
    pub(crate) is_new: bool,
    /// What is to be put into force, in this order: who comes before who goes.
    pub(crate) groups: Vec<Group>,
}

impl Knowledge {
    /// From now on these places are asked. Returns those that are not any more.
    ///
    /// What was found at them is kept as long as places that came in their stead for the same service and protocol have
    /// not answered: an edited source is no reason to have no backends.
    pub(crate) fn adopt(&mut self, places: &[Place]) -> Vec<Place> {
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.known).into_iter().partition(|known| places.contains(&known.place));
        self.known = kept;
        let is_new = |place: &&Place| !self.known.iter().any(|known| known.place == **place);
        let added: Vec<_> = places.iter().filter(is_new).cloned().collect();
        let begun = |place: &Place| Known { place: place.clone(), found: None, due: Instant::now(), failures: 0 };
        self.known.extend(added.iter().map(begun));
        let mut dropped = Vec::with_capacity(gone.len());
        for Known { place, found, .. } in gone {
            if let Some(backends) = found.filter(|backends| !backends.is_empty()) {
                self.left.push(Left { group: place.group(), backends, awaits: Vec::new() });
            }
            dropped.push(place);
        }
        let silent = |place: &Place| self.known.iter().any(|known| known.place == *place && known.found.is_none());
        for Left { group, awaits, .. } in &mut self.left {
            let replaces = |place: &&Place| (&place.service, place.protocol) == (&group.service, group.protocol);
            awaits.extend(added.iter().filter(replaces).cloned());
            awaits.retain(|place| silent(place));
        }
        self.left.retain(|left| !left.awaits.is_empty());
        dropped
    }

    /// What was put into force at some time.
    pub(crate) fn published(&self) -> Vec<Group> {
        self.published.iter().cloned().collect()
    }

    /// Looks at one place; none when it is not asked any more.
    pub(crate) fn with<T>(&mut self, place: &Place, see: impl FnOnce(&mut Known) -> T) -> Option<T> {
        self.known.iter_mut().find(|known| known.place == *place).map(see)
    }

    /// Whether anything is known of the backends of `service` that speak `protocol`, even that there are none.
    pub(crate) fn has_answered(&self, service: &str, protocol: Protocol) -> bool {
        let mut known =
            self.known.iter().filter(|known| (&*known.place.service, known.place.protocol) == (service, protocol));
        known.any(|known| known.found.is_some())
    }

    /// How many backends stay in force until `place` answers.
    pub(crate) fn left_for(&self, place: &Place) -> usize {
        self.left.iter().filter(|left| left.awaits.contains(place)).map(|left| left.backends.len()).sum()
    }

    /// `place` answered, and is to be asked again when it is `due`. None when it is not asked any more.
    pub(crate) fn found(&mut self, place: &Place, backends: Vec<BackendUrl>, due: Instant) -> Option<News> {
        let mut news = self.with(place, |known| {
            known.due = due;
            let is_back = std::mem::take(&mut known.failures) > 0;
            let is_new = known.found.as_ref() != Some(&backends);
            known.found = Some(backends);
            News { is_back, is_new, groups: Vec::new() }
        })?;
        if news.is_new {
            news.groups.push(place.group());
            self.let_go(place, &mut news.groups);
        }
        // What was in the way may be gone.
        if self.refused.contains_key(&place.group()) && !news.is_new {
            news.groups.push(place.group());
        }
        Some(news)
    }

    /// Forgets what was kept until `place` answered, and says of which groups.
    fn let_go(&mut self, place: &Place, groups: &mut Vec<Group>) {
        for left in &mut self.left {
            left.awaits.retain(|awaited| awaited != place);
            if left.awaits.is_empty() && !groups.contains(&left.group) {
                groups.push(left.group.clone());
            }
        }
        self.left.retain(|left| !left.awaits.is_empty());
    }

    /// The backends of `group` that are to be in force now, each once, by address.
    pub(crate) fn publish(&mut self, group: &Group) -> Vec<BackendUrl> {
        self.published.insert(group.clone());
        let known = self.known.iter().filter(|known| known.place.group() == *group);
        let left = self.left.iter().filter(|left| left.group == *group);
        let mut all = BTreeMap::new();
        for backend in known.flat_map(|known| known.found.iter().flatten()).chain(left.flat_map(|left| &left.backends))
        {
            all.entry((backend.host.clone(), backend.port)).or_insert_with(|| backend.clone());
        }
        all.into_values().collect()
    }

    /// Notes what became of `group`; returns whether it is refused for a reason that was not told yet.
    pub(crate) fn settled(&mut self, group: &Group, problems: Option<String>) -> bool {
        let Some(problems) = problems else {
            self.refused.remove(group);
            return false;
        };
        self.refused.insert(group.clone(), problems.clone()) != Some(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Kind;

    fn place(url: &str) -> Place {
        Place { service: "product".into(), protocol: Protocol::Http, url: url.parse().expect("a source") }
    }

    /// Asks at `urls` from now on.
    fn adopt(knowledge: &mut Knowledge, urls: &[&str]) {
        let places: Vec<_> = urls.iter().map(|url| place(url)).collect();
        knowledge.adopt(&places);
    }

    /// `hosts` are found at `url`; the kinds of sources that are put into force then.
    fn found(knowledge: &mut Knowledge, url: &str, hosts: &[&str]) -> Vec<Kind> {
        let backends = hosts.iter().map(|host| BackendUrl::new(*host, 1)).collect();
        let news = knowledge.found(&place(url), backends, Instant::now()).expect("it is asked");
        news.groups.into_iter().map(|group| group.kind).collect()
    }

    /// The hosts in force.
    fn hosts(knowledge: &mut Knowledge) -> String {
        let kinds = [Kind::Dns, Kind::File];
        let all = kinds.map(|kind| {
            let group = Group { service: "product".into(), protocol: Protocol::Http, kind };
            knowledge.publish(&group)
        });
        all.into_iter().flatten().map(|backend| backend.host).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn what_was_found_at_an_edited_place_stays_until_the_new_one_answers() {
        let mut knowledge = Knowledge::default();
        adopt(&mut knowledge, &["dns://a:1", "dns://z:1"]);
        assert_eq!(found(&mut knowledge, "dns://a:1", &["a1", "a2"]), [Kind::Dns]);
        for urls in [["dns://a:1;weight=2", "dns://z:1"], ["dns://b:1", "dns://z:1"], ["dns://a:1", "dns://z:1"]] {
            adopt(&mut knowledge, &urls);
            assert_eq!(hosts(&mut knowledge), "a1 a2", "{urls:?}");
            assert_eq!(knowledge.left_for(&place(urls[0])), 2);
        }
        assert_eq!(found(&mut knowledge, "dns://z:1", &["z"]), [Kind::Dns]);
        assert_eq!(hosts(&mut knowledge), "a1 a2 z", "the other place does not speak for it");
        assert_eq!(found(&mut knowledge, "dns://a:1", &["a3"]), [Kind::Dns]);
        assert_eq!(hosts(&mut knowledge), "a3 z");
        adopt(&mut knowledge, &["file:///x", "file:///y", "dns://z:1"]);
        assert_eq!(found(&mut knowledge, "file:///x", &["x"]), [Kind::File]);
        assert_eq!(hosts(&mut knowledge), "a3 z x");
        assert_eq!(found(&mut knowledge, "file:///y", &[]), [Kind::File, Kind::Dns], "who comes before who goes");
        assert_eq!(hosts(&mut knowledge), "z x");
    }

    #[tokio::test]
    async fn what_could_not_be_put_into_force_is_tried_again_with_each_answer() {
        let mut knowledge = Knowledge::default();
        adopt(&mut knowledge, &["dns://a:1", "file:///x"]);
        let group = place("dns://a:1").group();
        found(&mut knowledge, "dns://a:1", &["a"]);
        for is_told in [true, false] {
            assert_eq!(knowledge.settled(&group, Some("too many".to_owned())), is_told, "once");
            assert_eq!(found(&mut knowledge, "dns://a:1", &["a"]), [Kind::Dns]);
        }
        assert_eq!(found(&mut knowledge, "file:///x", &["x"]), [Kind::File]);
        assert!(!knowledge.settled(&group, None));
        assert_eq!(found(&mut knowledge, "dns://a:1", &["a"]), []);
    }

    #[tokio::test]
    async fn a_place_that_nothing_replaces_takes_its_backends_along() {
        let mut knowledge = Knowledge::default();
        adopt(&mut knowledge, &["dns://a:1", "dns://silent:1"]);
        found(&mut knowledge, "dns://a:1", &["a"]);
        adopt(&mut knowledge, &["dns://silent:1"]);
        assert_eq!(hosts(&mut knowledge), "", "who has been silent all along is waited for by nobody");
        adopt(&mut knowledge, &["dns://a:1"]);
        found(&mut knowledge, "dns://a:1", &["a"]);
        adopt(&mut knowledge, &["dns://b:1"]);
        adopt(&mut knowledge, &[]);
        assert_eq!(hosts(&mut knowledge), "");
    }
}
