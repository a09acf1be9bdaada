//! What is free of some products while nobody else can take of them.

use std::collections::HashMap;

use super::{Error, Line, Lines, Result, Short};

/// Units free, by product; a product that does not exist is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shelf(HashMap<i64, i64>);

impl Shelf {
    /// What the store says is free.
    pub(crate) fn new(free: HashMap<i64, i64>) -> Self {
        Self(free)
    }

    /// Takes all lines after `given_up` is put back; or leaves everything as it is and names each line that is short.
    pub(crate) fn take(&mut self, lines: &Lines, given_up: &[Line]) -> Result<()> {
        self.put_back(given_up);
        let short: Vec<_> = lines.as_slice().iter().filter_map(|line| self.short(line)).collect();
        if short.is_empty() {
            self.add(lines.as_slice(), -1);
            return Ok(());
        }
        self.add(given_up, -1);
        Err(Error::Insufficient(short))
    }

    /// Makes these units free.
    pub(crate) fn put_back(&mut self, lines: &[Line]) {
        self.add(lines, 1);
    }

    fn short(&self, line: &Line) -> Option<Short> {
        let left = self.0.get(&line.product).copied();
        let fits = left.is_some_and(|left| left >= line.quantity);
        (!fits).then_some(Short { product: line.product, wanted: line.quantity, available: left })
    }

    fn add(&mut self, lines: &[Line], sign: i64) {
        for line in lines {
            if let Some(free) = self.0.get_mut(&line.product) {
                *free += sign * line.quantity;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(product: i64, quantity: i64) -> Line {
        Line { product, quantity }
    }

    fn lines(lines: &[Line]) -> Lines {
        Lines::parse(lines.to_vec()).expect("valid")
    }

    #[test]
    fn every_short_line_is_named_not_only_the_first() {
        let mut shelf = Shelf::new(HashMap::from([(1, 2), (2, 1)]));
        let refused = shelf.take(&lines(&[line(1, 3), line(2, 1), line(3, 1)]), &[]);
        let Err(Error::Insufficient(short)) = refused else { panic!("not refused") };
        let named: Vec<_> = short.iter().map(|short| (short.product, short.available)).collect();
        assert_eq!(named, [(1, Some(2)), (3, None)]);
        assert_eq!(shelf, Shelf::new(HashMap::from([(1, 2), (2, 1)])), "nothing was taken");
    }

    #[test]
    fn who_comes_first_is_served_and_who_is_short_takes_nothing_from_the_next() {
        let mut shelf = Shelf::new(HashMap::from([(1, 3), (2, 1)]));
        shelf.take(&lines(&[line(1, 2)]), &[]).expect("the first");
        shelf.take(&lines(&[line(1, 2), line(2, 1)]), &[]).expect_err("is short");
        shelf.take(&lines(&[line(1, 1), line(2, 1)]), &[]).expect("the next");
        assert_eq!(shelf, Shelf::new(HashMap::from([(1, 0), (2, 0)])));
    }

    #[test]
    fn what_is_given_up_is_free_for_the_one_that_gives_it_up_alone() {
        let mut shelf = Shelf::new(HashMap::from([(1, 0), (2, 0)]));
        shelf.take(&lines(&[line(1, 3), line(2, 1)]), &[line(1, 3)]).expect_err("is short of the other");
        shelf.take(&lines(&[line(1, 1)]), &[]).expect_err("nothing was left behind");
        shelf.take(&lines(&[line(1, 2)]), &[line(1, 3)]).expect("has it already");
        assert_eq!(shelf, Shelf::new(HashMap::from([(1, 1), (2, 0)])));
    }
}
