//! MQTT brokers: one task each. MQTT 5, because only there the client sets how many messages may wait for their
//! acknowledgement; QoS 1 with acknowledgements after the commit, in the order of receipt.
//!
//! A message goes PUBLISH, [`message`], intake, store, and its receipt comes back over [`acks`] to the client, and by way
//! of [`confirm`] to the store again, which then forgets what it kept to recognise a second copy.

mod acks;
mod confirm;
mod copies;
mod filters;
pub mod message;
mod options;
mod packets;
mod reason;
mod session;
pub mod sniff;
mod tls;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::codec::payload::Decoders;
use crate::config;
use crate::metrics::{DropReason, Metrics, SourceState, SourceStatus};
use crate::pipeline::{Closed, Intake};
use crate::reading::Arrival;

use super::backoff::Backoff;
use super::dead_letters::Limit;
use acks::{Acks, Answer};
use confirm::Confirm;
use filters::Wanted;
use message::{Message, Received};
use reason::Reason;
use session::{End, Session};

/// A connection that lasted this long was a good one: the next attempts begin quickly again. A shorter one was not, such
/// as when two clients with one id push each other out.
const STABLE: Duration = Duration::from_secs(10);

/// Why the source ended without being asked to. The process ends with it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store is gone.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The task that reads the secrets and certificates could not run.
    #[error("reading the files of an MQTT source: {0}")]
    Files(#[from] tokio::task::JoinError),
}

/// What outlives a connection.
struct Source {
    config: Arc<config::Mqtt>,
    client_id: String,
    // `host:port`, for people.
    at: String,
    wanted: Vec<Wanted>,
    intake: Intake,
    clock: Clock,
    metrics: Arc<Metrics>,
    status: Arc<SourceStatus>,
    limit: Limit,
    acks: Acks,
    confirm: Confirm,
    decoders: Decoders,
    // The answers of the store come through here. It is not bounded by itself, because a receipt must not block the
    // writer; each answer stands for an envelope that held a permit of the intake, so there are never more than those.
    answers: mpsc::UnboundedReceiver<Answer>,
    answer: mpsc::UnboundedSender<Answer>,
}

/// Connects to the broker of `config`, hands its messages to `intake` and acknowledges them when the store has them;
/// connects again whenever the connection ends. Never blocks the runtime; waits while the intake is full, and reads
/// nothing from the broker meanwhile.
///
/// Returns when `stop` turns true, or its sender is gone: then it takes no more messages, waits up to 5 seconds for the
/// store's answers, sends the acknowledgements and disconnects; the session stays with the broker.
///
/// # Errors
/// [`Error`] only for what is wrong in this process. A broker that cannot be reached, refuses or fails is no error: it
/// shows in `status` and is tried again.
pub async fn run(
    config: config::Mqtt,
    intake: Intake,
    clock: Clock,
    metrics: Arc<Metrics>,
    status: Arc<SourceStatus>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let machine_id = tokio::task::spawn_blocking(options::machine_id).await?;
    let (host, port) = options::address(&config.url);
    let (answer, answers) = mpsc::unbounded_channel();
    let mut source = Source {
        client_id: options::client_id(&config, &machine_id),
        at: format!("{host}:{port}"),
        wanted: filters::reduce(&config.subscribe),
        config: Arc::new(config),
        intake,
        clock,
        metrics,
        status,
        limit: Limit::default(),
        acks: Acks::default(),
        confirm: Confirm::default(),
        decoders: Decoders::new(),
        answers,
        answer,
    };
    let mut soon = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    let mut late = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
    while !*stop.borrow() {
        let (reason, lasted) = match source.attempt(&mut stop).await? {
            End::Stopped => break,
            End::Lost { reason, lasted } => (reason, lasted),
        };
        if lasted >= STABLE {
            soon.reset();
            late.reset();
        }
        let delay = if reason.refused { late.next() } else { soon.next() };
        source.down(&reason);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    Ok(())
}

impl Source {
    /// One connection, from its files to its end.
    async fn attempt(&mut self, stop: &mut watch::Receiver<bool>) -> Result<End, Error> {
        let (config, client_id) = (Arc::clone(&self.config), self.client_id.clone());
        let options = match tokio::task::spawn_blocking(move || options::build(&config, &client_id)).await? {
            Ok(options) => options,
            Err(e) => return Ok(End::Lost { reason: Reason::new(e.to_string()), lasted: Duration::ZERO }),
        };
        Session::run(self, options, stop).await
    }

    /// Decodes a message and counts what it holds.
    fn read(&mut self, publish: &Publish, arrival: Arrival) -> Message {
        self.status.frames.inc();
        self.status.bytes.add(publish.size() as u64);
        let received = Received { topic: &publish.topic, payload: &publish.payload, retain: publish.retain };
        let mut message =
            message::read(&self.config.subscribe, &mut self.decoders, received, arrival, self.clock.zone());
        let Message { content, retained, taken_for, .. } = &mut message;
        if let (Some(format), Ok(topic)) = (*taken_for, std::str::from_utf8(&publish.topic)) {
            self.status.take_for(topic, format.as_str());
        }
        let decoded = content.readings.len() + *retained;
        let counts = &self.metrics.readings;
        counts.received.add(decoded as u64);
        counts.dropped(DropReason::Retained).add(*retained as u64);
        self.status.read(decoded);
        self.limit.count(&mut content.dead, &self.status, &self.metrics, std::time::Instant::now());
        message
    }

    /// Shows why there is no connection; the journal hears of it when it is news.
    fn down(&self, reason: &Reason) {
        if self.status.set_state(SourceState::Down(reason.text.clone())) {
            tracing::warn!(source = %self.status.name, "{}", reason.text);
        }
    }
}
