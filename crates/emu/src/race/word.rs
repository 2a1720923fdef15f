//! What the value of a word carries to whoever acquires it.

use super::clock::{carry, Released};

/// Most releases at a word that are kept for later writes.
const PAST_MAX: usize = 256;

/// A word that somebody released at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Word {
    /// Clocks on its value.
    pub carried: Vec<Released>,
    /// What lanes released here: their later strong writes here are part of the same patterns, whoever wrote in between
    /// (PTX ISA, "Release and Acquire Patterns").
    past: Vec<Released>,
}

impl Word {
    /// A value is written with these clocks on it; an atomic leaves those of the value that it read.
    pub fn write(&mut self, clocks: impl IntoIterator<Item = Released>, atomic: bool) {
        if !atomic {
            self.carried.clear();
        }
        clocks.into_iter().for_each(|clock| carry(&mut self.carried, clock));
    }

    /// As [`Word::write`], by a lane whose warp has had its slot since `began`. `fenced` are clocks of its fences, `released`
    /// is that of this write.
    pub fn write_by(
        &mut self,
        owner: (u32, u32),
        began: u32,
        fenced: Vec<Released>,
        released: Option<Released>,
        atomic: bool,
    ) {
        let own = |old: &Released| old.owner == owner && old.time >= began;
        let past: Vec<Released> = self.past.iter().filter(|old| own(old)).cloned().collect();
        if let Some(released) = &released {
            // A later release of the lane has the earlier ones in it, unless it is narrower.
            self.past.retain(|old| old.owner != owner || (own(old) && old.scope > released.scope));
            self.past.push(released.clone());
            if self.past.len() > PAST_MAX {
                self.past.remove(0);
            }
        }
        self.write(past.into_iter().chain(fenced).chain(released), atomic);
    }
}
