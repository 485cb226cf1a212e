//! The acknowledgements of one connection in the order of receipt. Pure: no client, no clock.

use std::collections::VecDeque;

use rumqttc::v5::mqttbytes::QoS;

use crate::reading::{Digest, Outcome};

/// What acknowledges one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    /// Packet id that the broker gave the message.
    pub(super) packet: u16,
    /// QoS that the broker sent it with.
    pub(super) qos: QoS,
    /// Digest of its topic and payload, where the store remembers it until the broker has this acknowledgement.
    pub(super) digest: Option<Digest>,
}

/// The place of a message: its connection, and its number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    epoch: u64,
    sequence: u64,
}

/// The store's answer for one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) place: Place,
    pub(super) outcome: Outcome,
}

/// The store did not take a message of this connection: only a new connection makes the broker send it again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hole;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Settled,
    Failed,
}

/// Messages that are not acknowledged yet, in the order of their receipt.
///
/// What bounds it: a message that waits holds a permit of the intake, and one that is settled an id of 16 bits that the
/// broker cannot use again before it has the acknowledgement. So it holds at most 65,535 of a broker that follows the
/// standard, whatever it makes of the window.
#[derive(Debug, Default)]
pub(super) struct Acks {
    epoch: u64,
    // Sequence of the front of `entries`.
    first: u64,
    entries: VecDeque<(Ack, State)>,
    unanswered: usize,
    // Sequence from which on no commit has been asked for, and how many unanswered ones there are from it on.
    asked: u64,
    unasked: usize,
}

impl Acks {
    /// Begins an attempt to connect. What is left of the connection before is forgotten: packet ids start again after a
    /// lost session, so an old acknowledgement would confirm another message; and in a resumed one the broker sends the
    /// message again.
    pub(super) fn begin(&mut self) {
        *self = Self { epoch: self.epoch + 1, ..Self::default() };
    }

    /// A message that the store will answer.
    pub(super) fn wait(&mut self, ack: Ack) -> Place {
        let sequence = self.first + self.entries.len() as u64;
        self.entries.push_back((ack, State::Waiting));
        self.unanswered += 1;
        self.unasked += 1;
        Place { epoch: self.epoch, sequence }
    }

    /// A message with nothing to store: it is acknowledged when its turn comes.
    pub(super) fn settled(&mut self, ack: Ack) {
        self.entries.push_back((ack, State::Settled));
    }

    /// Takes the store's answer. One of an older connection is ignored.
    ///
    /// # Errors
    /// [`Hole`] when the store did not take the message: it and all that came after it are never acknowledged.
    pub(super) fn answer(&mut self, answer: Answer) -> Result<(), Hole> {
        let Place { epoch, sequence } = answer.place;
        if epoch != self.epoch {
            return Ok(());
        }
        let at = sequence.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let Some((_, state @ State::Waiting)) = at.and_then(|at| self.entries.get_mut(at)) else {
            return Ok(());
        };
        *state = match answer.outcome {
            // What exceeds a bound of the store would exceed it again; not acknowledged, it would fill the window for good.
            Outcome::Committed | Outcome::Refused => State::Settled,
            Outcome::Failed => State::Failed,
        };
        let failed = *state == State::Failed;
        self.unanswered -= 1;
        if sequence >= self.asked {
            self.unasked -= 1;
        }
        if failed { Err(Hole) } else { Ok(()) }
    }

    /// The acknowledgement whose turn it is; `None` while an earlier message has no answer.
    pub(super) fn due(&self) -> Option<Ack> {
        self.entries.front().filter(|(_, state)| *state == State::Settled).map(|(ack, _)| *ack)
    }

    /// The one that was due has been handed to the client.
    pub(super) fn handed(&mut self) {
        if self.due().is_some() {
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Messages that the broker has no acknowledgement for.
    pub(super) fn outstanding(&self) -> usize {
        self.entries.len()
    }

    /// Messages without the store's answer.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Messages without the store's answer that no commit has been asked for.
    pub(super) fn unasked(&self) -> usize {
        self.unasked
    }

    /// A commit of everything so far has been asked for.
    pub(super) fn asked(&mut self) {
        self.asked = self.first + self.entries.len() as u64;
        self.unasked = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(packet: u16) -> Ack {
        Ack { packet, qos: QoS::AtLeastOnce, digest: None }
    }

    fn committed(place: Place) -> Answer {
        Answer { place, outcome: Outcome::Committed }
    }

    fn failed(place: Place) -> Answer {
        Answer { place, outcome: Outcome::Failed }
    }

    fn take(acks: &mut Acks) -> Vec<u16> {
        let mut taken = Vec::new();
        while let Some(ack) = acks.due() {
            taken.push(ack.packet);
            acks.handed();
        }
        taken
    }

    #[test]
    fn acknowledgements_go_out_in_the_order_of_receipt() {
        let mut acks = Acks::default();
        acks.begin();
        let one = acks.wait(ack(1));
        let two = acks.wait(ack(2));
        acks.settled(ack(3));
        let four = acks.wait(ack(4));
        assert_eq!(acks.answer(committed(four)), Ok(()));
        assert_eq!(acks.answer(committed(two)), Ok(()));
        assert_eq!(take(&mut acks), [] as [u16; 0]);
        assert_eq!((acks.unanswered(), acks.outstanding()), (1, 4));
        assert_eq!(acks.answer(committed(one)), Ok(()));
        assert_eq!(take(&mut acks), [1, 2, 3, 4]);
        assert_eq!((acks.unanswered(), acks.outstanding()), (0, 0));
        let five = acks.wait(ack(5));
        assert_eq!(acks.answer(committed(five)), Ok(()));
        assert_eq!(take(&mut acks), [5]);
    }

    #[test]
    fn answers_of_an_older_connection_acknowledge_nothing() {
        let mut acks = Acks::default();
        acks.begin();
        let old = acks.wait(ack(1));
        acks.begin();
        assert_eq!(acks.outstanding(), 0);
        let new = acks.wait(ack(1));
        assert_eq!(acks.answer(committed(old)), Ok(()));
        assert_eq!(acks.answer(failed(old)), Ok(()));
        assert_eq!(take(&mut acks), [] as [u16; 0]);
        assert_eq!(acks.answer(committed(new)), Ok(()));
        assert_eq!(take(&mut acks), [1]);
    }

    #[test]
    fn a_failed_message_and_all_behind_it_stay_unacknowledged() {
        let mut acks = Acks::default();
        acks.begin();
        let one = acks.wait(ack(1));
        let two = acks.wait(ack(2));
        let three = acks.wait(ack(3));
        assert_eq!(acks.answer(failed(two)), Err(Hole));
        assert_eq!(acks.answer(committed(three)), Ok(()));
        assert_eq!(acks.answer(committed(one)), Ok(()));
        assert_eq!(take(&mut acks), [1]);
        assert_eq!((acks.unanswered(), acks.outstanding()), (0, 2));
        assert_eq!(acks.answer(committed(two)), Ok(()), "a second answer is ignored");
        assert_eq!(take(&mut acks), [] as [u16; 0]);
    }

    #[test]
    fn what_no_commit_was_asked_for_is_counted_apart() {
        let mut acks = Acks::default();
        acks.begin();
        let one = acks.wait(ack(1));
        let two = acks.wait(ack(2));
        assert_eq!(acks.unasked(), 2);
        assert_eq!(acks.answer(committed(one)), Ok(()));
        assert_eq!(acks.unasked(), 1);
        acks.asked();
        assert_eq!((acks.unasked(), acks.unanswered()), (0, 1));
        acks.settled(ack(3));
        let four = acks.wait(ack(4));
        assert_eq!(acks.answer(committed(two)), Ok(()));
        assert_eq!((acks.unasked(), acks.unanswered()), (1, 1));
        assert_eq!(acks.answer(committed(four)), Ok(()));
        assert_eq!((acks.unasked(), acks.unanswered()), (0, 0));
    }
}
