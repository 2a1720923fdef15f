//! The PTX memory consistency model: the relations that depend on what each read returned, and the axioms.
//!
//! Names and order follow the chapter "Memory Consistency Model" of the PTX ISA (8.x). Coherence order is partial, as
//! there: it relates writes that are morally strong or related in causality order, and leaves racing writes unrelated.

use crate::frame::Frame;
use crate::paths::Action;
use crate::relation::{Relation, Set};

/// "Observation order": a write precedes a read that takes its value and is morally strong with it, directly or through
/// a chain of atomics.
pub(crate) fn observation_order(frame: &Frame, reads_from: &Relation) -> Relation {
    let direct = reads_from.and(&frame.morally_strong);
    let through = frame.atomic.then(&direct).closure().or_same();
    direct.then(&through)
}

/// The same of mbarriers: an arrival or a report precedes a wait that found its phase complete. `phases` has every such pair.
pub(crate) fn observed_phases(frame: &Frame, phases: &Relation) -> Relation {
    phases.and(&frame.morally_strong)
}

/// "Synchronizes": a release pattern that an acquire pattern observes, their ends morally strong.
pub(crate) fn synchronizes(frame: &Frame, observation: &Relation) -> Relation {
    frame.release_pattern.then(observation).then(&frame.acquire_pattern).and(&frame.morally_strong)
}

/// "Base causality order": program order and synchronization (also of fences, barriers and completed bulk groups),
/// transitive. What comes before the issue of a bulk copy is added by [`with_issues`].
pub(crate) fn base_causality_order(frame: &Frame, synchronizes: &Relation, barriers: &Relation) -> Relation {
    frame.program_order.or(synchronizes).or(barriers).or(&frame.completion).closure()
}

/// "Asynchronous Operations": a bulk copy comes after prior instructions of its thread. This is not transitive through the
/// copy: its completion "does not transitively establish ordering with respect to prior instructions".
fn with_issues(frame: &Frame, base: &Relation) -> Relation {
    base.or(&base.or_same().then(&frame.issue))
}

/// "Proxy-preserved base causality order": base causality by one address through the generic proxy, or through one proxy
/// of one thread block, or along a path with the proxy fences that its ends need; by two addresses of one place in
/// memory, with an alias fence on the way.
pub(crate) fn proxy_preserved_base_causality_order(frame: &Frame, base: &Relation) -> Relation {
    let generic = Relation::empty(frame.count()).or_same().between(frame.generic, frame.generic);
    let plain = base.between(frame.generic, frame.generic).and(&frame.same_address).or(&base.and(&frame.same_path));
    let proxies = frame.generic != generic_or_memory(frame);
    if !proxies && frame.alias_fences == 0 {
        return plain;
    }
    let leaves = generic.or(&base.and(&frame.proxy_fence.inverse()));
    let enters = generic.or(&base.and(&frame.proxy_fence));
    let fenced = leaves.then(base).then(&enters).and(&frame.same_address);
    let to_alias = leaves.then(&base.between(Set::MAX, frame.alias_fences));
    let aliased = to_alias.then(base).then(&enters).and(&frame.same_memory);
    plain.or(&fenced).or(&aliased)
}

/// The generic operations and all memory operations: equal to the generic ones where no other proxy is used.
fn generic_or_memory(frame: &Frame) -> Set {
    frame.generic | frame.reads | frame.writes
}

/// "Causality order": proxy-preserved base causality, by itself or after an observation.
pub(crate) fn causality_order(frame: &Frame, observation: &Relation, base: &Relation) -> Relation {
    let preserved = proxy_preserved_base_causality_order(frame, &with_issues(frame, base));
    observation.then(&preserved).or(&preserved)
}

/// "From-reads": a read precedes the writes that come after the one it read from.
pub(crate) fn from_reads(reads_from: &Relation, coherence: &Relation) -> Relation {
    reads_from.inverse().then(coherence)
}

/// Axiom "No-thin-air": no cycle of dependencies and reads-from.
pub(crate) fn no_thin_air(frame: &Frame, reads_from: &Relation) -> bool {
    reads_from.or(&frame.dependency).is_acyclic()
}

/// Axiom "Fence-SC" and the order of threads: what base causality says of two events of one thread, or of two fences in
/// Fence-SC order, is not against that order. Barriers relate both ways; two of them crosswise would wait for ever.
pub(crate) fn fence_sc(frame: &Frame, base: &Relation, fence_order: &Relation) -> bool {
    frame.program_order.never_meets_back(base) && fence_order.never_meets_back(base)
}

/// Axiom "Causality": communication order does not contradict causality order.
pub(crate) fn causality(communication: &Relation, causality_order: &Relation) -> bool {
    communication.never_meets_back(causality_order)
}

/// Axiom "Coherence": writes related in causality order are in coherence order, and the same way round. `coherence` is
/// transitive and contains the causality order of writes, so that it need only be an order.
pub(crate) fn coherence(coherence: &Relation) -> bool {
    coherence.is_irreflexive()
}

/// Axiom "Atomicity": no write comes between the read and the write of an atomic that it is morally strong with.
pub(crate) fn atomicity(frame: &Frame, from_reads: &Relation, coherence: &Relation) -> bool {
    let strong = &frame.morally_strong;
    let between = from_reads.and(strong).then(&coherence.and(strong));
    frame.atomic.pairs().all(|(read, write)| !between.has(read, write))
}

/// Axiom "Sequential consistency per location": morally strong communication does not contradict program order.
pub(crate) fn sc_per_location(frame: &Frame, communication: &Relation) -> bool {
    communication.and(&frame.morally_strong).or(&frame.address_order).is_acyclic()
}

/// "Data-race": two conflicting memory operations, not morally strong, that causality order does not relate. What an
/// mbarrier's users do conflicts with its initialization; a bulk copy uses it where it is issued.
pub(crate) fn data_race(frame: &Frame, causality_order: &Relation) -> Option<(usize, usize)> {
    let report = |event: usize| matches!(frame.events[event].action, Action::Completion { .. });
    let initial = |event: usize| frame.events[event].thread.is_none();
    let conflict = |a: usize, b: usize| a < b && !initial(a) && (frame.writes >> a | frame.writes >> b) & 1 == 1;
    frame.same_memory.pairs().find(|&(a, b)| {
        conflict(a, b)
            && !report(a)
            && !report(b)
            && (frame.events[a].thread, frame.events[a].copy) != (frame.events[b].thread, frame.events[b].copy)
            && !frame.morally_strong.has(a, b)
            && !causality_order.has(a, b)
            && !causality_order.has(b, a)
    })
}
