//! How a registry client connects, waits and retries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::roots::machine_roots;
use crate::image::reference::Registry;

/// How a registry client connects, waits and retries.
#[derive(Clone)]
pub struct RegistryOptions {
    /// The cryptography of TLS.
    pub provider: Arc<CryptoProvider>,
    /// Registries spoken to in plain HTTP, besides those on this machine.
    pub insecure: BTreeSet<Registry>,
    /// Certificate authorities to trust besides the system's, as PEM.
    pub ca_bundle: Option<Vec<u8>>,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest silence inside an answer.
    pub read_timeout: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// How much one request of a large blob carries. ECR wants at least 5 MiB in all but the last.
    pub upload_piece: u64,
}

impl RegistryOptions {
    /// Returns the usual options: TLS by `provider`, 10 s to connect, 60 s of silence.
    #[must_use]
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self {
            provider,
            insecure: BTreeSet::new(),
            ca_bundle: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_mins(1),
            retry: RetryPolicy::default(),
            upload_piece: 64 * 1024 * 1024,
        }
    }

    pub(super) fn tls(&self) -> Result<rustls::ClientConfig, OptionsError> {
        let mut roots = rustls::RootCertStore::empty();
        // A machine without any certificate still reaches plain registries; TLS then fails by itself.
        roots.add_parsable_certificates(machine_roots().iter().cloned());
        for certificate in CertificateDer::pem_slice_iter(self.ca_bundle.as_deref().unwrap_or_default()) {
            let certificate = certificate.map_err(|error| OptionsError::CaBundle(error.into()))?;
            roots.add(certificate).map_err(|error| OptionsError::CaBundle(error.into()))?;
        }
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| OptionsError::Tls(error.into()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(tls)
    }
}

/// When a request is sent again: after 429, after 5xx, and when the connection failed.
///
/// The pause doubles each time, with a random part, so that many clients do not return at once.
/// `Retry-After` in seconds is honoured where it fits into the budget; its date form is not read.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// How often one operation may send again, all its requests taken together.
    pub retries: u32,
    /// The first pause.
    pub first_pause: Duration,
    /// The longest pause of our own choice.
    pub longest_pause: Duration,
    /// All pauses of one operation together.
    pub budget: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 5,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(5),
            budget: Duration::from_mins(1),
        }
    }
}

/// Why no client can be made of the options.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The extra certificates are not certificates.
    #[error("the CA bundle is not PEM with certificates in it")]
    CaBundle(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// TLS or the HTTP client cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_bundle_without_a_certificate_inside_is_refused() {
        let mut options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
        assert!(options.tls().is_ok());
        options.ca_bundle = Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec());
        assert!(matches!(options.tls(), Err(OptionsError::CaBundle(_))));
    }
}
