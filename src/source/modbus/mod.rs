//! Modbus RTU: units on a serial bus that are asked for their registers, each at its interval.
//!
//! One request is on the line at a time. [`schedule`](self) says which; the line finds its answer; a unit that does not
//! answer costs the others nothing but its timeout.

mod client;
pub(super) mod line;
mod schedule;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use client::{Answer, Client};
use line::{Line, Missed};
use schedule::{Came, Change, Next, Schedule};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::device::Device;
use super::serial::port::stopped;
use super::serial::wire::Wire;
use crate::clock::Clock;
use crate::codec::modbus::frame::{LONGEST, REQUEST, Strays};
use crate::codec::modbus::plan::Read;
use crate::codec::modbus::{self, Data, Function};
use crate::config;
use crate::metrics::{DropReason, Metrics, SourceState, SourceStatus, UnitState};
use crate::pipeline::{Closed, Intake};
use crate::reading::{Arrival, Decoded, Envelope, Receipt};
use crate::source::dead_letters::Limit;

/// How long the store may take before it is told that it does not keep up.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a stop waits for the store to take what was read last.
const DRAIN: Duration = Duration::from_secs(5);
/// Exceptions in a row to the same request that are told as a problem.
const LASTING: u32 = 3;
/// Problems that are told one by one.
const SHOWN: usize = 10;

/// Runs one bus until `stop` is true or its sender is gone. It never blocks the runtime: the port is opened, read, written
/// and closed on a thread of its own. While the store takes nothing, nothing is asked.
///
/// # Errors
/// [`Closed`] when the store takes no more though nobody has asked for a stop.
pub async fn run(
    config: config::Modbus,
    intake: Intake,
    clock: Clock,
    metrics: Arc<Metrics>,
    status: Arc<SourceStatus>,
    stop: watch::Receiver<bool>,
) -> Result<(), Closed> {
    let mut device = Device::new(config.port.clone(), config.uart, Arc::clone(&status), stop);
    let mut bus = Bus::new(config, intake, clock, metrics, status);
    while let Some(wire) = device.open().await {
        let mut line = Line::new(wire, bus.config.uart, bus.config.timeout);
        let gone = bus.talk(&mut line, &mut device).await;
        bus.heard(&mut line, &mut device);
        match gone? {
            Gone::Stop => {
                device.close(line.into_port()).await;
                break;
            }
            Gone::Lost(error) => {
                if device.lose(line.into_port(), &error).await.is_none() {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Why a connection has ended.
enum Gone {
    Stop,
    Lost(io::Error),
}

/// A table, and where in it a request begins.
type Place = (u8, Function, u16);

struct Bus {
    config: config::Modbus,
    intake: Intake,
    clock: Clock,
    metrics: Arc<Metrics>,
    status: Arc<SourceStatus>,
    schedule: Schedule,
    limit: Limit,
    // Exceptions in a row, and the name of the last.
    refusals: BTreeMap<Place, (u32, String)>,
    // The store does not keep up.
    waiting: bool,
    // More is asked for than the line can carry, which was told.
    slow: bool,
}

impl Bus {
    fn new(
        config: config::Modbus,
        intake: Intake,
        clock: Clock,
        metrics: Arc<Metrics>,
        status: Arc<SourceStatus>,
    ) -> Self {
        let cost = line::takes(config.uart, REQUEST + LONGEST) + config.timeout;
        let schedule = Schedule::new(config.units.clone(), cost, Instant::now());
        for unit in schedule.units() {
            let nodes = unit.nodes().iter().map(ToString::to_string).collect();
            status.units.note(unit.id, |known| known.nodes = nodes);
        }
        let (limit, refusals) = (Limit::default(), BTreeMap::new());
        Self { config, intake, clock, metrics, status, schedule, limit, refusals, waiting: false, slow: false }
    }

    /// Asks and listens until the port is lost or the daemon stops.
    async fn talk(&mut self, line: &mut Line<Wire>, device: &mut Device) -> Result<Gone, Closed> {
        let mut client = Client::new();
        let mut stop = device.stop.clone();
        loop {
            device.works(if self.schedule.all_dead() { SourceState::Silent } else { SourceState::Up });
            match self.schedule.next(Instant::now()) {
                Next::Wait(until) => tokio::select! {
                    biased;
                    () = stopped(&mut stop) => return Ok(Gone::Stop),
                    heard = line.listen(until) => if let Err(error) = heard {
                        return Ok(Gone::Lost(error));
                    },
                },
                Next::Ask(index) => {
                    let read = self.schedule.read(index).clone();
                    let answer = tokio::select! {
                        biased;
                        () = stopped(&mut stop) => return Ok(Gone::Stop),
                        answer = client.exchange(line, &read) => answer,
                    };
                    // When the answer came, and not when the store has room for it.
                    let arrival = self.clock.now();
                    self.heard(line, device);
                    let content = match answer {
                        Err(Missed::Gone(error)) => return Ok(Gone::Lost(error)),
                        answer => self.came(index, &read, answer),
                    };
                    self.send(content, arrival, &mut stop).await?;
                }
            }
            self.heard(line, device);
        }
    }

    /// Counts what came over the line beside answers.
    fn heard(&self, line: &mut Line<Wire>, device: &mut Device) {
        device.heard(std::mem::take(&mut line.received));
        let Strays { answers, crc_errors: _, skipped } = std::mem::take(&mut line.strays);
        self.status.skipped_bytes.add(skipped);
        for id in answers {
            // Of a unit that is none of ours there is only this.
            if self.schedule.unit(id).is_some() {
                self.status.units.note(id, |unit| unit.late += 1);
            } else {
                self.status.skipped_bytes.inc();
            }
        }
    }

    /// Takes what came of a request; gives out what is to be stored.
    fn came(&mut self, index: usize, read: &Read, answer: Result<Answer, Missed>) -> Decoded {
        let now = Instant::now();
        let place = (read.unit, read.function, read.address);
        let (came, mut content) = match answer {
            Ok(Answer::Exception(code)) => {
                if self.refused(index, read, code) {
                    return Decoded::default();
                }
                (Came::Answer, Decoded::default())
            }
            Ok(answer) => {
                if self.refusals.remove(&place).is_some() {
                    self.show_problems();
                }
                self.status.frames.inc();
                self.status.units.note(read.unit, |unit| unit.answers += 1);
                let data = match &answer {
                    Answer::Words(words) => Data::Words(words),
                    Answer::Bits(bits) => Data::Bits(bits),
                    Answer::Exception(_) => Data::Words(&[]),
                };
                (Came::Answer, modbus::decode(read, self.schedule.registers(index), data))
            }
            Err(missed) => {
                self.status.unanswered.inc();
                let (came, reason) = match missed {
                    Missed::Garbled { crc: true } => {
                        (Came::Garbage, "its answers have a wrong CRC: are baud rate and parity right?")
                    }
                    Missed::Garbled { crc: false } => {
                        (Came::Garbage, "bytes come, and no answer: are baud rate and parity right?")
                    }
                    Missed::Silent | Missed::Gone(_) => (Came::Nothing, "it does not answer"),
                };
                let timeout = humantime::format_duration(self.config.timeout);
                self.status.units.note(read.unit, |unit| {
                    let count = if came == Came::Garbage { &mut unit.garbled } else { &mut unit.unanswered };
                    *count += 1;
                    let late = came == Came::Nothing && unit.late > unit.late_before;
                    unit.reason = Some(if late {
                        format!("its answers come later than timeout = \"{timeout}\"")
                    } else {
                        reason.to_owned()
                    });
                });
                (came, Decoded::default())
            }
        };
        let (change, passed) = self.schedule.done(index, came, now);
        if came == Came::Answer {
            self.status.units.note(read.unit, |unit| {
                (unit.answered_at, unit.state, unit.reason) = (Some(now.into_std()), UnitState::Up, None);
                unit.late_before = unit.late;
                unit.passed_over += passed;
            });
        }
        if passed > 0 && !self.slow && !self.waiting {
            self.slow = true;
            tracing::warn!(source = %self.status.name, unit = read.unit, "the bus is slower than its intervals: readings are passed over");
        }
        if let Some(change) = change {
            content.events.extend(self.changed(read.unit, change).events);
        }
        content
    }

    /// A unit has come or gone.
    fn changed(&self, id: u8, change: Change) -> Decoded {
        let online = change == Change::Alive;
        let mut why = String::new();
        if !online {
            self.status.units.note(id, |unit| {
                unit.state = UnitState::Dead;
                why = unit.reason.clone().unwrap_or_default();
            });
        }
        let Some(unit) = self.schedule.unit(id) else { return Decoded::default() };
        let nodes = unit.nodes().join(", ");
        if online {
            tracing::info!(source = %self.status.name, unit = id, nodes, "the unit answers");
        } else {
            tracing::warn!(source = %self.status.name, unit = id, nodes, "the unit is dead: {why}");
        }
        modbus::availability(unit, online)
    }

    /// Notes an exception. Says whether the request was taken apart: its parts are asked for at once.
    fn refused(&mut self, index: usize, read: &Read, code: u8) -> bool {
        let name = modbus::exception(code).into_owned();
        let counted = name.clone();
        self.status.units.note(read.unit, |unit| *unit.exceptions.entry(counted).or_default() += 1);
        // Of registers that are not there, or of more at once than it can give.
        if matches!(code, 2 | 3) && self.schedule.split(index) {
            tracing::info!(
                source = %self.status.name, unit = read.unit,
                "{name} for {} {} to {}: they are asked for one by one from now on",
                read.function, read.address, u32::from(read.address) + u32::from(read.count) - 1,
            );
            return true;
        }
        let entry = self.refusals.entry((read.unit, read.function, read.address)).or_default();
        *entry = (entry.0.saturating_add(1), name);
        if entry.0 == LASTING {
            tracing::warn!(source = %self.status.name, unit = read.unit, "{} {}: {}", read.function, read.address, entry.1);
            self.show_problems();
        }
        false
    }

    fn show_problems(&self) {
        let mut problems = Vec::new();
        if self.waiting {
            problems.push("the store does not keep up: nothing is asked".to_owned());
        }
        let lasting: Vec<_> = self.refusals.iter().filter(|(_, (times, _))| *times >= LASTING).collect();
        let shown = lasting.iter().take(SHOWN);
        problems.extend(
            shown.map(|((unit, function, address), (_, name))| format!("unit {unit}, {function} {address}: {name}")),
        );
        if lasting.len() > SHOWN {
            problems.push(format!("{} more registers that are refused", lasting.len() - SHOWN));
        }
        self.status.set_problems(problems);
    }

    /// Hands the content to the store, and waits until it has room: nothing that was read is dropped, and nothing more is
    /// asked meanwhile.
    async fn send(
        &mut self,
        mut content: Decoded,
        arrival: Arrival,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Closed> {
        let readings = content.readings.len();
        let rows = readings + content.events.len();
        self.status.read(readings);
        self.metrics.readings.received.add(readings as u64);
        self.limit.count(&mut content.dead, &self.status, &self.metrics, std::time::Instant::now());
        if content.is_empty() {
            return Ok(());
        }
        let source = Arc::clone(&self.status.name);
        let envelope = Envelope { source, arrival, content, delivery: None, waiting: false, receipt: Receipt::none() };
        let intake = self.intake.clone();
        let mut sent = std::pin::pin!(intake.send(envelope));
        let done = tokio::select! {
            biased;
            done = &mut sent => Some(done),
            () = sleep(PATIENCE) => None,
        };
        let done = if let Some(done) = done {
            done
        } else {
            self.waits(true);
            tokio::select! {
                biased;
                done = &mut sent => done,
                () = stopped(stop) => timeout(DRAIN, &mut sent).await.unwrap_or(Err(Closed)),
            }
        };
        self.waits(false);
        if done.is_err() {
            self.metrics.readings.dropped(DropReason::Stopping).add(rows as u64);
            if *stop.borrow() {
                return Ok(());
            }
        }
        done
    }

    fn waits(&mut self, waiting: bool) {
        if self.waiting != waiting {
            self.waiting = waiting;
            if waiting {
                tracing::warn!(source = %self.status.name, "the store does not keep up: nothing is asked");
            } else {
                tracing::info!(source = %self.status.name, "the store keeps up again");
            }
            self.show_problems();
        }
    }
}
