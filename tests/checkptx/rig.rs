//! A driver with buffers that are watched: guard zones around each, outputs and shared memory poisoned beforehand.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use warpferry::driver::{AccessRule, Backend as Kind, Driver, Launch, StreamId, StreamPriority, Wait};
use warpferry::kernel::KernelImage;
use warpferry::mem::DevicePtr;

use crate::cases::{compare, same, Mismatch};
use crate::CHECKS;

/// Bytes before and after each buffer that nobody may touch.
const GUARD: u64 = 256;
/// Longest run of one kernel: in an emulated machine's time, and in a GPU's, where a checking tool may slow it down.
const PATIENCE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// Deadlines of kernels that are to wait in vain, in nanoseconds, and of those that are not, likewise.
const IN_VAIN_NS: [u64; 2] = [1_000_000, 50_000_000];
const NOT_IN_VAIN_NS: [u64; 2] = [1_000_000_000, 20_000_000_000];
/// What shared memory holds before a launch on a GPU.
const SHARED_PATTERN: u32 = 0xdead_beef;
/// Shared memory that a CTA has beyond what a launch asks for.
const SHARED_RESERVE: u32 = 1024;

/// A buffer of a case.
#[derive(Debug, Clone, Copy)]
pub struct Zone {
    /// Place in the rig's list.
    index: usize,
    /// Where the case's bytes start.
    pub start: DevicePtr,
    /// How many they are.
    pub bytes: u64,
}

#[derive(Debug)]
struct Kept {
    name: &'static str,
    base: DevicePtr,
    /// Offset of the case's bytes.
    at: u64,
    /// What the whole allocation held at first.
    first: Vec<u8>,
    bytes: u64,
    /// Inputs must come back as they were.
    constant: bool,
}

/// An argument of a launch.
#[derive(Debug, Clone, Copy)]
pub enum Arg {
    Zone(Zone),
    Word(u64),
}

/// A launch of a check kernel.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    pub kernel: &'a str,
    pub grid: u32,
    pub block: u32,
    pub shared_bytes: u32,
    /// Every parameter without `arg_`, in order.
    pub args: &'a [(&'a str, Arg)],
    /// Memory that the kernel finds through blocks: whether it writes there.
    pub reach: &'a [(Zone, bool)],
}

/// Runs kernels for one case.
pub struct Rig {
    driver: Arc<dyn Driver>,
    stream: StreamId,
    /// A damaged kernel that stands in for the one of its name.
    mutant: Option<&'static KernelImage>,
    kept: RefCell<Vec<Kept>>,
}

impl Rig {
    pub fn new(driver: Arc<dyn Driver>, mutant: Option<&'static KernelImage>) -> Result<Rig, Mismatch> {
        let stream = driver.create_stream(StreamPriority::NORMAL)?;
        Ok(Rig { driver, stream, mutant, kept: RefCell::default() })
    }

    /// A buffer with these bytes, which no kernel may change, `offset` bytes from a multiple of 256.
    pub fn input(&self, name: &'static str, bytes: &[u8], offset: u64) -> Result<Zone, Mismatch> {
        self.zone(name, bytes, offset, true)
    }

    /// A buffer with these bytes that kernels may change.
    pub fn shared(&self, name: &'static str, bytes: &[u8], offset: u64) -> Result<Zone, Mismatch> {
        self.zone(name, bytes, offset, false)
    }

    /// A poisoned buffer.
    pub fn output(&self, name: &'static str, bytes: u64, offset: u64) -> Result<Zone, Mismatch> {
        let poison: Vec<u8> = (0..bytes).map(poison).collect();
        self.zone(name, &poison, offset, false)
    }

    fn zone(&self, name: &'static str, bytes: &[u8], offset: u64, constant: bool) -> Result<Zone, Mismatch> {
        let (at, length) = (GUARD + offset, bytes.len() as u64);
        let mut first: Vec<u8> = (0..at + length + GUARD).map(guard).collect();
        first[at as usize..][..bytes.len()].copy_from_slice(bytes);
        let base = self.driver.alloc(first.len() as u64)?;
        same(&format!("{name}: address modulo 256"), base.address() % 256, 0)?;
        self.driver.copy_to_device(base, &first, self.stream)?;
        let mut kept = self.kept.borrow_mut();
        kept.push(Kept { name, base, at, first, bytes: length, constant });
        Ok(Zone { index: kept.len() - 1, start: base.offset(at), bytes: length })
    }

    /// The image called `name`, or the mutant of it.
    pub fn image(&self, name: &str) -> Result<&'static KernelImage, Mismatch> {
        let mutant = self.mutant.filter(|image| image.name == name);
        let found = mutant.or_else(|| CHECKS.iter().chain(warpferry::kernel::KERNELS).find(|image| image.name == name));
        found.ok_or_else(|| Mismatch::Failed(format!("this build has no kernel {name}")))
    }

    /// Launches and waits.
    pub fn run(&self, run: Run<'_>) -> Result<(), Mismatch> {
        if self.is_gpu() == 1 && run.kernel != "poison_shared" {
            self.poison_shared()?;
        }
        let image = self.image(run.kernel)?;
        let names: Vec<&str> = image.args.iter().map(|arg| arg.name.strip_prefix("arg_").unwrap_or(arg.name)).collect();
        same(&format!("arguments of {}", run.kernel), run.args.iter().map(|arg| arg.0).collect(), names)?;
        let mut args = vec![0; image.argument_bytes() as usize];
        let mut access = Vec::new();
        for (arg, &(_, given)) in image.args.iter().zip(run.args) {
            let value = match given {
                Arg::Word(value) => value,
                Arg::Zone(zone) => {
                    let (read, write) = arg.pointer.map_or((true, true), |pointer| (pointer.read, pointer.write));
                    if zone.bytes > 0 {
                        access.push(AccessRule { address: zone.start, bytes: zone.bytes, read, write });
                    }
                    zone.start.address()
                }
            };
            let width = arg.ty.bytes() as usize;
            args[arg.offset as usize..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        for &(zone, write) in run.reach {
            access.push(AccessRule { address: zone.start, bytes: zone.bytes, read: true, write });
        }
        let function = self.driver.load(image)?;
        self.driver.launch(&Launch {
            function,
            grid: run.grid,
            block: run.block,
            shared_bytes: run.shared_bytes,
            stream: self.stream,
            args: &args,
            access: &access,
        })?;
        let patience = PATIENCE[self.is_gpu()];
        match self.driver.synchronize(self.stream, patience)? {
            Wait::Done => Ok(()),
            Wait::TimedOut => Err(Mismatch::Failed(format!("{} does not end within {patience:?}", run.kernel))),
        }
    }

    /// The present bytes of a buffer.
    pub fn read(&self, zone: Zone) -> Result<Vec<u8>, Mismatch> {
        let mut bytes = vec![0; zone.bytes as usize];
        if zone.bytes > 0 {
            self.driver.copy_from_device(&mut bytes, zone.start, self.stream)?;
        }
        Ok(bytes)
    }

    /// Compares a buffer with what it should hold.
    pub fn expect(&self, zone: Zone, expected: &[u8]) -> Result<(), Mismatch> {
        let name = self.kept.borrow()[zone.index].name;
        compare(name, &self.read(zone)?, expected)
    }

    /// Guards of all buffers, and inputs, are as they were.
    pub fn untouched(&self) -> Result<(), Mismatch> {
        self.kept.borrow().iter().try_for_each(|kept| self.kept_whole(kept))
    }

    /// Bytes that shared memory of a launch may have with `image`.
    pub fn shared_bytes_max(&self, image: &KernelImage) -> u32 {
        self.driver.info().shared_bytes - image.static_shared.next_multiple_of(SHARED_RESERVE)
    }

    /// Deadline in nanoseconds of a kernel that waits `in_vain`, or for what comes.
    pub fn deadline_ns(&self, in_vain: bool) -> u64 {
        if in_vain {
            IN_VAIN_NS[self.is_gpu()]
        } else {
            NOT_IN_VAIN_NS[self.is_gpu()]
        }
    }

    /// SMs of the device.
    pub fn sms(&self) -> u32 {
        self.driver.info().sms
    }

    /// 1 on a GPU, 0 on the emulator.
    fn is_gpu(&self) -> usize {
        usize::from(self.driver.info().backend == Kind::Cuda)
    }

    fn kept_whole(&self, kept: &Kept) -> Result<(), Mismatch> {
        let mut now = vec![0; kept.first.len()];
        self.driver.copy_from_device(&mut now, kept.base, self.stream)?;
        let inside = kept.at as usize..(kept.at + kept.bytes) as usize;
        if kept.constant {
            compare(&format!("input {}", kept.name), &now[inside.clone()], &kept.first[inside.clone()])?;
        }
        let broken = (0..now.len()).find(|at| !inside.contains(at) && now[*at] != kept.first[*at]);
        match broken {
            None => Ok(()),
            Some(at) => Err(Mismatch::Guard {
                what: kept.name.to_string(),
                offset: at as i64 - kept.at as i64,
                expected: kept.first[at],
                got: now[at],
            }),
        }
    }

    /// Fills all shared memory of all SMs, so that a kernel which reads what it never wrote is seen.
    fn poison_shared(&self) -> Result<(), Mismatch> {
        let image = self.image("poison_shared")?;
        let bytes = self.shared_bytes_max(image);
        let seen = self.output("words of poisoned shared memory", 4 * u64::from(self.sms()), 0)?;
        self.run(Run {
            kernel: "poison_shared",
            grid: self.sms(),
            block: 1024,
            shared_bytes: bytes,
            args: &[
                ("seen", Arg::Zone(seen)),
                ("bytes", Arg::Word(bytes.into())),
                ("pattern", Arg::Word(SHARED_PATTERN.into())),
            ],
            reach: &[],
        })?;
        self.expect(seen, &(bytes / 4).to_le_bytes().repeat(self.sms() as usize))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A case that failed may have left the device without a working context: then nothing can be given back.
        for kept in self.kept.borrow().iter() {
            let _ = self.driver.free(kept.base);
        }
        let _ = self.driver.destroy_stream(self.stream);
    }
}

/// Guard byte at `at`.
fn guard(at: u64) -> u8 {
    0xa5 ^ (at as u8).wrapping_mul(31)
}

/// Byte `at` of an output that nobody has written.
pub fn poison(at: u64) -> u8 {
    0xdb ^ (at as u8).wrapping_mul(13)
}

#[test]
fn a_byte_beside_a_buffer_and_a_changed_input_are_seen() {
    let rig = || {
        let driver = crate::backend::Backend::Emulator { schedule: None }.driver(1).expect("an emulated GPU");
        Rig::new(driver, None).expect("a rig")
    };
    let damage = |at: i64| {
        let rig = rig();
        let output = rig.output("out", 48, 16).expect("memory");
        let input = rig.input("in", &[7; 32], 32).expect("memory");
        rig.untouched().expect("nothing was touched");
        let zone = if at == 7 { input } else { output };
        let to = DevicePtr::new(zone.start.address().wrapping_add_signed(at));
        rig.driver.copy_to_device(to, &[0], rig.stream).expect("the copy is inside the allocation");
        rig.untouched().map_err(|mismatch| mismatch.to_string())
    };
    assert_eq!(damage(0), Ok(()));
    assert_eq!(damage(47), Ok(()));
    for at in [-256, -1, 48, 48 + 255] {
        assert!(damage(at).is_err_and(|what| what.contains(&format!("guard byte at {at} "))), "{at}");
    }
    assert!(damage(7).is_err_and(|what| what.contains("input in differs first at byte 7")));
}
