//! Certificate authorities to trust besides the machine's.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::ports::failure::Failure;

/// Reads a PEM file and returns those of its certificates that rustls takes, as PEM.
///
/// The HTTP client panics on what it does not take, and bundles of whole operating systems hold such ones.
///
/// # Errors
/// Refuses a file that cannot be read or that holds no certificate.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let doing = || format!("read the certificates of {}", path.display());
    let bytes = std::fs::read(path).map_err(|error| Failure::refused(doing(), error))?;
    let mut pem = String::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes).flatten() {
        if RootCertStore::empty().add(certificate.clone()).is_ok() {
            let text = BASE64.encode(&certificate);
            let _ = writeln!(pem, "-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----");
        }
    }
    if pem.is_empty() {
        return Err(Failure::refused(doing(), "there is no certificate in it"));
    }
    Ok(pem.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(matches!(read(&path), Err(Failure::Refused { .. })));
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(read(&path), Err(Failure::Refused { .. })), "{text}");
        }
    }
}
