//! Runs rounds, each as a process of its own, so that one that hangs or fails takes nothing with it.

use std::collections::VecDeque;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, getpgrp, kill_process_group};

use crate::rig::Round;
use crate::rng::Rng;
use crate::{FAULTS, Fault};

/// Where a round finds its number.
const SEED: &str = "FAULTS_ROUND_SEED";

const USAGE: &str = "usage: faults [--quick | --hours N | --rounds N] [--only NAME].. [--seed S] [--jobs N] [--list]

--quick    each fault a few times, in some minutes (the default)
--hours N  all faults in turn, with other seeds each time, for N hours
--rounds N N rounds in turn
--only     this fault, may repeat; a part of its name does
--seed S   the first seed; the others follow from it
--jobs N   rounds at the same time (default: 3 in quick mode, else 1)";

struct Options {
    hours: Option<f64>,
    rounds: Option<u64>,
    only: Vec<String>,
    seed: u64,
    jobs: Option<usize>,
    round: Option<String>,
}

fn options() -> Result<Option<Options>, String> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let mut options =
        Options { hours: None, rounds: None, only: Vec::new(), seed: clock % 1_000_000, jobs: None, round: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = |what: &str| args.next().ok_or(format!("{arg} needs {what}"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is no whole number"));
        match arg.as_str() {
            "--quick" => (options.hours, options.rounds) = (None, None),
            "--hours" => {
                options.hours = Some(value("a number of hours")?.parse().map_err(|_| "--hours needs a number")?);
            }
            "--rounds" => options.rounds = Some(number(value("a number")?)?),
            "--seed" => options.seed = number(value("a number")?)?,
            "--jobs" => options.jobs = Some(usize::try_from(number(value("a number")?)?).unwrap_or(1).max(1)),
            "--only" => options.only.push(value("a name")?),
            "--round" => options.round = Some(value("a name")?),
            // What `cargo test` passes to every test binary.
            "--nocapture" | "--no-capture" | "--exact" | "-q" | "--include-ignored" => {}
            "--test-threads" | "--format" | "--color" | "--skip" => drop(value("a value")?),
            "--list" => {
                for fault in FAULTS {
                    println!("{}", fault.name);
                }
                return Ok(None);
            }
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            name if !name.starts_with('-') => options.only.push(name.to_owned()),
            _ => return Err(format!("{arg} is not known\n{USAGE}")),
        }
    }
    Ok(Some(options))
}

/// The suite, or one round of it.
pub fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    if let Some(name) = &options.round {
        return one(name);
    }
    let long = options.hours.is_some() || options.rounds.is_some();
    let chosen: Vec<&Fault> = FAULTS.iter().filter(|f| wanted(f, &options.only)).collect();
    let plan = Plan {
        queue: Mutex::new(queue(&chosen, &options)),
        until: options.hours.map(|h| Instant::now() + Duration::from_secs_f64(h * 3_600.0)),
        quick: !long,
        folder: std::env::temp_dir().join(format!("gadwall-faults-{}", std::process::id())),
        results: Mutex::default(),
    };
    println!("seed {}", options.seed);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..options.jobs.unwrap_or(if long { 1 } else { 3 }) {
            scope.spawn(|| plan.work());
        }
    });
    let (passed, failed) = *plan.results.lock().expect("no panic holds it");
    // Only failed rounds leave something in it.
    let _ = std::fs::remove_dir(&plan.folder);
    // As the other test binaries say it, so that a summary of all finds it.
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {passed} passed, {failed} failed in {:.0} s", start.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Without names, those that run in quick mode; else those with such a name, and those with a part of one if there is none.
fn wanted(fault: &Fault, only: &[String]) -> bool {
    if only.is_empty() {
        return fault.quick > 0;
    }
    only.iter().any(|o| {
        let exact = FAULTS.iter().any(|f| f.name == o);
        if exact { fault.name == o } else { fault.name.contains(o.as_str()) }
    })
}

fn queue(chosen: &[&'static Fault], options: &Options) -> VecDeque<(&'static Fault, u64)> {
    let mut seed = options.seed;
    let mut queue = VecDeque::new();
    let mut add = |fault| {
        queue.push_back((fault, seed));
        seed += 1;
    };
    match options.rounds {
        Some(rounds) => {
            chosen.iter().cycle().take(if chosen.is_empty() { 0 } else { rounds as usize }).for_each(|f| add(*f));
        }
        None => {
            for fault in chosen {
                (0..fault.quick.max(1)).for_each(|_| add(*fault));
            }
        }
    }
    queue
}

struct Plan {
    queue: Mutex<VecDeque<(&'static Fault, u64)>>,
    until: Option<Instant>,
    quick: bool,
    folder: PathBuf,
    results: Mutex<(u64, u64)>,
}

impl Plan {
    fn work(&self) {
        while let Some((fault, seed)) = self.next() {
            let good = self.run(fault, seed);
            let mut results = self.results.lock().expect("no panic holds it");
            if good { results.0 += 1 } else { results.1 += 1 }
        }
    }

    fn next(&self) -> Option<(&'static Fault, u64)> {
        let mut queue = self.queue.lock().expect("no panic holds it");
        if let Some(until) = self.until {
            if Instant::now() >= until {
                return None;
            }
            // Round after round, with the seeds that follow.
            let next = queue.pop_front()?;
            let seeds = queue.len() as u64 + 1;
            queue.push_back((next.0, next.1 + seeds));
            return Some(next);
        }
        queue.pop_front()
    }

    /// Runs one round and prints its line.
    fn run(&self, fault: &Fault, seed: u64) -> bool {
        let start = Instant::now();
        let folder = self.folder.join(format!("{}-{seed}", fault.name));
        std::fs::create_dir_all(&folder).expect("a folder for the round");
        let (text, good) = self.process(fault, seed, &folder);
        let (name, took) = (fault.name, start.elapsed().as_secs_f64());
        if good {
            let _ = std::fs::remove_dir_all(&folder);
            println!("ok      {name} seed {seed} {took:.1} s: {}", text.lines().last().unwrap_or(""));
        } else {
            let _ = std::fs::write(folder.join("round.log"), &text);
            let quick = if self.quick { "" } else { " --rounds 1" };
            println!(
                "FAILED  {name} seed {seed} {took:.1} s\n{text}        again: deploy/run-faults --only {name} --seed {seed}{quick}\n        kept: {}",
                folder.display()
            );
        }
        good
    }

    fn process(&self, fault: &Fault, seed: u64, folder: &Path) -> (String, bool) {
        let program = std::env::current_exe().expect("the program knows its path");
        let log = std::fs::File::create(folder.join("output")).expect("a file for the round's output");
        let mut command = Command::new(&program);
        if fault.own_disk {
            // In a mount namespace of its own it can have a small disk, also without root.
            command = Command::new("unshare");
            if !rustix::process::geteuid().is_root() {
                command.args(["--user", "--map-root-user"]);
            }
            command.arg("--mount").arg(&program);
        }
        let mut child = command
            .args(["--round", fault.name])
            .args(if self.quick { &[][..] } else { &["--rounds", "1"] })
            .env(SEED, seed.to_string())
            .env("TMPDIR", folder)
            .env("TESTS_KEEP_FOLDERS", "1")
            // It ends when this process does.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("the file again"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the program starts itself");
        let group = Pid::from_child(&child);
        let end = Instant::now() + fault.longest;
        let status = loop {
            if let Some(status) = child.try_wait().expect("waiting for the round") {
                break Some(status);
            }
            if Instant::now() > end {
                break None;
            }
            thread::sleep(Duration::from_millis(20));
        };
        // Also what it has started and could not end.
        let _ = kill_process_group(group, Signal::KILL);
        if status.is_none() {
            let _ = child.wait();
        }
        let mut text = std::fs::read_to_string(folder.join("output")).unwrap_or_default();
        if status.is_none() {
            text += &format!("not over after {:?}\n", fault.longest);
        }
        (text, status.is_some_and(|s| s.success()))
    }
}

/// One round, in a process of its own. Its last line tells what happened.
fn one(name: &str) -> ExitCode {
    thread::spawn(|| {
        let mut nothing = [0];
        let _ = std::io::stdin().read(&mut nothing);
        let _ = kill_process_group(getpgrp(), Signal::KILL);
    });
    let fault = FAULTS.iter().find(|f| f.name == name).expect("a name of the list");
    let seed = std::env::var(SEED).ok().and_then(|s| s.parse().ok()).expect("the seed of the round");
    let quick = !std::env::args().any(|a| a == "--rounds");
    let mut round = Round { rng: Rng::new(seed), quick };
    println!("{}", (fault.run)(&mut round));
    ExitCode::SUCCESS
}
