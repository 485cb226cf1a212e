//! The client's options for one connection attempt, made anew each time: files may change, or appear later.

use std::time::Duration;

use rumqttc::v5::MqttOptions;
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use sha2::{Digest, Sha256};

use crate::config;

use super::tls;

/// How often the client pings the broker.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long a connection may take, name resolution, TLS and CONNACK included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there are no options. Names the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    // The source names the file.
    #[error("{key} {source}")]
    Secret { key: &'static str, source: config::secret::SecretError },
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// Host without the brackets of an IPv6 address, and port.
pub(super) fn address(url: &url::Url) -> (String, u16) {
    let host = url.host_str().unwrap_or("localhost").trim_start_matches('[').trim_end_matches(']');
    (host.to_owned(), url.port().unwrap_or(if encrypted(url) { 8883 } else { 1883 }))
}

fn encrypted(url: &url::Url) -> bool {
    url.scheme() == "mqtts"
}

/// `client-id`, or one made from the source's name and the machine's id. It must not change from one start to the next:
/// the broker keeps the session, and with it the messages, under this name.
pub(super) fn client_id(config: &config::Mqtt, machine_id: &str) -> String {
    if let Some(id) = &config.client_id {
        return id.clone();
    }
    let digest = Sha256::new().chain_update(machine_id.trim()).chain_update(&config.name).finalize();
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("gadwall-{}-{hex}", config.name)
}

/// The id of this machine; empty where there is none. Blocks for a small file.
pub(super) fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").unwrap_or_default()
}

/// The options for one attempt. Reads files: it blocks.
///
/// # Errors
/// [`Error`] naming the file that cannot be read or used.
pub(super) fn build(config: &config::Mqtt, client_id: &str) -> Result<MqttOptions, Error> {
    let (host, port) = address(&config.url);
    let mut options = MqttOptions::new(client_id, host, port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX)));
    options.set_manual_acks(true);
    // 0 is not allowed by the standard.
    options.set_receive_maximum(Some(config.window.max(1)));
    // The broker drops what is larger; without it the client would end the connection for ever.
    options.set_max_packet_size(Some(config.max_message));
    // The client keeps a slot for each message that it may send; nothing is sent, and the default takes 14 MB.
    options.set_outgoing_inflight_upper_limit(100);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    // Topic aliases stay unset: the broker may not use any.

    let user = secret("username-file", config.username_file.as_deref())?;
    let password = secret("password-file", config.password_file.as_deref())?;
    if user.is_some() || password.is_some() {
        options.set_credentials(user.unwrap_or_default(), password.unwrap_or_default());
    }
    if encrypted(&config.url) {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls::client(config)?)));
    }
    Ok(options)
}

fn secret(key: &'static str, file: Option<&std::path::Path>) -> Result<Option<String>, Error> {
    file.map(|file| config::secret::read(file).map_err(|source| Error::Secret { key, source })).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::Url;

    fn config(url: &str) -> config::Mqtt {
        config::Mqtt::new("home".into(), Url::parse(url).unwrap())
    }

    #[test]
    fn ports_and_hosts_come_from_the_url() {
        let of = |url: &str| address(&Url::parse(url).unwrap());
        assert_eq!(of("mqtt://broker.lan"), ("broker.lan".into(), 1883));
        assert_eq!(of("mqtts://broker.lan"), ("broker.lan".into(), 8883));
        assert_eq!(of("mqtt://192.0.2.1:1884"), ("192.0.2.1".into(), 1884));
        assert_eq!(of("mqtt://[::1]:1884"), ("::1".into(), 1884));
    }

    #[test]
    fn the_client_id_is_fixed_for_machine_and_name() {
        let home = config("mqtt://localhost");
        // printf '%s' 0123home | sha256sum
        assert_eq!(client_id(&home, "0123\n"), "gadwall-home-72a089ff");
        let named = config::Mqtt { client_id: Some("mine".into()), ..home };
        assert_eq!(client_id(&named, "0123\n"), "mine");
    }

    #[test]
    fn the_session_outlives_the_connection_and_the_window_is_asked_for() {
        let options = build(&config("mqtt://localhost"), "id").unwrap();
        assert!(!options.clean_start() && options.manual_acks());
        assert_eq!(options.session_expiry_interval(), Some(7 * 24 * 3600));
        assert_eq!(options.receive_maximum(), Some(1_000));
        assert_eq!(options.max_packet_size(), Some(256 * 1024));
        assert_eq!(options.topic_alias_max(), None);
        assert_eq!(options.keep_alive(), KEEP_ALIVE);
        assert_eq!(options.credentials(), None);
        let forever = config::Mqtt { session_expiry: Duration::MAX, ..config("mqtt://localhost") };
        assert_eq!(build(&forever, "id").unwrap().session_expiry_interval(), Some(u32::MAX));
    }

    #[test]
    fn user_and_password_are_read_anew_and_a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (user, password) = (folder.path().join("user"), folder.path().join("password"));
        std::fs::write(&user, "gadwall\n").unwrap();
        std::fs::write(&password, "old\n").unwrap();
        let config = config::Mqtt {
            username_file: Some(user),
            password_file: Some(password.clone()),
            ..config("mqtt://localhost")
        };
        let login = |config| build(config, "id").unwrap().credentials().map(|l| (l.username, l.password));
        assert_eq!(login(&config), Some(("gadwall".into(), "old".into())));
        std::fs::write(&password, "new\n").unwrap();
        assert_eq!(login(&config), Some(("gadwall".into(), "new".into())));
        std::fs::remove_file(&password).unwrap();
        let text =
            format!("password-file {}: cannot be read: No such file or directory (os error 2)", password.display());
        assert_eq!(build(&config, "id").err().unwrap().to_string(), text);
    }
}
