//! Add-ons beside the tests, as containers or as processes: images, programs, names, variables and readiness.

use super::manifest::AddonKind;

/// The name of everything that belongs to a build's tests: its id with hyphens, as engines take it.
///
/// The test container and the network bear it; add-ons have a suffix.
pub fn test_name(build_id: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    build_id.chars().map(allowed).collect()
}

/// What is fixed about a kind of add-on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddonRules {
    /// The image, unless another one is asked for. A tag of one major version: `latest` would change under a test.
    pub image: &'static str,
    /// What its container's name ends in.
    pub suffix: &'static str,
    /// Its name on the private network.
    pub alias: &'static str,
    /// The variable by which tests find it.
    pub variable: &'static str,
    /// The value of that variable.
    pub url: &'static str,
    /// Variables of its container. The password is no secret: it guards a database that lives for one test run in a
    /// network of its own, and the official image refuses to start without one.
    pub env: &'static [(&'static str, &'static str)],
    /// A program inside the container that exits with 0 once it answers.
    ///
    /// PostgreSQL is asked over TCP: while the official image prepares the database it answers on its local socket only.
    pub ready: &'static [&'static str],
}

/// Returns the rules of a kind.
pub fn rules(kind: AddonKind) -> AddonRules {
    match kind {
        AddonKind::Postgres => AddonRules {
            image: "postgres:16",
            suffix: "db",
            alias: "db",
            variable: "DATABASE_URL",
            url: "postgres://postgres:postgres@db:5432/postgres",
            env: &[("POSTGRES_PASSWORD", "postgres")],
            ready: &["pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres"],
        },
        AddonKind::Redis => AddonRules {
            image: "redis:7",
            suffix: "redis",
            alias: "redis",
            variable: "REDIS_URL",
            url: "redis://redis:6379",
            env: &[],
            ready: &["redis-cli", "ping"],
        },
    }
}

/// What it takes to run a kind of add-on without containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessRules {
    /// The programs that are needed; of each, any of these names will do.
    pub programs: &'static [&'static [&'static str]],
    /// Folders beyond `PATH` in which versions of it are installed: what stands before and after the version.
    pub versions: &'static [(&'static str, &'static str)],
    /// What it is called, and the package of Debian that has it.
    pub package: (&'static str, &'static str),
}

/// Returns what it takes to run a kind of add-on as a process.
pub fn process_rules(kind: AddonKind) -> ProcessRules {
    match kind {
        AddonKind::Postgres => ProcessRules {
            programs: &[&["postgres"], &["initdb"], &["pg_isready"]],
            // Debian and Red Hat; neither is in `PATH`.
            versions: &[("/usr/lib/postgresql/", "/bin"), ("/usr/pgsql-", "/bin")],
            package: ("PostgreSQL", "postgresql"),
        },
        AddonKind::Redis => ProcessRules {
            programs: &[&["redis-server", "valkey-server"], &["redis-cli", "valkey-cli"]],
            versions: &[],
            package: ("Redis", "redis-server"),
        },
    }
}

/// Returns the value of an add-on's variable where it runs as a process and listens on this port of the loopback.
///
/// The password keeps out whatever else runs on the machine: there is no network of its own here. It consists of letters and digits.
pub fn process_url(kind: AddonKind, port: u16, password: &str) -> String {
    match kind {
        AddonKind::Postgres => format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres"),
        AddonKind::Redis => format!("redis://default:{password}@127.0.0.1:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_build_id() {
        assert_eq!(test_name("shop:6b0e7c1a-2d3f"), "shop-6b0e7c1a-2d3f");
        assert_eq!(test_name("external-42"), "external-42");
        assert_eq!(test_name("a/b c"), "a-b-c");
    }

    #[test]
    fn variables_name_the_aliases_and_images_are_pinned() {
        for kind in AddonKind::ALL {
            let rules = rules(kind);
            let host = rules.url.split("//").nth(1).and_then(|rest| rest.rsplit('@').next()).unwrap();
            assert_eq!(host.split(':').next(), Some(rules.alias));
            assert!(rules.image.split(':').nth(1).is_some_and(|tag| tag != "latest"));
        }
    }
}
