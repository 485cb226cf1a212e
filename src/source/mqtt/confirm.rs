//! Which acknowledgements the broker is known to have, so that the store can forget their messages. Pure.

use std::collections::{HashMap, VecDeque};

use crate::reading::Digest;

use super::acks::Ack;

/// What the store remembers of a message: packet id and digest.
pub(super) type Known = (u16, Digest);

/// Most acknowledgements that wait for a PINGRESP: there are no more packet ids, so an older one's id is in use again and
/// the store sees that by itself.
const MOST: usize = u16::MAX as usize;

/// Follows acknowledgements from the client's queue to the socket and to the PINGRESP behind them.
///
/// A broker handles packets in their order. So a PINGRESP says that it has everything that was written before the
/// PINGREQ.
#[derive(Debug, Default)]
pub(super) struct Confirm {
    // In the client's queue, in their order.
    handed: VecDeque<(u16, Option<Digest>)>,
    // Written to the socket of this connection, oldest first.
    written: VecDeque<Known>,
    // Written to, or meant for, a socket that broke before a PINGRESP came.
    doubtful: HashMap<u16, Digest>,
    ping: Option<Ping>,
    // The store was told that the broker has sent again what it would, for what an earlier process left behind.
    resumed: bool,
}

/// What a PINGRESP says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pong {
    /// What the broker is now known to have the acknowledgements of.
    pub(super) known: Vec<Known>,
    /// For the first time in this process: everything that the broker would send again from before has come.
    pub(super) resumed: bool,
}

#[derive(Debug)]
struct Ping {
    // How many of `written` went out before the PINGREQ.
    written: usize,
    // The window had room, so that nothing held the broker back from sending again what it has no acknowledgement for.
    room: bool,
}

impl Confirm {
    /// An acknowledgement was put into the client's queue.
    pub(super) fn handed(&mut self, ack: Ack) {
        self.handed.push_back((ack.packet, ack.digest));
    }

    /// The client has written the acknowledgement for `packet` to the socket.
    pub(super) fn written(&mut self, packet: u16) {
        while let Some((id, digest)) = self.handed.pop_front() {
            if let Some(digest) = digest {
                if self.written.len() == MOST {
                    self.written.pop_front();
                    if let Some(ping) = &mut self.ping {
                        ping.written = ping.written.saturating_sub(1);
                    }
                }
                self.written.push_back((id, digest));
            }
            if id == packet {
                break;
            }
        }
    }

    /// A PINGREQ was written; `room` says whether the window had room for a message that the broker sends again.
    pub(super) fn ping(&mut self, room: bool) {
        self.ping = Some(Ping { written: self.written.len(), room });
    }

    /// A PINGRESP came: what the broker is now known to have.
    ///
    /// Acknowledgements of an earlier connection are among it: the broker sends what it has no acknowledgement for at
    /// once when a session is resumed, before anything else, so what it has not sent by now it has the acknowledgement of.
    pub(super) fn pong(&mut self) -> Pong {
        let Some(ping) = self.ping.take() else { return Pong::default() };
        let mut known: Vec<Known> = self.written.drain(..ping.written).collect();
        if ping.room {
            known.extend(self.doubtful.drain());
        }
        let resumed = ping.room && !self.resumed;
        self.resumed |= resumed;
        Pong { known, resumed }
    }

    /// The broker has closed the connection in answer to our DISCONNECT: it has everything that was written before.
    pub(super) fn closed(&mut self) -> Vec<Known> {
        self.written.drain(..).collect()
    }

    /// The broker sent this message in this connection: it has no acknowledgement for it.
    pub(super) fn sent_again(&mut self, packet: u16, digest: Digest) {
        if self.doubtful.get(&packet) == Some(&digest) {
            self.doubtful.remove(&packet);
        }
    }

    /// The connection is gone: whether the broker has what was written since the last PINGREQ is not known.
    pub(super) fn lost(&mut self) {
        self.doubtful.extend(self.written.drain(..));
        self.doubtful.extend(self.handed.drain(..).filter_map(|(packet, digest)| Some((packet, digest?))));
        self.ping = None;
    }

    /// The broker has forgotten the session, and the store will hear of that.
    pub(super) fn session_lost(&mut self) {
        *self = Self { resumed: self.resumed, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::QoS;

    const A: Digest = [0xa; 8];
    const B: Digest = [0xb; 8];

    fn ack(packet: u16, digest: Option<Digest>) -> Ack {
        Ack { packet, qos: QoS::AtLeastOnce, digest }
    }

    fn written(confirm: &mut Confirm, packet: u16, digest: Digest) {
        confirm.handed(ack(packet, Some(digest)));
        confirm.written(packet);
    }

    #[test]
    fn only_what_was_written_before_the_ping_is_known_to_have_arrived() {
        let mut confirm = Confirm::default();
        confirm.handed(ack(1, Some(A)));
        confirm.handed(ack(2, None));
        confirm.handed(ack(3, Some(B)));
        confirm.written(1);
        confirm.written(2);
        confirm.ping(true);
        confirm.written(3);
        assert_eq!(confirm.pong().known, [(1, A)]);
        assert_eq!(confirm.pong().known, [], "a PINGRESP without a PINGREQ says nothing");
        confirm.ping(true);
        assert_eq!(confirm.pong().known, [(3, B)]);
    }

    #[test]
    fn after_a_broken_connection_only_what_is_not_sent_again_is_known() {
        let mut confirm = Confirm::default();
        written(&mut confirm, 1, A);
        written(&mut confirm, 2, B);
        confirm.handed(ack(3, Some(A)));
        confirm.ping(true);
        confirm.lost();
        assert_eq!(confirm.pong().known, [], "the PINGREQ went with its connection");
        confirm.sent_again(1, A);
        confirm.sent_again(2, A);
        confirm.ping(false);
        assert_eq!(confirm.pong().known, [], "a full window may hold back what comes again");
        confirm.ping(true);
        let mut known = confirm.pong().known;
        known.sort_unstable();
        assert_eq!(known, [(2, B), (3, A)]);
    }

    #[test]
    fn a_lost_session_leaves_nothing() {
        let mut confirm = Confirm::default();
        written(&mut confirm, 1, A);
        confirm.lost();
        written(&mut confirm, 2, B);
        confirm.session_lost();
        confirm.ping(true);
        assert_eq!(confirm.pong().known, []);
        assert_eq!(confirm.closed(), []);
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let mut confirm = Confirm::default();
        for packet in 1..=u16::MAX {
            written(&mut confirm, packet, A);
        }
        confirm.ping(true);
        written(&mut confirm, 1, B);
        written(&mut confirm, 2, B);
        let known = confirm.pong().known;
        assert_eq!((known.len(), known[0]), (MOST - 2, (3, A)));
        assert_eq!(confirm.closed(), [(1, B), (2, B)]);
    }
}
