//! Calls of the system that the standard library has not, or has with other rules.
#![expect(unsafe_code, reason = "each call says why it is sound")]

use std::ffi::{CStr, CString, OsStr};
use std::io::{self, PipeWriter};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr;

use crate::environment::Variables;

/// Signals that stay ignored in this process and what it becomes, where its caller has them ignored. Go's runtime handles all others, and
/// a handled signal has its usual effect in what the process becomes. It leaves 32 to 34 to C libraries.
const STAY_IGNORED: [libc::c_int; 9] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGCONT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, 32, 33, 34];

/// Gives ignored signals their usual effect, as the Go launcher does: also a closed pipe, which Rust's start-up code has ignored.
pub fn heed_signals() {
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| !STAY_IGNORED.contains(signal)) {
        // SAFETY: no handler is set in this process. Of numbers that nobody may change the system says so and does nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// A program with its arguments and variables, as the kernel takes them.
///
/// The library's own way gives a file that is no program to a shell. The Go launcher refuses it.
struct Image {
    program: CString,
    arguments: Vec<CString>,
    variables: Vec<CString>,
}

impl Image {
    fn new<'a>(
        program: &Path,
        arguments: impl IntoIterator<Item = &'a OsStr>,
        variables: &Variables,
    ) -> io::Result<Self> {
        let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL));
        let pair = |(name, value): (&OsStr, &OsStr)| text([name.as_bytes(), b"=", value.as_bytes()].concat());
        Ok(Self {
            program: text(program.as_os_str().as_bytes().to_vec())?,
            arguments: arguments.into_iter().map(|word| text(word.as_bytes().to_vec())).collect::<Result<_, _>>()?,
            variables: variables.iter().map(pair).collect::<Result<_, _>>()?,
        })
    }

    /// Becomes the program; returns only where that fails.
    fn execute(&self) -> io::Error {
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
        };
        let (arguments, variables) = (pointers(&self.arguments), pointers(&self.variables));
        // SAFETY: all three point to texts that end with NUL and outlive the call, the lists end with a null pointer.
        unsafe { libc::execve(self.program.as_ptr(), arguments.as_ptr(), variables.as_ptr()) };
        io::Error::last_os_error()
    }
}

/// Becomes a program; returns only where that fails.
pub fn execute<'a>(program: &Path, arguments: impl IntoIterator<Item = &'a OsStr>, variables: &Variables) -> io::Error {
    match Image::new(program, arguments, variables) {
        Ok(image) => image.execute(),
        Err(error) => error,
    }
}

/// Starts a program without arguments and input, whose file descriptor 3 is this one.
pub fn spawn_with_descriptor_3(program: &Path, variables: &Variables, writer: PipeWriter) -> io::Result<Child> {
    let image = Image::new(program, [program.as_os_str()], variables)?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    let become_program = move || {
        let writer = writer.as_raw_fd();
        // SAFETY: both calls take numbers only. Descriptor 3 of the child belongs to nobody else: it is closed, inherited, or the
        // pipe's own, since the pipe was made before anything else was opened.
        let is_there = unsafe { if writer == 3 { libc::fcntl(3, libc::F_SETFD, 0) } else { libc::dup2(writer, 3) } };
        if is_there < 0 { Err(io::Error::last_os_error()) } else { Err(image.execute()) }
    };
    // SAFETY: this process has one thread, so nothing can hold a lock or the allocator in the child.
    unsafe { command.pre_exec(become_program) };
    command.spawn()
}

/// Fails unless this process may execute the file.
pub fn may_execute(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends with NUL and outlives the call.
    let result = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The system's words for a signal.
pub fn signal_words(signal: i32) -> String {
    // SAFETY: the text stands until the next call, which this process does not make meanwhile.
    let words = unsafe { libc::strsignal(signal) };
    if words.is_null() {
        return format!("signal {signal}");
    }
    // SAFETY: it is not null and ends with NUL.
    let words = unsafe { CStr::from_ptr(words) };
    words.to_string_lossy().to_lowercase()
}
