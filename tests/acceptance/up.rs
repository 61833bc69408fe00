//! `packhorse up`, as its users start it: real images, real containers, real requests.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use crate::support::docker::docker;
use crate::support::requests::{Requests, answers, ask};
use crate::support::up::{App, Up, free_port, words};
use crate::support::{parts, sandbox};

/// A web process that shows its folder, made of what the run image has.
const WEB: &str = "web: exec python3 -m http.server $PORT\n";

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn the_guestbook_ends_with_a_url_that_keeps_entries() {
    let app = App::guestbook();
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    let signed = ask(&address, "POST", "/entries", "author=Test&text=Rivers+and+roads");
    assert!(signed.starts_with("HTTP/1.1 303 "), "{signed}");
    let page = ask(&address, "GET", "/", "");
    assert!(answers(&page), "{page}");
    assert!(page.contains("Rivers and roads"), "{page}");
}

#[test]
#[ignore = "needs Docker Engine 26 and the registry"]
fn the_guestbook_runs_from_an_image_that_packhorse_itself_has_made() {
    let app = App::guestbook();
    let cache = app.parent.path().join("cache");
    fs::create_dir_all(sandbox::roots()).unwrap();
    fs::create_dir(&cache).unwrap();
    std::os::unix::fs::symlink(sandbox::roots(), cache.join("roots")).unwrap();
    let mut command = app.command("up");
    command
        .args(["--port", &free_port(), "--engine", "embedded", "--builder", &parts::builder()])
        .args(["--ca-bundle", &parts::ca_bundle()])
        .env("PACKHORSE_PACK", "/nonexistent/pack")
        .env("PACKHORSE_CACHE_DIR", &cache);
    let mut up = Up::start(command);
    let address = up.live();
    assert!(answers(&ask(&address, "GET", "/", "")), "the guestbook does not answer");
    assert!(up.stderr.lock().unwrap().contains("Engine embedded: as asked for"));
    up.interrupt();
    let ended = up.end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(fs::read_dir(cache.join("builds")).unwrap().count(), 0);

    // What the builds have kept goes with the rest.
    let kept = |name: &str| fs::read_dir(cache.join(name)).unwrap().count();
    assert_eq!((kept("layers"), kept("docker")), (1, 1));
    let mut command = app.command("down");
    command.arg("--volumes").env("PACKHORSE_CACHE_DIR", &cache);
    let ended = Up::start(command).end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!((kept("layers"), kept("docker")), (0, 0));
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_second_up_replaces_the_release_without_losing_a_request() {
    let app = App::small(WEB, "true");
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    let first = app.running("service");

    app.write("index.html", "second version\n");
    let requests = Requests::start(&address);
    let second = app.up(&["--json"]).end();
    let responses = requests.end();

    assert!(second.status.success(), "{}", second.stderr);
    assert_eq!(second.result()["build"], 2);
    assert_eq!(second.result()["url"], format!("http://{address}"));
    for client in &responses {
        let lost = client.iter().find(|response| !answers(response));
        assert_eq!(lost, None);
        assert!(client.first().unwrap().ends_with("first version\n"));
        // Once the new release has answered, nobody sees the old one.
        let change = client.iter().position(|response| response.ends_with("second version\n"));
        assert!(client[change.unwrap_or(client.len())..].iter().all(|response| response.ends_with("second version\n")));
    }
    assert!(responses.iter().flatten().any(|response| response.ends_with("second version\n")));
    assert!(ask(&address, "GET", "/", "").ends_with("second version\n"));
    let now = app.running("service");
    assert_eq!(now.len(), 1);
    assert_ne!(now, first);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn one_run_goes_through_every_phase_and_leaves_nothing_running() {
    let app = App::small(&format!("{WEB}release: echo migrated\n"), "true");
    let ended = app.up(&["--once", "--json", "--port", &free_port()]).end();
    assert!(ended.status.success(), "{}", ended.stderr);
    let each = ["build", "test", "finalize", "release", "deploy"];
    let phases: Vec<_> =
        each.iter().flat_map(|phase| [format!("{phase} started"), format!("{phase} succeeded")]).collect();
    assert_eq!(ended.phases(), phases);
    assert!(app.latest().is_some());
    assert_eq!(words(&docker(&["ps", "-q", "--filter", &app.lane()])), [""; 0]);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn without_an_engine_the_result_says_so_too() {
    let app = App::small(WEB, "true");
    let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
    command.args(["up", "--once", "--json"]).arg(app.folder()).env("DOCKER_HOST", "unix:///no/such/docker.sock");
    let ended = Up::start(command).end();
    assert_eq!(ended.status.code(), Some(4), "{}", ended.stderr);
    assert!(ended.result()["cause"].as_str().unwrap().contains("/no/such/docker.sock"), "{}", ended.result());
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_failing_test_ends_the_build_and_moves_no_tag() {
    let app = App::small(WEB, "test -f index.html");
    let good = app.up(&["--once", "--json", "--port", &free_port()]).end();
    assert!(good.status.success(), "{}", good.stderr);
    let latest = app.latest();
    assert!(latest.is_some());

    fs::rename(app.folder().join("index.html"), app.folder().join("other.html")).unwrap();
    let ended = app.up(&["--once", "--json", "--port", &free_port()]).end();
    ended.assert_failed_in("test", "code 1");
    assert_eq!(app.latest(), latest);
    assert!(app.images().iter().all(|tag| !tag.starts_with("candidate-")), "{:?}", app.images());

    let fresh = App::small(WEB, "exit 4");
    fresh.up(&["--once", "--json", "--port", &free_port()]).end().assert_failed_in("test", "code 4");
    assert_eq!(fresh.latest(), None);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_failing_release_starts_no_service() {
    let app = App::small(&format!("{WEB}release: echo no such table; exit 3\n"), "true");
    let ended = app.up(&["--once", "--json", "--port", &free_port()]).end();
    ended.assert_failed_in("release", "3");
    assert!(!ended.phases().iter().any(|phase| phase.starts_with("deploy")));
    let services = ["ps", "-aq", "--filter", &app.lane(), "--filter", "label=packhorse.role=service"];
    assert_eq!(words(&docker(&services)), [""; 0]);

    let ended = app.up(&["--once", "--port", &free_port()]).end();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.stdout, [""; 0]);
    assert!(ended.stderr.contains("error: build 2 failed in its release phase: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nno such table\n"), "the command's own words: {}", ended.stderr);
    assert!(ended.stderr.contains("next: see the release command in `Procfile`"), "{}", ended.stderr);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_crashing_web_process_ends_with_its_last_words() {
    let app = App::small("web: echo no port for me; exit 1\n", "true");
    let ended = app.up(&["--once", "--json", "--port", &free_port()]).end();
    ended.assert_failed_in("deploy", "`web` exited with code 1; its last lines:\nno port for me");
    assert_eq!(app.running("service"), [""; 0]);

    let ended = app.up(&["--once", "--port", &free_port()]).end();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("error: build 2 failed in its deploy phase: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("`web` must answer on `$PORT`"), "{}", ended.stderr);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_second_up_without_a_change_repeats_nothing_and_says_so() {
    let app = App::small(&format!("{WEB}release: echo migrated\n"), "echo tested");
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    let (services, tasks, images) = (app.running("service"), app.left(), app.images());

    let second = app.up(&["--json"]).end();
    assert!(second.status.success(), "{}", second.stderr);
    let result = second.result();
    assert_eq!((&result["build"], &result["unchanged"]), (&1.into(), &true.into()), "{result}");
    assert_eq!(result["url"], format!("http://{address}"));
    assert_eq!((app.running("service"), app.left(), app.images()), (services, tasks, images));
    up.line(|line| line.contains("Build 1 is live: "));
    let said = up.stderr.lock().unwrap().clone();
    assert!(said.contains("nothing is tested, released or deployed again"), "{said}");
    assert_eq!((said.matches("\ntested\n").count(), said.matches("\nmigrated\n").count()), (1, 1), "{said}");

    app.write("index.html", "second version\n");
    let third = app.up(&["--json"]).end();
    assert_eq!((&third.result()["unchanged"], third.status.code()), (&false.into(), Some(0)));
    assert!(ask(&address, "GET", "/", "").ends_with("second version\n"));
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_variable_of_a_second_up_is_a_change() {
    let page = "mkdir -p /tmp/page && cd /tmp/page && echo $GREETING >index.html";
    let app = App::small(&format!("web: {page} && exec python3 -m http.server $PORT\n"), "true");
    let file = app.parent.path().join("variables.env");
    let flags = ["--json", "--env-file", file.to_str().unwrap()];
    fs::write(&file, "GREETING=welcome\n").unwrap();
    let port = free_port();
    let mut up = app.up(&["--env-file", flags[2], "--port", &port]);
    let address = up.live();
    assert!(ask(&address, "GET", "/", "").ends_with("welcome\n"));
    assert_eq!(app.up(&flags).end().result()["unchanged"], true);

    fs::write(&file, "GREETING=farewell\n").unwrap();
    let ended = app.up(&flags).end();
    assert_eq!(ended.result()["unchanged"], false, "{}", ended.stderr);
    assert!(ask(&address, "GET", "/", "").ends_with("farewell\n"));
}

/// What the services are brought to is followed by them, and nobody loses a request meanwhile.
fn follows(app: &App, up: &Up, address: &str, commands: &[&[&str]]) -> Vec<String> {
    let requests = Requests::start(address);
    for command in commands {
        app.client(command);
    }
    up.hears("runs with the changed settings");
    let lost: Vec<String> = requests.end().into_iter().flatten().filter(|response| !answers(response)).collect();
    assert_eq!(lost, [""; 0], "after {commands:?}");
    app.running("service")
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn changed_settings_of_a_running_app_are_followed_without_losing_a_request() {
    let page = "mkdir -p /tmp/page && cd /tmp/page && echo $GREETING >index.html";
    let app = App::small(&format!("web: {page} && exec python3 -m http.server $PORT\n"), "true");
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    let first = app.running("service");
    let two = follows(&app, &up, &address, &[&["ps", "scale", "web=2"]]);
    assert!(two.len() == 2 && two.contains(&first[0]), "{first:?} {two:?}");
    assert_eq!(follows(&app, &up, &address, &[&["ps", "scale", "web", "1-3"]]), first, "the fewest run");

    let several: [&[&str]; 3] =
        [&["config", "set", "GREETING=welcome"], &["config", "set", "LEVEL=1"], &["config", "unset", "LEVEL"]];
    let changed = follows(&app, &up, &address, &several);
    assert!(changed.len() == 1 && changed != first, "{first:?} {changed:?}");
    assert!(ask(&address, "GET", "/", "").ends_with("welcome\n"));
    let again = follows(&app, &up, &address, &[&["ps", "restart", "web"]]);
    assert!(again.len() == 1 && again != changed, "{changed:?} {again:?}");
    assert_eq!(app.times_followed(), 4, "changes that come together lead to one restart");

    app.client(&["scheduled-tasks", "create", "--schedule", "* * * * ? *", "echo the job says $GREETING; exit 4"]);
    up.hears("the job says welcome");
    up.hears("(exited with code 4)");
    app.client(&["scheduled-tasks", "delete", "1"]);
    up.hears("runs with the changed settings");
    assert_eq!(app.running("service"), again, "a job is no reason to restart");
    up.interrupt();
    let ended = up.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("welcome\"") && app.left().is_empty(), "{:?}", app.left());
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn other_commands_show_and_change_what_a_running_up_runs() {
    let app = App::small(WEB, "true");
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    app.write("index.html", "second version\n");
    assert_eq!(app.up(&["--json"]).end().result()["build"], 2);
    assert!(ask(&address, "GET", "/", "").ends_with("second version\n"));
    let shown: Value = serde_json::from_str(&app.client(&["ps", "--json"])).unwrap();
    assert_eq!((&shown[0]["name"], &shown[0]["build_number"]), (&"web".into(), &"2".into()), "{shown}");
    assert!(app.client(&["logs"]).contains("web "));

    assert!(app.client(&["rollback"]).contains("returns to build 1"));
    up.hears("rolled back to build 1");
    assert!(ask(&address, "GET", "/", "").ends_with("first version\n"));
    let releases: Value = serde_json::from_str(&app.client(&["releases", "--json"])).unwrap();
    let runs = |index: usize| (releases[index]["build_number"].as_u64(), releases[index]["running"].as_bool());
    assert_eq!((runs(0), runs(1)), ((Some(2), Some(false)), (Some(1), Some(true))), "{releases}");
    assert!(app.client(&["why"]).contains("build 1 has taken its place since"));

    // A build that is not newer than what was rolled back to is made and takes over again.
    app.write("index.html", "third version\n");
    assert_eq!(app.up(&["--json"]).end().result()["build"], 3);
    assert!(ask(&address, "GET", "/", "").ends_with("third version\n"));
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn the_state_of_up_is_no_part_of_the_image_and_of_the_history() {
    let app = App::small(WEB, "test ! -e .packhorse");
    app.write("secrets.env", "TOKEN=9f8e7d6c5b4a3928\n");
    for number in 1..=2 {
        let env_file = app.folder().join("secrets.env");
        let ended =
            app.up(&["--once", "--json", "--env-file", env_file.to_str().unwrap(), "--port", &free_port()]).end();
        assert!(ended.status.success(), "{}", ended.stderr);
        assert_eq!(ended.result()["build"], number);
    }
    assert_eq!(fs::read_to_string(app.folder().join(".packhorse/.gitignore")).unwrap(), "*\n");
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn after_a_kill_the_next_up_takes_over_what_runs_and_removes_what_was_begun() {
    let app = App::small(WEB, "true");
    let port = free_port();
    let mut up = app.up(&["--port", &port]);
    up.live();
    let running = app.running("service");
    up.kill();
    assert_eq!(app.running("service"), running, "nobody has stopped it");
    let mut up = app.up(&["--port", &port]);
    up.hears("Build 1 still runs and serves until another one takes its place");
    up.live();
    assert_eq!(app.running("service"), running, "nothing has changed");

    // Killed in the middle of the tests of another build.
    let manifest = fs::read_to_string(app.folder().join("app.json")).unwrap();
    app.write("app.json", &manifest.replace("\"true\"", "\"echo tests begin; exec tail -f /dev/null\""));
    let mut asking = app.up(&["--json"]);
    up.hears("tests begin");
    up.kill();
    let left = asking.child.wait().unwrap();
    assert_eq!(left.code(), Some(1), "whose build was lost");
    app.write("app.json", &manifest);
    let ended = app.up(&["--once", "--json", "--port", &port]).end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stderr.contains("was ended during build 3; cleaning up"), "{}", ended.stderr);
    assert_eq!(ended.result()["build"], 1, "it ran all the time, and nothing has changed");
    assert_eq!(app.left(), [""; 0]);
    assert!(app.images().iter().all(|tag| !tag.starts_with("candidate-")), "{:?}", app.images());
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn ctrl_c_in_the_middle_of_the_tests_leaves_nothing() {
    let app = App::small(WEB, "true");
    let manifest = serde_json::json!({
        "stack": "debian-12",
        "environments": { "test": {
            "addons": ["heroku-redis:in-dyno"],
            "scripts": { "test": "echo tests begin; exec tail -f /dev/null" },
        } },
    });
    app.write("app.json", &manifest.to_string());
    let up = app.up(&["--json", "--port", &free_port()]);
    up.hears("tests begin");
    up.interrupt();
    let ended = up.end();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.stderr);
    assert_eq!(ended.result()["cause"], "interrupted");
    assert_eq!(app.left(), [""; 0]);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn down_stops_an_app_and_keeps_its_data_until_it_is_told_otherwise() {
    let app = App::small(WEB, "true");
    app.write("app.json", &serde_json::json!({ "stack": "debian-12", "addons": ["heroku-redis"] }).to_string());
    assert!(app.down(&[]).stdout[0].contains("nothing to stop"));
    let mut up = app.up(&["--port", &free_port()]);
    up.live();

    let stopped = app.down(&[]);
    assert!(stopped.stdout[0].contains("the data of redis"), "{:?}", stopped.stdout);
    assert_eq!(up.end().status.code(), Some(0));
    let left = app.left();
    assert_eq!(left.len(), 2, "the add-on and its network: {left:?}");
    assert_eq!(words(&docker(&["ps", "-q", "--filter", &app.lane()])), [""; 0]);
    assert_eq!(app.caches().len(), 2);

    app.down(&["--volumes"]);
    assert_eq!((app.left(), app.caches(), app.images()), (vec![], vec![], vec![]));
    assert!(!app.folder().join(".packhorse").exists());
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn ctrl_c_stops_all_that_was_started() {
    let app = App::small(&format!("{WEB}worker: exec python3 -c 'import signal; signal.pause()'\n"), "true");
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    assert_eq!(app.running("service").len(), 2);
    up.interrupt();
    let ended = up.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(app.left(), [""; 0], "no container, no network");
    assert!(TcpStream::connect(address).is_err());
}
