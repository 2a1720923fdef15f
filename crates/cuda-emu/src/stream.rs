//! Streams and events.

use crate::memory::refused;
use crate::result::{codes, fail, Outcome};
use crate::settings::settings;
use crate::state::{Here, Kind, State};
use std::collections::{BTreeMap, HashMap};
use std::thread::ThreadId;
use warpferry_emu::{EventId, StreamId};

/// The default stream that waits for all other blocking ones, by its name.
const LEGACY: u64 = 1;
/// The default stream of a thread, by its name.
const PER_THREAD: u64 = 2;

/// Streams and events.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: BTreeMap<u64, Stream>,
    /// Default streams by context.
    defaults: HashMap<u64, u64>,
    /// Default streams of threads.
    per_thread: HashMap<(u64, ThreadId), u64>,
    /// Destroyed, with work left: GPU and stream.
    ending: Vec<(usize, StreamId)>,
    pub events: BTreeMap<u64, Event>,
    /// Events of the machine that may be used again.
    spare_events: Vec<EventId>,
}

/// A stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    pub owner: Here,
    pub id: StreamId,
    /// Waits for the default stream, and the default stream waits for it.
    blocking: bool,
    is_default: bool,
    /// Recorded at its end when another stream waits for it by such a rule.
    tail: EventId,
}

/// An event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub owner: Here,
    pub id: EventId,
    pub timed: bool,
    pub recorded: bool,
}

impl State {
    /// A new stream.
    pub fn make_stream(&mut self, here: Here, blocking: bool) -> Outcome<u64> {
        self.make(here, blocking, false)
    }

    /// The default stream of a new context.
    pub fn make_default_stream(&mut self, here: Here) -> Outcome {
        let stream = self.make(here, true, true)?;
        self.streams.defaults.insert(here.context, stream);
        Ok(())
    }

    fn make(&mut self, here: Here, blocking: bool, is_default: bool) -> Outcome<u64> {
        let made = &mut self.devices[here.device].streams_made;
        let connection = *made % settings().connections;
        *made += 1;
        let id = self.machine.create_stream_on(here.device, connection).or_else(refused)?;
        let tail = self.machine.create_event();
        let handle = self.new_handle(Kind::Stream);
        self.streams.streams.insert(handle, Stream { owner: here, id, blocking, is_default, tail });
        Ok(handle)
    }

    /// A stream of this context by its handle.
    pub fn stream(&mut self, stream: u64, here: Here) -> Outcome<Stream> {
        let handle = match stream {
            0 | LEGACY => self.streams.defaults.get(&here.context).copied().unwrap_or(0),
            PER_THREAD => {
                let key = (here.context, std::thread::current().id());
                match self.streams.per_thread.get(&key) {
                    Some(handle) => *handle,
                    None => {
                        let handle = self.make(here, true, false)?;
                        self.streams.per_thread.insert(key, handle);
                        handle
                    }
                }
            }
            other => other,
        };
        match self.streams.streams.get(&handle) {
            Some(found) if found.owner.context == here.context => Ok(*found),
            Some(_) => fail(codes::ERROR_INVALID_HANDLE, "the stream belongs to another context"),
            None => fail(codes::ERROR_INVALID_HANDLE, format!("{stream:#x} is no stream")),
        }
    }

    /// Streams, without those of the library, and events, of one context or of all.
    pub fn count_streams(&self, context: Option<u64>) -> (usize, usize) {
        let own = |owner: Here| context.is_none_or(|context| owner.context == context);
        let streams = self.streams.streams.iter().filter(|(handle, stream)| {
            own(stream.owner) && !stream.is_default && !self.streams.per_thread.values().any(|other| other == *handle)
        });
        let events = self.streams.events.values().filter(|event| own(event.owner));
        (streams.count(), events.count())
    }

    /// A stream that work is about to be put into: the default stream and blocking streams wait for each other.
    pub fn stream_for_work(&mut self, stream: u64, here: Here) -> Outcome<Stream> {
        let target = self.stream(stream, here)?;
        let others: Vec<Stream> = if target.blocking {
            let streams = self.streams.streams.values();
            let related = |s: &&Stream| {
                s.owner.context == here.context && s.blocking && s.id != target.id && s.is_default != target.is_default
            };
            streams.filter(related).copied().collect()
        } else {
            Vec::new()
        };
        for other in others {
            if self.machine.is_capturing(here.device, other.id) {
                self.machine.spoil_capture(here.device, other.id, "work in the default stream");
                return fail(
                    codes::ERROR_STREAM_CAPTURE_IMPLICIT,
                    "a stream that waits for the default stream captures",
                );
            }
            if self.machine.is_capturing(here.device, target.id) {
                continue;
            }
            if !self.stream_is_idle(&other) {
                self.machine.record_event(here.device, other.id, other.tail).or_else(refused)?;
                self.machine.wait_event(here.device, target.id, other.tail).or_else(refused)?;
            }
        }
        Ok(target)
    }

    /// Whether a stream has run dry; true on a broken GPU.
    pub fn stream_is_idle(&self, stream: &Stream) -> bool {
        self.machine.stream_idle(stream.owner.device, stream.id).unwrap_or(true)
    }

    /// Whether all streams of a context have run dry.
    pub fn context_is_idle(&self, context: u64) -> bool {
        self.streams.streams.values().filter(|s| s.owner.context == context).all(|s| self.stream_is_idle(s))
    }

    /// Whether all streams of a GPU have run dry.
    pub fn device_is_idle(&self, device: usize) -> bool {
        let ending = |(gpu, id): &(usize, StreamId)| *gpu != device || self.machine.stream_idle(*gpu, *id) != Ok(false);
        self.streams.streams.values().filter(|s| s.owner.device == device).all(|s| self.stream_is_idle(s))
            && self.streams.ending.iter().all(ending)
    }

    /// Ends a stream: what is in it goes on.
    pub fn drop_stream(&mut self, stream: u64, here: Here) -> Outcome {
        let found = self.stream(stream, here)?;
        if stream <= PER_THREAD || found.is_default {
            return fail(codes::ERROR_INVALID_HANDLE, "a default stream cannot be destroyed");
        }
        self.streams.streams.remove(&stream);
        self.retire(found);
        Ok(())
    }

    fn retire(&mut self, stream: Stream) {
        self.streams.ending.push((stream.owner.device, stream.id));
        self.streams.spare_events.push(stream.tail);
        self.reap_streams();
    }

    /// Gives the machine back its streams that were destroyed and have run dry.
    pub fn reap_streams(&mut self) {
        if self.streams.ending.is_empty() {
            return;
        }
        for (device, id) in std::mem::take(&mut self.streams.ending) {
            match self.machine.stream_idle(device, id) {
                Ok(false) => self.streams.ending.push((device, id)),
                _ => {
                    if let Err(error) = self.machine.destroy_stream(device, id) {
                        eprintln!("cuda-emu: a destroyed stream: {error}");
                    }
                }
            }
        }
    }

    /// Ends the streams and events of a context.
    pub fn drop_streams(&mut self, context: u64) {
        let streams = &self.streams.streams;
        let owned: Vec<u64> = streams.iter().filter(|(_, s)| s.owner.context == context).map(|(h, _)| *h).collect();
        for stream in owned {
            if let Some(gone) = self.streams.streams.remove(&stream) {
                self.retire(gone);
            }
        }
        self.streams.defaults.remove(&context);
        self.streams.per_thread.retain(|(owner, _), _| *owner != context);
        self.streams.events.retain(|_, event| event.owner.context != context);
    }

    /// A new event.
    pub fn make_event(&mut self, here: Here, timed: bool) -> u64 {
        let reached = |event: &EventId| self.machine.event_reached(*event) == Ok(true);
        let spare = self.streams.spare_events.iter().position(reached);
        let id = match spare {
            Some(index) => self.streams.spare_events.swap_remove(index),
            None => self.machine.create_event(),
        };
        let handle = self.new_handle(Kind::Event);
        self.streams.events.insert(handle, Event { owner: here, id, timed, recorded: false });
        handle
    }

    /// An event by its handle, of any context.
    pub fn event(&mut self, event: u64) -> Outcome<&mut Event> {
        match self.streams.events.get_mut(&event) {
            Some(found) => Ok(found),
            None => fail(codes::ERROR_INVALID_HANDLE, format!("{event:#x} is no event")),
        }
    }

    /// Ends an event; who waits for it goes on to.
    pub fn drop_event(&mut self, event: u64) -> Outcome {
        let id = self.event(event)?.id;
        self.streams.events.remove(&event);
        self.streams.spare_events.push(id);
        Ok(())
    }

    /// Whether an event was reached; an error when its GPU has faulted.
    pub fn event_is_reached(&mut self, event: u64) -> Outcome<bool> {
        let Event { owner, id, recorded, .. } = *self.event(event)?;
        self.check_device(owner.device)?;
        Ok(!recorded || self.machine.event_reached(id).or_else(refused)?)
    }
}
