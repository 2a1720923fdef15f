//! When the accesses of bulk copies are ordered before what others do: behind somebody's wait for them.

/// The reads or the writes of bulk copies that complete together: of a bulk group, or of a phase of an mbarrier.
#[derive(Debug, Clone, Default)]
pub(crate) struct Completion {
    /// Slot, lanes and time of those who waited for it.
    observers: Vec<(u32, u32, u32)>,
    /// Issuer's time when the first copy was issued, to name it.
    pub issued: u32,
    /// `wait_group.read` was seen, for writes.
    pub only_read: bool,
    /// A wait without acquire order found it.
    pub relaxed_wait: bool,
}

/// Most waits that are kept for one completion: warps of a CTA.
const OBSERVERS_MAX: usize = 64;

/// All completions of a machine's life, by number from 1.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    list: Vec<Completion>,
}

impl Completions {
    pub fn add(&mut self, issued: u32) -> u32 {
        self.list.push(Completion { issued, ..Completion::default() });
        self.list.len() as u32
    }

    pub fn get(&self, number: u32) -> &Completion {
        &self.list[number as usize - 1]
    }

    pub fn only_read(&mut self, number: u32) {
        self.list[number as usize - 1].only_read = true;
    }

    pub fn relaxed_wait(&mut self, number: u32) {
        self.list[number as usize - 1].relaxed_wait = true;
    }

    /// Lanes have waited for it.
    pub fn observed(&mut self, number: u32, slot: u32, lanes: u32, time: u32) {
        let observers = &mut self.list[number as usize - 1].observers;
        // Whoever knows of a later wait of the same lanes knows of the first one.
        if observers.iter().any(|&(s, l, t)| s == slot && lanes & !l == 0 && t <= time) {
            return;
        }
        match observers.iter().position(|(s, _, t)| *s == slot && *t == time) {
            Some(at) => observers[at].1 |= lanes,
            None if observers.len() < OBSERVERS_MAX => observers.push((slot, lanes, time)),
            None => {}
        }
    }

    /// Whether a wait for it is known: `knows` is asked for slot, lanes and time of each.
    pub fn is_known(&self, number: u32, knows: &dyn Fn(u32, u32, u32) -> bool) -> bool {
        self.list[number as usize - 1].observers.iter().any(|&(slot, lanes, time)| knows(slot, lanes, time))
    }

    pub fn is_observed(&self, number: u32) -> bool {
        !self.list[number as usize - 1].observers.is_empty()
    }
}
