//! Why there is no connection, in words for a person.

use std::io;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};

use super::options::CONNECT_TIMEOUT;

/// Why a connection ended, or did not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// For a person.
    pub(super) text: String,
    /// The broker has answered and does not want us: a person has to change something, so there is no hurry.
    pub(super) refused: bool,
}

impl Reason {
    /// Something that may be over soon.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), refused: false }
    }
}

/// `error` in words; `at` is `host:port`, `connected` whether the broker had accepted the connection.
pub(super) fn of(error: &ConnectionError, at: &str, connected: bool) -> Reason {
    match error {
        ConnectionError::ConnectionRefused(code) => refusal(*code, at),
        ConnectionError::Timeout(_) => {
            Reason::new(format!("{at} did not answer within {} s", CONNECT_TIMEOUT.as_secs()))
        }
        ConnectionError::Io(e) => Reason::new(network(e, at, connected)),
        ConnectionError::Tls(TlsError::Io(e)) => Reason::new(network(e, at, connected)),
        ConnectionError::Tls(e) => Reason::new(format!("TLS with {at} failed: {e}")),
        ConnectionError::MqttState(e) => Reason::new(protocol(e, at, connected)),
        ConnectionError::NotConnAck(_) => Reason::new(format!("{at} does not answer like an MQTT 5 broker")),
        ConnectionError::RequestsDone => Reason::new(format!("the connection to {at} was ended here")),
    }
}

fn refusal(code: ConnectReturnCode, at: &str) -> Reason {
    use ConnectReturnCode as Code;
    let (what, why, refused) = match code {
        Code::BadUserNamePassword => ("the user name or password", "bad user name or password", true),
        Code::NotAuthorized => ("the user name or password", "not authorised", true),
        Code::BadAuthenticationMethod => ("the user name or password", "bad authentication method", true),
        Code::ClientIdentifierNotValid | Code::BadClientId => ("the client id", "not valid", true),
        Code::Banned => ("the client", "banned", true),
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
            ("the protocol", "it does not speak MQTT 5", true)
        }
        Code::ServiceUnavailable | Code::ServerUnavailable => ("the connection", "not available", false),
        Code::ServerBusy => ("the connection", "busy", false),
        Code::QuotaExceeded => ("the connection", "a quota is exceeded", false),
        Code::ConnectionRateExceeded => ("the connection", "too many connections a second", false),
        Code::UseAnotherServer | Code::ServerMoved => ("the connection", "it has moved to another address", true),
        Code::UnspecifiedError | Code::ImplementationSpecificError => ("the connection", "no reason given", false),
        _ => ("the connection", "it does not accept our CONNECT packet", true),
    };
    Reason { text: format!("the broker refused {what} ({why}) at {at}"), refused }
}

/// A failure of name resolution, TCP or TLS.
fn network(error: &io::Error, at: &str, connected: bool) -> String {
    if connected {
        return format!("the connection to {at} was lost: {error}");
    }
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return match tls {
            rustls::Error::InvalidCertificate(why) => format!("the certificate of {at} is not accepted: {why}"),
            other => format!("TLS with {at} failed: {other}"),
        };
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("nothing listens at {at} (connection refused)"),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            format!("there is no route to {at} ({error})")
        }
        // The resolver's failures have no kind of their own.
        _ if error.raw_os_error().is_none() && error.to_string().contains("lookup") => {
            let host = at.rsplit_once(':').map_or(at, |(host, _)| host);
            format!("the host name {host} of {at} cannot be resolved: {error}")
        }
        _ => format!("cannot connect to {at}: {error}"),
    }
}

fn protocol(error: &StateError, at: &str, connected: bool) -> String {
    match error {
        StateError::Io(e) | StateError::Deserialization(PacketError::Io(e)) => network(e, at, connected),
        StateError::ConnectionAborted if connected => format!("{at} closed the connection"),
        StateError::ConnectionAborted => format!("{at} closed the connection before it was accepted"),
        StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. } => {
            format!("another client connected to {at} with the same client id; give each its own `client-id`")
        }
        StateError::ServerDisconnect { reason_code, reason_string } => match reason_string {
            Some(text) => format!("{at} ended the connection: {reason_code:?}, {text}"),
            None => format!("{at} ended the connection: {reason_code:?}"),
        },
        StateError::AwaitPingResp => format!("{at} does not answer any more"),
        StateError::Deserialization(PacketError::PayloadSizeLimitExceeded { pkt_size, max }) => {
            format!("{at} sent a packet of {pkt_size} bytes though `max-message` is {max}")
        }
        StateError::Deserialization(PacketError::OutgoingPacketTooLarge { pkt_size, max })
        | StateError::OutgoingPacketTooLarge { pkt_size, max } => {
            format!("the subscriptions are {pkt_size} bytes, and {at} takes {max}")
        }
        StateError::Deserialization(PacketError::InvalidConnectReturnCode(1)) => {
            format!("the broker refused the protocol (it does not speak MQTT 5) at {at}")
        }
        StateError::Unsolicited(_) => {
            format!("{at} goes on with a QoS 2 message of another client with this client id; set another `client-id`")
        }
        other => format!("{at} does not follow MQTT 5: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "broker.lan:1883";

    fn text(error: &ConnectionError, connected: bool) -> String {
        of(error, AT, connected).text
    }

    #[test]
    fn refusals_name_what_is_refused_and_take_their_time() {
        let refused = |code| of(&ConnectionError::ConnectionRefused(code), AT, false);
        let text = "the broker refused the user name or password (not authorised) at broker.lan:1883";
        assert_eq!(refused(ConnectReturnCode::NotAuthorized), Reason { text: text.into(), refused: true });
        let text = "the broker refused the user name or password (bad user name or password) at broker.lan:1883";
        assert_eq!(refused(ConnectReturnCode::BadUserNamePassword), Reason { text: text.into(), refused: true });
        let text = "the broker refused the client id (not valid) at broker.lan:1883";
        assert_eq!(refused(ConnectReturnCode::ClientIdentifierNotValid), Reason { text: text.into(), refused: true });
        let text = "the broker refused the connection (busy) at broker.lan:1883";
        assert_eq!(refused(ConnectReturnCode::ServerBusy), Reason { text: text.into(), refused: false });
    }

    #[test]
    fn network_failures_name_host_and_port() {
        let io = |kind: io::ErrorKind| ConnectionError::Io(kind.into());
        assert_eq!(
            text(&io(io::ErrorKind::ConnectionRefused), false),
            "nothing listens at broker.lan:1883 (connection refused)"
        );
        assert_eq!(
            text(&io(io::ErrorKind::HostUnreachable), false),
            "there is no route to broker.lan:1883 (host unreachable)"
        );
        let lookup = io::Error::other("failed to lookup address information: Name or service not known");
        assert_eq!(
            text(&ConnectionError::Io(lookup), false),
            "the host name broker.lan of broker.lan:1883 cannot be resolved: \
             failed to lookup address information: Name or service not known"
        );
        assert_eq!(
            text(&io(io::ErrorKind::ConnectionReset), true),
            "the connection to broker.lan:1883 was lost: connection reset"
        );
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(
            text(&ConnectionError::Tls(TlsError::Io(io::Error::new(io::ErrorKind::InvalidData, unknown))), false),
            "the certificate of broker.lan:1883 is not accepted: UnknownIssuer"
        );
    }

    #[test]
    fn the_brokers_own_reasons_are_passed_on() {
        let state = ConnectionError::MqttState;
        assert_eq!(text(&state(StateError::ConnectionAborted), true), "broker.lan:1883 closed the connection");
        assert_eq!(
            text(&state(StateError::ConnectionAborted), false),
            "broker.lan:1883 closed the connection before it was accepted"
        );
        assert_eq!(
            text(
                &state(StateError::ServerDisconnect {
                    reason_code: DisconnectReasonCode::SessionTakenOver,
                    reason_string: None
                }),
                true
            ),
            "another client connected to broker.lan:1883 with the same client id; give each its own `client-id`"
        );
        assert_eq!(
            text(&state(StateError::Deserialization(PacketError::InvalidConnectReturnCode(1))), false),
            "the broker refused the protocol (it does not speak MQTT 5) at broker.lan:1883"
        );
        assert_eq!(
            text(
                &state(StateError::Deserialization(PacketError::PayloadSizeLimitExceeded { pkt_size: 300, max: 200 })),
                true
            ),
            "broker.lan:1883 sent a packet of 300 bytes though `max-message` is 200"
        );
    }
}
