//! What is done with each packet of a connection.

use std::sync::Arc;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, Publish, SubAck, Subscribe};
use rumqttc::v5::{Event, EventLoop};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::{DropReason, SourceState};
use crate::pipeline::Notice;
use crate::reading::{Arrival, Decoded, Delivery, Digest, Envelope, Receipt};

use super::acks::{Ack, Answer};
use super::confirm::Known;
use super::filters::Wanted;
use super::options::KEEP_ALIVE;
use super::session::{Phase, Session};
use super::{Error, copies, filters, message};

impl Session<'_> {
    /// Takes one event of the client.
    pub(super) async fn event(
        &mut self,
        event: Event,
        eventloop: &mut EventLoop,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Error> {
        if let Event::Incoming(_) = event {
            self.heard = Instant::now();
            self.source.status.heard();
        }
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => self.connected(&connack, eventloop)?,
            Event::Incoming(Packet::SubAck(suback)) => self.subscribed(&suback),
            Event::Incoming(Packet::Publish(publish)) => self.message(&publish, stop).await?,
            Event::Incoming(Packet::PingResp(_)) => {
                let pong = self.source.confirm.pong();
                self.confirmed(pong.known)?;
                if pong.resumed {
                    self.source.intake.notice(Notice::Resumed(Arc::clone(&self.source.status.name)))?;
                }
            }
            Event::Outgoing(Outgoing::PubAck(packet) | Outgoing::PubRec(packet)) => self.source.confirm.written(packet),
            Event::Outgoing(Outgoing::PingReq) => {
                let room = self.source.acks.outstanding() < usize::from(self.source.config.window);
                self.source.confirm.ping(room);
            }
            Event::Outgoing(Outgoing::Disconnect) => {
                if let Phase::Leaving { written, .. } = &mut self.phase {
                    *written = true;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn connected(&mut self, connack: &ConnAck, eventloop: &mut EventLoop) -> Result<(), Error> {
        let source = &mut *self.source;
        if !connack.session_present {
            source.confirm.session_lost();
            source.intake.notice(Notice::SessionLost(Arc::clone(&source.status.name)))?;
        }
        if eventloop.options.keep_alive().is_zero() {
            // The broker asks for no keep-alive; the client would ping without a pause.
            eventloop.options.set_keep_alive(KEEP_ALIVE);
        }
        self.keep_alive = eventloop.options.keep_alive();
        // A stop that came with the CONNACK is seen by the next step.
        self.phase = Phase::Open { since: Instant::now() };
        source.status.connects.inc();
        if source.status.set_state(SourceState::Up) {
            let session = if connack.session_present { "resumed" } else { "new" };
            tracing::info!(source = %source.status.name, session, "connected to {}", source.at);
        }
        // On each connection, whatever became of the session: the configuration may have changed, and subscribing again
        // is how a broker is asked whether it still allows it.
        let identifiers = connack.properties.as_ref().and_then(|p| p.subscription_identifiers_available) != Some(0);
        self.to_subscribe = if identifiers && filters::overlap(&source.wanted) {
            // One packet each: an identifier belongs to a packet.
            let each = source.wanted.iter().map(|w| Subscribe::new(w.to_filter(), Some(copies::identifier(w))));
            each.collect()
        } else {
            [Subscribe::new_many(source.wanted.iter().map(Wanted::to_filter), None)].into()
        };
        self.subacks_to_come = self.to_subscribe.len();
        Ok(())
    }

    fn subscribed(&mut self, suback: &SubAck) {
        self.granted.extend_from_slice(&suback.return_codes);
        self.subacks_to_come = self.subacks_to_come.saturating_sub(1);
        if self.subacks_to_come == 0 {
            self.problems(filters::problems(&self.source.wanted, &self.granted));
        }
    }

    /// Shows lasting problems; the journal hears of them when they are news.
    fn problems(&self, problems: Vec<String>) {
        let status = &self.source.status;
        if status.set_problems(problems) {
            for problem in status.problems() {
                tracing::warn!(source = %status.name, "{problem}");
            }
        }
    }

    /// Hands one message to the store. Waits while the intake is full: nothing is read from the broker meanwhile, and
    /// that is what holds the broker back.
    pub(super) async fn message(&mut self, publish: &Publish, stop: &mut watch::Receiver<bool>) -> Result<(), Error> {
        let answered = publish.qos != QoS::AtMostOnce;
        let stopping = self.stopping();
        if stopping && answered {
            // Not taken and not acknowledged: the broker keeps it for the next connection.
            return Ok(());
        }
        let arrival = self.source.clock.now();
        if self.copies.is_copy(publish) {
            // It goes behind the first copy and is acknowledged when that one is stored; and what it was is remembered, or it
            // would be stored when only its own acknowledgement gets lost.
            if answered {
                let digest = Some(message::digest(&publish.topic, &publish.payload));
                self.send(publish, arrival, Decoded::default(), digest, stop).await?;
            }
            return Ok(());
        }
        let source = &mut *self.source;
        let message = source.read(publish, arrival);
        // One that comes again without need of it is looked up all the same: its first copy may have come under a clock that
        // did not believe its time.
        let needs_delivery = publish.dup || message.leaves_out || message::needs_delivery(&message, arrival);
        if let Some(request) = message.request {
            tracing::debug!(source = %source.status.name, topic = request.topic, reason = request.reason, "asking");
            // Without a free place it is asked again with the next message that lacks something.
            let _ = self.client.try_publish(request.topic, QoS::AtMostOnce, false, request.payload);
        }
        let content = message.content;
        if stopping {
            source.metrics.readings.dropped(DropReason::Stopping).add(rows(&content));
            return Ok(());
        }
        let digest = (answered && needs_delivery).then(|| message::digest(&publish.topic, &publish.payload));
        // One that comes again may be empty because its first copy was remembered, and that one may still be on its way to the
        // store: it goes behind it and is acknowledged when that is stored. So does one that was left out as the repeat of a
        // frame: when it comes again nobody may remember that frame.
        if content.is_empty() && !publish.dup && !message.leaves_out {
            if answered {
                if let Some(digest) = &digest {
                    source.confirm.sent_again(publish.pkid, *digest);
                }
                source.acks.settled(Ack { packet: publish.pkid, qos: publish.qos, digest });
            }
            return Ok(());
        }
        if content.is_empty() && !answered {
            return Ok(());
        }
        self.send(publish, arrival, content, digest, stop).await
    }

    /// Hands the content of a message to the store, and waits while the intake is full.
    async fn send(
        &mut self,
        publish: &Publish,
        arrival: Arrival,
        content: Decoded,
        digest: Option<Digest>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let source = &mut *self.source;
        let rows = rows(&content);
        if let Some(digest) = &digest {
            source.confirm.sent_again(publish.pkid, *digest);
        }
        let answered = publish.qos != QoS::AtMostOnce;
        let receipt = if answered {
            let place = source.acks.wait(Ack { packet: publish.pkid, qos: publish.qos, digest });
            let answer = source.answer.clone();
            // Nobody listens any more only when the source has ended, and with it its connection.
            Receipt::new(move |outcome| {
                let _ = answer.send(Answer { place, outcome });
            })
        } else {
            Receipt::none()
        };
        let envelope = Envelope {
            source: Arc::clone(&source.status.name),
            arrival,
            content,
            delivery: digest.map(|digest| Delivery { packet: publish.pkid, dup: publish.dup, digest, part: 0 }),
            waiting: false,
            receipt,
        };
        tokio::select! {
            biased;
            sent = source.intake.send(envelope) => sent?,
            // What did not get in is not acknowledged; with QoS 0 it is gone.
            _ = stop.wait_for(|stop| *stop) => {
                if !answered {
                    source.metrics.readings.dropped(DropReason::Stopping).add(rows);
                }
            }
        }
        if source.acks.unasked() >= usize::from(source.config.window / 2).max(1) {
            self.ask();
        }
        Ok(())
    }

    /// Tells the store what the broker is known to have.
    pub(super) fn confirmed(&self, known: Vec<Known>) -> Result<(), Error> {
        if !known.is_empty() {
            self.source.intake.notice(Notice::Confirmed(Arc::clone(&self.source.status.name), known))?;
        }
        Ok(())
    }
}

/// Rows of what was decoded, dead letters aside.
fn rows(content: &Decoded) -> u64 {
    (content.readings.len() + content.events.len()) as u64
}
