//! Where backends are looked up, and how what was found comes into force.

use shop_balance::MOST;
use shop_clock::{Clock as _, SystemClock};
use shop_discovery::{Group, Kind, Latest, Place, Plan, Protocol, Subscriber};

use crate::settings::backend_spec::Source;
use crate::state::State;

impl Subscriber for State {
    fn plan(&self) -> Plan {
        let generation = self.settings.current();
        let mut plan = Plan { settings: generation.config.discovery.clone(), named: Vec::new(), asked: Vec::new() };
        for (service, settings) in generation.config.services.iter() {
            for protocol in Protocol::ALL {
                for url in &settings.urls_of(protocol).1 {
                    let place = Place { service: service.into(), protocol, url: url.clone() };
                    if settings.enabled {
                        plan.asked.push(place.clone());
                    }
                    plan.named.push(place);
                }
            }
        }
        plan
    }

    fn publish(&self, group: &Group, latest: &dyn Fn() -> Latest) -> Result<(), String> {
        let mut pending = self.begin_change();
        let service = &*group.service;
        if pending.desired.service(service).is_none() {
            return Ok(());
        }
        let Latest { mut backends, has_answered } = latest();
        if backends.len() > MOST {
            tracing::warn!(
                service,
                "{} backends of {service} were found; the first {MOST} are used, put a balancer in front of the others",
                backends.len()
            );
        }
        backends.truncate(MOST);
        pending.desired.found(service, group.protocol, source(group.kind), backends);
        if has_answered {
            pending.desired.answered(service, group.protocol);
        }
        pending.validate().map(|validated| drop(validated.commit())).map_err(|problems| problems.to_string())
    }

    fn answered(&self, place: &Place) {
        let now = SystemClock.now().unix_timestamp();
        self.numbers.metrics.source_answered(&place.service, &place.url.to_string(), now);
    }

    fn failed(&self, place: &Place) {
        self.numbers.metrics.source_failed(&place.service, &place.url.to_string());
    }

    fn forgotten(&self, place: &Place) {
        self.numbers.metrics.forget_source(&place.service, &place.url.to_string());
    }
}

const fn source(kind: Kind) -> Source {
    match kind {
        Kind::Dns => Source::Dns,
        Kind::File => Source::File,
    }
}
