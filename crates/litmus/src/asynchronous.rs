//! Instructions of the async proxy and of mbarriers, as PTX writes them.

use crate::ast::{Access, Instruction, Operand, Order, ProxyFence, Space};
use crate::error::Error;
use crate::instruction::Reader;

/// Qualifiers that say where an operand is or how it is typed, which the declarations say too.
const SPACES: [&str; 5] = ["shared", "shared::cta", "shared::cluster", "global", "b64"];

impl Reader<'_, '_> {
    /// `cp.async.bulk`, `cp.async.bulk.commit_group`, `cp.async.bulk.wait_group`
    pub(crate) fn copy(&mut self, rest: &[&str]) -> Result<Instruction, Error> {
        match rest {
            ["async", "bulk", "commit_group"] => Ok(Instruction::CommitGroup),
            ["async", "bulk", "wait_group"] => self.wait_group(false),
            ["async", "bulk", "wait_group", "read"] => self.wait_group(true),
            ["async", "bulk", "shared::cta" | "shared::cluster", "global", "mbarrier::complete_tx::bytes"] => {
                let (target, source, bytes) = self.copied(Space::Shared)?;
                self.tokens.expect(",")?;
                let mbarrier = Some(self.mbarrier()?);
                Ok(Instruction::Bulk { target, source, bytes, mbarrier })
            }
            ["async", "bulk", "global", "shared::cta", "bulk_group"] => {
                let (target, source, bytes) = self.copied(Space::Global)?;
                Ok(Instruction::Bulk { target, source, bytes, mbarrier: None })
            }
            _ => self.refuse(format!(
                "`cp.{}` is not supported: cp.async.bulk from global to shared memory with an mbarrier, from shared to \
                 global memory with a bulk group, commit_group, wait_group",
                rest.join(".")
            )),
        }
    }

    fn wait_group(&mut self, read: bool) -> Result<Instruction, Error> {
        match self.operand()? {
            Operand::Constant(pending @ 0..) => Ok(Instruction::WaitGroup { pending: pending as usize, read }),
            _ => self.refuse("a wait_group takes a number from 0"),
        }
    }

    /// Target, source and bytes of a copy into this space.
    fn copied(&mut self, into: Space) -> Result<(usize, usize, i64), Error> {
        let from = if into == Space::Shared { Space::Global } else { Space::Shared };
        let place = |reader: &mut Self, space: Space| {
            let location = reader.location()?;
            let is = &reader.names.locations[location];
            if is.space != space {
                let name = is.name.clone();
                return reader.refuse(format!(
                    "`{name}` is not in {} memory: a location of shared memory is declared as `{name}=0 @ shared`",
                    if space == Space::Shared { "shared" } else { "global" }
                ));
            }
            Ok(location)
        };
        let target = place(self, into)?;
        self.tokens.expect(",")?;
        let source = place(self, from)?;
        self.tokens.expect(",")?;
        let bytes = self.bytes()?;
        if bytes % 16 != 0 || bytes == 0 {
            return self.refuse(format!("a bulk copy of {bytes} bytes: a positive multiple of 16"));
        }
        Ok((target, source, bytes))
    }

    fn bytes(&mut self) -> Result<i64, Error> {
        match self.operand()? {
            Operand::Constant(bytes @ 0..) => Ok(bytes),
            _ => self.refuse("bytes are a number from 0"),
        }
    }

    /// `mbarrier.init`, `.arrive`, `.arrive.expect_tx`, `.expect_tx`, `.test_wait.parity`, `.try_wait.parity`
    pub(crate) fn on_mbarrier(&mut self, rest: &[&str]) -> Result<Instruction, Error> {
        let rest: Vec<&str> = rest.iter().copied().filter(|part| !SPACES.contains(part)).collect();
        match rest.as_slice() {
            ["init"] => {
                let mbarrier = self.mbarrier()?;
                self.tokens.expect(",")?;
                let count = match self.operand()? {
                    Operand::Constant(count @ 1..) => count,
                    _ => return self.refuse("an mbarrier takes a number of arrivals from 1"),
                };
                let place = self.names.locations[mbarrier].memory;
                if self.names.mbarriers[place].is_some_and(|known| known != 0) {
                    return self.refuse("an mbarrier is initialized once, here or in its declaration");
                }
                self.names.mbarriers[place] = Some(count);
                Ok(Instruction::MbarrierInit { mbarrier, count })
            }
            ["arrive", "expect_tx", order @ ..] => {
                let access = self.mbarrier_access(order, Order::Release)?;
                let mbarrier = self.arrives_at()?;
                self.tokens.expect(",")?;
                let expects = self.bytes()?;
                Ok(Instruction::Arrive { mbarrier, arrives: true, expects, access })
            }
            ["arrive", order @ ..] => {
                let access = self.mbarrier_access(order, Order::Release)?;
                Ok(Instruction::Arrive { mbarrier: self.arrives_at()?, arrives: true, expects: 0, access })
            }
            ["expect_tx", "relaxed", scope @ ..] => {
                let access = self.mbarrier_access(&[&["relaxed"], scope].concat(), Order::Release)?;
                let mbarrier = self.mbarrier()?;
                self.tokens.expect(",")?;
                let expects = self.bytes()?;
                Ok(Instruction::Arrive { mbarrier, arrives: false, expects, access })
            }
            ["test_wait" | "try_wait", "parity", order @ ..] => {
                let access = self.mbarrier_access(order, Order::Acquire)?;
                let into = self.destination()?;
                let mbarrier = self.mbarrier()?;
                self.tokens.expect(",")?;
                match self.operand()? {
                    Operand::Constant(parity @ 0..=1) => Ok(Instruction::Wait { into, mbarrier, parity, access }),
                    _ => self.refuse("a phase has parity 0 or 1"),
                }
            }
            _ => self.refuse(format!(
                "`mbarrier.{}` is not supported: init, arrive, arrive.expect_tx, expect_tx.relaxed, test_wait.parity, \
                 try_wait.parity",
                rest.join(".")
            )),
        }
    }

    /// The mbarrier of an arrival, whose state nobody takes.
    fn arrives_at(&mut self) -> Result<usize, Error> {
        if self.tokens.take_word("_") {
            self.tokens.expect(",")?;
        }
        self.mbarrier()
    }

    /// Order and scope of an mbarrier operation; without, what PTX says.
    fn mbarrier_access(&mut self, rest: &[&str], ordered: Order) -> Result<Access, Error> {
        let mut found = self.qualifiers("mbarrier", rest)?;
        found.order = found.order.or(Some(ordered));
        found.scope = found.scope.or(Some(crate::ast::Scope::Cta));
        self.access("mbarrier", &found, &[Order::Relaxed, ordered])
    }

    fn mbarrier(&mut self) -> Result<usize, Error> {
        let location = self.location()?;
        let of = &self.names.locations[location];
        if self.names.mbarriers[of.memory].is_none() {
            let name = of.name.clone();
            return self.refuse(format!(
                "`{name}` is not an mbarrier: declare it as `{name} @ mbarrier 1`, or without the number where the test \
                 initializes it"
            ));
        }
        Ok(location)
    }

    /// `fence.mbarrier_init.release.cluster`
    pub(crate) fn mbarrier_fence(&mut self, rest: &[&str]) -> Result<Instruction, Error> {
        match rest {
            ["mbarrier_init", "release", "cluster"] => Ok(Instruction::FenceProxy(ProxyFence::MbarrierInit)),
            _ => self.refuse("a fence of mbarriers is fence.mbarrier_init.release.cluster"),
        }
    }
}
