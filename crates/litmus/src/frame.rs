//! The events of one choice of paths, and the relations that follow from the program text alone.

use crate::ast::{Access, Order, Place, Proxy, ProxyFence, Scope, Space, Test};
use crate::paths::{Action, Path, WEAK};
use crate::relation::{members, Relation, Set, EVENTS};

/// One event of an execution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    /// Its thread; none for the write of an initial value.
    pub(crate) thread: Option<usize>,
    /// The bulk copy of this thread that it is a part of.
    pub(crate) copy: Option<usize>,
    /// Whether it is the read of a reduction.
    reduction: bool,
    pub(crate) action: Action,
    pub(crate) access: Access,
    pub(crate) line: usize,
    /// Virtual address and place in memory, for reads, writes and what mbarriers do.
    pub(crate) place: Option<(usize, usize)>,
    pub(crate) space: Space,
}

impl Event {
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.action, Action::Read { .. })
    }

    pub(crate) fn is_write(&self) -> bool {
        matches!(self.action, Action::Write { .. })
    }

    pub(crate) fn value(&self) -> i64 {
        match self.action {
            Action::Read { value, .. } | Action::Write { value, .. } => value,
            _ => 0,
        }
    }

    /// "Strong operation": a fence, or a relaxed, acquire or release memory operation.
    fn is_strong(&self) -> bool {
        match self.action {
            Action::Read { .. } | Action::Write { .. } => self.access.order != Order::Weak,
            Action::Fence | Action::Arrive { .. } | Action::Wait { .. } => true,
            Action::Completion { mbarrier, .. } => mbarrier.is_some(),
            Action::ProxyFence(_) | Action::Barrier { .. } | Action::WaitGroup | Action::Uses { .. } => false,
        }
    }

    /// An arrival at an mbarrier, or the report of a bulk copy: it writes, as patterns have it.
    pub(crate) fn is_signal(&self) -> bool {
        matches!(self.action, Action::Arrive { .. } | Action::Completion { mbarrier: Some(_), .. })
    }

    /// A wait that found its phase complete: it reads, as patterns have it.
    fn is_passed_wait(&self) -> bool {
        matches!(self.action, Action::Wait { done: true, .. })
    }

    /// Whether this is a proxy fence for that memory operation, were they of one thread block.
    fn fences(&self, memory: &Self) -> bool {
        let asynchronous = memory.access.proxy == Proxy::Async;
        match self.action {
            Action::ProxyFence(ProxyFence::Proxy(proxy)) => memory.access.proxy == proxy,
            Action::ProxyFence(ProxyFence::Async { global, shared }) => {
                asynchronous && if memory.space == Space::Global { global } else { shared }
            }
            // "The completion of a cp.async.bulk operation is followed by an implicit generic-async proxy fence."
            Action::Completion { .. } => asynchronous,
            Action::ProxyFence(ProxyFence::MbarrierInit) => matches!(memory.action, Action::Uses { .. }),
            _ => false,
        }
    }

    fn proxy(&self) -> Option<Proxy> {
        match self.action {
            Action::ProxyFence(ProxyFence::Proxy(proxy)) => Some(proxy),
            Action::ProxyFence(_) | Action::Barrier { .. } | Action::WaitGroup => None,
            _ => Some(self.access.proxy),
        }
    }
}

/// Events and fixed relations.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) events: Vec<Event>,
    pub(crate) reads: Set,
    pub(crate) writes: Set,
    /// "Program order", within each thread and within each bulk copy, transitive.
    pub(crate) program_order: Relation,
    /// From what stands before a bulk copy in its thread to the copy's accesses.
    pub(crate) issue: Relation,
    /// From completions of bulk copies to the `wait_group` that waits for them.
    pub(crate) completion: Relation,
    /// Reads and writes of one place in memory.
    pub(crate) same_memory: Relation,
    /// Reads and writes by one virtual address.
    pub(crate) same_address: Relation,
    /// "Morally strong operations".
    pub(crate) morally_strong: Relation,
    /// From the read to the write of each atomic.
    pub(crate) atomic: Relation,
    /// From a read to what depends on it.
    pub(crate) dependency: Relation,
    /// "Release pattern": from its first event to its strong write.
    pub(crate) release_pattern: Relation,
    /// "Acquire pattern": from its strong read to its last event.
    pub(crate) acquire_pattern: Relation,
    /// Pairs of morally strong `fence.sc`, each once.
    pub(crate) sc_pairs: Vec<(usize, usize)>,
    /// Program order by one virtual address and proxy.
    pub(crate) address_order: Relation,
    /// Memory operations through one proxy of one thread block, by one address.
    pub(crate) same_path: Relation,
    /// From a proxy fence to the memory operations that it is one for, of its thread block.
    pub(crate) proxy_fence: Relation,
    /// Generic operations.
    pub(crate) generic: Set,
    /// `fence.proxy.alias`
    pub(crate) alias_fences: Set,
    /// First event of each thread.
    pub(crate) starts: Vec<usize>,
    /// Arrivals that a phase takes, of each place in memory that is an mbarrier.
    pub(crate) mbarriers: Vec<Option<i64>>,
    blocks: Vec<usize>,
    warps: Vec<usize>,
}

impl Frame {
    /// The events of these paths, one per thread. None where there are more than an execution may have.
    pub(crate) fn new(test: &Test, paths: &[&Path]) -> Option<Self> {
        let (events, starts) = events(test, paths);
        let count = events.len();
        if count > EVENTS {
            return None;
        }
        let set = |is: &dyn Fn(&Event) -> bool| -> Set {
            events.iter().enumerate().filter(|(_, event)| is(event)).fold(0, |set, (i, _)| set | 1 << i)
        };
        let reads = set(&Event::is_read);
        let writes = set(&Event::is_write);
        let strong = set(&Event::is_strong);
        let place = |i: usize| -> Option<Place> { events[i].thread.map(|thread| test.threads[thread].place) };
        let same_thread = |a: usize, b: usize| a < b && place(a).is_some() && events[a].thread == events[b].thread;
        let program_order = Relation::of(count, |a, b| same_thread(a, b) && events[a].copy == events[b].copy);
        // 8.9 "Asynchronous operations are ordered after prior instructions in the same thread, but they are not part of
        // the program order for that thread."
        let part = |b: usize| events[b].copy.is_some() && !matches!(events[b].action, Action::Completion { .. });
        let issue = Relation::of(count, |a, b| same_thread(a, b) && events[a].copy.is_none() && part(b));
        let same = |part: &dyn Fn((usize, usize)) -> usize| {
            Relation::of(count, |a, b| match (events[a].place, events[b].place) {
                (Some(a), Some(b)) => part(a) == part(b),
                _ => false,
            })
        };
        let same_address = same(&|place| place.0);
        let same_memory = same(&|place| place.1);
        let scopes = Relation::of(count, |a, b| match (place(a), place(b)) {
            (Some(here), Some(there)) => {
                here.includes(events[a].access.scope, &there) && there.includes(events[b].access.scope, &here)
            }
            _ => false,
        });
        let same_proxy =
            Relation::of(count, |a, b| events[a].proxy().is_some() && events[a].proxy() == events[b].proxy());
        let same_cta = Relation::of(count, |a, b| match (place(a), place(b)) {
            (Some(here), Some(there)) => here.includes(Scope::Cta, &there),
            _ => false,
        });
        // 8.7 Morally strong: related in program order, or both strong with scopes that include the other's thread;
        // through one proxy; and, where both are memory operations, by one address.
        let signals = set(&Event::is_signal);
        let waits = set(&Event::is_passed_wait);
        let memory = reads | writes | set(&|event| event.place.is_some());
        let overlap = Relation::of(count, |a, b| {
            a != b && (memory >> a & 1 == 0 || memory >> b & 1 == 0 || same_address.has(a, b))
        });
        let morally_strong = program_order
            .or(&program_order.inverse())
            .or(&scopes.between(strong, strong))
            .and(&same_proxy)
            .and(&overlap);
        let order = |is: fn(Order) -> bool, of: Set| set(&|event| is(event.access.order)) & of;
        let fences = set(&|event| event.action == Action::Fence);
        let to_same = program_order.and(&same_address).or_same();
        // 8.8 Release and acquire patterns.
        let release_pattern = to_same
            .between(order(Order::releases, writes | signals), strong & (writes | signals))
            .or(&program_order.between(order(Order::releases, fences), strong & (writes | signals)));
        // "This strong read does not form an acquire pattern": that of a reduction.
        let observers = strong & (reads | waits) & !set(&|event| event.reduction);
        let acquire_pattern = to_same
            .between(observers, order(Order::acquires, reads | waits))
            .or(&program_order.between(observers, order(Order::acquires, fences)));
        let sc = set(&|event| event.access.order == Order::SequentiallyConsistent) & fences;
        let sc_pairs = morally_strong.between(sc, sc).pairs().filter(|(a, b)| a < b).collect();
        let fence = Relation::of(count, |a, b| events[a].fences(&events[b]));
        let mut frame = Self {
            reads,
            writes,
            address_order: program_order.and(&same_address).and(&same_proxy),
            same_path: same_proxy.and(&same_cta).and(&same_address),
            proxy_fence: fence.and(&same_cta).between(Set::MAX, memory),
            generic: set(&|event| event.proxy() == Some(Proxy::Generic)),
            alias_fences: set(&|event| event.action == Action::ProxyFence(ProxyFence::Alias)),
            program_order,
            issue,
            completion: Relation::empty(count),
            same_memory,
            same_address,
            morally_strong,
            atomic: Relation::empty(count),
            dependency: Relation::empty(count),
            release_pattern,
            acquire_pattern,
            sc_pairs,
            starts,
            mbarriers: test.mbarriers.clone(),
            blocks: firsts(test, |a, b| a.includes(Scope::Cta, b)),
            warps: firsts(test, |a, b| a.includes(Scope::Cta, b) && a.warp.is_some() && a.warp == b.warp),
            events,
        };
        frame.add_dependencies(paths);
        Some(frame)
    }

    fn add_dependencies(&mut self, paths: &[&Path]) {
        for (path, &start) in paths.iter().zip(&self.starts) {
            for (i, step) in path.steps.iter().enumerate() {
                for read in members(step.depends) {
                    self.dependency.add(start + read, start + i);
                }
                if let Some(partner) = step.partner {
                    self.atomic.add(start + partner, start + i);
                }
                for completion in members(step.completes) {
                    self.completion.add(start + completion, start + i);
                }
            }
        }
    }

    /// The first thread of this thread's block, which stands for the block.
    pub(crate) fn block_of(&self, thread: usize) -> usize {
        self.blocks[thread]
    }

    /// The first thread of this thread's warp, which stands for the warp.
    pub(crate) fn warp_of(&self, thread: usize) -> usize {
        self.warps[thread]
    }

    /// How many events there are.
    pub(crate) fn count(&self) -> usize {
        self.events.len()
    }

    /// The reads and writes of one place in memory.
    pub(crate) fn at(&self, memory: usize) -> Set {
        let here = |(_, event): &(usize, &Event)| event.place.is_some_and(|place| place.1 == memory);
        self.events.iter().enumerate().filter(here).fold(0, |set, (i, _)| set | 1 << i)
    }
}

/// For each thread, the first thread of its group.
fn firsts(test: &Test, same: impl Fn(&Place, &Place) -> bool) -> Vec<usize> {
    let first = |place: &Place| test.threads.iter().position(|other| same(place, &other.place));
    test.threads.iter().enumerate().map(|(i, thread)| first(&thread.place).unwrap_or(i)).collect()
}

fn events(test: &Test, paths: &[&Path]) -> (Vec<Event>, Vec<usize>) {
    // The writes of initial values come first: event i writes place i.
    let mut events: Vec<Event> = (0..test.initial.len())
        .map(|memory| Event {
            thread: None,
            copy: None,
            reduction: false,
            action: Action::Write { location: usize::MAX, value: test.initial[memory] },
            access: WEAK,
            line: 0,
            place: Some((usize::MAX, memory)),
            space: Space::Global,
        })
        .collect();
    let mut starts = Vec::new();
    for (thread, path) in paths.iter().enumerate() {
        starts.push(events.len());
        for step in &path.steps {
            let location = step.action.location().map(|location| &test.locations[location]);
            events.push(Event {
                thread: Some(thread),
                copy: step.copy,
                reduction: step.reduction,
                action: step.action,
                access: step.access,
                line: step.line,
                place: location.map(|location| (location.address, location.memory)),
                space: location.map_or(Space::Global, |location| location.space),
            });
        }
    }
    (events, starts)
}
