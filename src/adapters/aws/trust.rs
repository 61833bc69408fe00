//! Certificate authorities to trust: the machine's, and those of a file.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::image::registry::machine_roots;
use crate::ports::failure::Failure;

/// Returns the machine's certificate authorities as PEM.
pub(super) fn of_machine() -> Vec<u8> {
    pem(machine_roots().iter().cloned()).into_bytes()
}

/// Reads a PEM file and returns its certificates as PEM.
///
/// # Errors
/// Refuses a file that cannot be read or that holds no certificate.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let doing = || format!("read the certificates of {}", path.display());
    let bytes = std::fs::read(path).map_err(|error| Failure::refused(doing(), error))?;
    let pem = pem(CertificateDer::pem_slice_iter(&bytes).flatten());
    if pem.is_empty() {
        return Err(Failure::refused(doing(), "there is no certificate in it"));
    }
    Ok(pem.into_bytes())
}

/// Writes those that rustls takes. The HTTP client panics on others, and bundles of whole operating systems hold such ones.
fn pem<'c>(certificates: impl Iterator<Item = CertificateDer<'c>>) -> String {
    let mut pem = String::new();
    for certificate in certificates {
        let text = BASE64.encode(&certificate);
        if RootCertStore::empty().add(certificate).is_ok() {
            let _ = writeln!(pem, "-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----");
        }
    }
    pem
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
