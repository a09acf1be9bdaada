//! Attacks on tokens that other software has let through, each a case: what an issuer did not sign, or not for us, is refused,
//! and whoever floods us with it takes nothing from those whose tokens are good.

mod cache;
mod chance;
mod claims;
mod forge;
mod heads;
mod issuers;
mod keys;
mod own;
mod provider;
mod rotation;
mod signatures;
mod world;
