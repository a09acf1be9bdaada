//! What a notification is, who gets it and how often it is tried. Pure: no store, no wire, no clock.

mod channel;
mod endpoint;
mod error;
mod hook;
mod notification;
mod plan;
mod ports;
mod preferences;
mod signing;

pub(crate) use channel::{Channel, EventType, Status};
pub(crate) use endpoint::{DESCRIPTION, Endpoint, EndpointDraft, EndpointSettings, MAX_ENDPOINTS};
pub(crate) use error::{Error, Result};
pub(crate) use hook::{HookUrl, MAX_URL, Reach};
pub(crate) use notification::{Failure, Next, Notification, Outcome, Policy};
#[cfg(test)]
pub(crate) use plan::tests;
pub(crate) use plan::{Channels, Recipients, plan};
pub(crate) use ports::{
    Call, Change, Claim, Endpoints, Filter, Hooks, Letter, Mail, News, Notifications, Persons, Plan, PreferenceStore,
    Store, Waiting,
};
pub(crate) use preferences::{EMAIL, MAX_EMAIL, MAX_EVENT_TYPES, Preferences, PreferencesDraft};
pub(crate) use shop_input::{Expected, UserId};
pub(crate) use signing::SigningSecret;
