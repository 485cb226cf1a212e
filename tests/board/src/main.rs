//! Runs the gateway's package on an emulated board and says in one table what came of it: tests/board/run.

mod hub;
mod load;
mod machine;
mod memory;
mod parts;
mod publishers;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use hub::{Hub, Tally};
use machine::{Kind, Machine};
use parts::{PARTS, Site};
use table::Table;

struct Options {
    machine: Kind,
    image: PathBuf,
    package: PathBuf,
    upgrade: PathBuf,
    load: Duration,
    full: Option<PathBuf>,
    keep: bool,
    parts: Vec<String>,
}

/// Waits this long for batches to be acknowledged where there is no board.
const HUB_WITHIN: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, socket, batches] = arguments.as_slice()
        && command == "hub"
    {
        return hub_alone(Path::new(socket), batches).map_or_else(complain, |()| ExitCode::SUCCESS);
    }
    match options().and_then(|options| run(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => complain(error),
    }
}

fn complain(error: anyhow::Error) -> ExitCode {
    eprintln!("board: {error:#}");
    ExitCode::from(2)
}

/// `hub SOCKET N`: the hub alone behind a socket, for deploy/ci-aarch64; prints the readings of N acknowledged batches.
fn hub_alone(socket: &Path, batches: &str) -> anyhow::Result<()> {
    let (batches, tally) = (batches.parse()?, Tally::default());
    let hub = Hub::plug(socket, &tally, 1_760_000_000, batches, Duration::ZERO)?;
    let end = Instant::now() + HUB_WITHIN;
    while tally.acked() < batches {
        ensure!(Instant::now() < end, "{} of {batches} batches were acknowledged", tally.acked());
        thread::sleep(Duration::from_millis(50));
    }
    drop(hub);
    println!("{}", tally.readings());
    Ok(())
}

fn options() -> anyhow::Result<Options> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next();
    let machine = Kind::named(&next().context("the architecture")?)?;
    let image = PathBuf::from(next().context("the folder of the image")?);
    let package = PathBuf::from(next().context("the package")?);
    let upgrade = PathBuf::from(next().context("the package of the next version")?);
    let mut options = Options {
        machine,
        image,
        package,
        upgrade,
        load: Duration::from_secs(3600),
        full: None,
        keep: false,
        parts: Vec::new(),
    };
    while let Some(argument) = next() {
        match argument.as_str() {
            "--load-minutes" => {
                let minutes: u64 = next().context("--load-minutes N")?.parse()?;
                options.load = Duration::from_secs(60 * minutes);
            }
            "--full" => options.full = Some(next().context("--full FILE")?.into()),
            "--keep" => options.keep = true,
            part if PARTS.iter().any(|(name, _)| *name == part) => options.parts.push(argument),
            _ => bail!(
                "{argument}: expected --load-minutes N, --full FILE, --keep, or parts: {}",
                PARTS.map(|(name, _)| name).join(" ")
            ),
        }
    }
    Ok(options)
}

/// Removes what runs have left that were killed.
fn clear(image: &Path) -> anyhow::Result<()> {
    let own = std::process::id().to_string();
    for entry in fs::read_dir(image)? {
        let entry = entry?;
        if let Some(process) = entry.file_name().to_str().and_then(|name| name.strip_prefix("run-"))
            && (process == own || !Path::new("/proc").join(process).exists())
        {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Returns how many rows are not as they should be.
fn run(options: &Options) -> anyhow::Result<usize> {
    clear(&options.image)?;
    let folder = options.image.join(format!("{}-{}", if options.keep { "kept" } else { "run" }, std::process::id()));
    let mut table = Table::default();
    let mut site = Site::new(
        Machine::new(options.machine, &options.image, &folder)?,
        &options.package,
        &options.upgrade,
        options.load,
        options.full.as_deref(),
    );
    for (name, part) in PARTS {
        // Every part needs a board with the gateway on it.
        let base = matches!(name, "boot" | "install");
        if !base && !options.parts.is_empty() && !options.parts.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("== {name}");
        if let Err(error) = part(&mut site, &mut table) {
            table.check(name, "the part", "runs to its end", format!("{error:#}"), false);
            if base {
                break;
            }
            // What the next part finds is a board that is on.
            if let Err(error) = site.recover() {
                table.check(name, "the board after it", "is on", format!("{error:#}"), false);
                break;
            }
        }
    }
    let journal = site.board.see("journalctl -b -u gadwall --no-pager | tail -n 200").unwrap_or_default();
    drop(site);
    let text = table.markdown();
    println!("\n{text}");
    fs::write(options.image.join("table.md"), &text)?;
    fs::write(options.image.join("journal.txt"), journal)?;
    if options.keep {
        println!("kept: {}", folder.display());
    } else {
        fs::remove_dir_all(&folder)?;
    }
    Ok(table.failed())
}
