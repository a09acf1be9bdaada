//! How the calls of a route are shared among its services.

use shop_clock::chance;

use super::Destination;

/// Services with their shares.
pub(crate) struct Split {
    /// With the sum of the weights so far, its own included.
    to: Vec<(Destination, u32)>,
    sum: u32,
}

impl Split {
    /// Shares by weight; nothing when nobody has any.
    pub(super) fn new(to: Vec<(Destination, u16)>) -> Option<Self> {
        let mut sum = 0;
        let to: Vec<_> = to
            .into_iter()
            .map(|(destination, weight)| {
                sum += u32::from(weight);
                (destination, sum)
            })
            .collect();
        (sum > 0).then_some(Self { to, sum })
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

    /// Whose turn it is.
    pub(crate) fn choose(&self) -> &Destination {
        let point = if self.to.len() == 1 { 0 } else { chance::below(self.sum as usize) };
        let place = self.to.partition_point(|(_, until)| *until as usize <= point);
        &self.to[place.min(self.to.len() - 1)].0
    }
}
