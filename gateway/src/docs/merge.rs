//! One document out of those of the services: the paths as the gateway's routes map them, names that nobody else has, and
//! what the gateway itself may answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::names::{Clashes, Name, capital, references};
use super::refusals::Refusals;
use crate::routing::routes::Table;

/// What a path can have beside operations.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Where a description comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The service told it now.
    Told,
    /// It is what the service said before; now it does not answer.
    Earlier,
    /// The service does not answer.
    Missing,
    /// A setting switched the service off.
    Disabled,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Told => "described",
            Self::Earlier => "described_earlier",
            Self::Missing => "missing",
            Self::Disabled => "disabled",
        }
    }

    /// What a reader should know.
    fn warning(self, service: &str) -> Option<String> {
        Some(match self {
            Self::Told | Self::Disabled => return None,
            Self::Earlier => format!("The {service} service does not answer; this is how it described itself before."),
            Self::Missing => format!("The {service} service does not answer, so it is not described here."),
        })
    }
}

/// What there is of one service.
pub(super) struct Part {
    pub(super) service: Arc<str>,
    pub(super) state: State,
    pub(super) document: Option<Arc<Value>>,
}

/// The document of all.
pub(super) fn merge(table: &Table, refusals: &Refusals, parts: &[Part]) -> Value {
    let mut documents: Vec<_> = parts
        .iter()
        .filter_map(|part| Some((&*part.service, routed(table, &part.service, part.document.as_deref()?))))
        .collect();
    for (_, document) in &mut documents {
        prune(document);
    }
    documents.push(("gateway", refusals.components()));
    let clashes = Clashes::among(documents.iter().map(|(_, document)| document));
    let shared = shared_ids(documents.iter().map(|(_, document)| document));
    let mut whole = frame(parts);
    for (service, mut document) in documents {
        clashes.follow(service, &mut document);
        each_operation(&mut document, |method, operation| {
            refusals.add_to(method, operation);
            if let Some(id) = operation["operationId"].as_str().filter(|id| shared.contains(*id)) {
                operation["operationId"] = format!("{service}{}", capital(id)).into();
            }
        });
        add_tags(&mut whole, &mut document);
        for (kind, members) in object(&mut document["components"]) {
            for (name, member) in object(members) {
                let name = clashes.rename(service, kind, name);
                whole["components"][kind][name] = member.take();
            }
        }
        for (path, item) in object(&mut document["paths"]) {
            whole["paths"][path] = item.take();
        }
    }
    prune(&mut whole);
    whole
}

/// All but paths and components.
fn frame(parts: &[Part]) -> Value {
    let mut texts = vec!["All services as clients call them, through the gateway.".to_owned()];
    let said = parts.iter().filter_map(|part| part.document.as_ref()?["info"]["description"].as_str());
    for text in said {
        if !texts.iter().any(|known| known == text) {
            texts.push(text.to_owned());
        }
    }
    let warnings = parts.iter().filter_map(|part| part.state.warning(&part.service));
    texts.extend(warnings.map(|warning| format!("**{warning}**")));
    let states: BTreeMap<_, _> = parts.iter().map(|part| (&*part.service, part.state.word())).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Shop API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": texts.join("\n\n"),
        },
        "servers": [{"url": "/"}],
        "tags": [],
        "paths": {},
        "components": {},
        "x-services": states,
    })
}

/// What of a service's document the gateway has routes for, by the paths that clients use, each operation with all that
/// the document said for all.
fn routed(table: &Table, service: &str, document: &Value) -> Value {
    let mut paths = Map::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        if let Some(public) = table.public(service, path) {
            paths.insert(public, item.clone());
        }
    }
    let mut kept = json!({"paths": paths, "components": document["components"], "tags": document["tags"]});
    for (_, item) in object(&mut kept["paths"]) {
        if let Some(item) = item.as_object_mut() {
            item.remove("servers");
        }
    }
    each_operation(&mut kept, |_, operation| {
        let Some(members) = operation.as_object_mut() else { return };
        members.remove("servers");
        members.entry("tags").or_insert_with(|| json!([service]));
        if !document["security"].is_null() {
            members.entry("security").or_insert_with(|| document["security"].clone());
        }
    });
    kept
}

/// Leaves out components that nothing refers to any more. Security schemes are named, not referred to.
fn prune(document: &mut Value) {
    let mut used: BTreeSet<Name> = BTreeSet::new();
    let mut fresh = Vec::new();
    references(&document["paths"], &mut |name| fresh.push(name));
    while let Some(name) = fresh.pop() {
        if !used.contains(&name) {
            references(&document["components"][&name.0][&name.1], &mut |name| fresh.push(name));
            used.insert(name);
        }
    }
    for (kind, members) in object(&mut document["components"]) {
        if kind != "securitySchemes"
            && let Some(members) = members.as_object_mut()
        {
            members.retain(|name, _| used.contains(&(kind.clone(), name.clone())));
        }
    }
}

/// Ids that more than one operation has.
fn shared_ids<'a>(documents: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    let items = documents.flat_map(|document| document["paths"].as_object().into_iter().flat_map(Map::values));
    let operations = items.flat_map(|item| METHODS.iter().map(move |method| &item[*method]));
    let mut known = BTreeSet::new();
    operations
        .filter_map(|operation| operation["operationId"].as_str())
        .filter(|id| !known.insert(*id))
        .map(str::to_owned)
        .collect()
}

/// What is said of tags, each once, in the order of the services; of those only that an operation has.
fn add_tags(whole: &mut Value, document: &mut Value) {
    let mut used = BTreeSet::new();
    each_operation(document, |_, operation| {
        let names = operation["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        used.extend(names.map(str::to_owned));
    });
    let Some(tags) = whole["tags"].as_array_mut() else { return };
    for tag in document["tags"].as_array().into_iter().flatten() {
        let is_used = tag["name"].as_str().is_some_and(|name| used.contains(name));
        if is_used && !tags.iter().any(|known| known["name"] == tag["name"]) {
            tags.push(tag.clone());
        }
    }
}

fn each_operation(document: &mut Value, mut act: impl FnMut(&str, &mut Value)) {
    for (_, item) in object(&mut document["paths"]) {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method).filter(|operation| operation.is_object()) {
                act(method, operation);
            }
        }
    }
}

/// The members of an object.
fn object(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::routing::Site;
    use crate::settings::desired::Desired;

    fn table() -> Table {
        let metrics = Metrics::new(shop_telemetry::Metrics::new("gateway"));
        let merged = Desired::default().merged();
        Table::new(&Site { merged: &merged, workers: 1, metrics: &metrics }, None)
    }

    fn part(service: &str, state: State, document: Option<Value>) -> Part {
        Part { service: service.into(), state, document: document.map(Arc::new) }
    }

    fn merged(parts: &[Part]) -> Value {
        merge(&table(), &Refusals::all(), parts)
    }

    fn of(id: &str, path: &str, schema: &Value) -> Value {
        json!({
            "openapi": "3.1.0",
            "info": {"title": "x", "version": "1", "description": "Money is exact."},
            "servers": [{"url": "http://inside:1"}],
            "security": [{"bearer": []}],
            "tags": [{"name": id, "description": "about"}, {"name": "unused"}],
            "paths": {
                path: {"servers": [{"url": "/y"}], "get": {
                    "operationId": "list", "tags": [id], "servers": [{"url": "/z"}],
                    "responses": {"200": {"description": "fine", "content": {"application/json":
                        {"schema": {"$ref": "#/components/schemas/Item"}}}}}}},
                "/health": {"get": {"operationId": "health", "responses": {}}},
            },
            "components": {
                "schemas": {"Item": schema, "Unused": {"type": "null"}},
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            },
        })
    }

    #[test]
    fn each_service_contributes_what_is_routed_to_it_under_names_of_its_own() {
        let whole = merged(&[
            part("product", State::Told, Some(of("products", "/products/{id}", &json!({"type": "string"})))),
            part("payment", State::Told, Some(of("payments", "/users/{id}/payments", &json!({"type": "integer"})))),
            // Not its path: the gateway sends /api/users to payment.
            part("notification", State::Told, Some(of("others", "/users/{id}/preferences", &json!({"type": "null"})))),
        ]);
        let paths: Vec<_> = whole["paths"].as_object().expect("paths").keys().collect();
        assert_eq!(paths, ["/api/products/{id}", "/api/users/{id}/payments"]);
        let schemas: Vec<_> = whole["components"]["schemas"].as_object().expect("schemas").keys().collect();
        assert_eq!(schemas, ["GatewayProblem", "PaymentItem", "ProductItem"]);
        let get = &whole["paths"]["/api/users/{id}/payments"]["get"];
        assert_eq!(get["operationId"], "paymentList");
        let shown = &get["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(shown, "#/components/schemas/PaymentItem");
        assert_eq!(get["responses"]["504"]["$ref"], "#/components/responses/Gateway504");
        assert_eq!(get["security"], json!([{"bearer": []}]));
        assert!(!whole.to_string().contains("inside") && get["servers"].is_null());
        assert_eq!(whole["servers"], json!([{"url": "/"}]));
        let tags: Vec<_> = whole["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
        assert_eq!(tags, ["products", "payments"]);
        assert!(whole["components"]["responses"]["Gateway413"].is_null(), "nothing here takes a body");
        assert_eq!(whole["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        assert_eq!(whole["info"]["description"].as_str().map(|text| text.matches("exact").count()), Some(1));
    }

    #[test]
    fn who_is_away_is_named() {
        let told = || Some(of("products", "/products", &json!({"type": "string"})));
        let whole = merged(&[
            part("product", State::Earlier, told()),
            part("basket", State::Missing, None),
            part("notification", State::Disabled, None),
        ]);
        let text = whole["info"]["description"].as_str().expect("text");
        assert!(text.contains("The basket service does not answer, so it is not described here."), "{text}");
        assert!(text.contains("The product service does not answer; this is how"), "{text}");
        assert!(!text.contains("notification"), "{text}");
        let states = json!({"product": "described_earlier", "basket": "missing", "notification": "disabled"});
        assert_eq!(whole["x-services"], states);
        assert!(whole["paths"]["/api/products"]["get"].is_object());
    }

    #[test]
    fn a_document_of_any_shape_does_no_harm() {
        for strange in [
            json!({"paths": []}),
            json!({"paths": {"/products": []}}),
            json!({"paths": {"/products": {"get": 1, "post": {"responses": 7, "operationId": [], "tags": {}}}}}),
            json!({"paths": {"/products": {"get": {"responses": {"503": 1, "429": {"description": 3}}}}}, "components": [], "tags": 1}),
            json!({"paths": {}, "components": {"schemas": 1, "responses": {"a": {"$ref": "#/components/schemas/b/c"}}}}),
        ] {
            let whole = merged(&[part("product", State::Told, Some(strange.clone()))]);
            assert_eq!(whole["openapi"], "3.1.0", "{strange}");
        }
    }
}
