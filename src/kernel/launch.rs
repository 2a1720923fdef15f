//! A loaded kernel and its launch: the one place where typed arguments become bytes.

use std::marker::PhantomData;
use std::sync::Arc;

use super::args::{self, Args};
use super::image::KernelImage;
use crate::driver::{AccessRule, Driver, FunctionId, Launch, StreamId};
use crate::error::{Error, Result};
use crate::mem::DevicePtr;
use crate::plan::{Fabric, Landing, Payload, Shape, Sum, Tuning};

/// Grid, block, shared memory and stream of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    /// CTAs.
    pub grid: u32,
    /// Threads of a CTA.
    pub block: u32,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// Stream.
    pub stream: StreamId,
}

/// Memory behind a pointer argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// The argument without `arg_`.
    pub arg: &'static str,
    /// Start.
    pub address: DevicePtr,
    /// Size.
    pub bytes: u64,
}

/// A kernel that was loaded, with the type of its arguments.
#[derive(Debug)]
pub struct Kernel<A> {
    image: &'static KernelImage,
    function: FunctionId,
    args: PhantomData<fn(A)>,
}

impl<A: Args> Kernel<A> {
    /// Loads `image` and checks that it takes `A`.
    ///
    /// # Errors
    /// [`Error::Bug`] when the parameters differ; what the driver says.
    pub fn load(driver: &Arc<dyn Driver>, image: &'static KernelImage) -> Result<Kernel<A>> {
        args::check::<A>(image)?;
        let function = driver.load(image)?;
        let attributes = driver.attributes(function)?;
        if attributes.argument_bytes < image.argument_bytes() {
            return Err(Error::Bug(format!(
                "kernel {} takes {} argument bytes, the driver found {}",
                image.name,
                image.argument_bytes(),
                attributes.argument_bytes
            )));
        }
        Ok(Kernel { image, function, args: PhantomData })
    }

    /// Most threads of a CTA: the size of a CTA whose kernel takes any.
    pub fn max_threads(&self) -> u32 {
        self.image.max_threads
    }

    /// Puts a launch into its stream. `regions` says how large the memory behind the arguments is and `reach` what
    /// else the kernel may touch, so that a driver can hold it to its contract.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when a CTA is larger than the kernel allows; what the driver says.
    pub fn launch(
        &self,
        driver: &Arc<dyn Driver>,
        at: Dimensions,
        args: &A,
        regions: &[Region],
        reach: &[AccessRule],
    ) -> Result<()> {
        if at.block > self.image.max_threads {
            return Err(Error::Unsupported {
                need: format!("CTAs of {} threads", at.block),
                have: format!("kernel {} allows {}", self.image.name, self.image.max_threads),
            });
        }
        let mut access = self.rules(regions);
        access.extend_from_slice(reach);
        driver.launch(&Launch {
            function: self.function,
            grid: at.grid,
            block: at.block,
            shared_bytes: at.shared_bytes,
            stream: at.stream,
            args: &args.to_bytes(),
            access: &access,
        })
    }

    fn rules(&self, regions: &[Region]) -> Vec<AccessRule> {
        let of = |region: &Region| {
            let pointer = self
                .image
                .args
                .iter()
                .find(|arg| arg.name.strip_prefix("arg_") == Some(region.arg))
                .and_then(|arg| arg.pointer)?;
            Some(AccessRule { address: region.address, bytes: region.bytes, read: pointer.read, write: pointer.write })
        };
        regions.iter().filter(|region| region.bytes > 0 && region.address != DevicePtr::NULL).filter_map(of).collect()
    }
}

/// The kernels of a communicator.
#[derive(Debug, Clone, Copy)]
pub struct KernelSet {
    /// `layout`.
    pub layout: &'static KernelImage,
    /// `exchange_*`.
    pub exchange: &'static KernelImage,
    /// `pad`, for rows by expert.
    pub pad: &'static KernelImage,
    /// `dispatch_staged_*`.
    pub dispatch: &'static KernelImage,
    /// `combine_staged_*`, of the type that is summed.
    pub combine: &'static KernelImage,
}

impl KernelSet {
    /// The embedded kernels for a fabric and rows of bf16.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the build has not all of them.
    pub fn embedded(fabric: Fabric) -> Result<KernelSet> {
        KernelSet::of_types(fabric, Payload::Bf16, Sum::Bf16, Landing::Staged)
    }

    /// The embedded kernels for a fabric, what is moved, and where it lands.
    ///
    /// # Errors
    /// As [`KernelSet::embedded`].
    pub fn of_shape(fabric: Fabric, shape: &Shape, tuning: &Tuning) -> Result<KernelSet> {
        KernelSet::of_types(fabric, shape.payload(), shape.sum(), tuning.landing_of(shape))
    }

    fn of_types(fabric: Fabric, payload: Payload, sum: Sum, landing: Landing) -> Result<KernelSet> {
        let find = |stem: &str| super::find(&format!("{stem}_{}", fabric.name()));
        Ok(KernelSet {
            layout: super::find("layout")?,
            exchange: find("exchange")?,
            pad: super::find("pad")?,
            dispatch: find(&match (landing, payload.quantization()) {
                (Landing::Staged, None) => "dispatch_staged".to_string(),
                (Landing::Staged, Some(how)) => format!("dispatch_staged_{}", how.format()),
                (Landing::Direct { .. }, None) => "dispatch_direct".to_string(),
                (Landing::Direct { .. }, Some(how)) => format!("dispatch_direct_{}", how.format()),
            })?,
            combine: find(&format!("combine_staged_{}", sum.name()))?,
        })
    }
}
