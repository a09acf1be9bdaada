//! Names in a document that several services wrote: what two call alike and mean differently gets a name for each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A kind of component and a name: `("schemas", "Product")`.
pub(super) type Name = (String, String);

/// Where components are referred to.
const ROOT: &str = "#/components/";

/// Names that mean different things, each with who wrote it; they are told apart by who that is.
#[derive(Debug, Default)]
pub(super) struct Clashes(BTreeSet<Name>);

impl Clashes {
    /// Finds the names that some of the documents give to different things. What refers to a thing of two meanings has two
    /// meanings itself.
    pub(super) fn among<'a>(documents: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut meanings: BTreeMap<Name, Vec<&Value>> = BTreeMap::new();
        for document in documents {
            for (kind, members) in document["components"].as_object().into_iter().flatten() {
                for (name, meaning) in members.as_object().into_iter().flatten() {
                    meanings.entry((kind.clone(), name.clone())).or_default().push(meaning);
                }
            }
        }
        meanings.retain(|_, meanings| meanings.len() > 1);
        let differ = |meanings: &[&Value]| meanings.windows(2).any(|pair| pair[0] != pair[1]);
        let mut found: BTreeSet<_> =
            meanings.iter().filter(|(_, meanings)| differ(meanings)).map(|(name, _)| name.clone()).collect();
        loop {
            let touched = |meaning: &&Value| {
                let mut is_touched = false;
                references(meaning, &mut |name| is_touched |= found.contains(&name));
                is_touched
            };
            let more: Vec<_> = meanings
                .iter()
                .filter(|(name, meanings)| !found.contains(*name) && meanings.iter().any(touched))
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() {
                return Self(found);
            }
            found.extend(more);
        }
    }

    /// The name that a component of `service` gets.
    pub(super) fn rename(&self, service: &str, kind: &str, name: &str) -> String {
        if self.0.contains(&(kind.to_owned(), name.to_owned())) { qualified(service, name) } else { name.to_owned() }
    }

    /// Makes what `service` wrote refer to the new names.
    pub(super) fn follow(&self, service: &str, value: &mut Value) {
        match value {
            Value::Object(members) => members.values_mut().for_each(|member| self.follow(service, member)),
            Value::Array(members) => members.iter_mut().for_each(|member| self.follow(service, member)),
            Value::String(target) => {
                if let Some(name) = component(target).filter(|name| self.0.contains(name)) {
                    *target = format!("{ROOT}{}/{}", name.0, escape(&qualified(service, &name.1)));
                }
            }
            _ => {}
        }
    }
}

/// `payment` and `Item` are `PaymentItem`.
fn qualified(service: &str, name: &str) -> String {
    format!("{}{name}", capital(service))
}

/// `payment` is `Payment`.
pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}", first.to_ascii_uppercase(), letters.as_str()))
}

/// Tells all components that `value` refers to, by `$ref` or in another way.
pub(super) fn references(value: &Value, tell: &mut impl FnMut(Name)) {
    match value {
        Value::Object(members) => members.values().for_each(|member| references(member, tell)),
        Value::Array(members) => members.iter().for_each(|member| references(member, tell)),
        Value::String(target) => component(target).into_iter().for_each(tell),
        _ => {}
    }
}

/// What a reference names (RFC 6901 for its escapes); none when it is not a whole component of the same document.
fn component(target: &str) -> Option<Name> {
    let (kind, name) = target.strip_prefix(ROOT)?.split_once('/')?;
    (!name.contains('/')).then(|| (kind.to_owned(), name.replace("~1", "/").replace("~0", "~")))
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_of_two_meanings_are_told_apart_and_so_is_what_refers_to_them() {
        let of = |kind: &str| {
            json!({"components": {"schemas": {
                "Same": {"type": "string"},
                "Item": {"type": kind},
                "List": {"items": {"$ref": "#/components/schemas/Item"}},
                "Page": {"anyOf": [{"$ref": "#/components/schemas/List"}]},
                "a/b~c": {"type": kind},
            }}})
        };
        let (basket, mut payment) = (of("object"), of("array"));
        payment["components"]["schemas"]["Own"] = json!({"$ref": "#/components/schemas/a~1b~0c"});
        let clashes = Clashes::among([&basket, &payment]);
        let renamed = |name| clashes.rename("payment", "schemas", name);
        assert_eq!(renamed("Same"), "Same");
        assert_eq!(renamed("Own"), "Own");
        assert_eq!(renamed("Item"), "PaymentItem");
        assert_eq!(renamed("List"), "PaymentList");
        assert_eq!(renamed("Page"), "PaymentPage");
        assert_eq!(clashes.rename("payment", "responses", "Item"), "Item");
        clashes.follow("payment", &mut payment);
        let schemas = &payment["components"]["schemas"];
        assert_eq!(schemas["List"]["items"]["$ref"], "#/components/schemas/PaymentItem");
        assert_eq!(schemas["Own"]["$ref"], "#/components/schemas/Paymenta~1b~0c");
    }

    #[test]
    fn who_says_the_same_shares_the_name() {
        let one = json!({"components": {"schemas": {"Problem": {"type": "object"}}}});
        let clashes = Clashes::among([&one, &one, &json!({})]);
        assert_eq!(clashes.rename("basket", "schemas", "Problem"), "Problem");
    }
}
