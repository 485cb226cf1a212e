//! The TLS side of `mqtts`: rustls with the ring provider, built here, because the client's own default panics on one bad
//! certificate of the system.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config;

/// Why there is no TLS configuration. Names the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{key} {}: {reason}", file.display())]
    File { key: &'static str, file: PathBuf, reason: String },
    #[error("the system has no certificate authorities that can be used; set `ca-file`, or install ca-certificates")]
    NoRoots,
    #[error("`cert-file` and `key-file` go together, and only one is set")]
    OneOfTwo,
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The configuration for `config`. Reads files: it blocks.
///
/// # Errors
/// [`Error`] naming the file that cannot be read or used.
pub(super) fn client(config: &config::Mqtt) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = match &config.ca_file {
        Some(file) => from_file(file)?,
        None => from_system()?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let client = match (&config.cert_file, &config.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates("cert-file", cert)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|e| bad("key-file", key, reason(&e)))?;
            builder.with_client_auth_cert(chain, private).map_err(|e| bad("key-file", key, e.to_string()))?
        }
        _ => return Err(Error::OneOfTwo),
    };
    Ok(Arc::new(client))
}

/// Only the authorities of `ca-file`.
fn from_file(file: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca-file", file)? {
        roots.add(certificate).map_err(|e| bad("ca-file", file, e.to_string()))?;
    }
    Ok(roots)
}

/// The system's authorities; those that cannot be used are left out.
fn from_system() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's certificate authorities cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::warn!(ignored, "some of the system's certificate authorities cannot be used");
    }
    if roots.is_empty() { Err(Error::NoRoots) } else { Ok(roots) }
}

/// All certificates of a PEM file; at least one.
fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match all {
        Ok(all) if all.is_empty() => Err(bad(key, file, reason(&pem::Error::NoItemsFound))),
        Ok(all) => Ok(all),
        Err(e) => Err(bad(key, file, reason(&e))),
    }
}

fn bad(key: &'static str, file: &Path, reason: String) -> Error {
    Error::File { key, file: file.to_owned(), reason }
}

/// In words, and without the file's content: it may be a key.
fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(e) => e.to_string(),
        pem::Error::NoItemsFound => "it holds nothing of the kind in PEM form".into(),
        _ => "it is not a valid PEM file".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::Url;

    fn config() -> config::Mqtt {
        config::Mqtt::new("home".into(), Url::parse("mqtts://localhost").unwrap())
    }

    #[test]
    fn bad_files_are_named_with_their_key() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, empty) = (folder.path().join("missing.pem"), folder.path().join("empty.pem"));
        std::fs::write(&empty, "nothing\n").unwrap();

        let with_ca = config::Mqtt { ca_file: Some(missing.clone()), ..config() };
        let text = format!("ca-file {}: No such file or directory (os error 2)", missing.display());
        assert_eq!(client(&with_ca).unwrap_err().to_string(), text);

        let with_ca = config::Mqtt { ca_file: Some(empty.clone()), ..config() };
        let text = format!("ca-file {}: it holds nothing of the kind in PEM form", empty.display());
        assert_eq!(client(&with_ca).unwrap_err().to_string(), text);

        let ca = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let good = folder.path().join("good.pem");
        std::fs::write(&good, ca.cert.pem()).unwrap();
        let with_key = config::Mqtt {
            ca_file: Some(good.clone()),
            cert_file: Some(good.clone()),
            key_file: Some(good.clone()),
            ..config()
        };
        let text = format!("key-file {}: it holds nothing of the kind in PEM form", good.display());
        assert_eq!(client(&with_key).unwrap_err().to_string(), text);

        let half = config::Mqtt { ca_file: Some(good.clone()), cert_file: Some(good.clone()), ..config() };
        assert_eq!(
            client(&half).unwrap_err().to_string(),
            "`cert-file` and `key-file` go together, and only one is set"
        );
        assert!(client(&config::Mqtt { ca_file: Some(good), ..config() }).is_ok());
    }
}
