//! What is allowed and yet likely not what was meant.

use super::{Config, Mqtt};
use crate::codec::topic::covers;

/// Names of serial devices that the kernel gives in the order of plugging in.
const UNSTABLE: &[&str] = &["/dev/ttyUSB", "/dev/ttyACM"];

impl Config {
    /// What is allowed and yet likely not what was meant, one sentence each; for the journal at the start, and for
    /// `gadwall check`. Looks at nothing but the configuration.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.serial.is_empty() && self.modbus.is_empty() && self.mqtt.is_empty() {
            warnings.push(
                "no source is configured, so nothing will be received: add a [[serial]], a [[modbus]] or an [[mqtt]] section"
                    .to_owned(),
            );
        }
        let sum = crate::budget::memory::sum(self);
        if let Some(limit) = self.memory.limit.filter(|limit| *limit < sum) {
            warnings.push(format!(
                "memory.limit = \"{}\": the parts may need about {} together, and where they do, queries and then readings \
                 are refused; make them smaller (gadwall check lists them), or the limit larger",
                super::value::show_size(limit),
                super::value::show_size(sum.next_multiple_of(bytesize::MB)),
            ));
        }
        if !self.http.listen.ip().to_canonical().is_loopback() {
            warnings.push(format!(
                "http.listen = \"{}\": the token and all answers cross the network unencrypted; a proxy with TLS in front \
                 of a loopback address is safer",
                self.http.listen
            ));
        }
        let serial = self.serial.iter().enumerate().map(|(i, serial)| (format!("serial[{i}]"), &serial.port));
        let modbus = self.modbus.iter().enumerate().map(|(i, bus)| (format!("modbus[{i}]"), &bus.port));
        for (section, port) in serial.chain(modbus) {
            let port = port.to_string_lossy();
            if UNSTABLE.iter().any(|start| port.starts_with(start)) {
                warnings.push(format!(
                    "{section}.port = \"{port}\": this number may go to another device after a restart or when it is \
                     plugged in again; take the device's name below /dev/serial/by-id"
                ));
            }
        }
        for (i, mqtt) in self.mqtt.iter().enumerate() {
            warn_of_broker(i, mqtt, &mut warnings);
        }
        warnings
    }
}

fn warn_of_broker(i: usize, mqtt: &Mqtt, warnings: &mut Vec<String>) {
    if mqtt.password_file.is_some() && !mqtt.is_tls() && !mqtt.is_loopback() {
        warnings.push(format!(
            "mqtt[{i}].url = \"{}\": the password crosses the network unencrypted; use mqtts:// if the broker can",
            mqtt.url
        ));
    }
    for (later, subscription) in mqtt.subscribe.iter().enumerate() {
        let narrow = &subscription.topic;
        let first = mqtt.subscribe[..later].iter().position(|other| covers(other.topic.filter(), narrow.filter()));
        if let Some(first) = first {
            warnings.push(format!(
                "mqtt[{i}].subscribe[{later}].topic = \"{}\": subscribe[{first}] comes first and takes all its messages; \
                 put the narrower topic first",
                narrow.as_str()
            ));
        }
    }
}
