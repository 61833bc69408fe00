//! The folders of cached layers, as builds of the real program hand them to one another.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::Ran;
use crate::support::embedded::{Bench, start_and_wait_for};
use crate::support::under::under;

/// Makes a cached layer once, and says which file on disk it finds in it. What the app asks for is done to the layer in place.
const KEEPS: &str = "layer=$CNB_LAYERS_DIR/kept\n\
    [ -d $layer ] || { echo made anew; mkdir $layer; echo one >$layer/file; ln -s file $layer/link; }\n\
    echo 'types = { launch = true, cache = true, build = true }' >$layer.toml\n\
    echo \"inode $(stat -c %i $layer/file)\"\n\
    if [ -e wait ]; then echo begun; exec sleep 1000; fi\n\
    if [ -e change ]; then echo two >$layer/file; fi";
const KEEP: [&str; 5] = ["--engine", "embedded", "--buildpack", "./keeps", "--verbose"];

/// The file that a build of [`KEEPS`] found in its layer.
fn inode(ran: &Ran) -> String {
    ran.stderr.split("inode ").nth(1).unwrap_or_else(|| panic!("{ran}")).lines().next().unwrap().to_owned()
}

/// Tells whether a build got the layer's folder as the one before had left it.
fn was_moved(ran: &Ran) -> bool {
    ran.stderr.contains("\"test/keeps:kept\" is the folder that an earlier build left")
}

#[test]
#[ignore = "needs the registry, and root"]
fn the_folder_of_a_cached_layer_is_moved_from_build_to_build() {
    for bench in [Bench::small(), Bench::small().of_a_stranger()] {
        let bench = bench.with_buildpack("keeps", KEEPS);
        let first = bench.publish("1", &KEEP);
        assert!(first.stderr.contains("made anew") && !was_moved(&first), "{first}");
        let second = bench.publish("1", &KEEP);
        assert!(was_moved(&second) && !second.stderr.contains("Adding layer"), "{second}");
        assert_eq!((inode(&second), &second.stdout), (inode(&first), &first.stdout));
        // Without what was handed over it is unpacked, and the same image.
        fs::remove_dir_all(bench.path("cache/handed")).unwrap();
        let third = bench.publish("1", &KEEP);
        assert!(!was_moved(&third) && !third.stderr.contains("made anew"), "{third}");
        assert_eq!(third.stdout, first.stdout);
        assert!(was_moved(&bench.publish("1", &KEEP)));
        assert_eq!(bench.left(), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
#[ignore = "needs the registry"]
fn a_layer_changed_in_place_is_what_it_was_changed_to_whether_it_was_moved_or_unpacked() {
    let images = [true, false].map(|is_moved| {
        let bench = Bench::small().with_buildpack("keeps", KEEPS);
        bench.publish("1", &KEEP);
        bench.write("change", "");
        let mut images = Vec::new();
        for _ in 0..2 {
            if !is_moved {
                fs::remove_dir_all(bench.path("cache/handed")).unwrap();
            }
            let ran = bench.publish("1", &KEEP);
            assert_eq!(was_moved(&ran), is_moved, "{ran}");
            images.push(ran.stdout.split("  ").nth(1).unwrap().to_owned());
        }
        images
    });
    assert_eq!(images[0], images[1]);
    assert_eq!(images[0][0], images[0][1]);
}

#[test]
#[ignore = "needs the registry"]
fn a_build_that_is_killed_with_the_folder_costs_the_next_one_the_time_to_unpack() {
    let bench = Bench::small().with_buildpack("keeps", KEEPS);
    let first = bench.publish("1", &KEEP);
    bench.write("wait", "");
    let tag = bench.tag("1");
    let mut child =
        start_and_wait_for(bench.image_build(&[&KEEP[..], &["--publish", "--tag", &tag]].concat()), "begun");
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    fs::remove_file(bench.app().join("wait")).unwrap();
    let second = bench.publish("1", &KEEP);
    assert!(!was_moved(&second) && !second.stderr.contains("made anew"), "{second}");
    assert_eq!(second.stdout, first.stdout);
    assert!(was_moved(&bench.publish("1", &KEEP)));
}

#[test]
#[ignore = "needs the registry"]
fn builds_of_one_app_at_the_same_time_make_one_image_and_leave_a_whole_cache() {
    let bench = Bench::small().with_buildpack("keeps", KEEPS);
    let start = |number: u32| {
        let tag = bench.tag(&number.to_string());
        let mut command = bench.image_build(&[&KEEP[..], &["--publish", "--tag", &tag]].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let builds: Vec<_> = (0..3).map(start).collect();
    let ended = builds.into_iter().map(|build| Ran::from(build.wait_with_output().unwrap()));
    let ended: Vec<Ran> = ended.collect();
    for ran in &ended {
        assert_eq!((ran.code, image(ran)), (0, image(&ended[0])), "{ran}");
    }
    // One of them makes the layer, whoever is first.
    assert_eq!(ended.iter().filter(|ran| ran.stderr.contains("made anew")).count(), 1);
    let next = bench.publish("0", &KEEP);
    assert!(was_moved(&next) && !next.stderr.contains("Adding layer"), "{next}");
    assert_eq!(image(&next), image(&ended[0]));
    assert_eq!(bench.left(), Vec::<PathBuf>::new());
}

/// The image that a build made, without its name.
fn image(ran: &Ran) -> &str {
    ran.stdout.split("  ").nth(1).unwrap_or_else(|| panic!("{ran}"))
}

/// Runs a build that is killed at the n-th call of this name that has to do with what is handed over. Tells whether it came so far.
fn is_killed_at(bench: &Bench, paths: &[PathBuf], call: &str, nth: usize) -> bool {
    let tag = bench.tag("1");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:signal=KILL:when={nth}")]);
    for path in paths {
        strace.arg("-P").arg(path);
    }
    let build = bench.image_build(&[&KEEP[..], &["--publish", "--tag", &tag]].concat());
    let output = under(strace, &build).output().unwrap();
    let killed = output.status.signal() == Some(Signal::KILL.as_raw());
    assert!(killed || output.status.success(), "{}", Ran::from(output));
    killed
}

#[test]
#[ignore = "needs the registry, root and strace"]
fn a_build_killed_at_any_step_of_handing_over_is_made_good_by_the_next_one() {
    let bench = Bench::small().with_buildpack("keeps", KEEPS);
    let first = bench.publish("1", &KEEP);
    let handed = bench.path("cache/handed");
    let of_app = fs::read_dir(&handed).unwrap().next().unwrap().unwrap().path();
    let entries: Vec<PathBuf> = fs::read_dir(&of_app).unwrap().map(|entry| entry.unwrap().path()).collect();
    let paths = [vec![of_app], entries].concat();
    let mut kills = 0;
    for is_there in [true, false] {
        for call in ["openat", "read", "mkdir", "rename", "write", "getdents64"] {
            for nth in 1.. {
                if !is_there {
                    fs::remove_dir_all(&handed).unwrap();
                }
                if !is_killed_at(&bench, &paths, call, nth) {
                    break;
                }
                kills += 1;
                // What it had is there, or is unpacked; the layer is not lost.
                let next = bench.publish("1", &KEEP);
                assert!(!next.stderr.contains("made anew"), "{call} {nth}: {next}");
                assert_eq!(next.stdout, first.stdout, "{call} {nth}");
                let after = bench.publish("1", &KEEP);
                assert!(was_moved(&after) && after.stdout == first.stdout, "{call} {nth}: {after}");
            }
        }
    }
    assert!(kills >= 10, "{kills}");
}
