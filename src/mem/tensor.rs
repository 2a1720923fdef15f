//! Typed device memory with a shape and an owner.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};

use super::stream::Stream;
use super::{Buffer, DevicePtr};
use crate::driver::Driver;
use crate::error::{Error, Result};

/// Alignment of tensors in bytes: kernels move 16 bytes at once.
const TENSOR_ALIGN: u64 = 16;

/// Type of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// 32-bit float.
    F32,
    /// 32-bit integer with sign.
    I32,
    /// 64-bit integer with sign: counters, which never become negative.
    I64,
    /// Byte.
    U8,
    /// 8-bit float with 4 bits of exponent.
    E4m3,
    /// 8-bit float with 5 bits of exponent.
    E5m2,
    /// Scale of one byte, a power of two.
    Ue8m0,
}

impl DType {
    /// Bytes of an element.
    pub const fn bytes(self) -> u64 {
        match self {
            DType::U8 | DType::E4m3 | DType::E5m2 | DType::Ue8m0 => 1,
            DType::Bf16 | DType::F16 => 2,
            DType::F32 | DType::I32 => 4,
            DType::I64 => 8,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::F32 => "f32",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::E4m3 => "e4m3",
            DType::E5m2 => "e5m2",
            DType::Ue8m0 => "ue8m0",
        })
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
    impl Sealed for f32 {}
    impl Sealed for i32 {}
    impl Sealed for i64 {}
    impl Sealed for u8 {}
}

/// A Rust type that tensors hold.
pub trait Element: sealed::Sealed + Copy {
    /// Its name on the device.
    const DTYPE: DType;

    /// Appends the value as devices store it.
    fn append(self, bytes: &mut Vec<u8>);

    /// The value that `bytes`, exactly one element, hold.
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($ty:ty, $dtype:ident, $size:literal) => {
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;

            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn from_bytes(bytes: &[u8]) -> Self {
                <$ty>::from_le_bytes(*bytes.first_chunk::<$size>().expect("the caller cuts whole elements"))
            }
        }
    };
}

element!(bf16, Bf16, 2);
element!(f16, F16, 2);
element!(f32, F32, 4);
element!(i32, I32, 4);
element!(i64, I64, 8);
element!(u8, U8, 1);

/// The communicator that a tensor was made for: its kernels' stream orders everything that happens to the tensor.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub communicator: u64,
    pub driver: Arc<dyn Driver>,
    pub stream: Arc<Stream>,
}

/// Device memory with type, shape and owner. Clones share the memory; it is freed when the last one goes, and an
/// operation under way holds clones of what it uses. Shared memory cannot be written from the host.
#[derive(Debug, Clone)]
pub struct Tensor {
    buffer: Arc<Buffer>,
    communicator: u64,
    stream: Arc<Stream>,
    offset: u64,
    dtype: DType,
    shape: Vec<usize>,
}

fn size(dtype: DType, shape: &[usize]) -> Result<u64> {
    shape
        .iter()
        .try_fold(dtype.bytes(), |bytes, &length| bytes.checked_mul(length as u64))
        .filter(|&bytes| bytes <= i64::MAX as u64)
        .ok_or_else(|| Error::argument("shape", format!("{shape:?}"), "a shape of less than 2^63 bytes"))
}

fn to_bytes<T: Element>(values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * T::DTYPE.bytes() as usize);
    values.iter().for_each(|value| value.append(&mut bytes));
    bytes
}

fn check_length<T>(values: &[T], shape: &[usize]) -> Result<()> {
    let elements = shape.iter().try_fold(1usize, |elements, &length| elements.checked_mul(length));
    let Some(elements) = elements else {
        return Err(Error::argument("shape", format!("{shape:?}"), "a shape of less than 2^63 bytes"));
    };
    if values.len() != elements {
        return Err(Error::argument(
            "values",
            format!("{} elements", values.len()),
            format!("{elements} for shape {shape:?}"),
        ));
    }
    Ok(())
}

impl Tensor {
    pub(crate) fn empty(owner: &Owner, dtype: DType, shape: &[usize]) -> Result<Tensor> {
        let buffer = Buffer::new(&owner.driver, size(dtype, shape)?)?;
        Ok(Tensor::of(owner, buffer, dtype, shape))
    }

    pub(crate) fn from_slice<T: Element>(owner: &Owner, values: &[T], shape: &[usize]) -> Result<Tensor> {
        size(T::DTYPE, shape)?;
        check_length(values, shape)?;
        let buffer = Buffer::with_contents(&owner.driver, &to_bytes(values), owner.stream.id())?;
        Ok(Tensor::of(owner, buffer, T::DTYPE, shape))
    }

    pub(crate) fn from_bytes(owner: &Owner, dtype: DType, bytes: &[u8], shape: &[usize]) -> Result<Tensor> {
        let need = size(dtype, shape)?;
        if bytes.len() as u64 != need {
            let valid = format!("{need} for {dtype} of shape {shape:?}");
            return Err(Error::argument("bytes", format!("{} bytes", bytes.len()), valid));
        }
        let buffer = Buffer::with_contents(&owner.driver, bytes, owner.stream.id())?;
        Ok(Tensor::of(owner, buffer, dtype, shape))
    }

    pub(crate) fn lent(
        owner: &Owner,
        ptr: DevicePtr,
        bytes: u64,
        dtype: DType,
        shape: &[usize],
        keeper: Box<dyn Any + Send + Sync>,
    ) -> Result<Tensor> {
        let need = size(dtype, shape)?;
        if bytes < need {
            return Err(Error::argument("bytes", bytes, format!("at least {need} for {dtype} of shape {shape:?}")));
        }
        if !ptr.address().is_multiple_of(TENSOR_ALIGN) || ptr == DevicePtr::NULL {
            return Err(Error::argument("ptr", ptr, format!("device memory aligned to {TENSOR_ALIGN} bytes")));
        }
        let buffer = Buffer::lent(&owner.driver, ptr, bytes, keeper);
        Ok(Tensor::of(owner, buffer, dtype, shape))
    }

    /// A part of `buffer`, which the tensor keeps.
    pub(crate) fn part(owner: &Owner, buffer: &Arc<Buffer>, offset: u64, dtype: DType, shape: &[usize]) -> Tensor {
        Tensor {
            buffer: Arc::clone(buffer),
            communicator: owner.communicator,
            stream: Arc::clone(&owner.stream),
            offset,
            dtype,
            shape: shape.to_vec(),
        }
    }

    /// All of `buffer`.
    pub(crate) fn of(owner: &Owner, buffer: Buffer, dtype: DType, shape: &[usize]) -> Tensor {
        Tensor {
            buffer: Arc::new(buffer),
            communicator: owner.communicator,
            stream: Arc::clone(&owner.stream),
            offset: 0,
            dtype,
            shape: shape.to_vec(),
        }
    }

    /// Copies `values` into the tensor.
    ///
    /// # Errors
    /// [`Error::Argument`] when the type or number of values differs, or the memory is shared with a clone or an
    /// operation under way, or is lent: its owner writes it.
    pub fn write<T: Element>(&mut self, values: &[T]) -> Result<()> {
        self.check_type::<T>()?;
        check_length(values, &self.shape)?;
        if self.buffer.is_lent() {
            // The copy could still be under way when the last clone goes and the owner gets the memory back.
            return Err(Error::argument("tensor", "memory that a caller lends", "a tensor of the communicator's own"));
        }
        let to = self.ptr();
        match Arc::get_mut(&mut self.buffer) {
            Some(_) if values.is_empty() => Ok(()),
            Some(buffer) => buffer.driver().copy_to_device(to, &to_bytes(values), self.stream.id()),
            None => Err(Error::argument(
                "tensor",
                "memory in use",
                "a tensor that neither a clone nor an operation under way shares",
            )),
        }
    }

    /// Copies `values` into the tensor, whoever shares it, in the order of the stream.
    pub(crate) fn overwrite<T: Element>(&self, values: &[T]) -> Result<()> {
        self.check_type::<T>()?;
        check_length(values, &self.shape)?;
        self.overwrite_bytes(&to_bytes(values))
    }

    /// The same from bytes.
    pub(crate) fn overwrite_bytes(&self, bytes: &[u8]) -> Result<()> {
        if self.buffer.is_lent() {
            return Err(Error::argument("tensor", "memory that a caller lends", "a tensor of the communicator's own"));
        }
        if bytes.len() as u64 != self.bytes() {
            let valid = format!("{} for {} of shape {:?}", self.bytes(), self.dtype, self.shape);
            return Err(Error::argument("bytes", format!("{} bytes", bytes.len()), valid));
        }
        match bytes.is_empty() {
            true => Ok(()),
            false => self.buffer.driver().copy_to_device(self.ptr(), bytes, self.stream.id()),
        }
    }

    /// Copies the contents to the host, after everything that the stream holds.
    ///
    /// # Errors
    /// [`Error::Argument`] when the tensor holds another type; what the driver says.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.check_type::<T>()?;
        let bytes = self.to_bytes()?;
        Ok(bytes.chunks_exact(T::DTYPE.bytes() as usize).map(T::from_bytes).collect())
    }

    /// Copies the contents to the host as they lie in memory.
    ///
    /// # Errors
    /// What the driver says.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes() as usize];
        if !bytes.is_empty() {
            self.buffer.driver().copy_from_device(&mut bytes, self.ptr(), self.stream.id())?;
        }
        Ok(bytes)
    }

    /// Rows `range` of the first dimension; shares the memory.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are not so many.
    pub fn narrow(&self, range: Range<usize>) -> Result<Tensor> {
        let Some((&rows, row)) = self.shape.split_first() else {
            return Err(Error::argument("tensor", "no dimensions", "a tensor with rows"));
        };
        if range.start > range.end || range.end > rows {
            return Err(Error::argument("range", format!("{range:?}"), format!("within 0..{rows}")));
        }
        // A tensor without rows may have rows of any length.
        let row_bytes = size(self.dtype, row)?;
        let mut narrowed = self.clone();
        narrowed.shape[0] = range.len();
        narrowed.offset += range.start as u64 * row_bytes;
        Ok(narrowed)
    }

    /// The same elements in another shape; shares the memory.
    ///
    /// # Errors
    /// [`Error::Argument`] when the number of elements differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        if size(self.dtype, shape)? != self.bytes() {
            return Err(Error::argument(
                "shape",
                format!("{shape:?}"),
                format!("as many elements as {:?}", self.shape),
            ));
        }
        Ok(Tensor { shape: shape.to_vec(), ..self.clone() })
    }

    /// The same bytes as elements of another type of the same size; shares the memory. So bytes of a caller become FP8 rows
    /// or scales.
    ///
    /// # Errors
    /// [`Error::Argument`] when an element of `dtype` has another size.
    pub fn view_as(&self, dtype: DType) -> Result<Tensor> {
        if dtype.bytes() != self.dtype.bytes() {
            let valid = format!("a type of {} bytes, as {} is", self.dtype.bytes(), self.dtype);
            return Err(Error::argument("dtype", dtype, valid));
        }
        Ok(Tensor { dtype, ..self.clone() })
    }

    /// Type of an element.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Length of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes of the elements.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * self.dtype.bytes()
    }

    /// Where the device sees it.
    pub fn ptr(&self) -> DevicePtr {
        self.buffer.ptr().offset(self.offset)
    }

    pub(crate) fn communicator(&self) -> u64 {
        self.communicator
    }

    /// Whether the memory is a caller's.
    #[cfg(feature = "cuda")]
    pub(crate) fn is_lent(&self) -> bool {
        self.buffer.is_lent()
    }

    fn check_type<T: Element>(&self) -> Result<()> {
        if T::DTYPE == self.dtype {
            return Ok(());
        }
        Err(Error::argument("element", T::DTYPE, format!("{}, the tensor's type", self.dtype)))
    }
}
