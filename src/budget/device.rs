//! Which disk holds a file, and how much was written to it.
//!
//! The kernel counts the sectors written to each block device (`/sys/dev/block/MAJOR:MINOR/stat`, documented in
//! `Documentation/block/stat.rst`), and `st_dev` of a file is the number of the device that its file system is on. From a
//! partition the way leads to the whole disk, because the whole card wears, and from an encrypted or logical volume to the
//! disk below, where that is one alone. File systems with a number that is no device's (btrfs) are looked up by their mount.
//!
//! It cannot be told for what has no disk of this machine: overlay (containers), tmpfs, NFS, ZFS; nor for a volume that lies on
//! several disks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A sector in `stat` is always this long, whatever the device's own is.
const SECTOR: u64 = 512;

/// Volumes on volumes that are followed.
const DEPTH: usize = 8;

/// The counter of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    name: String,
    stat: PathBuf,
}

impl Device {
    /// The disk that holds `path`, a file or folder that exists; `None` where it cannot be told.
    pub fn of(path: &Path) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let number = fs::metadata(path).ok()?.dev();
        let number = if rustix::fs::major(number) == 0 { mounted_device(&mounts, number)? } else { number };
        Self::of_number(Path::new("/sys/dev/block"), number)
    }

    /// The disk of device number `number`, by the links in `block`.
    fn of_number(block: &Path, number: u64) -> Option<Self> {
        let link = block.join(format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number)));
        let mut folder = fs::canonicalize(link).ok()?;
        for _ in 0..DEPTH {
            if folder.join("partition").exists() {
                folder = folder.parent()?.to_owned();
            }
            let mut below = match fs::read_dir(folder.join("slaves")) {
                Ok(slaves) => slaves.flatten(),
                Err(_) => break,
            };
            match (below.next(), below.next()) {
                (None, _) => break,
                (Some(one), None) => folder = fs::canonicalize(one.path()).ok()?,
                (Some(_), Some(_)) => return None,
            }
        }
        let name = folder.file_name()?.to_str()?.to_owned();
        let device = Self { name, stat: folder.join("stat") };
        device.written().is_some().then_some(device)
    }

    /// The kernel's name for it, such as `mmcblk0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes written to it since this boot; `None` when it is gone.
    pub fn written(&self) -> Option<u64> {
        parse(&fs::read_to_string(&self.stat).ok()?)
    }
}

/// The seventh number is the sectors written.
fn parse(stat: &str) -> Option<u64> {
    stat.split_ascii_whitespace().nth(6)?.parse::<u64>().ok()?.checked_mul(SECTOR)
}

/// The device that the file system `number` is mounted from, where its source is one.
fn mounted_device(mounts: &str, number: u64) -> Option<u64> {
    let wanted = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    let source = mounts.lines().find_map(|line| source_of(line, &wanted))?;
    let number = fs::metadata(source).ok()?.rdev();
    (rustix::fs::major(number) != 0).then_some(number)
}

/// The source of a line of mountinfo (proc(5)) about the file system `wanted`: behind ` - ` come its kind and its source.
fn source_of<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    let (mount, kind) = line.split_once(" - ")?;
    let number = mount.split(' ').nth(2)?;
    let source = kind.split(' ').nth(1)?;
    (number == wanted && source.starts_with("/dev/")).then_some(source)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const STAT: &str =
        "    1234       56   789012      345     6789       10  4096000      200        0      300      545\n";

    /// A /sys with a card of two partitions, an encrypted volume on the second, and a volume on two disks.
    fn sys() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let make = |path: &str, stat: &str| {
            let folder = root.join("devices").join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("stat"), stat).unwrap();
            folder
        };
        let block = root.join("dev/block");
        fs::create_dir_all(&block).unwrap();
        let card = make("mmc/mmcblk0", STAT);
        fs::create_dir_all(card.join("slaves")).unwrap();
        let (one, two) =
            (make("mmc/mmcblk0/mmcblk0p1", "0 0 0 0 0 0 1 0"), make("mmc/mmcblk0/mmcblk0p2", "0 0 0 0 0 0 2 0"));
        for part in [&one, &two] {
            fs::write(part.join("partition"), "1\n").unwrap();
        }
        let crypt = make("virtual/dm-0", "0 0 0 0 0 0 3 0");
        fs::create_dir_all(crypt.join("slaves")).unwrap();
        symlink(&two, crypt.join("slaves/mmcblk0p2")).unwrap();
        let raid = make("virtual/md0", "0 0 0 0 0 0 4 0");
        fs::create_dir_all(raid.join("slaves")).unwrap();
        symlink(&one, raid.join("slaves/mmcblk0p1")).unwrap();
        symlink(&two, raid.join("slaves/mmcblk0p2")).unwrap();
        for (number, folder) in [("179:0", &card), ("179:1", &one), ("179:2", &two), ("254:0", &crypt), ("9:0", &raid)]
        {
            symlink(folder, block.join(number)).unwrap();
        }
        (dir, block)
    }

    #[test]
    fn the_way_leads_to_the_whole_disk() {
        let (_dir, block) = sys();
        let of = |major, minor| Device::of_number(&block, rustix::fs::makedev(major, minor));
        for (major, minor) in [(179, 0), (179, 1), (179, 2), (254, 0)] {
            let device = of(major, minor).unwrap();
            assert_eq!((device.name(), device.written()), ("mmcblk0", Some(4_096_000 * 512)), "{major}:{minor}");
        }
        assert_eq!(of(9, 0), None, "on two disks");
        assert_eq!(of(8, 0), None, "not there");
    }

    #[test]
    fn a_device_without_a_number_of_its_own_is_found_by_its_mount() {
        let mounts = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                      30 1 0:35 /sub /data rw shared:1 master:2 - btrfs /dev/mmcblk0p2 rw,subvol=/sub\n\
                      31 1 0:36 / /merged rw - overlay overlay rw,upperdir=/dev/shm\n";
        let of = |wanted: &str| mounts.lines().find_map(|line| source_of(line, wanted));
        assert_eq!(of("0:35"), Some("/dev/mmcblk0p2"));
        assert_eq!(of("0:36"), None);
        assert_eq!(of("0:21"), None);
        // /dev/null is no block device, but it has a number: what is meant is that the lookup gets that far.
        let null = "1 1 0:99 / /x rw - btrfs /dev/null rw";
        assert_eq!(mounted_device(null, rustix::fs::makedev(0, 99)), Some(rustix::fs::makedev(1, 3)));
        assert_eq!(mounted_device("1 1 0:99 / /x rw - btrfs /dev/none rw", rustix::fs::makedev(0, 99)), None);
    }

    #[test]
    fn what_is_no_stat_is_none() {
        assert_eq!(parse("1 2 3 4 5 6 7 8"), Some(7 * 512));
        assert_eq!(parse("1 2 3 4 5 6"), None);
        assert_eq!(parse(""), None);
        assert_eq!(parse("a b c d e f g"), None);
        assert_eq!(parse("0 0 0 0 0 0 18446744073709551615"), None);
        assert_eq!(Device::of(Path::new("/proc/self")), None);
        assert_eq!(Device::of(Path::new("/no/such/file")), None);
    }
}
