//! Who may do what: one row for each operation, and one function that decides.

use std::future::Future;
use std::sync::Arc;

use shop_fault::Fault;

use crate::{Kind, Principal, Refusal, Role};

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, with a token or without.
    Open,
    /// A guest or a person, for what is theirs; these for what is anybody's.
    Owner(&'static [Who]),
    /// These, and nobody else.
    Only(&'static [Who]),
}

/// Somebody who is no owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Whoever has this role.
    Has(Role),
    /// The service of this name.
    Service(&'static str),
}

impl Who {
    fn is(self, principal: &Principal) -> bool {
        match self {
            Self::Has(role) => principal.roles.has(role),
            Self::Service(name) => principal.is_service(name),
        }
    }
}

/// One operation, and who may call it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Method and path over HTTP, such as `GET /baskets/{user_id}`; empty when there is no such operation.
    pub http: &'static str,
    /// Service and method over gRPC, such as `shop.basket.v1.BasketService/GetBasket`; empty when there is none.
    pub grpc: &'static str,
    /// Who.
    pub access: Access,
    /// What somebody else gets to hear of what belongs to the user in the path `{user_id}`: what is heard of a user who has
    /// nothing.
    pub missing: Option<fn(&str) -> Fault>,
}

impl Rule {
    /// Of an operation over HTTP and gRPC; either may be empty.
    pub const fn new(http: &'static str, grpc: &'static str, access: Access) -> Self {
        Self { http, grpc, access, missing: None }
    }

    /// The same; somebody else hears this of what belongs to the user in the path.
    #[must_use]
    pub const fn or_else(self, missing: fn(&str) -> Fault) -> Self {
        Self { missing: Some(missing), ..self }
    }

    /// Whether it is of this method and this template of a path.
    pub fn is_http(&self, method: &str, template: &str) -> bool {
        self.http.split_once(' ').is_some_and(|(m, path)| m == method && path == template)
    }

    /// Whether it is of this path of a call.
    pub fn is_grpc(&self, path: &str) -> bool {
        !self.grpc.is_empty() && path.strip_prefix('/') == Some(self.grpc)
    }
}

/// How far a caller reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Nothing,
    Own,
    Everything,
}

/// Who calls, and what of it may be his: what the way in found out for the operation. Without one nothing is reached.
#[derive(Debug, Clone)]
pub struct Caller {
    principal: Option<Arc<Principal>>,
    reach: Reach,
}

tokio::task_local! {
    static CURRENT: Caller;
}

/// What an alias for oneself looks like in paths and messages.
pub const ME: &str = "me";

impl Caller {
    /// Who called for the work at hand; [`Caller::nobody`] outside of it. Spawned tasks do not inherit it.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_else(|_| Self::nobody())
    }

    /// Runs `work` for this caller.
    pub fn calls<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Whoever calls where nobody asks.
    pub const fn anybody() -> Self {
        Self { principal: None, reach: Reach::Everything }
    }

    /// Whoever calls past the way in: reaches nothing.
    pub const fn nobody() -> Self {
        Self { principal: None, reach: Reach::Nothing }
    }

    /// Who it is, if a token says so.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    /// The name that his things belong to; a service and an unknown caller have none.
    pub fn user(&self) -> Option<&str> {
        self.principal.as_ref().filter(|principal| principal.kind != Kind::Service).map(|principal| &*principal.user)
    }

    /// Whose things alone are reached; nothing when everybody's are. Of a caller who reaches nothing it is the empty name,
    /// which nobody has.
    pub fn confined_to(&self) -> Option<&str> {
        match self.reach {
            Reach::Everything => None,
            Reach::Own => Some(self.user().unwrap_or_default()),
            Reach::Nothing => Some(""),
        }
    }

    /// Whether what belongs to this user is reached.
    pub fn reaches(&self, owner: &str) -> bool {
        self.confined_to().is_none_or(|user| user == owner && !owner.is_empty())
    }

    /// The user that a request is about: named in it, `me`, or left out, which are the caller himself.
    pub fn named<'a>(&'a self, given: Option<&'a str>) -> Option<&'a str> {
        match given {
            None | Some("" | ME) => self.user().or(given),
            given => given,
        }
    }

    /// What keeps one caller's idempotency keys apart from another's; empty where nobody asks who calls.
    pub fn key_space(&self) -> String {
        self.principal
            .as_ref()
            .map_or_else(String::new, |principal| format!("{}\n{}", principal.issuer, principal.subject))
    }

    /// For logs.
    pub fn name(&self) -> String {
        self.principal.as_ref().map_or_else(|| "anybody".to_owned(), ToString::to_string)
    }
}

/// Decides. What has no row is for nobody.
pub fn decide(access: Option<Access>, principal: Option<Arc<Principal>>) -> Result<Caller, Refusal> {
    let access = access.ok_or(Refusal::Forbidden)?;
    if access == Access::Open {
        return Ok(Caller { principal, reach: Reach::Own });
    }
    let who = principal.ok_or(Refusal::Missing)?;
    let is_one = |of: &[Who]| of.iter().any(|one| one.is(&who));
    let reach = match access {
        Access::Open => Reach::Own,
        Access::Owner(of) | Access::Only(of) if is_one(of) => Reach::Everything,
        Access::Owner(_) if who.kind != Kind::Service => Reach::Own,
        Access::Owner(_) | Access::Only(_) => return Err(Refusal::Forbidden),
    };
    Ok(Caller { principal: Some(who), reach })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(kind: Kind, user: &str, roles: &[Role]) -> Arc<Principal> {
        let roles = roles.iter().copied().collect();
        Arc::new(Principal { issuer: "i".into(), subject: user.into(), user: user.into(), kind, roles })
    }

    const STAFF: &[Who] = &[Who::Has(Role::Support), Who::Service("payment")];

    #[test]
    fn rows_are_decided_for_every_kind_of_caller() {
        let ada = principal(Kind::Person, "ada", &[]);
        let guest = principal(Kind::Guest, "guest-1", &[]);
        let support = principal(Kind::Person, "sam", &[Role::Support]);
        let keeper = principal(Kind::Person, "kim", &[Role::Catalogue]);
        let payment = principal(Kind::Service, "payment", &[]);
        let basket = principal(Kind::Service, "basket", &[]);
        let callers = [None, Some(guest), Some(ada), Some(support), Some(keeper), Some(payment), Some(basket)];
        for (access, reached) in [
            (Some(Access::Open), "......."),
            (Some(Access::Owner(STAFF)), "-..*.*!"),
            (Some(Access::Only(STAFF)), "-!!*!*!"),
            (Some(Access::Owner(&[])), "-....!!"),
            (Some(Access::Only(&[])), "-!!!!!!"),
            (None, "!!!!!!!"),
        ] {
            let found: String = callers
                .iter()
                .map(|caller| match decide(access, caller.clone()) {
                    Ok(caller) if caller.confined_to().is_none() => '*',
                    Ok(_) => '.',
                    Err(Refusal::Missing) => '-',
                    Err(_) => '!',
                })
                .collect();
            assert_eq!(found, reached, "{access:?}");
        }
    }

    #[test]
    fn who_is_confined_reaches_what_is_his_and_the_unknown_reach_nothing() {
        let ada = decide(Some(Access::Owner(STAFF)), Some(principal(Kind::Person, "ada", &[]))).expect("let in");
        assert!(ada.reaches("ada") && !ada.reaches("bob") && !ada.reaches(""));
        assert_eq!(
            [ada.named(None), ada.named(Some("me")), ada.named(Some("bob"))],
            [Some("ada"), Some("ada"), Some("bob")]
        );
        let open = decide(Some(Access::Open), None).expect("let in");
        for nobody in [open, Caller::nobody()] {
            assert!(!nobody.reaches("ada") && !nobody.reaches(""));
            assert_eq!(nobody.named(Some("me")), Some("me"));
        }
        assert!(Caller::anybody().reaches("ada"));
    }

    #[test]
    fn a_row_is_found_by_either_name_and_by_nothing_else() {
        let rule = Rule::new("GET /baskets/{user_id}", "shop.basket.v1.BasketService/GetBasket", Access::Open);
        assert!(rule.is_http("GET", "/baskets/{user_id}") && rule.is_grpc("/shop.basket.v1.BasketService/GetBasket"));
        assert!(!rule.is_http("PUT", "/baskets/{user_id}") && !rule.is_http("GET", "/baskets"));
        assert!(!rule.is_grpc("shop.basket.v1.BasketService/GetBasket") && !rule.is_grpc("/GetBasket"));
        let none = Rule::new("", "", Access::Open);
        assert!(!none.is_http("", "") && !none.is_grpc("/") && !none.is_grpc(""));
    }
}
