//! Who answers, and what is known of a request while it is answered.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderValue, Version, header};
use shop_http1::fields::Fields as _;
use shop_http1::request_head;
use shop_identity::Principal;
use shop_limit::{Attempts, Ruling};
use tokio::sync::Semaphore;

use super::compress::{self, Wish};
use super::finish::Browser;
use super::grpc_web::Web;
use super::mirror;
use crate::admin::Admin;
use crate::docs::Docs;
use crate::message::client::{Audience, Client};
use crate::message::headers::{self, Introduction};
use crate::message::{grpc, upgrade};
use crate::record::RequestRecord;
use crate::record::asker::Asker;
use crate::routing::routes::Route;
use crate::server::ConnectionState;
use crate::state::generation::Generation;
use crate::state::{State, token};

/// Answers what clients ask.
pub(crate) struct Proxy {
    pub(super) state: Arc<State>,
    pub(crate) admin: Admin,
    /// The reference of the API.
    pub(super) docs: Docs,
    /// Bad tokens that clients showed.
    pub(super) attempts: Attempts,
    /// Room for what compresses answers.
    pub(super) encoders: Arc<Semaphore>,
    /// Room for copies of requests.
    pub(super) copies: Arc<Semaphore>,
}

impl Proxy {
    /// What answers with what `state` knows.
    pub(crate) fn new(state: Arc<State>) -> Arc<Self> {
        let (admin, docs, attempts) = (Admin::default(), Docs::default(), token::attempts());
        let [encoders, copies] =
            [compress::MOST_ENCODERS, mirror::MOST_COPIES].map(|most| Arc::new(Semaphore::new(most)));
        Arc::new(Self { state, admin, docs, attempts, encoders, copies })
    }
}

/// What is known of a request while it is answered.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, noted as it is seen")]
pub(super) struct Visit<'g> {
    pub(super) record: RequestRecord,
    /// Whose connections are used.
    pub(super) worker: usize,
    /// Where it goes, once that is known.
    pub(super) route: Option<&'g Route>,
    /// Whether the route's changes to the headers of its answer were made.
    pub(super) is_edited: bool,
    pub(super) peer: IpAddr,
    pub(super) client: Client,
    pub(super) browser: Browser<'g>,
    /// Who it is, if a token says so.
    pub(super) principal: Option<Arc<Principal>>,
    pub(super) is_late: bool,
    /// The connection of a client that takes informational answers.
    pub(super) informed: Option<Arc<ConnectionState>>,
    pub(super) is_encrypted: bool,
    /// The connection of a client that showed a certificate.
    pub(super) certified: Option<Arc<ConnectionState>>,
    /// Whose listener it came in by.
    pub(super) audience: Audience,
    pub(super) is_grpc: bool,
    /// It came as gRPC-Web.
    pub(super) web: Option<Web>,
    /// What the limiter said.
    pub(super) ruling: Option<Ruling>,
    /// What it takes where answers are compressed.
    pub(super) wish: Option<Wish>,
}

impl<'g> Visit<'g> {
    /// Of a request that has just come.
    pub(super) fn begin(
        state: &Arc<State>,
        generation: &'g Generation,
        worker: usize,
        connection: &Arc<ConnectionState>,
        peer: IpAddr,
        request: &request_head::Parts,
    ) -> Self {
        let headers = &request.headers;
        let is_grpc = grpc::is_call(request.version, headers) && !upgrade::is_translated(request);
        let config = &generation.config;
        let client = Client::of(peer, headers, &config.trusted_proxies);
        let occupied = connection.occupy(client.through_proxy.then_some(client.address));
        let browser = Browser {
            is_secure: headers::is_secure(headers, client, &config.trusted_headers, connection.is_encrypted),
            // What speaks gRPC and names no origin is none, and has no use for headers that make browsers careful.
            is_possible: !is_grpc || headers.has(&header::ORIGIN),
            cors: generation.cors.as_ref().map(|cors| (cors, cors.judge(headers))),
        };
        let mut record = RequestRecord::begin(state, occupied, request, connection.is_encrypted);
        record.asked_by(Asker::of(client.address, connection.certificate(), request, &config.access_log));
        Self {
            record,
            worker,
            route: None,
            is_edited: false,
            peer,
            client,
            browser,
            principal: None,
            is_late: connection.is_late,
            informed: (request.version == Version::HTTP_11).then(|| Arc::clone(connection)),
            is_encrypted: connection.is_encrypted,
            certified: connection.certificate().map(|_| Arc::clone(connection)),
            audience: connection.audience,
            is_grpc,
            web: None,
            ruling: None,
            wish: None,
        }
    }

    /// The host that the requests of the connection are for, nearly all of them.
    pub(super) fn introduced(&self) -> Option<&HeaderValue> {
        self.informed.as_ref()?.introduction.get().map(Introduction::host)
    }
}
