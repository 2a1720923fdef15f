//! Which barriers meet.
//!
//! Barriers of one thread block meet where their numbers agree: the n-th time that a thread executes such a barrier
//! meets the n-th time of the others. `sync` waits, so everything that arrives there synchronizes with it; `arrive` only
//! arrives. `bar.warp.sync` likewise meets those of its warp with the same mask. With a quorum of n, a barrier opens once n threads are there: it synchronizes with n - 1 others, any of them.

use std::collections::BTreeMap;

use crate::frame::Frame;
use crate::paths::Action;
use crate::relation::Relation;

type Key = (bool, usize, i64, Option<i64>, usize);

/// Every way in which the barriers of these events can meet; none where one waits for threads that never come.
pub(crate) fn choices(frame: &Frame) -> Option<Vec<Relation>> {
    let mut choices = vec![Relation::empty(frame.count())];
    for group in groups(frame).values() {
        for &barrier in group {
            let Action::Barrier { waits: true, quorum, .. } = frame.events[barrier].action else { continue };
            let others: Vec<usize> = group
                .iter()
                .copied()
                .filter(|&other| frame.events[other].thread != frame.events[barrier].thread)
                .collect();
            let needed = match quorum {
                None => others.len(),
                Some(quorum) => usize::try_from(quorum - 1).unwrap_or(0),
            };
            if needed > others.len() {
                return None;
            }
            let mut next = Vec::new();
            for choice in &choices {
                for met in subsets(&others, needed) {
                    let mut with = choice.clone();
                    for other in met {
                        with.add(other, barrier);
                    }
                    next.push(with);
                }
            }
            choices = next;
        }
    }
    Some(choices)
}

fn groups(frame: &Frame) -> BTreeMap<Key, Vec<usize>> {
    let mut times: BTreeMap<(bool, usize, i64, Option<i64>), usize> = BTreeMap::new();
    let mut groups: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for (i, event) in frame.events.iter().enumerate() {
        if let (Action::Barrier { warp, id, resource, .. }, Some(thread)) = (event.action, event.thread) {
            let time = times.entry((warp, thread, id, resource)).or_insert(0);
            *time += 1;
            // One thread stands for the thread block or the warp.
            let of = if warp { frame.warp_of(thread) } else { frame.block_of(thread) };
            groups.entry((warp, of, id, resource, *time)).or_default().push(i);
        }
    }
    groups
}

/// The subsets of this size.
fn subsets(of: &[usize], size: usize) -> Vec<Vec<usize>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (i, &first) in of.iter().enumerate() {
        for mut rest in subsets(&of[i + 1..], size - 1) {
            rest.push(first);
            all.push(rest);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::subsets;

    #[test]
    fn subsets_are_counted_by_the_binomial() {
        assert_eq!(subsets(&[1, 2, 3, 4], 2).len(), 6);
        assert_eq!(subsets(&[1, 2], 0), vec![Vec::<usize>::new()]);
        assert!(subsets(&[1], 2).is_empty());
    }
}
