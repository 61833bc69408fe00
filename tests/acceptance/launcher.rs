//! Our launcher beside the Go one: same image contents, same call, same output, exit code and error lines.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use packhorse::image::layer::FileSource;
use packhorse::lifecycle::export::Launcher;

use crate::support::parts;

/// A process that shows how it was started: one-entry command, default arguments.
const SHOW: &str = r#"
[[buildpacks]]
  id = "test/one"
  version = "1"
  api = "0.10"
[[processes]]
  type = "web"
  command = ["show"]
  args = ["default one", "$HOME"]
  direct = true
  buildpack-id = "test/one"
"#;

/// What an image holds that is of interest to a launcher.
struct Contents {
    folder: tempfile::TempDir,
    platform_api: &'static str,
}

impl Contents {
    /// An image with this `metadata.toml`, and a program `show` in a layer of `test/one`.
    fn new(metadata: &str) -> Self {
        let contents = Self { folder: tempfile::tempdir().unwrap(), platform_api: "0.15" };
        fs::create_dir(contents.path("app")).unwrap();
        contents
            .with("layers/config/metadata.toml", metadata)
            .with_program("layers/test_one/tools/bin/show", "#!/bin/sh\nprintf '<%s>\\n' \"$@\"\npwd\nexec env\n")
    }

    fn with(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn with_program(self, path: &str, content: &str) -> Self {
        let this = self.with(path, content);
        fs::set_permissions(this.path(path), fs::Permissions::from_mode(0o755)).unwrap();
        this
    }

    fn with_link(self, path: &str, target: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    fn without(self, path: &str) -> Self {
        let path = self.path(path);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.unwrap();
        self
    }

    fn for_platform(self, platform_api: &'static str) -> Self {
        Self { platform_api, ..self }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }
}

/// A call of the launcher.
struct Call {
    what: &'static str,
    contents: Contents,
    name: &'static str,
    arguments: Vec<OsString>,
    variables: BTreeMap<&'static str, OsString>,
    /// Whether the launcher finds its file descriptor 3 taken.
    descriptor_3: bool,
    /// Whether its caller has every signal ignored.
    ignoring: bool,
}

/// A call of the process `web`, by its link.
fn web(what: &'static str, contents: Contents) -> Call {
    let variables = BTreeMap::new();
    Call {
        what,
        contents,
        name: "/cnb/process/web",
        arguments: Vec::new(),
        variables,
        descriptor_3: false,
        ignoring: false,
    }
}

/// A call of the launcher itself, with a command of the user.
fn user(what: &'static str, contents: Contents, arguments: &[&str]) -> Call {
    web(what, contents).named("/cnb/lifecycle/launcher").with(arguments)
}

impl Call {
    fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    fn where_variable(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.variables.insert(name, value.as_ref().to_owned());
        self
    }

    fn ignoring(self) -> Self {
        Self { ignoring: true, ..self }
    }

    fn of(&self, launcher: &Path) -> Seen {
        // Bash gives the program any name, and keeps a descriptor open for it.
        let taken = if self.descriptor_3 { "exec 3</dev/null; " } else { "" };
        let ignored = if self.ignoring { "for s in {1..31} {34..64}; do trap '' $s; done; " } else { "" };
        let script = format!("{ignored}{taken}exec -a \"$0\" \"$@\"");
        let mut command = Command::new("/bin/bash");
        command.args(["-c", &script, self.name]).arg(launcher).args(&self.arguments);
        command
            .env_clear()
            .env("PATH", "/cnb/process:/cnb/lifecycle:/usr/bin:/bin")
            .env("HOME", "/home/of the user")
            .env("CNB_LAYERS_DIR", self.contents.path("layers"))
            .env("CNB_APP_DIR", self.contents.path("app"))
            .env("CNB_DEPRECATION_MODE", "quiet")
            .env("CNB_PLATFORM_API", self.contents.platform_api)
            .envs(&self.variables)
            .current_dir("/")
            .stdin(Stdio::null());
        let finished = command.output().unwrap();
        let status = (finished.status.code(), finished.status.signal());
        Seen { status, output: lines(&finished.stdout), errors: lines(&finished.stderr) }
    }
}

/// What can be seen of a call from outside.
#[derive(Debug, PartialEq)]
struct Seen {
    status: (Option<i32>, Option<i32>),
    output: Vec<String>,
    errors: Vec<String>,
}

/// The lines of an output: variables in order, and without the words of a TOML parser.
fn lines(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let line = |line: &str| line.split_once(": toml: ").map_or(line, |(before, _)| before).to_owned();
    let mut lines: Vec<_> = text.lines().map(line).collect();
    let is_variable = |line: &String| line.split_once('=').is_some_and(|(name, _)| !name.contains(' '));
    if let Some(first) = lines.iter().position(is_variable) {
        lines[first..].sort();
    }
    lines
}

/// Fails where the two launchers are seen to differ, or a call ends otherwise than its case is about.
fn same_from_both(cases: Vec<(Call, i32)>) {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("launcher");
    let FileSource::Bytes(program) = Launcher::own().program else { panic!("packhorse's launcher is a part of it") };
    fs::write(&ours, program).unwrap();
    fs::set_permissions(&ours, fs::Permissions::from_mode(0o755)).unwrap();
    let theirs = Path::new(&parts::lifecycle()).join("launcher");
    let mut different = Vec::new();
    for (call, code) in cases {
        let (theirs, ours) = (call.of(&theirs), call.of(&ours));
        if ours != theirs || theirs.status.0 != Some(code) {
            different.push(format!("{}\ntheirs: {theirs:#?}\nours: {ours:#?}", call.what));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

/// The metadata of one process.
fn process(api: &str, fields: &str) -> String {
    format!(
        "[[buildpacks]]\nid = \"test/one\"\nversion = \"1\"\napi = \"{api}\"\n\n[[processes]]\ntype = \"web\"\n\
         buildpack-id = \"test/one\"\n{fields}\n"
    )
}

#[test]
#[ignore = "needs the Go lifecycle"]
fn processes_and_arguments_are_those_of_the_go_launcher() {
    let listed =
        || Contents::new(&process("0.10", "command = [\"show\", \"always\"]\nargs = [\"free\"]\ndirect = true"));
    let old = || Contents::new(&process("0.8", "command = \"show\"\nargs = [\"first\"]\ndirect = true"));
    let script = |args: &str| {
        let script = "echo \\\"$HOME\\\" $0; show 'a b' | head -n 2";
        Contents::new(&process("0.8", &format!("command = [\"{script}\"]\nargs = {args}\ndirect = false")))
    };
    let words = || Contents::new(&process("0.8", "command = [\"show\"]\nargs = [\"$HOME\", \"b c\"]\ndirect = false"));
    let dotted = || SHOW.replace("\"web\"", "\"worker.v1-a_b\"");
    let of_nobody = |direct: bool| {
        let fields = format!("command = [\"show\"]\nargs = [\"a\"]\ndirect = {direct}");
        Contents::new(&process("0.10", &fields).replace("buildpack-id = \"test/one\"", "buildpack-id = \"test/none\""))
    };
    let two =
        "\n[[processes]]\ntype = \"web\"\ncommand = [\"show\", \"second\"]\ndirect = true\nbuildpack-id = \"test/one\"";
    let odd = ["$HOME", "a  b", "*", "quo\"te", "a;b", "\\", "'", "`echo x`", "", "-n"];
    same_from_both(vec![
        (web("default arguments", Contents::new(SHOW)), 0),
        (web("arguments of the user replace them", Contents::new(SHOW)).with(&["a", "", "c d"]), 0),
        (web("a list with free arguments", listed()), 0),
        (web("a list keeps its own arguments", listed()).with(&["a", "$B"]), 0),
        (web("before Buildpack API 0.9 arguments are appended", old()).with(&["second"]), 0),
        (web("a command in a text", old()), 0),
        (
            web("before Platform API 0.10 arguments are appended", Contents::new(SHOW).for_platform("0.9"))
                .with(&["c"]),
            0,
        ),
        (web("any folder may hold the link", Contents::new(SHOW)).named("/elsewhere/web"), 0),
        (web("a name alone", Contents::new(SHOW)).named("web"), 0),
        (web("a type with dots", Contents::new(&dotted())).named("/cnb/process/worker.v1-a_b"), 0),
        (web("of two processes of a type the first", Contents::new(&format!("{SHOW}{two}"))), 0),
        (web("another name is no type", Contents::new(SHOW)).named("/cnb/process/other").with(&["show"]), 0),
        (web("a name of no type without a command", Contents::new(SHOW)).named("/cnb/process/other"), 82),
        (user("no command", Contents::new(SHOW), &[]), 82),
        (user("a command after dashes", Contents::new(SHOW), &["--", "show", "a b", "$HOME"]), 0),
        (user("dashes alone", Contents::new(SHOW), &["--"]), 2),
        (user("a program and its own name", Contents::new(SHOW), &["--", "cat", "/proc/self/cmdline"]), 0),
        (user("a script", Contents::new(SHOW), &["show \"$HOME\" | head -n 1; exit 7"]), 7),
        (user("words for a shell", Contents::new(SHOW), &[&["show"], &odd[..]].concat()), 0),
        (
            user("a command with a variable", Contents::new(SHOW), &["$PROGRAM", "a"])
                .where_variable("PROGRAM", "show"),
            0,
        ),
        (user("signals", Contents::new(SHOW), &["--", "grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"]), 0),
        (
            user("ignored signals", Contents::new(SHOW), &["--", "grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"])
                .ignoring(),
            0,
        ),
        (user("signals in a shell", Contents::new(SHOW), &["grep -E 'Sig(Ign|Blk)' /proc/self/status"]), 0),
        (user("an empty command", Contents::new(SHOW), &[""]), 0),
        (user("an empty direct command", Contents::new(SHOW), &["--", ""]), 82),
        (
            user(
                "a shell with eleven words",
                Contents::new(SHOW),
                &["show", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"],
            ),
            0,
        ),
        (web("a script of a buildpack", script("[]")), 0),
        (web("a script of a buildpack with arguments", script("[]")).with(&["a"]), 127),
        (web("words of a buildpack for a shell", words()), 0),
        (web("words of a buildpack and the user", words()).with(&["$HOME", "d"]), 0),
        (web("words of nobody for a shell", of_nobody(false)), 82),
        (web("a direct process of nobody", of_nobody(true)), 0),
        (web("a direct process of nobody with arguments", of_nobody(true)).with(&["b"]), 82),
        (
            web("a type that the user asks for by variable", Contents::new(SHOW))
                .where_variable("CNB_PROCESS_TYPE", "other"),
            0,
        ),
        (web("arguments that are no text", Contents::new(SHOW)).where_variable("ODD", OsStr::from_bytes(b"\xff=")), 0),
    ]);
}

#[test]
#[ignore = "needs the Go lifecycle"]
fn processes_for_one_execution_environment_are_those_of_the_go_launcher() {
    let meant = |list: &str| {
        let fields = format!("command = [\"show\", \"meant\"]\ndirect = true\nexec-env = [{list}]");
        Contents::new(&process("0.12", &fields))
    };
    let for_tests = || meant("\"test\", \"development\"");
    same_from_both(vec![
        (web("not meant for production", for_tests()), 82),
        (web("meant for tests", for_tests()).where_variable("CNB_EXEC_ENV", "test"), 0),
        (web("meant for all", meant("\"*\"")), 0),
        (web("an empty list", meant("")), 0),
        (web("an empty variable", meant("\"production\"")).where_variable("CNB_EXEC_ENV", ""), 0),
        (web("an older platform", for_tests().for_platform("0.14")), 0),
    ]);
}

#[test]
#[ignore = "needs the Go lifecycle"]
fn environment_is_that_of_the_go_launcher() {
    let layered = || {
        let two = "\n[[buildpacks]]\nid = \"test/two\"\nversion = \"1\"\napi = \"0.12\"\n\
                   [[buildpacks]]\nid = \"test/gone\"\nversion = \"1\"\napi = \"0.7\"\n";
        let mut contents = Contents::new(&format!("{SHOW}{two}"))
            .with("layers/test_one/a/bin/x", "")
            .with("layers/test_one/a/lib/x", "")
            .with("layers/test_one/b/lib", "a file")
            .with_link("layers/test_one/c/bin", "nowhere")
            .with_link("layers/test_one/d", "a")
            .with("layers/test_one/e.toml", "[types]\nlaunch = true\n")
            .with("layers/test_two/a/bin/x", "")
            .with("layers/test_two/a/include/x", "");
        for (file, value) in [
            ("one/a/env/LIST", "replaced\n"),
            ("one/a/env/LIST.append", " appended"),
            ("one/a/env/LIST.prepend", "prepended "),
            ("one/a/env/LIST.delim", "|"),
            ("one/a/env/LIST.default", "not used"),
            ("one/a/env/NEW.default", "default"),
            ("one/a/env/HOME.default", "not used"),
            ("one/a/env/ODD.unknown", "not used"),
            ("one/a/env/.append", "no name"),
            ("one/a/env/A.b.append", "not used"),
            ("one/a/env.build/BUILD", "not used"),
            ("one/a/env.launch/LAUNCH.override", "of a"),
            ("one/a/env.launch/web/TYPE", "of web"),
            ("one/a/env.launch/web/LIST.append", "for web"),
            ("one/a/env.launch/worker/TYPE", "of worker"),
            ("one/b/env.launch/LAUNCH.append", " and b"),
            ("two/a/env/PATH.prepend", "/of/two:"),
            ("two/a/env/LAUNCH.prepend", "two and "),
            ("two/a/env/LD_LIBRARY_PATH.append", "/more"),
        ] {
            contents = contents.with(&format!("layers/test_{file}"), value);
        }
        contents.with("layers/test_one/a/env/BYTES", b"\xff\n\n").with_link("layers/test_one/a/env/LINK", "LIST")
    };
    let slashed = Contents::new(SHOW);
    let odd_path = format!("{}//layers/../layers/", slashed.folder.path().display());
    let relative = Contents::new(SHOW).with("relative/config/metadata.toml", SHOW);
    let relative_path = relative.path("relative");
    same_from_both(vec![
        (web("of a type", layered()), 0),
        (user("of no type", layered(), &["--", "show"]), 0),
        (user("of a shell", layered(), &["show a"]), 0),
        (web("a link to nowhere in an env folder", layered().with_link("layers/test_one/a/env/Z", "nowhere")), 82),
        (web("a link to a folder in an env folder", layered().with_link("layers/test_one/a/env/Z", "/")), 0),
        (web("an env folder that is a file", layered().with("layers/test_one/f/env", "x")), 82),
        (
            web(
                "a buildpack's folder that is a file",
                layered().without("layers/test_two").with("layers/test_two", "x"),
            ),
            82,
        ),
        (web("layers under an odd path", slashed).where_variable("CNB_LAYERS_DIR", odd_path), 0),
        (web("layers elsewhere", relative).where_variable("CNB_LAYERS_DIR", relative_path), 82),
        (
            web("own folders anywhere in PATH", layered())
                .where_variable("PATH", "/bin:/cnb/process:/cnb/lifecycle/:/cnb/lifecycle:"),
            0,
        ),
        (web("no PATH", layered()).where_variable("PATH", ""), 127),
    ]);
}

#[test]
#[ignore = "needs the Go lifecycle"]
fn exec_d_is_that_of_the_go_launcher() {
    let with = |content: &str| Contents::new(SHOW).with_program("layers/test_one/x/exec.d/run", content);
    let saying = |toml: &str| with(&format!("#!/bin/sh\ncat >&3 <<'END'\n{toml}\nEND\n"));
    let several = || {
        Contents::new(SHOW)
            .with("layers/test_one/x/env/SEEN", "by exec.d")
            .with_program(
                "layers/test_one/x/exec.d/20",
                "#!/bin/sh\necho 20 $A; echo 'A = \"of 20\"\nB = \"of 20\"' >&3\n",
            )
            .with_program(
                "layers/test_one/x/exec.d/10",
                "#!/bin/sh\necho 10 $SEEN $#; pwd; cat; echo >&2 errors; echo 'A = \"of 10\"' >&3\n",
            )
            .with_program("layers/test_one/x/exec.d/web/30", "#!/bin/sh\necho 30 $B; echo 'B = \"of web\"' >&3\n")
            .with_program("layers/test_one/x/exec.d/worker/40", "#!/bin/sh\necho 40\n")
            .with_program("layers/test_one/y/exec.d/10", "#!/bin/sh\nenv | sort; echo 'PATH = \"/nowhere\"' >&3\n")
    };
    let rich = "plain = \"a \\\"b\\\" \\u00e9 \\t\"\n'quo ted' = 'literal \\n'\nlines = \"\"\"\none\n  two\\\n   three\"\"\"\n\
                raw = '''\nx 'y' z'''\n# a comment\nempty = \"\"\nPATH = \"/usr/bin:/bin\"";
    let long = "#!/bin/bash\nprintf 'LONG = \"%0100000d\"\\n' 0 | tr 0 x >&3\n";
    let mut taken =
        web("descriptor 3 is taken", with("#!/bin/sh\necho 'A = \"a\"' >&3; readlink /proc/$$/fd/3 | cut -c1-4\n"));
    taken.descriptor_3 = true;
    same_from_both(vec![
        (web("several programs", several()), 82),
        (user("no type", several(), &["--", "/bin/sh", "-c", "echo $A $B $PATH"]), 0),
        (user("a shell that is not found any more", several(), &["echo $A $B $PATH"]), 127),
        (web("all that a text can be", saying(rich)), 82),
        (web("a long text", with(long)), 0),
        (web("nothing", with("#!/bin/sh\n")), 0),
        (web("signals", with("#!/bin/sh\ngrep -E 'Sig(Ign|Blk)' /proc/self/status\n")), 0),
        (taken, 0),
        (web("a program that fails", with("#!/bin/sh\necho 'A = \"a\"' >&3; echo why >&2; exit 3\n")), 82),
        (web("a program that is killed", with("#!/bin/sh\nkill -9 $$\n")), 82),
        (web("a program that is ended", with("#!/bin/sh\nkill -15 $$\n")), 82),
        (web("a file that is no program", Contents::new(SHOW).with("layers/test_one/x/exec.d/run", "#!/bin/sh\n")), 82),
        (web("a program of no kind", with("echo never\n")), 82),
        (web("a program for a shell that is missing", with("#!/nowhere\n")), 82),
        (web("a link to a folder", Contents::new(SHOW).with_link("layers/test_one/x/exec.d/run", "/")), 82),
        (web("a link to a program", Contents::new(SHOW).with_link("layers/test_one/x/exec.d/run", "/bin/true")), 0),
        (web("no TOML", saying("this is = not TOML")), 82),
        (web("a number", saying("A = 1")), 82),
        (web("a table", saying("[a]\nB = \"c\"")), 82),
        (web("a dotted name", saying("a.b = \"c\"")), 82),
        (web("a list", saying("A = [\"c\"]")), 82),
        (web("a name twice", saying("A = \"a\"\nA = \"b\"")), 82),
        (web("bytes that are no text", with("#!/bin/sh\nprintf 'A = \"\\377\"' >&3\n")), 82),
        (web("a NUL for the process", saying("A = \"a\\u0000\"")), 82),
        (web("a folder that is a file", Contents::new(SHOW).with("layers/test_one/x/exec.d", "")), 82),
    ]);
}

#[test]
#[ignore = "needs the Go lifecycle"]
fn programs_and_folders_are_found_as_by_the_go_launcher() {
    let in_folder = |folder: &str, command: &str| {
        let fields = format!("command = [\"{command}\", \"a\"]\ndirect = true\nworking-dir = \"{folder}\"");
        Contents::new(&process("0.10", &fields))
            .with_program("app/own", "#!/bin/sh\nexec pwd\n")
            .with_program("app/sub/own", "#!/bin/sh\nexec pwd\n")
    };
    let app = |command: &[&str]| {
        let contents = Contents::new(SHOW)
            .with_program("app/own", "#!/bin/sh\necho own\n")
            .with_program("app/bin/own", "#!/bin/sh\necho own in bin\n")
            .with_program("app/plain", "echo never\n")
            .with("app/text", "#!/bin/sh\n");
        user("", contents, &[&["--"], command].concat())
    };
    let named = |what: &'static str, call: Call| Call { what, ..call };
    same_from_both(vec![
        (web("a working folder", in_folder("/usr", "show")), 0),
        (web("a working folder below the app", in_folder("sub", "show")), 0),
        (web("a program of the app, in another folder", in_folder("sub", "./own")), 0),
        (web("a working folder that is missing", in_folder("/nowhere", "show")), 82),
        (web("an app that is missing", Contents::new(SHOW).without("app")), 82),
        (named("a relative program", app(&["./own"])), 0),
        (named("a program that is missing", app(&["no-such-program"])), 82),
        (named("a path that is missing", app(&["/no/such/program"])), 82),
        (named("a folder", app(&["/usr"])), 82),
        (named("a file that is no program", app(&["./text"])), 82),
        (named("a program of no kind", app(&["./plain"])), 82),
        (named("a relative folder in PATH", app(&["own"])).where_variable("PATH", "bin:/usr/bin"), 82),
        (named("an empty folder in PATH", app(&["own"])).where_variable("PATH", ":/usr/bin"), 82),
        (named("a program found before the relative folder", app(&["true"])).where_variable("PATH", "/bin:."), 0),
        (named("an odd name", app(&["no \"such\" é"])), 82),
        (named("the folder itself", app(&["."])), 82),
        (named("an exit code", app(&["/bin/sh", "-c", "exit 33"])), 33),
    ]);
}

#[test]
#[ignore = "needs the Go lifecycle"]
fn profiles_are_those_of_the_go_launcher() {
    let profiled = || {
        Contents::new(SHOW)
            .with("layers/test_one/x/profile.d/20", "export A=\"$A 20 $0\"\n")
            .with("layers/test_one/x/profile.d/10", "export A=10\n")
            .with("layers/test_one/x/profile.d/web/30", "export A=\"$A 30\"\n")
            .with("layers/test_one/y/profile.d/a b", "export A=\"$A y\"; cd /\n")
            .with("app/.profile", "export A=\"$A app\"; B='of the \"app\" $A'\n")
    };
    let shell =
        || profiled().with("layers/config/metadata.toml", process("0.8", "command = [\"show\"]\nargs = [\"$A\"]\n"));
    let joined = || profiled().with("layers/config/metadata.toml", process("0.8", "command = [\"show\", \"$A\"]\n"));
    same_from_both(vec![
        (web("of a type", shell()), 0),
        (web("a command of several words", joined()), 0),
        (user("of no type", profiled(), &["show", "$A", "$B"]), 0),
        (user("a script", profiled(), &["show \"$A\" \"$B\""]), 0),
        (user("a direct process reads none", profiled(), &["--", "show"]), 0),
        (
            user(
                "a profile that fails",
                profiled().with("layers/test_one/x/profile.d/15", "nonsense-command\n"),
                &["echo $A"],
            ),
            0,
        ),
        (
            user("a profile that ends it", profiled().with("layers/test_one/x/profile.d/15", "exit 9\n"), &["echo $A"]),
            9,
        ),
        (
            user(
                "an app's profile that is a folder",
                profiled().without("app/.profile").with("app/.profile/x", ""),
                &["echo $A"],
            ),
            0,
        ),
        (
            user(
                "an app's profile that leads nowhere",
                profiled().without("app/.profile").with_link("app/.profile", "x"),
                &["echo $A"],
            ),
            0,
        ),
        (
            user(
                "an app's profile that leads in circles",
                profiled().without("app/.profile").with_link("app/.profile", ".profile"),
                &["echo $A"],
            ),
            82,
        ),
        (user("a profile folder that is a file", profiled().with("layers/test_one/z/profile.d", ""), &["echo $A"]), 82),
    ]);
}

#[test]
#[ignore = "needs the Go lifecycle"]
fn what_cannot_be_launched_is_refused_as_by_the_go_launcher() {
    let of_api = |api: &str| Contents::new(&SHOW.replace("0.10", api));
    let metadata = |text: &str| Contents::new(text);
    same_from_both(vec![
        (web("no Platform API", Contents::new(SHOW).for_platform("")), 11),
        (web("a blank Platform API", Contents::new(SHOW).for_platform(" ")), 11),
        (web("a Platform API that is none", Contents::new(SHOW).for_platform("new")), 11),
        (web("a Platform API that is too old", Contents::new(SHOW).for_platform("0.6")), 11),
        (web("a Platform API that is too new", Contents::new(SHOW).for_platform("0.16")), 11),
        (web("the oldest Platform API", Contents::new(SHOW).for_platform("0.7")), 0),
        (web("a Buildpack API that is too old", of_api("0.6")), 12),
        (web("a Buildpack API that is too new", of_api("0.13")), 12),
        (web("a Buildpack API that is none", of_api("new")), 12),
        (web("no Buildpack API", Contents::new(&SHOW.replace("api = \"0.10\"", ""))), 12),
        (web("without colours", of_api("0.13")).where_variable("CNB_NO_COLOR", "true"), 12),
        (web("with colours", of_api("0.13")).where_variable("CNB_NO_COLOR", "no"), 12),
        (web("no metadata", Contents::new(SHOW).without("layers/config")), 1),
        (
            web(
                "metadata that is a folder",
                Contents::new(SHOW).without("layers/config").with("layers/config/metadata.toml/x", ""),
            ),
            1,
        ),
        (web("metadata that is no TOML", metadata("[[processes")), 1),
        (web("metadata of another shape", metadata("processes = \"web\"")), 1),
        (web("a command that is a number", metadata("[[processes]]\ntype = \"web\"\ncommand = 1\n")), 1),
        (web("empty metadata", metadata("")), 82),
        (user("empty metadata and a command", metadata(""), &["--", "/bin/echo", "a"]), 0),
    ]);
}
