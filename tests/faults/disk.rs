//! Disks that are full, limits on files, and files that were damaged between two starts.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::check;
use crate::harness::{Stored, wait_for};
use crate::rig::{Plan, Rig, Round, run, wait};

/// Size of the disk that is filled: the store's reserve has room in it.
const DISK: &str = "size=192m";

/// A file that takes all the room of its disk.
fn fill(path: &Path) -> u64 {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the file that fills the disk");
    let mut taken = 0;
    for size in [1 << 20, 1 << 12] {
        let block = vec![0xa5; size];
        loop {
            match file.write(&block) {
                Ok(n) if n > 0 => taken += n as u64,
                Ok(_) => break,
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) => break,
                Err(e) => panic!("filling the disk: {e}"),
            }
        }
    }
    taken
}

/// The store says that it cannot commit, and no batch is answered for 2 s.
fn wait_held(rig: &Rig, filled: impl Fn()) {
    wait("the store to be down, or a commit to fail", Duration::from_secs(30), || {
        filled();
        rig.daemon.get("/healthz").status == 503
    });
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < end, "batches are answered though nothing can be stored");
        let batches = rig.acknowledged().1;
        let quiet = Instant::now() + Duration::from_secs(2);
        while Instant::now() < quiet {
            filled();
            thread::sleep(Duration::from_millis(100));
        }
        if rig.acknowledged().1 == batches {
            return;
        }
    }
}

/// The disk is full, twice, and has room again; the daemon goes on by itself.
pub fn full(round: &mut Round) -> String {
    let disk = std::env::temp_dir().join("disk");
    fs::create_dir(&disk).expect("a folder for the disk");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "none"]).arg(&disk).output();
    let mounted = mounted.expect("mount is installed");
    assert!(mounted.status.success(), "fault not injected: {}", String::from_utf8_lossy(&mounted.stderr));
    let database = disk.join("gadwall.duckdb").display().to_string();
    let rig = Rig::start(&Plan { database: Some(database), ..Plan::default() });
    let filler = disk.join("filler");
    let mut taken = Vec::new();
    for _ in 0..2 {
        rig.wait_progress();
        run(round.rng.millis(0, 1_000));
        let first = fill(&filler);
        assert!(first > 1 << 20, "fault not injected: the disk was full before");
        wait_held(&rig, || {
            fill(&filler);
        });
        assert_eq!(fill(&filler), 0, "fault not injected: the disk has room");
        taken.push(first >> 20);
        run(round.rng.millis(0, 1_500));
        fs::remove_file(&filler).expect("freeing the disk");
        rig.wait_batches(3);
        rig.wait_healthy();
    }
    let failed = rig.daemon.stat("/commits/failed");
    format!("{}; filled with {taken:?} MiB, {failed} commits failed", rig.finish())
}

/// The files may not grow beyond a limit, twice, and then they may; the daemon goes on by itself.
pub fn file_limit(round: &mut Round) -> String {
    let rig = Rig::start(&Plan::default());
    for _ in 0..2 {
        rig.wait_progress();
        run(round.rng.millis(0, 1_000));
        let failed = rig.daemon.stat("/commits/failed");
        rig.daemon.limit_file_size(Some(round.rng.below(65_536)));
        wait_held(&rig, || {});
        assert!(rig.daemon.stat("/commits/failed") > failed, "fault not injected: no commit has failed");
        run(round.rng.millis(0, 1_500));
        rig.daemon.limit_file_size(None);
        rig.wait_batches(3);
        rig.wait_healthy();
    }
    let failed = rig.daemon.stat("/commits/failed");
    format!("{}; {failed} commits failed", rig.finish())
}

fn wal(rig: &Rig) -> PathBuf {
    let mut path = rig.daemon.database().as_os_str().to_owned();
    path.push(".wal");
    path.into()
}

/// A rig whose daemon was killed with a WAL of some size.
fn killed_with_wal(round: &mut Round) -> Rig {
    let mut rig = Rig::start(&Plan::default());
    rig.wait_progress();
    run(round.rng.millis(1_000, 2_000));
    wait_for("a write-ahead log", || fs::metadata(wal(&rig)).is_ok_and(|m| m.len() > 20_000));
    rig.daemon.kill9();
    rig
}

/// What a DuckDB of our own finds in the file and the first `bytes` of its WAL: that much has to be kept.
fn readable(rig: &Rig, bytes: u64) -> Stored {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let copy = folder.path().join("gadwall.duckdb");
    fs::copy(rig.daemon.database(), &copy).expect("copying the database");
    let short = folder.path().join("gadwall.duckdb.wal");
    fs::copy(wal(rig), &short).expect("copying the WAL");
    OpenOptions::new().write(true).open(&short).and_then(|f| f.set_len(bytes)).expect("cutting the copy");
    Stored::read(&copy)
}

/// The daemon starts by itself on the damaged files, tells of it, keeps what could be read before the damage, and has
/// everything that was sent after it, once.
fn starts_again(mut rig: Rig, keep: &Stored, tells: bool) -> String {
    let (messages, records) = {
        let ledger = rig.load.ledger();
        (ledger.messages.len(), ledger.records.len())
    };
    rig.daemon.restart();
    let recovered = rig.daemon.stat("/store/recovered");
    assert!(!tells || recovered > 0, "/stats does not tell of the damage");
    rig.wait_batches(3);
    rig.wait_healthy();
    assert!(rig.load.finish(crate::rig::PATIENCE), "not everything is acknowledged after the damage");
    rig.settle();
    let stored = rig.daemon.finish();
    let mut after = rig.load.ledger().clone();
    let acked = after.records.iter().filter(|r| r.1).count();
    after.messages[..messages].fill(false);
    after.records[..records].iter_mut().for_each(|r| r.1 = false);
    let counts = check::compare(&after, &stored, &rig.times(), None);
    assert!(counts.good(), "of what was sent after the damage: {counts}");
    let lost = keep.rows.iter().filter(|r| !stored.rows.contains(r)).count();
    assert_eq!(lost, 0, "of {} readings before the damage {lost} are gone", keep.rows.len());
    let records = stored.rows.iter().filter(|r| r.source == "hub" && r.metric == "flags").count();
    format!(
        "{} readings before the damage kept, {recovered} repairs told, {} of {acked} acked records stored at the end; \
         after the damage {counts}",
        keep.rows.len(),
        records
    )
}

/// The WAL ends in the middle, as after a power cut on a disk that had not written its end.
pub fn wal_cut(round: &mut Round) -> String {
    let rig = killed_with_wal(round);
    let len = fs::metadata(wal(&rig)).expect("the WAL").len();
    let at = len / 2 + round.rng.below(len / 2);
    let keep = readable(&rig, at);
    OpenOptions::new().write(true).open(wal(&rig)).and_then(|f| f.set_len(at)).expect("cutting the WAL");
    format!("WAL of {len} bytes cut at {at}; {}", starts_again(rig, &keep, false))
}

fn flip(path: &Path, at: u64, bits: u8) {
    use std::os::unix::fs::FileExt;
    let file = File::options().read(true).write(true).open(path).expect("the file to damage");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("reading the byte");
    file.write_all_at(&[byte[0] ^ bits], at).expect("writing the byte");
}

/// A bit of the WAL is not what was written.
pub fn wal_flipped(round: &mut Round) -> String {
    let rig = killed_with_wal(round);
    let len = fs::metadata(wal(&rig)).expect("the WAL").len();
    let at = len / 2 + round.rng.below(len / 2);
    let keep = readable(&rig, at);
    flip(&wal(&rig), at, 1 << round.rng.below(8));
    // A flip in a length field looks like the end of the WAL: nothing can tell.
    format!("WAL of {len} bytes flipped at {at}; {}", starts_again(rig, &keep, false))
}

/// The header of the main file is gone.
pub fn file_damaged(round: &mut Round) -> String {
    let mut rig = Rig::start(&Plan::default());
    rig.wait_progress();
    rig.daemon.terminate();
    for _ in 0..64 {
        flip(rig.daemon.database(), round.rng.below(12_288), 0xff);
    }
    let nothing = Stored { rows: Vec::new(), events: Vec::new(), dead: Vec::new(), unsynced: Vec::new(), commits: 0 };
    starts_again(rig, &nothing, true)
}
