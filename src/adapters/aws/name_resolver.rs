//! Host names to addresses, without the C library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use tokio::sync::OnceCell;

/// Asks the name servers of `/etc/resolv.conf`, and `/etc/hosts` first.
///
/// A static program cannot load the C library's modules for names. The configuration is read at the first name that
/// needs it, so that addresses and `localhost` work where there is none.
#[derive(Debug, Clone, Default)]
pub(super) struct NameResolver {
    resolver: Arc<OnceCell<TokioResolver>>,
}

impl NameResolver {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveDnsError> {
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        // RFC 6761, 6.3: never asked of a name server.
        let host = name.trim_end_matches('.').to_ascii_lowercase();
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let resolver = self.resolver.get_or_try_init(async || make_resolver()).await.map_err(ResolveDnsError::new)?;
        let found = resolver.lookup_ip(name).await.map_err(ResolveDnsError::new)?;
        Ok(found.iter().collect())
    }
}

fn make_resolver() -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build()
}

impl ResolveDns for NameResolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(self.addresses(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_needs_no_configuration() {
        let resolver = NameResolver::default();
        for (name, first) in
            [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("localhost", "127.0.0.1"), ("a.localhost.", "127.0.0.1")]
        {
            assert_eq!(resolver.addresses(name).await.unwrap()[0].to_string(), first);
        }
        assert!(resolver.resolver.get().is_none(), "the machine's configuration was read");
    }
}
