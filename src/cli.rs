//! The command line. The only module that prints.
#![expect(clippy::print_stderr, reason = "errors of the command line go to the person who typed it")]

mod decode;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use url::Url;

use crate::budget::{heap, memory};
use crate::config::{self, Config, ConfigErrors};
use crate::service::{self, journal};
use crate::source::{mqtt, ports};
use crate::store::recovery::probe::{self, Task};
use crate::{clock, compact, demo, doctor, sniff, status};

/// Exit status for a bad configuration (`EX_CONFIG` of sysexits.h): a restart cannot help.
const EX_CONFIG: u8 = 78;
/// Where the packaged configuration is.
const DEFAULT_CONFIG: &str = "/etc/gadwall/gadwall.toml";

/// Stores the readings of sensor nodes in one DuckDB file and answers questions about them.
#[derive(Debug, Parser)]
#[command(name = "gadwall", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Check a configuration file: say what is wrong with file, line and key, and exit with 78 if something is.
    Check(CheckArgs),
    /// Print the example configuration: every key with its default.
    PrintConfig,
    /// Show the daemon at work with a simulated hub and, where mosquitto is installed, simulated MQTT publishers.
    Demo {
        /// End by itself after so many seconds; otherwise Ctrl-C ends it.
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        /// Keep the database, the configuration and the log in this folder.
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
    },
    /// Show how a running daemon is.
    Status {
        /// Where it answers.
        #[arg(long, value_name = "URL", default_value = status::DEFAULT_URL)]
        url: String,
        /// File whose first line is the token, where the daemon wants one.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Say what the daemon would store for some bytes, or why not; 1 when they cannot be decoded.
    Decode(Box<decode::DecodeArgs>),
    /// Listen to a broker or a serial port for a while: list the topics, or the speeds of the port, what they would be taken
    /// for, and the lines for the configuration.
    Sniff(SniffArgs),
    /// List the serial ports with their stable names.
    Ports,
    /// Say how a database is, what a repair would lose, and repair it: 0 when it is sound in the end, 1 when it is not.
    Doctor {
        /// The database, as in `[store] path`.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Repair without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Rewrite the database into a smaller file: 0 when it is done, 1 when it is not and the file is as it was. A running
    /// daemon is asked to do it and goes on meanwhile; Ctrl-C gives it up.
    Compact {
        /// The database, as in `[store] path`; by default that of the configuration.
        #[arg(value_name = "DATABASE", conflicts_with = "config")]
        database: Option<PathBuf>,
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Open a database as a start does and say what came of it, as one line of JSON: what a starting daemon runs first.
    #[command(hide = true)]
    ProbeStore(ProbeArgs),
    /// Write the manual pages and the completions of shells into a folder that is there: what a package ships.
    #[command(hide = true)]
    Generate {
        /// The folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ProbeArgs {
    /// The database.
    #[arg(long, value_name = "FILE")]
    path: PathBuf,
    /// DuckDB's buffer pool in bytes.
    #[arg(long, value_name = "BYTES")]
    memory_limit: u64,
    #[command(flatten)]
    task: TaskArgs,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct TaskArgs {
    /// Read every column of every table.
    #[arg(long)]
    read: bool,
    /// Copy what can be read into a new database beside it.
    #[arg(long)]
    salvage: bool,
    /// Open it for writing, and bring the WAL into the database.
    #[arg(long)]
    checkpoint: bool,
}

impl TaskArgs {
    fn task(&self) -> Task {
        match self {
            Self { read: true, .. } => Task::Read,
            Self { salvage: true, .. } => Task::Salvage,
            Self { checkpoint: true, .. } => Task::Checkpoint,
            Self { .. } => Task::Look,
        }
    }
}

#[derive(Debug, Args)]
struct SniffArgs {
    /// The broker's address.
    #[arg(long, value_name = "URL", required_unless_present = "port")]
    mqtt: Option<Url>,
    /// The serial port's device.
    #[arg(long, value_name = "DEVICE", conflicts_with = "mqtt")]
    port: Option<PathBuf>,
    /// The only speed of the port to be tried; otherwise the common ones are.
    #[arg(long, value_name = "N", requires = "port")]
    baud: Option<u32>,
    /// Where nothing comes from the port, write to it: ask as an MH-Z19, a Senseair S8 and Modbus units are asked for their
    /// readings.
    #[arg(long, requires = "port")]
    ask: bool,
    /// What to listen to.
    #[arg(long, value_name = "FILTER", default_value = "#")]
    topic: Vec<String>,
    /// For how long; of a port, at each speed.
    #[arg(long, value_name = "N", default_value_t = 15)]
    seconds: u64,
    /// File whose first line is the user name.
    #[arg(long, value_name = "FILE")]
    username_file: Option<PathBuf>,
    /// File whose first line is the password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// PEM file of the authorities that may sign the broker's certificate.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The configuration file.
    #[arg(value_name = "FILE", required_unless_present = "config")]
    file: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}

/// Runs the command line of this process and returns its exit status. Errors are printed to stderr.
pub fn run() -> u8 {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run { config } => return daemon(&config),
        Command::Check(args) => return check(&args.file.or(args.config).unwrap_or_default()),
        Command::PrintConfig => print(config::EXAMPLE),
        Command::Demo { seconds, keep } => demo::run(&demo::Options { seconds, keep }, &mut io::stdout()),
        Command::Status { url, token_file } => show_status(&url, token_file.as_deref()),
        Command::Decode(args) => return decode::run(*args),
        Command::Sniff(args) => sniff(args),
        Command::Ports => show_ports(),
        Command::Doctor { file, yes } => return doctor(&file, yes),
        Command::Compact { database, config } => return compact(database, &config),
        Command::ProbeStore(args) => print(&(probe::answer(args.path, args.memory_limit, args.task.task()) + "\n")),
        Command::Generate { folder } => generate(&folder).map_err(Into::into),
    };
    match result {
        Ok(()) => 0,
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

fn daemon(file: &Path) -> u8 {
    let config = match Config::load(file, std::env::vars_os()) {
        Ok(config) => config,
        Err(errors) => return fail_config(&errors),
    };
    heap::tame();
    let level = journal::start(config.log.level);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let path = file.to_owned();
    let reread: service::Reread = Box::new(move || Config::load(&path, std::env::vars_os()).map_err(|e| e.to_string()));
    match service::run(config, &level, &reread) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{error}");
            error.exit_status()
        }
    }
}

fn check(file: &Path) -> u8 {
    match Config::load(file, std::env::vars_os()) {
        Ok(config) => {
            for warning in config.warnings() {
                eprintln!("warning: {warning}");
            }
            let (serial, modbus, mqtt) = (config.serial.len(), config.modbus.len(), config.mqtt.len());
            let buses = if modbus == 0 { String::new() } else { format!(", {modbus} modbus") };
            let text = format!("{}: ok, {serial} serial{buses} and {mqtt} mqtt\n", file.display());
            print(&(text + &memory::table(&config))).map_or_else(|e| fail(1, &e.to_string()), |()| 0)
        }
        Err(errors) => fail_config(&errors),
    }
}

fn show_status(url: &str, token_file: Option<&Path>) -> anyhow::Result<()> {
    let token = token_file.map(config::secret::read).transpose()?;
    status::print(url, token.as_deref(), &mut io::stdout().lock())
}

fn sniff(args: SniffArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let time = Duration::from_secs(args.seconds);
    let Some(url) = args.mqtt else {
        let port = args.port.unwrap_or_default();
        let options = sniff::listen::Options { port, baud: args.baud, time, ask: args.ask };
        return runtime.block_on(sniff::listen::run(&options, &mut io::stdout(), &mut io::stderr()));
    };
    if !matches!(url.scheme(), "mqtt" | "mqtts") {
        anyhow::bail!("{url}: expected mqtt://host:port or mqtts://host:port");
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The command line can be read by everybody on the machine.
        anyhow::bail!("user name and password belong into the files of --username-file and --password-file");
    }
    let shown = url.to_string();
    let config = config::Mqtt {
        username_file: args.username_file,
        password_file: args.password_file,
        ca_file: args.ca_file,
        ..config::Mqtt::new("sniff".into(), url)
    };
    let heard = runtime.block_on(mqtt::sniff::listen(&config, &args.topic, time, clock::zone_of_machine()))?;
    match sniff::print(&heard, &shown, &mut io::stdout().lock()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn show_ports() -> anyhow::Result<()> {
    print(&ports::table(&ports::list()?))
}

fn doctor(file: &Path, yes: bool) -> u8 {
    let ask = if yes {
        doctor::Ask::Yes
    } else if io::stdin().is_terminal() {
        doctor::Ask::Person(Box::new(io::stdin().lock()))
    } else {
        doctor::Ask::No
    };
    match doctor::run(file, ask, &mut io::stdout()) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

fn compact(database: Option<PathBuf>, file: &Path) -> u8 {
    let store = match database {
        Some(path) => config::Store { path, ..config::Store::default() },
        None => match Config::load(file, std::env::vars_os()) {
            Ok(config) => config.store,
            Err(errors) => {
                fail_config(&errors);
                return 1;
            }
        },
    };
    // Its warnings are for a person who looks at this terminal.
    let _ = journal::start(tracing::level_filters::LevelFilter::WARN);
    match compact::run(store, &mut io::stdout()) {
        Ok(()) => 0,
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

/// One manual page for the program and one for each command that is shown, and a file for each shell that Debian has a place for.
fn generate(folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "gadwall", folder)?;
    }
    Ok(())
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // `gadwall print-config | head` is no failure.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn fail_config(errors: &ConfigErrors) -> u8 {
    for error in errors {
        eprintln!("gadwall: {error}");
    }
    EX_CONFIG
}

fn fail(status: u8, text: &str) -> u8 {
    eprintln!("gadwall: {text}");
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert!(matches!(
            Cli::try_parse_from(["gadwall", "run"]).unwrap().command,
            Command::Run { config } if config == Path::new(DEFAULT_CONFIG)
        ));
        for args in [["gadwall", "check", "x.toml"].as_slice(), &["gadwall", "check", "--config", "x.toml"]] {
            let Command::Check(args) = Cli::try_parse_from(args).unwrap().command else { panic!("not check") };
            assert_eq!(args.file.or(args.config), Some("x.toml".into()));
        }
        assert!(Cli::try_parse_from(["gadwall", "check"]).is_err());
        assert!(matches!(
            Cli::try_parse_from(["gadwall", "compact"]).unwrap().command,
            Command::Compact { database: None, config } if config == Path::new(DEFAULT_CONFIG)
        ));
        assert!(Cli::try_parse_from(["gadwall", "compact", "g.duckdb", "--config", "x.toml"]).is_err());
    }

    #[test]
    fn each_command_has_its_page_and_each_shell_its_completions() {
        let folder = tempfile::tempdir().unwrap();
        generate(folder.path()).unwrap();
        let names: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        for command in Cli::command().get_subcommands() {
            let page = format!("gadwall-{}.1", command.get_name());
            assert_eq!(names.contains(&page), !command.is_hide_set(), "{page}");
        }
        for file in ["gadwall.1", "gadwall.bash", "_gadwall", "gadwall.fish"] {
            assert!(names.iter().any(|name| name == file), "{file}");
        }
        let page = std::fs::read_to_string(folder.path().join("gadwall-run.1")).unwrap();
        assert!(page.contains("/etc/gadwall/gadwall.toml"), "{page}");
    }
}
