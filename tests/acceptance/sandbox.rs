//! Where buildpacks run without Docker: namespaces over a real builder's files, as root and as an ordinary user.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use packhorse::adapters::sandbox::account::Account;
use packhorse::adapters::sandbox::{Sandbox, Users, Workplace};
use packhorse::lifecycle::{Executor as _, Exit};

use crate::support::sandbox::{
    Bench, again_as_a_stranger, again_in_the_builder, bash, processes_with, program, workplace,
};

/// A text that no other process has on its command line.
fn marker() -> String {
    format!("marker-{:016x}", fastrand::u64(..))
}

/// The promises that hold for every user.
mod every_user {
    use super::*;

    #[tokio::test]
    #[ignore = "needs the registry with the builder"]
    async fn a_program_is_the_cnb_user_and_has_only_what_it_is_given() {
        let bench = Bench::over_builder().await;
        let text = bench
            .output(
                "id -u; id -g; umask; pwd; cat; env | grep -v -e ^_= -e ^SHLVL= -e ^PWD= | sort; \
                 grep -h -e ^NoNewPrivs -e ^CapEff -e ^CapAmb /proc/self/status | tr -d '\\t'; hostname; tty; \
                 echo $(ls /proc | grep -c '^[0-9]'); whoami; ls -A /dev",
            )
            .await;
        let expected = "1000\n1000\n0022\n/\nGIVEN=yes\nPATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n\
             CapEff:0000000000000000\nCapAmb:0000000000000000\nNoNewPrivs:1\npackhorse\nnot a tty\n";
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let (head, tail) = text.split_once("not a tty\n").unwrap();
        assert_eq!(sorted(&format!("{head}not a tty\n")), sorted(expected));
        let mut tail = tail.lines();
        let processes: u32 = tail.next().unwrap().parse().unwrap();
        assert!(processes <= 6, "{text}");
        assert_eq!(tail.next(), Some("cnb"));
        let devices: Vec<_> = tail.collect();
        assert_eq!(devices.join(" "), "fd full null ptmx pts random shm stderr stdin stdout urandom zero");
    }

    #[tokio::test]
    #[ignore = "needs the registry with the builder"]
    async fn only_the_folders_of_the_build_can_be_written() {
        let bench = Bench::over_builder().await;
        let own = bench.output("for f in /workspace /layers /tmp /dev/shm; do echo $f >$f/own || exit; done").await;
        assert_eq!(own, "");
        assert_eq!(fs::read_to_string(bench.folders.path().join("app/own")).unwrap(), "/workspace\n");
        let (_, text) = bench
            .script(
                "exec 2>/dev/null; for f in / /usr /cnb /etc /bin /cnb/lifecycle /platform /run /dev /home /proc/sys/kernel /sys; do \
                 (echo x >$f/foreign) && echo wrote $f; done; (echo 1 >/proc/sys/kernel/panic) && echo wrote a setting; \
                 chmod 700 /usr && echo changed a mode; mount -o remount,rw / && echo remounted; \
                 umount /proc && echo unmounted; unshare -Urm mount -o remount,rw,bind / && echo remounted in a namespace; \
                 unshare -Urmp -f mount -t proc proc /proc && echo mounted another proc; \
                 (echo x >/etc/resolv.conf) && echo wrote resolv.conf; mknod /tmp/disk b 8 0 && echo made a device; true",
            )
            .await;
        assert_eq!(text, "");
    }

    #[tokio::test]
    #[ignore = "needs the registry with the builder"]
    async fn nothing_else_of_the_machine_is_seen() {
        let bench = Bench::over_builder().await;
        let secret = bench.folders.path().join("secret");
        fs::write(&secret, "x").unwrap();
        let script = format!(
            "ls {} {} /root/.cache /proc/1/root/ /proc/1/environ /old_root 2>/dev/null; grep -c . /proc/mounts >/dev/null; \
             grep -F {} /proc/self/mountinfo | grep -v -e ' /workspace ' -e ' /layers ' -e ' /tmp ' -e ' /platform '",
            secret.display(),
            program().display(),
            bench.folders.path().display()
        );
        let (_, text) = bench.script(&script).await;
        let text = text.replace("/proc/1/environ\n", "");
        assert_eq!(text, "");
        let (_, text) = bench.script("cat /proc/1/environ | tr '\\0' '\\n'; kill -9 1; echo still here").await;
        assert!(text.ends_with("still here\n") && !text.contains("HOME="), "{text}");
    }

    #[tokio::test]
    #[ignore = "needs the registry with the builder"]
    async fn each_way_to_end_is_told() {
        let bench = Bench::over_builder().await;
        assert_eq!(bench.script("echo a; echo b >&2; echo c; exit 7").await, (Exit::Exited(7), "a\nb\nc\n".to_owned()));
        assert_eq!(bench.script("kill -9 $$").await.0, Exit::Signaled(9));
        let missing = bench.start(&["/no/such/program"], "/").await.unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        let refused = bench.start(&["/etc/passwd"], "/").await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
        assert!(bench.start(&["/bin/true"], "/no/such/folder").await.is_err());
        let long = bench.output("head -c 3000000 /dev/zero | tr '\\0' x").await;
        assert_eq!(long.len(), 3_000_000);
    }

    #[tokio::test]
    #[ignore = "needs the registry with the builder"]
    async fn several_programs_run_at_the_same_time() {
        let bench = Bench::over_builder().await;
        // The first waits for what the second writes.
        let (first, second) = tokio::join!(
            bench.output("until [ -e /tmp/second ]; do :; done; echo first"),
            bench.output("touch /tmp/second; echo second")
        );
        assert_eq!((first.as_str(), second.as_str()), ("first\n", "second\n"));
    }

    #[tokio::test]
    #[ignore = "needs the registry with the builder"]
    async fn what_a_program_leaves_running_ends_with_it() {
        let bench = Bench::over_builder().await;
        super::strays_end(&bench).await;
    }

    #[tokio::test]
    #[ignore = "needs the registry with the builder"]
    async fn a_program_that_nobody_waits_for_ends() {
        let bench = Bench::over_builder().await;
        super::dropped_programs_end(&bench).await;
    }

    #[tokio::test]
    #[ignore = "needs the registry with the builder"]
    async fn a_machine_that_can_have_a_sandbox_says_so() {
        Sandbox::try_out(program(), Users::of_process()).await.unwrap();
    }
}

async fn strays_end(bench: &Bench) {
    let marker = marker();
    let script = format!(
        "setsid bash -c 'trap \"\" TERM HUP; (exec -a {marker} sleep 1000) & exec -a {marker} sleep 1000' </dev/null & \
         until grep -q {marker} /proc/[0-9]*/cmdline 2>/dev/null; do :; done; echo started"
    );
    assert_eq!(bench.output(&script).await, "started\n");
    assert_eq!(processes_with(&marker), Vec::<String>::new());
}

async fn dropped_programs_end(bench: &Bench) {
    let marker = marker();
    let script = format!("trap '' TERM; (exec -a {marker} sleep 1000) & echo started; exec -a {marker} sleep 1000");
    let program = bash(&script);
    let (begun, wait) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let mut hear = |_: &[u8]| {
        begun.take().map(|begun| begun.send(()));
    };
    tokio::select! {
        biased;
        ended = bench.sandbox.run(&program, &mut hear) => panic!("{ended:?}"),
        _ = wait => {}
    }
    assert_eq!(processes_with(&marker), Vec::<String>::new());
}

#[test]
#[ignore = "needs the registry with the builder, and root"]
fn all_this_holds_for_an_ordinary_user_with_one_mapped_id() {
    again_as_a_stranger("acceptance::sandbox::every_user::");
}

#[tokio::test]
async fn in_place_a_program_has_no_new_rights_and_leaves_nothing() {
    let bench = Bench::in_place(65534, 65534);
    let is_root = rustix_is_root();
    let text = bench.output("id -u; id -g; id -G; umask; grep NoNewPrivs /proc/self/status | tr -d '\\t'").await;
    if is_root {
        assert_eq!(text, "65534\n65534\n65534\n0022\nNoNewPrivs:1\n");
    } else {
        assert!(text.ends_with("0022\nNoNewPrivs:1\n"), "{text}");
    }
    strays_end(&bench).await;
    dropped_programs_end(&bench).await;
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// What [`in_place_inside_a_builder_image_nothing_needs_a_privilege`] runs in its container.
#[tokio::test]
#[ignore = "needs to run inside of a builder image"]
async fn a_build_in_place() {
    if std::env::var_os("SANDBOX_TEST_IN_BUILDER").is_none() {
        return;
    }
    let account = Account::of_variables(|name| std::env::var(name).ok(), Path::new("/")).unwrap();
    let refused = Sandbox::try_out(program(), Users::One).await.unwrap_err().to_string();
    assert!(refused.contains("run packhorse inside a builder image"), "{refused}");
    let workplace = Workplace::in_place(account, &program()).unwrap();
    workplace.set_variable("TOKEN", &"two\nlines".into()).unwrap();
    let platform = workplace.folders().platform.inside.display().to_string();
    let script = format!(
        "id -u; echo a >/workspace/own && echo b >/layers/own && stat -c '%u:%g %a' /workspace/own; cat {platform}/env/TOKEN; \
         echo x >{platform}/env/TOKEN; grep NoNewPrivs /proc/self/status | tr -d '\\t'"
    );
    let bench = Bench { sandbox: workplace.executor().clone(), folders: tempfile::tempdir().unwrap() };
    let (_, text) = bench.script(&format!("({script}) 2>/dev/null")).await;
    assert_eq!(text, "1000\n1000:1000 644\ntwo\nlinesNoNewPrivs:1\n");
    strays_end(&bench).await;
    dropped_programs_end(&bench).await;
    let private = workplace.folders().platform.host.parent().unwrap().to_owned();
    drop(workplace);
    assert!(!private.exists());
}

#[test]
#[ignore = "needs Docker Engine 26"]
fn in_place_inside_a_builder_image_nothing_needs_a_privilege() {
    for user in ["0:0", "1000:1000"] {
        again_in_the_builder(user, "acceptance::sandbox::a_build_in_place");
    }
}

const RUN_WITH: &str = "PACKHORSE_TEST_MARKER";
const CACHE: &str = "PACKHORSE_TEST_CACHE";

/// Not a test by itself: what [`nothing_outlives_a_killed_packhorse`] kills.
#[tokio::test]
#[ignore = "needs the registry with the builder"]
async fn a_program_that_is_to_be_killed() {
    let Ok(marker) = std::env::var(RUN_WITH) else { return };
    let cache = std::env::var_os(CACHE).unwrap();
    let workplace = workplace(Path::new(&cache)).await;
    let private = workplace.folders().platform.host.parent().unwrap().to_owned();
    fs::write(Path::new(&cache).join("private"), private.to_str().unwrap()).unwrap();
    let script = format!("mkdir /layers/a && touch /layers/a/b && chmod 0 /layers/a; exec -a {marker} sleep 1000");
    let bench = Bench { sandbox: workplace.executor().clone(), folders: tempfile::tempdir_in(&cache).unwrap() };
    bench.script(&script).await;
}

#[test]
#[ignore = "needs the registry with the builder"]
fn nothing_outlives_a_killed_packhorse() {
    let (marker, cache) = (marker(), tempfile::tempdir().unwrap());
    let mut tests = Command::new(std::env::current_exe().unwrap())
        .args(["--include-ignored", "--exact", "acceptance::sandbox::a_program_that_is_to_be_killed"])
        .env(RUN_WITH, &marker)
        .env(CACHE, cache.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let there = || processes_with(&marker).len();
    // The script itself and what it becomes both bear the text.
    while !processes_with(&marker)
        .iter()
        .any(|folder| fs::read(format!("{folder}/cmdline")).is_ok_and(|line| line.starts_with(marker.as_bytes())))
    {
        assert!(tests.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    tests.kill().unwrap();
    tests.wait().unwrap();
    let began = std::time::Instant::now();
    while there() > 0 {
        assert!(began.elapsed().as_secs() < 20, "{:?}", processes_with(&marker));
        std::thread::yield_now();
    }
    // What it had made goes too: the folders of the build, and the secrets in memory.
    let private = fs::read_to_string(cache.path().join("private")).unwrap();
    let builds = cache.path().join("builds");
    while Path::new(&private).exists() || fs::read_dir(&builds).unwrap().next().is_some() {
        assert!(began.elapsed().as_secs() < 20, "{private} and {} are still there", builds.display());
        std::thread::yield_now();
    }
}

#[tokio::test]
#[ignore = "needs the registry with the builder"]
async fn a_build_has_its_secrets_in_memory_and_leaves_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let workplace = workplace(cache.path()).await;
    workplace.set_variable("TOKEN", &"two\nlines".into()).unwrap();
    assert!(workplace.set_variable("../TOKEN", &"x".into()).is_err());
    let bundle = workplace.trust(Path::new("/etc/ssl/certs/ca-certificates.crt")).unwrap();
    let bench = Bench { sandbox: workplace.executor().clone(), folders: tempfile::tempdir().unwrap() };
    let text = bench
        .output(&format!(
            "cat /platform/env/TOKEN; grep -c BEGIN {} >/dev/null && echo; stat -c '%u:%g %a' /workspace /layers; \
             touch ~cnb/own /var/tmp/own && findmnt -no FSTYPE /platform 2>/dev/null || grep ' /platform ' /proc/mounts | cut -d' ' -f3",
            bundle.display()
        ))
        .await;
    assert_eq!(text, "two\nlines\n1000:1000 755\n1000:1000 755\ntmpfs\n");
    let private = workplace.folders().platform.host.parent().unwrap().to_owned();
    drop(workplace);
    assert!(!private.exists());
    assert_eq!(fs::read_dir(cache.path().join("builds")).unwrap().count(), 0);
}
