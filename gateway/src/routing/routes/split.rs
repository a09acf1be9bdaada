//! How the calls of a route are shared among its services.

use http::HeaderValue;
use shop_balance::settings::Hash;
use shop_clock::chance;

use super::Destination;
use crate::routing::affinity::{Affinity, Key, Visitor};

/// Services with their shares.
pub(crate) struct Split {
    /// What says whose turn it is, instead of chance.
    affinity: Option<Affinity>,
    /// With the sum of the weights so far, its own included.
    to: Box<[(Destination, u32)]>,
    sum: u32,
}

impl Split {
    /// Shares by weight; nothing when nobody has any.
    pub(super) fn new(to: Vec<(Destination, u16)>, hash: Option<&Hash>) -> Option<Self> {
        let mut sum = 0;
        let to: Box<[_]> = to
            .into_iter()
            .map(|(destination, weight)| {
                sum += u32::from(weight);
                (destination, sum)
            })
            .collect();
        (sum > 0).then(|| Self { affinity: hash.and_then(Affinity::new), to, sum })
    }

    /// All of them, in their order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Destination> {
        self.to.iter().map(|(destination, _)| destination)
    }

    /// All of them, each with its share, from 0 to 1.
    pub(crate) fn shares(&self) -> impl Iterator<Item = (&Destination, f64)> {
        let before = [0].into_iter().chain(self.to.iter().map(|(_, until)| *until));
        self.to.iter().zip(before).map(|((to, until), before)| (to, f64::from(*until - before) / f64::from(self.sum)))
    }

    /// Whose turn a request of `visitor` is, and what shall tell it to the client for the next time.
    pub(crate) fn choose(&self, visitor: &Visitor<'_>) -> (&Destination, Option<HeaderValue>) {
        if let [(only, _)] = &*self.to {
            return (only, None);
        }
        let Key { number, cookie } = self.affinity.as_ref().map_or_else(Key::default, |affinity| affinity.key(visitor));
        let point = match number {
            None => chance::below(self.sum as usize),
            // Turned, so that it says nothing of which backend the same key belongs to; then spread over all shares.
            Some(number) => {
                let turned = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                usize::try_from((turned * u128::from(self.sum)) >> 64).unwrap_or_default()
            }
        };
        let place = self.to.partition_point(|(_, until)| *until as usize <= point);
        (&self.to[place.min(self.to.len() - 1)].0, cookie)
    }
}
