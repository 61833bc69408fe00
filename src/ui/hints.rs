//! Next steps for failures that many people meet, told by the text of the causes.
//!
//! Advice is no part of an error type: an adapter says what happened, and this file knows what usually helps.

use std::error::Error;

/// A failure that is known by words in its chain of causes.
struct Known {
    /// Each inner list must have one of its words in the chain; compared in lower case.
    signs: &'static [&'static [&'static str]],
    /// What to do, in order.
    steps: &'static [&'static str],
}

const KNOWN: &[Known] = &[
    Known {
        signs: &[
            &["docker"],
            &[
                "connection refused",
                "no such file or directory",
                "cannot connect",
                "there is no docker socket",
                "did not answer",
                "not running",
            ],
        ],
        steps: &[
            "start Docker (`systemctl start docker`, or Docker Desktop), or set `DOCKER_HOST` to where it listens",
            "run `packhorse doctor` to see what else is missing",
        ],
    },
    Known {
        signs: &[&["docker"], &["permission denied"]],
        steps: &["add yourself to the group `docker` and log in again, or set `DOCKER_HOST` to a socket you may use"],
    },
    Known {
        signs: &[&["pack"], &["not found", "no such file", "is not installed"], &["program", "`pack`", "path"]],
        steps: &["install `pack` 0.38 or newer, or set `PACKHORSE_PACK` to its path"],
    },
    Known {
        signs: &[&[
            "expiredtoken",
            "token is expired",
            "token has expired",
            "security token",
            "credentials have expired",
        ]],
        steps: &["the AWS credentials have expired: log in again (`aws sso login`), then repeat the command"],
    },
    Known {
        signs: &[&[
            "no credentials",
            "credentialsnotloaded",
            "no providers in chain",
            "credential provider was not enabled",
        ]],
        steps: &["give AWS credentials: set `AWS_PROFILE`, or `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`"],
    },
    Known {
        signs: &[&["region"], &["missing", "not set", "no region", "must be set"]],
        steps: &["name the region: `--region`, or `AWS_REGION`"],
    },
    Known {
        signs: &[&["resourcenotfoundexception"], &["table"]],
        steps: &[
            "check that the region is the one the account was set up in",
            "run `packhorse doctor --app NAME` to see whether the account can be read",
        ],
    },
    Known {
        signs: &[&["registry", "repository", "manifest"], &["401", "403", "unauthorized", "denied"]],
        steps: &[
            "log in to the registry (`docker login HOST`), or check the role's permissions on the repository",
            "check that the repository exists; ECR makes none by itself",
        ],
    },
    Known {
        signs: &[
            &["certificate"],
            &["unknownissuer", "unknown issuer", "unknown authority", "verify failed", "self-signed"],
        ],
        steps: &["name the certificate authorities of your network: `--ca-bundle FILE`, or `PACKHORSE_CA_BUNDLE`"],
    },
    Known {
        signs: &[&["no space left", "disk quota", "storagefull"]],
        steps: &[
            "free disk space: `docker system df` shows what Docker keeps, `docker system prune` removes what is unused",
        ],
    },
    Known {
        signs: &[&["toomanyrequests", "429", "rate limit", "throttl"]],
        steps: &["wait a minute and repeat the command; for Docker Hub, log in to be allowed more"],
    },
    Known {
        signs: &[&["failed to lookup address", "dns error", "name resolution", "no such host"]],
        steps: &["check the network and the name; behind a proxy, set `HTTPS_PROXY`"],
    },
    Known {
        signs: &[&["accessdenied", "access denied", "not authorized to perform"]],
        steps: &["the answer names the action that was refused: allow it for the role in use"],
    },
];

/// Returns the next steps known for an error, told by it and its causes.
pub fn for_cause(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        text.push_str(&cause.to_string());
        text.push('\n');
        next = cause.source();
    }
    for_text(&text)
}

/// Returns the next steps known for a failure told in words; only the first that fits, so that advice stays short.
pub fn for_text(text: &str) -> Vec<String> {
    // The registry's name is no sign of a daemon.
    let text = text.to_lowercase().replace("docker.io", "the registry");
    let fits = |known: &&Known| known.signs.iter().all(|any| any.iter().any(|sign| has(&text, sign)));
    KNOWN.iter().find(fits).map(|known| known.steps.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// Tells whether a sign is in a text; a number only as a word of its own, since digests and names are full of digits.
fn has(text: &str, sign: &str) -> bool {
    if sign.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == sign);
    }
    text.contains(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_failures_name_the_next_step() {
        let table = [
            ("could not reach docker: connection refused (os error 111)", "start Docker"),
            ("connect to Docker: there is no Docker socket at /run/docker.sock", "start Docker"),
            ("connect to the Docker daemon: permission denied", "group `docker`"),
            ("program `pack` not found", "PACKHORSE_PACK"),
            ("ExpiredTokenException: the security token included in the request is expired", "aws sso login"),
            ("the credential provider was not enabled: no providers in chain provided credentials", "AWS_PROFILE"),
            ("could not push to the registry: 403 Forbidden", "docker login"),
            ("the registry answered with 429: try later", "wait a minute"),
            ("invalid peer certificate: UnknownIssuer", "--ca-bundle"),
            ("docker.io did not answer: dns error: no records found", "check the network and the name"),
            ("write layer: No space left on device (os error 28)", "free disk space"),
            ("user is not authorized to perform: ssm:GetParameter", "names the action"),
        ];
        for (text, step) in table {
            let hints = for_text(text);
            assert!(hints.iter().any(|hint| hint.contains(step)), "{text}: {hints:?}");
        }
    }

    #[test]
    fn an_unknown_failure_gets_no_advice() {
        assert!(for_text("exit code 3").is_empty());
        assert!(for_text("the manifest `sha256:4014034290a1` of the repository is not there").is_empty());
    }
}
