//! One connection to a broker, from CONNECT to its end.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, Subscribe, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::acks::{Answer, Hole};
use super::copies::Copies;
use super::options::{CONNECT_TIMEOUT, KEEP_ALIVE};
use super::reason::{self, Reason};
use super::{Error, Source};

/// Requests that wait for the client to write them: acknowledgements, subscriptions, one DISCONNECT.
///
/// The client takes them out only while it is polled, and it is polled by the task that puts them in: one that waited for
/// a free place would wait for itself. So nothing here waits. What finds no place stays in the order buffer, and the client
/// makes an event of each request that it writes, after which the place is filled again.
const REQUESTS: usize = 64;

/// What a poll may take longer than the keep-alive time before the connection counts as dead: the client's own flush has
/// no timeout, and hangs when the broker's host is gone while the socket's buffer is full.
const GRACE: Duration = Duration::from_secs(10);

/// How long a stop waits for the answers of the store.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a stop waits for the broker to take the last packets.
const LEAVE: Duration = Duration::from_secs(2);

/// Silence of the broker after which it seems to wait for acknowledgements, and how many it has to wait for.
const SILENCE: Duration = Duration::from_millis(100);
const SILENCE_ACKS: usize = 10;
/// Shortest time between two commits for a silent broker.
const SILENCE_GAP: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(super) enum End {
    /// As asked.
    Stopped,
    /// It has to be made again.
    Lost {
        reason: Reason,
        /// How long the broker had accepted us.
        lasted: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// No CONNACK yet.
    Connecting,
    Open {
        since: Instant,
    },
    /// Stopping: waits for the store's answers.
    Draining {
        until: Instant,
    },
    /// Stopping: DISCONNECT is on its way (`written`), and the broker closes the connection.
    Leaving {
        until: Instant,
        written: bool,
    },
}

/// What a poll came to.
#[expect(clippy::large_enum_variant, reason = "it is moved once; a box would be an allocation for each packet")]
enum Step {
    Event(Event),
    Broken(ConnectionError),
    TimedOut,
    Hole,
    /// Stopped before there was a connection.
    Stopped,
}

/// One connection. The client is made anew for each: nothing of an old one, such as a queued acknowledgement, can get into
/// the next.
pub(super) struct Session<'a> {
    pub(super) source: &'a mut Source,
    pub(super) client: AsyncClient,
    pub(super) phase: Phase,
    pub(super) keep_alive: Duration,
    pub(super) heard: Instant,
    asked: Option<Instant>,
    /// SUBSCRIBE packets that the client has not taken yet.
    pub(super) to_subscribe: VecDeque<Subscribe>,
    /// SUBACK packets that have to come, and the codes of those that came.
    pub(super) subacks_to_come: usize,
    pub(super) granted: Vec<SubscribeReasonCode>,
    pub(super) copies: Copies,
}

impl<'a> Session<'a> {
    /// Connects and stays connected as long as it goes well.
    ///
    /// # Errors
    /// When the store is gone.
    pub(super) async fn run(
        source: &'a mut Source,
        options: MqttOptions,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<End, Error> {
        source.acks.begin();
        let (client, mut eventloop) = AsyncClient::new(options, REQUESTS);
        let mut session = Session {
            source,
            client,
            phase: Phase::Connecting,
            keep_alive: KEEP_ALIVE,
            heard: Instant::now(),
            asked: None,
            to_subscribe: VecDeque::new(),
            subacks_to_come: 0,
            granted: Vec::new(),
            copies: Copies::default(),
        };
        let end = session.go(&mut eventloop, stop).await;
        // It may have been left in the middle of a write.
        eventloop.clean();
        session.source.confirm.lost();
        match end {
            Err(Error::Closed(_)) if *stop.borrow() || stop.has_changed().is_err() => Ok(End::Stopped),
            end => end,
        }
    }

    async fn go(&mut self, eventloop: &mut EventLoop, stop: &mut watch::Receiver<bool>) -> Result<End, Error> {
        loop {
            match self.step(eventloop, stop).await {
                Step::Event(event) => {
                    self.event(event, eventloop, stop).await?;
                    // A message that was waiting for a place when the stop came is a hole too, and no reason to part before the
                    // others are acknowledged.
                    if self.take_answers(None).is_err() && !self.stopping() && !*stop.borrow() {
                        return Ok(self.hole());
                    }
                    // A step looks at the client first, and while the broker sends without a pause at nothing else.
                    if self.stopping() {
                        if Instant::now() >= self.deadline() && self.overdue() {
                            return Ok(End::Stopped);
                        }
                    } else if *stop.borrow() {
                        self.drain();
                    }
                    self.go_on();
                }
                Step::Broken(error) => return self.broken(&error, eventloop, stop).await,
                Step::Hole if *stop.borrow() => self.drain(),
                Step::Hole => return Ok(self.hole()),
                Step::Stopped => return Ok(End::Stopped),
                Step::TimedOut if self.stopping() => {
                    if self.overdue() {
                        return Ok(End::Stopped);
                    }
                }
                Step::TimedOut => {
                    return Ok(self.lost(Reason::new(format!("{} does not answer any more", self.source.at))));
                }
            }
        }
    }

    /// A phase of stopping has taken its time; returns whether it was the last.
    fn overdue(&mut self) -> bool {
        if !matches!(self.phase, Phase::Draining { .. }) {
            return true;
        }
        let (source, left) = (&self.source.status.name, self.source.acks.outstanding());
        tracing::warn!(%source, left, "stopping with messages that are not acknowledged: the broker sends them again");
        // No free place after all this time: the client cannot write, and there is nobody to say goodbye to.
        !self.leave()
    }

    /// The client's next event. Its poll is kept over everything else that happens meanwhile: a poll that is dropped in the
    /// middle of a write would lose a packet.
    async fn step(&mut self, eventloop: &mut EventLoop, stop: &mut watch::Receiver<bool>) -> Step {
        let mut deadline = pin!(sleep_until(self.deadline()));
        let mut poll = pin!(eventloop.poll());
        loop {
            let stopping = self.stopping();
            let ask = self.silent_at();
            tokio::select! {
                biased;
                event = &mut poll => return match event {
                    Ok(event) => Step::Event(event),
                    Err(error) => Step::Broken(error),
                },
                Some(answer) = self.source.answers.recv() => {
                    if self.take_answers(Some(answer)).is_err() && !stopping {
                        return Step::Hole;
                    }
                    self.go_on();
                    if stopping {
                        deadline.as_mut().reset(self.deadline());
                    }
                }
                () = &mut deadline => return Step::TimedOut,
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    if matches!(self.phase, Phase::Connecting) {
                        return Step::Stopped;
                    }
                    self.drain();
                    self.go_on();
                    deadline.as_mut().reset(self.deadline());
                }
                () = sleep_until(ask.unwrap_or_else(Instant::now)), if ask.is_some() => {
                    self.asked = Some(Instant::now());
                    self.ask();
                }
            }
        }
    }

    /// When the present poll counts as hanging, or the present phase as over.
    fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Connecting => Instant::now() + CONNECT_TIMEOUT + GRACE,
            // The client makes an event of each ping, so that even with a silent broker no poll lasts longer.
            Phase::Open { .. } => Instant::now() + self.keep_alive + GRACE,
            Phase::Draining { until } | Phase::Leaving { until, .. } => until,
        }
    }

    pub(super) fn stopping(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. } | Phase::Leaving { .. })
    }

    /// Takes `first` and all other answers that are there.
    fn take_answers(&mut self, first: Option<Answer>) -> Result<(), Hole> {
        let mut whole = Ok(());
        let mut next = first.or_else(|| self.source.answers.try_recv().ok());
        while let Some(answer) = next {
            whole = whole.and(self.source.acks.answer(answer));
            next = self.source.answers.try_recv().ok();
        }
        whole
    }

    /// Hands the client what is to be sent, as much as it takes: subscriptions, and the acknowledgements that are due; and
    /// leaves when that was all.
    fn go_on(&mut self) {
        while let Some(subscribe) = self.to_subscribe.pop_front() {
            let Subscribe { filters, properties, .. } = subscribe.clone();
            let sent = match properties {
                Some(properties) => self.client.try_subscribe_many_with_properties(filters, properties),
                None => self.client.try_subscribe_many(filters),
            };
            if sent.is_err() {
                // Patterns make valid filters only, so there is no free place: the next event brings us here again.
                self.to_subscribe.push_front(subscribe);
                break;
            }
        }
        let source = &mut *self.source;
        while let Some(ack) = source.acks.due() {
            let answered = Publish { pkid: ack.packet, qos: ack.qos, ..Publish::default() };
            if self.client.try_ack(&answered).is_err() {
                // No free place: each event of the client brings us here again.
                break;
            }
            source.acks.handed();
            source.confirm.handed(ack);
            source.status.acked.inc();
        }
        if matches!(self.phase, Phase::Draining { .. }) && source.acks.unanswered() == 0 && source.acks.due().is_none()
        {
            // Without a free place, the next event brings us here again.
            self.leave();
        }
    }

    /// Asks for a commit of everything so far.
    pub(super) fn ask(&mut self) {
        self.source.acks.asked();
        self.source.intake.commit_soon();
    }

    /// When a commit is asked for because the broker has fallen silent: it may have a smaller window than ours, or none of
    /// its senders goes on before its acknowledgement.
    fn silent_at(&self) -> Option<Instant> {
        if !matches!(self.phase, Phase::Open { .. }) || self.source.acks.unanswered() < SILENCE_ACKS {
            return None;
        }
        let silent = self.heard + SILENCE;
        Some(self.asked.map_or(silent, |asked| silent.max(asked + SILENCE_GAP)))
    }

    fn drain(&mut self) {
        self.phase = Phase::Draining { until: Instant::now() + DRAIN };
        self.ask();
    }

    /// Ends the connection but not the session: its expiry stays as it was, and the broker queues for us. Returns whether
    /// the client has a free place for the DISCONNECT, behind all acknowledgements.
    fn leave(&mut self) -> bool {
        let sent = self.client.try_disconnect().is_ok();
        if sent {
            self.phase = Phase::Leaving { until: Instant::now() + LEAVE, written: false };
        }
        sent
    }

    fn hole(&mut self) -> End {
        // Among those that come again are messages that were seen and are not stored.
        self.source.decoders.forget_frames();
        self.lost(Reason::new("the store did not take a message: connecting again, so that the broker sends it again"))
    }

    async fn broken(
        &mut self,
        error: &ConnectionError,
        eventloop: &mut EventLoop,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<End, Error> {
        // Packets that the client had read and not given out yet: those with QoS 1 come again.
        while let Some(event) = eventloop.state.events.pop_front() {
            if let Event::Incoming(Packet::Publish(publish)) = event
                && publish.qos == QoS::AtMostOnce
            {
                self.message(&publish, stop).await?;
            }
        }
        match self.phase {
            Phase::Leaving { written: true, .. } => {
                let known = self.source.confirm.closed();
                self.confirmed(known)?;
                Ok(End::Stopped)
            }
            Phase::Draining { .. } | Phase::Leaving { .. } => Ok(End::Stopped),
            Phase::Connecting => Ok(self.lost(reason::of(error, &self.source.at, false))),
            Phase::Open { .. } => Ok(self.lost(reason::of(error, &self.source.at, true))),
        }
    }

    fn lost(&self, reason: Reason) -> End {
        let lasted = match self.phase {
            Phase::Open { since } => since.elapsed(),
            _ => Duration::ZERO,
        };
        End::Lost { reason, lasted }
    }
}
