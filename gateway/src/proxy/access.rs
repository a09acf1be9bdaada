//! Who may use a route.

use std::net::IpAddr;

use shop_identity::{Principal, Refusal as Token};

use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::settings::Access;

/// Refuses clients from where the route is not for, before anything else is found out about them.
pub(super) fn from(access: &Access, address: IpAddr) -> Result<(), Refusal> {
    if access.admits(address) {
        return Ok(());
    }
    // Not which ranges: that is nobody's affair who is outside.
    Err(Refusal::new(Reason::AddressRefused, "this is not for clients of this address"))
}

/// Refuses who shows no token where one is needed, or one without the roles.
pub(super) fn by(access: &Access, principal: Option<&Principal>) -> Result<(), Refusal> {
    if !access.needs_token() {
        return Ok(());
    }
    let who = principal.ok_or(Token::Missing)?;
    if !access.needs_role() || access.roles.iter().any(|role| who.roles.has(*role)) {
        return Ok(());
    }
    Err(Token::Forbidden.into())
}
