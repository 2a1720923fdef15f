//! Fixed splits of a CTA's workers over the three kinds of stream.

use std::fmt;

use warpferry::plan::{Role, Roles};

/// Warps that only send, only forward, only receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Split {
    pub send: u32,
    pub forward: u32,
    pub receive: u32,
}

impl Split {
    /// Every split of so many workers: each kind has one at least.
    pub fn all(workers: u32) -> Vec<Split> {
        let pairs = (1..workers).flat_map(|send| (1..workers).map(move |forward| (send, forward)));
        let left = |&(send, forward): &(u32, u32)| send + forward < workers;
        pairs.filter(left).map(|(send, forward)| Split { send, forward, receive: workers - send - forward }).collect()
    }

    /// The setting that gives it.
    pub fn roles(self) -> Roles {
        let warps = [(Role::Send, self.send), (Role::Forward, self.forward), (Role::Receive, self.receive)];
        Roles::Custom(warps.iter().flat_map(|&(role, count)| vec![vec![role]; count as usize]).collect())
    }
}

impl fmt::Display for Split {
    /// `SEND+FORWARD+RECEIVE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.send, self.forward, self.receive)
    }
}
