//! The serial ports of this machine with their stable names, for a person who writes the configuration.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Names of devices that are serial ports, before their number.
const PREFIXES: [&str; 4] = ["ttyUSB", "ttyACM", "ttyAMA", "ttyS"];

/// Folders of stable names below the device folder, the better one first. The first is made by the package's udev rule: by id,
/// two adapters without a serial number have the same name.
const STABLE: [&str; 3] = ["gadwall", "serial/by-id", "serial/by-path"];

/// Longest text of a device about itself that is shown, in characters.
const MAX_TEXT: usize = 64;

/// Levels between a port in sysfs and the USB device that it belongs to.
const MAX_LEVELS: usize = 8;

/// A serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its device file, such as `/dev/ttyACM0`; the kernel may give the number to another port.
    pub device: PathBuf,
    /// Names that stay when the kernel renumbers: those of the package, those by id, then those by path.
    pub stable: Vec<PathBuf>,
    /// Maker and product with their USB ids, or the driver; `None` where the kernel does not say.
    pub what: Option<String>,
}

impl Port {
    /// The name to write into the configuration: the most stable one.
    pub fn best(&self) -> &Path {
        self.stable.first().unwrap_or(&self.device)
    }
}

/// The serial ports of this machine, by device. Reads a few small files; blocks no longer than that.
///
/// # Errors
/// When `/dev` cannot be read.
pub fn list() -> io::Result<Vec<Port>> {
    list_in(Path::new("/dev"), Path::new("/sys"))
}

/// As [`list`], with other folders in the place of `/dev` and `/sys`.
///
/// # Errors
/// When `dev` cannot be read.
pub fn list_in(dev: &Path, sys: &Path) -> io::Result<Vec<Port>> {
    let mut ports: BTreeMap<(String, u32), Port> = BTreeMap::new();
    for entry in fs::read_dir(dev)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str()
            && let Some(key) = numbered(name)
            && PREFIXES.contains(&key.0.as_str())
            && (key.0 != "ttyS" || is_there(sys, name))
        {
            ports.insert(key, Port { device: dev.join(name), stable: Vec::new(), what: what(sys, name) });
        }
    }
    for folder in STABLE {
        for link in links(&dev.join(folder)) {
            // A link whose device is gone is no port.
            let Ok(device) = fs::canonicalize(&link) else { continue };
            let Some(name) = device.file_name().and_then(|n| n.to_str()) else { continue };
            let key = numbered(name).unwrap_or_else(|| (name.to_owned(), 0));
            // udev knows kinds of ports that are not in the list above.
            let new = || Port { device: dev.join(name), stable: Vec::new(), what: what(sys, name) };
            ports.entry(key).or_insert_with(new).stable.push(link);
        }
    }
    Ok(ports.into_values().collect())
}

/// The ports as a table for a terminal, with the name for the configuration first.
pub fn table(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "no serial ports found\n".into();
    }
    let rows: Vec<[String; 3]> = std::iter::once(["PORT".into(), "DEVICE".into(), "WHAT".into()])
        .chain(ports.iter().map(|p| {
            [p.best().display().to_string(), p.device.display().to_string(), p.what.clone().unwrap_or_default()]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let mut text = String::new();
    for [port, device, what] in &rows {
        let line = format!("{port:first$}  {device:second$}  {what}");
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// `ttyUSB12` as `("ttyUSB", 12)`, so that 2 comes before 12.
fn numbered(name: &str) -> Option<(String, u32)> {
    let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
    Some((prefix.to_owned(), name[prefix.len()..].parse().ok()?))
}

fn links(folder: &Path) -> Vec<PathBuf> {
    // Without udev, or without any port, the folder is not there.
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut links: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    // A name by the socket comes behind one by the serial number.
    links.sort_by_cached_key(|link| (link.to_string_lossy().contains("-at-"), link.clone()));
    links
}

/// The kernel makes device files for serial chips that a machine could have. One without a driver, or with the chip type 0
/// (unknown), is not there.
fn is_there(sys: &Path, name: &str) -> bool {
    let tty = sys.join("class/tty").join(name);
    tty.join("device/driver").exists() && fs::read_to_string(tty.join("type")).map_or(true, |t| t.trim() != "0")
}

fn what(sys: &Path, name: &str) -> Option<String> {
    let device = fs::canonicalize(sys.join("class/tty").join(name).join("device")).ok()?;
    let driver = || {
        let driver = fs::canonicalize(device.join("driver")).ok()?;
        Some(clean(driver.file_name()?.to_str()?))
    };
    let Some(usb) = device.ancestors().take(MAX_LEVELS).find(|folder| folder.join("idVendor").is_file()) else {
        return driver();
    };
    let field = |file| fs::read_to_string(usb.join(file)).ok().map(|t| clean(&t)).filter(|t| !t.is_empty());
    let mut words: Vec<String> = ["manufacturer", "product"].into_iter().filter_map(field).collect();
    words.push(format!("({}:{})", field("idVendor")?, field("idProduct")?));
    Some(words.join(" "))
}

/// What a device says of itself goes to a terminal: without control characters, and not too long.
fn clean(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A temporary `/dev` and `/sys`.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(machine.dev()).unwrap();
            fs::create_dir_all(machine.sys().join("class/tty")).unwrap();
            machine
        }

        // Without links in it, so that what is found compares equal.
        fn dev(&self) -> PathBuf {
            self.0.path().canonicalize().unwrap().join("dev")
        }

        fn sys(&self) -> PathBuf {
            self.0.path().join("sys")
        }

        fn device(&self, name: &str) {
            fs::write(self.dev().join(name), "").unwrap();
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.sys().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Makes the folder in sysfs that a port belongs to, and says so at the port.
        fn belongs(&self, name: &str, folder: &str) {
            let folder = self.sys().join("devices").join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::create_dir_all(self.sys().join("class/tty").join(name)).unwrap();
            symlink(folder, self.sys().join("class/tty").join(name).join("device")).unwrap();
        }

        fn link(&self, folder: &str, name: &str, target: &str) -> PathBuf {
            let folder = self.dev().join(folder);
            fs::create_dir_all(&folder).unwrap();
            let up = "../".repeat(folder.strip_prefix(self.dev()).unwrap().components().count());
            symlink(format!("{up}{target}"), folder.join(name)).unwrap();
            folder.join(name)
        }

        fn list(&self) -> Vec<Port> {
            list_in(&self.dev(), &self.sys()).unwrap()
        }
    }

    #[test]
    fn ports_have_their_stable_names_and_say_what_they_are() {
        let machine = Machine::new();
        for name in ["ttyUSB10", "ttyUSB2", "ttyACM0", "ttyS0", "ttyS1", "ttyS2", "tty0", "ttyUSBx", "null"] {
            machine.device(name);
        }
        machine.belongs("ttyACM0", "usb1/1-1/1-1:1.0");
        machine.file("devices/usb1/1-1/idVendor", "2e8a\n");
        machine.file("devices/usb1/1-1/idProduct", "0005\n");
        machine.file("devices/usb1/1-1/manufacturer", "Raspberry Pi\n");
        machine.file("devices/usb1/1-1/product", "Pico\x1b[2J\n");
        machine.belongs("ttyS0", "uart");
        machine.file("bus/drivers/uart-pl011/x", "");
        symlink(machine.sys().join("bus/drivers/uart-pl011"), machine.sys().join("devices/uart/driver")).unwrap();
        // A chip that a machine could have.
        machine.belongs("ttyS2", "uart");
        machine.file("class/tty/ttyS2/type", "0\n");
        let path = machine.link("serial/by-path", "pci-0", "ttyACM0");
        let id = machine.link("serial/by-id", "usb-Pico-if00", "ttyACM0");
        let socket = machine.link("gadwall", "2e8a-0005-at-pci-0", "ttyACM0");
        let own = machine.link("gadwall", "2e8a-0005-e660-00", "ttyACM0");
        machine.link("serial/by-id", "usb-gone", "ttyUSB7");
        let dev = machine.dev();
        let bare = |name: &str| Port { device: dev.join(name), stable: Vec::new(), what: None };
        let pico = Port {
            stable: vec![own.clone(), socket, id, path],
            what: Some("Raspberry Pi Pico[2J (2e8a:0005)".into()),
            ..bare("ttyACM0")
        };
        let uart = Port { what: Some("uart-pl011".into()), ..bare("ttyS0") };
        let found = machine.list();
        assert_eq!(found, [pico, uart, bare("ttyUSB2"), bare("ttyUSB10")]);
        assert_eq!((found[0].best(), found[2].best()), (own.as_path(), dev.join("ttyUSB2").as_path()));
    }

    #[test]
    fn a_link_brings_a_port_of_another_kind() {
        let machine = Machine::new();
        machine.device("ttyXRUSB3");
        let id = machine.link("serial/by-id", "usb-exar", "ttyXRUSB3");
        let port = Port { device: machine.dev().join("ttyXRUSB3"), stable: vec![id], what: None };
        assert_eq!(machine.list(), [port]);
    }

    #[test]
    fn the_table_begins_with_the_name_for_the_configuration() {
        let port = |device: &str, stable: &[&str], what: Option<&str>| Port {
            device: device.into(),
            stable: stable.iter().map(PathBuf::from).collect(),
            what: what.map(str::to_owned),
        };
        let ports = [
            port("/dev/ttyACM0", &["/dev/serial/by-id/usb-Pico", "/dev/serial/by-path/x"], Some("Pico (2e8a:0005)")),
            port("/dev/ttyUSB10", &[], None),
        ];
        assert_eq!(
            table(&ports),
            "PORT                        DEVICE         WHAT\n\
             /dev/serial/by-id/usb-Pico  /dev/ttyACM0   Pico (2e8a:0005)\n\
             /dev/ttyUSB10               /dev/ttyUSB10\n"
        );
        assert_eq!(table(&[]), "no serial ports found\n");
    }

    #[test]
    fn a_device_folder_that_cannot_be_read_is_an_error_and_this_machine_can_be_listed() {
        assert!(list_in(Path::new("/nonexistent/dev"), Path::new("/sys")).is_err());
        for port in list().unwrap() {
            assert!(port.device.starts_with("/dev"), "{port:?}");
        }
    }
}
