//! From bytes to envelopes and from receipts to answers: everything of a port that does no I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::outgoing::Outgoing;
use crate::clock::Clock;
use crate::codec::hub_lines::{BatchEnd, HubLines, Signal};
use crate::codec::lines::{Line, Lines};
use crate::codec::serial::{self, Stream};
use crate::codec::time::Local;
use crate::config;
use crate::metrics::{DropReason, Metrics, Shed, SourceStatus};
use crate::pipeline::{Closed, Intake, Refused};
use crate::reading::{Arrival, DeadLetter, DeadReason, Decoded, Envelope, Outcome, Receipt};
use crate::source::dead_letters::Limit;
use crate::zone::{self, Tz};

/// Failed envelopes that are remembered one by one.
const MAX_FAILED: usize = 1_024;

/// Word from the writer about an envelope of this port. Only what holds a permit sends one, so the permits bound them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The envelope of this number is not stored.
    Failed(u64),
    /// The writer has come to the end of a batch: everything of it was answered before.
    Reached { end: BatchEnd, before: u64, connection: u64, outcome: Outcome },
}

/// Decodes what the port says and keeps what it is to be told.
#[derive(Debug)]
pub struct Feed {
    format: Format,
    desk: Desk,
    // When bytes came last.
    last: Option<(Instant, Arrival)>,
}

#[derive(Debug)]
enum Format {
    /// It is answered.
    Hub { lines: Lines, hub: Box<HubLines> },
    /// All others.
    Stream { stream: Box<Stream>, skipped: u64 },
}

/// Sends the contents to the store and answers the batches.
#[derive(Debug)]
struct Desk {
    intake: Intake,
    clock: Clock,
    metrics: Arc<Metrics>,
    status: Arc<SourceStatus>,
    words: UnboundedSender<Word>,
    limit: Limit,
    // Of local times that are read and told.
    zone: Tz,
    out: Outgoing,
    // Its batches are answered; without it nobody waits for a receipt.
    answers: bool,
    // Number of the next envelope with contents.
    next: u64,
    // Numbers of failed envelopes in their order, and below which number any may have failed.
    failed: VecDeque<u64>,
    failed_below: u64,
    connection: u64,
    // Ends of batches on this connection that the writer has not reached.
    unanswered: usize,
    // Readings are dropped, and why.
    dropping: Option<&'static str>,
    closed: bool,
    // When a line was last read that made sense, and how long none may.
    readable_at: Instant,
    patience: Duration,
    // None has for longer than that, since this moment.
    unreadable: Option<Instant>,
}

impl Feed {
    /// A feed of the port of `config` before its first connection; `words` are for [`Feed::hear`].
    pub fn new(
        config: &config::Serial,
        intake: Intake,
        clock: Clock,
        metrics: Arc<Metrics>,
        status: Arc<SourceStatus>,
        words: UnboundedSender<Word>,
    ) -> Self {
        let answers = config.protocol.keys().format == serial::Format::HubLines;
        let format = if answers {
            Format::Hub { lines: Lines::new(config.protocol.max_held()), hub: Box::default() }
        } else {
            let stream = Stream::new(&config.protocol, &config.name, config.timezone);
            Format::Stream { stream: Box::new(stream), skipped: 0 }
        };
        let desk = Desk {
            zone: config.timezone.unwrap_or_else(|| clock.zone()),
            intake,
            clock,
            metrics,
            status,
            words,
            limit: Limit::default(),
            out: Outgoing::default(),
            answers,
            next: 0,
            failed: VecDeque::new(),
            failed_below: 0,
            connection: 0,
            unanswered: 0,
            dropping: None,
            closed: false,
            readable_at: Instant::now(),
            patience: config.silence,
            unreadable: None,
        };
        Self { format, desk, last: None }
    }

    /// A new connection: what was half heard and not yet said belongs to the old one.
    pub(super) fn connected(&mut self) {
        self.forget();
        self.desk.out = Outgoing::default();
        self.desk.readable_at = Instant::now();
        self.desk.connection += 1;
        self.desk.unanswered = 0;
    }

    /// What was half heard will not be heard to its end.
    pub(super) fn forget(&mut self) {
        let skipped = &self.desk.status.skipped_bytes;
        match &mut self.format {
            Format::Hub { lines, hub } => {
                skipped.add(lines.pending() as u64);
                lines.forget();
                hub.interrupt();
            }
            Format::Stream { stream, .. } => {
                skipped.add(stream.pending() as u64);
                stream.forget();
            }
        }
        self.last = None;
    }

    /// Takes bytes from the port: decodes the frames that end in them and hands their contents to the store. Never waits.
    ///
    /// # Errors
    /// [`Closed`] when the store takes no more.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        let arrival = self.desk.clock.now();
        self.last = Some((Instant::now(), arrival));
        match &mut self.format {
            Format::Hub { lines, hub } => self.desk.hub(lines, hub, bytes, arrival),
            Format::Stream { stream, skipped } => {
                self.desk.stream(stream, skipped, arrival, |stream, local, mut each| {
                    stream.feed(bytes, local, &mut each);
                });
            }
        }
        if self.desk.closed { Err(Closed) } else { Ok(()) }
    }

    /// When [`Feed::idle`] is to be called, unless bytes come before; `None` where silence means nothing.
    pub(super) fn idle_at(&self) -> Option<Instant> {
        match (&self.format, self.last) {
            (Format::Stream { stream, .. }, Some((last, _))) if stream.pending() > 0 => Some(last + stream.gap()?),
            _ => None,
        }
    }

    /// The line was silent for so long that what is held is a frame, or none.
    ///
    /// # Errors
    /// [`Closed`] when the store takes no more.
    pub(super) fn idle(&mut self) -> Result<(), Closed> {
        if let (Format::Stream { stream, skipped }, Some((_, arrival))) = (&mut self.format, self.last) {
            self.desk.stream(stream, skipped, arrival, |stream, local, mut each| stream.idle(local, &mut each));
        }
        if self.desk.closed { Err(Closed) } else { Ok(()) }
    }

    /// Something was dropped, and nothing has been taken since.
    pub(super) fn is_dropping(&self) -> bool {
        self.desk.dropping.is_some()
    }

    /// Looks whether the store has caught up; for ports that have nothing to say meanwhile.
    pub(super) fn look(&mut self) {
        self.desk.look();
    }

    /// Takes word from the writer.
    pub(super) fn hear(&mut self, word: Word) {
        self.desk.hear(word);
    }

    /// Tells the hub the time where it has asked and nothing else is to be written.
    pub(super) fn tell_time(&mut self) {
        let Desk { out, clock, zone, .. } = &mut self.desk;
        out.tell_time(|| zone::clock_time(clock.now().at, *zone));
    }

    /// What is to be written to the port.
    pub(super) fn out(&mut self) -> &mut Outgoing {
        &mut self.desk.out
    }

    /// Batches that wait for their answer, written or not.
    pub(super) fn is_answered(&self) -> bool {
        self.desk.unanswered == 0 && self.desk.out.is_empty()
    }
}

impl Desk {
    /// The hub's lines that end in these bytes.
    fn hub(&mut self, lines: &mut Lines, hub: &mut HubLines, bytes: &[u8], arrival: Arrival) {
        let mut content = Decoded::default();
        let dead_before = self.status.dead.get();
        let mut frames = 0;
        lines.feed(bytes, &mut |line| {
            frames += 1;
            match line {
                Line::TooLong { head, len } => {
                    self.status.skipped_bytes.add(len as u64);
                    let detail = format!("a line of {len} bytes is over the limit of `max-line`");
                    content.dead.push(DeadLetter::new(DeadReason::TooLong, detail, head));
                }
                Line::Whole(line) => {
                    hub.tag(self.next);
                    hub.line(line, &mut content, &mut |content, signal| match signal {
                        Signal::AskTime => self.ask_time(),
                        Signal::BatchEnd(end) => {
                            self.send(std::mem::take(content), arrival);
                            self.batch_end(end, arrival);
                        }
                        Signal::Error(text) => {
                            tracing::debug!(source = %self.status.name, text, "the hub complains");
                        }
                    });
                }
            }
        });
        self.send(content, arrival);
        self.status.frames.add(frames);
        self.made_sense(frames > self.status.dead.get() - dead_before, Instant::now());
    }

    /// The frames that `call` finds; `skipped` is what the stream had skipped before.
    fn stream(
        &mut self,
        stream: &mut Stream,
        skipped: &mut u64,
        arrival: Arrival,
        call: impl FnOnce(&mut Stream, Local, &mut dyn FnMut(Decoded)),
    ) {
        let local = Local { zone: self.zone, arrival: arrival.trusted.then_some(arrival.at) };
        let mut content = Decoded::default();
        let (mut frames, mut sense) = (0, false);
        call(stream, local, &mut |decoded| {
            frames += 1;
            sense |= decoded.dead.is_empty() || !decoded.readings.is_empty() || !decoded.events.is_empty();
            content.append(decoded);
        });
        if !self.send(content, arrival) {
            stream.not_stored();
        }
        self.status.frames.add(frames);
        self.status.skipped_bytes.add(stream.skipped() - *skipped);
        *skipped = stream.skipped();
        self.made_sense(sense, Instant::now());
    }

    fn ask_time(&mut self) {
        if self.clock.trusted() {
            self.out.ask_time();
        } else {
            self.clock.withheld();
        }
    }

    /// Hands contents to the store; returns whether it took them.
    fn send(&mut self, mut content: Decoded, arrival: Arrival) -> bool {
        let readings = content.readings.len();
        let rows = readings + content.events.len();
        self.status.read(readings);
        self.metrics.readings.received.add(readings as u64);
        self.limit.count(&mut content.dead, &self.status, &self.metrics, Instant::now());
        if content.is_empty() {
            return true;
        }
        let number = self.next;
        self.next += 1;
        let receipt = if self.answers {
            let words = self.words.clone();
            Receipt::new(move |outcome| {
                if outcome != Outcome::Committed {
                    // Nobody listens any more: the port's task has ended.
                    let _ = words.send(Word::Failed(number));
                }
            })
        } else {
            Receipt::none()
        };
        match self.give(content, arrival, false, receipt) {
            Ok(()) => {
                self.look();
                true
            }
            Err(refused) => {
                // Known at once, so that the batch that ends next is not taken for stored.
                self.note_failed(number);
                self.refused(&refused, rows);
                false
            }
        }
    }

    fn batch_end(&mut self, end: BatchEnd, arrival: Arrival) {
        if !end.whole || self.has_failed(end.tag, self.next) {
            self.answer(&end, 1);
            return;
        }
        let (words, before, connection) = (self.words.clone(), self.next, self.connection);
        let receipt = Receipt::new(move |outcome| {
            // As above.
            let _ = words.send(Word::Reached { end, before, connection, outcome });
        });
        self.unanswered += 1;
        // When it is refused its receipt says so, and the answer is 1.
        if let Err(refused) = self.give(Decoded::default(), arrival, true, receipt) {
            self.refused(&refused, 0);
        }
    }

    fn give(&self, content: Decoded, arrival: Arrival, waiting: bool, receipt: Receipt) -> Result<(), Refused> {
        let source = Arc::clone(&self.status.name);
        self.intake.try_send(Envelope { source, arrival, content, delivery: None, waiting, receipt })
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Failed(number) => self.note_failed(number),
            Word::Reached { end, before, connection, outcome } => {
                // An answer to a connection that is gone is not given: the node sends the batch again.
                if connection == self.connection {
                    self.unanswered -= 1;
                    let stored = outcome == Outcome::Committed && !self.has_failed(end.tag, before);
                    self.answer(&end, u8::from(!stored));
                }
            }
        }
    }

    fn answer(&mut self, end: &BatchEnd, status: u8) {
        if self.out.batch_ack(end.address, end.announced, status) {
            if status == 0 { &self.status.acked } else { &self.status.refused }.inc();
        }
    }

    fn note_failed(&mut self, number: u64) {
        if let Err(at) = self.failed.binary_search(&number) {
            self.failed.insert(at, number);
        }
        if self.failed.len() > MAX_FAILED
            && let Some(oldest) = self.failed.pop_front()
        {
            self.failed_below = oldest + 1;
        }
    }

    /// Whether one of these envelopes is not stored.
    fn has_failed(&self, from: u64, before: u64) -> bool {
        from < self.failed_below.min(before) || self.failed.iter().any(|n| (from..before).contains(n))
    }

    fn refused(&mut self, refused: &Refused, rows: usize) {
        let reason = match refused {
            Refused::Full => DropReason::IntakeFull,
            Refused::Memory => DropReason::Memory,
            Refused::Closed => {
                self.closed = true;
                DropReason::Stopping
            }
        };
        self.metrics.readings.dropped(reason).add(rows as u64);
        let why = match refused {
            Refused::Full => "the store does not keep up",
            Refused::Memory => "memory is above its limit",
            Refused::Closed => return,
        };
        if self.dropping != Some(why) {
            self.dropping = Some(why);
            tracing::warn!(source = %self.status.name, "{why}: readings are dropped");
            self.show_problems();
        }
    }

    /// Half of the channel has to be free again: at its bound it is full one moment and takes a line the next.
    fn look(&mut self) {
        let (queue, memory) = (&self.metrics.queue, &self.metrics.memory);
        if self.dropping.is_some() && queue.depth.get() <= queue.capacity.get() / 2 && !memory.sheds(Shed::Serial) {
            self.dropping = None;
            tracing::info!(source = %self.status.name, "the store keeps up again");
            self.show_problems();
        }
    }

    /// Notes whether what was just read had a line that made sense. A port that only ever gives garbage is no better than
    /// a silent one.
    fn made_sense(&mut self, sense: bool, now: Instant) {
        if sense {
            self.readable_at = now;
        }
        let unreadable = now.saturating_duration_since(self.readable_at) >= self.patience;
        if unreadable != self.unreadable.is_some() {
            self.unreadable = unreadable.then_some(now);
            if unreadable {
                tracing::warn!(source = %self.status.name, "bytes come, and nothing of them makes sense: is the baud rate right?");
            } else {
                tracing::info!(source = %self.status.name, "what comes makes sense again");
            }
            self.show_problems();
        }
    }

    fn show_problems(&self) {
        let mut problems = Vec::new();
        if let Some(why) = self.dropping {
            problems.push(format!("{why}: readings are dropped"));
        }
        if self.unreadable.is_some() {
            let patience = humantime::format_duration(self.patience);
            problems.push(format!("bytes come, and none made sense for {patience}: is the baud rate right?"));
        }
        self.status.set_problems(problems);
    }
}
