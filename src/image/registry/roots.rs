//! The certificate authorities that the machine trusts.

use std::path::Path;
use std::sync::OnceLock;

use rustls::pki_types::CertificateDer;
use rustls_native_certs::{load_certs_from_paths, load_native_certs};

/// Returns the certificate authorities that the machine trusts, read once; none where it has none.
///
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them, as for OpenSSL. Otherwise the machine's bundle is enough: the folder beside it,
/// which is read where there is no bundle, has the same ones in some hundred files.
pub fn machine_roots() -> &'static [CertificateDer<'static>] {
    static ROOTS: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let bundle = openssl_probe::probe().cert_file.filter(|_| !openssl_probe::has_ssl_cert_env_vars());
        let bundled = bundle.map(|file| of_bundle(&file)).filter(|roots| !roots.is_empty());
        bundled.unwrap_or_else(|| load_native_certs().certs)
    })
}

fn of_bundle(file: &Path) -> Vec<CertificateDer<'static>> {
    load_certs_from_paths(Some(file), None).certs
}
