//! A bounded list of what matters most.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// How many there are, and the largest of them in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<T> {
    /// All of them.
    pub count: u64,
    /// The largest.
    pub listed: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { count: 0, listed: Vec::new() }
    }
}

/// Counts what it is given and keeps the largest; of equal ones the first.
#[derive(Debug)]
pub(super) struct Largest<T> {
    count: u64,
    most: usize,
    kept: BinaryHeap<Reverse<Entry<T>>>,
}

impl<T> Largest<T> {
    /// Keeps at most `most`.
    pub(super) fn new(most: usize) -> Self {
        Self { count: 0, most, kept: BinaryHeap::new() }
    }

    /// Takes one of this size.
    pub(super) fn push(&mut self, size: f64, item: T) {
        let entry = Entry { size, place: Reverse(self.count), item };
        self.count += 1;
        if self.kept.len() < self.most {
            self.kept.push(Reverse(entry));
        } else if self.kept.peek().is_some_and(|Reverse(smallest)| *smallest < entry) {
            self.kept.pop();
            self.kept.push(Reverse(entry));
        }
    }

    /// What is left of it.
    pub(super) fn finish(self) -> Listed<T> {
        let mut kept: Vec<Entry<T>> = self.kept.into_iter().map(|Reverse(entry)| entry).collect();
        kept.sort_by_key(|entry| Reverse(entry.place));
        Listed { count: self.count, listed: kept.into_iter().map(|entry| entry.item).collect() }
    }
}

#[derive(Debug)]
struct Entry<T> {
    size: f64,
    place: Reverse<u64>,
    item: T,
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.size.total_cmp(&other.size).then(self.place.cmp(&other.place))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(most: usize, sizes: &[f64]) -> Listed<usize> {
        let mut largest = Largest::new(most);
        for (place, size) in sizes.iter().enumerate() {
            largest.push(*size, place);
        }
        largest.finish()
    }

    #[test]
    fn the_largest_are_kept_in_their_order_and_all_are_counted() {
        let sizes = [5.0, 1.0, 9.0, 5.0, 7.0, 5.0];
        assert_eq!(listed(3, &sizes), Listed { count: 6, listed: vec![0, 2, 4] }, "of equal ones the first");
        assert_eq!(listed(4, &sizes).listed, [0, 2, 3, 4]);
        assert_eq!(listed(9, &sizes).listed, [0, 1, 2, 3, 4, 5]);
        assert_eq!(listed(0, &sizes), Listed { count: 6, listed: vec![] });
        assert_eq!(listed(1, &[1.0, f64::INFINITY, f64::MAX]).listed, [1]);
        assert_eq!(listed(2, &[]), Listed::default());
    }
}
