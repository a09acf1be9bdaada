//! Some of the backends of a list, one bit each.

use std::ops::{BitAnd, BitOr};

/// Longest list.
pub const MOST: usize = BITS * WIDE;

/// Words that the longest list needs.
pub const WIDE: usize = 16;

/// Backends that fit into one word.
const BITS: usize = u64::BITS as usize;

/// Some of the backends of a list, by their places in it, in `WORDS` words of 64 bits. Lists that fit into one cost one; nobody
/// pays for the length of another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendSet<const WORDS: usize = 1>([u64; WORDS]);

impl<const WORDS: usize> Default for BackendSet<WORDS> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const WORDS: usize> BackendSet<WORDS> {
    /// None.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// How long a list may be.
    pub const ROOM: usize = WORDS * BITS;

    /// Of the words that hold it.
    #[inline]
    pub(crate) fn from_words(word: impl Fn(usize) -> u64) -> Self {
        Self(std::array::from_fn(word))
    }

    /// The words that hold it.
    pub(crate) const fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    /// The first `count` places, at most [`Self::ROOM`].
    #[inline]
    pub fn first(count: usize) -> Self {
        Self::from_words(|word| match count.saturating_sub(word * BITS) {
            rest if rest >= BITS => u64::MAX,
            rest => (1 << rest) - 1,
        })
    }

    /// One place; none beyond [`Self::ROOM`].
    #[inline]
    pub fn one(place: usize) -> Self {
        let mut set = Self::EMPTY;
        set.insert(place);
        set
    }

    /// The same places in a set of another length. What has no room there is left out.
    #[inline]
    #[must_use]
    pub fn resized<const OTHER: usize>(&self) -> BackendSet<OTHER> {
        BackendSet::from_words(|word| self.0.get(word).copied().unwrap_or(0))
    }

    /// Whether it is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the backend at `place` is one of them.
    #[inline]
    pub fn has(&self, place: usize) -> bool {
        self.0.get(place / BITS).is_some_and(|word| word & 1 << (place % BITS) != 0)
    }

    /// Adds the backend at `place`.
    #[inline]
    pub fn insert(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / BITS) {
            *word |= 1 << (place % BITS);
        }
    }

    /// Takes out the backend at `place`.
    #[inline]
    pub fn remove(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / BITS) {
            *word &= !(1 << (place % BITS));
        }
    }

    /// Those that are not among `others`.
    #[inline]
    #[must_use]
    pub fn without(&self, others: Self) -> Self {
        Self::from_words(|word| self.0[word] & !others.0[word])
    }

    /// The place of the `n`-th, from 0; [`Self::ROOM`] when there is none.
    #[inline]
    pub fn nth(&self, mut n: usize) -> usize {
        for (word, bits) in self.0.iter().enumerate() {
            let count = bits.count_ones() as usize;
            if n >= count {
                n -= count;
                continue;
            }
            let mut left = *bits;
            for _ in 0..n {
                left &= left.wrapping_sub(1);
            }
            return word * BITS + left.trailing_zeros() as usize;
        }
        Self::ROOM
    }

    /// Their places, the lowest first.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.0;
        words.into_iter().enumerate().flat_map(|(word, bits)| {
            let rest = std::iter::successors(Some(bits), |left| Some(left & left.wrapping_sub(1)));
            rest.take_while(|left| *left != 0).map(move |left| word * BITS + left.trailing_zeros() as usize)
        })
    }
}

impl<const WORDS: usize> BitAnd for BackendSet<WORDS> {
    type Output = Self;

    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self::from_words(|word| self.0[word] & other.0[word])
    }
}

impl<const WORDS: usize> BitOr for BackendSet<WORDS> {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self::from_words(|word| self.0[word] | other.0[word])
    }
}

impl<const WORDS: usize> FromIterator<usize> for BackendSet<WORDS> {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        let mut set = Self::EMPTY;
        places.into_iter().for_each(|place| set.insert(place));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_the_lowest_bit() {
        let set: BackendSet = [4, 5, 7].into_iter().collect();
        assert_eq!((0..3).map(|n| set.nth(n)).collect::<Vec<_>>(), [4, 5, 7]);
        assert_eq!((set.iter().collect::<Vec<_>>(), set.len()), (vec![4, 5, 7], 3));
        assert!(set.has(5) && !set.has(6) && !set.has(64) && <BackendSet>::one(64).is_empty());
        assert_eq!((<BackendSet>::first(64).len(), <BackendSet>::first(0)), (64, BackendSet::EMPTY));
    }

    #[test]
    fn a_long_list_is_one_of_many_words() {
        type Long = BackendSet<WIDE>;
        for count in [0, 1, 63, 64, 65, 128, 1000, MOST] {
            let all = Long::first(count);
            assert_eq!((all.len(), all.iter().count(), all.has(count)), (count, count, false));
            assert!(all.iter().eq(0..count));
            assert_eq!(Long::first(count).without(Long::one(70)).len(), count - usize::from(count > 70));
        }
        let some: Long = [0, 63, 64, 129, 1023].into_iter().collect();
        assert_eq!((0..6).map(|n| some.nth(n)).collect::<Vec<_>>(), [0, 63, 64, 129, 1023, MOST]);
        assert_eq!(some.resized::<1>().iter().collect::<Vec<_>>(), [0, 63]);
        assert_eq!(some.resized::<1>().resized::<WIDE>().len(), 2);
        let mut rest = some;
        rest.remove(129);
        rest.remove(MOST);
        assert_eq!((rest | Long::one(2)) & some, rest);
    }
}
