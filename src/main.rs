//! The `packhorse` program: parses, runs, and turns the result into an exit code; nothing else.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use packhorse::cli::{self, Cli, Invocation};
use packhorse::env_vars;
use packhorse::session::{Interrupt, Session};
use packhorse::ui::{CliError, Colour, ErrorKind, ExitCode, Level, Printer};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> std::process::ExitCode {
    // Before anything else: helpers of a sandbox must not have a second thread.
    if packhorse::adapters::sandbox::entrance(std::env::args_os()) {
        return std::process::ExitCode::SUCCESS;
    }
    let colour =
        if std::env::args_os().any(|argument| argument == "--no-color") { Colour::Never } else { Colour::Auto };
    let printer = Printer::of_process(Level::Normal, false, colour);
    let code = match cli::read(std::env::args_os()) {
        Invocation::Run(cli) => guarded(*cli),
        Invocation::Show(text) => {
            printer.print(&text);
            ExitCode::Done
        }
        Invocation::Wrong { text, code } => {
            printer.print_to_stderr(&text);
            code
        }
    };
    code.into()
}

/// Runs a command and turns whatever happens into an exit code, a panic included.
fn guarded(cli: Cli) -> ExitCode {
    let printer = cli.globals.printer();
    let inside_codebuild = cli.command.is_inside_codebuild();
    let told = printer.clone();
    std::panic::set_hook(Box::new(move |panic| {
        told.error(
            &CliError::internal(format!("packhorse has a bug: {panic}"))
                .hint("report it with the command line and this message"),
        );
    }));
    let outcome = catch_unwind(AssertUnwindSafe(|| run(cli, &printer)));
    let code = match outcome {
        Ok(Ok(())) => ExitCode::Done,
        Ok(Err(error)) => {
            if error.kind != ErrorKind::Told {
                printer.error(&error);
            }
            error.kind.exit_code()
        }
        Err(_) => ExitCode::Internal,
    };
    let code = match printer.failure() {
        Some(error) if code == ExitCode::Done => {
            printer.error(&CliError::remote("the output could not be written").because(error));
            ExitCode::Outside
        }
        _ => code,
    };
    if inside_codebuild { code.inside_codebuild() } else { code }
}

fn run(cli: Cli, printer: &Printer) -> Result<(), CliError> {
    start_log(printer);
    // Fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let internal = |error: io::Error| CliError::internal("the runtime could not be started").because(error);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(internal)?;
    let interrupt = Interrupt::default();
    let result = runtime.block_on(async {
        watch_signals(&interrupt).map_err(internal)?;
        let stops_itself = cli.command.stops_itself();
        let session = Session { printer: printer.clone(), globals: cli.globals, interrupt: interrupt.clone() };
        let give_up = async {
            // A command with nothing to clean up ends at once.
            if !stops_itself {
                interrupt.gently.cancelled().await;
            }
            interrupt.at_once.cancelled().await;
        };
        tokio::select! {
            biased;
            result = cli.command.run(&session) => result,
            () = give_up => Err(CliError::interrupted()),
        }
    });
    // A thread that waits for stdin would otherwise keep the program.
    runtime.shutdown_background();
    result
}

fn watch_signals(interrupt: &Interrupt) -> io::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let interrupt = interrupt.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
            interrupt.signalled();
        }
    });
    Ok(())
}

/// Sends the log to stderr, through the printer so that it does not mix with bars.
fn start_log(printer: &Printer) {
    let default = match (std::env::var_os(env_vars::APPPACK_DEBUG), printer.level()) {
        (Some(_), _) => "warn,packhorse=debug",
        (None, Level::Verbose) => "warn,packhorse=info",
        (None, _) => "warn",
    };
    let filter = std::env::var(env_vars::PACKHORSE_LOG)
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    let log = printer.clone();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || LogLine(log.clone()))
        .try_init();
}

struct LogLine(Printer);

impl io::Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.exact_bytes_to_stderr(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
