//! A suite in which somebody bought something, and what its callers hear.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use shop::{Addresses, Config, Suite};
use shop_identity::{Identity, IdentitySettings, Mode, Role, Signer};
use shop_runtime::Shutdown;
use shop_testing::eventually;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::callers::Caller;
use crate::calls::{GrpcOperation, HttpOperation, Raw};
use crate::page::Cell;

/// Whose things are asked for, and which.
#[derive(Debug, Clone)]
pub(crate) struct Things {
    pub(crate) user: String,
    pub(crate) product: i64,
    pub(crate) payment: String,
    pub(crate) notification: String,
    pub(crate) endpoint: String,
}

pub(crate) struct Shop {
    at: Addresses,
    client: Client,
    channels: BTreeMap<&'static str, Channel>,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
    signer: Signer,
    settings: IdentitySettings,
    guest: (String, Things),
    ada: (String, Things),
    expired: String,
    wrong: Mutex<Vec<String>>,
    callers: AtomicU32,
    _data: TempDir,
}

const HOUR: Duration = Duration::from_hours(1);

impl Shop {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let key = data.path().join("key.pem");
        std::fs::write(&key, Signer::generate().expect("a key")).expect("writes");
        let signer = Signer::read(&key).expect("a key");
        let mut settings = IdentitySettings { mode: Mode::Required, ..IdentitySettings::default() };
        settings.internal.key_file = Some(key);
        settings.leeway = shop_config::Duration::secs(0);
        let config = config(&data, settings.clone());
        let suite = Box::pin(Suite::build(config)).await.expect("the suite starts");
        let (at, shutdown) = (suite.addresses(), Shutdown::new());
        let task = tokio::spawn(suite.run(shutdown.clone()));
        let client = Client::builder().no_proxy().build().expect("a client");
        let mut channels = BTreeMap::new();
        for (name, addr) in [
            ("gateway", at.gateway),
            ("product", at.product_grpc),
            ("basket", at.basket_grpc),
            ("payment", at.payment_grpc),
            ("notification", at.notification_grpc),
        ] {
            let at = format!("http://{}", addr.expect("it runs"));
            channels.insert(name, Channel::from_shared(at).expect("a URL").connect_lazy());
        }
        let none = Things {
            user: String::new(),
            product: 0,
            payment: String::new(),
            notification: String::new(),
            endpoint: String::new(),
        };
        let (guest, ada) = ((String::new(), none.clone()), (String::new(), none));
        let mut shop = Self {
            at,
            client,
            channels,
            shutdown,
            task,
            signer,
            settings,
            guest,
            ada,
            expired: String::new(),
            wrong: Mutex::default(),
            callers: AtomicU32::default(),
            _data: data,
        };
        shop.furnish().await;
        shop
    }

    /// A product, an endpoint, and two buyers with a payment, its notification and a basket each.
    async fn furnish(&mut self) {
        let staff = self.signer.person("kim", &Role::ALL, HOUR);
        let product = json!({ "name": "Tea", "price": 2.5, "stock_quantity": 1_000_000, "category": "tea" });
        let product = self.told(&self.gateway("/api/products"), &staff, &product).await["id"].as_i64().expect("an id");
        let endpoint = json!({ "url": "https://example.com/hook" });
        let endpoint =
            self.told(&format!("http://{}/webhooks/endpoints", self.http("notification")), &staff, &endpoint).await;
        let endpoint = endpoint["id"].as_str().expect("an id").to_owned();
        self.expired = self.signer.person("ada", &[], Duration::ZERO);
        let late = || self.client.get(self.gateway("/api/baskets/me")).bearer_auth(&self.expired);
        eventually!(self.asked(late()).await.1["code"] == "token_expired");
        let guest = self.signer.guest();
        let ada = self.signer.person("ada", &[], HOUR);
        self.guest = self.buys(guest.user, guest.token, product, &endpoint).await;
        self.ada = self.buys("ada".to_owned(), ada, product, &endpoint).await;
    }

    async fn buys(&self, user: String, token: String, product: i64, endpoint: &str) -> (String, Things) {
        let item = json!({ "product_id": product, "quantity": 1 });
        self.told(&self.gateway("/api/baskets/me/items"), &token, &item).await;
        let payment = self.told(&self.gateway("/api/payments"), &token, &json!({ "method": "credit_card" })).await;
        let payment = payment["id"].as_str().expect("an id").to_owned();
        let paid = json!({});
        self.told(&self.gateway(&format!("/api/payments/{payment}/process")), &token, &paid).await;
        let own = async |path: &str| self.asked(self.client.get(self.gateway(path)).bearer_auth(&token)).await.1;
        let notification =
            eventually!(own("/api/notifications").await["notifications"][0]["id"].as_str().map(str::to_owned));
        eventually!(own("/api/baskets/me").await["items"].as_array().is_none_or(Vec::is_empty));
        self.told(&self.gateway("/api/baskets/me/items"), &token, &item).await;
        // While one is open, nobody who may is able to have this buyer forgotten.
        self.told(&self.gateway("/api/payments"), &token, &json!({ "method": "credit_card" })).await;
        let endpoint = endpoint.to_owned();
        (token, Things { user, product, payment, notification, endpoint })
    }

    fn gateway(&self, path: &str) -> String {
        format!("http://{}{path}", self.at.gateway.expect("a gateway"))
    }

    async fn told(&self, url: &str, token: &str, body: &Value) -> Value {
        let (status, body) = self.asked(self.client.post(url).bearer_auth(token).json(body)).await;
        assert!((200..300).contains(&status), "{url}: {status} {body}");
        body
    }

    async fn asked(&self, request: RequestBuilder) -> (u16, Value) {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    /// What the services describe.
    pub(crate) async fn http_operations(&self) -> Vec<HttpOperation> {
        let mut all = Vec::new();
        for service in ["product", "basket", "payment", "notification"] {
            let document = self.asked(self.client.get(format!("http://{}/openapi.json", self.http(service)))).await.1;
            for (path, methods) in document["paths"].as_object().expect("paths") {
                let is_own = !path.starts_with("/health") && path != "/metrics";
                let methods = methods.as_object().into_iter().flat_map(serde_json::Map::keys).filter(|_| is_own);
                let methods =
                    methods.filter(|method| ["get", "put", "post", "delete", "patch"].contains(&method.as_str()));
                all.extend(methods.map(|method| HttpOperation {
                    service,
                    method: method.to_uppercase(),
                    path: path.clone(),
                }));
            }
        }
        assert!(all.len() > 25, "the documents describe {} operations", all.len());
        all
    }

    fn http(&self, service: &str) -> std::net::SocketAddr {
        let at = match service {
            "product" => self.at.product,
            "basket" => self.at.basket,
            "payment" => self.at.payment,
            _ => self.at.notification,
        };
        at.expect("it runs")
    }

    /// What the caller shows to this service, or to the gateway in front of it.
    fn token(&self, caller: Caller, service: &'static str) -> Option<String> {
        let role = |role| Some(self.signer.person("kim", &[role], HOUR));
        match caller {
            Caller::Nobody => None,
            Caller::Guest => Some(self.guest.0.clone()),
            Caller::Owner => Some(self.ada.0.clone()),
            Caller::Another => Some(self.signer.person("grace", &[], HOUR)),
            Caller::Catalogue => role(Role::Catalogue),
            Caller::Support => role(Role::Support),
            Caller::Operator => role(Role::Operator),
            _ => {
                let identity = Identity::open(&self.settings, caller.service().expect("a service")).expect("a key");
                let shown = identity.credential(service).authorization().expect("a token");
                shown.to_str().ok().and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned))
            }
        }
    }

    /// Another address each time: who tries many bad tokens is not answered any more.
    fn elsewhere(&self) -> String {
        let [_, a, b, c] = self.callers.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        format!("10.{a}.{b}.{c}")
    }

    fn things(&self, caller: Caller) -> &Things {
        if caller == Caller::Guest { &self.guest.1 } else { &self.ada.1 }
    }

    fn request(&self, operation: &HttpOperation, things: &Things, gateway: bool) -> RequestBuilder {
        let base = if gateway { self.gateway("/api") } else { format!("http://{}", self.http(operation.service)) };
        let method: Method = operation.method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{base}{}", operation.path(things)));
        if gateway {
            request = request.header("x-forwarded-for", self.elsewhere());
        }
        if operation.expects() {
            request = request.header("if-match", "\"999999\"");
        }
        match operation.body(things) {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    /// Whether anybody who is let in hears that `Idempotency-Key: ` is none.
    pub(crate) async fn reads_keys_http(&self, operation: &HttpOperation) -> bool {
        for caller in Caller::ALL {
            let request = self.request(operation, self.things(caller), false).header("idempotency-key", "");
            let request = self.token(caller, operation.service).iter().fold(request, RequestBuilder::bearer_auth);
            if self.asked(request).await.1["code"] == "invalid_idempotency_key" {
                return true;
            }
        }
        false
    }

    /// The same of a key over gRPC that is too long.
    pub(crate) async fn reads_keys_grpc(&self, operation: &GrpcOperation) -> bool {
        for caller in Caller::ALL {
            let token = self.token(caller, operation.service);
            let mut request = Request::new(Bytes::from(operation.message(self.things(caller))));
            request.metadata_mut().insert("idempotency-key", "k".repeat(256).parse().expect("a value"));
            let answer = self.send(operation, token.as_deref(), request, false).await;
            if answer.is_err_and(|status| status.message().starts_with("send one idempotency-key of ")) {
                return true;
            }
        }
        false
    }

    /// What a caller hears over HTTP.
    pub(crate) async fn ask_http(&self, operation: &HttpOperation, caller: Caller, gateway: bool) -> Cell {
        let things = self.things(caller);
        let token = self.token(caller, operation.service);
        let ask = async |things: &Things| {
            let request = self.request(operation, things, gateway);
            let request = token.iter().fold(request, RequestBuilder::bearer_auth);
            let response = request.send().await.expect("an answer");
            let challenge = response.headers().contains_key("www-authenticate");
            (response.status().as_u16(), challenge, response.text().await.expect("a body"))
        };
        let (status, challenge, text) = ask(things).await;
        match status {
            401 => {
                self.ensure(challenge && text.contains("\"token_"), || format!("{operation} by {caller:?}: {text}"));
                Cell::Unauthenticated
            }
            403 => {
                self.ensure(text.contains("\"forbidden\""), || format!("{operation} by {caller:?}: {text}"));
                Cell::Forbidden
            }
            404 => {
                let absent = absent(things);
                let (_, _, other) = ask(&absent).await;
                let (text, other) = (plain(&text, things), plain(&other, &absent));
                self.ensure(text == other, || format!("{operation} by {caller:?}: {text} is not {other}"));
                Cell::Hidden
            }
            _ => {
                self.ensure(status < 500, || format!("{operation} by {caller:?}: {status} {text}"));
                Cell::LetIn
            }
        }
    }

    /// What a caller hears over gRPC.
    pub(crate) async fn ask_grpc(&self, operation: &GrpcOperation, caller: Caller, gateway: bool) -> Cell {
        let token = self.token(caller, operation.service);
        let things = self.things(caller);
        let status = match self.call(operation, token.as_deref(), things, gateway).await {
            Ok(()) => return Cell::LetIn,
            Err(status) => status,
        };
        match status.code() {
            Code::Unauthenticated => Cell::Unauthenticated,
            Code::PermissionDenied => Cell::Forbidden,
            Code::Unimplemented => Cell::NoRoute,
            Code::NotFound => {
                let absent = absent(things);
                let other =
                    self.call(operation, token.as_deref(), &absent, gateway).await.expect_err("nothing is there");
                let same = plain(status.message(), things) == plain(other.message(), &absent);
                self.ensure(other.code() == Code::NotFound && same, || {
                    format!("{operation} by {caller:?}: {status} is not {other}")
                });
                Cell::Hidden
            }
            code => {
                let fine = !matches!(code, Code::Internal | Code::Unknown | Code::Unavailable);
                self.ensure(fine, || format!("{operation} by {caller:?}: {status}"));
                Cell::LetIn
            }
        }
    }

    async fn call(
        &self,
        operation: &GrpcOperation,
        token: Option<&str>,
        things: &Things,
        gateway: bool,
    ) -> Result<(), tonic::Status> {
        let request = Request::new(Bytes::from(operation.message(things)));
        self.send(operation, token, request, gateway).await
    }

    async fn send(
        &self,
        operation: &GrpcOperation,
        token: Option<&str>,
        mut request: Request<Bytes>,
        gateway: bool,
    ) -> Result<(), tonic::Status> {
        let channel = &self.channels[if gateway { "gateway" } else { operation.service }];
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.expect("connects");
        if gateway {
            request.metadata_mut().insert("x-forwarded-for", self.elsewhere().parse().expect("a value"));
        }
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
        }
        let path = format!("/{operation}").parse().expect("a path");
        client.unary(request, path, Raw).await.map(drop)
    }

    /// Tokens that are not good here.
    fn bad_tokens(&self) -> [String; 3] {
        let good = &self.ada.0;
        let (message, signature) = good.rsplit_once('.').expect("dots");
        let forged = format!("{message}.{}", signature.chars().rev().collect::<String>());
        let expired = self.expired.clone();
        let elsewhere = Identity::open(&self.settings, "payment").expect("a key").credential("nobody").authorization();
        let elsewhere = elsewhere.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned));
        [forged, expired, elsewhere.expect("a token")]
    }

    /// Whatever it is, a token that is not good is not let in with it.
    pub(crate) async fn refuses_bad_tokens_http(&self, operation: &HttpOperation) {
        for token in self.bad_tokens() {
            for gateway in [false, true].into_iter().filter(|gateway| !gateway || operation.is_routed()) {
                let request = self.request(operation, &self.ada.1, gateway).bearer_auth(&token);
                let response = request.send().await.expect("an answer");
                let status = response.status();
                self.ensure(status == 401, || format!("{operation} with {token}, gateway {gateway}: {status}"));
            }
        }
    }

    /// The same over gRPC.
    pub(crate) async fn refuses_bad_tokens_grpc(&self, operation: &GrpcOperation) {
        for token in self.bad_tokens() {
            let answer = self.call(operation, Some(&token), &self.ada.1, false).await;
            let refused = answer.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated);
            self.ensure(refused, || format!("{operation} with {token}: {answer:?}"));
        }
    }

    /// Notes what is not as it has to be: all of it is told at the end.
    pub(crate) fn ensure(&self, fine: bool, what: impl FnOnce() -> String) {
        if !fine {
            self.wrong.lock().expect("no panic").push(what());
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.soft.cancel();
        self.task.await.expect("no panic").expect("a clean end");
        let wrong = self.wrong.into_inner().expect("no panic");
        assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// What the protos describe.
pub(crate) fn grpc_operations() -> Vec<GrpcOperation> {
    let set = prost_types::FileDescriptorSet::decode(shop_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let mut all = Vec::new();
    for file in &set.file {
        let service =
            ["product", "basket", "payment", "notification"].into_iter().find(|name| file.package().contains(name));
        for interface in &file.service {
            let service = service.expect("a package of a service");
            let path = |method: &str| format!("{}.{}/{method}", file.package(), interface.name());
            all.extend(interface.method.iter().map(|m| GrpcOperation { service, path: path(m.name()) }));
        }
    }
    all
}

/// Things that nobody has.
fn absent(things: &Things) -> Things {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
    Things {
        user: "nobody".to_owned(),
        product: things.product + 1_000_000,
        payment: id.clone(),
        notification: id.clone(),
        endpoint: id,
    }
}

/// What is said, without the names of what was asked for and of the request.
fn plain(text: &str, things: &Things) -> String {
    let Things { user, product, payment, notification, endpoint } = things;
    let mut text = text.to_owned();
    if let Ok(mut problem) = serde_json::from_str::<Value>(&text) {
        problem["request_id"] = Value::Null;
        text = problem.to_string();
    }
    for name in [user, payment, notification, endpoint, &product.to_string()] {
        text = text.replace(name.as_str(), "it");
    }
    text
}

fn config(data: &TempDir, identity: IdentitySettings) -> Config {
    let mut config = Config { data: data.path().to_owned(), demo: false, identity, ..Config::default() };
    let (product, basket, payment) = (&mut config.product, &mut config.basket, &mut config.payment);
    for http in [&mut product.http, &mut basket.http, &mut payment.http, &mut config.notification.http] {
        (http.host, http.port) = ([127, 0, 0, 1].into(), 0);
    }
    for grpc in [&mut product.grpc, &mut basket.grpc, &mut payment.grpc, &mut config.notification.grpc] {
        (grpc.host, grpc.port) = ([127, 0, 0, 1].into(), 0);
    }
    (config.gateway.http.host, config.gateway.http.port) = ([127, 0, 0, 1].into(), 0);
    config.gateway.admin.port = 0;
    // Hundreds of calls come from one address.
    config.gateway.rate_limit.enabled = false;
    config.gateway.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    config
}
