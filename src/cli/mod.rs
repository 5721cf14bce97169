//! The command line: arguments and configuration file in, a running host out.
//!
//! [`args`] says what can be asked for, [`settings`] whether it makes sense, [`serve`] does it.
//! Every failure is an [`Error`]: one message, the way out of it, an exit code.

mod address;
mod args;
mod capture;
mod config_file;
mod control;
mod device;
mod error;
mod events;
mod explain;
mod flight;
mod forward;
mod host;
mod logging;
mod plot;
mod privilege;
mod recorder;
mod replay;
mod run;
mod serve;
mod services;
mod settings;
mod ss;
mod threads;
mod top;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

pub(crate) use args::{Cli, Command, Options};
pub(crate) use error::{Error, ExitStatus};
pub(crate) use settings::Settings;

/// The program, from its arguments to its exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::report(&error),
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            error.print();
            error.exit_code()
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Error> {
    match cli.command {
        None => serve::main(cli.options),
        Some(Command::Serve(options)) => serve::main(*options),
        Some(Command::Run(args)) => run::main(*args),
        Some(Command::Replay(args)) => replay::main(&args),
        Some(Command::Ss(args)) => ss::main(&args),
        Some(Command::Top(args)) => top::main(&args),
        Some(Command::Plot(args)) => plot::main(&args),
        Some(Command::Explain(args)) => explain::main(&args),
        Some(Command::Completions { shell }) => completions(shell),
    }
}

/// Reads the configuration file, checks everything, starts logging.
pub(crate) fn prepare(options: Options) -> Result<Settings, Error> {
    let (options, origins) = config_file::merge(options)?;
    let settings = Settings::new(options, &origins)?;
    logging::start(settings.log.as_deref(), &origins)?;
    Ok(settings)
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ustack", &mut script);
    match io::stdout().lock().write_all(&script) {
        // `ustack completions bash | head` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::new(
            ExitStatus::Other,
            format!("cannot print the completions: {error}"),
        )),
        _ => Ok(ExitCode::SUCCESS),
    }
}
