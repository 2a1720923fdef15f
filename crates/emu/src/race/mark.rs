//! Accesses as the shadow of memory keeps them.

use super::Scope;
use crate::program::Order;

/// A recorded access. `time` is the agent's time; for a deferred access it is the number of a [`Completion`].
///
/// [`Completion`]: super::completion::Completion
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub slot: u32,
    pub time: u32,
    /// Lanes that did it; bit 0 for agents without lanes.
    pub lanes: u32,
    /// The instruction's number in its program.
    pub site: u32,
    pub what: What,
    /// Bytes concerned of a cell of four: bit 0 is the first.
    pub bytes: u8,
}

/// What an access is, packed: nothing at all when 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct What(u16);

impl What {
    pub const READ: What = What(1);
    pub const WRITE: What = What(2);
    pub const ATOMIC: What = What(3);
    const STRONG: u16 = 4;
    const ASYNC: u16 = 8;
    const CONSTANT: u16 = 16;
    const DEVICE: u16 = 32;
    const BARRIER: u16 = 64;
    const DEFERRED: u16 = 1 << 15;
    const SCOPE: u32 = 7;
    const SIZE: u32 = 9;
    const ORDER: u32 = 12;

    /// A strong access of elements of `bytes` bytes.
    pub fn strong(self, order: Order, scope: Scope, bytes: usize) -> What {
        let size = bytes.trailing_zeros() as u16;
        What(self.0 | What::STRONG | (scope as u16) << What::SCOPE | size << What::SIZE | (order as u16) << What::ORDER)
    }

    /// By a bulk copy: through the async proxy, some time.
    pub fn by_copy(self) -> What {
        What(self.0 | What::ASYNC | What::DEFERRED)
    }

    /// Through the generic proxy, some time until its completion is known.
    pub fn deferred(self) -> What {
        What(self.0 | What::DEFERRED)
    }

    /// Through `.nc`.
    pub fn constant(self) -> What {
        What(self.0 | What::CONSTANT)
    }

    /// By a NIC or a host, whose accesses have no size of their own.
    pub fn by_device(self) -> What {
        What(self.0 | What::DEVICE)
    }

    /// Of an mbarrier object.
    pub fn barrier(self) -> What {
        What(self.0 | What::BARRIER)
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    pub fn writes(self) -> bool {
        self.0 & 2 != 0
    }

    pub fn is_atomic(self) -> bool {
        self.0 & 3 == 3
    }

    pub fn is_strong(self) -> bool {
        self.0 & What::STRONG != 0
    }

    /// Whether `time` of the mark is a completion's number.
    pub fn is_deferred(self) -> bool {
        self.0 & What::DEFERRED != 0
    }

    /// Of the async proxy.
    pub fn is_async(self) -> bool {
        self.0 & What::ASYNC != 0
    }

    pub fn is_constant(self) -> bool {
        self.0 & What::CONSTANT != 0
    }

    pub fn is_device(self) -> bool {
        self.0 & What::DEVICE != 0
    }

    pub fn is_barrier(self) -> bool {
        self.0 & What::BARRIER != 0
    }

    pub fn scope(self) -> Scope {
        [Scope::Cta, Scope::Cluster, Scope::Gpu, Scope::Sys][(self.0 >> What::SCOPE & 3) as usize]
    }

    /// Bytes of an element of a strong access.
    pub fn size(self) -> u32 {
        1 << (self.0 >> What::SIZE & 7)
    }

    pub fn order(self) -> Order {
        use Order::*;
        let orders = [Weak, Volatile, Relaxed, Acquire, Release, AcqRel, Sc];
        if self.is_strong() {
            orders[(self.0 >> What::ORDER & 7) as usize]
        } else {
            Weak
        }
    }
}
