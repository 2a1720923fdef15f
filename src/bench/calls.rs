//! Calls of a demo or a bench: dispatch and combine from host data, their results on the host, all ranks at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::rows::{by_expert, RankInputs};
use crate::comm::Canceller;
use crate::error::{Error, Result};
use crate::reference::{CombineOutput, DispatchOutput, Row};
use crate::{Combine, Combined, Communicator, Dispatch, Dispatched, Handle, Tensor, World};

/// Longest that the host waits for an operation; kernels give up on their own long before.
pub const WAIT: Duration = Duration::from_secs(3600);

/// Runs `act` once a rank. On a GPU the first rank that fails stops the others' kernels, which would wait for it until
/// their time is out; its error is the one that counts. On the emulator that time is virtual.
///
/// # Errors
/// The first error of a rank.
pub fn on_all<T: Send>(world: &mut World, act: impl Fn(&mut Communicator) -> Result<T> + Sync) -> Result<Vec<T>> {
    let others: Vec<Canceller> = match world.is_emulated() {
        true => Vec::new(),
        false => world.communicators().iter().map(Communicator::canceller).collect(),
    };
    let first: Mutex<Option<Error>> = Mutex::new(None);
    let results = world.run(|communicator| {
        act(communicator).inspect_err(|error| {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.is_some() {
                return;
            }
            *first = Some(error.clone());
            drop(first);
            for other in &others {
                // A GPU that has failed altogether cannot be told anything; its kernels are gone already.
                let _ = other.cancel();
            }
        })
    })?;
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => results.into_iter().collect(),
    }
}

/// The dispatch of what a rank sends.
///
/// # Errors
/// As [`Communicator::tensor_of_bytes`]: what the driver says.
pub fn dispatch(communicator: &Communicator, sent: &RankInputs, timeout: Option<Duration>) -> Result<Dispatch> {
    let shape = communicator.plan().shape;
    let topk = shape.topk() as usize;
    let tokens = sent.topk_idx.len() / topk;
    let payload = shape.payload();
    let columns = payload.columns(shape.hidden()) as usize;
    let x = communicator.tensor_of_bytes(payload.given(), &sent.x, &[tokens, columns])?;
    let topk_idx = communicator.tensor(&sent.topk_idx, &[tokens, topk])?;
    let weights = communicator.tensor(&sent.topk_weights, &[tokens, topk])?;
    let mut operation = Dispatch::new(&x, &topk_idx).weights(&weights);
    if let Some(kind) = payload.scales().filter(|_| payload.takes_scales()) {
        let shape = [tokens, shape.scale_columns() as usize];
        operation = operation.scales(&communicator.tensor_of_bytes(kind.dtype(), &sent.scales, &shape)?);
    }
    if let Some(timeout) = timeout {
        operation = operation.timeout(timeout);
    }
    Ok(operation)
}

/// What a dispatch gave, on the host.
///
/// # Errors
/// What the driver says.
pub fn dispatch_output(got: &Dispatched) -> Result<DispatchOutput> {
    let weights = got.topk_weights.as_ref().ok_or_else(|| Error::Bug("weights were sent and none came".into()))?;
    let row = |pair: &[i32]| Row { rank: pair[0] as u32, token: pair[1] as u32 };
    // With a bound there may be room for more.
    let rows = |tensor: &Tensor| tensor.narrow(0..got.rows);
    Ok(DispatchOutput {
        x: rows(&got.x)?.to_bytes()?,
        scales: got.x_scales.as_ref().map_or(Ok(Vec::new()), |scales| rows(scales)?.to_bytes())?,
        topk_idx: rows(&got.topk_idx)?.to_vec()?,
        topk_weights: rows(weights)?.to_vec()?,
        source: rows(&got.source)?.to_vec::<i32>()?.chunks_exact(2).map(row).collect(),
        expert_counts: got.expert_counts.clone(),
        expert_offsets: got.expert_offsets.clone(),
        places: Vec::new(),
    })
}

/// The combine of `rows` along the handle of the dispatch that gave `arrived`.
///
/// # Errors
/// What the driver says.
pub fn combine(
    communicator: &Communicator,
    rows: &[u8],
    arrived: &DispatchOutput,
    sent: &RankInputs,
    handle: &Handle,
    timeout: Option<Duration>,
) -> Result<Combine> {
    let shape = communicator.plan().shape;
    let (hidden, topk) = (shape.hidden() as usize, shape.topk() as usize);
    let mut rows = rows.to_vec();
    rows.resize(handle.rows() * shape.combine_row_bytes() as usize, 0);
    let rows = communicator.tensor_of_bytes(shape.sum().dtype(), &rows, &[handle.rows(), hidden])?;
    let choices = if by_expert(&shape) { 1 } else { topk };
    let mut weights = arrived.topk_weights.clone();
    weights.resize(handle.rows() * choices, 0.0);
    let weights = communicator.tensor(&weights, &[handle.rows(), choices])?;
    let mut operation = Combine::new(&rows, handle).weights(&weights);
    if by_expert(&shape) {
        operation = operation.scaled_by(&weights);
    }
    for bias in &sent.biases {
        let bias = communicator.tensor_of_bytes(shape.sum().dtype(), bias, &[handle.tokens(), hidden])?;
        operation = operation.bias(&bias);
    }
    if let Some(timeout) = timeout {
        operation = operation.timeout(timeout);
    }
    Ok(operation)
}

/// What a combine gave, on the host.
///
/// # Errors
/// What the driver says.
pub fn combine_output(combined: &Combined) -> Result<CombineOutput> {
    let topk_weights = combined.topk_weights.as_ref().map(Tensor::to_vec).transpose()?;
    Ok(CombineOutput { x: combined.x.to_bytes()?, topk_weights })
}
