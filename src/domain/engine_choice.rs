//! Which engine makes an image where nobody says.

use super::machine::DAEMON_MODE_API;
use super::manifest::Engine;

/// What a machine has for engines. An error is told in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// The newest API version that the Docker daemon speaks.
    pub docker: Result<(u32, u32), String>,
    /// Whether `pack` is there.
    pub pack: Result<(), String>,
    /// Whether the image goes to a registry, rather than to the Docker daemon.
    pub publish: bool,
    /// Whether its layers are to be compressed with zstd.
    pub zstd: bool,
}

/// An engine, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenEngine {
    /// The engine; never [`Engine::Auto`].
    pub engine: Engine,
    /// The reason, for people.
    pub reason: String,
}

/// Chooses `pack` where it and Docker are there and can do what is asked, else the engine that needs neither.
pub fn choose(facts: &EngineFacts) -> ChosenEngine {
    let embedded = |reason: String| ChosenEngine { engine: Engine::Embedded, reason };
    if facts.publish && facts.zstd {
        return embedded("`pack` compresses with gzip only".to_owned());
    }
    match (&facts.docker, &facts.pack) {
        (Err(reason), _) => embedded(format!("there is no Docker ({reason})")),
        (Ok((major, minor)), _) if !facts.publish && (*major, *minor) < DAEMON_MODE_API => {
            let (most, least) = DAEMON_MODE_API;
            embedded(format!(
                "Docker speaks API {major}.{minor}, and `pack` needs {most}.{least} to leave an image with it"
            ))
        }
        (Ok(_), Err(reason)) => embedded(format!("there is Docker, but no `pack` ({reason})")),
        (Ok(_), Ok(())) => ChosenEngine { engine: Engine::Pack, reason: "Docker and `pack` are there".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_needs_itself_and_a_docker_that_takes_what_it_makes() {
        let pack = || Ok(());
        let no = || Err("not found".to_owned());
        let table: [(_, Result<(), String>, _, _, _); 6] = [
            (Ok((1, 45)), pack(), false, Engine::Pack, "are there"),
            (Ok((1, 41)), pack(), true, Engine::Pack, "are there"),
            (Ok((1, 41)), pack(), false, Engine::Embedded, "needs 1.44"),
            (Ok((1, 45)), no(), true, Engine::Embedded, "no `pack` (not found)"),
            (Err("no socket".to_owned()), no(), true, Engine::Embedded, "no Docker (no socket)"),
            (Err("no socket".to_owned()), pack(), true, Engine::Embedded, "no Docker (no socket)"),
        ];
        for (docker, pack, publish, engine, words) in table {
            let facts = EngineFacts { docker, pack, publish, zstd: false };
            let chosen = choose(&facts);
            assert!(chosen.engine == engine && chosen.reason.contains(words), "{facts:?}: {chosen:?}");
        }
    }

    #[test]
    fn zstd_is_for_the_engine_that_has_it() {
        for (publish, engine) in [(true, Engine::Embedded), (false, Engine::Pack)] {
            let facts = EngineFacts { docker: Ok((1, 45)), pack: Ok(()), publish, zstd: true };
            assert_eq!(choose(&facts).engine, engine);
        }
    }
}
