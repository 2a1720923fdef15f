//! Graphs: captured from a stream, made ready once, launched again and again.

use std::sync::Arc;

use cudarc::driver::sys::{CUgraph, CUgraphExec, CUstream};

use super::api;
use super::context::Context;
use crate::error::Result;

/// What a capture gives: a description, from which a graph is made that can be launched.
pub(super) struct Captured(CUgraph);

/// A graph that can be launched.
#[derive(Debug, Clone, Copy)]
pub(super) struct GraphHandle(CUgraphExec);

// SAFETY: graphs may be used from any thread, by one at a time: the driver's list hands them out under its lock, and a
// communicator launches its own from one thread at a time; the pointer is never followed here.
unsafe impl Send for GraphHandle {}
// SAFETY: as above.
unsafe impl Sync for GraphHandle {}

/// Begins a capture. Threads other than this one go on as before.
pub(super) fn begin(context: &Arc<Context>, stream: CUstream) -> Result<()> {
    context.with(|api| {
        // SAFETY: the stream is alive: it is in the list.
        let code = unsafe { (api.cuStreamBeginCapture_v2)(stream, api::CAPTURE_MODE_THREAD_LOCAL) };
        api.check("cuStreamBeginCapture_v2", code)
    })
}

/// Whether a stream captures, also when an error has made the capture worthless.
pub(super) fn is_capturing(context: &Arc<Context>, stream: CUstream) -> Result<bool> {
    context.with(|api| {
        let mut status = api::CAPTURE_STATUS_NONE;
        // SAFETY: the stream is alive: it is in the list; one number is written.
        api.check("cuStreamIsCapturing", unsafe { (api.cuStreamIsCapturing)(stream, &mut status) })?;
        Ok(status != api::CAPTURE_STATUS_NONE)
    })
}

/// Ends a capture, also when it fails.
pub(super) fn end(context: &Arc<Context>, stream: CUstream) -> Result<Captured> {
    context.with(|api| {
        let mut graph = std::ptr::null_mut();
        // SAFETY: the stream is alive: it is in the list; one handle is written.
        api.check("cuStreamEndCapture", unsafe { (api.cuStreamEndCapture)(stream, &mut graph) })?;
        Ok(Captured(graph))
    })
}

impl Captured {
    /// Makes it ready; the stream takes it to the GPU now, so that the first launch is as quick as later ones.
    pub fn instantiate(self, context: &Arc<Context>, stream: CUstream) -> Result<GraphHandle> {
        let ready = context.with(|api| {
            let mut ready = std::ptr::null_mut();
            // SAFETY: the graph is ours; one handle is written.
            let code = unsafe { (api.cuGraphInstantiateWithFlags)(&mut ready, self.0, 0) };
            api.check("cuGraphInstantiateWithFlags", code)?;
            // SAFETY: the graph was just made, the stream is alive.
            let sent = api.check("cuGraphUpload", unsafe { (api.cuGraphUpload)(ready, stream) });
            sent.map(|()| GraphHandle(ready)).inspect_err(|_| {
                // SAFETY: made above, and known to nobody.
                unsafe { (api.cuGraphExecDestroy)(ready) };
            })
        });
        // What can be launched stands by itself.
        let ended = self.destroy(context);
        let ready = ready?;
        ended.map(|()| ready)
    }

    /// Forgets it.
    pub fn destroy(self, context: &Arc<Context>) -> Result<()> {
        // SAFETY: ours, and used no more.
        context.with(|api| api.check("cuGraphDestroy", unsafe { (api.cuGraphDestroy)(self.0) }))
    }
}

impl GraphHandle {
    /// Puts it into a stream.
    pub fn launch(self, context: &Arc<Context>, stream: CUstream) -> Result<()> {
        // SAFETY: both are alive: they are in the lists.
        context.with(|api| api.check("cuGraphLaunch", unsafe { (api.cuGraphLaunch)(self.0, stream) }))
    }

    /// Ends it; no stream runs it any more.
    pub fn destroy(self, context: &Arc<Context>) -> Result<()> {
        // SAFETY: ours, and no longer in the list.
        context.with(|api| api.check("cuGraphExecDestroy", unsafe { (api.cuGraphExecDestroy)(self.0) }))
    }
}
